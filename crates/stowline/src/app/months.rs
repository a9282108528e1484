//! An account's months: in which database lies what happened at a time, and which databases a span of time touches.
//!
//! Messages, recordings, faxes and call records live in monthly databases, and their ids begin with the month (UTC). Who has an id knows the
//! database; who has a span of time walks the months that it touches.

use connections::{Document, Order, Query};
use plan::{AccountId, Database, DocId, Month};

use super::pages::{self, Ask, Page};
use super::{App, Error};
use crate::app::accounts::Account;
use crate::{id, time};

/// The first and the last second that a document can carry.
pub const FIRST: i64 = 62_167_219_200;
/// See [`FIRST`].
pub const LAST: i64 = 315_537_897_599;
/// How far the clock of who sent something may be ahead of ours.
pub const AHEAD: i64 = 3600;

/// A span of time in Gregorian seconds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first second.
    pub from: i64,
    /// Its last second.
    pub to: i64,
}

impl Span {
    /// The widest span that a list may have, up to now.
    pub fn latest(app: &App) -> Self {
        let now = time::now();
        let widest = i64::try_from(app.config.api.maximum_range.as_secs()).unwrap_or(i64::MAX);
        Self { from: now.saturating_sub(widest), to: now.saturating_add(AHEAD) }
    }
}

/// The database of a month.
pub fn database(account: &Account, month: Month) -> Database {
    Database::Modb(account.id.clone(), month)
}

/// The month before.
pub fn before(month: Month) -> Option<Month> {
    from_ordinal(ordinal(month).checked_sub(1)?)
}

/// The first and the last second of a month.
pub fn bounds(month: Month) -> Span {
    let first = |month: Month| time::first_second(month).unwrap_or(LAST);
    let next = from_ordinal(ordinal(month) + 1).map_or(LAST, first);
    Span { from: first(month), to: next.saturating_sub(1) }
}

/// The database and id of a new document of the time that `field` says.
///
/// # Errors
/// [`Error::Invalid`] for a time outside of the calendar.
pub fn place(account: &Account, field: &str, at: i64) -> Result<(Database, DocId), Error> {
    let month = of(field, at)?;
    let id = id::of_month(month).map_err(|error| Error::internal("making an id", error))?;
    Ok((database(account, month), id))
}

/// The month of the time that `field` says.
///
/// # Errors
/// [`Error::Invalid`] for a time outside of the calendar.
pub fn of(field: &str, at: i64) -> Result<Month, Error> {
    time::month(at).ok_or_else(|| Error::invalid(field, "date_range", "this time lies outside of the calendar"))
}

/// The document of this id and type that was not deleted.
///
/// # Errors
/// [`Error::NotFound`], also for an id that names no month; [`Error::Unavailable`].
pub async fn find(app: &App, account: &Account, doc_type: &str, id: &str) -> Result<Document, Error> {
    let not_found = || Error::NotFound(id.to_owned());
    let parsed = DocId::parse(id).map_err(|_| not_found())?;
    let month = parsed.month().ok_or_else(not_found)?;
    let found = app.documents.get_again(&database(account, month), &parsed).await?;
    found.filter(|document| document.doc_type == doc_type && !document.deleted).ok_or_else(not_found)
}

/// Which documents of an account a list is of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'a> {
    /// Of this type.
    pub doc_type: &'a str,
    /// Of this parent only.
    pub parent: Option<&'a str>,
    /// Of this owner only.
    pub owner: Option<&'a str>,
}

/// A page of the account's documents within `span`. `row` makes a row of a document, or passes it over.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page<T, F>(
    app: &App,
    account: &Account,
    which: Which<'_>,
    span: Span,
    ask: &Ask,
    row: F,
) -> Result<Page<T>, Error>
where
    T: Send,
    F: FnMut(Document) -> Option<T> + Send,
{
    let query = |database| Query {
        parent: which.parent.map(str::to_owned),
        owner: which.owner.map(str::to_owned),
        from: Some(span.from),
        to: Some(span.to),
        ..Query::new(database, which.doc_type)
    };
    let queries = databases(account, span, ask.order).into_iter().map(query).collect();
    pages::gather(app, queries, ask, row).await
}

/// The account's monthly databases that a span touches, in the order of a list.
pub fn databases(account: &Account, span: Span, order: Order) -> Vec<Database> {
    let month = |at: i64| time::month(at.clamp(FIRST, LAST));
    let (Some(first), Some(last)) = (month(span.from), month(span.to)) else { return Vec::new() };
    let months = (ordinal(first)..=ordinal(last)).filter_map(from_ordinal);
    let mut found: Vec<Database> = months.map(|month| database(account, month)).collect();
    if order == Order::Descending {
        found.reverse();
    }
    found
}

/// Names of databases that are read at once.
const NAMES: usize = 100;

/// The months in which an account holds anything.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn held(app: &App, account: &AccountId) -> Result<Vec<Month>, Error> {
    let begins = format!("{}-", Database::Account(account.clone()).name());
    let (mut months, mut last) = (Vec::new(), begins.clone());
    loop {
        let names = app.documents.databases_after(&last, NAMES).await?;
        let own = names.iter().take_while(|name| name.starts_with(&begins));
        months.extend(own.filter_map(|name| match Database::parse(name) {
            Ok(Database::Modb(_, month)) => Some(month),
            _ => None,
        }));
        match names.last().filter(|name| name.starts_with(&begins)) {
            Some(name) => last.clone_from(name),
            None => return Ok(months),
        }
    }
}

/// Months, counted from the year 0.
fn ordinal(month: Month) -> u32 {
    u32::from(month.year()) * 12 + u32::from(month.month()) - 1
}

fn from_ordinal(ordinal: u32) -> Option<Month> {
    Month::from_parts(u16::try_from(ordinal / 12).ok()?, u8::try_from(ordinal % 12 + 1).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_bounds_and_one_before() {
        let month = |text| Month::parse(text).unwrap();
        assert_eq!(before(month("202601")), Some(month("202512")));
        assert_eq!(before(month("000001")), None);
        let span = bounds(month("202402"));
        assert_eq!(span.to - span.from + 1, 29 * 86_400);
        for (at, wanted) in
            [(span.from, "202402"), (span.to, "202402"), (span.from - 1, "202401"), (span.to + 1, "202403")]
        {
            assert_eq!(time::month(at), Some(month(wanted)));
        }
        assert_eq!(bounds(month("999912")).to, LAST - 1);
    }
}
