//! What the others wait for when a few tenants among a thousand have destinations that are dead or slow.
//!
//! A thousand accounts, each with a storage document of its own; recordings come in for all of them at a steady rate, one of ten for one of three
//! accounts that have a door of their own to the S3 server. Rounds in which those doors are open take turns with rounds in which one swallows what it
//! is sent and never answers, one refuses connections, and one takes seconds for each request. What is compared is how long the *other* accounts'
//! objects take, from the beginning of the upload until they arrive at the bucket.
//!
//! A 99th percentile is what a moment of anything else on the machine spoils first. So each round in trouble stands beside those before and after it,
//! and what counts is the median of the rounds' ratios.

use super::load::{Lane, head};
use super::report::{Bar, Figure};
use super::server::{BUCKET, Server, sound};
use super::{Bench, Outcome, median, percentile, progress};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use testkit::{Fault, FaultProxy};

const HANDLER: &str = "0000000000000000000000000000a11e";
const SIZE: usize = 20_000;
/// Uploads at the same time: enough for none of them to wait for another.
const LANES: usize = 16;
/// One upload of so many is for an account in trouble.
const ONE_OF: usize = 10;
/// The others' 99th percentile may be so many times what it is when nobody is in trouble.
const BAR: f64 = 1.05;
/// Nobody waits for hours until the rounds' leftovers are delivered.
const CONFIG: &str = "[delivery]\nbackoff_min = \"200ms\"\nbackoff_max = \"5s\"\nstall_timeout = \"10s\"\n";

/// Runs the benchmark.
///
/// # Errors
/// An upload was refused, or an object never came.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let (accounts, rounds, count, rate) = if bench.quick { (20, 1, 100, 50.0) } else { (1000, 7, 1500, 150.0) };
    let server = Server::start_configured(bench, room, &room.join("objects"), CONFIG).await?;
    let doors: [FaultProxy; 3] = std::array::from_fn(|_| FaultProxy::start(server.s3.address()));
    let bar = progress("tenants in trouble", rounds * 2 + 2);
    bar.set_message(format!("{accounts} accounts"));
    let tenants = Tenants::make(&server, &doors, accounts).await?;
    bar.inc(1);
    let arrivals = Arrivals::default();
    arrivals.watch(&server);
    // The rounds in which nobody is in trouble and those in which three are, in turns; the first and the last are of the former.
    let (mut well, mut troubled) = (Vec::new(), Vec::new());
    let mut first = 0;
    for round in 0..=rounds * 2 {
        let trouble = round % 2 == 1;
        if trouble {
            doors[0].faults().always(Fault::BlackHole);
            doors[1].stop();
            doors[2].faults().always(Fault::Delay(Duration::from_secs(3)));
        }
        let sent = tenants.send(server.address(), first, count, rate).await?;
        let waited = arrivals.waited(&sent).await?;
        if trouble { &mut troubled } else { &mut well }.push(waited);
        first += count;
        doors[1].restart();
        doors.iter().for_each(|door| door.faults().heal());
        tenants.settled(&server, first).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let late = |rounds: &[Vec<f64>]| rounds.iter().map(|times| percentile(times, 0.99)).collect::<Vec<_>>();
    let (ours, plain) = (late(&troubled), late(&well));
    let ratios: Vec<f64> =
        ours.iter().zip(plain.windows(2)).map(|(ours, beside)| ours * 2.0 / (beside[0] + beside[1])).collect();
    let spread = |rounds: &[Vec<f64>]| {
        let times = rounds.concat();
        json!({"p50": percentile(&times, 0.5), "p95": percentile(&times, 0.95), "p99": percentile(&times, 0.99), "most": percentile(&times, 1.0), "objects": times.len()})
    };
    Ok(Outcome {
        figures: vec![Figure {
            what: format!(
                "from an upload's beginning until its object arrives, p99, of {accounts} accounts of which three are in trouble, {rate} uploads/s"
            ),
            unit: "ms".to_owned(),
            ours: median(&ours),
            yardstick: Some(("the same when nobody is, ms".to_owned(), median(&plain))),
            ratio: Some(median(&ratios)),
            bar: Some(Bar::AtMost(BAR)),
            raw: json!({"in_trouble_ms": spread(&troubled), "well_ms": spread(&well), "p99_in_trouble": ours, "p99_well": plain, "ratios": ratios}),
        }],
        missing: Vec::new(),
    })
}

/// The accounts, and who may send for them.
struct Tenants {
    well: Vec<String>,
    in_trouble: Vec<String>,
    token: String,
}

/// What was taken for accounts that are well: the ids of the recordings, and when their upload began.
type Sent = HashMap<String, Instant>;

impl Tenants {
    async fn make(server: &Server, doors: &[FaultProxy], count: usize) -> anyhow::Result<Self> {
        server.program.sup(&["kzs_plan", "allow_validation_overrides"]);
        let (mut well, mut in_trouble) = (Vec::new(), Vec::new());
        for number in 0..count {
            let account = json!({"data": {"name": format!("tenant {number}")}});
            let answer = server.api.put(&format!("/v2/accounts/{}", server.account), &account).await;
            ensure!(answer.status == 201, "an account: {answer}");
            let id = answer.data()["id"].as_str().context("no id")?.to_owned();
            let mut settings = server.s3.settings(BUCKET);
            match doors.get(number) {
                Some(door) => {
                    settings["port"] = door.address().port().into();
                    in_trouble.push(id.clone());
                }
                None => well.push(id.clone()),
            }
            let storage = json!({"data": {
                "attachments": {HANDLER: {"handler": "s3", "name": "bench", "settings": settings}},
                "plan": {"modb": {"types": {"call_recording": {"attachments": {"handler": HANDLER}}}}},
            }});
            let path = format!("/v2/accounts/{id}/storage?validate_settings=false");
            let answer = server.api.put(&path, &storage).await;
            ensure!(answer.status == 201, "storage: {answer}");
        }
        Ok(Self { well, in_trouble, token: server.api.token().unwrap_or_default().to_owned() })
    }

    /// Whose the upload of this number is.
    fn account(&self, number: usize) -> (&str, bool) {
        if number.is_multiple_of(ONE_OF) {
            (&self.in_trouble[number / ONE_OF % self.in_trouble.len()], false)
        } else {
            (&self.well[number % self.well.len()], true)
        }
    }

    /// Sends `count` uploads at so many a second, whatever becomes of those before.
    async fn send(&self, address: SocketAddr, first: usize, count: usize, rate: f64) -> anyhow::Result<Sent> {
        let requests: Vec<(bool, Vec<u8>)> = (first..first + count)
            .map(|number| {
                let (account, well) = self.account(number);
                let path = format!("/v2/ingest/{account}/recordings/{number}.wav");
                let mut request = head("PUT", &path, address, &self.token, "audio/x-wav", SIZE as u64);
                let mut body = sound(SIZE);
                body[44..60].copy_from_slice(format!("{number:016x}").as_bytes());
                request.extend_from_slice(&body);
                (well, request)
            })
            .collect();
        let (requests, next, started) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)), Instant::now());
        let mut lanes = tokio::task::JoinSet::new();
        for _ in 0..LANES {
            let (requests, next) = (requests.clone(), next.clone());
            lanes.spawn(async move {
                let mut lane = Lane::connect(address).await?;
                let mut taken = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((well, request)) = requests.get(number) else { return anyhow::Ok(taken) };
                    let due = started + Duration::from_secs_f64(number as f64 / rate);
                    tokio::time::sleep_until(due.into()).await;
                    let asked = Instant::now();
                    let (status, body) = lane.exchange(request).await?;
                    ensure!(status == 201, "{status}: {}", String::from_utf8_lossy(&body));
                    if *well {
                        let answer: Value = serde_json::from_slice(&body)?;
                        taken.push((answer["data"]["id"].as_str().context("no id")?.to_owned(), asked));
                    }
                }
            });
        }
        let mut sent = Sent::new();
        while let Some(lane) = lanes.join_next().await {
            sent.extend(lane.context("the load generator broke")??);
        }
        Ok(sent)
    }

    /// Waits until what those in trouble were sent is delivered too.
    async fn settled(&self, server: &Server, objects: usize) -> anyhow::Result<()> {
        let started = Instant::now();
        while server.s3.keys(BUCKET).len() < objects {
            ensure!(started.elapsed() < Duration::from_secs(300), "the accounts in trouble were not delivered");
            for account in &self.in_trouble {
                let path = format!("/v2/accounts/{account}/storage/deliveries");
                server.api.post(&path, &json!({"data": {"action": "retry"}})).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

/// When the first request arrived that brings an object, by the document whose object it is. Files have the time of the kernel's tick, which is too
/// coarse here.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<HashMap<String, Instant>>>);

impl Arrivals {
    fn watch(&self, server: &Server) {
        let arrivals = self.clone();
        server.s3.faults().rule(move |seen| {
            // …/{document}_{attachment}
            let document = seen.path.rsplit('/').next().and_then(|name| name.split('_').next());
            if let Some(document) = document.filter(|_| seen.method == "PUT") {
                let mut known = arrivals.0.lock().unwrap_or_else(PoisonError::into_inner);
                known.entry(document.to_owned()).or_insert_with(Instant::now);
            }
            None
        });
    }

    /// How long each upload's object took to come, in milliseconds.
    async fn waited(&self, sent: &Sent) -> anyhow::Result<Vec<f64>> {
        let started = Instant::now();
        loop {
            let waited: Vec<f64> = {
                let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let took =
                    |(id, asked): (&String, &Instant)| Some(known.get(id)?.duration_since(*asked).as_secs_f64() * 1e3);
                sent.iter().filter_map(took).collect()
            };
            if waited.len() == sent.len() {
                return Ok(waited);
            }
            ensure!(started.elapsed() < Duration::from_secs(60), "{} of {} objects came", waited.len(), sent.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
