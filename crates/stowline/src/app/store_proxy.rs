//! An attachment that a Kazoo's switches put where its media manager told them to: into a document that the URL names (`switches::StoreToken`).
//!
//! The document's id is Kazoo's. Where it exists here, its attachment is replaced, as Kazoo would; where it does not, it is made, with as much as can be
//! known of it, so that the account's plan decides where the bytes go. The same bytes once more change nothing. Only documents that hold sound or pages
//! can be named, and only those of accounts that exist here.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use plan::{AttachmentName, Database, DocId, DocType};
use serde_json::{Map, Value};
use switches::StoreToken;

use super::attachment::attachment_of;
use super::deposit::{Arrived, Deposit, Form, Target};
use super::ingest_keys::Scope;
use super::{App, Error, accounts, media_types};
use crate::app::accounts::Account;
use crate::time;
use connections::{Document, Draft};

/// Types of documents that an attachment can be put into, with the scope that it takes, where a key may have one.
const TYPES: &[(&str, Option<Scope>)] = &[
    ("call_recording", Some(Scope::Recordings)),
    ("mailbox_message", Some(Scope::Voicemail)),
    ("fax", Some(Scope::Fax)),
    ("media", None),
];
/// What a document of a month is when the token does not say.
const OTHERWISE: &str = "call_recording";

/// The attachment that a token names, in an account of ours.
#[derive(Debug, Clone)]
pub struct Place {
    account: Account,
    database: Database,
    id: DocId,
    doc_type: DocType,
    owner: Option<String>,
    scope: Option<Scope>,
}

impl Place {
    /// Finds the place that a token names.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is none of ours, [`Error::Locked`] for a disabled account, [`Error::Unavailable`].
    pub async fn of(app: &App, token: &StoreToken) -> Result<Self, Error> {
        let unknown = || Error::NotFound(token.document.clone());
        let database = Database::parse(&token.database).map_err(|_| unknown())?;
        let otherwise = match &database {
            Database::Modb(..) => OTHERWISE,
            Database::Account(_) => "media",
            _ => return Err(unknown()),
        };
        let named = token.doc_type.as_deref().unwrap_or(otherwise);
        let (doc_type, scope) = TYPES.iter().find(|(known, _)| *known == named).ok_or_else(unknown)?;
        let account = accounts::find(app, database.account().ok_or_else(unknown)?).await?.ok_or_else(unknown)?;
        if !account.enabled() {
            return Err(Error::Locked);
        }
        Ok(Self {
            account,
            id: DocId::parse(&token.document).map_err(|_| unknown())?,
            doc_type: DocType::parse(doc_type).map_err(|error| Error::internal("naming a type", error))?,
            owner: token.owner.clone(),
            scope: *scope,
            database,
        })
    }

    /// The account that it is in.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What a key must be for; none when no key will do.
    pub fn scope(&self) -> Option<Scope> {
        self.scope
    }
}

/// Why a file has no type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untyped {
    /// It is neither sound nor a picture, by its type and by its name.
    Unsupported,
    /// Its type is right, and no extension goes with it.
    NoExtension,
}

/// The name and type of an attachment: its type as sent, if that is of sound or pictures, with an extension added to a name without one; else by its
/// name.
///
/// # Errors
/// [`Untyped`].
pub fn typed(sent_as: &str, name: &str) -> Result<(String, String), Untyped> {
    let fits = |essence: &str| ["audio/", "video/", "image/"].iter().any(|group| essence.starts_with(group));
    let essence = media_types::essence(sent_as);
    let extension = media_types::extension_in(name);
    match (fits(&essence), extension) {
        (true, Some(_)) => Ok((name.to_owned(), essence)),
        (true, None) => {
            let extension = media_types::extension_of(&essence).ok_or(Untyped::NoExtension)?;
            Ok((format!("{name}.{extension}"), essence))
        }
        (false, Some(extension)) => {
            let known = media_types::type_of(&extension).filter(|known| fits(known));
            known.map(|known| (name.to_owned(), known.to_owned())).ok_or(Untyped::Unsupported)
        }
        (false, None) => Err(Untyped::Unsupported),
    }
}

/// Puts the bytes into their place. They are durable when this returns.
///
/// # Errors
/// [`Error::Invalid`] for no bytes or a name that no attachment may have, [`Error::NotFound`] for a document that was deleted or is of another type,
/// [`Error::TooLarge`], [`Error::Interrupted`], [`Error::Conflict`], [`Error::Unavailable`].
pub async fn put<S, E>(
    app: &Arc<App>,
    place: Place,
    (name, content_type): (&str, &str),
    stream: S,
) -> Result<Document, Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    let name =
        AttachmentName::parse(name).map_err(|error| Error::invalid("attachment", "invalid", error.to_string()))?;
    let stored = stored(app, &place).await?;
    let owner =
        stored.as_ref().and_then(|document| document.text("owner_id")).map(str::to_owned).or(place.owner.clone());
    let target = Target {
        account: place.account.id.clone(),
        owner,
        database: place.database.clone(),
        id: place.id.clone(),
        doc_type: place.doc_type.clone(),
    };
    let deposit = Deposit::plan(app, target).await?;
    let arrived = deposit.receive(app, stream, content_type, app.config.ingest.max_upload_size).await?;
    if arrived.length() == 0 {
        return Err(Error::invalid("file", "required", "the file is empty"));
    }
    let sha256 = hex::encode(arrived.sha256());
    if let Some(document) = stored.filter(|document| holds(document, &name, &sha256)) {
        return Ok(document);
    }
    match commit(app, &place, deposit, arrived, name.clone(), content_type).await {
        // The same was put at the same moment.
        Err(Error::Conflict) => {
            let twin = self::stored(app, &place).await?.filter(|document| holds(document, &name, &sha256));
            twin.ok_or(Error::Conflict)
        }
        other => other,
    }
}

/// The document that is named, when there is one.
async fn stored(app: &App, place: &Place) -> Result<Option<Document>, Error> {
    let found = app.documents.get(&place.database, &place.id).await?;
    match found {
        Some(document) if document.deleted || document.doc_type != place.doc_type.as_ref() => {
            Err(Error::NotFound(place.id.to_string()))
        }
        other => Ok(other),
    }
}

fn holds(document: &Document, name: &AttachmentName, sha256: &str) -> bool {
    attachment_of(document, name).is_some_and(|attachment| attachment.sha256 == sha256)
}

async fn commit(
    app: &Arc<App>,
    place: &Place,
    deposit: Deposit,
    arrived: Arrived,
    name: AttachmentName,
    content_type: &str,
) -> Result<Document, Error> {
    let extension = media_types::extension_in(name.as_ref()).unwrap_or_default();
    let mut fields = Map::new();
    fields.insert("content_type".into(), content_type.into());
    fields.insert("media_type".into(), extension.into());
    fields.insert("pvt_modified".into(), time::now().into());
    let form = if stored(app, place).await?.is_some() {
        Form::Existing(fields)
    } else {
        Form::New(draft(place, fields, &name))
    };
    deposit.commit(app.clone(), arrived, name, form).await
}

/// A document of which nothing but its attachment is known.
fn draft(place: &Place, mut body: Map<String, Value>, name: &AttachmentName) -> Draft {
    let now = time::now();
    body.insert("name".into(), name.as_ref().into());
    body.insert("media_source".into(), "recorded".into());
    body.insert("pvt_type".into(), place.doc_type.as_ref().into());
    body.insert("pvt_account_id".into(), place.account.id.as_ref().into());
    body.insert("pvt_created".into(), now.into());
    let (time, extra): (&str, &[(&str, &str)]) = match place.doc_type.as_ref() {
        "call_recording" => ("start", &[("origin", "no origin")]),
        "mailbox_message" => ("utc_seconds", &[("source_type", "voicemail")]),
        _ => ("timestamp", &[("folder", "inbox")]),
    };
    body.insert(time.into(), now.into());
    body.extend(extra.iter().map(|(field, text)| ((*field).to_owned(), Value::from(*text))));
    if let Some(owner) = &place.owner {
        body.insert("owner_id".into(), owner.as_str().into());
    }
    Draft { doc_type: place.doc_type.to_string(), parent: place.owner.clone(), at: now, body, ..Draft::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_of_sound_or_pictures_by_what_was_sent_or_by_the_name() {
        for (sent_as, name, wanted) in [
            ("audio/mpeg", "a.mp3", Ok(("a.mp3", "audio/mpeg"))),
            ("Audio/X-Wav; rate=8000", "a", Ok(("a.wav", "audio/x-wav"))),
            ("image/tiff", "a.tiff", Ok(("a.tiff", "image/tiff"))),
            ("application/octet-stream", "a.MP3", Ok(("a.MP3", "audio/mpeg"))),
            ("", "a.tif", Ok(("a.tif", "image/tiff"))),
            ("audio/silk", "a", Err(Untyped::NoExtension)),
            ("text/html", "a.html", Err(Untyped::Unsupported)),
            ("application/pdf", "a.pdf", Err(Untyped::Unsupported)),
            ("", "a", Err(Untyped::Unsupported)),
        ] {
            let wanted = wanted.map(|(name, content_type): (&str, &str)| (name.to_owned(), content_type.to_owned()));
            assert_eq!(typed(sent_as, name), wanted, "{sent_as} {name}");
        }
    }
}
