//! One compiled schema.

use std::fmt;

use jsonschema::{Draft, Validator};
use serde_json::Value;

use super::fault::{Fault, settle};
use super::strike::{Schema, Undeclared, strike};
use super::{BadSchema, compose};
use crate::violations::Violations;

/// A compiled draft-4 schema of some kind of document, which reports in [`Violations`].
pub struct Form {
    schema: Value,
    validator: Validator,
}

impl Form {
    /// Compiles a draft-4 schema. It may refer to itself (`#/definitions/…`), and by bare id to the storage schemas.
    ///
    /// # Errors
    ///
    /// [`BadSchema`] when it is no schema, or refers to what is not there.
    pub fn compile(schema: &Value) -> Result<Self, BadSchema> {
        let name =
            ["_id", "id", "title"].into_iter().find_map(|key| schema.get(key)?.as_str()).unwrap_or("without a name");
        Self::named(name, compose::with_definitions(schema, &compose::texts()?))
    }

    pub(super) fn named(name: &str, schema: Value) -> Result<Self, BadSchema> {
        let compiled = jsonschema::options().with_draft(Draft::Draft4).build(&schema);
        match compiled {
            Ok(validator) => Ok(Self { schema, validator }),
            Err(error) => Err(BadSchema { name: name.to_owned(), source: error.to_string().into() }),
        }
    }

    /// Everything that is wrong with `document`. Where wrong types are all that is wrong, and can be converted (`"15"`, `"true"`), they are, in
    /// place.
    pub fn validate(&self, document: &mut Value) -> Violations {
        settle(document, |document| match self.validator.is_valid(document) {
            // The usual case. A copy without secrets costs several times what looking for faults does.
            true => Vec::new(),
            false => self.faults(document, &self.struck(document), &[]),
        })
    }

    /// Whether the schema names a field of this name at the top of a document.
    #[must_use]
    pub fn declares(&self, field: &str) -> bool {
        self.schema.get("properties").is_some_and(|properties| properties.get(field).is_some())
    }

    /// The faults of `value`, which stands at `at` and is echoed as `shown`.
    pub(super) fn faults(&self, value: &Value, shown: &Value, at: &[&str]) -> Vec<Fault> {
        self.validator.iter_errors(value).flat_map(|error| Fault::of(&error, shown, at)).collect()
    }

    /// `value` without its secrets.
    pub(super) fn struck(&self, value: &Value) -> Value {
        strike(value, &[Schema::whole(&self.schema)], Undeclared::Shown)
    }

    /// `value` without its secrets, nor anything that the schema does not know.
    pub(super) fn struck_whole(&self, value: &Value) -> Value {
        strike(value, &[Schema::whole(&self.schema)], Undeclared::Struck)
    }

    /// Settings without what is secret by the handler's schema, nor what neither it nor the schema common to all handlers knows.
    pub(super) fn struck_settings(&self, handler: &Self, settings: &Value) -> Value {
        let common = Schema::at(&self.schema, "/definitions/storage.attachments.settings");
        strike(settings, &[Schema::whole(&handler.schema), common], Undeclared::Struck)
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").finish_non_exhaustive()
    }
}
