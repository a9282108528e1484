//! What switches send, over real sockets: recordings, voicemail, faxes and call records, with ingest keys.

mod burst;
mod files;
mod keys;
mod records;
mod secrets;
mod store;
mod wire;

use connections::{Document, Query};
use futures_util::TryStreamExt;
use plan::{Database, DocId, Month};
use serde_json::{Value, json};
use stowline::app::attachment::attachments_of;
use stowline::app::fetch;
use testkit::Api;

use super::inside::Inside;

/// Everything that a key may be for.
const ALL: &[&str] = &["recordings", "voicemail", "fax", "cdr"];

/// An ingest key of the tenant: its id and itself.
async fn key(inside: &Inside, scopes: &[&str]) -> (String, String) {
    let body = json!({"data": {"name": "fs1", "scopes": scopes}});
    let made = inside.api.put(&inside.path("ingest_keys"), &body).await.expect_status(201).data();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// `/v2/ingest/{tenant}/{rest}`
fn path(inside: &Inside, rest: &str) -> String {
    format!("/v2/ingest/{}/{rest}", inside.account.id)
}

/// A client that shows a key in `X-Auth-Token`.
fn switch(inside: &Inside, key: &str) -> Api {
    Api::new(&format!("http://{}", inside.server.address())).with_token(key)
}

/// The documents of a type in November 2026 and this month.
async fn documents(inside: &Inside, doc_type: &str) -> Vec<Document> {
    let mut found = Vec::new();
    let mut months = vec![Month::parse("202611").unwrap(), stowline::time::month(super::inside::now()).unwrap()];
    months.dedup();
    for month in months {
        let database = Database::Modb(inside.account.id.clone(), month);
        let page = inside.app().documents.list(Query::new(database, doc_type)).await.unwrap();
        found.extend(page.documents.into_iter().map(|(_, document)| document));
    }
    found
}

/// The document with this id.
async fn document(inside: &Inside, id: &str) -> Document {
    let id = DocId::parse(id).unwrap();
    let database = Database::Modb(inside.account.id.clone(), id.month().unwrap());
    inside.app().documents.get(&database, &id).await.unwrap().unwrap()
}

/// The public fields of a document, and its attachment: type and bytes.
async fn shown(inside: &Inside, id: &str) -> (Value, String, Vec<u8>) {
    let document = document(inside, id).await;
    let (name, attachment) = attachments_of(&document).next().unwrap();
    let served = fetch::fetch(inside.app(), &inside.account.id, &document, &name, None).await.unwrap();
    let bytes = served.stream.try_fold(Vec::new(), async |mut all, chunk| {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    (document.public().into(), attachment.content_type, bytes.await.unwrap())
}

/// Files in the two folders, temporary ones too.
fn files(inside: &Inside) -> usize {
    let data = &inside.app().config.server.data_dir;
    let folders = ["spool", "attachments"].iter().map(|folder| std::fs::read_dir(data.join(folder)).unwrap());
    let files = folders.flat_map(Iterator::flatten).filter(|entry| entry.path().is_file()).count();
    // What is small lies in the spool's log.
    let small = inside.app().spool.files().unwrap();
    files + small.iter().filter(|file| !inside.app().spool.path(file).exists()).count()
}
