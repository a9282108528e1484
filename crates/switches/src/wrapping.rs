//! What a body is under its wrapping.
//!
//! The type that a switch sends beside a body is not asked: with `disable-100-continue` FreeSWITCH replaces its list of headers, and raw JSON
//! comes as a form. The first bytes tell. After `cdr=`:
//!
//! - `{` or `<`: the text as it is (FreeSWITCH's form encoding never leaves these two);
//! - `%`: the text in percent encoding, in which a space is `%20` and a plus sign `%2B`, so that a bare `+` is never a space;
//! - anything else: base64, in which `+` is a letter.
//!
//! The files that FreeSWITCH keeps when nobody takes its posts hold the same without `cdr=`.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode;

use crate::Error;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const PREFIX: &[u8] = b"cdr=";
/// How `{"`, `<?x` and `<cd` begin in percent encoding and in base64.
const ENCODED: &[&[u8]] = &[b"%7B", b"%3C", b"eyJ", b"PD94", b"PGNk"];

/// A body without its wrapping.
#[derive(Debug, PartialEq)]
pub(crate) enum Text {
    /// Begins with `{`.
    Json(String),
    /// Begins with `<`.
    Xml(String),
    /// Fields of a form.
    Form(Vec<(String, String)>),
}

/// Takes the wrapping off.
pub(crate) fn unwrap(body: &[u8]) -> Result<Text, Error> {
    let body = begin(body);
    if let Some(text) = bare(body) {
        return Ok(text);
    }
    let wrapped = match body.strip_prefix(PREFIX) {
        Some(wrapped) => begin(wrapped),
        None if ENCODED.iter().any(|begin| body.starts_with(begin)) => body,
        None => return form(body),
    };
    if let Some(text) = bare(wrapped) {
        return Ok(text);
    }
    let bytes = match wrapped.first() {
        Some(b'%') => {
            let end = wrapped.iter().position(|byte| *byte == b'&').unwrap_or(wrapped.len());
            percent_decode(&wrapped[..end]).collect()
        }
        _ => decoded(wrapped)?,
    };
    bare(begin(&bytes)).ok_or(Error::Wrapping)
}

/// Without white space and byte order mark before it.
fn begin(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii_start();
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start()
}

fn bare(bytes: &[u8]) -> Option<Text> {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    match bytes.first() {
        Some(b'{') => Some(Text::Json(text())),
        Some(b'<') => Some(Text::Xml(text())),
        _ => None,
    }
}

/// Base64, also with its `+`, `/` and `=` in percent encoding, and with line breaks.
fn decoded(wrapped: &[u8]) -> Result<Vec<u8>, Error> {
    let letters: Vec<u8> = percent_decode(wrapped).filter(|letter| !letter.is_ascii_whitespace()).collect();
    BASE64.decode(letters).map_err(|_| Error::Wrapping)
}

fn form(body: &[u8]) -> Result<Text, Error> {
    if !body.contains(&b'=') {
        return Err(Error::NoRecord);
    }
    Ok(Text::Form(url::form_urlencoded::parse(body.trim_ascii_end()).into_owned().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        let json = Text::Json("{\"a\":\"1+1 %41\"}".into());
        for body in [
            "{\"a\":\"1+1 %41\"}",
            "\u{feff} {\"a\":\"1+1 %41\"}",
            "cdr={\"a\":\"1+1 %41\"}",
            "cdr=%7B%22a%22%3A%221%2B1%20%2541%22%7D",
            "cdr=%7B%22a%22%3A%221+1%20%2541%22%7D&x=y",
            "cdr=eyJhIjoiMSsxICU0MSJ9",
            "cdr=eyJhIjoi\r\nMSsxICU0MSJ9\n",
            "eyJhIjoiMSsxICU0MSJ9\n",
            "%7B%22a%22%3A%221%2B1%20%2541%22%7D",
        ] {
            assert_eq!(unwrap(body.as_bytes()).unwrap(), json, "{body}");
        }
        assert_eq!(unwrap(b"cdr=PGE+PC9hPg==").unwrap(), Text::Xml("<a></a>".into()), "a plus sign is no space");
        assert_eq!(unwrap(b"cdr=PGE%2BPC9hPg%3D%3D").unwrap(), Text::Xml("<a></a>".into()));
        assert_eq!(unwrap(b"cdr=<a></a>").unwrap(), Text::Xml("<a></a>".into()));
        assert_eq!(
            unwrap(b"a=b+c&d=%2B\n").unwrap(),
            Text::Form(vec![("a".into(), "b c".into()), ("d".into(), "+".into())])
        );
        for bad in ["", "hello", "cdr=", "cdr=%41", "cdr=***", "cdr=aGVsbG8="] {
            assert!(unwrap(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
