//! Legs by their ids, of a call, of a span of time; and calls of a span of time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use connections::Cursor;
use plan::{DocId, Month};

use super::super::months::{self, Span, Which};
use super::super::pages::{Ask, Page};
use super::super::{App, Error};
use super::interaction::time_of;
use super::{Leg, TYPE};
use crate::app::accounts::Account;

/// The leg of the account with this id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn get(app: &App, account: &Account, id: &str) -> Result<Leg, Error> {
    app.intake.settled(&account.id).await;
    let found = months::find(app, account, TYPE, id).await?;
    Leg::read(found).ok_or_else(|| Error::NotFound(id.to_owned()))
}

/// All legs of a call, the first one first; `id` is the interaction's, or that of one of the legs.
///
/// # Errors
/// [`Error::NotFound`] when there is no such call, [`Error::Unavailable`].
pub async fn legs_of(app: &App, account: &Account, id: &str) -> Result<Vec<Leg>, Error> {
    app.intake.settled(&account.id).await;
    let interaction = match time_of(id) {
        Some(_) => id.to_owned(),
        None => get(app, account, id).await?.interaction_id().to_owned(),
    };
    let legs = of_interaction(app, account, &interaction).await?;
    if legs.is_empty() { Err(Error::NotFound(id.to_owned())) } else { Ok(legs) }
}

async fn of_interaction(app: &App, account: &Account, interaction: &str) -> Result<Vec<Leg>, Error> {
    let Some(month) = time_of(interaction).map(|at| months::of("interaction_id", at)).transpose()? else {
        return Ok(Vec::new());
    };
    let mut legs = of_calls(app, account, month, &[interaction.to_owned()]).await?;
    legs.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(legs)
}

/// All legs of these calls, which began in a month, in no order.
async fn of_calls(app: &App, account: &Account, month: Month, interactions: &[String]) -> Result<Vec<Leg>, Error> {
    let found = app.documents.of_parents(&months::database(account, month), TYPE, interactions).await?;
    Ok(found.into_iter().filter_map(Leg::read).collect())
}

/// The order of the legs of a call. Of two that began in the same second, the caller's is the first.
fn order(leg: &Leg) -> (i64, bool, &DocId) {
    (leg.start(), leg.document.text("call_direction") != Some("inbound"), &leg.id)
}

/// A page of the account's legs that began within `span`, or of those of one owner. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page<F>(
    app: &App,
    account: &Account,
    owner: Option<&str>,
    span: Span,
    ask: &Ask,
    keep: F,
) -> Result<Page<Leg>, Error>
where
    F: Fn(&Leg) -> bool + Send,
{
    app.intake.settled(&account.id).await;
    page_now(app, account, owner, span, ask, keep).await
}

/// The same of what is a document now.
async fn page_now<F>(
    app: &App,
    account: &Account,
    owner: Option<&str>,
    span: Span,
    ask: &Ask,
    keep: F,
) -> Result<Page<Leg>, Error>
where
    F: Fn(&Leg) -> bool + Send,
{
    let row = move |document| Leg::read(document).filter(|found| keep(found));
    months::page(app, account, Which { doc_type: TYPE, owner, ..Which::default() }, span, ask, row).await
}

/// The most legs that are looked at in one step while calls are gathered.
const STEP: usize = 500;

/// A page of the account's calls whose legs began within `span`, or of those of one owner: of each, the first leg among those that `keep` wants.
///
/// Every step asks twice, however many calls its legs are of: for the legs, and for the others of their calls.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn interactions<F>(
    app: &App,
    account: &Account,
    owner: Option<&str>,
    span: Span,
    ask: &Ask,
    keep: F,
) -> Result<Page<Leg>, Error>
where
    F: Fn(&Leg) -> bool + Send + Sync,
{
    let mut rows = Vec::new();
    let mut first_of = HashMap::new();
    // Most calls have two legs.
    let limit = ask.limit.map_or(STEP, |limit| (2 * limit).clamp(1, STEP));
    let mut step = Ask { limit: Some(limit), ..ask.clone() };
    let wanted = |leg: &Leg| (span.from..=span.to).contains(&leg.at()) && keep(leg);
    app.intake.settled(&account.id).await;
    loop {
        let page = page_now(app, account, owner, span, &step, &keep).await?;
        learn_first(app, account, &page.rows, &wanted, &mut first_of).await?;
        for leg in page.rows {
            if first_of.get(leg.interaction_id()) != Some(&leg.id) {
                continue;
            }
            if ask.limit == Some(rows.len()) {
                return Ok(Page { rows, next: Some(Cursor { at: leg.at(), id: leg.id.to_string() }) });
            }
            rows.push(leg);
        }
        match page.next {
            Some(next) => step.start = Some(next),
            None => return Ok(Page { rows, next: None }),
        }
    }
}

/// Finds the first wanted leg of each call that these legs are of and that is not known yet.
async fn learn_first(
    app: &App,
    account: &Account,
    legs: &[Leg],
    wanted: &(impl Fn(&Leg) -> bool + Sync),
    first_of: &mut HashMap<String, DocId>,
) -> Result<(), Error> {
    let mut unknown: BTreeMap<Month, BTreeSet<&str>> = BTreeMap::new();
    for leg in legs.iter().filter(|leg| !first_of.contains_key(leg.interaction_id())) {
        // All legs of a call lie in the month in which it began.
        if let Some(month) = leg.id.month() {
            unknown.entry(month).or_default().insert(leg.interaction_id());
        }
    }
    for (month, interactions) in unknown {
        let interactions: Vec<String> = interactions.into_iter().map(str::to_owned).collect();
        let mut legs = of_calls(app, account, month, &interactions).await?;
        legs.retain(wanted);
        legs.sort_by(|a, b| order(a).cmp(&order(b)));
        for leg in legs {
            first_of.entry(leg.interaction_id().to_owned()).or_insert(leg.id);
        }
    }
    Ok(())
}
