//! A deposit: bytes arrive for a document, and from the moment that it is answered they are never lost.
//!
//! ```text
//! plan      the route of (database, doc type, owner): which handler, or none; decides where the bytes are kept meanwhile
//! receive   stream the body into a file, digesting
//! commit    publish the file (its name, fsync of file and folder) and journal a reservation, side by side, all durable
//!           save the document with the attachment pending, durable         ── only now may the caller be answered ──
//!           confirm the reservation: a worker takes it from here (jobs::put_attachment)
//! ```
//!
//! A new document with few bytes that go elsewhere takes a shorter way: one record of the spool's log holds bytes, document and job, durably, and the
//! other two follow without a sync ([`super::promises`]).
//!
//! Documents and journal are two stores that share no transaction; this order is why nothing can fall between them. A crash before the
//! document leaves a reservation that [`reservations`] drops, with its file; a crash after it leaves one that it confirms.
//!
//! Handler and location are decided here and frozen; settings are read when the bytes are delivered, so a rotated key heals what waits.

use std::sync::{Arc, OnceLock};

use attachments::{Location, location};
use bytes::Bytes;
use delivery::{FileId, JobId, NewJob};
use futures_util::{Stream, StreamExt};
use plan::{AccountId, AttachmentName, AttachmentRoute, Database, DocId, DocType, HandlerConfig, HandlerId, Placement};
use serde_json::{Map, Value};

use super::attachment::{ATTACHMENTS, Area, Attachment, Place, attachments_of, files};
use super::promises::Promise;
use super::{App, Error, accounts, dataplans, discard, reservations};
use crate::{jobs, time};
use connections::{Change, Document, Draft};

/// The document that the bytes are for.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its account.
    pub account: AccountId,
    /// Its owner, where it has one.
    pub owner: Option<String>,
    /// Its database.
    pub database: Database,
    /// Its id.
    pub id: DocId,
    /// Its type.
    pub doc_type: DocType,
}

/// A deposit whose route is known.
#[derive(Debug, Clone)]
pub struct Deposit {
    target: Target,
    route: Option<Routed>,
}

#[derive(Clone)]
struct Routed {
    attachment: AttachmentRoute,
    entry: Arc<HandlerConfig>,
    destination: Arc<str>,
    /// The account's time zone, where the location has a date.
    zone: Option<String>,
}

impl std::fmt::Debug for Routed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routed").field("destination", &self.destination).finish_non_exhaustive()
    }
}

/// Bytes that have arrived whole and are not durable yet.
#[derive(Debug)]
pub struct Arrived {
    file: delivery::SealedFile,
    content_type: String,
}

impl Arrived {
    /// Bytes.
    pub fn length(&self) -> u64 {
        self.file.length()
    }

    /// The SHA-256 of the bytes.
    pub fn sha256(&self) -> &[u8; 32] {
        self.file.sha256()
    }
}

/// What the document becomes with its attachment.
#[derive(Debug)]
pub enum Form {
    /// It is created so.
    New(Draft),
    /// It exists; these fields are merged into its own, and its other attachments go, with the files that hold them here.
    Existing(Map<String, Value>),
}

impl Deposit {
    /// Finds the route of a target.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn plan(app: &App, target: Target) -> Result<Self, Error> {
        let dataplan = dataplans::of(app, &target.account, target.owner.as_deref()).await?;
        let route = dataplan.route(&target.database, Some(&target.doc_type));
        if let Some(dangling) = &route.dangling {
            tracing::warn!(account.id = %target.account, handler.id = %dangling, "the plan names a handler that nobody defines: kept here");
        }
        let mut route = route.attachment.as_ref().and_then(|attachment| {
            let (entry, _) = dataplan.handler(&attachment.handler_id)?;
            let destination = app.handlers.destination(entry)?;
            Some(Routed { attachment: attachment.clone(), entry: entry.clone(), destination, zone: None })
        });
        if let Some(routed) = &mut route
            && attachments::asks_when(&routed.entry.settings, &routed.attachment.params)
        {
            let account = accounts::find(app, &target.account).await?;
            routed.zone = account.and_then(|account| account.timezone().map(str::to_owned));
        }
        Ok(Self { target, route })
    }

    /// The same deposit for another document of the same account, owner, class and type: for a caller who learns which one only after
    /// the bytes have arrived. In another database the plan may say something else, and then that counts; only bytes that already lie where
    /// they stay (or go from) are not moved for it.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn aimed_at(mut self, app: &App, database: Database, id: DocId) -> Result<Self, Error> {
        let moved = self.target.database != database;
        self.target.database = database;
        self.target.id = id;
        if !moved {
            return Ok(self);
        }
        let again = Self::plan(app, self.target.clone()).await?;
        Ok(if again.area() == self.area() { again } else { self })
    }

    fn area(&self) -> Area {
        match &self.route {
            Some(routed) if routed.attachment.placement == Placement::External => Area::Spool,
            _ => Area::Kept,
        }
    }

    /// Streams the bytes into a file.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above `limit` bytes, [`Error::Interrupted`] when the stream breaks, [`Error::Unavailable`] when the disk is full
    /// or fails. Whatever happens, nothing is left behind.
    pub async fn receive<S, E>(&self, app: &App, body: S, content_type: &str, limit: u64) -> Result<Arrived, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let file = streamed(files(app, self.area()), body, limit).await?;
        Ok(Arrived { file, content_type: content_type.to_owned() })
    }

    /// Makes document and attachment durable, and sees the bytes on their way. Once this returned, the caller may be told so.
    ///
    /// # Errors
    /// [`Error::Conflict`] or [`Error::NotFound`] by the document, [`Error::Unavailable`]; nothing is left behind then.
    pub async fn commit(
        self,
        app: Arc<App>,
        arrived: Arrived,
        name: AttachmentName,
        form: Form,
    ) -> Result<Document, Error> {
        // A task of its own: a caller that hangs up in the middle changes nothing.
        let commit = tokio::spawn(async move { self.commit_now(&app, arrived, name, form).await });
        commit.await.map_err(|error| Error::internal("committing a deposit", error))?
    }

    async fn commit_now(
        self,
        app: &Arc<App>,
        arrived: Arrived,
        name: AttachmentName,
        form: Form,
    ) -> Result<Document, Error> {
        let generation = crate::id::random();
        let area = self.area();
        let file = arrived.file.file().clone();
        let attachment = Attachment {
            content_type: arrived.content_type.clone(),
            length: arrived.file.length(),
            sha256: hex::encode(arrived.file.sha256()),
            generation,
            place: match &self.route {
                Some(_) => Place::Pending { file: file.clone(), area },
                None => Place::Local { file: file.clone() },
            },
        };
        let value =
            serde_json::to_value(&attachment).map_err(|error| Error::internal("writing an attachment", error))?;
        let attachments = Value::Object(Map::from_iter([(name.to_string(), value)]));
        let mut form = form;
        let public = match &mut form {
            Form::New(draft) => {
                let public = draft.body.clone();
                draft.body.insert(ATTACHMENTS.into(), attachments.clone());
                public
            }
            Form::Existing(fields) => {
                // A location may be made of any field of the document, not of those alone that change.
                let Target { database, id, .. } = &self.target;
                let document = app.documents.get(database, id).await?.ok_or_else(|| Error::NotFound(id.to_string()))?;
                merged(document.public(), fields.clone())
            }
        };
        let put = self.put(&attachment, &name, file.clone(), public)?;
        let form = match (form, &put) {
            (Form::New(draft), Some(put)) if area == Area::Spool && arrived.file.takes_note() => {
                let promise = app.promises.begin();
                match promise.note(put, &draft)? {
                    Some(note) => return self.keep(app, arrived.file, (promise, note), put.job()?, draft).await,
                    None => Form::New(draft),
                }
            }
            (form, _) => form,
        };
        let job = match &put {
            Some(put) => put.job()?,
            None => self.keeping(&attachment, &name, file.clone()).job(&self.target.account)?,
        };
        let (id, published) = match area {
            // Both are durable before the document is; the order between them does not matter: a file without a reservation is swept.
            Area::Spool => {
                let (reserved, published) = tokio::join!(app.journal.reserve(job), arrived.file.publish());
                if reserved.is_err() && published.is_ok() {
                    app.spool.remove(&file);
                }
                (reserved.map_err(Error::journal)?, published)
            }
            // Kept files are not swept by listing their folder, so the reservation comes first.
            Area::Kept => (app.journal.reserve(job).await.map_err(Error::journal)?, arrived.file.publish().await),
        };
        if let Err(error) = published {
            cancel(app, id).await;
            return Err(Error::spool(error));
        }
        match self.save(app, attachments, form).await {
            Ok(document) => {
                match self.route {
                    Some(_) => app.journal.confirm(id),
                    None => app.journal.forget(id),
                }
                Ok(document)
            }
            // Whether the document was written is not known: the reservation stays, and is settled by reading it.
            Err(error @ Error::Unavailable { .. }) => {
                reservations::settle_later(app.clone(), id, None);
                Err(error)
            }
            Err(error) => {
                files(app, area).remove(&file);
                cancel(app, id).await;
                Err(error)
            }
        }
    }

    /// The short way: with the bytes a record says what becomes of them.
    async fn keep(
        &self,
        app: &Arc<App>,
        file: delivery::SealedFile,
        (promise, note): (Promise, Vec<u8>),
        job: NewJob,
        draft: Draft,
    ) -> Result<Document, Error> {
        let id = app.journal.promise(job).map_err(Error::journal)?;
        if let Err(error) = file.publish_with(&note).await {
            cancel(app, id).await;
            return Err(Error::spool(error));
        }
        match app.documents.create_backed(&self.target.database, &self.target.id, draft).await.map_err(Error::from) {
            Ok(document) => {
                app.journal.confirm(id);
                Ok(document)
            }
            // As below.
            Err(error @ Error::Unavailable { .. }) => {
                reservations::settle_later(app.clone(), id, Some(promise));
                Err(error)
            }
            Err(error) => {
                cancel(app, id).await;
                Err(error)
            }
        }
    }

    async fn save(&self, app: &App, attachments: Value, form: Form) -> Result<Document, Error> {
        let Target { database, id, .. } = &self.target;
        match form {
            Form::New(draft) => Ok(app.documents.create(database, id, draft).await?),
            Form::Existing(fields) => {
                let replaced = Arc::new(OnceLock::new());
                let seen = replaced.clone();
                let change = move |document: &Document| {
                    if document.deleted {
                        return Ok(Change::Leave);
                    }
                    let _ = seen.set(attachments_of(document).collect::<Vec<_>>());
                    let mut body = merged(document.body.clone(), fields);
                    body.insert(ATTACHMENTS.into(), attachments);
                    Ok(Change::Write(body))
                };
                let document = app.documents.update(database, id, change).await?;
                if replaced.get().is_none() {
                    return Err(Error::NotFound(id.to_string()));
                }
                for (_, attachment) in replaced.get().into_iter().flatten() {
                    discard::replaced(app, attachment);
                }
                Ok(document)
            }
        }
    }

    /// What stays here.
    fn keeping(&self, attachment: &Attachment, name: &AttachmentName, file: FileId) -> jobs::KeepAttachment {
        jobs::KeepAttachment {
            database: self.target.database.name(),
            document: self.target.id.clone(),
            attachment: name.clone(),
            generation: attachment.generation.clone(),
            file,
        }
    }

    /// What goes elsewhere; none when it stays here.
    fn put(
        &self,
        attachment: &Attachment,
        name: &AttachmentName,
        file: FileId,
        public: Map<String, Value>,
    ) -> Result<Option<jobs::PutAttachment>, Error> {
        let target = &self.target;
        let Some(routed) = &self.route else { return Ok(None) };
        Ok(Some(jobs::PutAttachment {
            account: target.account.clone(),
            owner: target.owner.clone(),
            database: target.database.name(),
            document: target.id.clone(),
            doc_type: target.doc_type.clone(),
            attachment: name.clone(),
            generation: attachment.generation.clone(),
            handler_id: routed.attachment.handler_id.clone(),
            handler: routed.attachment.kind.clone(),
            destination: routed.destination.to_string(),
            location: self.location(routed, name, public)?,
            content_type: attachment.content_type.clone(),
            length: attachment.length,
            sha256: attachment.sha256.clone(),
            file,
            area: self.area(),
            reserved: None,
        }))
    }

    fn location(&self, routed: &Routed, name: &AttachmentName, public: Map<String, Value>) -> Result<Location, Error> {
        let Target { account, database, id, .. } = &self.target;
        // What happened says when, so that the same again has the same place; what does not say happened now.
        let happened = public.get("timestamp").and_then(Value::as_i64).unwrap_or_else(time::now);
        let at = time::moment(happened, routed.zone.as_deref());
        let public = Value::Object(public);
        let document = attachments::Document { account_id: Some(account.as_ref()), database, id, public: &public, at };
        Ok(location(&routed.attachment.kind, &routed.entry.settings, &routed.attachment.params, &document, name)?)
    }

    /// Where an attachment of the document goes, which has these public fields; none when it stays here.
    pub(crate) fn aim(&self, name: &AttachmentName, public: Map<String, Value>) -> Result<Option<Aim>, Error> {
        let Some(routed) = &self.route else { return Ok(None) };
        Ok(Some(Aim {
            handler_id: routed.attachment.handler_id.clone(),
            handler: routed.attachment.kind.clone(),
            destination: routed.destination.to_string(),
            location: self.location(routed, name, public)?,
            placement: routed.attachment.placement,
        }))
    }
}

/// Where an attachment goes.
#[derive(Debug)]
pub(crate) struct Aim {
    pub handler_id: HandlerId,
    pub handler: String,
    pub destination: String,
    pub location: Location,
    pub placement: Placement,
}

/// Streams bytes into a file that nobody knows yet.
pub(crate) async fn streamed<S, E>(files: &delivery::Spool, body: S, limit: u64) -> Result<delivery::SealedFile, Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let mut partial = files.begin().map_err(Error::spool)?;
    let mut length = 0_u64;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Error::Interrupted(error.to_string()))?;
        length += chunk.len() as u64;
        if length > limit {
            return Err(Error::TooLarge { limit });
        }
        partial.write(chunk).await.map_err(Error::spool)?;
    }
    partial.finish().await.map_err(Error::spool)
}

/// The same delivery by today's plan; none when it would go where it goes already, or when the plan now keeps the bytes here.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn rerouted(app: &App, put: &jobs::PutAttachment) -> Result<Option<jobs::PutAttachment>, Error> {
    let database = Database::parse(&put.database).map_err(|error| Error::internal("reading a job", error))?;
    let target = Target {
        account: put.account.clone(),
        owner: put.owner.clone(),
        database: database.clone(),
        id: put.document.clone(),
        doc_type: put.doc_type.clone(),
    };
    let deposit = Deposit::plan(app, target).await?;
    let Some(document) = app.documents.get(&database, &put.document).await? else { return Ok(None) };
    let Some(aim) = deposit.aim(&put.attachment, document.public())? else { return Ok(None) };
    let same = aim.handler_id == put.handler_id && aim.destination == put.destination && aim.location == put.location;
    Ok((!same).then(|| jobs::PutAttachment {
        handler_id: aim.handler_id,
        handler: aim.handler,
        destination: aim.destination,
        location: aim.location,
        reserved: None,
        ..put.clone()
    }))
}

/// The fields of a document with others merged into them.
fn merged(body: Map<String, Value>, fields: Map<String, Value>) -> Map<String, Value> {
    let mut merged = Value::Object(body);
    plan::merge::patch(&mut merged, &Value::Object(fields));
    match merged {
        Value::Object(merged) => merged,
        _ => Map::new(),
    }
}

async fn cancel(app: &App, id: JobId) {
    match app.journal.cancel(id).await {
        Ok(file) => file.iter().for_each(|file| app.spool.remove(file)),
        Err(error) => tracing::warn!(error = %error, "a reservation of a refused deposit stays until the next start"),
    }
}
