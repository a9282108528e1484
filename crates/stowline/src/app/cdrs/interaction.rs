//! Which call a leg belongs to.
//!
//! A leg may say so (`interaction_id`). Else it belongs to the call of the leg that holds its `interaction_key` (whatever its switch gives to all
//! legs of a call), else to the call of the leg that it was bridged to. A leg that finds none of these begins a call, and holds the keys by
//! which the others will find it. Legs come in any order, and at the same moment: it is settled at the moment of the write, so that
//! nothing comes between look and claim.

use connections::{Known, Stored};
use plan::{AccountId, Database};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::super::{Error, months};
use super::{CALL, TYPE, id_of, start};
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

/// The call of a leg, by what is stored at this moment.
pub(super) fn of(
    stored: &Stored<'_>,
    account: &AccountId,
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
    let holder = stored.holder(CALL, &claim)?;
    if let Some(interaction) = holder.as_ref().and_then(|leg| call_of(leg, began)) {
        return Ok(interaction);
    }
    if let Some(other) = other
        && let Some(interaction) = of_leg(stored, account, other, began)?
    {
        return Ok(interaction);
    }
    let key = hex::encode(&Sha256::digest(shared.unwrap_or(call_id))[..8]);
    // A key that a call of long ago holds stays with it.
    let claims = if holder.is_some() { Vec::new() } else { vec![claim] };
    Ok(Interaction { time: began, key, claims })
}

/// The unique key of a call: what its switch says of it, else the one of its two legs that comes first by name.
fn claim(account: &AccountId, shared: Option<&str>, call_id: &str, other: Option<&str>) -> String {
    match (shared, other) {
        (Some(shared), _) => format!("{account}/key/{shared}"),
        (None, Some(other)) => format!("{account}/leg/{}", call_id.min(other)),
        (None, None) => format!("{account}/leg/{call_id}"),
    }
}

/// The call of a leg that is recorded, when it is one that another leg which began then can belong to.
fn call_of(leg: &Known, began: i64) -> Option<Interaction> {
    let interaction = Interaction::read(&leg.parent).filter(|_| leg.doc_type == TYPE && !leg.deleted)?;
    (interaction.time.abs_diff(began) <= LONGEST_CALL.unsigned_abs()).then_some(interaction)
}

/// The call of a leg that is recorded already; it began in this month or in the one before.
fn of_leg(stored: &Stored<'_>, account: &AccountId, call_id: &str, began: i64) -> Result<Option<Interaction>, Error> {
    let Some(month) = time::month(began) else { return Ok(None) };
    for month in [Some(month), months::before(month)].into_iter().flatten() {
        let Ok(id) = id_of(month, call_id) else { continue };
        let leg = stored.get(&Database::Modb(account.clone(), month), &id)?;
        if let Some(interaction) = leg.and_then(|leg| call_of(&leg, began)) {
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
