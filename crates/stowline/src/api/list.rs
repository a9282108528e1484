//! What all lists share: pages, windows of time, and filters, as clients write them in a query.
//!
//! Whatever of it cannot be read is answered 400 by its name, but for `page_size`: there the contract falls back to the configured one.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connections::{Cursor, Document, Order};
use plan::Violations;
use serde_json::{Map, Value};

use super::{Call, Reply};
use crate::app::months::Span;
use crate::app::pages::Ask;
use crate::app::{App, Error};
use crate::time;

/// The most rows of a page, whatever the client wishes.
const LARGEST_PAGE: usize = 10_000;

/// The part of a list that a call asks for.
#[derive(Debug, Clone)]
pub struct Paging {
    /// As the use cases take it.
    pub ask: Ask,
    start_key: String,
}

impl Paging {
    /// Reads `page_size`, `start_key`, `paginate`, `is_chunked` (all rows, as Kazoo streams them), `ascending` and `descending`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `start_key` that is none of ours.
    pub fn of(app: &App, call: &Call) -> Result<Self, Error> {
        let size = number(call, "page_size")
            .ok()
            .flatten()
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| *size > 0);
        let size = size.unwrap_or(app.config.api.page_size).min(LARGEST_PAGE);
        let all = says(call, "paginate", "false") || says(call, "is_chunked", "true");
        let ascending = says(call, "ascending", "true") || says(call, "descending", "false");
        let start_key = call.query("start_key").unwrap_or_default().to_owned();
        let start = if start_key.is_empty() { None } else { Some(read_start_key(&start_key)?) };
        let order = if ascending { Order::Ascending } else { Order::Descending };
        Ok(Self { ask: Ask { order, start, limit: (!all).then_some(size) }, start_key })
    }

    /// The answer that shows a page, with what leads to the next one.
    pub fn reply(&self, rows: Vec<Value>, next: Option<&Cursor>) -> Reply {
        let count = rows.len();
        let reply = Reply::ok(rows);
        if self.ask.limit.is_none() {
            return reply;
        }
        let reply = reply.also("page_size", count).also("start_key", self.start_key.as_str());
        match next {
            Some(next) => reply.also("next_start_key", start_key(next)),
            None => reply,
        }
    }
}

impl Paging {
    /// The page of rows that are all at hand. `place` says when each was made, and its id.
    pub fn cut<T>(&self, mut found: Vec<T>, place: impl Fn(&T) -> (i64, String), row: impl Fn(&T) -> Value) -> Reply {
        found.sort_by_cached_key(&place);
        if self.ask.order == Order::Descending {
            found.reverse();
        }
        let reached = |item: &T| {
            let Some(start) = &self.ask.start else { return true };
            let (place, start) = (place(item), (start.at, start.id.clone()));
            if self.ask.order == Order::Descending { place <= start } else { place >= start }
        };
        let mut rest = found.iter().skip_while(|item| !reached(item));
        let rows = rest.by_ref().take(self.ask.limit.unwrap_or(usize::MAX)).map(row).collect();
        let next = rest.next().map(place).map(|(at, id)| Cursor { at, id });
        self.reply(rows, next.as_ref())
    }
}

/// The page that a call asks for of documents that are all at hand, being few.
///
/// # Errors
/// [`Error::Invalid`] for what of it cannot be read.
pub fn of_few<T>(
    app: &App,
    call: &Call,
    mut found: Vec<T>,
    document: impl Fn(&T) -> &Document,
    shown: impl Fn(&T) -> Map<String, Value>,
) -> Result<Reply, Error> {
    let (paging, filters) = (Paging::of(app, call)?, Filters::of(call)?);
    found.retain(|item| filters.pass(&shown(item), Times::of(document(item))));
    let place = |item: &T| (Times::of(document(item)).created, document(item).id.to_string());
    Ok(paging.cut(found, place, |item| Value::Object(shown(item))))
}

fn says(call: &Call, name: &str, word: &str) -> bool {
    match call.value(name) {
        Some(Value::String(text)) => text == word,
        Some(Value::Bool(truth)) => (word == "true") == truth,
        _ => false,
    }
}

/// A cursor as clients see it.
pub fn start_key(cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{}", cursor.at, cursor.id))
}

fn read_start_key(text: &str) -> Result<Cursor, Error> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (at, id) = text.split_once('/')?;
        Some(Cursor { at: at.parse().ok()?, id: id.to_owned() })
    };
    read().ok_or_else(|| Error::invalid("start_key", "invalid", "send a next_start_key back as it came"))
}

/// A whole number, written as one or as text.
///
/// # Errors
/// [`Error::Invalid`] when it is neither.
pub fn number(call: &Call, name: &str) -> Result<Option<i64>, Error> {
    let read = match call.value(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    read.map(Some).ok_or_else(|| Error::invalid(name, "type", format!("{name} is a whole number")))
}

/// The window that a call names, else the latest and widest one.
///
/// # Errors
/// As [`window`].
pub fn span(app: &App, call: &Call) -> Result<Span, Error> {
    Ok(window(call, app.config.api.maximum_range)?.unwrap_or_else(|| Span::latest(app)))
}

/// Reads `created_from` and `created_to`; none when neither is there. With one of them only, the window is as wide as it may be: `widest`
/// up to `created_to`, or from `created_from` until now.
///
/// # Errors
/// [`Error::Invalid`] when one is no number, the window ends before it begins, or is wider than `widest`.
pub fn window(call: &Call, widest: Duration) -> Result<Option<Span>, Error> {
    let widest = i64::try_from(widest.as_secs()).unwrap_or(i64::MAX);
    let window = match (number(call, "created_from")?, number(call, "created_to")?) {
        (None, None) => return Ok(None),
        (Some(from), Some(to)) => Span { from, to },
        (Some(from), None) => Span { from, to: time::now() },
        (None, Some(to)) => Span { from: to.saturating_sub(widest), to },
    };
    let complaint = if window.to < window.from {
        "created_to is before created_from".to_owned()
    } else if window.to.saturating_sub(window.from) > widest {
        format!("the window from created_from to created_to is wider than {widest} seconds")
    } else {
        return Ok(Some(window));
    };
    let mut violations = Violations::default();
    violations.push("created_from", "date_range", complaint, [("cause", Value::from(window.from))]);
    Err(Error::Invalid(violations))
}

/// What the rows of a list must fulfil, all of it.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    tests: Vec<Test>,
    created: (Option<i64>, Option<i64>),
    modified: (Option<i64>, Option<i64>),
}

#[derive(Debug, Clone)]
enum Test {
    Equals { path: String, value: String },
    Differs { path: String, value: String },
    Has { path: String, wanted: bool },
    HasValue { path: String, wanted: bool },
}

/// When a row was created and last changed, in Gregorian seconds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Created.
    pub created: i64,
    /// Last changed.
    pub modified: i64,
}

impl Times {
    /// Those of a document.
    pub fn of(document: &Document) -> Self {
        Self::of_fields(&document.body)
    }

    /// Those in a document's private fields.
    pub fn of_fields(private: &Map<String, Value>) -> Self {
        let at = |key: &str| private.get(key).and_then(Value::as_i64).unwrap_or_default();
        Self { created: at("pvt_created"), modified: at("pvt_modified") }
    }
}

impl Filters {
    /// Reads `filter_K`, `filter_not_K`, `has_key`, `key_missing`, `has_value`, `value_missing` (also `missing_value`), `created_from`,
    /// `created_to`, `modified_from` and `modified_to`. `K` and the keys may be dotted paths.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time that is no number.
    pub fn of(call: &Call) -> Result<Self, Error> {
        let test = |(name, value): &(String, String)| {
            let (path, value) = (value.clone(), value.clone());
            Some(match name.as_str() {
                "has_key" => Test::Has { path, wanted: true },
                "key_missing" => Test::Has { path, wanted: false },
                "has_value" => Test::HasValue { path, wanted: true },
                "value_missing" | "missing_value" => Test::HasValue { path, wanted: false },
                _ => match (name.strip_prefix("filter_not_"), name.strip_prefix("filter_")) {
                    (Some(path), _) => Test::Differs { path: path.to_owned(), value },
                    (None, Some(path)) => Test::Equals { path: path.to_owned(), value },
                    (None, None) => return None,
                },
            })
        };
        Ok(Self {
            tests: call.query.iter().filter_map(test).collect(),
            created: (number(call, "created_from")?, number(call, "created_to")?),
            modified: (number(call, "modified_from")?, number(call, "modified_to")?),
        })
    }

    /// False when only a row's times count.
    pub fn ask_for_fields(&self) -> bool {
        !self.tests.is_empty()
    }

    /// True when a row with these fields and times passes.
    pub fn pass(&self, fields: &Map<String, Value>, times: Times) -> bool {
        let within = |(from, to): (Option<i64>, Option<i64>), at| {
            from.is_none_or(|from| from <= at) && to.is_none_or(|to| at <= to)
        };
        within(self.created, times.created)
            && within(self.modified, times.modified)
            && self.tests.iter().all(|test| test.pass(fields))
    }
}

impl Test {
    fn pass(&self, fields: &Map<String, Value>) -> bool {
        match self {
            Self::Equals { path, value } => at(fields, path).is_some_and(|found| reads_as(found, value)),
            Self::Differs { path, value } => !at(fields, path).is_some_and(|found| reads_as(found, value)),
            Self::Has { path, wanted } => at(fields, path).is_some() == *wanted,
            Self::HasValue { path, wanted } => at(fields, path).is_some_and(|found| !is_empty(found)) == *wanted,
        }
    }
}

fn at<'a>(fields: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let mut found = fields.get(parts.next()?)?;
    for part in parts {
        found = found.get(part)?;
    }
    Some(found)
}

fn reads_as(value: &Value, text: &str) -> bool {
    match value {
        Value::String(value) => value == text,
        Value::Number(number) => number.to_string().as_str() == text,
        Value::Bool(truth) => text.parse() == Ok(*truth),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(query: &str) -> Call {
        Call { query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(), ..Call::default() }
    }

    fn passes(query: &str) -> bool {
        let fields =
            json!({"folder": "new", "length": 12, "read": false, "note": "", "none": null, "from": {"user": "dana"}});
        let times = Times { created: 100, modified: 200 };
        Filters::of(&call(query)).unwrap().pass(fields.as_object().unwrap(), times)
    }

    #[test]
    fn filters_are_a_conjunction_over_dotted_paths() {
        for kept in [
            "",
            "unknown=1",
            "filter_folder=new",
            "filter_from.user=dana&filter_length=12&filter_read=false",
            "filter_not_folder=saved",
            "filter_not_absent=x",
            "has_key=none&has_key=from.user",
            "key_missing=absent",
            "has_value=folder",
            "value_missing=note&missing_value=none&missing_value=absent",
            "created_from=100&created_to=100&modified_from=199&modified_to=201",
        ] {
            assert!(passes(kept), "{kept}");
        }
        for dropped in [
            "filter_folder=saved",
            "filter_folder=new&filter_length=13",
            "filter_absent=x",
            "filter_from=dana",
            "filter_folder.deeper=new",
            "filter_not_folder=new",
            "has_key=absent",
            "key_missing=none",
            "has_value=note",
            "value_missing=length",
            "created_from=101",
            "created_to=99",
            "modified_from=201",
            "modified_to=199",
        ] {
            assert!(!passes(dropped), "{dropped}");
        }
    }

    #[test]
    fn a_start_key_comes_back_as_it_went() {
        let cursor = Cursor { at: -5, id: "202611-a/b".into() };
        assert_eq!(read_start_key(&start_key(&cursor)).unwrap(), cursor);
        for bad in ["x", "%%%", "MTIz", "YS9i"] {
            assert!(read_start_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_window_is_read_or_refused() {
        let day = Duration::from_secs(86_400);
        assert_eq!(window(&call(""), day).unwrap(), None);
        assert_eq!(window(&call("created_from=5&created_to=5"), day).unwrap(), Some(Span { from: 5, to: 5 }));
        assert_eq!(window(&call("created_to=86405"), day).unwrap(), Some(Span { from: 5, to: 86_405 }));
        for bad in [
            "created_from=6&created_to=5",
            "created_from=0&created_to=86401",
            "created_from=0",
            "created_from=soon",
            "created_to=",
            "created_from=99999999999999999999",
            "created_from=-9223372036854775808&created_to=9223372036854775807",
        ] {
            assert!(window(&call(bad), day).is_err(), "{bad}");
        }
    }
}
