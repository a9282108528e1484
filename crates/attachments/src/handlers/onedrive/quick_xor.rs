//! The digest that every OneDrive and SharePoint says of its files: 160 bits round which the bytes go in steps of eleven.

const BYTES: usize = 20;
const STEP: usize = 11;

/// The digest of what it was fed so far.
#[derive(Default)]
pub(super) struct QuickXor {
    ring: [u8; BYTES],
    at: usize,
    length: u64,
}

impl QuickXor {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let shifted = u16::from(*byte) << (self.at % 8);
            let [low, high] = shifted.to_le_bytes();
            self.ring[self.at / 8] ^= low;
            self.ring[(self.at / 8 + 1) % BYTES] ^= high;
            self.at = (self.at + STEP) % (BYTES * 8);
        }
        self.length += bytes.len() as u64;
    }

    pub(super) fn finish(mut self) -> [u8; BYTES] {
        for (place, byte) in self.ring[BYTES - 8..].iter_mut().zip(self.length.to_le_bytes()) {
            *place ^= byte;
        }
        self.ring
    }
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
