//! Routes per second with the merged plans of 100,000 accounts in memory, beside a look-up in a hash map of as many.
//!
//! A route is what a deposit asks: the account's plan out of the cache, then database and document type to a handler.
//! Both sides take the same accounts in the same order, which jumps through memory as real traffic does.

use super::report::{Bar, Figure};
use super::{Bench, Outcome, median, progress};
use anyhow::{Context, ensure};
use plan::{AccountId, Database, Dataplan, DocType, Layer, Level, Month, StorageDocument};
use serde_json::json;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
use stowline::app::dataplans::{Above, Dataplans};

/// A route may cost so many look-ups.
const BAR: f64 = 20.0;

/// Runs the benchmark.
///
/// # Errors
/// A plan does not parse, or a route leads elsewhere than its plan says.
pub fn run(bench: &Bench) -> anyhow::Result<Outcome> {
    let (accounts, turns, rounds) = if bench.quick { (1000, 100_000, 3) } else { (100_000, 1_000_000, 7) };
    let ids: Vec<AccountId> =
        (0..accounts).map(|n| AccountId::parse(&format!("{n:032x}"))).collect::<Result<_, _>>()?;
    let cache = Dataplans::default();
    let mut map: HashMap<String, u64> = HashMap::new();
    let bar = progress("routes: plans are merged", accounts);
    let system = layer(Level::System, "f")?;
    for (number, id) in ids.iter().enumerate() {
        let plan = Dataplan::merge(&[system.clone(), layer(Level::Account, &format!("{number:x}"))?]);
        cache.keep(id, None, Above::default(), plan, cache.epoch());
        map.insert(id.as_ref().to_owned(), number as u64);
        bar.inc(1);
    }
    bar.finish_and_clear();

    let month = Month::parse("202611")?;
    let questions: Vec<(&AccountId, Database)> =
        order(ids.len(), ids.len()).map(|at| (&ids[at], Database::Modb(ids[at].clone(), month))).collect();
    let voicemail = DocType::parse("mailbox_message")?;
    for (id, database) in questions.iter().take(1000) {
        let plan = cache.kept(id, None).context("a plan was forgotten")?;
        let route = plan.route(database, Some(&voicemail));
        let handler = route.attachment.as_ref().context("a voicemail stays local")?.handler_id.to_string();
        ensure!(handler == handler_id(&format!("{:x}", map[id.as_ref()])), "{id} goes to {handler}");
    }

    let bar = progress("routes", rounds);
    let (mut routes, mut lookups) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let started = Instant::now();
        for turn in 0..turns {
            let (id, database) = &questions[turn % questions.len()];
            if let Some(plan) = cache.kept(black_box(id), None) {
                black_box(plan.route(database, Some(&voicemail)));
            }
        }
        let route = started.elapsed().as_secs_f64() / turns as f64;
        let started = Instant::now();
        for turn in 0..turns {
            let (id, _) = &questions[turn % questions.len()];
            black_box(map.get(black_box(id.as_ref())));
        }
        let lookup = started.elapsed().as_secs_f64() / turns as f64;
        if round > 0 {
            routes.push(1.0 / route);
            lookups.push(1.0 / lookup);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    let ratios: Vec<f64> = lookups.iter().zip(&routes).map(|(lookup, route)| lookup / route).collect();
    let figure = Figure {
        what: format!("routes on one core with the plans of {accounts} accounts cached"),
        unit: "routes/s".to_owned(),
        ours: median(&routes),
        yardstick: Some(("look-ups in a hash map of as many, /s".to_owned(), median(&lookups))),
        ratio: Some(median(&ratios)),
        bar: Some(Bar::AtMost(BAR)),
        raw: json!({"routes": routes, "lookups": lookups, "lookups_per_route": ratios}),
    };
    Ok(Outcome { figures: vec![figure], missing: Vec::new() })
}

fn handler_id(number: &str) -> String {
    format!("{number:0>32}")
}

/// A storage document with one handler, for voicemails and recordings of the month.
fn layer(level: Level, number: &str) -> anyhow::Result<Layer> {
    let handler = handler_id(number);
    let document = json!({
        "attachments": {&handler: {"handler": "s3", "name": "S3", "settings": {"bucket": "b", "key": "k", "secret": "s"}}},
        "plan": {"modb": {"types": {
            "mailbox_message": {"attachments": {"handler": &handler}},
            "call_recording": {"attachments": {"handler": &handler, "params": {"folder_path": "recordings"}}},
        }}},
    });
    let document =
        StorageDocument::from_json(&document).map_err(|violations| anyhow::anyhow!("{}", violations.to_json()))?;
    Ok(Layer { level, document: Arc::new(document) })
}

/// Every place below `places` in an order that is no order.
pub(super) fn order(places: usize, count: usize) -> impl Iterator<Item = usize> {
    // A stride without a common factor with the number of places visits all of them.
    let stride = (places * 618 / 1000..).find(|stride| coprime(*stride, places)).unwrap_or(1);
    (0..count).map(move |turn| turn.wrapping_mul(stride) % places)
}

fn coprime(mut a: usize, mut b: usize) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_order_visits_every_place() {
        let mut seen: Vec<usize> = super::order(1000, 1000).collect();
        assert_ne!(seen[..3], [0, 1, 2]);
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }
}
