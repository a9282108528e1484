//! The XML of a call record, read into a [`Report`].
//!
//! ```text
//! <cdr core-uuid switchname>
//!   <channel_data><direction>…        facts of the channel
//!   <variables><name>value…           every value in percent encoding
//!   <callflow> … <callflow>           one a caller profile, the latest first; only the first counts
//!     <caller_profile>… <originator><originator_caller_profile>…
//!     <times><created_time>…          microseconds
//! ```
//!
//! Names of elements are names of channel variables, which need not be XML names. No document type is taken: there are no entities but XML's own
//! five and numbers. Nesting is bounded.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

use crate::Error;
use crate::freeswitch::Report;

/// The deepest that an element may lie. A record is nested seven deep.
const DEEPEST: usize = 32;

/// Reads a record.
pub(crate) fn report(text: &str) -> Result<Report<'static>, Error> {
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_dangling_amp = true;
    config.allow_unmatched_ends = true;
    let mut reading = Reading::default();
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => reading.open(&start)?,
            Ok(Event::Empty(start)) => {
                reading.open(&start)?;
                reading.close();
            }
            Ok(Event::End(_)) => reading.close(),
            Ok(Event::Text(part)) => reading.text.push_str(&part),
            Ok(Event::CData(part)) => reading.text.push_str(&part),
            Ok(Event::GeneralRef(name)) => reading.text.push_str(&reference(&name)),
            Ok(Event::DocType(_)) => return Err(Error::Xml("it has a document type")),
            Ok(Event::Comment(_) | Event::Decl(_) | Event::PI(_)) => {}
            Ok(Event::Eof) => break,
            Err(_) => return Err(Error::Xml("it is not well formed")),
        }
    }
    if reading.is_record { Ok(reading.report) } else { Err(Error::Xml("its root is not <cdr>")) }
}

#[derive(Default)]
struct Reading {
    path: Vec<String>,
    text: String,
    callflows: usize,
    is_record: bool,
    report: Report<'static>,
}

impl Reading {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), Error> {
        if self.path.len() >= DEEPEST {
            return Err(Error::Xml("it is nested too deeply"));
        }
        let name = start.name().as_ref().to_owned();
        if self.path.is_empty() && name == "cdr" {
            self.is_record = true;
            self.report.switchname = attribute(start, "switchname");
        }
        if self.path.len() == 1 && name == "callflow" {
            self.callflows += 1;
        }
        self.path.push(name);
        self.text.clear();
        Ok(())
    }

    fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let latest = self.callflows == 1;
        let report = &mut self.report;
        match path.as_slice() {
            ["cdr", "variables", name] => report.variable(name, &text),
            ["cdr", "channel_data", name] => insert(&mut report.channel, name, &text),
            ["cdr", "callflow", "caller_profile", name] if latest => insert(&mut report.profile, name, &text),
            ["cdr", "callflow", "times", name] if latest => insert(&mut report.times, name, &text),
            ["cdr", "callflow", "caller_profile", "originator", _, name] if latest => {
                insert(&mut report.originator, name, &text);
            }
            ["cdr", "callflow", "caller_profile", "originatee", _, name] if latest => {
                insert(&mut report.originatee, name, &text);
            }
            _ => {}
        }
        self.path.pop();
    }
}

/// The first of a name counts.
fn insert(texts: &mut crate::freeswitch::Texts<'_>, name: &str, text: &str) {
    if !text.trim().is_empty() {
        texts.entry(name.to_owned().into()).or_insert_with(|| text.to_owned().into());
    }
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = start.try_get_attribute(name).ok().flatten()?;
    let text = unescape(&attribute.value).unwrap_or(Cow::Borrowed(&attribute.value)).into_owned();
    (!text.is_empty()).then_some(text)
}

/// What `&name;` stands for; itself when that is nothing we know.
fn reference(name: &str) -> String {
    let reference = format!("&{name};");
    unescape(&reference).map(Cow::into_owned).unwrap_or(reference)
}
