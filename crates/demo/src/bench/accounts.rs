//! A platform of a million accounts, a hundred thousand of them with plans, beside one of a thousand: its start, its memory, its routes, and a change
//! at the top that reaches all.
//!
//! The accounts are written into the store while no server runs, by its own library and in the form that the API gives them: an account and a storage
//! document are made by the API first, and copied under other ids, names and keys. One account in a thousand is a reseller, and those that follow are
//! below it; one in ten has a handler and a plan. What is then measured is the program, over HTTP.

use super::load::{Lane, head};
use super::report::{Bar, Figure};
use super::server::CONFIG;
use super::{Bench, Outcome, median, progress};
use anyhow::{Context, ensure};
use connections::{Document, Draft, Embedded};
use futures_util::future::try_join_all;
use plan::{Database, DocId};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stowline::app::secrets;
use stowline::seal::{Keys, Source};
use testkit::{Api, Program};

/// What many accounts may cost of what a thousand do.
const BAR_START: f64 = 1.5;
const BAR_MEMORY: f64 = 1.25;
const BAR_ROUTE: f64 = 3.0;
const BAR_PATCH: f64 = 3.0;

const HANDLER: &str = "000000000000000000000000000acc75";
/// So many accounts are below a reseller, and one in so many has a plan.
const BELOW: u64 = 1000;
const ONE_IN: u64 = 10;
/// So many documents are written side by side.
const AT_ONCE: u64 = 1024;

/// Runs the benchmark.
///
/// # Errors
/// Something did not start or answered otherwise than it should.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let (many, few, starts, changes) = if bench.quick { (2000, 200, 2, 2) } else { (1_000_000, 1000, 5, 3) };
    let small = Platform::grown(bench, &room.join("few"), few).await?;
    let mut both = [small, Platform::grown(bench, &room.join("many"), many).await?];
    // Started anew: how long it takes, what it holds, and routes of accounts that nobody asked for before.
    let started = async |platform: &mut Platform, round| platform.started(round).await;
    let started = side_by_side("accounts: starts", starts, &mut both, started).await?;
    // Everybody's plan in memory, and then the change that reaches them.
    let changed = async |platform: &mut Platform, round| platform.changed(round).await;
    let changed = side_by_side("accounts: changes at the top", changes, &mut both, changed).await?;
    let idle = Pairs::of(&started, |measured| measured.idle);
    let held = Pairs::of(&changed, |measured| measured.held);
    let of = |what: &str| format!("{what}, {many} accounts, {} with plans", many / ONE_IN);
    let beside = |unit: &str| format!("with {few} accounts, {} with plans, {unit}", few / ONE_IN);
    let mut memory = held.figure(of("memory with every plan asked for"), "MiB", beside("MiB"), None);
    memory.raw["kib_a_plan"] = json!((median(&held.large) - median(&idle.large)) * 1024.0 / (many / ONE_IN) as f64);
    let start = Pairs::of(&started, |measured| measured.start);
    let cold = Pairs::of(&started, |measured| measured.cold);
    let warm = Pairs::of(&changed, |measured| measured.warm);
    let change = Pairs::of(&changed, |measured| measured.change);
    let after = Pairs::of(&changed, |measured| measured.after);
    let row = |pairs: &Pairs, what: &str, unit: &str, bar: f64| pairs.figure(of(what), unit, beside(unit), Some(bar));
    let figures = vec![
        row(&start, "from the start of the program until it listens", "ms", BAR_START),
        row(&idle, "memory after the start", "MiB", BAR_MEMORY),
        row(&cold, "route of an account that nobody asked for before", "µs", BAR_ROUTE),
        row(&warm, "route with every plan in memory", "µs", BAR_ROUTE),
        memory,
        row(&change, "PATCH of the system's document that reaches all", "ms", BAR_PATCH),
        row(&after, "route of an account right after it", "µs", BAR_ROUTE),
    ];
    Ok(Outcome { figures, missing: Vec::new() })
}

/// Measures the small platform and the large one in turns, after a round that counts for nothing.
async fn side_by_side<T>(
    what: &'static str,
    rounds: u64,
    both: &mut [Platform; 2],
    measure: impl AsyncFn(&mut Platform, u64) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<[T; 2]>> {
    let bar = progress(what, rounds);
    let mut measured = Vec::new();
    for round in 0..=rounds {
        let [small, large] = both;
        let pair = [measure(small, round).await?, measure(large, round).await?];
        if round > 0 {
            measured.push(pair);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(measured)
}

/// What was measured of both, round by round.
#[derive(Debug)]
struct Pairs {
    small: Vec<f64>,
    large: Vec<f64>,
}

impl Pairs {
    fn of<T>(measured: &[[T; 2]], figure: impl Fn(&T) -> f64) -> Self {
        let side = |side: usize| measured.iter().filter_map(|both| both.get(side)).map(&figure).collect();
        Self { small: side(0), large: side(1) }
    }

    fn figure(&self, what: String, unit: &str, beside: String, bar: Option<f64>) -> Figure {
        let ratios: Vec<f64> = self.large.iter().zip(&self.small).map(|(large, small)| large / small).collect();
        Figure {
            what,
            unit: unit.to_owned(),
            ours: median(&self.large),
            yardstick: Some((beside, median(&self.small))),
            ratio: Some(median(&ratios)),
            bar: bar.map(Bar::AtMost),
            raw: json!({"many": self.large, "few": self.small, "ratios": ratios}),
        }
    }
}

/// What a start costs.
struct Started {
    start: f64,
    idle: f64,
    cold: f64,
}

/// What a change at the top costs.
struct Changed {
    held: f64,
    warm: f64,
    change: f64,
    after: f64,
}

/// A program with so many accounts.
struct Platform {
    program: Program,
    api: Api,
    /// The paths that tell the route of an account with a plan, in an order that is none.
    routes: Vec<String>,
    /// How many of them have been asked.
    asked: usize,
}

impl Platform {
    async fn grown(bench: &Bench, room: &Path, accounts: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(room)?;
        let data = room.join("data");
        let start = Program::builder().binary(&bench.binary).temporary_in(room).data_dir(&data).config(CONFIG).start();
        let mut program = start?;
        program.forget_log();
        let pattern = Pattern::made(&program).await?;
        program.terminate();
        let ids = pattern.copied(&data, accounts).await?;
        program.restart();
        let api = Api::new(&program.url()).with_token(&pattern.token);
        let document = json!({"data": {"plan": {}}});
        let answer = api.put("/v2/storage", &document).await;
        ensure!(answer.status == 201, "the system's document: {answer}");
        let count = ids.len();
        let routes = super::routes::order(count, count)
            .map(|at| format!("/v2/accounts/{}/storage/explain?db=modb&doc_type=mailbox_message", ids[at]))
            .collect();
        Ok(Self { program, api, routes, asked: 0 })
    }

    /// Starts it anew.
    async fn started(&mut self, round: u64) -> anyhow::Result<Started> {
        self.program.terminate();
        let began = Instant::now();
        self.program.restart();
        let start = began.elapsed().as_secs_f64() * 1e3;
        self.program.forget_log();
        self.api = self.api.at(&self.program.url());
        // Settled, never asked for anything.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = self.program.resident_bytes() as f64 / (1 << 20) as f64;
        // Until what every first request does is done.
        for _ in 0..20 {
            let answer = self.api.get("/v2/storage").await;
            ensure!(answer.status == 200, "the system's document: {answer}");
        }
        let sample = (self.routes.len() / 10).clamp(1, 1000);
        self.asked = sample * usize::try_from(round)?;
        let cold = median(&self.ask(sample).await?);
        Ok(Started { start, idle, cold })
    }

    /// Asks for every plan, changes the system's document, and asks some again.
    async fn changed(&mut self, round: u64) -> anyhow::Result<Changed> {
        self.ask_all().await?;
        let held = self.program.resident_bytes() as f64 / (1 << 20) as f64;
        let sample = self.routes.len().min(1000);
        let warm = median(&self.ask(sample).await?);
        let stub = round.is_multiple_of(2);
        let patch =
            json!({"data": {"plan": {"modb": {"types": {"mailbox_message": {"attachments": {"stub": stub}}}}}}});
        let began = Instant::now();
        let answer = self.api.patch("/v2/storage", &patch).await;
        let change = began.elapsed().as_secs_f64() * 1e3;
        ensure!(answer.status == 200, "the change: {answer}");
        let route = self.api.get(&self.routes[self.asked % self.routes.len()]).await.data();
        let in_force = (route["route"]["attachment"]["placement"] == "stub") == stub;
        ensure!(in_force, "the change is not in force: {route}");
        let after = median(&self.ask(sample.min(100)).await?);
        Ok(Changed { held, warm, change, after })
    }

    fn request(&self, number: usize) -> anyhow::Result<Vec<u8>> {
        let host = self.program.url().trim_start_matches("http://").parse()?;
        let path = &self.routes[number % self.routes.len()];
        Ok(head("GET", path, host, self.api.token().unwrap_or_default(), "application/json", 0))
    }

    /// Asks for the routes of the next accounts, one after the other, and gives the microseconds of each.
    async fn ask(&mut self, count: usize) -> anyhow::Result<Vec<f64>> {
        let mut lane = Lane::connect(self.program.url().trim_start_matches("http://").parse()?).await?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            self.asked += 1;
            let request = self.request(self.asked)?;
            let sent = Instant::now();
            let (status, body) = lane.exchange(&request).await?;
            times.push(sent.elapsed().as_secs_f64() * 1e6);
            let body = String::from_utf8_lossy(&body);
            ensure!(status == 200 && body.contains(HANDLER), "{status}: {body}");
        }
        Ok(times)
    }

    /// Asks for the routes of all accounts that have plans, some at once.
    async fn ask_all(&self) -> anyhow::Result<()> {
        let host = self.program.url().trim_start_matches("http://").parse()?;
        let lanes = (0..8).map(|lane| async move {
            let mut line = Lane::connect(host).await?;
            for number in (lane..self.routes.len()).step_by(8) {
                let (status, _) = line.exchange(&self.request(number)?).await?;
                ensure!(status == 200, "a route is answered {status}");
            }
            anyhow::Ok(())
        });
        try_join_all(lanes).await?;
        Ok(())
    }
}

/// An account with a plan as the API makes it, to be copied.
struct Pattern {
    token: String,
    master: String,
    id: DocId,
    /// The storage document's fields, with its settings open.
    spoken: Map<String, Value>,
}

impl Pattern {
    async fn made(program: &Program) -> anyhow::Result<Self> {
        let api = Api::new(&program.url());
        program.sup(&["crossbar_maintenance", "create_account", "Master", "master.example", "admin", "password"]);
        let (api, login) = api.login("Master", "admin", "password").await;
        let master = login["account_id"].as_str().context("no account_id")?.to_owned();
        let answer = api.put("/v2/accounts", &json!({"data": {"name": "Pattern"}})).await;
        ensure!(answer.status == 201, "an account: {answer}");
        let id = answer.data()["id"].as_str().context("no id")?.to_owned();
        // A plan is saved untried; an account's own document would be tried, and there is nobody to try it on.
        program.sup(&["kzs_plan", "allow_validation_overrides"]);
        let settings = json!({"bucket": "recordings", "key": "AKIDEXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG", "region": "eu-central-1"});
        let document = json!({
            "attachments": {HANDLER: {"handler": "s3", "name": "S3", "settings": settings}},
            "plan": {"modb": {"types": {
                "mailbox_message": {"attachments": {"handler": HANDLER}},
                "call_recording": {"attachments": {"handler": HANDLER, "params": {"folder_path": "recordings"}}},
            }}},
        });
        let path = format!("/v2/accounts/{id}/storage?validate_settings=false");
        let answer = api.put(&path, &json!({ "data": document })).await;
        ensure!(answer.status == 201, "a storage document: {answer}");
        let Value::Object(spoken) = document else { anyhow::bail!("no object") };
        Ok(Self { token: api.token().unwrap_or_default().to_owned(), master, id: DocId::parse(&id)?, spoken })
    }

    /// Writes so many accounts into the store of a data folder that no server uses. Gives the ids of those with plans.
    async fn copied(&self, data: &Path, accounts: u64) -> anyhow::Result<Vec<String>> {
        let store = Embedded::open(&data.join("documents.db"))?;
        let mut key = data.as_os_str().to_owned();
        key.push(".key");
        let keys = Keys::open(&Source::File(PathBuf::from(key)), data)?;
        let (all, plans) = (Database::parse("accounts")?, Database::parse("system_data")?);
        let account = store.get(&all, &self.id).await?.context("the account is gone")?;
        let storage = store.get(&plans, &self.id).await?.context("the storage document is gone")?;
        let bar = progress("accounts are written", accounts);
        let mut with_plans = Vec::new();
        for first in (0..accounts).step_by(usize::try_from(AT_ONCE)?) {
            let numbers = first..(first + AT_ONCE).min(accounts);
            let mut drafts = Vec::new();
            for number in numbers.clone() {
                let id = account_id(number);
                drafts.push((&all, DocId::parse(&id)?, self.account(&account, number)));
                if number % ONE_IN == 1 {
                    drafts.push((&plans, DocId::parse(&id)?, self.storage(&storage, &keys, &id)?));
                    with_plans.push(id);
                }
            }
            try_join_all(drafts.into_iter().map(|(database, id, draft)| {
                let store = store.clone();
                async move { store.create(database, &id, draft).await }
            }))
            .await?;
            bar.set_position(numbers.end);
        }
        store.close().await;
        bar.finish_and_clear();
        Ok(with_plans)
    }

    fn account(&self, pattern: &Document, number: u64) -> Draft {
        let (id, name, realm) = (account_id(number), format!("Account {number}"), format!("a{number}.example"));
        let digest = format!("{number:064x}");
        let reseller = account_id(number - number % BELOW);
        let is_reseller = id == reseller;
        let mut tree = vec![self.master.clone()];
        if !is_reseller {
            tree.push(reseller.clone());
        }
        let mut body = pattern.body.clone();
        let above = tree.last().cloned();
        for (key, value) in [
            ("name", json!(name)),
            ("realm", json!(realm)),
            ("pvt_tree", json!(tree)),
            ("pvt_reseller", json!(is_reseller)),
            ("pvt_reseller_id", json!(above)),
            ("pvt_api_key_digest", json!(digest)),
        ] {
            body.insert(key.to_owned(), value);
        }
        let keys =
            vec![("account_name", format!("account{number}")), ("account_realm", realm), ("account_api_key", digest)];
        let at = body.get("pvt_created").and_then(Value::as_i64).unwrap_or_default();
        Draft { doc_type: pattern.doc_type.clone(), parent: above, at, keys, body, ..Draft::default() }
    }

    fn storage(&self, pattern: &Document, keys: &Keys, id: &str) -> anyhow::Result<Draft> {
        let mut body = self.spoken.clone();
        secrets::seal(keys, id, &mut body)?;
        let private = pattern.body.iter().filter(|(key, _)| key.starts_with("pvt_"));
        body.extend(private.map(|(key, value)| (key.clone(), value.clone())));
        body.insert("pvt_account_id".into(), id.into());
        Ok(Draft { doc_type: pattern.doc_type.clone(), parent: Some(id.to_owned()), body, ..Draft::default() })
    }
}

fn account_id(number: u64) -> String {
    format!("{:032x}", u128::from(number) + 0xacc0_0000_0000_0000_0000_0000_0000_0000)
}
