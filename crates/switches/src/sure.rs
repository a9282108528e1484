//! Whether a body is a record, told at a glance: without a copy of it, and without reading its values.
//!
//! Whoever must answer many posts a second takes them first and reads them ([`read`](crate::read)) later. That must not fail then; so only the plain
//! case is sure: a JSON report whose variables name the leg. For all else the answer is no, which says nothing.
//!
//! What switches print is looked through in its bytes (`plain`); what is printed otherwise is parsed.

mod plain;

use std::borrow::Cow;
use std::fmt;

use memchr::memmem;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Brackets that a body may have. What has no more cannot be nested more deeply than JSON is read.
const BRACKETS: usize = 120;
/// The variables that name a leg.
const NAMES: [&str; 3] = ["sip_call_id", "uuid", "call_uuid"];

/// True when [`read`](crate::read) makes a record of this body.
pub fn is_surely_a_record(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    // A leg of a loopback channel may be one that is skipped.
    if body.first() != Some(&b'{') || memmem::find(body, b"loopback").is_some() {
        return false;
    }
    std::str::from_utf8(body).is_ok_and(|text| match plain::names_a_leg(text) {
        Some(is_named) => is_named,
        None => parsed(text),
    })
}

/// The same of what is not plain: it is parsed, and nothing of it is kept.
fn parsed(text: &str) -> bool {
    memchr::memchr2_iter(b'{', b'[', text.as_bytes()).count() <= BRACKETS
        && serde_json::from_str::<Report>(text).is_ok_and(|report| report.is_named)
}

/// Whether a text that is the value of one of [`NAMES`] names a leg: what is encoded may turn out to be nothing.
fn is_name(value: &[u8]) -> bool {
    !value.contains(&b'%') && value.iter().any(u8::is_ascii_alphanumeric)
}

/// What is looked for in a report.
struct Report {
    is_named: bool,
}

impl<'de> Deserialize<'de> for Report {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfReport)
    }
}

struct OfReport;

impl<'de> Visitor<'de> for OfReport {
    type Value = Report;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a report")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Report, A::Error> {
        let mut report = Report { is_named: false };
        while let Some(Text(name)) = map.next_key()? {
            if name == "variables" {
                report.is_named |= map.next_value_seed(Variables)?;
            } else {
                map.next_value::<Anything>()?;
            }
        }
        Ok(report)
    }
}

/// Reads an object of variables: whether one of them names the leg.
struct Variables;

impl<'de> DeserializeSeed<'de> for Variables {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Variables {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("variables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut is_named = false;
        while let Some(Text(name)) = map.next_key()? {
            if NAMES.contains(&&*name) {
                let Text(value) = map.next_value()?;
                is_named |= is_name(value.as_bytes());
            } else {
                map.next_value::<Anything>()?;
            }
        }
        Ok(is_named)
    }
}

/// A text that is copied only where it is written with escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Any value, read as [`read`](crate::read) reads it and not kept. `serde`'s own value for what is ignored takes half a surrogate for a text, and
/// what is too large for a number.
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfAnything)
    }
}

struct OfAnything;

impl<'de> Visitor<'de> for OfAnything {
    type Value = Anything;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_str<E>(self, _: &str) -> Result<Anything, E> {
        Ok(Anything)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Anything, A::Error> {
        while list.next_element::<Anything>()?.is_some() {}
        Ok(Anything)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Anything, A::Error> {
        while map.next_entry::<Anything, Anything>()?.is_some() {}
        Ok(Anything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, read};

    #[test]
    fn plain_reports_are_sure_and_nothing_else_is() {
        for sure in [
            r#"{"variables": {"uuid": "a"}}"#,
            r#" {"core-uuid": "x", "callflow": [{"a": []}], "variables": {"x": "1", "sip_call_id": "f3b1@sbc"}, "variables": {"y": ""}}"#,
            r#"{"variables": {"x": "\u0041", "call_uuid": "\u0041", "deep": {"uuid": 5}}}"#,
        ] {
            assert!(is_surely_a_record(sure.as_bytes()), "{sure}");
            assert!(matches!(read(sure.as_bytes()), Ok(Record::Leg(_))), "{sure}");
        }
        let deep = format!(r#"{{"variables": {{"uuid": "a"}}, "x": {}{}}}"#, "[".repeat(500), "]".repeat(500));
        for unsure in [
            "",
            "{",
            "[]",
            "<cdr/>",
            "cdr=%7B%22variables%22",
            r#"{"variables": {"uuid": ""}}"#,
            r#"{"variables": {"uuid": "%20"}}"#,
            r#"{"variables": {"uuid": 5}}"#,
            r#"{"variables": "uuid"}"#,
            r#"{"uuid": "a"}"#,
            r#"{"variables": {"uuid": "a", "channel_name": "loopback/1000"}}"#,
            r#"{"variables": {"uuid": "a"}} and more"#,
            r#"{"variables": {"uuid": "say "hi""}}"#,
            r#"{"variables": {"uuid": "a", "x": "\ud800"}}"#,
            r#"{"variables": {"uuid": "a"}, "x": 1e999}"#,
            r#"{"variables": {"uuid": "a"}, "\ud800": 1}"#,
            deep.as_str(),
        ] {
            assert!(!is_surely_a_record(unsure.as_bytes()), "{unsure}");
        }
        assert!(!is_surely_a_record(b"{\"variables\": {\"uuid\": \"\xff\"}}"));
    }
}
