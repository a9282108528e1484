//! What `params` in a plan may say.
//!
//! In Kazoo `params` is laid over a handler's settings, so that a plan can replace a bucket, a host or a key. Here `params` speaks of the
//! *location* under the handler's root and of nothing else. It never changes an endpoint, a bucket, an account or a credential, and
//! never the form of a request (`verb`, `send_multipart`, `base64_encode_data`, tags): one entry of `attachments` is one way of talking
//! to one destination, opened once and probed as a whole, so that another way is another entry.
//!
//! * Whoever owns the handler, and the levels above, may say all of [`OWN`].
//! * Levels below the owner may say [`INHERITED`] alone, and it only leads deeper: it is joined below what the owner says.

use serde_json::{Map, Value};

/// What may be said of a handler of one's own: the settings that make up a location. Each means what it means in `settings`.
pub const OWN: [&str; 6] = ["field_list", "field_separator", "folder_base_path", "folder_path", "path", "file"];

/// What may be said of a handler that a higher level owns.
pub const INHERITED: &str = "folder_path";

/// The part of `said` that may be said of one's own handler.
pub(crate) fn own(said: &Map<String, Value>) -> Map<String, Value> {
    said.iter()
        .filter(|(key, _)| OWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Puts what a level below the owner says below what the owner says, in `params` or else in the `settings`. What it may not say is dropped.
pub(crate) fn descend(params: &mut Map<String, Value>, settings: &Map<String, Value>, said: &Map<String, Value>) {
    let said = said.get(INHERITED).and_then(Value::as_str).and_then(|path| folder(path).ok());
    let Some(deeper) = said.filter(|path| !path.is_empty()) else { return };
    let owner = params.get(INHERITED).or_else(|| settings.get(INHERITED)).and_then(Value::as_str);
    let path = match owner.map(|path| path.trim_end_matches('/')) {
        Some(path) if !path.is_empty() => format!("{path}/{deeper}"),
        _ => deeper,
    };
    params.insert(INHERITED.to_owned(), Value::String(path));
}

/// A folder below the owner's base path, without slashes at its ends.
///
/// The text may end up unencoded in a URL, or in a query behind another parameter. So it is made of harmless characters only: letters,
/// digits, blanks and `/ - _ . ~ ( ) @ + , ! '`. That leaves no percent sign to hide dots behind and nothing that ends a path or a parameter.
///
/// # Errors
///
/// What is wrong with it, to be read after «folder_path».
pub fn folder(path: &str) -> Result<String, &'static str> {
    let harmless = |character: char| character.is_alphanumeric() || " /-_.~()@+,!'".contains(character);
    if path.chars().any(|character| !harmless(character)) {
        return Err(
            "may hold letters, digits, blanks and / - _ . ~ ( ) @ + , ! ' only, where the handler is another's",
        );
    }
    let path = path.trim_matches('/');
    if path.split('/').any(|segment| matches!(segment.trim(), "." | "..")) {
        return Err("must not climb");
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_folder_of_another_only_leads_deeper() {
        assert_eq!(folder("/faxes/2026/").unwrap(), "faxes/2026");
        assert_eq!(folder("Aufträge (neu)").unwrap(), "Aufträge (neu)");
        for bad in [
            "..",
            "a/../b",
            "a/. ./..",
            "a/ .. ",
            "%2e%2e/a",
            "a\\..\\b",
            "a?x=y",
            "a#b",
            "a&key=b",
            ".\t.",
            "a\nb",
            "https://x",
        ] {
            assert!(folder(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn below_the_owner_paths_are_joined_and_the_rest_is_dropped() {
        let said = json!({"folder_path": "/mine", "path": "elsewhere", "bucket": "other"});
        let said = said.as_object().unwrap();
        let below = |params: Value, settings: Value| {
            let mut params = own(params.as_object().unwrap());
            descend(&mut params, settings.as_object().unwrap(), said);
            Value::Object(params)
        };
        assert_eq!(below(json!({}), json!({})), json!({"folder_path": "mine"}));
        assert_eq!(
            below(json!({"folder_path": "tenants/", "host": "x"}), json!({})),
            json!({"folder_path": "tenants/mine"})
        );
        assert_eq!(below(json!({}), json!({"folder_path": "/tenants"})), json!({"folder_path": "/tenants/mine"}));
        assert_eq!(below(json!({"folder_path": "a"}), json!({"folder_path": "b"})), json!({"folder_path": "a/mine"}));
    }
}
