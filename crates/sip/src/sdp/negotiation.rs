//! Offer and answer (RFC 3264): what two parties with one voice stream come to.
//!
//! An answer has one format for the voice and, where both know them, keys (`telephone-event`): so there is no doubt about what a packet
//! holds. Of several streams the first that fits is taken, the others are declined. Formats are taken in the order of our [`Menu`].

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use voice::srtp::Crypto;
use voice::{Codec, Voice};

use super::crypto::{self, Protection};
use super::{Direction, Format, Session, Stream};

/// The payload types that we offer where there is no fixed one: from here on for voices, and for keys.
const DYNAMIC: u8 = 96;
const KEYS: u8 = 101;

/// What we can do.
#[derive(Debug, Clone)]
pub struct Menu {
    /// Codecs for the voice, the dearest first.
    pub codecs: Vec<Codec>,
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
#[derive(Debug, Clone)]
pub struct Media {
    /// Where the other wants its sound; none while it wants none.
    pub remote: Option<SocketAddr>,
    /// What the other named as its address: packets come from there, or from behind a translator.
    pub announced: Option<IpAddr>,
    /// The voice, and the keys of a telephone beside it: codec and payload types.
    pub voice: Voice,
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
    // A codec that runs stays, whatever else the other could do by now.
    let running = before.map(|before| &before.voice.codec);
    let found = running.into_iter().chain(&menu.codecs).find_map(|ours| chosen(&offered, *ours));
    let voice = found.ok_or(Refusal::NoFormat)?;
    let protection = Protection::accept(&stream.crypto, before.and_then(|before| before.protection.as_ref()));
    if protected && protection.is_none() {
        return Err(Refusal::NoProtection);
    }
    Ok(agreed(offer, stream, index, voice, protection, menu))
}

/// This codec as it is offered, with the keys beside it.
fn chosen(offered: &[Format], codec: Codec) -> Option<Voice> {
    let format = offered.iter().find(|format| Codec::from_rtpmap(&format.encoding) == Some(codec))?;
    let telephone_event = telephone_events(offered, codec);
    Some(Voice { codec, payload_type: format.payload_type, telephone_event })
}

/// Keys with the clock of the voice, else with any.
fn telephone_events(formats: &[Format], codec: Codec) -> Option<(u8, u32)> {
    let events = || {
        formats.iter().filter_map(|format| {
            let (name, clock) = format.encoding.split_once('/')?;
            let clock = clock.split('/').next()?.trim().parse::<u32>().ok().filter(|clock| *clock > 0)?;
            name.trim().eq_ignore_ascii_case("telephone-event").then_some((format.payload_type, clock))
        })
    };
    events().find(|(_, clock)| *clock == codec.clock_rate()).or_else(|| events().next())
}

fn agreed(
    session: &Session,
    stream: &Stream,
    index: usize,
    voice: Voice,
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
        let Voice { codec, payload_type, telephone_event } = media.voice;
        voice(&mut text, port, &stream.profile, &[(payload_type, codec)], telephone_event, menu.ptime);
        if let Some(protection) = &media.protection {
            text.push_str(&crypto::line(&protection.ours));
        }
        if media.rtcp_mux {
            text.push_str("a=rtcp-mux\r\n");
        }
        let _ = write!(text, "a={}\r\n", media.direction.attribute());
    }
    text
}

/// Writes an offer: with a key nothing but a protected voice, without one nothing protected.
#[must_use]
pub fn offer(menu: &Menu, local: &Local, key: Option<&Crypto>) -> String {
    let mut text = head(local);
    let profile = if key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
    let dynamic = (DYNAMIC..).filter(|number| *number != KEYS);
    let numbered = |(codec, free): (Codec, u8)| (codec.static_payload_type().unwrap_or(free), codec);
    let voices: Vec<(u8, Codec)> = menu.codecs.iter().copied().zip(dynamic).map(numbered).collect();
    voice(&mut text, local.port, profile, &voices, Some((KEYS, 8_000)), menu.ptime);
    if let Some(key) = key {
        text.push_str(&crypto::line(key));
    }
    let _ = write!(text, "a={}\r\n", menu.direction.attribute());
    text
}

/// What comes of the answer to an offer of ours.
///
/// # Errors
/// [`Refusal`] when it declines, or does not fit.
pub fn settle(answer: &Session, menu: &Menu, key: Option<&Crypto>) -> Result<Media, Refusal> {
    let stream = answer.streams.first().filter(|stream| stream.kind == "audio").ok_or(Refusal::Unfit)?;
    if stream.port == 0 {
        return Err(Refusal::NoVoice);
    }
    let formats: Vec<Format> = stream.formats().collect();
    let known = |theirs: &Format| Codec::from_rtpmap(&theirs.encoding).filter(|codec| menu.codecs.contains(codec));
    let voice = formats.iter().find_map(known).and_then(|codec| chosen(&formats, codec)).ok_or(Refusal::NoFormat)?;
    let protection = match key {
        Some(ours) => {
            let agreed = Protection::agree(&stream.crypto, ours);
            Some(agreed.ok_or(Refusal::NoProtection)?)
        }
        None => None,
    };
    Ok(agreed(answer, stream, 0, voice, protection, menu))
}

fn head(local: &Local) -> String {
    let Local { address, session, version, .. } = local;
    let family = if address.is_ipv6() { "IP6" } else { "IP4" };
    format!("v=0\r\no=- {session} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n")
}

fn voice(text: &mut String, port: u16, profile: &str, voices: &[(u8, Codec)], keys: Option<(u8, u32)>, ptime: u16) {
    let _ = write!(text, "m=audio {port} {profile}");
    for number in voices.iter().map(|(number, _)| *number).chain(keys.map(|(number, _)| number)) {
        let _ = write!(text, " {number}");
    }
    text.push_str("\r\n");
    for (number, codec) in voices {
        let _ = write!(text, "a=rtpmap:{number} {}\r\n", codec.rtpmap());
    }
    if let Some((number, clock)) = keys {
        let _ = write!(text, "a=rtpmap:{number} telephone-event/{clock}\r\na=fmtp:{number} 0-15\r\n");
    }
    let _ = write!(text, "a=ptime:{ptime}\r\n");
}
