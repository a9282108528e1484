//! `/v2/accounts/{account}/cdrs…` and the same below `users/{user}`: the records of calls, to read.
//!
//! Lists are rows of the same columns in JSON and in CSV (`cdr/csv.rs`); what comes is what the client accepts.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::Fault;
use super::list::{self, Filters, Paging, Times};
use super::whose::Whose;
use super::{Call, Reply, accept};
use crate::app::accounts::Account;
use crate::app::cdrs::{self, COLUMNS, Leg, RESELLER_COLUMNS};
use crate::app::months::Span;
use crate::app::pages::{Ask, Page};
use crate::app::{App, Error};

mod csv;

/// What a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// Every leg.
    Legs,
    /// Of every call its first leg.
    Calls,
}

/// A list that a call asks for.
#[derive(Debug, Clone)]
struct List {
    account: Account,
    rows: Rows,
    whose: Whose,
    filters: Filters,
    span: Span,
    columns: Vec<&'static str>,
    utc_offset: i64,
}

impl List {
    async fn of(app: &App, call: &Call, rows: Rows) -> Result<Self, Error> {
        let mut columns = COLUMNS.to_vec();
        if call.caller()?.account.is_reseller() {
            columns.extend(RESELLER_COLUMNS);
        }
        Ok(Self {
            account: call.account()?.clone(),
            rows,
            whose: Whose::of(app, call).await?,
            filters: Filters::of(call)?,
            span: list::span(app, call)?,
            columns,
            utc_offset: list::number(call, "utc_offset")?.unwrap_or_default(),
        })
    }

    async fn page(&self, app: &App, ask: &Ask) -> Result<Page<Leg>, Error> {
        let keep = |leg: &Leg| wanted(&self.whose, &self.filters, leg);
        let owner = self.whose.owner();
        match self.rows {
            Rows::Legs => cdrs::page(app, &self.account, owner, self.span, ask, keep).await,
            Rows::Calls => cdrs::interactions(app, &self.account, owner, self.span, ask, keep).await,
        }
    }

    fn row(&self, leg: &Leg) -> Vec<String> {
        cdrs::row(leg, &self.columns, self.utc_offset)
    }

    fn json(&self, leg: &Leg) -> Value {
        let values = self.row(leg).into_iter().map(Value::from);
        Value::Object(self.columns.iter().map(|column| (*column).to_owned()).zip(values).collect())
    }
}

fn wanted(whose: &Whose, filters: &Filters, leg: &Leg) -> bool {
    let times = Times { created: leg.at(), modified: leg.modified() };
    let fields = if filters.ask_for_fields() { fields(leg) } else { Map::new() };
    whose.includes(leg.owner_id()) && filters.pass(&fields, times)
}

/// What filters see of a leg: its document, and what its row calls otherwise.
fn fields(leg: &Leg) -> Map<String, Value> {
    let mut fields = leg.document.public();
    let otherwise = [("owner_id", leg.owner_id()), ("direction", leg.document.text("call_direction"))];
    for (key, value) in otherwise.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        fields.entry(key).or_insert_with(|| value.into());
    }
    fields
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Json,
    Csv,
}

/// The forms in which a list can be had.
const FORMS: [(&str, Form); 5] = [
    ("application/json", Form::Json),
    ("application/x-json", Form::Json),
    ("text/csv", Form::Csv),
    ("text/comma-separated-values", Form::Csv),
    ("application/octet-stream", Form::Csv),
];

async fn listed(app: Arc<App>, call: Call, rows: Rows) -> Result<Reply, Fault> {
    let list = List::of(&app, &call, rows).await?;
    let paging = Paging::of(&app, &call)?;
    match accept::best(&call, &FORMS) {
        Some(Form::Json) => {
            let page = list.page(&app, &paging.ask).await?;
            Ok(paging.reply(page.rows.iter().map(|leg| list.json(leg)).collect(), page.next.as_ref()))
        }
        Some(Form::Csv) => csv::reply(app, &call, list, &paging).await,
        None => Err(Fault::not_acceptable(&["application/json".to_owned(), "text/csv".to_owned()])),
    }
}

/// `GET …/cdrs`: a row for every leg, the latest first.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    listed(app, call, Rows::Legs).await
}

/// `GET …/cdrs/interaction`: a row for every call.
pub async fn interactions(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    listed(app, call, Rows::Calls).await
}

/// `GET …/cdrs/summary`: what the legs of a span of time come to.
pub async fn summary(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let (whose, filters, span) = (Whose::of(&app, &call).await?, Filters::of(&call)?, list::span(&app, &call)?);
    let keep = |leg: &Leg| wanted(&whose, &filters, leg);
    Ok(Reply::ok(cdrs::summary(&app, call.account()?, whose.owner(), span, keep).await?))
}

/// `GET …/cdrs/legs/{call}`: the documents of all legs of a call, which is named by its interaction's id or by that of a leg. Who is no admin sees
/// their own of them.
pub async fn legs(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let whose = Whose::of(&app, &call).await?;
    let legs = cdrs::legs_of(&app, call.account()?, call.param("call")).await?;
    let shown: Vec<Value> = legs
        .iter()
        .filter(|leg| whose.includes(leg.owner_id()))
        .map(|leg| Value::Object(leg.document.public()))
        .collect();
    if shown.is_empty() {
        return Err(Error::Forbidden.into());
    }
    Ok(Reply::ok(shown))
}

/// `GET …/cdrs/{cdr}`: the document of a leg.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let whose = Whose::of(&app, &call).await?;
    let id = call.param("cdr");
    if plan::DocId::parse(id).ok().and_then(|id| id.month()).is_none() {
        return Err(Fault::no_cdr(id));
    }
    let leg = cdrs::get(&app, call.account()?, id).await?;
    whose.expect(leg.owner_id())?;
    let revision = leg.document.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    let public: Map<String, Value> = leg.document.public();
    Ok(Reply::ok(public).of(&leg.document))
}
