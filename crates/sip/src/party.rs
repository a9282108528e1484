//! A party of a call: a name for people, and an address `user@host`.

use std::fmt;

use rsipstack::sip::Uri;
use rsipstack::sip::headers::typed::From as Named;

use crate::quoted::unquote;

/// The longest name or part of an address that is kept; what is longer is cut.
const LONGEST: usize = 256;

/// One of the two at the ends of a call, as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Party {
    /// The name to show, where there is one.
    pub name: Option<String>,
    /// Before the `@`; empty where there is none.
    pub user: String,
    /// After the `@`, in lower case, without a port.
    pub host: String,
}

impl Party {
    /// The value of a `From`, `To` or `P-Asserted-Identity` header; none when it is not one.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let named = Named::parse(value).ok()?;
        let quoted = value.trim_start().strip_prefix('"').and_then(unquote).map(|(name, _)| name);
        let name = quoted.or(named.display_name).map(|name| clean(&name));
        Some(Self { name: name.filter(|name| !name.is_empty()), ..Self::of(&named.uri) })
    }

    pub(crate) fn of(uri: &Uri) -> Self {
        let user = clean(&unescaped(uri.user().unwrap_or_default()));
        let host = clean(&uri.host().to_string().to_ascii_lowercase());
        Self { name: None, user, host: host.trim_matches(['[', ']']).to_owned() }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.host)
    }
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect::<String>().trim().to_owned()
}

/// `%41` is `A`. What is no escape stays.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parties_are_read_as_people_would() {
        for (header, name, address) in [
            ("\"Dana Fox\" <sip:+14155550123@Carrier.Example>;tag=1", Some("Dana Fox"), "+14155550123@carrier.example"),
            ("Dana Fox <sip:dana@carrier.example>", Some("Dana Fox"), "dana@carrier.example"),
            ("<sip:1001@192.0.2.1:5070;user=phone>", None, "1001@192.0.2.1"),
            ("sip:anonymous@anonymous.invalid;tag=x", None, "anonymous@anonymous.invalid"),
            ("\"\" <sip:carrier.example>", None, "@carrier.example"),
            ("\"O \\\"Neil\\\"\" <sip:a%20b@[2001:db8::1]>", Some("O \"Neil\""), "a b@2001:db8::1"),
        ] {
            let party = Party::parse(header).unwrap();
            assert_eq!((party.name.as_deref(), party.to_string().as_str()), (name, address), "{header}");
        }
        assert_eq!(Party::parse("<sip:"), None);
    }
}
