//! Lists and counts of messages, over the months that they lie in.

use connections::Order;
use plan::{AccountId, Database, DocId};

use super::super::mailboxes::Mailbox;
use super::super::months::{self, Span, Which};
use super::super::pages::{Ask, Page};
use super::super::{App, Error, dataplans, retention};
use super::{Message, TYPE};
use crate::app::accounts::Account;
use crate::time;

/// Which messages of an account are not past retention.
#[derive(Debug, Clone, Copy)]
pub struct Retained {
    since: i64,
    now: i64,
}

/// Which messages of an account are not past retention: as many days as its plan keeps messages, or where it keeps them for good, `[voicemail] retention`.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn retained(app: &App, account: &AccountId) -> Result<Retained, Error> {
    let now = time::now();
    let database = Database::Modb(account.clone(), months::of("timestamp", now)?);
    let plan = dataplans::of(app, account, None).await?;
    let configured = || i64::try_from(app.config.voicemail.retention.as_secs()).unwrap_or(i64::MAX);
    let kept = retention::kept_for(&plan, &database, TYPE)?.unwrap_or_else(configured);
    Ok(Retained { since: now.saturating_sub(kept), now })
}

impl Retained {
    /// Their span.
    pub fn span(self) -> Span {
        Span { from: self.since, to: self.now.saturating_add(months::AHEAD) }
    }

    pub(super) fn has(self, message: &Message) -> bool {
        message.timestamp() >= self.since
    }
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
    let span = retained(app, &account.id).await?.span();
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
