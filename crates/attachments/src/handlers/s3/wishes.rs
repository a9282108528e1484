//! What a bucket is asked to do with an object beside keeping it: encryption, storage class, lock, tags. Read from the settings, tags from the
//! object's document too, and said in the headers that begin an object, in one request or in parts alike.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::error::Error;
use crate::presigned::moment;
use crate::settings::{Settings, wrong};

const DAY: u64 = 24 * 3600;
/// The most tags that an object takes, and the characters of a name and of a value.
const TAGS: usize = 10;
const TAG: (usize, usize) = (128, 256);

/// The wishes of one entry's settings.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    fixed: HeaderMap,
    /// How long an object is locked from the day on which it is put.
    days: Option<u64>,
    /// Tags of every object.
    tags: Vec<(String, String)>,
    /// The keys that lead to more of them in a document.
    tags_path: Vec<String>,
}

impl Wishes {
    pub(super) fn read(settings: Settings<'_>) -> Result<Self, Error> {
        let mut wishes = Self::default();
        wishes.encryption(settings)?;
        wishes.say("x-amz-storage-class", "storage_class", settings.text("storage_class")?)?;
        wishes.locks(settings)?;
        wishes.tags = tags(settings)?;
        wishes.tags_path = path(settings)?;
        Ok(wishes)
    }

    /// Whether objects are locked: then the bucket wants a digest of whatever it is sent.
    pub(super) fn lock(&self) -> bool {
        self.days.is_some() || self.fixed.keys().any(|name| name.as_str().starts_with("x-amz-object-lock"))
    }

    /// The headers of an object of this document that is put now.
    pub(super) fn headers(&self, now: SystemTime, document: &Value) -> HeaderMap {
        let mut headers = self.fixed.clone();
        if let Some(days) = self.days {
            let until = moment(now + Duration::from_secs(days * DAY));
            let name = HeaderName::from_static("x-amz-object-lock-retain-until-date");
            headers.extend(HeaderValue::from_str(&until).ok().map(|until| (name, until)));
        }
        let tags = self.tags_of(document);
        if !tags.is_empty() {
            // A query is text that fits into any header.
            let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(tags).finish();
            headers.extend(
                HeaderValue::from_str(&query).ok().map(|tags| (HeaderName::from_static("x-amz-tagging"), tags)),
            );
        }
        headers
    }

    /// The tags of an object: those of the settings, then those of the document whose names are not taken, in a form that Amazon takes. Whatever
    /// a document says, its object is stored.
    fn tags_of(&self, document: &Value) -> Vec<(String, String)> {
        let mut tags = self.tags.clone();
        let found = self.tags_path.iter().try_fold(document, |value, key| value.get(key));
        let told = match found.filter(|_| !self.tags_path.is_empty()) {
            Some(Value::Object(fields)) => fields.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            Some(Value::Array(values)) => values.iter().map(pair).collect(),
            Some(value) => vec![pair(value)],
            None => Vec::new(),
        };
        for (name, value) in told {
            let (name, value) = (harmless(&name, TAG.0), harmless(&value.unwrap_or_default(), TAG.1));
            if tags.len() < TAGS && !name.is_empty() && tags.iter().all(|(taken, _)| *taken != name) {
                tags.push((name, value));
            }
        }
        tags
    }

    fn say(&mut self, name: &'static str, setting: &str, value: Option<&str>) -> Result<(), Error> {
        let Some(value) = value else { return Ok(()) };
        let value = HeaderValue::from_str(value).map_err(|_| wrong(setting, "fits in no header"))?;
        self.fixed.insert(HeaderName::from_static(name), value);
        Ok(())
    }

    fn encryption(&mut self, settings: Settings<'_>) -> Result<(), Error> {
        let (way, key) = (settings.text("server_side_encryption")?, settings.text("kms_key_id")?);
        let keyed = match way {
            None | Some("AES256") => false,
            Some("aws:kms" | "aws:kms:dsse") => true,
            Some(_) => return Err(wrong("server_side_encryption", "is none of AES256, aws:kms, aws:kms:dsse")),
        };
        if key.is_some() && !keyed {
            return Err(wrong("kms_key_id", "needs server_side_encryption to be aws:kms or aws:kms:dsse"));
        }
        self.say("x-amz-server-side-encryption", "server_side_encryption", way)?;
        self.say("x-amz-server-side-encryption-aws-kms-key-id", "kms_key_id", key)
    }

    fn locks(&mut self, settings: Settings<'_>) -> Result<(), Error> {
        let mode = settings.text("object_lock_mode")?;
        if mode.is_some_and(|mode| !matches!(mode, "GOVERNANCE" | "COMPLIANCE")) {
            return Err(wrong("object_lock_mode", "is neither GOVERNANCE nor COMPLIANCE"));
        }
        let until = settings.text("object_lock_until")?;
        self.days = settings.number("object_lock_days")?;
        match (mode, self.days, until) {
            (None, None, None) => {}
            (Some(_), Some(1..=36_500), None) => {}
            (Some(_), None, Some(until)) if is_moment(until) => {}
            (Some(_), None, Some(_)) => return Err(wrong("object_lock_until", "is no moment: 2030-01-01T00:00:00Z")),
            (Some(_), Some(_), None) => return Err(wrong("object_lock_days", "is not between 1 and 36500")),
            _ => {
                return Err(wrong("object_lock_mode", "goes with either object_lock_days or object_lock_until"));
            }
        }
        self.say("x-amz-object-lock-mode", "object_lock_mode", mode)?;
        self.say("x-amz-object-lock-retain-until-date", "object_lock_until", until)?;
        let hold = settings.choice("object_lock_legal_hold")?.map(|hold| if hold { "ON" } else { "OFF" });
        self.say("x-amz-object-lock-legal-hold", "object_lock_legal_hold", hold)
    }
}

/// Tags of the settings: at most ten, as Amazon has it.
fn tags(settings: Settings<'_>) -> Result<Vec<(String, String)>, Error> {
    let Some(tags) = settings.json("tags")? else { return Ok(Vec::new()) };
    let Some(tags) = tags.as_object().filter(|tags| tags.len() <= TAGS) else {
        return Err(wrong("tags", "is no object of at most ten texts"));
    };
    let fits = |text: &str, most: usize| text.chars().count() <= most;
    let read = |(name, value): (&String, &Value)| {
        let value = value.as_str().filter(|value| !name.is_empty() && fits(name, TAG.0) && fits(value, TAG.1));
        let value = value.ok_or_else(|| wrong("tags", "has a name or a text that is too long, or no text"))?;
        Ok((name.clone(), value.to_owned()))
    };
    tags.iter().map(read).collect()
}

fn path(settings: Settings<'_>) -> Result<Vec<String>, Error> {
    let unfit = || wrong("tags_key_path", "is no list of keys");
    let Some(path) = settings.json("tags_key_path")? else { return Ok(Vec::new()) };
    let keys = path.as_array().filter(|keys| !keys.is_empty()).ok_or_else(unfit)?;
    keys.iter().map(|key| key.as_str().map(str::to_owned).ok_or_else(unfit)).collect()
}

/// A tag that a document says in one text: `name=value`, or a name alone.
fn pair(value: &Value) -> (String, Option<String>) {
    let text = text(value).unwrap_or_default();
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text, None),
    }
}

/// A text, or what a number or a flag is as a text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What Amazon takes in a tag: letters, digits, spaces and a few signs, so many at most. Names that it keeps for itself are not used.
fn harmless(text: &str, most: usize) -> String {
    let fit = |c: char| if c.is_alphanumeric() || " +-=._:/@".contains(c) { c } else { '_' };
    let text: String = text.trim().chars().map(fit).take(most).collect();
    if text.to_ascii_lowercase().starts_with("aws:") { format!("_{}", &text[1..]) } else { text }
}

/// Whether a text is a moment of UTC, in whole seconds.
fn is_moment(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    let fits = |(form, letter): (u8, u8)| if form == b'd' { letter.is_ascii_digit() } else { form == letter };
    text.len() == form.len() && form.bytes().zip(text.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wishes(settings: Value) -> Result<Wishes, Error> {
        Wishes::read(Settings(settings.as_object().unwrap()))
    }

    #[test]
    fn wishes_become_headers() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_164_800);
        for (settings, headers) in [
            (json!({}), vec![]),
            (json!({"server_side_encryption": "AES256"}), vec![("x-amz-server-side-encryption", "AES256")]),
            (
                json!({"server_side_encryption": "aws:kms", "kms_key_id": "k1"}),
                vec![
                    ("x-amz-server-side-encryption", "aws:kms"),
                    ("x-amz-server-side-encryption-aws-kms-key-id", "k1"),
                ],
            ),
            (json!({"storage_class": "STANDARD_IA"}), vec![("x-amz-storage-class", "STANDARD_IA")]),
            (
                json!({"object_lock_mode": "GOVERNANCE", "object_lock_days": 1}),
                vec![
                    ("x-amz-object-lock-mode", "GOVERNANCE"),
                    ("x-amz-object-lock-retain-until-date", "2024-03-01T00:00:00Z"),
                ],
            ),
            (
                json!({"object_lock_mode": "COMPLIANCE", "object_lock_until": "2030-01-01T00:00:00Z", "object_lock_legal_hold": true}),
                vec![
                    ("x-amz-object-lock-legal-hold", "ON"),
                    ("x-amz-object-lock-mode", "COMPLIANCE"),
                    ("x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z"),
                ],
            ),
            (
                json!({"tags": {"kind": "voice mail", "ü": "1&2"}}),
                vec![("x-amz-tagging", "kind=voice+mail&%C3%BC=1%262")],
            ),
        ] {
            let headers_of = wishes(settings.clone()).unwrap().headers(now, &Value::Null);
            let mut found: Vec<_> =
                headers_of.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            found.sort_unstable();
            assert_eq!(found, headers, "{settings}");
        }
    }

    #[test]
    fn wishes_that_do_not_fit_each_other_are_named() {
        for (settings, named) in [
            (json!({"server_side_encryption": "rot13"}), "server_side_encryption"),
            (json!({"server_side_encryption": "AES256", "kms_key_id": "k"}), "kms_key_id"),
            (json!({"object_lock_mode": "GOVERNANCE"}), "object_lock_mode"),
            (json!({"object_lock_days": 3}), "object_lock_mode"),
            (json!({"object_lock_mode": "SOFT", "object_lock_days": 3}), "object_lock_mode"),
            (json!({"object_lock_mode": "GOVERNANCE", "object_lock_days": 0}), "object_lock_days"),
            (json!({"object_lock_mode": "GOVERNANCE", "object_lock_until": "soon"}), "object_lock_until"),
            (json!({"tags": {"a": 1}}), "tags"),
            (json!({"tags": "a=b"}), "tags"),
            (json!({"tags": {"": "a"}}), "tags"),
            (json!({"tags_key_path": "a"}), "tags_key_path"),
            (json!({"tags_key_path": []}), "tags_key_path"),
            (json!({"tags_key_path": [1]}), "tags_key_path"),
            (json!({"storage_class": "A\nB"}), "storage_class"),
        ] {
            let error = wishes(settings.clone()).unwrap_err();
            assert!(error.to_string().contains(named), "{settings}: {error}");
        }
    }
    #[test]
    fn a_document_says_tags_and_none_of_them_keeps_it_from_being_stored() {
        let settings = json!({"tags": {"kind": "call"}, "tags_key_path": ["custom", "tags"]});
        let wishes = wishes(settings).unwrap();
        let tags = |tags: Value| {
            let headers = wishes.headers(SystemTime::UNIX_EPOCH, &json!({"custom": {"tags": tags}}));
            headers["x-amz-tagging"].to_str().unwrap().to_owned()
        };
        for (said, found) in [
            (json!(["queue=sales", "vip", 7]), "kind=call&queue=sales&vip=&7="),
            (
                json!({"queue": "sales", "kind": "other", "vip": true, "deep": {}}),
                "kind=call&queue=sales&vip=true&deep=",
            ),
            (json!("queue=a=b"), "kind=call&queue=a%3Db"),
            (json!(["a<b>=\u{e9}\n", "aws:mine=1", "=x", ""]), "kind=call&a_b_=%C3%A9&_ws%3Amine=1"),
            (json!((0..20).map(|n| n.to_string()).collect::<Vec<_>>()), "kind=call&0=&1=&2=&3=&4=&5=&6=&7=&8="),
            (json!(["x".repeat(200)]), &format!("kind=call&{}=", "x".repeat(128))),
            (json!(null), "kind=call"),
            (json!([]), "kind=call"),
        ] {
            assert_eq!(tags(said.clone()), found, "{said}");
        }
        let headers = wishes.headers(SystemTime::UNIX_EPOCH, &json!("no document"));
        assert_eq!(headers["x-amz-tagging"], "kind=call");
    }
}
