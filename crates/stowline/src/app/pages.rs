//! Pages of documents that lie in one database or in several, such as an account's months.

use connections::{Cursor, Document, Order, Query};

use super::{App, Error};

/// Documents that are read at once while a page is gathered.
const BATCH: usize = 500;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The direction.
    pub order: Order,
    /// The first document, included; the beginning of the list without one.
    pub start: Option<Cursor>,
    /// The most rows; all without one.
    pub limit: Option<usize>,
}

/// A part of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// What was asked for, in order.
    pub rows: Vec<T>,
    /// Where the next page begins; none when this one is the last.
    pub next: Option<Cursor>,
}

/// Gathers a page from the documents that `queries` find, one query after the other. `row` makes a row of a document, or passes it over.
///
/// The queries stand in the order of their times, so that one cursor serves them all.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn gather<T, F>(app: &App, queries: Vec<Query>, ask: &Ask, mut row: F) -> Result<Page<T>, Error>
where
    T: Send,
    F: FnMut(Document) -> Option<T> + Send,
{
    let batch = ask.limit.map_or(BATCH, |limit| limit.saturating_add(1).clamp(1, BATCH));
    let mut rows = Vec::new();
    for query in queries {
        let mut query = Query { start: ask.start.clone(), order: ask.order, limit: batch, ..query };
        loop {
            let page = app.documents.list(query.clone()).await?;
            for (cursor, document) in page.documents {
                let Some(found) = row(document) else { continue };
                if ask.limit == Some(rows.len()) {
                    return Ok(Page { rows, next: Some(cursor) });
                }
                rows.push(found);
            }
            match page.next {
                Some(next) => query.start = Some(next),
                None => break,
            }
        }
    }
    Ok(Page { rows, next: None })
}
