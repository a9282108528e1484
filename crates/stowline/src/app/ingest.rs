//! What switches send becomes documents: recordings, voicemail, faxes, call records.
//!
//! A file streams to disk first; then it is known whether it came before (`arrivals`), and only what is new becomes a document. What is said of a file is
//! read leniently (`switches::facts`): a file is never refused for a word about it.
//!
//! The account is the one of the key, whatever the switch says.

use std::sync::Arc;

use bytes::Bytes;
use connections::Document;
use futures_util::Stream;
use serde_json::{Map, Value};
use switches::{Leg, Part, Record};

use super::received::{Received, Sent};
use super::{App, Error, arrivals, cdrs, faxes, mailboxes, messages, recordings};
use crate::app::accounts::Account;
use crate::app::mailboxes::Mailbox;

/// The most bytes of a call record. One of a long call with many transfers has some hundred thousand.
pub const LARGEST_RECORD: u64 = 4 << 20;

/// Where a file goes.
#[derive(Debug)]
pub enum Aim {
    /// A recording of a call.
    Recording {
        /// The user whose recording it is, when the switch says so before it sends the file.
        owner: Option<String>,
    },
    /// A message for a mailbox.
    Voicemail(Box<Mailbox>),
    /// A received fax.
    Fax {
        /// The user whose fax it is, when the switch says so before it sends the file.
        owner: Option<String>,
    },
}

impl Aim {
    /// The mailbox of an account with this number.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn mailbox(app: &App, account: &Account, number: &str) -> Result<Self, Error> {
        let found = mailboxes::by_number(app, &account.id, number).await?;
        found.map(|mailbox| Self::Voicemail(Box::new(mailbox))).ok_or_else(|| Error::NotFound(number.to_owned()))
    }

    /// Its word in metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Recording { .. } => "recordings",
            Self::Voicemail(_) => "voicemail",
            Self::Fax { .. } => "fax",
        }
    }

    /// Tells files of the same name apart: by kind, and by mailbox.
    fn room(&self) -> String {
        match self {
            Self::Voicemail(mailbox) => format!("voicemail/{}", mailbox.id),
            other => other.word().into(),
        }
    }
}

/// A file on its way in.
#[derive(Debug)]
pub struct Parcel<'a> {
    /// Where it goes.
    pub aim: Aim,
    /// Its name, which with its bytes tells whether it came before.
    pub name: &'a str,
    /// Its type and the most bytes that it may have.
    pub sent: Sent<'a>,
    /// The SHA-256 that its sender says it has.
    pub sha256: Option<[u8; 32]>,
}

/// What became of something that came in.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The document that holds it.
    pub document: Document,
    /// False when it was there already.
    pub new: bool,
}

/// Takes a file. `rest` is asked, when the bytes are there, for what is said of it.
///
/// # Errors
/// [`Error::Invalid`] for an empty file and for one with another digest than was said, [`Error::TooLarge`], [`Error::Interrupted`], [`Error::Unavailable`], and what `rest` answers; there is no
/// document then, and no file.
pub async fn file<S, E, R, F>(
    app: &Arc<App>,
    account: &Account,
    Parcel { aim, name, sent, sha256 }: Parcel<'_>,
    stream: S,
    rest: R,
) -> Result<(Kept, [u8; 32]), F>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
    R: Future<Output = Result<Map<String, Value>, F>> + Send,
    F: From<Error>,
{
    let received = match &aim {
        Aim::Recording { owner } => recordings::receive(app, account, owner.as_deref(), sent, stream).await?,
        Aim::Voicemail(mailbox) => messages::receive(app, account, mailbox, sent, stream).await?,
        Aim::Fax { owner } => faxes::receive(app, account, owner.as_deref(), sent, stream).await?,
    };
    let mut facts = rest.await?;
    if received.length() == 0 {
        let why = "the file is empty: nothing was recorded, or the switch sent it before it was written";
        return Err(Error::invalid("file", "required", why).into());
    }
    let arrived = *received.sha256();
    if sha256.is_some_and(|sent| sent != arrived) {
        return Err(Error::invalid("content-digest", "mismatch", "other bytes arrived than were sent").into());
    }
    // The plan was asked for the owner that was known before the bytes came.
    match received.owner() {
        Some(owner) if !matches!(aim, Aim::Voicemail(_)) => facts.insert("owner_id".into(), owner.into()),
        _ => facts.remove("owner_id"),
    };
    let kind = aim.word();
    let kept = once(app, account, aim, name, facts, received).await?;
    count(kind, if kept.new { "new" } else { "known" });
    Ok((kept, arrived))
}

fn count(kind: &'static str, outcome: &'static str) {
    metrics::counter!("stowline_ingest_total", "kind" => kind, "outcome" => outcome).increment(1);
}

/// Makes a document of a file, unless there is one.
async fn once(
    app: &Arc<App>,
    account: &Account,
    aim: Aim,
    name: &str,
    facts: Map<String, Value>,
    received: Received,
) -> Result<Kept, Error> {
    let claim = arrivals::claim(app, &account.id, &aim.room(), name, received.sha256());
    if let Some(document) = arrivals::first(app, &claim).await? {
        return Ok(Kept { document, new: false });
    }
    let received = received.claiming(claim.clone());
    let made = match &aim {
        Aim::Recording { .. } => {
            recordings::create(app, account, facts, Some(received)).await.map(|made| made.document)
        }
        Aim::Voicemail(mailbox) => {
            messages::create(app, account, mailbox, facts.into(), Some(received)).await.map(|made| made.document)
        }
        Aim::Fax { .. } => faxes::create(app, account, facts, received).await.map(|made| made.document),
    };
    match made {
        Ok(document) => Ok(Kept { document, new: true }),
        // Its twin was faster.
        Err(Error::Conflict) => match arrivals::first(app, &claim).await? {
            Some(document) => Ok(Kept { document, new: false }),
            None => Err(Error::Conflict),
        },
        Err(error) => Err(error),
    }
}

/// What became of a call record.
#[derive(Debug, Clone)]
pub enum Recorded {
    /// The leg.
    Kept(Kept),
    /// Nobody wants to see it; why.
    Skipped(&'static str),
    /// It is durable, and will be a leg in a moment.
    Accepted,
}

/// Takes a call record, in whatever form a switch sends it. Once this returned, it is durable.
///
/// # Errors
/// [`Error::Invalid`] for what is no record, [`Error::Unavailable`].
pub async fn accept(app: &Arc<App>, account: &Account, body: &[u8]) -> Result<Recorded, Error> {
    if !switches::is_surely_a_record(body) {
        return record(app, account, body).await;
    }
    app.spool.has_room().map_err(|error| Error::unavailable("intake", error))?;
    app.intake.accept(&account.id, body).await
}

/// Makes a document of a call record. Once this returned, it is durable.
///
/// # Errors
/// [`Error::Invalid`] for what is no record, [`Error::Unavailable`].
pub async fn record(app: &Arc<App>, account: &Account, body: &[u8]) -> Result<Recorded, Error> {
    let leg = match switches::read(body) {
        Ok(Record::Leg(leg)) => *leg,
        Ok(Record::Skipped(why)) => {
            count("cdr", "skipped");
            return Ok(Recorded::Skipped(why));
        }
        Err(error) => return Err(Error::invalid("cdr", "invalid", error.to_string())),
    };
    if leg.account_hints().first().is_some_and(|hint| hint.len() == 32 && *hint != account.id.as_ref()) {
        tracing::debug!(account.id = %account.id, "a call record names another account than its key's: the key's counts");
    }
    let part = leg.part().cloned();
    let mut found = cdrs::record(app, account, owned(leg, account)).await?;
    if let Some(part) = part.filter(|part| !found.new && !is_same(part, &found.leg.document))
        && let Ok(Record::Leg(leg)) = switches::read(body)
    {
        // Another record has its call id, and is not it.
        let mut fields = owned(*leg, account);
        fields.insert("call_id".into(), part.call_id.into());
        found = cdrs::record(app, account, fields).await?;
    }
    count("cdr", if found.new { "new" } else { "known" });
    Ok(Recorded::Kept(Kept { document: found.leg.document, new: found.new }))
}

/// The leg's fields, with the account that it belongs to.
fn owned(leg: Leg, account: &Account) -> Map<String, Value> {
    let mut fields = leg.into_fields();
    let variables = fields.entry("custom_channel_vars").or_insert_with(|| Map::new().into());
    if let Value::Object(variables) = variables {
        variables.insert("account_id".into(), account.id.as_ref().into());
    }
    fields
}

/// Whether a record that is stored is this part's.
fn is_same(part: &Part, stored: &Document) -> bool {
    let variables = stored.body.get("custom_channel_vars");
    let held = variables.and_then(|variables| variables.get(part.variable)).and_then(Value::as_str);
    held.is_none_or(|held| held == part.value)
}
