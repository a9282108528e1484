//! Which call a leg belongs to.
//!
//! A leg may say so (`interaction_id`). Else it belongs to the call of the leg that holds its `interaction_key` (whatever its switch gives to all
//! legs of a call), else to the call of the leg that it was bridged to. A leg that finds none of these begins a call, and holds the keys by
//! which the others will find it. Legs come in any order, and at the same moment: the keys are unique, so that one of two must look again.

use plan::DocId;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::super::{App, Error, months};
use super::{CALL, Leg, TYPE, id_of, start};
use crate::app::accounts::Account;
use crate::time;

/// Legs whose beginnings lie further apart do not belong to one call, even where a key says so: switches use keys again.
const LONGEST_CALL: i64 = 2 * 86_400;
/// Digits of the time in an interaction's id.
const DIGITS: usize = 11;

/// A call, as its legs know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interaction {
    /// When it began, in Gregorian seconds.
    pub time: i64,
    /// What tells it from others that began in the same second.
    pub key: String,
    /// The unique keys that a leg of it takes.
    pub claims: Vec<String>,
}

impl Interaction {
    /// `{time}-{key}`.
    pub fn id(&self) -> String {
        format!("{:011}-{}", self.time, self.key)
    }

    fn read(id: &str) -> Option<Self> {
        let (digits, key) = id.split_once('-')?;
        let fits = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit()) && !key.is_empty();
        let time = digits.parse().ok().filter(|time| (months::FIRST..=months::LAST).contains(time))?;
        fits.then(|| Self { time, key: key.to_owned(), claims: Vec::new() })
    }
}

/// When the call of an interaction's id began, in Gregorian seconds; none when it is no such id.
pub fn time_of(interaction_id: &str) -> Option<i64> {
    Interaction::read(interaction_id).map(|interaction| interaction.time)
}

/// The call of a leg.
pub(super) async fn of(
    app: &App,
    account: &Account,
    call_id: &str,
    leg: &Map<String, Value>,
) -> Result<Interaction, Error> {
    let text = |key: &str| leg.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let said = text("interaction_id");
    if let Some(interaction) = said.and_then(Interaction::read) {
        return Ok(interaction);
    }
    let began = leg.get("interaction_time").and_then(Value::as_i64).or_else(|| start(leg)).unwrap_or_else(time::now);
    // An id of another form than ours is a key all the same.
    let shared = text("interaction_key").or(said);
    let other = text("other_leg_call_id");
    let claim = claim(account, shared, call_id, other);
    let holder = app.documents.holder(CALL, &claim).await?.and_then(Leg::read);
    let holder = match holder {
        None => None,
        Some(holder) => match Interaction::read(holder.interaction_id()).filter(|call| is_near(call, began)) {
            Some(interaction) => return Ok(interaction),
            None => Some(holder),
        },
    };
    if let Some(other) = other
        && let Some(interaction) = of_leg(app, account, other, began).await?
    {
        return Ok(interaction);
    }
    let key = hex::encode(&Sha256::digest(shared.unwrap_or(call_id))[..4]);
    // A key that a call of long ago holds stays with it.
    let claims = if holder.is_some() { Vec::new() } else { vec![claim] };
    Ok(Interaction { time: began, key, claims })
}

/// The unique key of a call: what its switch says of it, else the one of its two legs that comes first by name.
fn claim(account: &Account, shared: Option<&str>, call_id: &str, other: Option<&str>) -> String {
    match (shared, other) {
        (Some(shared), _) => format!("{}/key/{shared}", account.id),
        (None, Some(other)) => format!("{}/leg/{}", account.id, call_id.min(other)),
        (None, None) => format!("{}/leg/{call_id}", account.id),
    }
}

fn is_near(call: &Interaction, began: i64) -> bool {
    call.time.abs_diff(began) <= LONGEST_CALL.unsigned_abs()
}

/// The call of a leg that is recorded already; it began in this month or in the one before.
async fn of_leg(app: &App, account: &Account, call_id: &str, began: i64) -> Result<Option<Interaction>, Error> {
    let month = months::of("timestamp", began)?;
    for month in [Some(month), months::before(month)].into_iter().flatten() {
        let id: DocId = id_of(month, call_id)?;
        let found = app.documents.get(&months::database(account, month), &id).await?;
        let leg = found.filter(|document| document.doc_type == TYPE).and_then(Leg::read);
        let interaction = leg.and_then(|leg| Interaction::read(leg.interaction_id()));
        if let Some(interaction) = interaction.filter(|call| is_near(call, began)) {
            return Ok(Some(interaction));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interactions_id_holds_its_time() {
        let read = Interaction::read("63963340001-9c2e").unwrap();
        assert_eq!((read.time, read.id().as_str()), (63_963_340_001, "63963340001-9c2e"));
        assert_eq!(time_of("63963340001-a-b"), Some(63_963_340_001));
        for none in
            ["", "63963340001", "63963340001-", "6396334000-9c2e", "202611-abc", "x3963340001-9c2e", "00000000001-a"]
        {
            assert_eq!(time_of(none), None, "{none}");
        }
    }
}
