//! Keys in a description (SDES, RFC 4568): what comes of the `a=crypto` lines of both.
//!
//! Who reads the description reads the keys: they protect as well as the signalling does. What the lines say is [`voice::srtp`]'s business.

use voice::srtp::{Crypto, MasterKey, Suite};

/// What both sides agreed on. Keys do not print.
#[derive(Debug, Clone)]
pub struct Protection {
    /// What we send is protected with this.
    pub ours: Crypto,
    /// What we receive is protected with this.
    pub theirs: Crypto,
}

impl Protection {
    /// What comes of the lines of an offer: the first that we can use. Our key stays what it was `before`.
    pub(super) fn accept(lines: &[String], before: Option<&Self>) -> Option<Self> {
        let theirs = lines.iter().find_map(|line| Crypto::parse(line).ok())?;
        let key = before.filter(|before| before.ours.suite == theirs.suite).map(|before| before.ours.key.clone());
        let ours = Crypto::new(theirs.tag, theirs.suite, key.unwrap_or_else(random));
        Some(Self { ours, theirs })
    }

    /// What comes of the answer to an offer that had this line.
    pub(super) fn agree(lines: &[String], ours: &Crypto) -> Option<Self> {
        let theirs = lines.iter().find_map(|line| Crypto::parse(line).ok())?;
        (theirs.suite == ours.suite).then(|| Self { ours: ours.clone(), theirs })
    }
}

/// A line of ours with a new key, to be offered.
#[must_use]
pub fn new_key() -> Crypto {
    Crypto::new(1, Suite::AesCm128HmacSha1_80, random())
}

fn random() -> MasterKey {
    let mut bytes = [0; MasterKey::LENGTH];
    bytes.iter_mut().for_each(|byte| *byte = rand::random());
    MasterKey::new(bytes)
}

/// The line as it stands in the description.
pub(super) fn line(crypto: &Crypto) -> String {
    format!("a=crypto:{}\r\n", *crypto.to_sdp())
}
