//! What is said about a file beside its bytes: the query of its upload.
//!
//! Three sources, the later wins: parameters for all files, the file's name, its sidecar.

use std::collections::BTreeMap;

use serde_json::Value;

/// Query parameters by name.
pub(crate) type About = BTreeMap<String, String>;

/// Reads a sidecar: a JSON object of texts, numbers and truths. What is nested or null says nothing.
pub(crate) fn sidecar(text: &[u8]) -> Result<About, String> {
    let parsed: Value = serde_json::from_slice(text).map_err(|error| format!("its sidecar is no JSON: {error}"))?;
    let Value::Object(fields) = parsed else { return Err("its sidecar is no JSON object".to_owned()) };
    let text = |value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    Ok(fields.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect())
}

/// Whether a parameter may be sent: `token` would replace the key.
pub(crate) fn fit(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.is_empty() && name.bytes().all(plain) && name != "token"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_is_an_object_of_plain_values() {
        let read = sidecar(br#"{"call_id": "a", "duration_ms": 5000, "final": true, "custom": {"a": 1}, "to": null}"#);
        let wanted = [("call_id", "a"), ("duration_ms", "5000"), ("final", "true")];
        assert_eq!(read.unwrap(), wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert!(sidecar(b"[1]").is_err());
        assert!(sidecar(b"{\"call_id\": ").is_err());
    }

    #[test]
    fn a_sidecar_cannot_replace_the_key() {
        assert!(fit("caller_id_number") && !fit("token") && !fit("") && !fit("a&b") && !fit("a b"));
    }
}
