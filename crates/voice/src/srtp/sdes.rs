//! Keys as the SDP names them: `a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:…` (RFC 4568).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{MasterKey, Suite};
use crate::Error;

/// What one `a=crypto` line says. Does not print its key; [`Crypto::to_sdp`] writes it, for the SDP alone.
#[derive(Debug, Clone)]
pub struct Crypto {
    /// The line's number, which the answer repeats.
    pub tag: u32,
    /// The suite.
    pub suite: Suite,
    /// The key of whoever wrote the line.
    pub key: MasterKey,
    identifier: Vec<u8>,
}

impl Crypto {
    /// A line of ours.
    #[must_use]
    pub fn new(tag: u32, suite: Suite, key: MasterKey) -> Self {
        Self { tag, suite, key, identifier: Vec::new() }
    }

    /// Reads what stands after `a=crypto:`. A line with a suite that we do not have, with several keys, or with session parameters that would
    /// change what is to be done, cannot be used: the next one is to be tried.
    ///
    /// # Errors
    ///
    /// [`Error::Keying`] says what is wrong, and nothing of what stood there.
    pub fn parse(value: &str) -> Result<Self, Error> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|tag| tag.len() <= 9).and_then(|tag| tag.parse().ok());
        let tag = tag.ok_or(Error::Keying("there is no tag"))?;
        let suite = words.next().and_then(Suite::from_name).ok_or(Error::Keying("the suite is unknown"))?;
        let parameters = words.next().ok_or(Error::Keying("there is no key"))?;
        // WSH only advises on a window; everything else changes how packets look.
        if words.any(|parameter| !parameter.starts_with("WSH=")) {
            return Err(Error::Keying("a session parameter is unknown"));
        }
        if parameters.contains(';') {
            return Err(Error::Keying("there are several keys"));
        }
        let inline = parameters.get(..7).filter(|method| method.eq_ignore_ascii_case("inline:"));
        let inline = inline.and(parameters.get(7..)).ok_or(Error::Keying("the key is not inline"))?;
        let mut parts = inline.split('|');
        let key = decode(parts.next().unwrap_or_default())?;
        let identifier = parts.find_map(|part| part.split_once(':')).map(identify).transpose()?.unwrap_or_default();
        Ok(Self { tag, suite, key, identifier })
    }

    /// What is to stand after `a=crypto:`. Holds the key: never to be logged.
    #[must_use]
    pub fn to_sdp(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(STANDARD.encode(self.key.0.as_slice()));
        Zeroizing::new(format!("{} {} inline:{}", self.tag, self.suite.name(), *key))
    }

    pub(super) fn identifier(&self) -> &[u8] {
        &self.identifier
    }
}

fn decode(text: &str) -> Result<MasterKey, Error> {
    let mut bytes = Zeroizing::new([0; MasterKey::LENGTH + 3]);
    let length = STANDARD.decode_slice(text, &mut *bytes).map_err(|_| Error::Keying("the key is not base64"))?;
    match bytes[..length].first_chunk() {
        Some(key) if length == MasterKey::LENGTH => Ok(MasterKey::new(*key)),
        _ => Err(Error::Keying("the key has the wrong length")),
    }
}

/// `1:4`: every packet names its key by the number 1 in 4 bytes.
fn identify((value, length): (&str, &str)) -> Result<Vec<u8>, Error> {
    let (value, length) = (value.parse::<u64>(), length.parse::<usize>());
    match (value, length) {
        (Ok(value), Ok(length @ 1..=128)) if length >= 8 || value >> (length * 8) == 0 => {
            let mut bytes = vec![0; length];
            bytes.iter_mut().rev().zip(value.to_le_bytes()).for_each(|(byte, from)| *byte = from);
            Ok(bytes)
        }
        _ => Err(Error::Keying("the key's identifier is not one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn lines_as_telephones_write_them() {
        let used = [
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY",
            "2 AES_CM_128_HMAC_SHA1_32 inline:KEY",
            "  999999999   aes_cm_128_hmac_sha1_80   INLINE:KEY  ",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^20|1:4",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^20",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY|1:4 WSH=64",
        ];
        let crypto: Vec<_> = used.iter().map(|line| Crypto::parse(&line.replace("KEY", KEY)).unwrap()).collect();
        let identifiers: Vec<_> = crypto.iter().map(|crypto| crypto.identifier().to_vec()).collect();
        assert_eq!(crypto.iter().map(|crypto| crypto.tag).collect::<Vec<_>>(), [1, 2, 999_999_999, 1, 1, 1]);
        assert_eq!(identifiers, [vec![], vec![], vec![], vec![0, 0, 0, 1], vec![], vec![0, 0, 0, 1]]);
        assert_eq!(crypto[0].to_sdp().as_str(), used[0].replace("KEY", KEY));
    }

    #[test]
    fn lines_that_cannot_be_used() {
        let unused = [
            "",
            "1",
            "x AES_CM_128_HMAC_SHA1_80 inline:KEY",
            "9999999999 AES_CM_128_HMAC_SHA1_80 inline:KEY",
            "1 AEAD_AES_256_GCM inline:KEY",
            "1 AES_CM_128_HMAC_SHA1_80",
            "1 AES_CM_128_HMAC_SHA1_80 KEY",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KE",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEYKEY",
            "1 AES_CM_128_HMAC_SHA1_80 inline:no*base64*at*all*",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY;inline:KEY",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^20|x:4",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^20|256:1",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^20|1:0",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^20|1:129",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY UNENCRYPTED_SRTP",
            "1 AES_CM_128_HMAC_SHA1_80 inline:KEY KDR=1",
        ];
        for line in unused {
            let refused = Crypto::parse(&line.replace("KEY", KEY));
            assert!(matches!(refused, Err(Error::Keying(_))), "{line}");
            assert!(!format!("{refused:?}").contains(&KEY[..8]), "{line}");
        }
    }

    #[test]
    fn a_key_does_not_print() {
        let crypto = Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).unwrap();
        let printed = format!("{crypto:?} {:?}", super::super::Opener::of(&crypto));
        let bytes = format!("{:?}", &crypto.key.0[..4]);
        assert!(!printed.contains(&KEY[..8]) && !printed.contains(bytes.trim_matches(['[', ']'])), "{printed}");
    }
}
