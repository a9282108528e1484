//! Deposits per second, each answered only when it is durable, beside plain fsynced writes of the same bytes.
//!
//! Measured twice: with the destination away, so that only the acceptance is at work, and while the objects are delivered
//! at the same time. The bar is on the first.
//!
//! Each has a server of its own, so that no round of the first comes after deletions, and neither does one of the yardstick: an ext4
//! without a journal passes over the inodes of files that were just deleted, one by one, for each new file.

use super::report::{Bar, Figure};
use super::server::{Server, sound};
use super::{Bench, Outcome, load, median, percentile, progress, yardstick};
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
    let (queue, through) = (room.join("queue"), room.join("through"));
    let (quiet, server) = (Server::start(bench, &queue).await?, Server::start(bench, &through).await?);
    quiet.s3.stop();
    let bytes = sound(SIZE);
    let mut stamp = 0;
    let bar = progress("deposits, 100 KB, 16 in flight", rounds * 3);
    let (mut plain, mut away, mut along, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());

    for round in 0..=rounds {
        let took = yardstick::fsynced_writes(&room.join(format!("plain{round}")), &bytes, LANES, count)?;
        let plain_rate = count as f64 / took.as_secs_f64();
        bar.inc(1);

        let (took, own) = load::drive(quiet.address(), &quiet.template(SIZE), LANES, stamp, count, 201).await?;
        let away_rate = count as f64 / took.as_secs_f64();
        bar.inc(1);

        let (took, _) = load::drive(server.address(), &server.template(SIZE), LANES, stamp, count, 201).await?;
        let along_rate = count as f64 / took.as_secs_f64();
        stamp += count as u64;
        server.delivered(Duration::from_millis(50), Duration::from_secs(300)).await?;
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
