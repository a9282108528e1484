//! What an account stores: attachments and bytes by handler and type, counted in the store when somebody asks.

use std::collections::BTreeMap;

use connections::{Order, Tally};
use serde_json::{Value, json};

use super::attachment::ATTACHMENTS;
use super::months::{self, Span};
use super::{App, Error};
use crate::app::accounts::Account;

/// What is asked of each attachment.
const BY: [&str; 4] = ["$.content_type", "$.state", "$.handler_id", "$.receipt.handler"];

#[derive(Default, Clone, Copy)]
struct Sum {
    attachments: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, tally: &Tally) {
        self.attachments += tally.count;
        self.bytes += tally.sum;
    }
}

/// The handler that an attachment is at: its kind and id; `database` for what stays here, `pending` for what is on its way.
fn place(tally: &Tally) -> (String, String) {
    let text = |index: usize| tally.by.get(index).and_then(Option::as_deref);
    match text(1) {
        Some("stored") => (text(3).unwrap_or("unknown").to_owned(), text(2).unwrap_or_default().to_owned()),
        Some("pending") => ("pending".to_owned(), String::new()),
        _ => ("database".to_owned(), String::new()),
    }
}

/// Attachments and bytes of the months that `span` touches, and of the account's own database.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn usage(app: &App, account: &Account, span: Span) -> Result<Value, Error> {
    let mut databases = months::databases(account, span, Order::Ascending);
    databases.push(account.database());
    let (mut total, mut handlers, mut types, mut rows) =
        (Sum::default(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for database in databases {
        for tally in app.documents.tally(&database, ATTACHMENTS, &BY, "$.length").await? {
            let at = place(&tally);
            let content_type = tally.by.first().cloned().flatten().unwrap_or_default();
            total.add(&tally);
            handlers.entry(at.clone()).or_insert_with(Sum::default).add(&tally);
            types.entry(tally.doc_type.clone()).or_insert_with(Sum::default).add(&tally);
            rows.entry((at, tally.doc_type.clone(), content_type)).or_insert_with(Sum::default).add(&tally);
        }
    }
    let sum = |sum: &Sum, mut row: Value| {
        row["attachments"] = sum.attachments.into();
        row["bytes"] = sum.bytes.into();
        row
    };
    let handler = |(kind, id): &(String, String)| match id.as_str() {
        "" => json!({ "handler": kind }),
        id => json!({"handler": kind, "handler_id": id}),
    };
    Ok(json!({
        "from": span.from, "to": span.to,
        "total": sum(&total, json!({})),
        "handlers": handlers.iter().map(|(at, found)| sum(found, handler(at))).collect::<Vec<_>>(),
        "types": types.iter().map(|(of_type, found)| sum(found, json!({"doc_type": of_type}))).collect::<Vec<_>>(),
        "usage": rows.iter().map(|((at, of_type, content_type), found)| {
            let mut row = handler(at);
            row["doc_type"] = of_type.as_str().into();
            row["content_type"] = content_type.as_str().into();
            sum(found, row)
        }).collect::<Vec<_>>(),
    }))
}
