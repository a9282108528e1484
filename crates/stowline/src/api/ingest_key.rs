//! `/v2/accounts/{account}/ingest_keys…`: keys for switches. A key is in one answer only, the one to its making.

use std::sync::Arc;

use super::error::Fault;
use super::{Call, Reply, list};
use crate::app::App;
use crate::app::ingest_keys::{self, IngestKey};

/// `GET …/ingest_keys`.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let keys = ingest_keys::list(&app, call.account()?).await?;
    Ok(list::of_few(&app, &call, keys, |key| &key.document, IngestKey::public)?)
}

/// `PUT …/ingest_keys`: `{"name": …, "scopes": ["recordings", "voicemail", "fax", "cdr"]}`.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let (made, key) = ingest_keys::create(&app, call.account()?, call.data.clone()).await?;
    let mut data = made.public();
    data.insert("key".into(), key.into());
    Ok(Reply::created(data).of(&made.document).at(made.id.to_string()))
}

async fn named(app: &App, call: &Call) -> Result<IngestKey, Fault> {
    Ok(ingest_keys::get(app, call.account()?, call.param("ingest_key")).await?)
}

/// `GET …/ingest_keys/{ingest_key}`.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let key = named(&app, &call).await?;
    Ok(Reply::ok(key.public()).of(&key.document))
}

/// `DELETE …/ingest_keys/{ingest_key}`: it is refused from now on.
pub async fn revoke(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let key = named(&app, &call).await?;
    ingest_keys::revoke(&app, &key).await?;
    Ok(Reply::removed(key.public(), &key.document))
}
