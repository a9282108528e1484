//! Each handler that has a real server, putting files there, beside rclone (or curl) with the same files and the same server in the same run;
//! and the first byte of a message that is read through the program, beside the bucket's own.
//!
//! Many files of 100 KB and a few of 64 MB. The handlers run in this process, in their layers and without queue: what a queue costs is
//! the benchmark of delivery. Both sides work on as many files at once, and leave as many objects, which is looked after.

mod peers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use attachments::{Handler, Location, Payload, Pool, PutKey};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use plan::{AccountId, AttachmentName, Database, DocId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use testkit::WebdavServer;

use self::peers::Peer;
use super::report::{Bar, Figure};
use super::server::{BUCKET, Server, sound};
use super::{Bench, Outcome, load, median, percentile, progress, yardstick};

/// What share of the other side's rate is promised.
const BAR: f64 = 0.9;
/// How many times the bucket's own first byte is promised at most.
const FIRST_BYTE: f64 = 2.0;
const MB: usize = 1_000_000;

/// A load: so many files of a size, so many at once.
struct Load {
    files: usize,
    size: usize,
    lanes: usize,
    unit: &'static str,
}

impl Load {
    fn rate(&self, seconds: f64) -> f64 {
        match self.unit {
            "objects/s" => self.files as f64 / seconds,
            _ => (self.files * self.size) as f64 / MB as f64 / seconds,
        }
    }
}

/// Runs the benchmark.
///
/// # Errors
/// A server or rclone failed, or an object is not there.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let rounds = if bench.quick { 1 } else { 3 };
    let loads = match bench.quick {
        true => [
            Load { files: 40, size: MB / 10, lanes: 16, unit: "objects/s" },
            Load { files: 2, size: 20 * MB, lanes: 2, unit: "MB/s" },
        ],
        false => [
            Load { files: 3_000, size: MB / 10, lanes: 16, unit: "objects/s" },
            Load { files: 12, size: 64 * MB, lanes: 4, unit: "MB/s" },
        ],
    };
    let (mut figures, mut missing) = (Vec::new(), Vec::new());
    let rclone = yardstick::Rclone::find();
    if rclone.is_none() {
        missing.push("handlers beside rclone: rclone is not installed and could not be".to_owned());
    }
    if !WebdavServer::can_list() {
        yardstick::install("libnginx-mod-http-dav-ext");
    }
    for name in peers::NAMES.iter().filter(|_| rclone.is_some()) {
        for load in &loads {
            let source = room.join("source");
            let files = write(&source, load)?;
            let Some(peer) = Peer::start(name, room)? else {
                missing.push(format!("handler {name}: its server is not installed"));
                break;
            };
            match compare(&peer, load, &source, &files, rounds).await {
                Ok(figure) => figures.push(figure),
                Err(error) => missing.push(format!("handler {name}: {error:#}")),
            }
            std::fs::remove_dir_all(&source)?;
        }
    }
    figures.push(first_byte(bench, room).await?);
    Ok(Outcome { figures, missing })
}

/// Makes the files of a load, none like another.
fn write(source: &Path, load: &Load) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(source)?;
    let mut bytes = sound(load.size);
    let mut files = Vec::new();
    for number in 0..load.files {
        bytes[44..60].copy_from_slice(format!("{number:016x}").as_bytes());
        let path = source.join(format!("{number:06}.wav"));
        std::fs::write(&path, &bytes)?;
        files.push(path);
    }
    Ok(files)
}

async fn compare(peer: &Peer, load: &Load, source: &Path, files: &[PathBuf], rounds: usize) -> anyhow::Result<Figure> {
    let bar = progress(peer.name, rounds as u64 * 2);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let folders = ["ours", "theirs"].map(|whose| format!("{whose}-{}-{round}", load.size));
        folders.iter().try_for_each(|folder| peer.prepare(folder))?;
        let seconds = put_all(peer, load, files, &folders[0]).await?;
        ours.push(load.rate(seconds));
        bar.inc(1);
        let seconds = peer.copy(source, &folders[1], load.lanes)?;
        theirs.push(load.rate(seconds));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
    let size = if load.size < MB { format!("{} KB", load.size / 1000) } else { format!("{} MB", load.size / MB) };
    Ok(Figure {
        what: format!("handler {}: {} files of {size}, {} at once", peer.name, load.files, load.lanes),
        unit: load.unit.to_owned(),
        ours: median(&ours),
        yardstick: Some((format!("{}, {}", peer.rival(), load.unit), median(&theirs))),
        ratio: Some(median(&ratios)),
        bar: Some(Bar::AtLeast(BAR)),
        raw: json!({"ours": ours, "theirs": theirs, "ratios": ratios}),
    })
}

/// Puts all files, each verified as well as its place lets the handler; the seconds that it took. Digests are known before, as they are in the
/// spool.
async fn put_all(peer: &Peer, load: &Load, files: &[PathBuf], folder: &str) -> anyhow::Result<f64> {
    let payloads = payloads(files).await?;
    let handler = Pool::new(peers::client()?).open(peer.name, &peer.settings)?;
    let started = Instant::now();
    let puts = payloads.into_iter().enumerate().map(|(number, payload)| {
        let handler = handler.clone();
        async move { put(handler, &peer.settings, peer.name, folder, number, payload).await }
    });
    stream::iter(puts).buffer_unordered(load.lanes).try_collect::<Vec<()>>().await?;
    Ok(started.elapsed().as_secs_f64())
}

async fn payloads(files: &[PathBuf]) -> anyhow::Result<Vec<Payload>> {
    let mut payloads = Vec::new();
    for path in files {
        let length = std::fs::metadata(path)?.len();
        payloads.push(Payload::file(path.clone(), "audio/wav", length, sha256(path)?));
    }
    Ok(payloads)
}

fn sha256(path: &Path) -> anyhow::Result<[u8; 32]> {
    Ok(Sha256::digest(std::fs::read(path)?).into())
}

async fn put(
    handler: Arc<dyn Handler>,
    settings: &Map<String, Value>,
    kind: &str,
    folder: &str,
    number: usize,
    payload: Payload,
) -> anyhow::Result<()> {
    let key = PutKey {
        generation: number.to_string(),
        document: Value::Null,
        document_id: number.to_string(),
        attachment: format!("{number}.wav"),
        reserved: None,
    };
    let location = location(settings, kind, folder, number)?;
    let receipt = handler.put(&location, &payload, &key).await?;
    ensure!(receipt.length == payload.length, "a receipt of another length");
    Ok(())
}

fn location(settings: &Map<String, Value>, kind: &str, folder: &str, number: usize) -> anyhow::Result<Location> {
    let account = AccountId::parse("0123456789abcdef0123456789abcdef")?;
    let (database, id) = (Database::Account(account.clone()), DocId::parse(&format!("{number:06}"))?);
    let name = AttachmentName::parse("call.wav")?;
    let document = attachments::Document {
        account_id: Some(account.as_ref()),
        database: &database,
        id: &id,
        public: &Value::Null,
        at: peers::moment(),
    };
    let params = Map::from_iter([("folder_path".to_owned(), folder.into())]);
    Ok(attachments::location(kind, settings, &params, &document, &name)?)
}

/// How long a reader waits for the first byte of a message, beside one who asks the bucket itself.
async fn first_byte(bench: &Bench, room: &Path) -> anyhow::Result<Figure> {
    let (size, reads) = if bench.quick { (MB, 20) } else { (MB, 400) };
    let server = Server::start(bench, &room.join("reading")).await?;
    load::drive(server.address(), &server.template(size), 1, 0, 1, 201).await?;
    server.delivered(std::time::Duration::from_millis(20), std::time::Duration::from_secs(60)).await?;
    let listed = server.api.get(&server.messages()).await;
    let id = listed.data()[0]["media_id"].as_str().context("a message")?.to_owned();
    let through = format!("{}{}/{id}/raw", server.program.url(), server.messages());
    let key = server.s3.keys(BUCKET).pop().context("an object")?;
    let own = peers::presigned(&server.s3, BUCKET, &key).await?;
    let client = reqwest::Client::new();
    let token = server.api.token().unwrap_or_default().to_owned();
    let bar = progress("first byte of a reading", reads);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..reads {
        ours.push(until_first_byte(client.get(&through).header("x-auth-token", &token)).await?);
        theirs.push(until_first_byte(client.get(own.clone())).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Figure {
        what: "first byte of a message of 1 MB that is read through the program".to_owned(),
        unit: "ms (median)".to_owned(),
        ours: median(&ours),
        yardstick: Some(("the same from the S3 server itself, ms".to_owned(), median(&theirs))),
        ratio: Some(median(&ours) / median(&theirs)),
        bar: Some(Bar::AtMost(FIRST_BYTE)),
        raw: json!({"ours_p95": percentile(&ours, 0.95), "theirs_p95": percentile(&theirs, 0.95)}),
    })
}

async fn until_first_byte(request: reqwest::RequestBuilder) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut answer = request.send().await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    let first = answer.chunk().await?.context("a first byte")?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(!first.is_empty(), "an empty piece");
    while answer.chunk().await?.is_some() {}
    Ok(seconds * 1000.0)
}
