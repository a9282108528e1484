//! Offer and answer (RFC 3264): what two parties with one voice stream come to.
//!
//! An answer has one format for the voice and, where both know them, keys (`telephone-event`): so there is no doubt about what a packet
//! holds. Of several streams the first that fits is taken, the others are declined. Formats are taken in the order of our [`Menu`].

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::crypto::{OurKeys, Protection};
use super::{Direction, Format, Session, Stream, same_encoding};

/// What we can do.
#[derive(Debug, Clone)]
pub struct Menu {
    /// Formats for the voice, the dearest first; the payload types are what we offer.
    pub voices: Vec<Format>,
    /// The payload type under which we offer keys of a telephone.
    pub keys: u8,
    /// Milliseconds of sound in a packet.
    pub ptime: u16,
    /// Which way the sound may go, seen from us.
    pub direction: Direction,
}

/// Our end.
#[derive(Debug, Clone)]
pub struct Local {
    /// The address that the other can reach.
    pub address: IpAddr,
    /// The port of our RTP.
    pub port: u16,
    /// Names the session; the version rises with every description of it.
    pub session: u64,
    /// The version of the description that is written next.
    pub version: u64,
}

/// What was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Where the other wants its sound; none while it wants none.
    pub remote: Option<SocketAddr>,
    /// What the other named as its address: packets come from there, or from behind a translator.
    pub announced: Option<IpAddr>,
    /// The voice.
    pub voice: Format,
    /// Keys of a telephone: payload type and clock.
    pub keys: Option<(u8, u32)>,
    /// Milliseconds of sound in a packet, as the other wishes.
    pub ptime: u16,
    /// Which way the sound goes, seen from us.
    pub direction: Direction,
    /// Keys, where packets are protected.
    pub protection: Option<Protection>,
    /// Whether reports share the port.
    pub rtcp_mux: bool,
    index: usize,
}

/// Why nothing came of a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No voice in it.
    #[error("no stream of it is a voice over RTP")]
    NoVoice,
    /// Voice, but none that we can hear.
    #[error("no format of it is known here")]
    NoFormat,
    /// Protected in a way that we do not know, or not protected when it must be.
    #[error("its protection is not known here")]
    NoProtection,
    /// An answer that does not fit what was offered.
    #[error("it does not answer what was offered")]
    Unfit,
}

/// Answers an offer. `before` is what was agreed on until now, for an offer that changes it.
///
/// # Errors
/// [`Refusal`]; what was agreed on before is still in force then.
pub fn answer(offer: &Session, menu: &Menu, local: &Local, before: Option<&Media>) -> Result<(String, Media), Refusal> {
    let mut refusal = Refusal::NoVoice;
    for (index, stream) in offer.streams.iter().enumerate() {
        match consider(offer, stream, index, menu, before) {
            Ok(media) => return Ok((written(offer, &media, menu, local), media)),
            Err(reason) if refusal == Refusal::NoVoice => refusal = reason,
            Err(_) => {}
        }
    }
    Err(refusal)
}

fn consider(
    offer: &Session,
    stream: &Stream,
    index: usize,
    menu: &Menu,
    before: Option<&Media>,
) -> Result<Media, Refusal> {
    // A port of 0 in an offer takes back a stream that was there.
    let was_ours = before.is_some_and(|before| before.index == index);
    if stream.kind != "audio" || (stream.port == 0 && !was_ours) {
        return Err(Refusal::NoVoice);
    }
    let protected = stream.is_protected().ok_or(Refusal::NoProtection)?;
    let offered: Vec<Format> = stream.formats().collect();
    // A format that runs stays, whatever else the other could do by now.
    let running = before.map(|before| &before.voice);
    let voice = running.into_iter().chain(&menu.voices).find_map(|ours| {
        let theirs = offered.iter().find(|theirs| same_encoding(&theirs.encoding, &ours.encoding))?;
        Some(Format { parameters: ours.parameters.clone(), ..theirs.clone() })
    });
    let voice = voice.ok_or(Refusal::NoFormat)?;
    let protection = Protection::accept(&stream.crypto, before.and_then(|before| before.protection.as_ref()));
    if protected && protection.is_none() {
        return Err(Refusal::NoProtection);
    }
    let keys = telephone_events(&offered, &voice);
    Ok(agreed(offer, stream, index, voice, keys, protection, menu))
}

/// Keys with the clock of the voice, else with any.
fn telephone_events(formats: &[Format], voice: &Format) -> Option<(u8, u32)> {
    let clock = |format: &Format| format.encoding.split('/').nth(1).and_then(|clock| clock.trim().parse::<u32>().ok());
    let events = || {
        formats
            .iter()
            .filter(|format| format.encoding.to_ascii_lowercase().starts_with("telephone-event/"))
            .filter_map(|format| Some((format.payload_type, clock(format)?)))
    };
    events().find(|(_, ticks)| Some(*ticks) == clock(voice)).or_else(|| events().next())
}

fn agreed(
    session: &Session,
    stream: &Stream,
    index: usize,
    voice: Format,
    keys: Option<(u8, u32)>,
    protection: Option<Protection>,
    menu: &Menu,
) -> Media {
    let announced = stream.connection.or(session.connection).filter(|address| !address.is_unspecified());
    let theirs = stream.direction.or(session.direction).unwrap_or(Direction::Both);
    let reachable = announced.is_some() && stream.port != 0;
    let sends = theirs.receives() && menu.direction.sends() && reachable;
    let receives = theirs.sends() && menu.direction.receives() && stream.port != 0;
    Media {
        remote: announced.filter(|_| stream.port != 0).map(|address| SocketAddr::new(address, stream.port)),
        announced,
        voice,
        keys,
        ptime: stream.ptime.filter(|ptime| (10..=200).contains(ptime)).unwrap_or(menu.ptime),
        direction: Direction::of(sends, receives),
        protection,
        rtcp_mux: stream.rtcp_mux,
        index,
    }
}

/// Writes the answer: a line for each stream of the offer, all but one of them declined.
fn written(offer: &Session, media: &Media, menu: &Menu, local: &Local) -> String {
    let mut text = head(local);
    for (index, stream) in offer.streams.iter().enumerate() {
        if index != media.index {
            let formats = if stream.formats.is_empty() { "0".to_owned() } else { stream.formats.join(" ") };
            let _ = write!(text, "m={} 0 {} {formats}\r\n", stream.kind, stream.profile);
            continue;
        }
        let port = if stream.port == 0 { 0 } else { local.port };
        let voices = std::slice::from_ref(&media.voice);
        voice(&mut text, port, &stream.profile, voices, media.keys, menu.ptime);
        if let Some(protection) = &media.protection {
            text.push_str(&protection.line());
        }
        if media.rtcp_mux {
            text.push_str("a=rtcp-mux\r\n");
        }
        let _ = write!(text, "a={}\r\n", media.direction.attribute());
    }
    text
}

/// Writes an offer: with keys nothing but a protected voice, without them nothing protected.
#[must_use]
pub fn offer(menu: &Menu, local: &Local, keys: Option<OurKeys>) -> String {
    let mut text = head(local);
    let profile = if keys.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    voice(&mut text, local.port, profile, &menu.voices, Some((menu.keys, 8_000)), menu.ptime);
    if let Some(keys) = keys {
        text.push_str(&keys.line(1));
    }
    let _ = write!(text, "a={}\r\n", menu.direction.attribute());
    text
}

/// What comes of the answer to an offer of ours.
///
/// # Errors
/// [`Refusal`] when it declines, or does not fit.
pub fn settle(answer: &Session, menu: &Menu, keys: Option<&OurKeys>) -> Result<Media, Refusal> {
    let stream = answer.streams.first().filter(|stream| stream.kind == "audio").ok_or(Refusal::Unfit)?;
    if stream.port == 0 {
        return Err(Refusal::NoVoice);
    }
    let formats: Vec<Format> = stream.formats().collect();
    let known = |theirs: &Format| menu.voices.iter().any(|ours| same_encoding(&theirs.encoding, &ours.encoding));
    let voice = formats.iter().find(|format| known(format)).cloned().ok_or(Refusal::NoFormat)?;
    let protection = match keys {
        Some(ours) => {
            let agreed = Protection::agree(&stream.crypto, ours);
            Some(agreed.ok_or(Refusal::NoProtection)?)
        }
        None => None,
    };
    let events = telephone_events(&formats, &voice);
    Ok(agreed(answer, stream, 0, voice, events, protection, menu))
}

fn head(local: &Local) -> String {
    let Local { address, session, version, .. } = local;
    let family = if address.is_ipv6() { "IP6" } else { "IP4" };
    format!("v=0\r\no=- {session} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n")
}

fn voice(text: &mut String, port: u16, profile: &str, voices: &[Format], keys: Option<(u8, u32)>, ptime: u16) {
    let _ = write!(text, "m=audio {port} {profile}");
    for number in voices.iter().map(|format| format.payload_type).chain(keys.map(|(number, _)| number)) {
        let _ = write!(text, " {number}");
    }
    text.push_str("\r\n");
    for Format { payload_type, encoding, parameters } in voices {
        let _ = write!(text, "a=rtpmap:{payload_type} {encoding}\r\n");
        if let Some(parameters) = parameters {
            let _ = write!(text, "a=fmtp:{payload_type} {parameters}\r\n");
        }
    }
    if let Some((number, clock)) = keys {
        let _ = write!(text, "a=rtpmap:{number} telephone-event/{clock}\r\na=fmtp:{number} 0-15\r\n");
    }
    let _ = write!(text, "a=ptime:{ptime}\r\n");
}
