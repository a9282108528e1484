//! What a switch says of a file, in the URL or in a form beside it.
//!
//! `mod_json_cdr` appends `?uuid=…` to whatever URL it was given, also to one with a query. `mod_httapi` appends everything that it knows, the path of
//! the file on the switch and the URL itself with its credentials included. So a [`Kind`] of file has a list of facts, and nothing else is heard.
//!
//! A file is worth more than a word about it: what cannot be read is not said, what is too long is cut.

use serde_json::{Map, Value};

use crate::{leg, strike, times};

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A recording of a call.
    Recording,
    /// A message for a mailbox.
    Voicemail,
    /// A received fax.
    Fax,
}

/// How a fact is read.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// A text, cut after so many characters.
    Text(usize),
    /// A name that has no other characters than letters, digits, `-` and `_`.
    Name,
    /// A direction.
    Way,
    /// A time.
    Time,
    /// Whole seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Seconds, which are wanted as milliseconds.
    SecondsAsMillis,
    /// A count.
    Count,
}

use Form::{Count, Millis, Name, Seconds, SecondsAsMillis, Text, Time, Way};

/// A line of a list: what it is in the document, what it is called in a URL, the likeliest first, each with its form.
type Fact = (&'static str, &'static [(&'static str, Form)]);

const RECORDING: &[Fact] = &[
    ("call_id", &[("call_id", Text(1024))]),
    ("callee_id_name", &[("callee_id_name", Text(255))]),
    ("callee_id_number", &[("callee_id_number", Text(255))]),
    ("caller_id_name", &[("caller_id_name", Text(255))]),
    ("caller_id_number", &[("caller_id_number", Text(255))]),
    ("cdr_id", &[("cdr_id", Text(1100))]),
    ("description", &[("description", Text(512))]),
    ("direction", &[("direction", Way)]),
    ("duration", &[("duration", Seconds)]),
    ("duration_ms", &[("duration_ms", Millis), ("length", Millis)]),
    ("endpoint_id", &[("endpoint_id", Text(128))]),
    ("from", &[("from", Text(1024))]),
    ("interaction_id", &[("interaction_id", Text(255))]),
    ("origin", &[("origin", Text(512))]),
    ("owner_id", &[("owner_id", Name)]),
    ("request", &[("request", Text(1024))]),
    ("start", &[("start", Time), ("timestamp", Time)]),
    ("to", &[("to", Text(1024))]),
];

const VOICEMAIL: &[Fact] = &[
    ("call_id", &[("call_id", Text(255))]),
    ("caller_id_name", &[("caller_id_name", Text(35))]),
    ("caller_id_number", &[("caller_id_number", Text(35))]),
    ("from", &[("from", Text(253))]),
    ("length", &[("length", Millis), ("duration_ms", Millis), ("duration", SecondsAsMillis)]),
    ("timestamp", &[("timestamp", Time), ("start", Time)]),
    ("to", &[("to", Text(253))]),
];

const FAX: &[Fact] = &[
    ("call_id", &[("call_id", Text(1024))]),
    ("cdr_doc_id", &[("cdr_doc_id", Text(1100)), ("cdr_id", Text(1100))]),
    ("description", &[("description", Text(512))]),
    ("fax_identity_name", &[("fax_identity_name", Text(255))]),
    ("fax_identity_number", &[("fax_identity_number", Text(255))]),
    ("faxbox_id", &[("faxbox_id", Text(128))]),
    ("from_name", &[("from_name", Text(255)), ("caller_id_name", Text(255))]),
    ("from_number", &[("from_number", Text(255)), ("caller_id_number", Text(255)), ("from", Text(255))]),
    ("interaction_id", &[("interaction_id", Text(255))]),
    ("owner_id", &[("owner_id", Name)]),
    ("pages", &[("pages", Count), ("fax_document_transferred_pages", Count)]),
    ("timestamp", &[("timestamp", Time), ("start", Time)]),
    ("to_name", &[("to_name", Text(255)), ("callee_id_name", Text(255))]),
    ("to_number", &[("to_number", Text(255)), ("callee_id_number", Text(255)), ("to", Text(255))]),
];

/// What FreeSWITCH says of the reception of a fax, and what it is called in `rx_result`.
const RECEPTION: &[(&str, &str)] = &[
    ("bad_rows", "fax_bad_rows"),
    ("ecm_used", "fax_ecm_used"),
    ("remote_station_id", "fax_remote_station_id"),
    ("result_code", "fax_result_code"),
    ("result_text", "fax_result_text"),
    ("success", "fax_success"),
    ("total_pages", "fax_document_total_pages"),
    ("transfer_rate", "fax_transfer_rate"),
    ("transferred_pages", "fax_document_transferred_pages"),
];

/// The longest of them.
const LONGEST_RECEPTION: usize = 255;
/// The most pages, and the longest audio in milliseconds: a year.
const MOST_PAGES: i64 = 1_000_000;
const LONGEST_MILLIS: i64 = 31_622_400_000;

/// The parameters of a query, in order, in whatever state it is in.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    let query = query.replace("?uuid=", "&uuid=");
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// What parameters say of a file, as the fields of its document. Of a name that comes twice the first counts.
pub fn of(kind: Kind, pairs: &[(String, String)]) -> Map<String, Value> {
    let said = |name: &str| {
        let texts = pairs.iter().filter(|(known, _)| known.trim() == name).map(|(_, text)| text.trim());
        texts.into_iter().find(|text| !text.is_empty())
    };
    let list = match kind {
        Kind::Recording => RECORDING,
        Kind::Voicemail => VOICEMAIL,
        Kind::Fax => FAX,
    };
    let read = |(field, names): &Fact| {
        let value = names.iter().find_map(|(name, form)| form.read(said(name)?))?;
        Some(((*field).to_owned(), value))
    };
    let mut facts: Map<String, Value> = list.iter().filter_map(read).collect();
    if kind == Kind::Fax {
        let told =
            |(field, name): &(&str, &str)| Some(((*field).to_owned(), Text(LONGEST_RECEPTION).read(said(name)?)?));
        let reception: Map<String, Value> = RECEPTION.iter().filter_map(told).collect();
        if !reception.is_empty() {
            facts.insert("rx_result".into(), reception.into());
        }
    }
    facts
}

impl Form {
    fn read(self, text: &str) -> Option<Value> {
        let whole = |most: i64| {
            let digits = text.split_once('.').map_or(text, |(whole, _)| whole);
            digits.parse::<i64>().ok().filter(|number| (0..=most).contains(number))
        };
        match self {
            Text(longest) => Some(leg::cut(&strike::text(text), longest).into()),
            Name => {
                let fits =
                    text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
                fits.then(|| text.into())
            }
            Way => matches!(text, "inbound" | "outbound").then(|| text.into()),
            Time => times::gregorian(text).map(Value::from),
            Seconds => leg::seconds(text).filter(|seconds| *seconds <= LONGEST_MILLIS / 1000).map(Value::from),
            Millis => whole(LONGEST_MILLIS).map(Value::from),
            SecondsAsMillis => whole(LONGEST_MILLIS / 1000).map(|seconds| (seconds * 1000).into()),
            Count => whole(MOST_PAGES).map(Value::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_second_question_mark_is_another_parameter() {
        let pairs = pairs("token=ik_abc?uuid=6b2f&x=%3F");
        assert_eq!(pairs, [("token", "ik_abc"), ("uuid", "6b2f"), ("x", "?")].map(|(a, b)| (a.into(), b.into())));
        assert!(super::pairs("").is_empty());
    }

    #[test]
    fn only_what_is_asked_for_is_heard() {
        let said = pairs(
            "call_id=f3b1%40sbc&start=1795442709&duration_ms=184220.5&duration=soon&put_file=%2Ftmp%2Fx.wav&url=http%3A%2F%2Fme%3As3cret%40h\
             &direction=inbound&direction=outbound&owner_id=..%2F..&from=&from=a%40b&origin=see+http%3A%2F%2Fme%3As3cret%40h%2F",
        );
        let wanted = json!({
            "call_id": "f3b1@sbc", "start": 63_962_661_909_i64, "duration_ms": 184_220, "direction": "inbound", "from": "a@b",
            "origin": "see http://********@h/",
        });
        assert_eq!(Value::Object(of(Kind::Recording, &said)), wanted);
    }

    #[test]
    fn each_kind_has_words_of_its_own() {
        let long = "ü".repeat(50);
        let said = pairs(&format!(
            "caller_id_name={long}&caller_id_number=%2B4930&duration=12.4&start=2026-11-23+14:05:09&fax_success=1&fax_document_transferred_pages=3&pages=-1"
        ));
        let voicemail = json!({"caller_id_name": "ü".repeat(35), "caller_id_number": "+4930", "length": 12_000, "timestamp": 63_962_661_909_i64});
        assert_eq!(Value::Object(of(Kind::Voicemail, &said)), voicemail);
        let fax = json!({
            "from_name": long, "from_number": "+4930", "pages": 3, "timestamp": 63_962_661_909_i64,
            "rx_result": {"success": "1", "transferred_pages": "3"},
        });
        assert_eq!(Value::Object(of(Kind::Fax, &said)), fax);
    }
}
