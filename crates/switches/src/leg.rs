//! The record of a leg, in our words: the public fields of a `cdr` document.
//!
//! A switch sends texts; a field has one kind, and [`Leg::set`] takes a text only in the field's own kind. What cannot be read as that is left out,
//! as is an empty text: a field that is there says something.

use serde_json::{Map, Value};

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// An id: text of at most [`LONGEST_ID`] characters.
    Id,
    /// `inbound` or `outbound`.
    Way,
    /// Whole seconds.
    Seconds,
    /// A time in Gregorian seconds.
    Time,
    /// A time in microseconds of Unix time.
    Micros,
    /// A truth value.
    Truth,
    /// An object.
    Object,
    /// A list of texts.
    List,
}

use Kind::{Id, List, Micros, Object, Seconds, Text, Time, Truth, Way};

/// Every field of a leg, with its kind.
pub const FIELDS: &[(&str, Kind)] = &[
    ("app_name", Text),
    ("app_version", Text),
    ("billing_seconds", Seconds),
    ("call_direction", Way),
    ("call_id", Id),
    ("call_priority", Text),
    ("callee_id_name", Text),
    ("callee_id_number", Text),
    ("caller_id_name", Text),
    ("caller_id_number", Text),
    ("channel_created_time", Micros),
    ("custom_application_vars", Object),
    ("custom_channel_vars", Object),
    ("custom_sip_headers", Object),
    ("did_classifier", Text),
    ("digits_dialed", Text),
    ("disposition", Text),
    ("duration_seconds", Seconds),
    ("e164_destination", Text),
    ("e164_origination", Text),
    ("fax_bad_rows", Text),
    ("fax_ecm_used", Text),
    ("fax_result_code", Text),
    ("fax_result_text", Text),
    ("fax_success", Text),
    ("fax_t38", Text),
    ("fax_total_pages", Text),
    ("fax_transfer_rate", Text),
    ("fax_transferred_pages", Text),
    ("from", Text),
    ("from_tag", Text),
    ("from_uri", Text),
    ("hangup_cause", Text),
    ("hangup_code", Text),
    ("interaction_id", Id),
    ("interaction_key", Id),
    ("interaction_time", Time),
    ("is_conference", Truth),
    ("local_sdp", Text),
    ("media_recordings", List),
    ("media_server", Text),
    ("node", Text),
    ("other_leg_call_id", Id),
    ("other_leg_caller_id_name", Text),
    ("other_leg_caller_id_number", Text),
    ("other_leg_destination_number", Text),
    ("other_leg_direction", Text),
    ("owner_id", Text),
    ("presence_id", Text),
    ("recording_url", Text),
    ("remote_sdp", Text),
    ("request", Text),
    ("ringing_seconds", Seconds),
    ("timestamp", Time),
    ("to", Text),
    ("to_tag", Text),
    ("to_uri", Text),
    ("user_agent", Text),
];

/// Fields that a switch may keep among a channel's variables, and that stand at the top of a record.
pub(crate) const PROMOTED: &[&str] = &[
    "call_priority",
    "did_classifier",
    "e164_destination",
    "e164_origination",
    "is_conference",
    "media_recordings",
    "owner_id",
    "recording_url",
];

/// The longest id, in characters.
pub const LONGEST_ID: usize = 1024;
/// The longest duration, in seconds: ten years.
const LONGEST: i64 = 315_360_000;

/// What tells a record from another of the same `call_id`: of a channel, Asterisk writes one for each party that it talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The channel variable that differs.
    pub variable: &'static str,
    /// Its value here.
    pub value: String,
    /// The `call_id` that this record takes when the other has its own.
    pub call_id: String,
}

/// The record of a leg. No value in it holds a secret that `strike` knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Leg {
    fields: Map<String, Value>,
    part: Option<Part>,
    account_hints: Vec<String>,
}

impl Leg {
    /// The public fields of a `cdr` document; `call_id` is there.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The same, given away.
    pub fn into_fields(self) -> Map<String, Value> {
        self.fields
    }

    /// The leg's id.
    pub fn call_id(&self) -> &str {
        self.text("call_id").unwrap_or_default()
    }

    /// What tells this record from others of the same `call_id`.
    pub fn part(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// Names that the switch has for the account, the likeliest first. Hints: whose record it is, is decided by who may send it.
    pub fn account_hints(&self) -> &[String] {
        &self.account_hints
    }

    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field)?.as_str()
    }

    /// True when the field is there.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Sets a field to what a text says, unless that is nothing.
    pub(crate) fn set(&mut self, field: &'static str, text: Option<impl AsRef<str>>) {
        let Some(text) = text.as_ref().map(AsRef::as_ref).filter(|text| !text.trim().is_empty()) else { return };
        let kind = FIELDS.iter().find(|(known, _)| *known == field).map_or(Text, |(_, kind)| *kind);
        if let Some(value) = read(kind, text) {
            self.fields.insert(field.to_owned(), value);
        }
    }

    /// Sets a field to a number.
    pub(crate) fn set_number(&mut self, field: &'static str, number: Option<i64>) {
        if let Some(number) = number {
            self.fields.insert(field.to_owned(), number.into());
        }
    }

    /// Sets a field to an object or a list, unless it is empty.
    pub(crate) fn set_value(&mut self, field: &str, value: Value) {
        let empty = match &value {
            Value::Object(fields) => fields.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Null => true,
            _ => false,
        };
        if !empty {
            self.fields.insert(field.to_owned(), value);
        }
    }

    pub(crate) fn set_part(&mut self, part: Part) {
        self.part = Some(part);
    }

    pub(crate) fn hint(&mut self, account: Option<impl AsRef<str>>) {
        self.account_hints
            .extend(account.map(|account| account.as_ref().to_owned()).filter(|account| !account.is_empty()));
    }
}

/// What a text says in a field of this kind.
pub(crate) fn read(kind: Kind, text: &str) -> Option<Value> {
    let text = text.trim();
    match kind {
        Text => Some(crate::strike::text(text).into()),
        Id => Some(cut(text, LONGEST_ID).into()),
        Way => matches!(text, "inbound" | "outbound").then(|| text.into()),
        Seconds => seconds(text).map(Value::from),
        Time => crate::times::gregorian(text).map(Value::from),
        Micros => text.parse::<u64>().ok().filter(|micros| *micros > 0).map(Value::from),
        Truth => Some(matches!(text, "true" | "TRUE" | "True" | "1" | "yes").into()),
        List => Some(text.split(',').map(|item| crate::strike::text(item.trim()).into_owned()).collect()),
        Object => None,
    }
}

/// At most so many characters of a text.
pub(crate) fn cut(text: &str, longest: usize) -> &str {
    if text.len() <= longest {
        return text;
    }
    text.char_indices().nth(longest).map_or(text, |(end, _)| &text[..end])
}

/// Whole seconds; a fraction is dropped, what lies outside of a call's length is no duration.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok().filter(|seconds| (0..=LONGEST).contains(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_says_something_in_its_own_kind() {
        let mut leg = Leg::default();
        leg.set("duration_seconds", Some("184.9"));
        leg.set("billing_seconds", Some("-3"));
        leg.set("timestamp", Some("1795442709"));
        leg.set("caller_id_name", Some("  "));
        leg.set("hangup_cause", None::<&str>);
        leg.set("user_agent", Some("see https://a:b@c/"));
        let wanted = serde_json::json!({
            "duration_seconds": 184, "timestamp": 63_962_661_909_i64, "user_agent": "see https://********@c/",
        });
        assert_eq!(Value::Object(leg.into_fields()), wanted);
    }

    #[test]
    fn the_fields_are_in_order_and_each_once() {
        assert!(FIELDS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(PROMOTED.iter().all(|name| FIELDS.iter().any(|(known, _)| known == name)));
    }
}
