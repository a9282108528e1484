//! Keys in a description (SDES, RFC 4568): `a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:…`.
//!
//! Who reads the description reads the keys: they protect as well as the signalling does. What we refuse: key derivation rates, lifetimes
//! below the packets of a call, keys with an index (MKI), and session parameters that would turn protection off.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// How packets are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// AES in counter mode, tags of 80 bits: what everybody has.
    AesCm128Sha1Tag80,
    /// The same with tags of 32 bits.
    AesCm128Sha1Tag32,
}

impl Suite {
    /// All of them, the best first.
    pub const ALL: [Self; 2] = [Self::AesCm128Sha1Tag80, Self::AesCm128Sha1Tag32];

    /// Its name in a description.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128Sha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128Sha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }
}

/// Bytes of a master key with its salt, for every suite that we know.
const KEY: usize = 30;

/// A master key and its salt, 30 bytes. Does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys(Zeroizing<Vec<u8>>);

impl Keys {
    /// New ones.
    pub(crate) fn random() -> Self {
        let mut bytes = Zeroizing::new(vec![0; KEY]);
        bytes.iter_mut().for_each(|byte| *byte = rand::random());
        Self(bytes)
    }

    fn parse(inline: &str) -> Option<Self> {
        let mut parts = inline.split('|');
        let bytes = Zeroizing::new(STANDARD.decode(parts.next()?.trim()).ok()?);
        // A lifetime is a power of two or a number; a key index looks like `1:4` and is not for us.
        let plain = parts.all(|part| !part.contains(':'));
        (bytes.len() == KEY && plain).then_some(Self(bytes))
    }

    /// The key, 16 bytes, and after it the salt, 14.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn written(&self) -> String {
        STANDARD.encode(self.bytes())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// What both sides agreed on: the suite, and the keys of each direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// How.
    pub suite: Suite,
    /// What we send is protected with these.
    pub ours: Keys,
    /// What we receive is protected with these.
    pub theirs: Keys,
    pub(super) tag: u32,
}

impl Protection {
    /// What comes of the `a=crypto` lines of an offer: the first that we can use. `ours` is used again where there is one.
    pub(super) fn accept(lines: &[String], ours: Option<&Self>) -> Option<Self> {
        lines.iter().find_map(|line| {
            let (tag, suite, theirs) = read(line)?;
            let ours =
                ours.filter(|before| before.suite == suite).map_or_else(Keys::random, |before| before.ours.clone());
            Some(Self { suite, ours, theirs, tag })
        })
    }

    /// What comes of the answer to an offer that had these keys.
    pub(super) fn agree(lines: &[String], ours: &OurKeys) -> Option<Self> {
        let (tag, suite, theirs) = lines.iter().find_map(|line| read(line))?;
        (suite == ours.suite).then(|| Self { suite, ours: ours.keys.clone(), theirs, tag })
    }

    /// Our half, to offer it again.
    #[must_use]
    pub fn ours(&self) -> OurKeys {
        OurKeys { suite: self.suite, keys: self.ours.clone() }
    }

    pub(super) fn line(&self) -> String {
        self.ours().line(self.tag)
    }
}

/// What we offer of a protection: a suite, and the keys for what we send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurKeys {
    suite: Suite,
    keys: Keys,
}

impl OurKeys {
    /// New ones for the best suite.
    #[must_use]
    pub fn random() -> Self {
        Self { suite: Suite::AesCm128Sha1Tag80, keys: Keys::random() }
    }

    pub(super) fn line(&self, tag: u32) -> String {
        format!("a=crypto:{tag} {} inline:{}\r\n", self.suite.name(), self.keys.written())
    }
}

fn read(line: &str) -> Option<(u32, Suite, Keys)> {
    let mut words = line.split_ascii_whitespace();
    let tag = words.next()?.parse().ok()?;
    let name = words.next()?;
    let suite = Suite::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))?;
    // Several keys are separated by semicolons, and then need an index.
    let keys = Keys::parse(words.next()?.strip_prefix("inline:")?)?;
    let harmless = |word: &str| word.starts_with("WSH=") || word.starts_with('-');
    words.all(harmless).then_some((tag, suite, keys))
}
