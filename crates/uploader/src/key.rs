//! The ingest key: read from a file or taken from the environment, never from the command line, never printed.
//!
//! A key in a file is read again when the store says that it does not know it: a rotated key needs no restart.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::Error;

/// Where the key is.
#[derive(Clone)]
pub enum Key {
    /// In this file, alone: the key, or `user:key`.
    File(PathBuf),
    /// Here.
    Text(String),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the key in {}", path.display()),
            Self::Text(_) => f.write_str("a key"),
        }
    }
}

impl Key {
    /// The header that carries it: `X-Auth-Token` for a key alone, Basic for `user:key`.
    pub(crate) fn header(&self) -> Result<(HeaderName, HeaderValue), Error> {
        let text = match self {
            Self::File(path) => fs::read_to_string(path).map_err(|error| Error::Folder(path.clone(), error))?,
            Self::Text(text) => text.clone(),
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::Key("it is empty"));
        }
        let (name, value) = match text.contains(':') {
            true => (AUTHORIZATION, format!("Basic {}", STANDARD.encode(text))),
            false => (HeaderName::from_static("x-auth-token"), text.to_owned()),
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| Error::Key("it is no text in one line"))?;
        value.set_sensitive(true);
        Ok((name, value))
    }

    /// Says so when others on the machine can read the key.
    pub(crate) fn warn_when_open(&self) {
        let Self::File(path) = self else { return };
        let Ok(metadata) = fs::metadata(path) else { return };
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(file = %path.display(), "others can read the key: chmod 600");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_as_a_token_and_a_pair_as_basic() {
        let (name, value) = Key::Text(" abc123\n".into()).header().unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-auth-token", "abc123"));
        let (name, value) = Key::Text("me:abc123".into()).header().unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("authorization", "Basic bWU6YWJjMTIz"));
        assert!(value.is_sensitive());
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_shown() {
        for text in ["", " \n", "two\nlines"] {
            assert!(matches!(Key::Text(text.into()).header(), Err(Error::Key(_))), "{text:?}");
        }
        assert!(matches!(Key::File("/nowhere/key".into()).header(), Err(Error::Folder(..))));
        assert!(!format!("{:?}", Key::Text("secret".into())).contains("secret"));
    }
}
