//! Under which name an attachment lies: `field_list`, `field_separator` and the folder settings, put together. Pure.
//!
//! A name is a prefix, a slash and the parts. The prefix comes from `path`, or from `folder_base_path` and `folder_path`, as they stand.
//! The parts come from the fields: an argument or a field of the document is percent-encoded, a constant is not, a group
//! is one part. A date is the day on which it happened: `{"date": "YYYY/MM/DD"}`. `file` replaces everything.
//!
//! `settings` are the handler's own; `params` come from the plan and may say another place *under* the handler's root. Of either only
//! the names in this module are read, so nothing in `params` can change a host, a bucket or a key.
//!
//! A name never climbs: one with a part `.` or `..`, however written, is refused.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use plan::{AttachmentName, Database, DocId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Operation};
use crate::registry;

/// What percent-encoding leaves alone.
pub(crate) const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// The name of an attachment under its handler's root. Worked out once, at deposit, and kept with the promise to deliver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Location(String);

impl Location {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a location may be made of, and what `http` sends along: what is public of a document.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// The account it belongs to.
    pub account_id: Option<&'a str>,
    /// The database that holds it.
    pub database: &'a Database,
    /// Its id.
    pub id: &'a DocId,
    /// Its public fields, an object.
    pub public: &'a Value,
    /// When it happened, in the zone of who asks.
    pub at: Moment,
}

/// A day and an hour, in whatever zone is counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// 2026.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
}

impl Moment {
    /// What each word of a date pattern stands for.
    fn words(self) -> [(&'static str, String); 4] {
        let two = |number: u8| format!("{number:02}");
        [("YYYY", format!("{:04}", self.year)), ("MM", two(self.month)), ("DD", two(self.day)), ("HH", two(self.hour))]
    }

    fn written(self, pattern: &str) -> String {
        self.words().into_iter().fold(pattern.to_owned(), |text, (word, value)| text.replace(word, &value))
    }
}

/// Whether locations by these settings and params need to know when: only then it has to be found out.
#[must_use]
pub fn asks_when(settings: &Map<String, Value>, params: &Map<String, Value>) -> bool {
    fn asks(list: &Value) -> bool {
        let item = |item: &Value| item.get("date").is_some() || item.get("group").is_some_and(asks);
        list.as_array().is_some_and(|items| items.iter().any(item))
    }
    Said { settings, params }.get("field_list").is_some_and(asks)
}

/// A part of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Something known of the attachment, percent-encoded.
    Arg(Arg),
    /// A text as it is.
    Const(Cow<'static, str>),
    /// A public field of the document, percent-encoded; no part at all where the document has no such text.
    Public(Cow<'static, str>),
    /// The day, by a pattern of `YYYY`, `MM`, `DD` and `HH`; a slash in it separates folders.
    Date(Cow<'static, str>),
    /// Several that make one part.
    Group(Vec<Field>),
}

/// What is known of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// The account, or `unknown_account`.
    AccountId,
    /// The database, by its unencoded name.
    Db,
    /// The document's id.
    Id,
    /// The attachment's name.
    Attachment,
}

/// Works out the location of an attachment for a kind of handler. Pure: the same again gives the same.
///
/// ```
/// # use attachments::{Document, location};
/// # use serde_json::{Map, Value, json};
/// # let object = |value: Value| value.as_object().cloned().unwrap();
/// let document = Document {
///     account_id: Some("0123456789abcdef0123456789abcdef"),
///     database: &plan::Database::parse("0123456789abcdef0123456789abcdef-202611")?,
///     id: &plan::DocId::parse("202611-7")?,
///     public: &json!({}),
///     at: attachments::Moment { year: 2026, month: 11, day: 24, hour: 15 },
/// };
/// let name = plan::AttachmentName::parse("call me.mp3")?;
/// let settings = object(json!({"folder_base_path": "kept"}));
/// let place = location("s3", &settings, &Map::new(), &document, &name)?;
/// assert_eq!(place.as_str(), "kept/account%2F01%2F23%2F456789abcdef0123456789abcdef-202611/202611-7_call%20me.mp3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`] when the settings are of the wrong shape, or no handler has this kind; [`ErrorKind::Invalid`]
/// when the result would climb.
pub fn location(
    kind: &str,
    settings: &Map<String, Value>,
    params: &Map<String, Value>,
    document: &Document<'_>,
    attachment: &AttachmentName,
) -> Result<Location, Error> {
    let kind = registry::kind(kind).ok_or_else(|| misconfigured("no handler has this kind"))?;
    let said = Said { settings, params };
    if let Some(file) = said.text("file")? {
        return checked(file.to_owned());
    }
    let fields = match said.get("field_list") {
        None => (kind.default_fields)(),
        Some(list) => read_list(list)?,
    };
    let separator = said.text("field_separator")?.unwrap_or("/");
    let parts: Vec<String> = fields.iter().filter_map(|field| part(field, document, attachment)).collect();
    let parts = parts.join(separator);
    checked(match prefix(&said)? {
        None => parts,
        Some(prefix) if parts.is_empty() => prefix,
        Some(prefix) => format!("{prefix}/{parts}"),
    })
}

/// The plan's word before the handler's.
struct Said<'a> {
    settings: &'a Map<String, Value>,
    params: &'a Map<String, Value>,
}

impl<'a> Said<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.params.get(name).or_else(|| self.settings.get(name)).filter(|value| !value.is_null())
    }

    fn text(&self, name: &'static str) -> Result<Option<&'a str>, Error> {
        let text = |value: &'a Value| value.as_str().ok_or_else(|| misconfigured(&format!("{name} is not a text")));
        self.get(name).map(text).transpose()
    }
}

fn misconfigured(what: &str) -> Error {
    Error::new(Operation::Locate, ErrorKind::Misconfigured, what)
}

fn prefix(said: &Said<'_>) -> Result<Option<String>, Error> {
    let joined = match said.text("path")? {
        Some(path) => path.to_owned(),
        None => {
            let base = said.text("folder_base_path")?.unwrap_or_default();
            let folder = said.text("folder_path")?.unwrap_or_default();
            match (base.trim_end_matches('/'), folder) {
                // An absolute folder stands in place of the base.
                (_, folder) if folder.starts_with('/') => folder.to_owned(),
                ("", folder) => folder.to_owned(),
                (base, "") => base.to_owned(),
                (base, folder) => format!("{base}/{folder}"),
            }
        }
    };
    let joined = joined.trim_end_matches('/');
    Ok((!joined.is_empty()).then(|| joined.to_owned()))
}

fn part(field: &Field, document: &Document<'_>, attachment: &AttachmentName) -> Option<String> {
    let encoded = |text: &str| utf8_percent_encode(text, PART).to_string();
    match field {
        Field::Const(text) => Some(text.clone().into_owned()),
        Field::Date(pattern) => Some(document.at.written(pattern)),
        Field::Arg(Arg::AccountId) => Some(encoded(document.account_id.unwrap_or("unknown_account"))),
        Field::Arg(Arg::Db) => Some(encoded(&document.database.name())),
        Field::Arg(Arg::Id) => Some(encoded(document.id.as_str())),
        Field::Arg(Arg::Attachment) => Some(encoded(attachment.as_str())),
        Field::Public(name) if name.starts_with('_') || name.starts_with("pvt_") => None,
        Field::Public(name) => {
            let text = document.public.get(name.as_ref())?.as_str()?;
            // A document's text must not stop its own delivery: one that would climb is as good as none.
            let climbs = text.split(['/', '\\']).any(|part| matches!(part, "." | ".."));
            (!text.is_empty() && !climbs).then(|| encoded(text))
        }
        Field::Group(fields) => Some(fields.iter().filter_map(|field| part(field, document, attachment)).collect()),
    }
}

fn read_list(list: &Value) -> Result<Vec<Field>, Error> {
    list.as_array().ok_or_else(|| misconfigured("field_list is not a list"))?.iter().map(read_field).collect()
}

fn read_field(item: &Value) -> Result<Field, Error> {
    let wrong = || misconfigured("an item of field_list is not one of arg, const, date, field, group");
    if let Value::String(text) = item {
        return Ok(Field::Const(Cow::Owned(text.clone())));
    }
    let fields = item.as_object().filter(|fields| fields.len() == 1).ok_or_else(wrong)?;
    let (key, value) = fields.iter().next().ok_or_else(wrong)?;
    let text = || value.as_str().ok_or_else(wrong);
    match key.as_str() {
        "const" => Ok(Field::Const(Cow::Owned(text()?.to_owned()))),
        "field" => Ok(Field::Public(Cow::Owned(text()?.to_owned()))),
        "group" => read_list(value).map(Field::Group),
        "date" => {
            let pattern = text()?;
            let rest =
                Moment::default().words().iter().fold(pattern.to_owned(), |rest, (word, _)| rest.replace(word, ""));
            match rest.chars().all(|left| "/-_. ".contains(left)) && rest != pattern {
                true => Ok(Field::Date(Cow::Owned(pattern.to_owned()))),
                false => Err(misconfigured("a date in field_list is made of YYYY, MM, DD, HH and / - _ .")),
            }
        }
        "arg" => match text()? {
            "account_id" => Ok(Field::Arg(Arg::AccountId)),
            "db" => Ok(Field::Arg(Arg::Db)),
            "id" => Ok(Field::Arg(Arg::Id)),
            "attachment" => Ok(Field::Arg(Arg::Attachment)),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// Refuses what climbs, once decoded as often as a server may decode, and what no name may hold.
fn checked(name: String) -> Result<Location, Error> {
    let decoded = percent_decode_str(&name).decode_utf8_lossy();
    for text in [name.as_str(), &decoded] {
        if text.split(['/', '\\', '?', '#']).any(|part| matches!(part, "." | "..")) {
            return Err(Error::new(Operation::Locate, ErrorKind::Invalid, "the location climbs"));
        }
    }
    if name.chars().any(char::is_control) {
        return Err(Error::new(Operation::Locate, ErrorKind::Invalid, "the location holds a control character"));
    }
    Ok(Location(name))
}

#[cfg(test)]
mod tests;
