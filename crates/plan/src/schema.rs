//! What a storage document may look like.
//!
//! The schemas are draft-4 texts beside this crate (`schemas/*.json`), with the ids and field names that Kazoo's clients know; those of
//! the handlers' settings come from whoever knows the handlers. [`Schemas`] composes and compiles them once; [`Schemas::validate`] then says
//! all that is wrong with a document, at once, in [`Violations`]. A [`Form`] is the same for any other kind of document.
//!
//! * **Entries.** An entry of `attachments` must fit the schema of the handler that it names. Kazoo tries every schema and can only say that
//!   none fits. Here that same coarse fault stands at `attachments.<id>`, and the precise ones stand beside it.
//! * **Types.** `"15"` and `"true"` are taken for a number and a boolean where one is asked for and nothing else is wrong; the document is
//!   then changed in place.
//! * **Defaults** are not written into documents: what a client reads is what was sent. Each handler knows its own.
//! * **Secrets** are struck out of every value that is echoed: what a schema marks `"x-secret": true` or `"writeOnly": true`, whatever
//!   is called a password or a secret, settings that no schema knows, and what a URL holds beside its origin and path.
//!
//! Private keys (`_*`, `pvt_*`) are the caller's to strip.

mod compose;
mod fault;
mod form;
mod strike;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub use form::Form;

use self::fault::{Fault, settle};
use crate::violations::{STRUCK, Violations};

/// A schema that cannot be compiled: a fault of the program, never of a document.
#[derive(Debug, thiserror::Error)]
#[error("the schema {name} cannot be compiled")]
pub struct BadSchema {
    pub(crate) name: String,
    #[source]
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

/// The compiled schemas of storage documents. Compiling takes milliseconds: do it once.
pub struct Schemas {
    root: Form,
    entry: Form,
    connection: Form,
    /// The settings of each handler, by its name.
    handlers: BTreeMap<String, Form>,
    documents: Vec<(String, Value)>,
}

impl Schemas {
    /// Composes and compiles the schemas; `handlers` are the names of handlers, each with the schema of its `settings`.
    ///
    /// # Errors
    ///
    /// [`BadSchema`] names the schema that is none.
    pub fn new<'a>(handlers: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Result<Self, BadSchema> {
        let handlers: Vec<_> = handlers.into_iter().collect();
        let texts = compose::texts()?;
        let settings = |(name, schema): &(&str, &Value)| {
            Ok(((*name).to_owned(), Form::named(name, compose::with_definitions(schema, &texts))?))
        };
        Ok(Self {
            root: Form::named("storage", compose::root(&texts))?,
            entry: Form::named("storage.attachments", compose::entry(&texts))?,
            connection: Form::named("storage.connection.couchdb", compose::connection(&texts))?,
            handlers: handlers.iter().map(settings).collect::<Result<_, _>>()?,
            documents: compose::documents(&texts, &handlers),
        })
    }

    /// Everything that is wrong with `document`. Nothing of it is stripped; where wrong types are all that is wrong, and can be converted, they
    /// are, in place.
    pub fn validate(&self, document: &mut Value) -> Violations {
        settle(document, |document| self.faults(document))
    }

    /// The schemas as documents, by id: `storage`, `storage.attachment.aws`, … They refer to each other by bare id.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.documents.iter().map(|(id, schema)| (id.as_str(), schema))
    }

    fn faults(&self, document: &Value) -> Vec<Fault> {
        let shown = self.shown(document);
        let mut faults = self.root.faults(document, &shown, &[]);
        for (section, id, entry) in entries(document) {
            let shown = shown.get(section).and_then(|entries| entries.get(id)).unwrap_or(&Value::Null);
            let of_entry = match section {
                "attachments" if is_handler_id(id) => self.attachment(id, entry, shown),
                "connections" if is_connection_id(id) => self.connection.faults(entry, shown, &[section, id]),
                _ => continue,
            };
            if !of_entry.is_empty() {
                faults.push(Fault::coarse(&[section, id], shown.clone()));
                faults.extend(of_entry);
            }
        }
        faults
    }

    fn attachment(&self, id: &str, entry: &Value, shown: &Value) -> Vec<Fault> {
        let mut faults = self.entry.faults(entry, shown, &["attachments", id]);
        let Some(handler) = entry.get("handler").and_then(Value::as_str) else {
            return faults;
        };
        let Some(form) = self.handlers.get(handler) else {
            faults.push(Fault::unknown_handler(id, handler, self.handlers.keys()));
            return faults;
        };
        if let Some(settings) = entry.get("settings").filter(|settings| settings.is_object()) {
            let shown = shown.get("settings").unwrap_or(&Value::Null);
            faults.extend(form.faults(settings, shown, &["attachments", id, "settings"]));
        }
        faults
    }

    /// The document as it may be echoed.
    fn shown(&self, document: &Value) -> Value {
        let mut shown = self.root.struck(document);
        for (section, id, entry) in entries(document) {
            let echoed = match section {
                "attachments" => self.shown_attachment(entry),
                _ => self.connection.struck_whole(entry),
            };
            if let Some(place) = shown.get_mut(section).and_then(|entries| entries.get_mut(id)) {
                *place = echoed;
            }
        }
        if let Some(plan) = shown.get_mut("plan") {
            strike::params(plan);
        }
        shown
    }

    fn shown_attachment(&self, entry: &Value) -> Value {
        let mut shown = self.entry.struck_whole(entry);
        if let (Some(settings), Some(place)) = (entry.get("settings"), shown.get_mut("settings")) {
            let form = entry.get("handler").and_then(Value::as_str).and_then(|handler| self.handlers.get(handler));
            *place = form.map_or_else(|| STRUCK.into(), |form| self.entry.struck_settings(form, settings));
        }
        shown
    }
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schemas").field("handlers", &self.handlers.keys()).finish_non_exhaustive()
    }
}

/// As [`Schemas::validate`], compiling the schemas for this one document. A schema that is none is a violation of `schema`.
pub fn validate(document: &mut Value, handlers: &[(&str, &Value)]) -> Violations {
    match Schemas::new(handlers.iter().copied()) {
        Ok(schemas) => schemas.validate(document),
        Err(bad) => {
            let mut violations = Violations::new();
            violations.push("schema", "schema", bad.to_string(), []);
            violations
        }
    }
}

/// The entries of `attachments` and `connections`: section, id, entry.
fn entries(document: &Value) -> impl Iterator<Item = (&'static str, &str, &Value)> {
    ["attachments", "connections"].into_iter().flat_map(move |section| {
        let entries = document.get(section).and_then(Value::as_object).into_iter().flatten();
        entries.map(move |(id, entry)| (section, id.as_str(), entry))
    })
}

fn is_handler_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_connection_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b',';
    id.len() == 32 && id.bytes().all(plain) && !id.contains("local")
}
