//! A fetch: an attachment's bytes, from wherever they are, streamed, whole or a range of them.

use std::borrow::Cow;
use std::io::SeekFrom;

use attachments::{ByteRange, Handler, Receipt};
use bytes::Bytes;
use delivery::{FileId, Held};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use plan::{AccountId, AttachmentName, HandlerId};
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

/// What a reader is answered with.
pub enum Answer {
    /// The bytes.
    Bytes(Served),
    /// Where they may be read without us, for a short while.
    Elsewhere(Url),
}

/// The bytes of an attachment, whose document was just read. Of several forms of range only one is served; what cannot be read as one is
/// served whole.
///
/// # Errors
/// [`Error::NotFound`] without such an attachment, [`Error::Range`], [`Error::OutOfReach`], [`Error::Destination`], [`Error::Unavailable`].
pub async fn fetch(
    app: &App,
    account: &AccountId,
    document: &Document,
    name: &AttachmentName,
    range: Option<ByteRange>,
) -> Result<Served, Error> {
    let mut latest = Latest::of(document);
    loop {
        let attachment = latest.attachment(name)?;
        match serve(app, account, &latest.document, attachment, range).await {
            Err(error) => latest.again(app, error).await?,
            served => return served,
        }
    }
}

/// The same for a reader who may be sent to where the bytes are: only when they lie nowhere else, and the handler's settings say so. The attachment is
/// what the document says of it; `disposition` is the `Content-Disposition` that the reader is to see.
///
/// # Errors
/// As [`fetch`].
pub async fn answer(
    app: &App,
    account: &AccountId,
    document: &Document,
    (name, attachment): (&AttachmentName, Attachment),
    range: Option<ByteRange>,
    disposition: &str,
) -> Result<Answer, Error> {
    let (mut latest, mut known) = (Latest::of(document), Some(attachment));
    loop {
        let attachment = known.take().map_or_else(|| latest.attachment(name), Ok)?;
        match send_or_serve(app, account, &latest.document, attachment, range, disposition).await {
            Err(error) => latest.again(app, error).await?,
            answer => return answer,
        }
    }
}

/// A document as it was read last. Between reading it and opening its file a delivery or a move may finish and the file go: the document says then where
/// the bytes are.
struct Latest<'a> {
    document: Cow<'a, Document>,
    attempts: u32,
}

impl<'a> Latest<'a> {
    fn of(document: &'a Document) -> Self {
        Self { document: Cow::Borrowed(document), attempts: 3 }
    }

    fn attachment(&self, name: &AttachmentName) -> Result<Attachment, Error> {
        attachment_of(&self.document, name).ok_or_else(|| Error::NotFound(self.document.id.to_string()))
    }

    /// After a failure: the document is read again, for a new attempt that may find what this one did not. Else the failure.
    async fn again(&mut self, app: &App, error: Error) -> Result<(), Error> {
        self.attempts -= 1;
        if self.attempts == 0 || !matches!(error, Error::NotFound(_) | Error::Destination(_)) {
            return Err(error);
        }
        let (database, id) = (&self.document.database, &self.document.id);
        let now = app.documents.get(database, id).await?.ok_or_else(|| Error::NotFound(id.to_string()))?;
        // A file may have gone elsewhere meanwhile; what a destination says of the same receipt stays true.
        if now.revision == self.document.revision && matches!(error, Error::Destination(_)) {
            return Err(error);
        }
        self.document = Cow::Owned(now);
        Ok(())
    }
}

async fn send_or_serve(
    app: &App,
    account: &AccountId,
    document: &Document,
    attachment: Attachment,
    range: Option<ByteRange>,
    disposition: &str,
) -> Result<Answer, Error> {
    let Place::Stored { receipt, handler_id, owner, file: None } = &attachment.place else {
        return serve(app, account, document, attachment, range).await.map(Answer::Bytes);
    };
    let settings = destination(app, account, owner.as_deref(), handler_id, receipt).await?;
    let handler = settings.open(app).await?;
    if settings.entry.settings.contains_key("redirect_reads")
        && let Some(url) = handler.presign(receipt, disposition).await?
    {
        tracing::debug!(document.id = %document.id, "a reader is sent to the destination");
        return Ok(Answer::Elsewhere(url));
    }
    let range = within(range, attachment.length)?;
    let stream = from_handler(handler.as_ref(), receipt, document, range).await?;
    Ok(Answer::Bytes(served(attachment, range, stream)))
}

async fn serve(
    app: &App,
    account: &AccountId,
    document: &Document,
    attachment: Attachment,
    range: Option<ByteRange>,
) -> Result<Served, Error> {
    let range = within(range, attachment.length)?;
    let stream = open(app, account, document, &attachment, range).await?;
    Ok(served(attachment, range, stream))
}

fn within(range: Option<ByteRange>, total: u64) -> Result<Option<(u64, u64)>, Error> {
    range.map(|range| range.within(total).ok_or(Error::Range { total })).transpose()
}

fn served(attachment: Attachment, range: Option<(u64, u64)>, stream: Bytestream) -> Served {
    let Attachment { content_type, length, generation, .. } = attachment;
    Served { content_type, total: length, range, etag: generation, stream }
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
            let settings = destination(app, account, owner.as_deref(), handler_id, receipt).await?;
            from_handler(settings.open(app).await?.as_ref(), receipt, document, range).await
        }
    }
}

/// The settings that a receipt is good with today.
async fn destination(
    app: &App,
    account: &AccountId,
    owner: Option<&str>,
    id: &HandlerId,
    receipt: &Receipt,
) -> Result<dataplans::Settings, Error> {
    dataplans::settings(app, account, owner, id, &receipt.destination).await?.ok_or(Error::OutOfReach)
}

async fn from_handler(
    handler: &dyn Handler,
    receipt: &Receipt,
    document: &Document,
    range: Option<(u64, u64)>,
) -> Result<Bytestream, Error> {
    let wanted = range.map(|(first, last)| ByteRange::FromTo(first, last));
    let metadata = if handler.wants_metadata() { Value::Object(document.public()) } else { Value::Null };
    let body = handler.fetch(receipt, wanted, &metadata).await?;
    Ok(body.stream.map_err(std::io::Error::other).boxed())
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
