//! Legs by their ids, of a call, of a span of time; and calls of a span of time.

use std::collections::HashMap;

use connections::{Cursor, Order};
use plan::DocId;

use super::super::months::{self, Span};
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
    let found = months::find(app, account, TYPE, id).await?;
    Leg::read(found).ok_or_else(|| Error::NotFound(id.to_owned()))
}

/// All legs of a call, the first one first; `id` is the interaction's, or that of one of the legs.
///
/// # Errors
/// [`Error::NotFound`] when there is no such call, [`Error::Unavailable`].
pub async fn legs_of(app: &App, account: &Account, id: &str) -> Result<Vec<Leg>, Error> {
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
    let ask = Ask { order: Order::Ascending, start: None, limit: None };
    let bounds = months::bounds(month);
    let mut legs = months::page(app, account, TYPE, Some(interaction), bounds, &ask, Leg::read).await?.rows;
    legs.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(legs)
}

/// The order of the legs of a call. Of two that began in the same second, the caller's is the first.
fn order(leg: &Leg) -> (i64, bool, &DocId) {
    (leg.start(), leg.document.text("call_direction") != Some("inbound"), &leg.id)
}

/// A page of the account's legs that began within `span`. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn page<F>(app: &App, account: &Account, span: Span, ask: &Ask, keep: F) -> Result<Page<Leg>, Error>
where
    F: Fn(&Leg) -> bool + Send,
{
    let row = move |document| Leg::read(document).filter(|found| keep(found));
    months::page(app, account, TYPE, None, span, ask, row).await
}

/// Legs that are looked at in one step while calls are gathered.
const STEP: usize = 500;

/// A page of the account's calls whose legs began within `span`: of each, the first leg among those that `keep` wants.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn interactions<F>(app: &App, account: &Account, span: Span, ask: &Ask, keep: F) -> Result<Page<Leg>, Error>
where
    F: Fn(&Leg) -> bool + Send + Sync,
{
    let mut rows = Vec::new();
    let mut first_of: HashMap<String, Option<DocId>> = HashMap::new();
    let mut step = Ask { limit: Some(STEP), ..ask.clone() };
    loop {
        let page = page(app, account, span, &step, &keep).await?;
        for leg in page.rows {
            let interaction = leg.interaction_id().to_owned();
            if !first_of.contains_key(&interaction) {
                let within = |leg: &Leg| (span.from..=span.to).contains(&leg.at());
                let legs = of_interaction(app, account, &interaction).await?;
                let first = legs.into_iter().find(|leg| within(leg) && keep(leg)).map(|leg| leg.id);
                first_of.insert(interaction.clone(), first);
            }
            if first_of.get(&interaction).and_then(Option::as_ref) != Some(&leg.id) {
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
