//! What two parties say of their media (SDP, RFC 4566): read leniently, written strictly.
//!
//! [`Session::parse`] takes what real telephones send: bare line feeds, lines in any order, attributes that nobody knows. It refuses only what
//! has no sense, and what is so large that it was meant to hurt. What comes of an offer is in `negotiation`. No sockets and no clock here.

use std::net::IpAddr;
use std::str::FromStr;

use voice::Codec;

mod crypto;
mod negotiation;
#[cfg(test)]
mod tests;

pub use crypto::{Protection, new_key};
pub use negotiation::{Local, Media, Menu, Refusal, answer, offer, settle};

/// The largest description that is read.
const LARGEST: usize = 32 * 1024;
/// The most streams, and the most lines that belong to one.
const MOST_STREAMS: usize = 16;
const MOST_LINES: usize = 512;

/// Why a description cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session description: {0}")]
pub struct Unreadable(&'static str);

/// A description of media: those of both, or of one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    connection: Option<IpAddr>,
    direction: Option<Direction>,
    streams: Vec<Stream>,
}

/// One stream, an `m=` line and what follows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stream {
    kind: String,
    port: u16,
    profile: String,
    formats: Vec<String>,
    connection: Option<IpAddr>,
    direction: Option<Direction>,
    ptime: Option<u16>,
    maps: Vec<(u8, String)>,
    crypto: Vec<String>,
    rtcp_mux: bool,
}

/// Which way the sound goes, seen from who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Both,
    /// From who says so to the other.
    Send,
    /// The other way round.
    Receive,
    /// No way: both wait.
    Neither,
}

impl Direction {
    /// Whether who says so sends.
    #[must_use]
    pub fn sends(self) -> bool {
        matches!(self, Self::Both | Self::Send)
    }

    /// Whether who says so listens.
    #[must_use]
    pub fn receives(self) -> bool {
        matches!(self, Self::Both | Self::Receive)
    }

    /// The same, seen from the other side.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::Both,
            (true, false) => Self::Send,
            (false, true) => Self::Receive,
            (false, false) => Self::Neither,
        }
    }

    fn attribute(self) -> &'static str {
        match self {
            Self::Both => "sendrecv",
            Self::Send => "sendonly",
            Self::Receive => "recvonly",
            Self::Neither => "inactive",
        }
    }
}

impl FromStr for Direction {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Both, Self::Send, Self::Receive, Self::Neither]
            .into_iter()
            .find(|direction| direction.attribute().eq_ignore_ascii_case(text))
            .ok_or(())
    }
}

/// A format that a stream may have: a payload type, and what it means as in `a=rtpmap`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Format {
    payload_type: u8,
    encoding: String,
}

impl Session {
    /// Reads a description.
    ///
    /// # Errors
    /// [`Unreadable`] when it is none.
    pub fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        if text.len() > LARGEST {
            return Err(Unreadable("it is too large"));
        }
        let text = std::str::from_utf8(text).map_err(|_| Unreadable("it is not text"))?;
        let mut session = Self::default();
        let mut versioned = false;
        for (number, line) in text.lines().enumerate() {
            if number >= MOST_LINES {
                return Err(Unreadable("it has too many lines"));
            }
            let line = line.trim_end();
            let Some((kind, value)) = line.split_once('=') else {
                if line.is_empty() {
                    continue;
                }
                return Err(Unreadable("a line has no type"));
            };
            match kind {
                "v" => versioned = true,
                "m" => session.begin(value)?,
                "c" => session.connect(value)?,
                "a" => session.describe(value),
                _ => {}
            }
        }
        if versioned { Ok(session) } else { Err(Unreadable("it has no version")) }
    }

    fn begin(&mut self, value: &str) -> Result<(), Unreadable> {
        if self.streams.len() == MOST_STREAMS {
            return Err(Unreadable("it has too many streams"));
        }
        let mut words = value.split_ascii_whitespace();
        let (Some(kind), Some(port), Some(profile)) = (words.next(), words.next(), words.next()) else {
            return Err(Unreadable("a stream is incomplete"));
        };
        let port =
            port.split('/').next().and_then(|port| port.parse().ok()).ok_or(Unreadable("a port is no number"))?;
        self.streams.push(Stream {
            kind: kind.to_ascii_lowercase(),
            port,
            profile: profile.to_owned(),
            formats: words.map(str::to_owned).collect(),
            ..Stream::default()
        });
        Ok(())
    }

    fn connect(&mut self, value: &str) -> Result<(), Unreadable> {
        let mut words = value.split_ascii_whitespace();
        let (Some(net), Some(_), Some(address)) = (words.next(), words.next(), words.next()) else {
            return Err(Unreadable("a connection is incomplete"));
        };
        if !net.eq_ignore_ascii_case("IN") {
            return Err(Unreadable("a connection is not on the Internet"));
        }
        // What follows a slash is about multicast. A name instead of an address is not looked up: nobody sends one.
        let address = address.split('/').next().and_then(|address| address.parse().ok());
        let address = Some(address.ok_or(Unreadable("an address is none"))?);
        match self.streams.last_mut() {
            Some(stream) => stream.connection = address,
            None => self.connection = address,
        }
        Ok(())
    }

    fn describe(&mut self, value: &str) {
        let (name, value) = value.split_once(':').unwrap_or((value, ""));
        if let Ok(direction) = name.parse() {
            match self.streams.last_mut() {
                Some(stream) => stream.direction = Some(direction),
                None => self.direction = Some(direction),
            }
            return;
        }
        let Some(stream) = self.streams.last_mut() else { return };
        let numbered = || {
            let (number, rest) = value.trim_start().split_once(' ')?;
            Some((number.parse::<u8>().ok().filter(|number| *number < 128)?, rest.trim().to_owned()))
        };
        match name.to_ascii_lowercase().as_str() {
            "rtpmap" => stream.maps.extend(numbered()),
            "ptime" => stream.ptime = value.trim().parse().ok(),
            "crypto" => stream.crypto.push(value.to_owned()),
            "rtcp-mux" => stream.rtcp_mux = true,
            _ => {}
        }
    }
}

impl Stream {
    /// The formats of a voice stream, in the order in which its sender likes them.
    fn formats(&self) -> impl Iterator<Item = Format> {
        self.formats.iter().filter_map(|format| {
            let payload_type = format.parse::<u8>().ok().filter(|number| *number < 128)?;
            let named =
                self.maps.iter().find(|(number, _)| *number == payload_type).map(|(_, encoding)| encoding.clone());
            let encoding = named.or_else(|| Codec::from_static(payload_type).map(Codec::rtpmap))?;
            Some(Format { payload_type, encoding })
        })
    }

    /// RTP without or with protection, as its profile says; none for what is no RTP, or is protected otherwise (DTLS).
    fn is_protected(&self) -> Option<bool> {
        match self.profile.to_ascii_uppercase().as_str() {
            "RTP/AVP" | "RTP/AVPF" => Some(false),
            "RTP/SAVP" | "RTP/SAVPF" => Some(true),
            _ => None,
        }
    }
}
