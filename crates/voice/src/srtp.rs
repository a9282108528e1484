//! Voice that others on the way cannot hear: SRTP (RFC 3711) with keys from the SDP (RFC 4568).
//!
//! AES in counter mode with 128 bits, authenticated by HMAC-SHA1 of 80 or 32 bits, the two suites that every telephone has. An [`Opener`]
//! checks before it decrypts, refuses what it has seen before, and makes state for a stream only when a packet of it was authentic; a
//! [`Sealer`] is its counterpart. Keys do not print, and are wiped when they are no longer needed.
//!
//! Reports (SRTCP) are not opened: nobody here reads them. [`crate::rtp::is_rtcp`] knows them, their first bytes being in the clear.

mod sdes;
mod session;

use std::fmt;

pub use sdes::Crypto;
use zeroize::Zeroizing;

use crate::Protection;
use crate::rtp::Packet;
use session::{Index, Session};

/// Which cipher, and how long a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`: a tag of 10 bytes.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: a tag of 4 bytes.
    AesCm128HmacSha1_32,
}

impl Suite {
    /// Both, the better one first.
    pub const ALL: [Self; 2] = [Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32];

    /// The name in an `a=crypto` line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The suite of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    fn tag(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
        }
    }
}

/// The master key and salt of one direction. Does not print.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; Self::LENGTH]>);

impl MasterKey {
    /// Bytes of key and salt.
    pub const LENGTH: usize = 30;

    /// Of bytes that were drawn at random: 16 of key, 14 of salt.
    #[must_use]
    pub fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn key(&self) -> [u8; 16] {
        self.0.first_chunk().copied().unwrap_or_default()
    }

    fn salt(&self) -> [u8; 14] {
        self.0.last_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// One call has few streams: more than this are not remembered.
const STREAMS: usize = 64;

/// Opens what comes in.
#[derive(Debug)]
pub struct Opener {
    session: Session,
    /// What every packet carries before its tag, where the offer asked for it.
    identifier: Vec<u8>,
    streams: Vec<(u32, Index)>,
}

impl Opener {
    /// With the key that the other side named.
    #[must_use]
    pub fn new(suite: Suite, key: &MasterKey) -> Self {
        Self { session: Session::new(suite, key), identifier: Vec::new(), streams: Vec::new() }
    }

    /// With what the other side's `a=crypto` line says.
    #[must_use]
    pub fn of(crypto: &Crypto) -> Self {
        Self { identifier: crypto.identifier().to_vec(), ..Self::new(crypto.suite, &crypto.key) }
    }

    /// Opens a datagram in its place: afterwards it is a packet of plain RTP.
    ///
    /// # Errors
    ///
    /// Says why it was refused; then the datagram is as it was.
    pub fn open(&mut self, datagram: &mut Vec<u8>) -> Result<(), Protection> {
        let tail = self.session.tag() + self.identifier.len();
        let body = datagram.len().checked_sub(tail).ok_or(Protection::Short)?;
        let (inner, trailer) = datagram.split_at(body);
        let packet = Packet::parse_header(inner).map_err(|_| Protection::Short)?;
        let (identifier, tag) = trailer.split_at(self.identifier.len());
        let known = self.streams.iter().position(|(ssrc, _)| *ssrc == packet.ssrc);
        let mut index = known.map_or_else(Index::default, |at| self.streams[at].1);
        let at = index.guess(packet.sequence);
        if identifier != self.identifier || !self.session.is_authentic(inner, at, tag) {
            return Err(Protection::Forged);
        }
        index.accept(at)?;
        match known {
            Some(known) => self.streams[known].1 = index,
            None if self.streams.len() >= STREAMS => return Err(Protection::Streams),
            None => self.streams.push((packet.ssrc, index)),
        }
        let (ssrc, start) = (packet.ssrc, packet.start);
        datagram.truncate(body);
        self.session.apply(&mut datagram[start..], ssrc, at);
        Ok(())
    }
}

/// Seals what goes out.
#[derive(Debug)]
pub struct Sealer {
    session: Session,
    stream: Option<(u32, Index)>,
}

impl Sealer {
    /// With the key that we named.
    #[must_use]
    pub fn new(suite: Suite, key: &MasterKey) -> Self {
        Self { session: Session::new(suite, key), stream: None }
    }

    /// Seals a packet of plain RTP in its place. Packets are to come in their order.
    ///
    /// # Errors
    ///
    /// [`Protection::Short`] when it is no RTP.
    pub fn seal(&mut self, datagram: &mut Vec<u8>) -> Result<(), Protection> {
        let packet = Packet::parse_header(datagram).map_err(|_| Protection::Short)?;
        let mut index =
            self.stream.filter(|(ssrc, _)| *ssrc == packet.ssrc).map_or_else(Index::default, |(_, index)| index);
        let at = index.guess(packet.sequence);
        index.accept(at)?;
        self.stream = Some((packet.ssrc, index));
        let (ssrc, start) = (packet.ssrc, packet.start);
        self.session.apply(&mut datagram[start..], ssrc, at);
        self.session.append_tag(datagram, at);
        Ok(())
    }
}
