//! The schemas of what callers may send beside storage documents, checked in one way.

use plan::schema::Form;
use serde_json::{Map, Value};

use super::Error;
use connections::Document;

/// A kind of document that a caller may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormName(usize);

/// `PUT /accounts`.
pub const ACCOUNT: FormName = FormName(0);
/// `PUT …/users`.
pub const USER: FormName = FormName(1);
/// `PUT …/vmboxes`.
pub const VMBOX: FormName = FormName(2);
/// `PUT …/vmboxes/{id}/messages`.
pub const MESSAGE: FormName = FormName(3);
/// What comes in with a call's recording.
pub const RECORDING: FormName = FormName(4);
/// The record of a leg of a call.
pub const CDR: FormName = FormName(5);
/// What comes in with a received fax.
pub const FAX: FormName = FormName(6);

/// `PUT …/ingest_keys`.
pub const INGEST_KEY: FormName = FormName(7);
/// `PUT …/sip_credentials`.
pub const SIP_CREDENTIAL: FormName = FormName(8);
/// `PUT …/faxboxes`.
pub const FAXBOX: FormName = FormName(9);

/// `PUT …/storage/oauth/apps`.
pub const OAUTH_APP: FormName = FormName(10);
/// `PUT …/storage/oauth/consents`.
pub const OAUTH_CONSENT: FormName = FormName(11);

const SOURCES: [&str; 12] = [
    include_str!("../../schemas/accounts.json"),
    include_str!("../../schemas/users.json"),
    include_str!("../../schemas/vmboxes.json"),
    include_str!("../../schemas/mailbox_messages.json"),
    include_str!("../../schemas/recordings.json"),
    include_str!("../../schemas/cdrs.json"),
    include_str!("../../schemas/faxes.json"),
    include_str!("../../schemas/ingest_keys.json"),
    include_str!("../../schemas/sip_credentials.json"),
    include_str!("../../schemas/faxboxes.json"),
    include_str!("../../schemas/oauth_apps.json"),
    include_str!("../../schemas/oauth_consents.json"),
];

/// The compiled schemas.
#[derive(Debug)]
pub struct Forms {
    forms: Vec<Form>,
    documents: Vec<Value>,
}

impl Forms {
    /// Compiles them.
    ///
    /// # Errors
    /// Only when a schema of ours is broken.
    pub fn compile() -> anyhow::Result<Self> {
        let parse = |source: &&str| anyhow::Ok(serde_json::from_str(source)?);
        let documents: Vec<Value> = SOURCES.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { forms: documents.iter().map(Form::compile).collect::<Result<_, _>>()?, documents })
    }

    /// The schemas as documents, by id.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.documents.iter().filter_map(|schema| Some((schema.get("id")?.as_str()?, schema)))
    }

    /// As [`Forms::check`], without the fields that the form does not name.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check_known(&self, name: &FormName, data: Value) -> Result<Map<String, Value>, Error> {
        let mut fields = self.check(name, data)?;
        if let Some(form) = self.forms.get(name.0) {
            fields.retain(|key, _| form.declares(key));
        }
        Ok(fields)
    }

    /// What a caller sent, without private fields, when it fits the form.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self, name: &FormName, mut data: Value) -> Result<Map<String, Value>, Error> {
        if let Value::Object(fields) = &mut data {
            strip_private(fields);
        }
        if let Some(form) = self.forms.get(name.0) {
            let violations = form.validate(&mut data);
            if !violations.is_empty() {
                return Err(Error::Invalid(violations));
            }
        }
        match data {
            Value::Object(fields) => Ok(fields),
            _ => Err(Error::invalid("data", "type", "data must be an object")),
        }
    }
}

/// Drops what only the server may set: top-level keys that begin with `_` or `pvt_`, and `id`; and what proves who sends it, which
/// may stand there and is nothing to keep.
pub fn strip_private(fields: &mut Map<String, Value>) {
    const NOT_KEPT: [&str; 3] = ["id", "auth_token", "authorization"];
    fields.retain(|key, _| !key.starts_with('_') && !key.starts_with("pvt_") && !NOT_KEPT.contains(&key.as_str()));
}

/// Carries the private fields of a stored document over to its new body.
pub fn keep_private(document: &Document, body: &mut Map<String, Value>) {
    for (key, value) in &document.body {
        if key.starts_with("pvt_") || key.starts_with('_') {
            body.insert(key.clone(), value.clone());
        }
    }
}
