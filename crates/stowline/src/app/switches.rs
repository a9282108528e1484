//! Settings of the whole system that `sup` turns on and off. They are documents, so they outlive a restart.

use connections::{Change, Draft};
use plan::{Database, DocId};
use serde_json::{Map, Value};

use super::{App, Error};

/// A setting that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// A storage document may be saved without trying its settings (`validate_settings=false`). Off at first.
    ValidationOverrides,
    /// The storage endpoint answers. On at first.
    StorageEndpoint,
}

impl Switch {
    fn key(self) -> &'static str {
        match self {
            Self::ValidationOverrides => "allow_validation_overrides",
            Self::StorageEndpoint => "storage_endpoint",
        }
    }

    fn at_first(self) -> bool {
        self == Self::StorageEndpoint
    }
}

fn place() -> Result<(Database, DocId), Error> {
    let id = DocId::parse("system_data").map_err(|_| Error::NotFound("system_data".into()))?;
    Ok((Database::Named("system_config".into()), id))
}

/// Whether the switch is on.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn is_on(app: &App, switch: Switch) -> Result<bool, Error> {
    let (database, id) = place()?;
    let document = app.documents.get(&database, &id).await?;
    let stored = document.and_then(|document| document.body.get(switch.key())?.as_bool());
    Ok(stored.unwrap_or(switch.at_first()))
}

/// Turns the switch.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn turn(app: &App, switch: Switch, on: bool) -> Result<(), Error> {
    let (database, id) = place()?;
    let fresh = Draft {
        doc_type: "config".into(),
        body: Map::from_iter([(switch.key().into(), on.into())]),
        ..Draft::default()
    };
    match app.documents.create(&database, &id, fresh).await {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == connections::ErrorKind::Conflict => {}
        Err(error) => return Err(error.into()),
    }
    let change = move |document: &connections::Document| {
        let mut body = document.body.clone();
        body.insert(switch.key().into(), Value::Bool(on));
        Ok(Change::Write(body))
    };
    app.documents.update(&database, &id, change).await?;
    Ok(())
}
