//! The proof that who ends a consent is who began it (RFC 7636).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

use crate::{Error, ErrorKind, Secret};

/// A verifier, kept, and its challenge, told.
#[derive(Clone, Debug)]
pub struct Pkce {
    /// Kept until the code comes back.
    pub verifier: Secret,
    /// Told when the consent begins; `S256`.
    pub challenge: String,
}

impl Pkce {
    /// A pair of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Other`] when the system gives no randomness.
    pub fn new() -> Result<Self, Error> {
        let mut random = [0; 32];
        SystemRandom::new().fill(&mut random).map_err(|_| Error::new(ErrorKind::Other, "no randomness"))?;
        let verifier = URL_SAFE_NO_PAD.encode(random);
        Ok(Self { challenge: challenge(&verifier), verifier: Secret::new(verifier) })
    }
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_specification() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
        let (one, other) = (Pkce::new().unwrap(), Pkce::new().unwrap());
        assert_ne!(one.challenge, other.challenge);
        assert!((43..=128).contains(&one.verifier.reveal().len()));
    }
}
