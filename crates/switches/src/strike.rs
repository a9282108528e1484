//! Secrets are struck out of what switches send, before anything of it is kept.
//!
//! A credential that stands in a channel variable, a dial string or a URL comes back in the record of every call that used it. So every text passes
//! here: a variable whose *name* says that it is a secret loses its value; in every other text, what stands where secrets stand is replaced by
//! [`MASK`]: userinfo of URLs, values after `password=`, `token=`, `key=` and their kin, credentials of an `Authorization`, our own keys, signed tokens,
//! SRTP keys and ICE passwords of session descriptions.
//!
//! Striking too much costs a value that nobody needed; striking too little costs a credential. In doubt it is struck.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::{Captures, Regex, RegexSet};
use serde_json::Value;

/// What stands in place of a secret.
pub const MASK: &str = "********";

/// Parts of names whose values are secrets.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "access-key",
    "auth_key",
    "private_key",
    "ingest_key",
    "crypto_key",
    "credential",
    "authorization",
    "a1-hash",
    "a1_hash",
    "signature",
    "sip_auth_",
    "sip_nonce",
    "cookie",
];

/// Names that are secrets only as a whole.
const SECRET_WORDS: &[&str] = &["pin", "pwd", "pass", "key", "cred", "creds", "cnonce", "nonce"];

/// Where secrets stand in a text. What the groups before and after the secret caught is kept.
const PATTERNS: &[&str] = &[
    // scheme://user:password@, also in percent encoding
    r#"(?i)(?P<before>[a-z][a-z0-9+.-]*(?:://|%3a%2f%2f))(?:[^\s/?#<>"'%]|%[013-9a-f][0-9a-f]|%2[0-9a-e])*(?P<after>@|%40)"#,
    // sip:user:password@host
    r"(?i)(?P<before>\bsips?:[^\s:@<>;,]+:)[^\s@<>;,]+(?P<after>@)",
    // Authorization: Digest username="…", response="…"
    r#"(?i)(?P<before>\bdigest\s+)[a-z]+\s*=[^\r\n]*"#,
    // Authorization: Basic …
    r"(?i)(?P<before>\b(?:basic|bearer|negotiate|ntlm)(?:\s+|%20|\+))[a-z0-9+/._~=%-]{12,}",
    // password=…, X-Amz-Signature=…, "api_key": "…"
    r#"(?i)(?P<before>[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|passcode|secret|token|api[_-]?key|(?:access|auth|private|ingest)[_-]?key|credential|signature|authorization|a1[_-]hash|cookie)[a-z0-9_.-]*["']?\s*(?:=|:|%3d|%3a)\s*)(?:"[^"]*"|'[^']*'|[^\s&;,}\])"'<>|]+)"#,
    // key=… where a parameter begins
    r#"(?i)(?P<before>(?:^|[?&;,{\[(\s"']|%3f|%26)(?:key|sig|pin|pwd|pass|auth|creds?|c?nonce)["']?(?:=|%3d))(?:"[^"]*"|'[^']*'|[^\s&;,}\])"'<>|]+)"#,
    // our own keys
    r"(?P<before>\bik_)[0-9A-Za-z]{8,}",
    // signed tokens
    r"(?P<before>\beyJ)[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
    // a=crypto:… inline:…, a=ice-pwd:…
    r"(?i)(?P<before>\binline:|a=ice-pwd:)\S+",
];

/// The patterns, and which of them a text fits at all: most fit none, and that is found out in one pass.
struct Strikes {
    each: Vec<Regex>,
    any: RegexSet,
}

static STRIKES: LazyLock<Result<Strikes, regex::Error>> = LazyLock::new(|| {
    let each = PATTERNS.iter().map(|pattern| Regex::new(pattern)).collect::<Result<_, _>>()?;
    Ok(Strikes { each, any: RegexSet::new(PATTERNS)? })
});

static SECRET_PARTS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let mut builder = AhoCorasick::builder();
    builder.ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(SECRET_NAMES).ok()
});

/// What of a text is kept, in characters: no variable says more, and who dials could make one say anything.
const LONGEST: usize = 64 << 10;

/// A secret stands behind one of these, or begins with one of our two beginnings: most texts hold neither, and are not searched.
const SIGNS: &[u8] = b"=:@%+ \t\r\n";
const BEGINNINGS: &[&str] = &["ik_", "eyJ"];
/// Which bytes are signs.
const IS_SIGN: [bool; 256] = table(SIGNS);

/// Which bytes are among these.
pub(crate) const fn table(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
}

/// The text without its secrets, as much of it as is kept.
pub fn text(text: &str) -> Cow<'_, str> {
    let text = crate::leg::cut(text, LONGEST);
    if !text.bytes().any(|byte| IS_SIGN[usize::from(byte)]) && !BEGINNINGS.iter().any(|begin| text.contains(begin)) {
        return text.into();
    }
    // Without patterns nobody could tell what is a secret; a test sees to it that they compile.
    let Ok(strikes) = &*STRIKES else { return MASK.into() };
    let found = strikes.any.matches(text);
    strikes.each.iter().enumerate().fold(Cow::Borrowed(text), |text, (number, strike)| {
        // What a pattern fits was found out in one pass, and counts until something was struck: then another may fit.
        if matches!(text, Cow::Borrowed(_)) && !found.matched(number) {
            return text;
        }
        match strike.replace_all(&text, struck) {
            Cow::Borrowed(_) => text,
            Cow::Owned(changed) => changed.into(),
        }
    })
}

fn struck(found: &Captures<'_>) -> String {
    let kept = |name: &str| found.name(name).map_or("", |kept| kept.as_str());
    format!("{}{MASK}{}", kept("before"), kept("after"))
}

/// True when a variable of this name holds a secret, whatever its value looks like.
pub fn is_secret(name: &str) -> bool {
    let last = name.rsplit(['_', '-', '.']).next().unwrap_or_default();
    // Without the parts nobody could tell; a test sees to it that they are there.
    let held = SECRET_PARTS.as_ref().is_none_or(|parts| parts.is_match(name));
    held || SECRET_WORDS.iter().any(|word| last.eq_ignore_ascii_case(word))
}

/// What may be kept of a variable.
pub fn variable<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if is_secret(name) { MASK.into() } else { text(value) }
}

/// Strikes the secrets out of a JSON value, in place: by the names of its fields and in every text.
pub fn value(value: &mut Value) {
    match value {
        Value::String(held) => {
            if let Cow::Owned(struck) = text(held) {
                *held = struck;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(self::value),
        Value::Object(fields) => {
            for (name, held) in fields {
                match held {
                    Value::String(_) | Value::Number(_) if is_secret(name) => *held = MASK.into(),
                    _ => self::value(held),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_are_patterns() {
        assert!(STRIKES.is_ok() && SECRET_PARTS.is_some());
    }

    #[test]
    fn what_stands_where_secrets_stand_is_struck() {
        for (sent, wanted) in [
            (
                "http_put:https://acme:s3cret@in.example/v2/x.wav?call_id=1 /tmp/x.wav",
                "http_put:https://********@in.example/v2/x.wav?call_id=1 /tmp/x.wav",
            ),
            ("https://s3cret@in.example/", "https://********@in.example/"),
            ("https://me:s3cr@et@in.example:8000/x?a=b@c", "https://********@in.example:8000/x?a=b@c"),
            ("https%3A%2F%2Fme%3As3cret%40in.example%2Fx", "https%3A%2F%2F********%40in.example%2Fx"),
            ("https://in.example/x?token=s3cret&call_id=7", "https://in.example/x?token=********&call_id=7"),
            ("https://in.example/x%3Ftoken%3Ds3cret", "https://in.example/x%3Ftoken%3D********"),
            ("https://in.example/x?key=s3cret#y", "https://in.example/x?key=********"),
            (
                "https://b.s3.amazonaws.com/x?X-Amz-Credential=s3cret&X-Amz-Signature=s3cret&X-Amz-Date=2",
                "https://b.s3.amazonaws.com/x?X-Amz-Credential=********&X-Amz-Signature=********&X-Amz-Date=2",
            ),
            (
                "{sip_auth_password=s3cret,origination_caller_id_number=1000}sofia/gateway/a/1",
                "{sip_auth_password=********,origination_caller_id_number=1000}sofia/gateway/a/1",
            ),
            ("{absolute_codec_string='PCMU',pwd='s3 cret'}x", "{absolute_codec_string='PCMU',pwd=********}x"),
            ("sip:1000:s3cret@acme.example;transport=tls", "sip:1000:********@acme.example;transport=tls"),
            (
                "append_headers Authorization: Basic czNjcmV0OnMzY3JldA==",
                "append_headers Authorization: ******** ********",
            ),
            ("Bearer s3cret-s3cret", "Bearer ********"),
            ("Digest username=\"1000\", response=\"s3cret\"", "Digest ********"),
            ("{\"api_key\": \"s3cret\", \"n\": 1}", "{\"api_key\": ********, \"n\": 1}"),
            ("it was ik_0123456789abcdef0123", "it was ik_********"),
            (
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:czNjcmV0\r\na=ice-pwd:s3cret\r\n",
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:********\r\na=ice-pwd:********\r\n",
            ),
        ] {
            let struck = text(sent);
            assert_eq!(struck, wanted, "{sent}");
            assert_eq!(text(&struck), wanted, "once is enough: {sent}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for kept in [
            "\"Dana Fox\" <sip:1000@acme.example:5060;transport=udp>;tag=8a7Nce",
            "sofia/internal/1000@acme.example",
            "user@host",
            "monkey=1; keyboard=2",
            "m=audio 16424 RTP/AVP 0 8 101\r\na=fmtp:101 0-16\r\na=rtpmap:101 telephone-event/8000",
            "https://in.example:8000/a?call_id=f3b1@sbc.example",
            "passing by, basic training",
            "inbound",
            "NORMAL_CLEARING",
        ] {
            assert_eq!(text(kept), kept);
        }
    }

    #[test]
    fn a_text_without_end_is_cut() {
        assert_eq!(text(&"ü".repeat(LONGEST + 1)), "ü".repeat(LONGEST));
        assert_eq!(text(&" =".repeat(LONGEST)).chars().count(), LONGEST);
    }

    #[test]
    fn a_name_tells_a_secret() {
        for secret in [
            "sip_auth_username",
            "vm-password",
            "API_TOKEN",
            "conference_pin",
            "pin",
            "sip_h_Authorization",
            "srtp_remote_audio_crypto_key",
            "x-api-key",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for open in [
            "caller_id_number",
            "sip_from_tag",
            "pinned",
            "rtp_has_crypto",
            "keyboard",
            "sip_call_id",
            "domain_name",
            "digits_dialed",
        ] {
            assert!(!is_secret(open), "{open}");
        }
        let mut document = serde_json::json!({"a": {"user_token": 5, "n": [{"u": "ftp://a:b@c"}]}, "secret": {"deep": "kept, with no secret name"}});
        value(&mut document);
        let wanted = serde_json::json!({"a": {"user_token": MASK, "n": [{"u": "ftp://********@c"}]}, "secret": {"deep": "kept, with no secret name"}});
        assert_eq!(document, wanted);
    }
}
