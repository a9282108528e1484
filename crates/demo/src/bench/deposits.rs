//! Deposits per second, each answered only when it is durable, beside plain fsynced writes of the same bytes.
//!
//! Measured twice: with the destination away, so that only the acceptance is at work, and while the objects are delivered
//! at the same time. The bar is on the first.

use super::report::{Bar, Figure};
use super::server::{Server, sound};
use super::{Bench, Outcome, load, median, percentile, progress, yardstick};
use anyhow::ensure;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const SIZE: usize = 100_000;
const LANES: usize = 16;
/// The share of plain fsynced writes that is promised.
const BAR: f64 = 0.40;

/// Runs the benchmark.
///
/// # Errors
/// A deposit failed, or the disk did.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let (rounds, count) = if bench.quick { (2, 200) } else { (7, 2000) };
    let server = Server::start(bench, room).await?;
    let (template, bytes) = (server.template(SIZE), sound(SIZE));
    let mut stamp = 0;
    let bar = progress("deposits, 100 KB, 16 in flight", rounds * 3);
    let (mut plain, mut away, mut along, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());

    for round in 0..=rounds {
        let took = yardstick::fsynced_writes(&room.join("plain"), &bytes, LANES, count)?;
        let plain_rate = count as f64 / took.as_secs_f64();
        bar.inc(1);

        server.s3.stop();
        let (took, own) = load::drive(server.address(), &template, LANES, stamp, count, 201).await?;
        let away_rate = count as f64 / took.as_secs_f64();
        stamp += count as u64;
        bar.inc(1);

        // What waits is delivered before the next round: no round begins with the queue of the one before.
        server.s3.restart();
        let retry = server
            .api
            .post(&format!("/v2/accounts/{}/storage/deliveries", server.account), &json!({"data": {"action": "retry"}}))
            .await;
        ensure!(retry.status == 200, "retry: {retry}");
        server.delivered(Duration::from_millis(50), Duration::from_secs(300)).await?;

        let (took, _) = load::drive(server.address(), &template, LANES, stamp, count, 201).await?;
        let along_rate = count as f64 / took.as_secs_f64();
        stamp += count as u64;
        server.delivered(Duration::from_millis(50), Duration::from_secs(300)).await?;
        server.empty_bucket()?;
        bar.inc(1);
        bar.set_message(format!("{plain_rate:.0} plain, {away_rate:.0} ours, {along_rate:.0} while delivering"));

        // The first round warms up.
        if round > 0 {
            plain.push(plain_rate);
            away.push(away_rate);
            along.push(along_rate);
            times.extend(own);
        }
    }
    bar.finish_and_clear();

    let ratios = |ours: &[f64]| -> Vec<f64> { ours.iter().zip(&plain).map(|(ours, plain)| ours / plain).collect() };
    let figure = |what: &str, ours: &[f64], bar: Option<Bar>| Figure {
        what: what.to_owned(),
        unit: "deposits/s".to_owned(),
        ours: median(ours),
        yardstick: Some(("plain fsynced writes/s".to_owned(), median(&plain))),
        ratio: Some(median(&ratios(ours))),
        bar,
        raw: json!({"ours": ours, "plain": plain, "ratios": ratios(ours)}),
    };
    let mut first =
        figure("deposits of 100 KB with durable acknowledgement, 16 in flight", &away, Some(Bar::AtLeast(BAR)));
    first.raw["milliseconds"] = json!({
        "p50": percentile(&times, 0.5), "p95": percentile(&times, 0.95), "p99": percentile(&times, 0.99),
    });
    let second = figure("the same while what was deposited is delivered to S3", &along, None);
    Ok(Outcome { figures: vec![first, second], missing: Vec::new() })
}
