//! What the legs of a span of time come to: counters, in all and by what tells legs apart.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

use super::super::months::{self, Span, Which};
use super::super::pages::Ask;
use super::super::{App, Error};
use super::{Leg, TYPE};
use crate::app::accounts::Account;
use crate::time;

/// Sums over legs.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    legs: i64,
    answered: i64,
    duration: i64,
    billing: i64,
}

impl Sums {
    fn add(&mut self, leg: &Leg) {
        let seconds = |key: &str| leg.number(key).unwrap_or_default();
        self.legs += 1;
        self.answered += i64::from(seconds("billing_seconds") > 0);
        self.duration = self.duration.saturating_add(seconds("duration_seconds"));
        self.billing = self.billing.saturating_add(seconds("billing_seconds"));
    }

    fn to_json(self) -> Value {
        json!({"legs": self.legs, "answered": self.answered, "duration_seconds": self.duration, "billing_seconds": self.billing})
    }
}

/// Sums by a word, in the order in which the words came.
#[derive(Debug, Default)]
struct By(Vec<(String, Sums)>);

impl By {
    fn add(&mut self, word: &str, leg: &Leg) {
        let word = if word.is_empty() { "unknown" } else { word };
        match self.0.iter_mut().find(|(known, _)| known == word) {
            Some((_, sums)) => sums.add(leg),
            None => {
                let mut sums = Sums::default();
                sums.add(leg);
                self.0.push((word.to_owned(), sums));
            }
        }
    }

    fn to_json(&self) -> Value {
        Value::Object(self.0.iter().map(|(word, sums)| (word.clone(), sums.to_json())).collect())
    }
}

/// What the account's legs that began within `span`, or those of one owner, come to. `keep` says which are wanted.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn summary<F>(
    app: &App,
    account: &Account,
    owner: Option<&str>,
    span: Span,
    keep: F,
) -> Result<Map<String, Value>, Error>
where
    F: Fn(&Leg) -> bool + Send + Sync,
{
    app.intake.settled(&account.id).await;
    let mut all = Sums::default();
    let (mut directions, mut causes, mut months) = (By::default(), By::default(), By::default());
    // Their digests, not their names: there may be many.
    let mut calls = HashSet::new();
    let row = |document| {
        let leg = Leg::read(document).filter(|leg| keep(leg))?;
        let mut hasher = DefaultHasher::new();
        leg.interaction_id().hash(&mut hasher);
        calls.insert(hasher.finish());
        all.add(&leg);
        directions.add(leg.document.text("call_direction").unwrap_or_default(), &leg);
        causes.add(leg.document.text("hangup_cause").unwrap_or_default(), &leg);
        let month = time::month(leg.at()).map(|month| month.to_string()).unwrap_or_default();
        months.add(&month, &leg);
        None::<()>
    };
    let which = Which { doc_type: TYPE, owner, ..Which::default() };
    months::page(app, account, which, span, &Ask::default(), row).await?;
    let Value::Object(mut summary) = all.to_json() else { return Ok(Map::new()) };
    summary.insert("interactions".into(), calls.len().into());
    for (key, by) in [("direction", &directions), ("hangup_cause", &causes), ("month", &months)] {
        summary.insert(key.into(), by.to_json());
    }
    Ok(summary)
}
