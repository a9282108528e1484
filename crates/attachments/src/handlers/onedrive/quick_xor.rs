//! The digest that every OneDrive and SharePoint says of its files: 160 bits round which the bytes go in steps of eleven.
//!
//! After 160 bytes they come to where they began. So bytes that lie so far apart are put together first, many at a time, and go round only once.

const BYTES: usize = 20;
const STEP: usize = 11;
const ROUND: usize = BYTES * 8;

/// The digest of what it was fed so far.
pub(super) struct QuickXor {
    /// What came at each place of a round.
    round: [u8; ROUND],
    length: u64,
}

impl Default for QuickXor {
    fn default() -> Self {
        Self { round: [0; ROUND], length: 0 }
    }
}

impl QuickXor {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let at = (self.length % ROUND as u64) as usize;
        let (first, rest) = bytes.split_at((ROUND - at).min(bytes.len()));
        put_to(&mut self.round[at..], first);
        rest.chunks(ROUND).for_each(|bytes| put_to(&mut self.round, bytes));
        self.length += bytes.len() as u64;
    }

    pub(super) fn finish(self) -> [u8; BYTES] {
        let mut ring = [0; BYTES];
        for (n, byte) in self.round.into_iter().enumerate() {
            let at = n * STEP % ROUND;
            let [low, high] = (u16::from(byte) << (at % 8)).to_le_bytes();
            ring[at / 8] ^= low;
            ring[(at / 8 + 1) % BYTES] ^= high;
        }
        put_to(&mut ring[BYTES - 8..], &self.length.to_le_bytes());
        ring
    }
}

fn put_to(there: &mut [u8], bytes: &[u8]) {
    there.iter_mut().zip(bytes).for_each(|(there, byte)| *there ^= byte);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(pieces: &[&[u8]]) -> String {
        let mut digest = QuickXor::default();
        pieces.iter().for_each(|piece| digest.update(piece));
        hex::encode(digest.finish())
    }

    #[test]
    fn known_digests_are_found() {
        assert_eq!(digest(&[]), "0000000000000000000000000000000000000000");
        // One byte: itself at the beginning, its length at the end.
        assert_eq!(digest(&[b"J"]), "4a00000000000000000000000100000000000000");
        // The fifteenth byte stands at bit 154 and goes round.
        let mut fifteen = [0; 15];
        fifteen[14] = 0xff;
        assert_eq!(digest(&[&fifteen]), "0300000000000000000000000f000000000000fc");
    }

    #[test]
    fn pieces_do_not_matter() {
        let bytes: Vec<u8> = (0..1000_u32).map(|n| (n * 7 % 251) as u8).collect();
        assert_eq!(digest(&[&bytes]), digest(&[&bytes[..333], &bytes[333..334], &bytes[334..]]));
    }
}
