//! Lists and counts of messages, over the months that they lie in.

use std::time::Duration;

use connections::Order;
use plan::DocId;

use super::super::mailboxes::Mailbox;
use super::super::months::{self, Span, Which};
use super::super::pages::{Ask, Page};
use super::super::{App, Error};
use super::{Message, TYPE};
use crate::app::accounts::Account;
use crate::time;

/// The span of messages that are not past retention.
pub fn retained(app: &App) -> Span {
    let now = time::now();
    Span { from: retained_since(app, now), to: now.saturating_add(months::AHEAD) }
}

/// The time before which messages are past retention.
pub(super) fn retained_since(app: &App, now: i64) -> i64 {
    now.saturating_sub(seconds(app.config.voicemail.retention))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
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
    let parent = mailbox.map(DocId::as_ref);
    let row = move |document| Message::read(document).filter(|found| keep(found));
    let which = Which { doc_type: TYPE, parent, ..Which::default() };
    months::page(app, account, which, span, ask, row).await
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
    let span = retained(app);
    let mut counts = Counts::default();
    for database in months::databases(account, span, Order::Descending) {
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
