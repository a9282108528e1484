//! A file that comes in for a document which is not written yet: the audio of a message or of a recording, the pages of a fax.
//!
//! Such a document is made in two steps, because the bytes may arrive before what is said of them: [`Received::take`] streams them into a file,
//! [`Received::commit`] makes file and document durable as one (`deposit`). Nothing exists before the second step.
//!
//! What a sender says of a file's name and type are wishes; [`Received`] holds what became of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use plan::{AttachmentName, Database, DocId, DocType};
use serde_json::{Map, Value};

use super::deposit::{Arrived, Deposit, Form, Target};
use super::playing_time::PlayingTime;
use super::{App, Error, file_names, media_types, months};
use crate::app::accounts::Account;
use crate::time;
use connections::{Claim, Document};

/// A file on its way in.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// Its media type; [`media_types::UNKNOWN`] when the sender does not know.
    pub content_type: &'a str,
    /// The name that its sender gave it.
    pub file_name: Option<&'a str>,
    /// The most bytes that are taken.
    pub limit: u64,
}

/// A file that has arrived whole and belongs to no document yet. Dropping it drops the bytes.
#[derive(Debug)]
pub struct Received {
    deposit: Deposit,
    arrived: Arrived,
    owner: Option<String>,
    content_type: String,
    extension: String,
    file_name: Option<String>,
    claim: Option<Claim>,
    playing_time: Option<Duration>,
}

impl Received {
    /// Streams a file for a document of `account`, `owner` and `doc_type` to disk. `extension` is what its name shall end with when neither
    /// its type nor its sender's name for it tell.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Interrupted`], [`Error::Unavailable`]; nothing is left behind then.
    pub async fn take<S, E>(
        app: &App,
        account: &Account,
        owner: Option<&str>,
        doc_type: &str,
        sent: Sent<'_>,
        extension: &str,
        stream: S,
    ) -> Result<Self, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        // Which document it will be is known only when all of the request has been read; the route is the same for all of them.
        let (database, id) = months::place(account, "timestamp", time::now())?;
        let doc_type = DocType::parse(doc_type).map_err(|error| Error::internal("naming a type", error))?;
        let owner = owner.map(str::to_owned);
        let target = Target { account: account.id.clone(), owner: owner.clone(), database, id, doc_type };
        let deposit = Deposit::plan(app, target).await?;
        let (content_type, extension) = kind(&sent, extension);
        let file_name =
            sent.file_name.map(|name| file_names::harmless(name, &extension)).filter(|name| !name.is_empty());
        let listening = Arc::new(Mutex::new(PlayingTime::default()));
        let heard = listening.clone();
        let stream = stream.inspect(move |chunk| {
            if let Ok(bytes) = chunk {
                heard.lock().unwrap_or_else(PoisonError::into_inner).pass(bytes);
            }
        });
        let arrived = deposit.receive(app, stream, &content_type, sent.limit).await?;
        let playing_time = listening.lock().unwrap_or_else(PoisonError::into_inner).of_all();
        Ok(Self { deposit, arrived, owner, content_type, extension, file_name, claim: None, playing_time })
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.arrived.length()
    }

    /// The SHA-256 of its bytes.
    pub fn sha256(&self) -> &[u8; 32] {
        self.arrived.sha256()
    }

    /// How long it plays in milliseconds, where its bytes tell.
    pub fn milliseconds(&self) -> Option<u64> {
        u64::try_from(self.playing_time?.as_millis()).ok()
    }

    /// The same file, which takes this unique key when it becomes a new document; where another document has taken it, there is none.
    #[must_use]
    pub fn claiming(self, claim: Claim) -> Self {
        Self { claim: Some(claim), ..self }
    }

    /// The owner whose plan it goes by.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Its media type.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// What its name ends with, without the dot.
    pub fn extension(&self) -> &str {
        &self.extension
    }

    /// The name that its sender gave it, made harmless, with an extension.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// Names in a document's body the owner by whose plan the file goes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the body names another.
    pub fn settle_owner(&self, body: &mut Map<String, Value>) -> Result<(), Error> {
        match (body.get("owner_id").and_then(Value::as_str), self.owner()) {
            (said, known) if said == known => {}
            (None, Some(known)) => {
                body.insert("owner_id".into(), known.into());
            }
            _ => return Err(Error::invalid("owner_id", "invalid", "say whose it is before the file is sent")),
        }
        Ok(())
    }

    /// Makes the file the attachment `name` of a document, and both durable.
    ///
    /// # Errors
    /// [`Error::Conflict`] or [`Error::NotFound`] by the document, [`Error::Unavailable`]; neither is there then.
    pub async fn commit(
        self,
        app: &Arc<App>,
        database: Database,
        id: DocId,
        name: &str,
        form: Form,
    ) -> Result<Document, Error> {
        let name = AttachmentName::parse(name).map_err(|error| Error::internal("naming an attachment", error))?;
        let form = match form {
            Form::New(mut draft) => {
                draft.claims.extend(self.claim);
                Form::New(draft)
            }
            existing @ Form::Existing(_) => existing,
        };
        self.deposit.aimed_at(app, database, id).await?.commit(app.clone(), self.arrived, name, form).await
    }
}

/// The media type of a file and the extension that goes with it.
fn kind(sent: &Sent<'_>, otherwise: &str) -> (String, String) {
    let named = sent.file_name.and_then(media_types::extension_in);
    let content_type = match media_types::essence(sent.content_type).as_str() {
        "" | media_types::UNKNOWN => {
            named.as_deref().and_then(media_types::type_of).unwrap_or(media_types::UNKNOWN).to_owned()
        }
        known => known.to_owned(),
    };
    let by_type = media_types::extension_of(&content_type);
    let extension = by_type.or(named.as_deref()).unwrap_or(otherwise).to_owned();
    (content_type, extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_said_or_read_from_the_name() {
        for (content_type, file_name, wanted) in [
            ("audio/mpeg; x=y", None, ("audio/mpeg", "mp3")),
            ("audio/wav", Some("a.mp3"), ("audio/wav", "wav")),
            ("application/octet-stream", Some("a.MP3"), ("audio/mpeg", "mp3")),
            ("application/octet-stream", Some("a.gsm"), ("application/octet-stream", "gsm")),
            ("", None, ("application/octet-stream", "xyz")),
        ] {
            let (content_type, extension) = kind(&Sent { content_type, file_name, limit: 0 }, "xyz");
            assert_eq!((content_type.as_str(), extension.as_str()), wanted);
        }
    }
}
