//! A document is removed with its bytes, or its bytes alone.
//!
//! Bytes that lie here go. A copy at a destination is the customer's and stays, unless the plan says `"delete": true` for the type. What is still
//! on its way to a destination arrives there (or, with that, never does); a copy that would have stayed here beside it does not.
//!
//! The order is that of a deposit, backwards: what shall go is **reserved** in the journal, the document lets it go, and only then it goes. A
//! crash at any moment leaves a reservation, which is settled by reading the document (`reservations`): bytes that a document holds are never
//! lost, bytes that it let go never stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use delivery::{FileId, JobId};
use plan::{AttachmentName, DocType};
use serde_json::{Map, Value};

use super::attachment::{ATTACHMENTS, Area, Attachment, Place, attachments_of, release};
use super::{App, Error, dataplans, reservations};
use crate::app::accounts::Account;
use crate::{jobs, time};
use connections::{Change, Document, ErrorKind};

/// How often a delivery may end just while its document is removed.
const ATTEMPTS: u32 = 5;

/// What is removed.
#[derive(Debug, Clone, Copy)]
enum What {
    /// The document, which says this of itself from then on.
    Document(Mark),
    Attachments,
    /// The document, of which nothing is left.
    Entirely,
}

/// What a document says of itself once it is removed.
pub(super) type Mark = fn(&mut Map<String, Value>);

/// Whether a document is still the one that is meant.
type Fit = Arc<dyn Fn(&Document) -> bool + Send + Sync>;

/// Whether the plan lets the objects of a document go with it.
///
/// # Errors
/// [`Error::Unavailable`].
pub(super) async fn goes_everywhere(
    app: &App,
    account: &Account,
    owner: Option<&str>,
    document: &Document,
) -> Result<bool, Error> {
    let doc_type = DocType::parse(&document.doc_type).map_err(|error| Error::internal("naming a type", error))?;
    let plan = dataplans::of(app, &account.id, owner).await?;
    let route = plan.route(&document.database, Some(&doc_type));
    Ok(route.attachment.as_ref().is_some_and(|attachment| attachment.delete))
}

/// Removes a document softly, with its bytes.
///
/// # Errors
/// [`Error::NotFound`] when it was removed meanwhile, [`Error::Unavailable`].
pub async fn remove(app: &Arc<App>, account: &Account, owner: Option<&str>, document: &Document) -> Result<(), Error> {
    removed(app, account, owner, document, What::Document(|_| ()), Arc::new(|_| true)).await.map(|_| ())
}

/// The same of a document that says more of itself then, and only as long as it is `fit` to go. Answers it as it is then.
///
/// # Errors
/// As [`remove`]; [`Error::Conflict`] when it is not fit.
pub(super) async fn remove_marked(
    app: &Arc<App>,
    account: &Account,
    owner: Option<&str>,
    document: &Document,
    mark: Mark,
    fit: impl Fn(&Document) -> bool + Send + Sync + 'static,
) -> Result<Document, Error> {
    removed(app, account, owner, document, What::Document(mark), Arc::new(fit)).await
}

/// Removes the bytes of a document, which stays. Answers it as it is then.
///
/// # Errors
/// [`Error::NotFound`] when it was removed meanwhile, [`Error::Unavailable`].
pub async fn remove_attachments(
    app: &Arc<App>,
    account: &Account,
    owner: Option<&str>,
    document: &Document,
) -> Result<Document, Error> {
    removed(app, account, owner, document, What::Attachments, Arc::new(|_| true)).await
}

/// Removes a document for good, deleted softly before or not, with its bytes. Nothing is left that says where a copy lies that stays. Answers false
/// when the document stays for now: something of it is on its way to where it may stay, or somebody wrote to it.
///
/// # Errors
/// [`Error::Unavailable`].
pub(super) async fn purge(
    app: &Arc<App>,
    account: &Account,
    owner: Option<&str>,
    document: &Document,
) -> Result<bool, Error> {
    let (app, account, owner) = (app.clone(), account.clone(), owner.map(str::to_owned));
    let document = document.clone();
    let task = tokio::spawn(async move { purge_now(&app, &account, owner.as_deref(), &document).await });
    task.await.map_err(|error| Error::internal("removing a document", error))?
}

async fn purge_now(app: &Arc<App>, account: &Account, owner: Option<&str>, document: &Document) -> Result<bool, Error> {
    if app.promises.overdue() {
        return Ok(false);
    }
    let everywhere = goes_everywhere(app, account, owner, document).await?;
    let mut places = attachments_of(document).map(|(_, attachment)| attachment.place);
    if !everywhere && places.any(|place| matches!(place, Place::Pending { .. })) {
        return Ok(false);
    }
    let removal = Removal::of(account, document, What::Entirely, everywhere)?;
    let reserved = removal.reserve(app, account).await?;
    match app.documents.remove(&document.database, &document.id, Some(&document.revision)).await {
        Ok(()) => {
            removal.carry_out(app, &account.id, reserved).await;
            Ok(true)
        }
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
            cancel(app, &reserved).await;
            Ok(false)
        }
        Err(error) => {
            reserved.iter().for_each(|id| reservations::settle_later(app.clone(), *id, None));
            Err(error.into())
        }
    }
}

async fn removed(
    app: &Arc<App>,
    account: &Account,
    owner: Option<&str>,
    document: &Document,
    what: What,
    fit: Fit,
) -> Result<Document, Error> {
    let (app, account, owner) = (app.clone(), account.clone(), owner.map(str::to_owned));
    let document = document.clone();
    // A task of its own: a caller that hangs up in the middle changes nothing.
    let task = tokio::spawn(async move { removed_now(&app, &account, owner.as_deref(), document, what, &fit).await });
    task.await.map_err(|error| Error::internal("removing a document", error))?
}

async fn removed_now(
    app: &Arc<App>,
    account: &Account,
    owner: Option<&str>,
    mut document: Document,
    what: What,
    fit: &Fit,
) -> Result<Document, Error> {
    let everywhere = goes_everywhere(app, account, owner, &document).await?;
    for _ in 0..ATTEMPTS {
        if !fit(&document) {
            return Err(Error::Conflict);
        }
        let removal = Removal::of(account, &document, what, everywhere)?;
        let reserved = removal.reserve(app, account).await?;
        match removal.let_go(app, &document, what).await {
            Ok(Some(after)) => {
                removal.carry_out(app, &account.id, reserved).await;
                return Ok(after);
            }
            // Its attachments are not what they were: a delivery ended. Look again.
            Ok(None) => {
                cancel(app, &reserved).await;
                let again = app.documents.get(&document.database, &document.id).await?;
                document = again
                    .filter(|document| !document.deleted)
                    .ok_or_else(|| Error::NotFound(document.id.to_string()))?;
            }
            // Whether it was written is not known: the reservations stay, and are settled by reading it.
            Err(error @ Error::Unavailable { .. }) => {
                reserved.iter().for_each(|id| reservations::settle_later(app.clone(), *id, None));
                return Err(error);
            }
            Err(error) => {
                cancel(app, &reserved).await;
                return Err(error);
            }
        }
    }
    Err(Error::Conflict)
}

async fn cancel(app: &App, reserved: &[JobId]) {
    for id in reserved {
        if let Err(error) = app.journal.cancel(*id).await {
            tracing::warn!(error = %error, "a reservation of a removal stays until the next start");
        }
    }
}

/// What a removal does with the attachments of a document.
#[derive(Debug, Default)]
struct Removal {
    /// What the document's field says afterwards.
    left: Map<String, Value>,
    /// Files here that go.
    files: Vec<jobs::KeepAttachment>,
    /// Objects that go.
    objects: Vec<jobs::DeleteAttachment>,
    /// What shall not be delivered any more.
    undelivered: Vec<(AttachmentName, String)>,
}

impl Removal {
    fn of(account: &Account, document: &Document, what: What, everywhere: bool) -> Result<Self, Error> {
        let mut removal = Self::default();
        for (name, attachment) in attachments_of(document) {
            let left = removal.part(account, document, &name, &attachment, everywhere);
            if let Some(left) = left.filter(|_| matches!(what, What::Document(_))) {
                let value =
                    serde_json::to_value(left).map_err(|error| Error::internal("writing an attachment", error))?;
                removal.left.insert(name.to_string(), value);
            } else if matches!(attachment.place, Place::Pending { .. }) {
                removal.undelivered.push((name, attachment.generation));
            }
        }
        Ok(removal)
    }

    /// Notes what goes of an attachment. Answers what is left of it: where its copy is, or will be.
    fn part(
        &mut self,
        account: &Account,
        document: &Document,
        name: &AttachmentName,
        attachment: &Attachment,
        everywhere: bool,
    ) -> Option<Attachment> {
        let keep = |file: &FileId| jobs::KeepAttachment {
            database: document.database.name(),
            document: document.id.clone(),
            attachment: name.clone(),
            generation: attachment.generation.clone(),
            file: file.clone(),
        };
        match &attachment.place {
            Place::Pending { .. } if !everywhere => Some(attachment.clone()),
            // The delivery that finds nothing to deliver drops the file.
            Place::Pending { .. } => None,
            Place::Local { file } => {
                self.files.push(keep(file));
                None
            }
            Place::Stored { receipt, handler_id, owner, file } => {
                self.files.extend(file.as_ref().map(keep));
                // Ours to remove only where no other document's can lie under its name.
                if everywhere && !receipt.shared && receipt.location.as_str().contains(document.id.as_ref()) {
                    self.objects.push(jobs::DeleteAttachment {
                        account: account.id.clone(),
                        owner: owner.clone(),
                        handler_id: handler_id.clone(),
                        receipt: (**receipt).clone(),
                        holder: Some(jobs::Holder {
                            database: document.database.name(),
                            document: document.id.clone(),
                            attachment: name.clone(),
                            generation: attachment.generation.clone(),
                        }),
                    });
                    return None;
                }
                let place = Place::Stored {
                    receipt: receipt.clone(),
                    handler_id: handler_id.clone(),
                    owner: owner.clone(),
                    file: None,
                };
                Some(Attachment { place, ..attachment.clone() })
            }
        }
    }

    async fn reserve(&self, app: &App, account: &Account) -> Result<Vec<JobId>, Error> {
        let mut reserved = Vec::new();
        let files = self.files.iter().map(|file| file.job(&account.id));
        for job in files.chain(self.objects.iter().map(jobs::DeleteAttachment::job)) {
            match app.journal.reserve(job?).await {
                Ok(id) => reserved.push(id),
                Err(error) => {
                    cancel(app, &reserved).await;
                    return Err(Error::journal(error));
                }
            }
        }
        Ok(reserved)
    }

    /// Writes what is left; none when the attachments are not what they were in `before`.
    async fn let_go(&self, app: &App, before: &Document, what: What) -> Result<Option<Document>, Error> {
        let (left, expected) = (Value::Object(self.left.clone()), before.body.get(ATTACHMENTS).cloned());
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        let change = move |document: &Document| {
            if document.deleted || document.body.get(ATTACHMENTS) != expected.as_ref() {
                return Ok(Change::Leave);
            }
            seen.store(true, Ordering::SeqCst);
            let mut body = document.body.clone();
            body.insert(ATTACHMENTS.into(), left);
            body.insert("pvt_modified".into(), time::now().into());
            let What::Document(mark) = what else { return Ok(Change::Write(body)) };
            release(&mut body);
            mark(&mut body);
            body.insert("pvt_deleted".into(), Value::Bool(true));
            Ok(Change::Delete(body))
        };
        let document = app.documents.update(&before.database, &before.id, change).await?;
        Ok(done.load(Ordering::SeqCst).then_some(document))
    }

    /// The document let go: files go, objects may.
    async fn carry_out(&self, app: &App, account: &plan::AccountId, reserved: Vec<JobId>) {
        for (index, id) in reserved.into_iter().enumerate() {
            let Some(keep) = self.files.get(index) else {
                app.journal.confirm(id);
                continue;
            };
            drop_file(app, id, &keep.file).await;
        }
        for (name, generation) in &self.undelivered {
            if let Err(error) = call_off(app, account, name, generation).await {
                tracing::warn!(error = %error, "a delivery whose document is gone ends by itself");
            }
        }
    }
}

/// A file that was kept, and that no document refers to any more, goes; then the reservation that would see to it after a crash.
pub(crate) async fn drop_file(app: &App, reserved: JobId, file: &FileId) {
    match tokio::fs::remove_file(app.kept.path(file)).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(error = %error, file = %file, "a file that is nobody's any more stays until the next start");
        }
        _ => app.journal.forget(reserved),
    }
}

/// Jobs that are looked at in one step.
const STEP: usize = 500;

/// Calls off a delivery that has not begun, so that its bytes do not wait in the spool for it.
async fn call_off(
    app: &App,
    account: &plan::AccountId,
    name: &AttachmentName,
    generation: &str,
) -> Result<(), delivery::Error> {
    let mut start = None;
    loop {
        let page = app.journal.list(account.as_ref(), start, STEP).await?;
        for job in &page.jobs {
            let Ok(jobs::Payload::Put(put)) = jobs::Payload::read(job) else { continue };
            if put.attachment != *name || put.generation != generation {
                continue;
            }
            match app.journal.cancel(job.id).await {
                Ok(file) => file.iter().for_each(|file| app.spool.remove(file)),
                // It has begun, and sees at its end that nobody wants the object.
                Err(delivery::Error::Running) => return Ok(()),
                Err(error) => return Err(error),
            }
            if put.area == Area::Kept {
                app.kept.remove(&put.file);
            }
            return Ok(());
        }
        match page.next {
            Some(next) => start = Some(next),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
