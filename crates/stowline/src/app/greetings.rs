//! A box's own greeting: what its callers hear instead of the general words.
//!
//! The audio is the one attachment of the box, deposited like any other and so by the account's plan (class `account`, type `vmbox`). Only what can
//! be played to a caller is taken: WAV, of which [`clip`] makes samples when somebody calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use plan::{AttachmentName, DocType};
use serde_json::{Map, Value};
use voice::{Clip, wav};

use super::attachment::{Attachment, attachments_of};
use super::deposit::{Deposit, Form, Target};
use super::mailboxes::{self, Mailbox};
use super::{App, Error, fetch, removal};
use crate::app::accounts::Account;
use crate::{id, time};

/// The longest greeting.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Whatever its sender calls it: it was read.
const CONTENT_TYPE: &str = "audio/wav";
const TYPE: &str = "vmbox";

/// The greeting of a box, when it has one.
pub fn of(mailbox: &Mailbox) -> Option<(AttachmentName, Attachment)> {
    attachments_of(&mailbox.document).next()
}

/// Gives a box a greeting, in place of the one that it had.
///
/// # Errors
/// [`Error::Invalid`] for what cannot be played or is too long, [`Error::TooLarge`], [`Error::NotFound`] when the box is gone, [`Error::Unavailable`].
pub async fn put<S>(
    app: &Arc<App>,
    account: &Account,
    mailbox: &Mailbox,
    limit: u64,
    stream: S,
) -> Result<Mailbox, Error>
where
    S: stream::Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
{
    let bytes = collect(stream, limit).await?;
    let clip = wav::read(&bytes).map_err(|_| {
        Error::invalid("file", "type", "a greeting is a WAV file: PCM of 8 or 16 bits, or G.711, of any rate")
    })?;
    if clip.duration() > LONGEST {
        return Err(Error::invalid("file", "maxLength", "a greeting is no longer than a minute"));
    }
    let whole = stream::iter([std::io::Result::Ok(bytes)]);
    let target = Target {
        account: account.id.clone(),
        owner: mailbox.owner_id().map(str::to_owned),
        database: mailbox.document.database.clone(),
        id: mailbox.id.clone(),
        doc_type: DocType::parse(TYPE).map_err(|error| Error::internal("naming a type", error))?,
    };
    let deposit = Deposit::plan(app, target).await?;
    let arrived = deposit.receive(app, whole, CONTENT_TYPE, limit).await?;
    let name = AttachmentName::parse(&format!("{}.wav", id::random()));
    let name = name.map_err(|error| Error::internal("naming an attachment", error))?;
    let fields = Map::from_iter([("pvt_modified".to_owned(), Value::from(time::now()))]);
    mailboxes::read(deposit.commit(app.clone(), arrived, name, Form::Existing(fields)).await?)
}

async fn collect<S>(mut stream: S, limit: u64) -> Result<Bytes, Error>
where
    S: stream::Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
{
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| Error::Interrupted(error.to_string()))?);
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { limit });
        }
    }
    Ok(bytes.into())
}

/// Takes a box's greeting away: its callers hear the general words again.
///
/// # Errors
/// [`Error::NotFound`] when it has none, [`Error::Unavailable`].
pub async fn remove(app: &Arc<App>, account: &Account, mailbox: &Mailbox) -> Result<(), Error> {
    if of(mailbox).is_none() {
        return Err(Error::NotFound(mailbox.id.to_string()));
    }
    removal::remove_attachments(app, account, mailbox.owner_id(), &mailbox.document).await?;
    Ok(())
}

/// The greeting to be played; none when the box has none.
///
/// # Errors
/// When it cannot be had where it lies, or is no sound any more.
pub async fn clip(app: &App, account: &Account, mailbox: &Mailbox) -> Result<Option<Clip>, Error> {
    let Some((name, greeting)) = of(mailbox) else { return Ok(None) };
    let served = fetch::fetch(app, &account.id, &mailbox.document, &name, None).await?;
    let mut bytes = Vec::with_capacity(usize::try_from(greeting.length).unwrap_or_default());
    let mut stream = served.stream;
    while let Some(piece) = stream.try_next().await.map_err(|error| Error::unavailable("a greeting", error))? {
        bytes.extend_from_slice(&piece);
    }
    wav::read(&bytes).map(Some).map_err(|error| Error::unavailable("a greeting", error))
}
