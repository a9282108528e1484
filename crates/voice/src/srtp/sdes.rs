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
