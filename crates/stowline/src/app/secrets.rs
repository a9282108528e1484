//! Secrets in storage documents: sealing the settings of entries at rest, masking them in answers, and taking masked values back.
//!
//! Settings are sealed whole, so that a setting that nobody thought of as secret is not found in the data folder either. What is *masked* is
//! what the handler's registry entry names as a credential, and the userinfo and query of URLs.

use serde_json::{Map, Value};
use url::Url;

use super::Error;
use crate::seal::Keys;

/// What stands in an answer in place of a secret.
pub const MASK: &str = "********";

/// The two sections of a storage document whose entries have settings.
const SECTIONS: [&str; 2] = ["attachments", "connections"];

fn place(doc_id: &str, section: &str, entry: &str) -> String {
    format!("storage {doc_id} {section} {entry}")
}

/// Runs `change` over the settings of every entry of a storage document.
fn each_settings(
    body: &mut Map<String, Value>,
    mut change: impl FnMut(&str, &str, &str, &mut Value) -> Result<(), Error>,
) -> Result<(), Error> {
    for section in SECTIONS {
        let Some(Value::Object(entries)) = body.get_mut(section) else { continue };
        for (id, entry) in entries {
            let kind = ["handler", "driver"].iter().find_map(|key| entry.get(key)?.as_str());
            let kind = kind.unwrap_or_default().to_owned();
            if let Some(settings) = entry.get_mut("settings") {
                change(section, id, &kind, settings)?;
            }
        }
    }
    Ok(())
}

/// Seals every entry's settings, in place.
///
/// # Errors
/// [`Error::Internal`] when the cipher refuses.
pub fn seal(keys: &Keys, doc_id: &str, body: &mut Map<String, Value>) -> Result<(), Error> {
    each_settings(body, |section, id, _, settings| {
        *settings = keys.seal(&place(doc_id, section, id), settings)?;
        Ok(())
    })
}

/// Opens what [`seal`] sealed, in place.
///
/// # Errors
/// [`Error::Internal`] when a value was sealed with another key or for another place.
pub fn open(keys: &Keys, doc_id: &str, body: &mut Map<String, Value>) -> Result<(), Error> {
    each_settings(body, |section, id, _, settings| {
        *settings = keys.open_sealed(&place(doc_id, section, id), settings)?;
        Ok(())
    })
}

/// Puts [`MASK`] in place of every secret, for who may not see them.
pub fn mask(body: &mut Map<String, Value>) {
    let masked = each_settings(body, |section, _, kind, settings| {
        if let Value::Object(settings) = settings {
            mask_settings(section, kind, settings);
        }
        Ok(())
    });
    debug_assert!(masked.is_ok(), "masking refuses nothing");
}

fn mask_settings(section: &str, kind: &str, settings: &mut Map<String, Value>) {
    for (name, value) in settings {
        if is_secret(section, kind, name) {
            *value = MASK.into();
        } else if let Some(masked) = value.as_str().and_then(mask_url) {
            *value = masked.into();
        } else if let Value::Object(inner) = value {
            mask_settings(section, kind, inner);
        }
    }
}

fn is_secret(section: &str, kind: &str, name: &str) -> bool {
    match section {
        "attachments" => attachments::kind(kind).is_none_or(|kind| kind.secrets.contains(&name)) && name != "url",
        _ => matches!(name, "password" | "credentials" | "token" | "secret" | "key"),
    }
}

/// A URL with its userinfo and query masked; none when the text is no URL or has neither.
fn mask_url(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok().filter(Url::has_host)?;
    let userinfo = !url.username().is_empty() || url.password().is_some();
    if !userinfo && url.query().is_none() {
        return None;
    }
    if userinfo {
        url.set_username(MASK).ok()?;
        url.set_password(None).ok()?;
    }
    if url.query().is_some() {
        url.set_query(Some(MASK));
    }
    Some(url.into())
}

/// Takes masked values of `body` back as what they stand for in `stored`: only while the entry's handler and destination are the same, since
/// otherwise a secret could be sent to another place by who cannot read it.
///
/// # Errors
/// [`Error::Invalid`] at the setting when a mask stands for nothing.
pub fn unmask(body: &mut Map<String, Value>, stored: &Map<String, Value>) -> Result<(), Error> {
    let mut violations = plan::Violations::default();
    each_settings(body, |section, id, kind, settings| {
        let Value::Object(settings) = settings else { return Ok(()) };
        let before = stored.get(section).and_then(|entries| entries.get(id)?.get("settings")?.as_object());
        let mut restored = settings.clone();
        let mut open = Vec::new();
        restore(section, kind, &mut restored, before, "", &mut open);
        let moved =
            before.is_none_or(|before| destination(section, kind, before) != destination(section, kind, &restored));
        let masked = restored != *settings || !open.is_empty();
        if masked && moved {
            open = masked_paths(section, kind, settings);
        }
        if open.is_empty() {
            *settings = restored;
        }
        for path in open {
            violations.push(
                &format!("{section}.{id}.settings.{path}"),
                "required",
                "a masked value stands for the stored one only while host, url, scheme, port, bucket and account are unchanged: send it again".into(),
                [],
            );
        }
        Ok(())
    })?;
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}

fn restore(
    section: &str,
    kind: &str,
    settings: &mut Map<String, Value>,
    before: Option<&Map<String, Value>>,
    path: &str,
    open: &mut Vec<String>,
) {
    for (name, value) in settings {
        let old = before.and_then(|before| before.get(name));
        let here = format!("{path}{name}");
        match value {
            Value::String(text) if text == MASK && is_secret(section, kind, name) => match old {
                Some(old) => *value = old.clone(),
                None => open.push(here),
            },
            Value::String(text) if text.contains(MASK) => {
                let stands_for = old.filter(|old| old.as_str().and_then(mask_url).as_deref() == Some(text.as_str()));
                match stands_for {
                    Some(old) => *value = old.clone(),
                    None => open.push(here),
                }
            }
            Value::Object(inner) => {
                restore(section, kind, inner, old.and_then(Value::as_object), &format!("{here}."), open);
            }
            _ => {}
        }
    }
}

fn masked_paths(section: &str, kind: &str, settings: &Map<String, Value>) -> Vec<String> {
    let mut open = Vec::new();
    restore(section, kind, &mut settings.clone(), None, "", &mut open);
    open
}

/// Where an entry's bytes go: what must stay the same for a masked value to stand for the old one.
fn destination(section: &str, kind: &str, settings: &Map<String, Value>) -> String {
    match attachments::kind(kind).filter(|_| section == "attachments") {
        Some(kind) => (kind.destination)(settings),
        None => ["host", "ip", "port", "url", "scheme", "bucket", "account", "container"]
            .iter()
            .map(|name| settings.get(*name).map(Value::to_string).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("|"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(settings: Value) -> Map<String, Value> {
        let handler = if settings.get("url").is_some() { "http" } else { "s3" };
        let body =
            json!({"attachments": {"e3e26e06a4b1465599e6dc9e1516fd8b": {"handler": handler, "settings": settings}}});
        body.as_object().unwrap().clone()
    }

    #[test]
    fn a_masked_document_written_back_is_the_stored_one() {
        for settings in [
            json!({"bucket": "recordings", "key": "AKIA", "secret": "shh", "host": "s3.example"}),
            json!({"url": "https://me:shh@store.example/in?token=shh", "verb": "put"}),
        ] {
            let stored = document(settings);
            let mut shown = stored.clone();
            mask(&mut shown);
            assert!(!Value::Object(shown.clone()).to_string().contains("shh"));
            unmask(&mut shown, &stored).unwrap();
            assert_eq!(shown, stored);
        }
    }

    #[test]
    fn a_mask_never_follows_a_changed_destination() {
        let stored = document(json!({"bucket": "recordings", "key": "AKIA", "secret": "shh", "host": "s3.example"}));
        for (name, value) in [("host", json!("evil.example")), ("bucket", json!("other-bucket")), ("port", json!(8443))]
        {
            let mut shown = stored.clone();
            mask(&mut shown);
            let (_, entry) = shown["attachments"].as_object_mut().unwrap().iter_mut().next().unwrap();
            entry["settings"][name] = value;
            let Err(Error::Invalid(violations)) = unmask(&mut shown, &stored) else { panic!("{name} was taken") };
            assert!(violations.to_json().to_string().contains("settings.secret"), "{name}");
        }
    }

    #[test]
    fn a_mask_without_a_stored_value_is_refused() {
        let mut body = document(json!({"bucket": "recordings", "key": "AKIA", "secret": MASK}));
        assert!(matches!(unmask(&mut body, &Map::new()), Err(Error::Invalid(_))));
    }
}
