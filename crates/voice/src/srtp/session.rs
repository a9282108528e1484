//! The keys of a session, what they do to a packet, and which packets were seen.

use std::fmt;

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyInit, KeyIvInit, StreamCipher};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{MasterKey, Suite};
use crate::Protection;

type Cipher = Ctr128BE<Aes128>;

/// One direction's keys.
pub(super) struct Session {
    suite: Suite,
    key: Zeroizing<[u8; 16]>,
    salt: Zeroizing<[u8; 14]>,
    mac: Hmac<Sha1>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// The derivation of RFC 3711, 4.3 with a rate of nothing: the key stream at the salt with a label in it.
pub(super) fn derive<const N: usize>(master: &MasterKey, label: u8) -> Zeroizing<[u8; N]> {
    let mut start = [0; 16];
    start[..14].copy_from_slice(&master.salt());
    start[7] ^= label;
    let mut derived = Zeroizing::new([0; N]);
    Cipher::new(&master.key().into(), &start.into()).apply_keystream(&mut *derived);
    derived
}

impl Session {
    pub(super) fn new(suite: Suite, master: &MasterKey) -> Self {
        let authentication: Zeroizing<[u8; 20]> = derive(master, 1);
        let mut block = Zeroizing::new([0; 64]);
        block[..20].copy_from_slice(&*authentication);
        // A key filled with zeros to the length of a block is the same key.
        let mac = <Hmac<Sha1> as KeyInit>::new(&(*block).into());
        Self { suite, key: derive(master, 0), salt: derive(master, 2), mac }
    }

    /// The length of the tag.
    pub(super) fn tag(&self) -> usize {
        self.suite.tag()
    }

    fn authenticate(&self, packet: &[u8], index: u64) -> [u8; 20] {
        let rollovers = ((index >> 16) as u32).to_be_bytes();
        self.mac.clone().chain_update(packet).chain_update(rollovers).finalize().into_bytes().into()
    }

    pub(super) fn is_authentic(&self, packet: &[u8], index: u64, tag: &[u8]) -> bool {
        self.authenticate(packet, index)[..self.tag()].ct_eq(tag).into()
    }

    pub(super) fn append_tag(&self, packet: &mut Vec<u8>, index: u64) {
        let tag = self.authenticate(packet, index);
        packet.extend_from_slice(&tag[..self.tag()]);
    }

    /// Encrypts or decrypts, which is the same.
    pub(super) fn apply(&self, payload: &mut [u8], ssrc: u32, index: u64) {
        let mut start = [0_u8; 16];
        start[..14].copy_from_slice(&*self.salt);
        let ssrc = ssrc.to_be_bytes();
        let index = index.to_be_bytes();
        start[4..8].iter_mut().zip(ssrc).for_each(|(byte, with)| *byte ^= with);
        start[6..14].iter_mut().zip(index).for_each(|(byte, with)| *byte ^= with);
        Cipher::new(&(*self.key).into(), &start.into()).apply_keystream(payload);
    }
}

/// How far a stream is: its highest index (48 bits, rollovers and sequence), and which of the 64 up to it were seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Index {
    highest: Option<u64>,
    seen: u64,
}

impl Index {
    /// The index that a sequence most likely has (RFC 3711, 3.3.1).
    pub(super) fn guess(self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else { return u64::from(sequence) };
        let ahead = sequence.wrapping_sub(highest as u16).cast_signed();
        highest.checked_add_signed(i64::from(ahead)).unwrap_or(u64::from(sequence))
    }

    /// Remembers that this index was seen.
    pub(super) fn accept(&mut self, index: u64) -> Result<(), Protection> {
        let highest = self.highest.unwrap_or(index);
        if index > highest || self.highest.is_none() {
            let ahead = u32::try_from(index - highest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = Some(index);
            return Ok(());
        }
        let behind = highest - index;
        if behind >= 64 {
            return Err(Protection::Old);
        }
        if self.seen >> behind & 1 == 1 {
            return Err(Protection::Replayed);
        }
        self.seen |= 1 << behind;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 3711, B.3.
    fn master() -> MasterKey {
        let mut bytes = [0; MasterKey::LENGTH];
        hex::decode_to_slice("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6", &mut bytes).unwrap();
        MasterKey::new(bytes)
    }

    #[test]
    fn keys_are_derived_as_in_the_standard() {
        assert_eq!(hex::encode(*derive::<16>(&master(), 0)), "c61e7a93744f39ee10734afe3ff7a087");
        assert_eq!(hex::encode(*derive::<14>(&master(), 2)), "30cbbc08863d8c85d49db34a9ae1");
        let authentication = "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbcee049646c43d9327ad175578ef72270986371c10c9a369ac2f94a8c5fbcdddc256d6e919a48b610ef17c2041e474035766b68642c59bbfc2f34db60dbdfb2";
        assert_eq!(hex::encode(*derive::<94>(&master(), 1)), authentication);
    }

    #[test]
    fn the_key_stream_is_the_standard_s() {
        // RFC 3711, B.2.
        let (mut key, mut salt) = (Zeroizing::new([0; 16]), Zeroizing::new([0; 14]));
        hex::decode_to_slice("2b7e151628aed2a6abf7158809cf4f3c", &mut *key).unwrap();
        hex::decode_to_slice("f0f1f2f3f4f5f6f7f8f9fafbfcfd", &mut *salt).unwrap();
        let session = Session { key, salt, ..Session::new(Suite::AesCm128HmacSha1_80, &master()) };
        let mut stream = vec![0; 0xff02 * 16];
        session.apply(&mut stream, 0, 0);
        assert_eq!(
            hex::encode(&stream[..48]),
            "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0"
        );
        assert_eq!(
            hex::encode(&stream[0xfeff * 16..0xff02 * 16]),
            "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae6a2cc3787889374fbeb4c81b17ba6c44"
        );
    }

    fn stream(indices: &[u64]) -> (Index, Vec<Result<(), Protection>>) {
        let mut index = Index::default();
        let said = indices.iter().map(|&at| index.accept(at)).collect();
        (index, said)
    }

    #[test]
    fn what_was_seen_is_not_taken_again() {
        let (_, said) = stream(&[100, 101, 100, 99, 99, 200, 137, 136, 137, 101]);
        use Protection::{Old, Replayed};
        let expected =
            [Ok(()), Ok(()), Err(Replayed), Ok(()), Err(Replayed), Ok(()), Ok(()), Err(Old), Err(Replayed), Err(Old)];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_sequence_that_starts_over_goes_on() {
        let (index, _) = stream(&[65_530]);
        assert_eq!((index.guess(65_535), index.guess(3), index.guess(65_000)), (65_535, 65_539, 65_000));
        let (index, _) = stream(&[65_536 * 7 + 2]);
        assert_eq!(
            (index.guess(1), index.guess(65_535), index.guess(40_000)),
            (65_536 * 7 + 1, 65_536 * 7 - 1, 65_536 * 6 + 40_000)
        );
        let (index, _) = stream(&[2]);
        assert_eq!(index.guess(65_535), 65_535, "before the beginning there is nothing");
    }

    proptest! {
        #[test]
        fn no_index_is_taken_twice_and_every_new_one_is(indices in prop::collection::vec(0..300_u64, 0..200)) {
            let mut seen = std::collections::BTreeSet::new();
            let mut index = Index::default();
            for at in indices {
                let highest = seen.last().copied().unwrap_or(at);
                let expected = if seen.contains(&at) && highest - at < 64 {
                    Err(Protection::Replayed)
                } else if at + 64 <= highest {
                    Err(Protection::Old)
                } else {
                    Ok(())
                };
                prop_assert_eq!(index.accept(at), expected);
                if expected.is_ok() {
                    seen.insert(at);
                }
            }
        }
    }
}
