//! A fetch: an attachment's bytes, from wherever they are, streamed, whole or a range of them.

use std::io::SeekFrom;

use attachments::ByteRange;
use bytes::Bytes;
use delivery::{FileId, Held};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use plan::{AccountId, AttachmentName, Database, DocId};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use url::Url;

use super::attachment::{Area, Attachment, Place, attachment_of, files};
use super::{App, Error, dataplans};
use connections::Document;

/// Bytes on their way out.
pub struct Served {
    /// Media type.
    pub content_type: String,
    /// Length of the whole attachment.
    pub total: u64,
    /// First and last byte that are sent, when they are not all.
    pub range: Option<(u64, u64)>,
    /// Names this content for caches.
    pub etag: String,
    /// The bytes.
    pub stream: BoxStream<'static, Result<Bytes, std::io::Error>>,
}

/// The bytes of an attachment. Of several forms of range only one is served; what cannot be read as one is served whole.
///
/// # Errors
/// [`Error::NotFound`] without such an attachment, [`Error::Range`], [`Error::OutOfReach`], [`Error::Destination`], [`Error::Unavailable`].
pub async fn fetch(
    app: &App,
    account: &AccountId,
    database: &Database,
    id: &DocId,
    name: &AttachmentName,
    range: Option<ByteRange>,
) -> Result<Served, Error> {
    // Between reading the document and opening its file the delivery may finish and the file go: the document says then where the bytes are.
    let mut attempts = 3;
    loop {
        let document = app.documents.get(database, id).await?.ok_or_else(|| Error::NotFound(id.to_string()))?;
        let attachment = attachment_of(&document, name).ok_or_else(|| Error::NotFound(id.to_string()))?;
        let total = attachment.length;
        let range = range.map(|range| range.within(total).ok_or(Error::Range { total })).transpose()?;
        attempts -= 1;
        match open(app, account, &document, &attachment, range).await {
            Err(Error::NotFound(_)) if attempts > 0 && matches!(attachment.place, Place::Pending { .. }) => {}
            opened => {
                return opened.map(|stream| Served {
                    content_type: attachment.content_type.clone(),
                    total: attachment.length,
                    range,
                    etag: attachment.generation.clone(),
                    stream,
                });
            }
        }
    }
}

/// Where the bytes of an attachment may be read without us, for a short while: only when they lie nowhere else, and the handler's settings say
/// that readers are sent there.
///
/// # Errors
/// As [`fetch`].
pub async fn presigned(
    app: &App,
    account: &AccountId,
    document: &Document,
    attachment: &Attachment,
    disposition: &str,
) -> Result<Option<Url>, Error> {
    let Place::Stored { receipt, handler_id, owner, file: None } = &attachment.place else { return Ok(None) };
    let settings = dataplans::settings(app, account, owner.as_deref(), handler_id, &receipt.destination).await?;
    let wanted = |settings: &dataplans::Settings| settings.entry.settings.contains_key("redirect_reads");
    let Some(settings) = settings.filter(wanted) else { return Ok(None) };
    let handler = settings.open(app).await?;
    tracing::debug!(document.id = %document.id, "a reader is sent to the destination");
    Ok(handler.presign(receipt, disposition).await?)
}

type Bytestream = BoxStream<'static, Result<Bytes, std::io::Error>>;

async fn open(
    app: &App,
    account: &AccountId,
    document: &Document,
    attachment: &Attachment,
    range: Option<(u64, u64)>,
) -> Result<Bytestream, Error> {
    match &attachment.place {
        Place::Pending { file, area } => from_file(app, *area, file, attachment.length, range).await,
        Place::Local { file } => from_file(app, Area::Kept, file, attachment.length, range).await,
        Place::Stored { receipt, handler_id, owner, file } => {
            // A mirror: what is lost here is still there.
            if let Some(file) = file {
                match from_file(app, Area::Kept, file, attachment.length, range).await {
                    Err(Error::NotFound(_)) => {
                        tracing::warn!(document.id = %document.id, "the copy of a mirror is not here any more")
                    }
                    opened => return opened,
                }
            }
            let settings =
                dataplans::settings(app, account, owner.as_deref(), handler_id, &receipt.destination).await?;
            let settings = settings.ok_or(Error::OutOfReach)?;
            let handler = settings.open(app).await?;
            let wanted = range.map(|(first, last)| ByteRange::FromTo(first, last));
            let body = handler.fetch(receipt, wanted, &Value::Object(document.public())).await?;
            Ok(body.stream.map_err(std::io::Error::other).boxed())
        }
    }
}

async fn from_file(
    app: &App,
    area: Area,
    file: &FileId,
    length: u64,
    range: Option<(u64, u64)>,
) -> Result<Bytestream, Error> {
    let (first, count) = range.map_or((0, length), |(first, last)| (first, last - first + 1));
    let path = match files(app, area).held(file).await {
        Ok(Held::File(path)) => path,
        Ok(Held::Bytes(bytes)) => return Ok(from_memory(&bytes, first, count)),
        Err(error) => return Err(Error::unavailable("an attachment's file", error)),
    };
    let mut opened = match tokio::fs::File::open(&path).await {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::NotFound(file.to_string())),
        Err(error) => return Err(Error::unavailable("an attachment's file", error)),
    };
    opened.seek(SeekFrom::Start(first)).await.map_err(|error| Error::unavailable("an attachment's file", error))?;
    Ok(ReaderStream::with_capacity(opened.take(count), 64 << 10).boxed())
}

/// So many of the bytes, from one on; those that there are.
fn from_memory(bytes: &Bytes, first: u64, count: u64) -> Bytestream {
    let place = |at: u64| usize::try_from(at).unwrap_or(bytes.len()).min(bytes.len());
    let part = bytes.slice(place(first)..place(first.saturating_add(count)));
    stream::once(async move { Ok(part) }).boxed()
}
