//! Recordings of calls: a document in the account's month, with at most one attachment, the audio.
//!
//! A recording belongs to the month (UTC) that it began in, and its id begins with it. Its `owner_id` is the user whose recording it is: their
//! plan decides where the audio goes. Recordings come in from a switch (ingest) or from calls that end here; nobody creates one by the API.
//!
//! One is made in two steps (`received`): [`receive`] streams the audio into a file, [`create`] commits file and document as one.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use plan::{AttachmentName, DocId};
use serde_json::{Map, Value, json};

use super::attachment::{Attachment, attachments_of};
use super::deposit::Form;
use super::months::{self, Span, Which};
use super::pages::{Ask, Page};
use super::{App, Error, cdrs, forms, removal};
use crate::app::accounts::Account;
use crate::time;
use connections::{Change, Document, Draft};

pub use super::received::{Received as Audio, Sent as Sound};

/// The type of its document.
pub const TYPE: &str = "call_recording";
/// What an account remembers of a recording.
const METADATA: &str = "user_metadata";
/// The format of audio of which nobody says what it is.
const EXTENSION: &str = "wav";

/// A recording that was not deleted.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Its id.
    pub id: DocId,
    /// Its document.
    pub document: Document,
}

impl Recording {
    fn read(document: Document) -> Option<Self> {
        let id = document.id.clone();
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document })
    }

    /// When it began, in Gregorian seconds.
    pub fn start(&self) -> i64 {
        self.document.body.get("start").and_then(Value::as_i64).unwrap_or_default()
    }

    /// When it was last written, in Gregorian seconds.
    pub fn modified(&self) -> i64 {
        self.document.body.get("pvt_modified").and_then(Value::as_i64).unwrap_or_default()
    }

    /// The user whose recording it is.
    pub fn owner_id(&self) -> Option<&str> {
        self.document.text("owner_id")
    }

    /// Its audio, when it has any.
    pub fn audio(&self) -> Option<(AttachmentName, Attachment)> {
        attachments_of(&self.document).next()
    }

    /// What clients see of it: its public fields, and as what its audio can be had.
    pub fn public(&self) -> Map<String, Value> {
        let mut public = self.document.public();
        let types: Vec<String> = self.audio().into_iter().map(|(_, audio)| audio.content_type).collect();
        public.insert("_read_only".into(), json!({"content_types": types}));
        public
    }
}

/// Streams the audio of a recording of `owner_id` into a file.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Interrupted`], [`Error::Unavailable`]; nothing is left behind then.
pub async fn receive<S, E>(
    app: &App,
    account: &Account,
    owner_id: Option<&str>,
    sound: Sound<'_>,
    stream: S,
) -> Result<Audio, Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    Audio::take(app, account, owner_id, TYPE, sound, EXTENSION, stream).await
}

/// Creates a recording from what is said of it; without audio when that went elsewhere. How long it is, when nobody says it, the audio tells. Fields that a recording does not have are dropped.
///
/// # Errors
/// [`Error::Invalid`] by the schema, and when `owner_id` is another than the audio was received for; [`Error::Unavailable`]. There is no
/// recording and no audio then.
pub async fn create(
    app: &Arc<App>,
    account: &Account,
    metadata: Map<String, Value>,
    audio: Option<Audio>,
) -> Result<Recording, Error> {
    let mut body = app.forms.check_known(&forms::RECORDING, Value::Object(metadata))?;
    if let Some(audio) = &audio {
        audio.settle_owner(&mut body)?;
    }
    if let Some(milliseconds) = audio.as_ref().and_then(Audio::milliseconds)
        && !["duration", "duration_ms"].iter().any(|key| body.contains_key(*key))
    {
        body.insert("duration_ms".into(), milliseconds.into());
    }
    let start = settle_times(&mut body);
    let (database, id) = months::place(account, "start", start)?;
    // A name that no other recording's has, so that no two lie at one location.
    let attachment = audio.as_ref().map(|audio| format!("{id}.{}", audio.extension()));
    let file_name =
        audio.as_ref().and_then(Audio::file_name).or(attachment.as_deref()).unwrap_or(id.as_ref()).to_owned();
    describe(&mut body, start, audio.as_ref(), &file_name);
    body.insert("pvt_type".into(), TYPE.into());
    body.insert("pvt_account_id".into(), account.id.as_ref().into());
    body.insert("pvt_created".into(), time::now().into());
    body.insert("pvt_modified".into(), time::now().into());
    let parent = body.get("owner_id").and_then(Value::as_str).map(str::to_owned);
    let draft = Draft { doc_type: TYPE.into(), parent, at: start, body, ..Draft::default() };
    let document = match audio.zip(attachment) {
        None => app.documents.create(&database, &id, draft).await?,
        Some((audio, name)) => audio.commit(app, database, id, &name, Form::New(draft)).await?,
    };
    let id = document.id.to_string();
    Recording::read(document).ok_or(Error::NotFound(id))
}

/// Start, duration and duration in milliseconds, each made of the others where it was left out. Answers the start.
fn settle_times(body: &mut Map<String, Value>) -> i64 {
    let number = |body: &Map<String, Value>, key: &str| body.get(key).and_then(Value::as_i64);
    match (number(body, "duration"), number(body, "duration_ms")) {
        (None, Some(milliseconds)) => {
            body.insert("duration".into(), (milliseconds / 1000).into());
        }
        (Some(seconds), None) => {
            body.insert("duration_ms".into(), seconds.saturating_mul(1000).into());
        }
        _ => {}
    }
    let ago = number(body, "duration").unwrap_or_default();
    let start = number(body, "start").unwrap_or_else(|| time::now().saturating_sub(ago).max(months::FIRST));
    body.insert("start".into(), start.into());
    start
}

/// What was left out and follows from the rest.
fn describe(body: &mut Map<String, Value>, start: i64, audio: Option<&Audio>, file_name: &str) {
    let text = |body: &Map<String, Value>, key: &str| {
        body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let mut otherwise = |key: &str, value: Value| {
        if text(body, key).is_none() {
            body.insert(key.into(), value);
        }
    };
    otherwise("name", file_name.into());
    otherwise("media_source", "recorded".into());
    otherwise("origin", "no origin".into());
    if let Some(audio) = audio {
        body.insert("content_type".into(), audio.content_type().into());
        body.insert("media_type".into(), audio.extension().into());
    }
    if let (None, Some(name)) = (text(body, "description"), text(body, "name")) {
        body.insert("description".into(), format!("recording {name}").into());
    }
    if let (None, Some(call_id)) = (text(body, "cdr_id"), text(body, "call_id")) {
        let began = text(body, "interaction_id").and_then(|id| cdrs::time_of(&id)).unwrap_or(start);
        if let Some(id) = time::month(began).and_then(|month| cdrs::id_of(month, &call_id).ok()) {
            body.insert("cdr_id".into(), id.as_ref().into());
        }
    }
    // A destination may be written with a password in it; that is nothing to remember.
    if let Some(url) = text(body, "url") {
        body.insert("url".into(), without_userinfo(&url).into());
    }
}

fn without_userinfo(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(mut url) if url.has_authority() && (!url.username().is_empty() || url.password().is_some()) => {
            let done = url.set_username("").and_then(|()| url.set_password(None));
            done.map_or_else(|()| String::new(), |()| url.into())
        }
        _ => text.to_owned(),
    }
}

/// The most that an account may remember of a recording, in bytes of JSON.
const LARGEST_METADATA: usize = 64 << 10;

/// Changes what the account remembers of a recording: `said` holds `user_metadata`, as a patch to what stands there, and nothing else.
///
/// # Errors
/// [`Error::Invalid`], [`Error::NotFound`] when it was deleted meanwhile, [`Error::Unavailable`].
pub async fn patch_user_metadata(app: &App, recording: &Recording, said: Value) -> Result<Recording, Error> {
    let Value::Object(fields) = said else {
        return Err(Error::invalid("data", "type", "data must be an object"));
    };
    if let Some(other) = fields.keys().find(|key| *key != METADATA && *key != "auth_token") {
        return Err(Error::invalid(other, "forbidden", format!("of a recording only {METADATA} can be changed")));
    }
    let Some(said) = fields.get(METADATA).cloned() else {
        return Err(Error::invalid(METADATA, "required", format!("send {METADATA}, an object")));
    };
    if !said.is_object() && !said.is_null() {
        return Err(Error::invalid(METADATA, "type", format!("{METADATA} is an object")));
    }
    let mut metadata = recording.document.body.get(METADATA).cloned().unwrap_or_default();
    plan::merge::patch(&mut metadata, &said);
    if metadata.to_string().len() > LARGEST_METADATA {
        let message = format!("{METADATA} may hold {LARGEST_METADATA} bytes of JSON");
        return Err(Error::invalid(METADATA, "maxLength", message));
    }
    let change = move |document: &Document| {
        if document.deleted {
            return Ok(Change::Leave);
        }
        let mut body = document.body.clone();
        let mut metadata = body.remove(METADATA).unwrap_or_default();
        plan::merge::patch(&mut metadata, &said);
        if !metadata.is_null() {
            body.insert(METADATA.into(), metadata);
        }
        body.insert("pvt_modified".into(), time::now().into());
        Ok(Change::Write(body))
    };
    let document = app.documents.update(&recording.document.database, &recording.id, change).await?;
    Recording::read(document).ok_or_else(|| Error::NotFound(recording.id.to_string()))
}

/// Deletes a recording softly, and its audio as far as it is ours (`removal`).
///
/// # Errors
/// [`Error::NotFound`] when it was deleted meanwhile, [`Error::Unavailable`].
pub async fn remove(app: &Arc<App>, account: &Account, recording: &Recording) -> Result<(), Error> {
    removal::remove(app, account, recording.owner_id(), &recording.document).await
}

/// The recording of the account with this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, account: &Account, id: &str) -> Result<Recording, Error> {
    let found = months::find(app, account, TYPE, id).await?;
    Recording::read(found).ok_or_else(|| Error::NotFound(id.to_owned()))
}

/// A page of the account's recordings that began within `span`, or of those of one owner. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page<F>(
    app: &App,
    account: &Account,
    owner_id: Option<&str>,
    span: Span,
    ask: &Ask,
    keep: F,
) -> Result<Page<Recording>, Error>
where
    F: Fn(&Recording) -> bool + Send,
{
    let row = move |document| Recording::read(document).filter(|found| keep(found));
    let which = Which { doc_type: TYPE, parent: owner_id, ..Which::default() };
    months::page(app, account, which, span, ask, row).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_from_each_other() {
        let settled = |said: Value| {
            let Value::Object(mut body) = said else { return Map::new() };
            settle_times(&mut body);
            body
        };
        let body = settled(json!({"start": 63_963_340_012_i64, "duration_ms": 184_220}));
        assert_eq!(Value::Object(body), json!({"start": 63_963_340_012_i64, "duration_ms": 184_220, "duration": 184}));
        let body = settled(json!({"duration": 60}));
        assert_eq!(body.get("duration_ms"), Some(&json!(60_000)));
        assert!(body.get("start").and_then(Value::as_i64).is_some_and(|start| start <= time::now() - 60));
    }

    #[test]
    fn a_password_in_an_address_is_not_kept() {
        for (url, wanted) in [
            ("https://user:hunter2@host/a?b", "https://host/a?b"),
            ("ftp://user@host/a", "ftp://host/a"),
            ("https://host/a@b", "https://host/a@b"),
            ("local_stream://moh", "local_stream://moh"),
            ("just a text", "just a text"),
        ] {
            assert_eq!(without_userinfo(url), wanted);
        }
    }
}
