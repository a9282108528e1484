//! Call records per second, each answered only when it is durable, beside a server that only gives back the same bodies.
//!
//! A record that is answered becomes a document afterwards; the server is left alone until all have, before the other one is measured. How many a second
//! become documents, from the first that is sent to the last that can be listed, stands beside it.
//!
//! Every record is the leg of a call of its own, as `mod_json_cdr` posts it: some hundred channel variables, encoded within the JSON.

use super::echo::Echo;
use super::load::{STAMP, Template};
use super::report::{Bar, Figure};
use super::server::Server;
use super::{Bench, Outcome, load, median, percentile, progress};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// The bytes of a record.
const SIZE: usize = 12 * 1024;
const LANES: usize = 64;
/// The share of the echo server's rate that is promised.
const BAR: f64 = 0.30;
/// A record as a switch sends it, without what makes it longer.
const RECORD: &str = include_str!("../../assets/json_cdr.json");

/// Runs the benchmark.
///
/// # Errors
/// A record was not taken, or is not there afterwards.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let (rounds, count) = if bench.quick { (2, 500) } else { (13, 10_000) };
    // So that both are watched for as long.
    let echoes = count * 3;
    let server = Server::start(bench, room).await?;
    let echo = Echo::start()?;
    let body = record()?;
    let key = server.ingest_key(&["cdr"]).await?;
    let path = format!("/v2/ingest/{}/cdr", server.account);
    let ours = Template::whole("POST", &path, server.address(), &key, "application/json", &body);
    let plain = Template::whole("POST", "/echo", echo.address, "none", "application/json", &body);
    let bar = progress("call records of 12 KB", (rounds + 1) * 2);
    let (mut rates, mut through, mut echoed, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut stamp = 0;
    for round in 0..=rounds {
        let (took, _) = load::drive(echo.address, &plain, LANES, stamp, echoes, 200).await?;
        let plain_rate = echoes as f64 / took.as_secs_f64();
        bar.inc(1);
        let began = Instant::now();
        let (took, own) = load::drive(server.address(), &ours, LANES, stamp, count, 200).await?;
        let rate = count as f64 / took.as_secs_f64();
        settled(&server).await?;
        let through_rate = count as f64 / began.elapsed().as_secs_f64();
        stamp += count as u64;
        bar.inc(1);
        bar.set_message(format!("{rate:.0} ours, {through_rate:.0} until they are listed, {plain_rate:.0} echoed"));
        // The first round warms up.
        if round > 0 {
            rates.push(rate);
            through.push(through_rate);
            echoed.push(plain_rate);
            times.extend(own);
        }
    }
    bar.finish_and_clear();
    check(&server, stamp).await?;
    let ratios = |ours: &[f64]| -> Vec<f64> { ours.iter().zip(&echoed).map(|(ours, echoed)| ours / echoed).collect() };
    let yardstick = Some(("bodies of 12 KB echoed by axum, /s".to_owned(), median(&echoed)));
    let listed = Figure {
        what: "the same, from the first that is sent until all are listed".to_owned(),
        unit: "records/s".to_owned(),
        ours: median(&through),
        yardstick: yardstick.clone(),
        ratio: Some(median(&ratios(&through))),
        bar: None,
        raw: json!({"ours": through}),
    };
    Ok(Outcome {
        figures: vec![
            Figure {
                what: format!(
                    "call records of 12 KB by mod_json_cdr, each durable when it is answered, {LANES} in flight"
                ),
                unit: "records/s".to_owned(),
                ours: median(&rates),
                yardstick,
                ratio: Some(median(&ratios(&rates))),
                bar: Some(Bar::AtLeast(BAR)),
                raw: json!({
                    "ours": rates, "echo": echoed, "ratios": ratios(&rates), "body_bytes": body.len(),
                    "milliseconds": {"p50": percentile(&times, 0.5), "p95": percentile(&times, 0.95), "p99": percentile(&times, 0.99)},
                }),
            },
            listed,
        ],
        missing: Vec::new(),
    })
}

/// Waits until all that was answered are documents.
async fn settled(server: &Server) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = server.api.get("/metrics").await;
        let text = String::from_utf8_lossy(&answer.body);
        let waiting = text.lines().find_map(|line| line.strip_prefix("stowline_intake_waiting "));
        if waiting.and_then(|waiting| waiting.trim().parse::<f64>().ok()) == Some(0.0) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "records still wait to be documents: {waiting:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// All that was answered is there.
async fn check(server: &Server, sent: u64) -> anyhow::Result<()> {
    let window = "created_from=63962640000&created_to=63962700000";
    let answer = server.api.get(&format!("/v2/accounts/{}/cdrs/summary?{window}", server.account)).await;
    let (legs, calls) = (answer.data()["legs"].as_u64(), answer.data()["interactions"].as_u64());
    ensure!(legs == Some(sent) && calls == Some(sent), "{sent} records were sent: {answer}");
    Ok(())
}

/// The body of a record: stamped where a leg and its call have their names, and as long as one with all that a real switch adds.
fn record() -> anyhow::Result<Vec<u8>> {
    let mut record: Value = serde_json::from_str(RECORD).context("the record")?;
    let variables = record["variables"].as_object_mut().context("variables")?;
    for name in ["uuid", "call_uuid", "sip_call_id"] {
        variables.insert(name.to_owned(), STAMP.into());
    }
    let mut length = record.to_string().len();
    for number in 0.. {
        let (name, value) = (format!("rtp_audio_in_measure_{number:03}"), "23.50%2C%20of%20which%204%20late");
        let more = name.len() + value.len() + r#","":"""#.len();
        let room = SIZE.saturating_sub(length);
        if room < more {
            break;
        }
        // The last one takes what is left.
        let value = if room < 2 * more { format!("{value}{}", "0".repeat(room - more)) } else { value.to_owned() };
        length += name.len() + value.len() + r#","":"""#.len();
        record["variables"][name] = value.into();
    }
    let text = record.to_string();
    ensure!(text.len() == SIZE, "a record of {} bytes", text.len());
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_long_as_it_says() {
        let body = record().unwrap();
        assert_eq!(body.len(), SIZE);
        let address = "127.0.0.1:80".parse().unwrap();
        let mut template = Template::whole("POST", "/x", address, "t", "application/json", &body);
        template.stamp(10);
        let read: Value = serde_json::from_slice(template.file_bytes()).unwrap();
        assert_eq!(read["variables"]["uuid"], "000000000000000a");
        assert_eq!(read["variables"]["uuid"], read["variables"]["sip_call_id"]);
    }
}
