//! Which entries are known to work, and the trying of those that are not.
//!
//! A verified entry has a signature that only this installation can make, over the scope, the id and all that the entry holds: who changes
//! anything of it has it tried again, and no client can claim a mark.

use futures_util::{StreamExt, stream};
use serde_json::{Map, Value};

use super::{Scope, Stored, VERIFIED, Wish, configured, entries};
use crate::app::switches::{self, Switch};
use crate::app::{App, Error, probe};

/// The most entries that one request may have tried, and how many of them at a time.
const MOST_PROBES: usize = 64;
const PROBES_AT_ONCE: usize = 8;

/// A signature of an entry that only this installation can make.
fn signature(app: &App, scope: &Scope, id: &str, entry: &Value) -> String {
    app.keys.digest(&["verified", &scope.place(), id, &canonical(entry).to_string()])
}

/// The same value with the keys of every object in order.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_str());
            sorted.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect()
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

/// Tries the settings of every entry that is not known to work. Answers the signatures of those that do.
pub(super) async fn verify(
    app: &App,
    scope: &Scope,
    document: &Map<String, Value>,
    stored: Option<&Stored>,
    wish: &Wish,
) -> Result<Map<String, Value>, Error> {
    let known = stored.and_then(|stored| stored.private.get(VERIFIED)).and_then(Value::as_object);
    let mut verified = Map::new();
    let mut untried = Vec::new();
    for (id, entry) in entries(document) {
        let signature = signature(app, scope, id, entry);
        if known.and_then(|known| known.get(id)?.as_str()) == Some(signature.as_str()) {
            verified.insert(id.clone(), signature.into());
        } else if let Some((id, entry)) = configured(id, entry) {
            untried.push((id, entry, signature));
        }
    }
    if wish.skip_probe {
        if switches::is_on(app, Switch::ValidationOverrides).await? {
            return Ok(verified);
        }
        return Err(Error::invalid(
            "validate_settings",
            "forbidden",
            "this system does not permit saving settings without trying them",
        ));
    }
    let mut violations = plan::Violations::default();
    if untried.len() > MOST_PROBES {
        let message = format!("at most {MOST_PROBES} entries can be tried at once: add them in several requests");
        violations.push("attachments", "maxProperties", message, [("target", MOST_PROBES.into())]);
        return Err(Error::Invalid(violations));
    }
    let until = tokio::time::Instant::now() + probe::PATIENCE;
    let probes: Vec<_> =
        untried.iter().map(|(id, entry, _)| probe::probe(app, scope, id, entry, &wish.request_id, until)).collect();
    let tried: Vec<_> = stream::iter(probes).buffered(PROBES_AT_ONCE).collect().await;
    for (outcome, (id, _, signature)) in tried.into_iter().zip(untried.iter()) {
        match outcome {
            Ok(()) => {
                verified.insert(id.to_string(), signature.clone().into());
            }
            Err(fault) => fault.report(id, &mut violations),
        }
    }
    if violations.is_empty() { Ok(verified) } else { Err(Error::Invalid(violations)) }
}
