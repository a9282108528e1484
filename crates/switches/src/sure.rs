//! Whether a body is a record, told at a glance: without a copy of it, and without reading its values.
//!
//! Whoever must answer many posts a second takes them first and reads them ([`read`](crate::read)) later. That must not fail then; so only the plain
//! case is sure: a JSON report whose variables name the leg. For all else the answer is no, which says nothing.
//!
//! What switches print is looked through in its bytes (`plain`); what is printed otherwise is parsed.

mod plain;

use memchr::memmem;

use crate::json::Node;

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
    plain::names_a_leg(body).unwrap_or_else(|| std::str::from_utf8(body).is_ok_and(parsed))
}

/// The same of what is not plain: it is parsed as [`read`](crate::read) parses it.
fn parsed(text: &str) -> bool {
    if memchr::memchr2_iter(b'{', b'[', text.as_bytes()).count() > BRACKETS {
        return false;
    }
    let Ok(report) = serde_json::from_str::<Node>(text) else { return false };
    let mut is_named = false;
    for variables in report.all("variables") {
        let Some(variables) = variables.fields() else { return false };
        for (_, value) in variables.iter().filter(|(name, _)| NAMES.contains(&name.as_str())) {
            let Node::Text(value) = value else { return false };
            is_named |= is_name(value.as_bytes());
        }
    }
    is_named
}

/// Whether a text that is the value of one of [`NAMES`] names a leg: what is encoded may turn out to be nothing.
fn is_name(value: &[u8]) -> bool {
    !value.contains(&b'%') && value.iter().any(u8::is_ascii_alphanumeric)
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
