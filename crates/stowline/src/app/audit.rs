//! The trail of what was done to storage: every change and every refusal, with who asked and what of the document was spoken of; never a value.
//!
//! Before a change begins its entry is there (`begun`), and before the answer is sent it says how it ended (`changed` or `refused`). So after a crash
//! an entry that is still `begun` tells that nobody was answered. Who may not ask at all is noted once a minute and path, however often they try; who
//! shows no token that holds, once in ten minutes for each account (`knocks`).

use plan::{AccountId, Database, DocId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::auth::Caller;
use super::knocks::Knock;
use super::{App, Error, accounts, months};
use crate::time;
use connections::{Change, Document, Draft, ErrorKind};

/// The type of the entries.
pub const TYPE: &str = "storage_audit";
/// What the system's entries are listed under.
pub const SYSTEM: &str = "system";
/// The most paths that an entry names, and their length.
const MOST_PATHS: usize = 100;
const LONGEST_PATH: usize = 200;

/// What somebody is about to do.
#[derive(Debug, Clone)]
pub struct Deed {
    /// The verb, a tunnelled one included.
    pub verb: &'static str,
    /// The path below `/v2/`.
    pub path: String,
    /// The account in it; none for the system.
    pub account: Option<AccountId>,
    /// Names the request.
    pub request_id: String,
    /// The keys that `data` speaks of.
    pub paths: Vec<String>,
}

/// How it ended.
#[derive(Debug)]
pub struct End {
    /// The status that is answered.
    pub status: u16,
    /// The word for a refusal.
    pub message: Option<&'static str>,
    /// The faults of the input by path: their codes.
    pub faults: Value,
    /// The revision that the document has now.
    pub revision: Option<String>,
    /// What else is to be known of it, in a word.
    pub note: Option<&'static str>,
}

/// An entry that waits for its end.
#[derive(Debug)]
pub struct Begun {
    database: Database,
    id: DocId,
}

/// The dotted paths of what `data` speaks of.
pub fn paths(data: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(data, String::new(), &mut found);
    found
}

fn walk(value: &Value, path: String, found: &mut Vec<String>) {
    if found.len() >= MOST_PATHS {
        return;
    }
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let key = plan::dotted([key.as_str()]);
                walk(value, if path.is_empty() { key } else { format!("{path}.{key}") }, found);
            }
        }
        _ if path.is_empty() => {}
        _ => {
            let mut path = path;
            path.truncate(path.floor_char_boundary(LONGEST_PATH));
            found.push(path);
        }
    }
}

/// Where entries of now are, and the beginning of their ids.
async fn place(app: &App, account: Option<&AccountId>) -> Result<(Database, String), Error> {
    if let Some(id) = account
        && let Some(account) = accounts::find(app, id).await?
    {
        let month = months::of("at", time::now())?;
        return Ok((months::database(&account, month), format!("{month}-")));
    }
    Ok((super::storage_documents::system_data(), "audit-".into()))
}

fn entry(deed: &Deed, caller: &Caller, outcome: &str) -> Map<String, Value> {
    let user = caller.user.as_ref().map(|user| user.id.as_ref());
    let mut body = json!({
        "at": time::now(), "outcome": outcome, "verb": deed.verb, "path": deed.path, "request_id": deed.request_id,
        "caller": {"account_id": caller.account.id.as_ref(), "user_id": user, "by": if user.is_some() { "user" } else { "api_key" }},
        "paths": deed.paths, "pvt_type": TYPE,
    });
    if let Some(behind) = &caller.behind {
        let user = behind.user.as_ref().map(AsRef::<str>::as_ref);
        body["caller"]["impersonated_by"] = json!({"account_id": behind.account.as_ref(), "user_id": user});
    }
    match body {
        Value::Object(body) => body,
        _ => Map::new(),
    }
}

fn draft(deed: &Deed, body: Map<String, Value>) -> Draft {
    let parent = deed.account.is_none().then(|| SYSTEM.to_owned());
    Draft { doc_type: TYPE.into(), parent, at: time::now(), body, ..Draft::default() }
}

/// Notes that a change begins. It may not begin otherwise.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn begin(app: &App, deed: &Deed, caller: &Caller) -> Result<Begun, Error> {
    let (database, prefix) = place(app, deed.account.as_ref()).await?;
    let id = DocId::parse(&format!("{prefix}{}", crate::id::random()));
    let id = id.map_err(|bad| Error::internal("making an id", bad))?;
    app.documents.create(&database, &id, draft(deed, entry(deed, caller, "begun"))).await?;
    Ok(Begun { database, id })
}

/// Notes how a change ended. The change is made by then: what goes wrong here is logged, and the entry stays as it began.
pub async fn end(app: &App, begun: Begun, end: End) {
    let change = move |document: &Document| {
        let mut body = document.body.clone();
        body.insert("outcome".into(), if end.status < 400 { "changed" } else { "refused" }.into());
        body.extend(told(&end));
        Ok(Change::Write(body))
    };
    if let Err(error) = app.documents.update(&begun.database, &begun.id, change).await {
        tracing::error!(error = %error, "the end of a change of storage is not in the audit trail");
    }
}

fn told(end: &End) -> Map<String, Value> {
    let mut told = Map::from_iter([("status".to_owned(), Value::from(end.status))]);
    if let Some(message) = end.message {
        told.insert("message".into(), message.into());
        told.insert("faults".into(), end.faults.clone());
    }
    if let Some(revision) = &end.revision {
        told.insert("revision".into(), revision.as_str().into());
    }
    if let Some(note) = end.note {
        told.insert("note".into(), note.into());
    }
    told
}

/// Notes that somebody asked who may not.
pub async fn refuse(app: &App, deed: &Deed, caller: &Caller, end: End) {
    if let Err(error) = refused(app, deed, caller, end).await {
        tracing::error!(error = %error, "a refusal is not in the audit trail");
    }
}

async fn refused(app: &App, deed: &Deed, caller: &Caller, end: End) -> Result<(), Error> {
    let (database, prefix) = place(app, deed.account.as_ref()).await?;
    let user = caller.user.as_ref().map_or("", |user| user.id.as_ref());
    let minute = time::now().div_euclid(60);
    let again = format!("{minute} {} {user} {} {} {}", caller.account.id, deed.verb, deed.path, end.status);
    let id = DocId::parse(&format!("{prefix}{}", hex::encode(&Sha256::digest(again)[..16])));
    let id = id.map_err(|bad| Error::internal("making an id", bad))?;
    let mut body = entry(deed, caller, "refused");
    body.extend(told(&end));
    match app.documents.create(&database, &id, draft(deed, body)).await {
        Err(error) if error.kind() != ErrorKind::Conflict => Err(error.into()),
        _ => Ok(()),
    }
}

/// Notes that so many documents of a type were removed because of their age, in one entry for each account and day. They are gone by then: what goes
/// wrong here is logged.
pub(super) async fn swept(app: &App, account: &AccountId, doc_type: &str, count: u64) {
    if let Err(error) = swept_now(app, account, doc_type, count).await {
        tracing::error!(account.id = %account, error = %error, "what was removed because of its age is not in the audit trail");
    }
}

async fn swept_now(app: &App, account: &AccountId, doc_type: &str, count: u64) -> Result<(), Error> {
    let now = time::now();
    let (database, prefix) = place(app, Some(account)).await?;
    let day: String = time::iso(now).chars().take(10).collect();
    let id = DocId::parse(&format!("{prefix}retention-{day}"));
    let id = id.map_err(|bad| Error::internal("making an id", bad))?;
    let body = json!({
        "at": now, "outcome": "removed", "verb": "DELETE", "path": format!("accounts/{account}"), "caller": {"by": "retention"}, "paths": [],
        "removed": {doc_type: count}, "pvt_type": TYPE,
    });
    let Value::Object(body) = body else { return Ok(()) };
    let draft = Draft { doc_type: TYPE.into(), at: now, body, ..Draft::default() };
    match app.documents.create(&database, &id, draft).await {
        Err(error) if error.kind() == ErrorKind::Conflict => {}
        other => return Ok(other.map(drop)?),
    }
    let doc_type = doc_type.to_owned();
    let add = move |document: &Document| {
        let mut body = document.body.clone();
        if let Some(Value::Object(removed)) = body.get_mut("removed") {
            let before = removed.get(&doc_type).and_then(Value::as_u64).unwrap_or_default();
            removed.insert(doc_type, before.saturating_add(count).into());
        }
        Ok(Change::Write(body))
    };
    app.documents.update(&database, &id, add).await?;
    Ok(())
}

/// Notes that somebody asked whose token does not hold. Of an account that does not exist nothing is noted.
pub(super) async fn knocked(app: &App, knock: &Knock, span: i64) {
    if let Err(error) = knocked_at(app, knock, span).await {
        tracing::error!(error = %error, "a request without a token is not in the audit trail");
    }
}

async fn knocked_at(app: &App, knock: &Knock, span: i64) -> Result<(), Error> {
    if let Some(account) = &knock.account
        && accounts::find(app, account).await?.is_none()
    {
        return Ok(());
    }
    let (database, prefix) = place(app, knock.account.as_ref()).await?;
    let digest = Sha256::digest(format!("nobody {span} {:?}", knock.account));
    let id = DocId::parse(&format!("{prefix}{}", hex::encode(&digest[..16])));
    let id = id.map_err(|bad| Error::internal("making an id", bad))?;
    let mut path = knock.path.clone();
    path.truncate(path.floor_char_boundary(LONGEST_PATH));
    let body = json!({
        "at": time::now(), "outcome": "refused", "verb": knock.verb, "path": path, "request_id": knock.request_id,
        "caller": {"by": "nobody", "address": knock.from.to_string()}, "paths": [], "status": 401, "message": "invalid_credentials",
        "pvt_type": TYPE,
    });
    let Value::Object(body) = body else { return Ok(()) };
    let parent = knock.account.is_none().then(|| SYSTEM.to_owned());
    let draft = Draft { doc_type: TYPE.into(), parent, at: time::now(), body, ..Draft::default() };
    match app.documents.create(&database, &id, draft).await {
        Err(error) if error.kind() != ErrorKind::Conflict => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_was_spoken_of_and_no_value() {
        let data =
            json!({"attachments": {"x": {"settings": {"secret": "s3cr3t", "a.b": 1}}}, "plan": {}, "list": [1, 2]});
        let found = paths(&data);
        assert_eq!(found, ["attachments.x.settings.secret", "attachments.x.settings.a%2Eb", "plan", "list"]);
        assert!(
            paths(&json!((0..1000).map(|n| (n.to_string(), n)).collect::<std::collections::BTreeMap<_, _>>())).len()
                <= MOST_PATHS
        );
        assert_eq!(paths(&json!({})), [""; 0]);
    }
}
