//! What an answer means for the file, and for all others.
//!
//! Only one answer lets a file go: a 2xx whose body is the store's own and says success. A 200 of a proxy, a portal or a mistyped address is
//! none. Likewise only the store's own words make a file refused: an error page in between makes it wait.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The store has these bytes, durably.
    Stored {
        /// The document that they became.
        document: Option<String>,
    },
    /// The store will not take this file.
    Refused(String),
    /// This file waits.
    Waits(Reason),
    /// All files wait.
    AllWait(Reason),
    /// The file changed while it was sent.
    Changed,
}

/// Why something waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// For people.
    pub(crate) text: String,
    /// What the store asked for.
    pub(crate) advice: Option<Duration>,
    /// Somebody has to do something: it will not pass by itself.
    pub(crate) needs_a_person: bool,
    /// The store does not know the key.
    pub(crate) unauthorized: bool,
}

impl Reason {
    pub(crate) fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), advice: None, needs_a_person: false, unauthorized: false }
    }

    pub(crate) fn lasting(text: impl Into<String>) -> Self {
        Self { needs_a_person: true, ..Self::passing(text) }
    }
}

/// Judges an answer to an upload of bytes with this digest.
pub(crate) fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], sha256: &[u8; 32]) -> Verdict {
    let envelope: Option<Value> = serde_json::from_slice(body).ok();
    let says = |wanted: &str| envelope.as_ref().is_some_and(|envelope| envelope["status"] == wanted);
    if status.is_success() {
        return match &envelope {
            Some(envelope) if says("success") => stored(envelope, sha256),
            _ => Verdict::AllWait(Reason::lasting(format!(
                "the answer {status} is not of an ingest endpoint: is --to right?"
            ))),
        };
    }
    let words = words(status, envelope.as_ref());
    match status.as_u16() {
        // The store compared and found that the way has changed the bytes.
        400 if envelope.as_ref().is_some_and(|envelope| envelope["data"].get("content-digest").is_some()) => {
            Verdict::Waits(Reason::passing(words))
        }
        400 | 413 | 415 | 422 if says("error") => Verdict::Refused(words),
        401 => Verdict::AllWait(Reason { unauthorized: true, ..Reason::lasting(words) }),
        403 => Verdict::AllWait(Reason { unauthorized: true, ..Reason::lasting(words) }),
        402 | 423 => Verdict::AllWait(Reason::lasting(words)),
        300..=399 => {
            Verdict::AllWait(Reason::lasting(format!("{words}: the endpoint is elsewhere, give its address with --to")))
        }
        408 | 425 | 429 | 500..=599 => Verdict::AllWait(Reason { advice: advice(headers), ..Reason::passing(words) }),
        _ => Verdict::Waits(Reason { advice: advice(headers), ..Reason::lasting(words) }),
    }
}

fn stored(envelope: &Value, sha256: &[u8; 32]) -> Verdict {
    let data = &envelope["data"];
    if let Some(digest) = data["sha256"].as_str()
        && !digest.eq_ignore_ascii_case(&hex::encode(sha256))
    {
        return Verdict::Waits(Reason::lasting("other bytes arrived than were sent"));
    }
    let document = data["id"].as_str().or_else(|| data["media_id"].as_str());
    Verdict::Stored { document: document.map(str::to_owned) }
}

/// The status and what the store says about it, in one line that cannot be long.
fn words(status: StatusCode, envelope: Option<&Value>) -> String {
    let Some(envelope) = envelope else { return status.to_string() };
    let message = envelope["message"].as_str().unwrap_or_default();
    let details = match &envelope["data"] {
        Value::Object(details) if !details.is_empty() => format!(": {}", envelope["data"]),
        _ => String::new(),
    };
    let words = format!("{status}, {message}{details}");
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

/// `Retry-After`, in seconds or as a date.
fn advice(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: [u8; 32] = [7; 32];

    fn verdict(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Verdict {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        judge(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), &DIGEST)
    }

    #[test]
    fn only_the_stores_own_success_lets_a_file_go() {
        let good = r#"{"status": "success", "data": {"id": "202611-a"}}"#;
        assert_eq!(verdict(201, &[], good), Verdict::Stored { document: Some("202611-a".into()) });
        for other in ["", "OK", "<html>Welcome to the hotel</html>", "{}", "[]", r#"{"status": "error"}"#] {
            assert!(matches!(verdict(200, &[], other), Verdict::AllWait(reason) if reason.needs_a_person), "{other}");
        }
        let lost = format!(r#"{{"status": "success", "data": {{"sha256": "{}"}}}}"#, "08".repeat(32));
        assert!(matches!(verdict(200, &[], &lost), Verdict::Waits(_)));
        let kept = format!(r#"{{"status": "success", "data": {{"sha256": "{}"}}}}"#, "07".repeat(32));
        assert!(matches!(verdict(200, &[], &kept), Verdict::Stored { .. }));
    }

    #[test]
    fn only_the_stores_own_refusal_sets_a_file_aside() {
        let own = r#"{"status": "error", "error": "415", "message": "unsupported\nmedia", "data": {"a": 1}}"#;
        for status in [400, 413, 415, 422] {
            assert!(matches!(verdict(status, &[], own), Verdict::Refused(_)), "{status}");
            assert!(matches!(verdict(status, &[], "<html>nginx</html>"), Verdict::Waits(_)), "{status}");
        }
        let refused = Verdict::Refused("415 Unsupported Media Type, unsupported media: {\"a\":1}".into());
        assert_eq!(verdict(415, &[], own), refused);
        assert!(matches!(verdict(404, &[], own), Verdict::Waits(_)));
        let changed = r#"{"status": "error", "data": {"content-digest": {"mismatch": {}}}}"#;
        assert!(matches!(verdict(400, &[], changed), Verdict::Waits(_)));
        assert!(matches!(verdict(409, &[], own), Verdict::Waits(_)));
    }

    #[test]
    fn what_concerns_all_makes_all_wait() {
        for (status, needs_a_person) in [(401, true), (403, true), (423, true), (307, true), (429, false), (503, false)]
        {
            let Verdict::AllWait(reason) = verdict(status, &[("retry-after", "30")], "") else { panic!("{status}") };
            assert_eq!(reason.needs_a_person, needs_a_person, "{status}");
            assert_eq!(reason.advice, (!needs_a_person).then(|| Duration::from_secs(30)), "{status}");
        }
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1000));
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, date.parse().unwrap())]);
        let seconds = advice(&headers).unwrap().as_secs();
        assert!((900..=1000).contains(&seconds), "{seconds}");
    }
}
