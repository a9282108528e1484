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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> MasterKey {
        let mut bytes = [0; MasterKey::LENGTH];
        hex::decode_to_slice("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6", &mut bytes).unwrap();
        bytes[0] = first;
        MasterKey::new(bytes)
    }

    fn packet(sequence: u16, ssrc: u32) -> Vec<u8> {
        Packet { marker: false, payload_type: 0, sequence, timestamp: 160, ssrc, payload: &[0x55; 160] }.to_vec()
    }

    #[test]
    fn a_packet_is_sealed_as_others_seal_it() {
        // The packet that libsrtp checks itself with.
        let plain = hex::decode("800f1234decafbadcafebabeabababababababababababababababab").unwrap();
        let sealed =
            hex::decode("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb").unwrap();
        let mut datagram = plain.clone();
        Sealer::new(Suite::AesCm128HmacSha1_80, &key(0xe1)).seal(&mut datagram).unwrap();
        assert_eq!(hex::encode(&datagram), hex::encode(&sealed));
        Opener::new(Suite::AesCm128HmacSha1_80, &key(0xe1)).open(&mut datagram).unwrap();
        assert_eq!(datagram, plain);
    }

    #[test]
    fn a_call_longer_than_the_sequence_is_opened_in_any_near_order() {
        for suite in Suite::ALL {
            let (mut sealer, mut opener) = (Sealer::new(suite, &key(1)), Opener::new(suite, &key(1)));
            let mut sealed: Vec<Vec<u8>> = (0..80_000_u32).map(|at| packet((at + 60_000) as u16, 9)).collect();
            sealed.iter_mut().for_each(|datagram| sealer.seal(datagram).unwrap());
            for pair in sealed.chunks_exact_mut(7) {
                pair.reverse();
            }
            for (at, datagram) in sealed.iter_mut().enumerate() {
                let again = datagram.clone();
                opener.open(datagram).unwrap_or_else(|error| panic!("{suite:?} {at}: {error}"));
                assert_eq!(datagram.len(), again.len() - suite.tag());
                assert_eq!(opener.open(&mut again.clone()), Err(Protection::Replayed));
            }
        }
    }

    #[test]
    fn what_another_key_sealed_is_refused_and_forgotten() {
        let (mut ours, mut theirs) = (packet(7, 9), packet(7, 9));
        Sealer::new(Suite::AesCm128HmacSha1_80, &key(1)).seal(&mut ours).unwrap();
        Sealer::new(Suite::AesCm128HmacSha1_80, &key(2)).seal(&mut theirs).unwrap();
        let mut opener = Opener::new(Suite::AesCm128HmacSha1_80, &key(1));
        let sealed = theirs.clone();
        assert_eq!(opener.open(&mut theirs), Err(Protection::Forged));
        assert_eq!(theirs, sealed, "left as it was");
        assert!(opener.streams.is_empty());
        opener.open(&mut ours).unwrap();
        assert_eq!(opener.open(&mut vec![0x80; 9]), Err(Protection::Short));
        assert_eq!(opener.open(&mut vec![0x80; 21]), Err(Protection::Short));
    }

    #[test]
    fn streams_are_counted() {
        let (mut sealer, mut opener) =
            (Sealer::new(Suite::AesCm128HmacSha1_32, &key(1)), Opener::new(Suite::AesCm128HmacSha1_32, &key(1)));
        let said: Vec<_> = (0..70)
            .map(|ssrc| {
                let mut datagram = packet(1, ssrc);
                sealer.seal(&mut datagram).unwrap();
                opener.open(&mut datagram)
            })
            .collect();
        assert_eq!(said.iter().filter(|said| said.is_ok()).count(), STREAMS);
        assert_eq!(said.last(), Some(&Err(Protection::Streams)));
    }

    #[test]
    fn a_key_with_a_name_is_looked_for_by_it() {
        let line = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        let plain = packet(1, 2);
        let mut datagram = plain.clone();
        let crypto = Crypto::parse(&format!("{line}|2^20|258:3")).unwrap();
        Sealer::new(crypto.suite, &crypto.key).seal(&mut datagram).unwrap();
        let at = datagram.len() - 10;
        let nameless = datagram.clone();
        datagram.splice(at..at, [0, 1, 2]);
        assert_eq!(Opener::of(&crypto).open(&mut nameless.clone()), Err(Protection::Forged));
        Opener::of(&crypto).open(&mut datagram).unwrap();
        assert_eq!(datagram, plain);
    }
}
