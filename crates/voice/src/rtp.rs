//! The packets that carry a voice: RTP (RFC 3550), read and written.
//!
//! A socket that receives calls hears from everybody. [`Packet::parse`] checks every length before it believes it and copies nothing; what
//! it gives out lies in the datagram. [`is_rtcp`] tells the reports that share the socket (RFC 5761) from the voice.

use crate::Error;

/// Bytes before the payload of a packet without extras, such as ours.
pub const HEADER: usize = 12;

/// Who and which a packet is, and where its payload begins: all that can be read of an encrypted one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) sequence: u16,
    pub(crate) ssrc: u32,
    pub(crate) start: usize,
}

/// One RTP packet, its payload still in the datagram that it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The first packet after a silence, where the sender says so.
    pub marker: bool,
    /// What the payload is, by the numbers that were agreed on: 0 to 127.
    pub payload_type: u8,
    /// One more for every packet, beginning anywhere, starting over after 65,535.
    pub sequence: u16,
    /// When the payload begins, in ticks of the codec's clock, beginning anywhere.
    pub timestamp: u32,
    /// Who sends: a number drawn for the stream.
    pub ssrc: u32,
    /// The codec's bytes, without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram. Contributing sources and header extensions are skipped, padding is cut off.
    ///
    /// # Errors
    ///
    /// [`Error::Packet`] when it is not RTP of version 2, or when it is shorter than it says.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Error> {
        let (fields, rest) = split(datagram)?;
        let [first, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fields;
        let payload = if first & 0x20 == 0 { rest } else { before_padding(rest)? };
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            payload,
        })
    }

    /// Reads what is in the clear of an encrypted datagram; the padding is not.
    pub(crate) fn parse_header(datagram: &[u8]) -> Result<Header, Error> {
        let (fields, rest) = split(datagram)?;
        let [_, _, s0, s1, _, _, _, _, r0, r1, r2, r3] = *fields;
        let (sequence, ssrc) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([r0, r1, r2, r3]));
        Ok(Header { sequence, ssrc, start: datagram.len() - rest.len() })
    }

    /// Appends the packet's header to a datagram; the payload is to follow.
    pub fn write_header(&self, datagram: &mut Vec<u8>) {
        datagram.extend([0x80, u8::from(self.marker) << 7 | self.payload_type & 0x7f]);
        datagram.extend(self.sequence.to_be_bytes());
        datagram.extend(self.timestamp.to_be_bytes());
        datagram.extend(self.ssrc.to_be_bytes());
    }

    /// Appends the whole packet to a datagram.
    pub fn write(&self, datagram: &mut Vec<u8>) {
        self.write_header(datagram);
        datagram.extend_from_slice(self.payload);
    }

    /// The packet as a datagram of its own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(HEADER + self.payload.len());
        self.write(&mut datagram);
        datagram
    }
}

/// The fixed fields, and what comes after sources and extension.
fn split(datagram: &[u8]) -> Result<(&[u8; HEADER], &[u8]), Error> {
    let (fields, rest) = datagram.split_first_chunk::<HEADER>().ok_or(Error::Packet("shorter than a header"))?;
    let first = fields[0];
    if first >> 6 != 2 {
        return Err(Error::Packet("not version 2"));
    }
    let sources = usize::from(first & 0x0f) * 4;
    let rest = rest.get(sources..).ok_or(Error::Packet("shorter than its list of sources"))?;
    Ok((fields, if first & 0x10 == 0 { rest } else { after_extension(rest)? }))
}

fn after_extension(rest: &[u8]) -> Result<&[u8], Error> {
    let ([_, _, high, low], rest) = rest.split_first_chunk::<4>().ok_or(Error::Packet("shorter than its extension"))?;
    let words = usize::from(u16::from_be_bytes([*high, *low]));
    rest.get(words * 4..).ok_or(Error::Packet("shorter than its extension"))
}

fn before_padding(rest: &[u8]) -> Result<&[u8], Error> {
    let padding = rest.last().copied().map(usize::from).ok_or(Error::Packet("padding without a length"))?;
    match rest.len().checked_sub(padding) {
        Some(length) if padding > 0 => Ok(&rest[..length]),
        _ => Err(Error::Packet("more padding than there is")),
    }
}

/// Whether a datagram is an RTCP packet that came on the same port (RFC 5761: packet types 192 to 223, which no payload type of ours
/// looks like). It is to be ignored.
#[must_use]
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, second, _, _, ..] if first >> 6 == 2 && (192..=223).contains(second))
}

/// Whether a datagram could be RTP at all: version 2, long enough, and no report. Cheap, for a socket that hears STUN and noise as well.
#[must_use]
pub fn is_rtp(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram.first().is_some_and(|first| first >> 6 == 2) && !is_rtcp(datagram)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Packet<'_> = Packet {
        marker: true,
        payload_type: 101,
        sequence: 65_535,
        timestamp: 0x0102_0304,
        ssrc: 0xdead_beef,
        payload: b"voice",
    };

    #[test]
    fn a_packet_is_written_and_read() {
        let bytes = PLAIN.to_vec();
        assert_eq!(bytes[..4], [0x80, 0x80 | 101, 0xff, 0xff]);
        assert_eq!(Packet::parse(&bytes), Ok(PLAIN));
    }

    #[test]
    fn sources_extension_and_padding_are_no_payload() {
        let mut bytes = PLAIN.to_vec();
        bytes[0] = 0x80 | 0x20 | 0x10 | 2;
        let extras = [&[1; 8][..], &[0xbe, 0xde, 0, 1, 9, 9, 9, 9]].concat();
        bytes.splice(HEADER..HEADER, extras);
        bytes.extend([0, 0, 3]);
        assert_eq!(Packet::parse(&bytes), Ok(PLAIN));
    }

    #[test]
    fn a_packet_shorter_than_it_says_is_refused() {
        let with_first = |first: u8, tail: &[u8]| {
            let mut bytes = PLAIN.to_vec();
            bytes.truncate(HEADER);
            bytes[0] = first;
            bytes.extend_from_slice(tail);
            Packet::parse(&bytes).is_err()
        };
        assert!(with_first(0x40, b"voice"), "version 1");
        assert!(with_first(0x82, &[0; 7]), "two sources");
        assert!(with_first(0x90, &[0, 0, 0]), "no room for an extension");
        assert!(with_first(0x90, &[0, 0, 0, 2, 0, 0, 0, 0]), "an extension of two words");
        assert!(with_first(0xa0, &[]), "padding, and nothing there");
        assert!(with_first(0xa0, &[0]), "padding of no length");
        assert!(with_first(0xa0, &[7, 2, 4]), "more padding than payload");
        assert!(!with_first(0xa0, &[7, 2, 3]), "padding and nothing else");
        assert!(Packet::parse(&PLAIN.to_vec()[..11]).is_err());
    }

    #[test]
    fn reports_are_told_from_voice() {
        let report = [0x81, 200, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(is_rtcp(&report) && !is_rtp(&report));
        assert!(is_rtp(&PLAIN.to_vec()) && !is_rtcp(&PLAIN.to_vec()));
        assert!(!is_rtp(b"\x00\x01\x00\x00\x21\x12\xa4\x42 STUN"));
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes: Vec<u8>, first in 0x80..=0xbf_u8) {
            let _ = Packet::parse(&bytes);
            let mut likely = bytes;
            if let Some(byte) = likely.first_mut() {
                *byte = first;
            }
            if let Ok(packet) = Packet::parse(&likely) {
                prop_assert!(packet.payload.len() <= likely.len() - HEADER);
            }
        }

        #[test]
        fn what_is_written_is_read(
            marker: bool, payload_type in 0..128_u8, sequence: u16, timestamp: u32, ssrc: u32, payload: Vec<u8>,
        ) {
            let packet = Packet { marker, payload_type, sequence, timestamp, ssrc, payload: &payload };
            let bytes = packet.to_vec();
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        }
    }
}
