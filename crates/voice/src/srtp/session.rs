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
