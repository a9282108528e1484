//! A list of calls as CSV, for spreadsheets: written while it is read, so that its length does not matter.
//!
//! RFC 4180: rows end with CRLF, a cell that holds a comma, a quote or a line's end stands in quotes. A cell that a spreadsheet would take for a
//! formula gets an apostrophe before it, which spreadsheets take for "this is text": a caller's name is a stranger's word.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use csv::{Terminator, WriterBuilder};
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::List;
use crate::api::error::Fault;
use crate::api::list::{self, Paging};
use crate::api::{Call, Reply};
use crate::app::cdrs::Leg;
use crate::app::pages::{Ask, Page};
use crate::app::{App, Error, file_names};

/// Rows that are read and written in one step.
const STEP: usize = 500;

/// The answer: the whole span of time, or the page that the client asks for, whose end then stands in the headers.
pub(super) async fn reply(app: Arc<App>, call: &Call, list: List, paging: &Paging) -> Result<Reply, Fault> {
    let paged = ["page_size", "start_key"].iter().any(|name| call.value(name).is_some()) && paging.ask.limit.is_some();
    let ask = if paged { paging.ask.clone() } else { Ask { limit: Some(STEP), ..paging.ask.clone() } };
    // What can go wrong at once is answered as such; later it can only break off.
    let first = list.page(&app, &ask).await?;
    let mut response = Response::new(Body::empty());
    head(response.headers_mut(), call);
    let begin = text(&list, &first.rows, true)?;
    if paged {
        note(response.headers_mut(), "page-size", &first.rows.len().to_string());
        if let Some(next) = &first.next {
            note(response.headers_mut(), "next-start-key", &list::start_key(next));
        }
        *response.body_mut() = Body::from(begin);
        return Ok(Reply::Raw(response));
    }
    let rest = stream::try_unfold((app, list, ask, first.next), async |(app, list, ask, next)| {
        let Some(next) = next else { return Ok::<_, std::io::Error>(None) };
        let ask = Ask { start: Some(next), ..ask };
        let page: Page<Leg> = list.page(&app, &ask).await.map_err(std::io::Error::other)?;
        let text = text(&list, &page.rows, false).map_err(std::io::Error::other)?;
        Ok(Some((text, (app, list, ask, page.next))))
    });
    let whole = futures_util::StreamExt::chain(stream::once(std::future::ready(Ok(begin))), rest);
    *response.body_mut() = Body::from_stream(whole);
    Ok(Reply::Raw(response))
}

fn head(headers: &mut HeaderMap, call: &Call) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let sent = call.headers.get("x-file-name").and_then(|name| name.to_str().ok());
    let wished = call.query("file_name").or(sent).unwrap_or_default();
    let name = Some(file_names::harmless(wished, "csv")).filter(|name| !name.is_empty());
    let disposition = file_names::disposition("attachment", name.as_deref().unwrap_or("cdrs.csv"));
    note(headers, CONTENT_DISPOSITION.as_str(), &disposition);
}

fn note(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Rows as text, with the names of the columns before them.
fn text(list: &List, rows: &[Leg], headed: bool) -> Result<Bytes, Error> {
    let broken = |error: csv::Error| Error::internal("writing CSV", error);
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    if headed {
        writer.write_record(&list.columns).map_err(broken)?;
    }
    for leg in rows {
        writer.write_record(list.row(leg).into_iter().map(harmless)).map_err(broken)?;
    }
    let written = writer.into_inner().map_err(|error| Error::internal("writing CSV", error.into_error()))?;
    Ok(written.into())
}

/// A cell that no spreadsheet takes for a formula. A number with its sign is none, and a phone number is such a number.
fn harmless(cell: String) -> String {
    let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    // Some look for the formula behind spaces.
    match cell.trim_start_matches([' ', '\u{a0}', '\u{3000}', '\u{feff}']).chars().next() {
        Some('+' | '-') if cell.get(1..).is_some_and(number) => cell,
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠') => format!("'{cell}"),
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_becomes_text_and_a_number_stays_one() {
        for cell in ["", "a", "Dana Fox", "+14155550123", "-5", "+4.5", "a=b", "'x", "2026-11-23"] {
            assert_eq!(harmless(cell.into()), cell);
        }
        for cell in [
            "=1+1",
            "+1+cmd|' /C calc'!A0",
            "-2+3",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            " =1",
            "+",
            "-",
            "=HYPERLINK(\"http://x\",\"y\")",
            "＝1",
            "\u{feff}=1",
        ] {
            assert_eq!(harmless(cell.into()), format!("'{cell}"));
        }
    }
}
