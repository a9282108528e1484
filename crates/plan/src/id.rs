//! The identifiers that the rest of the program passes around, one type each, so that a user's id can never stand where a document's is
//! asked for.
//!
//! An id is checked where it enters ([`parse`](AccountId::parse)) and trusted afterwards. The checks refuse what could be dangerous
//! further down (control characters, path tricks, endless names); they do not ask whether the thing exists. Cloning is cheap: the text is
//! shared.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not the identifier it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad {what} {value:?}: {reason}")]
pub struct BadId {
    /// What was expected, in words: `account id`, `database`, …
    pub what: &'static str,
    /// The text that was refused, cut to a length that a log line can bear.
    pub value: String,
    /// Why it was refused.
    pub reason: &'static str,
}

impl BadId {
    pub(crate) fn new(what: &'static str, value: &str, reason: &'static str) -> Self {
        Self { what, value: value.chars().take(80).collect(), reason }
    }
}

type Check = fn(&str) -> Result<(), &'static str>;

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $check:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Checks `text` and makes it a ", $what, ".\n\n# Errors\n\n[`BadId`] says what is wrong with it.")]
            pub fn parse(text: &str) -> Result<Self, BadId> {
                const CHECK: Check = $check;
                match CHECK(text) {
                    Ok(()) => Ok(Self(Arc::from(text))),
                    Err(reason) => Err(BadId::new($what, text, reason)),
                }
            }

            /// The text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

identifiers! {
    /// The id of an account: exactly 32 bytes of letters, digits, `-` and `_`, nearly always lowercase hexadecimal.
    AccountId, "account id", account;
    /// The id of a user: up to 128 letters, digits, `-` and `_`.
    UserId, "user id", word;
    /// The id of a stored storage plan: up to 128 letters, digits, `-` and `_`.
    PlanId, "plan id", word;
    /// The key of an entry in `attachments`. A document that is saved must use 32 lowercase letters and digits; a reference may be
    /// anything printable, because it may dangle.
    HandlerId, "handler id", printable;
    /// The key of an entry in `connections`; `local` names the store that is always there.
    ConnectionId, "connection id", printable;
    /// The id of a document: 1 to 255 characters, none of them a control character.
    DocId, "document id", path_safe;
    /// The type of a document (`mailbox_message`, `call_recording`, …): an open word.
    DocType, "document type", printable;
    /// The name of an attachment on its document: 1 to 255 characters, none of them a control character.
    AttachmentName, "attachment name", path_safe;
}

impl ConnectionId {
    /// Whether this is the primary store, which is always there and belongs to nobody's document.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.as_str() == "local"
    }
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn account(text: &str) -> Result<(), &'static str> {
    match text.len() {
        0 => Err("it is empty"),
        32 if is_word(text) => Ok(()),
        32 => Err("it holds something other than letters, digits, - and _"),
        _ => Err("it is not 32 characters long"),
    }
}

fn word(text: &str) -> Result<(), &'static str> {
    match text.len() {
        0 => Err("it is empty"),
        1..=128 if is_word(text) => Ok(()),
        1..=128 => Err("it holds something other than letters, digits, - and _"),
        _ => Err("it is longer than 128 characters"),
    }
}

fn printable(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("it is empty")
    } else if text.chars().nth(255).is_some() {
        Err("it is longer than 255 characters")
    } else if text.chars().any(char::is_control) {
        Err("it holds a control character")
    } else {
        Ok(())
    }
}

fn path_safe(text: &str) -> Result<(), &'static str> {
    if text == "." || text == ".." { Err("it would name a folder") } else { printable(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_is_32_harmless_bytes() {
        assert!(AccountId::parse("account0000000000000000000000004").is_ok());
        assert_eq!(AccountId::parse("").unwrap_err().reason, "it is empty");
        assert!(AccountId::parse("account000000000000000000000000").is_err());
        assert!(AccountId::parse("account00000000000000000000000/4").is_err());
        assert!(AccountId::parse("ä0000000000000000000000000000000").is_err());
    }

    #[test]
    fn names_that_climb_or_control_are_refused() {
        for bad in ["", ".", "..", "a\nb", "a\0", &"x".repeat(256)] {
            assert!(AttachmentName::parse(bad).is_err(), "{bad:?}");
            assert!(DocId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(AttachmentName::parse("grüße an alle.mp3").is_ok());
        assert!(DocId::parse(&"ü".repeat(255)).is_ok());
    }

    #[test]
    fn a_bad_id_is_short_in_a_log() {
        assert!(UserId::parse(&"x".repeat(10_000)).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn ids_are_checked_when_they_are_deserialised() {
        assert!(serde_json::from_str::<AccountId>("\"short\"").is_err());
        let id: DocType = serde_json::from_str("\"fax\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"fax\"");
    }
}
