//! Trying a handler's settings before they are saved: a small object is put, read back, compared and removed.
//!
//! The plan and its params play no part; the object lies where the settings alone put it.

use std::sync::Arc;
use std::time::Duration;

use attachments::{ErrorKind, Payload, PutKey, location};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use plan::{AttachmentName, Database, DocId, HandlerConfig, HandlerId, Violations};
use serde_json::{Map, Value, json};

use tokio::time::Instant;

use super::oauth::{self, Owner};
use super::storage_documents::Scope;
use super::{App, Error, issued};
use crate::time;

/// How long a destination may take in all. An unreachable one is answered well before.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long all probes of a request may take together.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Why settings do not work.
#[derive(Debug)]
pub enum Fault {
    /// The destination, or the way to it, answered so.
    Destination(attachments::Error),
    /// It answered other bytes than were put.
    OtherBytes,
    /// It took too long.
    Slow,
    /// The settings cannot even be tried.
    Unfit(&'static str),
}

impl Fault {
    /// Adds it to `violations` in the form that clients know.
    pub fn report(&self, id: &HandlerId, violations: &mut Violations) {
        let (code, body, message) = match self {
            Self::Destination(error) => destination(error),
            Self::OtherBytes => (500, Value::Null, "the destination read back other bytes than were stored".to_owned()),
            Self::Slow => (500, Value::Null, format!("no answer within {} s", DEADLINE.as_secs())),
            Self::Unfit(why) => (500, Value::Null, (*why).to_owned()),
        };
        let extra = [("error_code", Value::from(code)), ("error_body", body)];
        violations.push(&format!("attachments.{id}"), "invalid", message, extra);
    }
}

fn destination(error: &attachments::Error) -> (u16, Value, String) {
    let exchange = error.exchange();
    let code = exchange.and_then(|exchange| exchange.status).unwrap_or(500);
    let body = exchange.and_then(|exchange| exchange.body.as_deref()).map_or(Value::from(""), |text| {
        serde_json::from_str(text)
            .ok()
            .filter(|body: &Value| body.is_object() || body.is_array())
            .unwrap_or(text.into())
    });
    let message = exchange.and_then(|exchange| exchange.message.clone()).unwrap_or_else(|| error.to_string());
    (code, body, message)
}

/// Tries the settings of one entry, `until` then at the latest.
///
/// # Errors
/// The [`Fault`] that the settings have.
pub async fn probe(
    app: &App,
    scope: &Scope,
    id: &HandlerId,
    entry: &HandlerConfig,
    request_id: &str,
    until: Instant,
) -> Result<(), Fault> {
    let until = until.min(Instant::now() + DEADLINE);
    let outcome =
        tokio::time::timeout_at(until, attempt(app, scope, entry, request_id)).await.unwrap_or(Err(Fault::Slow));
    match &outcome {
        Ok(()) => tracing::info!(handler.id = %id, handler.kind = %entry.handler, "settings tried: they work"),
        Err(Fault::Destination(error)) => {
            tracing::info!(handler.id = %id, handler.kind = %entry.handler, error = %error, "settings tried: they do not work");
        }
        Err(fault) => {
            tracing::info!(handler.id = %id, handler.kind = %entry.handler, ?fault, "settings tried: they do not work")
        }
    }
    outcome
}

async fn attempt(app: &App, scope: &Scope, entry: &HandlerConfig, request_id: &str) -> Result<(), Fault> {
    let token = crate::id::random();
    let content = Bytes::from(format!("some random content: {token}"));
    let (database, account) = match scope.account() {
        Some(account) => {
            let month = time::month(time::now()).ok_or(Fault::Unfit("the clock is out of range"))?;
            (Database::Modb(account.clone(), month), account.to_string())
        }
        None => (Database::Named("system_data".into()), "system_data".to_owned()),
    };
    let month = database.month().map(|month| format!("{month}-")).unwrap_or_default();
    let doc_id = DocId::parse(&format!("{month}{token}")).map_err(|_| Fault::Unfit("no id could be made"))?;
    let name = AttachmentName::parse(&format!("{token}_test_credentials_file.txt"))
        .map_err(|_| Fault::Unfit("no name could be made"))?;
    let public = json!({
        "id": doc_id.as_ref(), "att_uuid": token, "content": format!("some random content: {token}"), "request_id": request_id,
    });
    let document = attachments::Document {
        account_id: Some(&account),
        database: &database,
        id: &doc_id,
        public: &public,
        at: time::moment(time::now(), None),
    };
    let place = location(&entry.handler, &entry.settings, &Map::new(), &document, &name).map_err(Fault::Destination)?;
    let unread = |_| Fault::Unfit("the accounts cannot be read now");
    let entry = Arc::new(issued::entry(app, scope, entry.clone()).await.map_err(unread)?);
    let handler = oauth::open(app, &entry, &Owner::of(scope)).await.map_err(|error| match error {
        Error::Destination(error) => Fault::Destination(error),
        _ => Fault::Unfit("the consents cannot be read now"),
    })?;
    let payload = Payload::bytes(content.clone(), "text/plain");
    let key = PutKey {
        generation: token.clone(),
        document: public.clone(),
        document_id: doc_id.to_string(),
        attachment: name.to_string(),
        reserved: None,
    };
    let receipt = handler.put(&place, &payload, &key).await.map_err(Fault::Destination)?;
    let read = read_back(handler.as_ref(), &receipt, &public, content.len()).await;
    // The test object goes whatever the answer was; a destination that deletes nothing keeps a few bytes of ours.
    if let Err(error) = handler.delete(&receipt).await {
        tracing::info!(handler.kind = %entry.handler, error = %error, "the test object of a probe stays at its destination");
    }
    match read? {
        read if read == content => Ok(()),
        _ => Err(Fault::OtherBytes),
    }
}

async fn read_back(
    handler: &dyn attachments::Handler,
    receipt: &attachments::Receipt,
    metadata: &Value,
    length: usize,
) -> Result<BytesMut, Fault> {
    let mut body = match handler.fetch(receipt, None, metadata).await {
        Ok(body) => body,
        Err(error) if error.kind() == ErrorKind::Mismatch => return Err(Fault::OtherBytes),
        Err(error) => return Err(Fault::Destination(error)),
    };
    let mut read = BytesMut::new();
    while let Some(chunk) = body.stream.next().await {
        match chunk {
            Ok(chunk) => read.extend_from_slice(&chunk),
            Err(error) if error.kind() == ErrorKind::Mismatch => return Err(Fault::OtherBytes),
            Err(error) => return Err(Fault::Destination(error)),
        }
        if read.len() > length {
            return Err(Fault::OtherBytes);
        }
    }
    Ok(read)
}
