//! An attachment as its document knows it: what it is, and where its bytes are.
//!
//! A document holds no bytes. It holds, in a private field, one record for each attachment, and a record's [`Place`] can only be what is true of
//! one: on their way, here, or at a destination with a receipt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attachments::Receipt;
use delivery::FileId;
use plan::{AttachmentName, Database, HandlerId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{App, Error};
use crate::jobs;
use connections::{Change, Document};

/// Private field of a document: its attachments by name.
pub(super) const ATTACHMENTS: &str = "pvt_attachments";

/// Private field of a document that was removed with the bytes that lay here: what is still on its way leaves no copy behind.
const RELEASED: &str = "pvt_released";

/// Marks the body of a document whose bytes shall not stay here.
pub(super) fn release(body: &mut Map<String, Value>) {
    body.insert(RELEASED.into(), Value::Bool(true));
}

fn is_released(document: &Document) -> bool {
    document.body.get(RELEASED) == Some(&Value::Bool(true))
}

/// An attachment, as its document knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Attachment {
    /// Media type.
    pub content_type: String,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// Changes with every upload under the same name.
    pub generation: String,
    /// Where the bytes are.
    #[serde(flatten)]
    pub place: Place,
}

impl Attachment {
    /// True when its bytes are in this file, of whichever folder.
    pub fn holds(&self, file: &FileId) -> bool {
        match &self.place {
            Place::Pending { file: own, .. } | Place::Local { file: own } | Place::Stored { file: Some(own), .. } => {
                own == file
            }
            Place::Stored { file: None, .. } => false,
        }
    }
}

/// Where an attachment's bytes are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Place {
    /// On their way: in `file`, until the handler has them.
    Pending {
        /// The file.
        file: FileId,
        /// The folder that the file is in.
        area: Area,
    },
    /// Here to stay.
    Local {
        /// The file, in the kept area.
        file: FileId,
    },
    /// At their destination.
    Stored {
        /// What the handler left; holds no credential.
        receipt: Box<Receipt>,
        /// The handler's id.
        handler_id: HandlerId,
        /// The owner whose plan it was.
        #[serde(skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        /// A copy that stays here (`stub`).
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<FileId>,
    },
}

/// An attachment as it is written: the fields of all places side by side. Read so, none of them is kept aside until the place is known.
#[derive(Deserialize)]
struct Fields {
    content_type: String,
    length: u64,
    sha256: String,
    generation: String,
    state: State,
    file: Option<FileId>,
    area: Option<Area>,
    receipt: Option<Box<Receipt>>,
    handler_id: Option<HandlerId>,
    owner: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Pending,
    Local,
    Stored,
}

impl TryFrom<Fields> for Attachment {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, &'static str> {
        let Fields { content_type, length, sha256, generation, state, file, area, receipt, handler_id, owner } = fields;
        let place = match (state, file, area, receipt, handler_id) {
            (State::Pending, Some(file), Some(area), ..) => Place::Pending { file, area },
            (State::Local, Some(file), ..) => Place::Local { file },
            (State::Stored, file, _, Some(receipt), Some(handler_id)) => {
                Place::Stored { receipt, handler_id, owner, file }
            }
            _ => return Err("a field is missing that the state needs"),
        };
        Ok(Self { content_type, length, sha256, generation, place })
    }
}

/// The two folders of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Files that go when they are delivered.
    Spool,
    /// Files that stay.
    Kept,
}

/// The attachments of a document by name.
pub fn attachments_of(document: &Document) -> impl Iterator<Item = (AttachmentName, Attachment)> {
    let stored = document.body.get(ATTACHMENTS).and_then(Value::as_object);
    let read = |(name, value): (&String, &Value)| {
        Some((AttachmentName::parse(name).ok()?, Attachment::deserialize(value).ok()?))
    };
    stored.into_iter().flatten().filter_map(read)
}

/// One attachment of a document.
pub fn attachment_of(document: &Document, name: &AttachmentName) -> Option<Attachment> {
    Attachment::deserialize(document.body.get(ATTACHMENTS)?.get(name.as_ref())?).ok()
}

/// The body of a document that says this of an attachment which it has.
pub(crate) fn with(document: &Document, name: &AttachmentName, attachment: &Attachment) -> Map<String, Value> {
    let mut body = document.body.clone();
    if let (Some(Value::Object(all)), Ok(value)) = (body.get_mut(ATTACHMENTS), serde_json::to_value(attachment)) {
        all.insert(name.to_string(), value);
    }
    body
}

/// The files of an area.
pub(crate) fn files(app: &App, area: Area) -> &delivery::Spool {
    match area {
        Area::Spool => &app.spool,
        Area::Kept => &app.kept,
    }
}

/// Notes on the document that the bytes of `generation` are at their destination. Answers false when the document has meanwhile gone or
/// holds another generation: then nobody refers to what was stored.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn note_stored(app: &App, put: &jobs::PutAttachment, receipt: Receipt) -> Result<bool, Error> {
    let database = Database::parse(&put.database).map_err(|error| Error::internal("reading a job", error))?;
    let (name, generation) = (put.attachment.clone(), put.generation.clone());
    let kept = (put.area == Area::Kept).then(|| put.file.clone());
    let (handler_id, owner) = (put.handler_id.clone(), put.owner.clone());
    let noted = Arc::new(AtomicBool::new(false));
    let seen = noted.clone();
    let change = move |document: &Document| {
        let Some(mut attachment) = attachment_of(document, &name).filter(|found| found.generation == generation) else {
            return Ok(Change::Leave);
        };
        seen.store(true, Ordering::SeqCst);
        if matches!(attachment.place, Place::Stored { .. }) {
            return Ok(Change::Leave);
        }
        let file = kept.filter(|_| !is_released(document));
        attachment.place = Place::Stored { receipt: Box::new(receipt), handler_id, owner, file };
        Ok(Change::Write(with(document, &name, &attachment)))
    };
    match app.documents.update_patiently(&database, &put.document, change).await {
        Ok(document) => {
            let noted = noted.load(Ordering::SeqCst);
            let held = attachment_of(&document, &put.attachment).is_some_and(|attachment| attachment.holds(&put.file));
            if noted && put.area == Area::Kept && !held {
                app.kept.remove(&put.file);
            }
            Ok(noted)
        }
        Err(error) if error.kind() == connections::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
