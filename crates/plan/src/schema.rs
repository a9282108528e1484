//! (to follow)

use serde_json::Value;

use crate::violations::Violations;

/// A schema that cannot be compiled: a fault of the program, not of a document.
#[derive(Debug, thiserror::Error)]
#[error("the schema {name} cannot be compiled")]
pub struct BadSchema {
    name: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// One compiled schema.
#[derive(Debug)]
pub struct Form;

impl Form {
    /// Compiles a draft-4 schema.
    ///
    /// # Errors
    ///
    /// [`BadSchema`].
    pub fn compile(_schema: &Value) -> Result<Self, BadSchema> {
        Ok(Self)
    }

    /// Everything that is wrong with `document`.
    pub fn validate(&self, _document: &mut Value) -> Violations {
        Violations::new()
    }
}

/// The compiled schemas of storage documents.
#[derive(Debug)]
pub struct Schemas;

impl Schemas {
    /// Compiles them.
    ///
    /// # Errors
    ///
    /// [`BadSchema`].
    pub fn new<'a>(
        _handlers: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Result<Self, BadSchema> {
        Ok(Self)
    }

    /// Everything that is wrong with `document`.
    pub fn validate(&self, _document: &mut Value) -> Violations {
        Violations::new()
    }
}
