//! Lists and counts of messages, over the months that they lie in.

use std::time::Duration;

use connections::{Order, Query};
use plan::{Database, DocId, Month};

use super::super::mailboxes::Mailbox;
use super::super::pages::{self, Ask, Page};
use super::super::{App, Error};
use super::{Message, TYPE, database};
use crate::app::accounts::Account;
use crate::time;

/// How far the clock of who left a message may be ahead of ours.
const AHEAD: i64 = 3600;
/// The first and the last second that a message can carry.
const FIRST: i64 = 62_167_219_200;
const LAST: i64 = 315_537_897_599;

/// A span of time in Gregorian seconds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first second.
    pub from: i64,
    /// Its last second.
    pub to: i64,
}

impl Span {
    /// The span of messages that are not past retention.
    pub fn retained(app: &App) -> Self {
        let now = time::now();
        Self { from: retained_since(app, now), to: now.saturating_add(AHEAD) }
    }
}

/// The time before which messages are past retention.
pub(super) fn retained_since(app: &App, now: i64) -> i64 {
    now.saturating_sub(seconds(app.config.voicemail.retention))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// The account's monthly databases that a span touches.
fn databases(account: &Account, span: Span, order: Order) -> Vec<Database> {
    let (Some(first), Some(last)) =
        (time::month(span.from.clamp(FIRST, LAST)), time::month(span.to.clamp(FIRST, LAST)))
    else {
        return Vec::new();
    };
    let ordinal = |month: Month| u32::from(month.year()) * 12 + u32::from(month.month()) - 1;
    let month =
        |ordinal: u32| Month::from_parts(u16::try_from(ordinal / 12).ok()?, u8::try_from(ordinal % 12 + 1).ok()?);
    let mut found: Vec<Database> =
        (ordinal(first)..=ordinal(last)).filter_map(month).map(|month| database(account, month)).collect();
    if order == Order::Descending {
        found.reverse();
    }
    found
}

/// A page of a box's messages within `span`. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page_of_mailbox<F>(
    app: &App,
    account: &Account,
    mailbox: &DocId,
    span: Span,
    ask: &Ask,
    keep: F,
) -> Result<Page<Message>, Error>
where
    F: Fn(&Message) -> bool + Send,
{
    page(app, account, Some(mailbox), span, ask, keep).await
}

/// A page of all the account's messages within `span`. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page_of_account<F>(
    app: &App,
    account: &Account,
    span: Span,
    ask: &Ask,
    keep: F,
) -> Result<Page<Message>, Error>
where
    F: Fn(&Message) -> bool + Send,
{
    page(app, account, None, span, ask, keep).await
}

async fn page<F>(
    app: &App,
    account: &Account,
    mailbox: Option<&DocId>,
    span: Span,
    ask: &Ask,
    keep: F,
) -> Result<Page<Message>, Error>
where
    F: Fn(&Message) -> bool + Send,
{
    let query = |database| Query {
        parent: mailbox.map(DocId::to_string),
        from: Some(span.from),
        to: Some(span.to),
        ..Query::new(database, TYPE)
    };
    let queries = databases(account, span, ask.order).into_iter().map(query).collect();
    pages::gather(app, queries, ask, move |document| Message::read(document).filter(|found| keep(found))).await
}

/// How many messages a box has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Not yet heard.
    pub new: u64,
    /// Heard and kept.
    pub saved: u64,
}

/// How many messages a box has that are not past retention.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn count(app: &App, account: &Account, mailbox: &Mailbox) -> Result<Counts, Error> {
    let span = Span::retained(app);
    let mut counts = Counts::default();
    for database in databases(account, span, Order::Descending) {
        let folders =
            app.documents.count_by(&database, TYPE, mailbox.id.as_ref(), span.from, "$.metadata.folder").await?;
        for (folder, count) in folders {
            match folder.as_str() {
                "new" => counts.new += count,
                "saved" => counts.saved += count,
                _ => {}
            }
        }
    }
    Ok(counts)
}
