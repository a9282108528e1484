//! Each handler, putting files on a server, beside rclone (or curl, or the client of a drive's maker) with the same files and the same server in the
//! same run; and the first byte of a message that is read through the program, beside the bucket's own.
//!
//! Many files of 100 KB and a few of 64 MB. The handlers run in this process, in their layers and without queue: what a queue costs is
//! the benchmark of delivery. Both sides work on as many files at once, and leave as many objects, which is looked after.
//!
//! Each handler is a piece of its own, and none may take long: one of these servers does in a second what another does in a minute, so how many
//! small files there are is found out first, and no round begins once a load has had its time.

mod makers;
mod peers;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use super::store::Store;
use super::{Bench, Outcome, load, median, progress, yardstick};

/// What share of the other side's rate is promised.
const BAR: f64 = 0.9;
/// How many times the bucket's own first byte is promised at most.
const FIRST_BYTE: f64 = 2.0;
const MB: usize = 1_000_000;

/// How long the rounds of a load may take; whoever is slower has fewer of them, and one at least.
const ENOUGH: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;

/// What can be run alone: each handler, and the first byte.
pub(super) const PIECES: [&str; 12] = {
    let [s3, azure, google_storage, filesystem, webdav, sftp, ftp, http, google_drive, dropbox, onedrive] =
        peers::NAMES;
    [s3, azure, google_storage, filesystem, webdav, sftp, ftp, http, google_drive, dropbox, onedrive, READING]
};
const READING: &str = "reading";

/// A load: at most so many files of a size, so many at once.
struct Load {
    files: usize,
    size: usize,
    lanes: usize,
    unit: &'static str,
    /// So many of them are put first, to see how many there can be.
    trial: usize,
}

impl Load {
    fn rate(&self, files: usize, seconds: f64) -> f64 {
        match self.unit {
            "objects/s" => files as f64 / seconds,
            _ => (files * self.size) as f64 / MB as f64 / seconds,
        }
    }

    fn size(&self) -> String {
        if self.size < MB { format!("{} KB", self.size / 1000) } else { format!("{} MB", self.size / MB) }
    }
}

/// Runs one of the pieces.
///
/// # Errors
/// A server or rclone failed, or an object is not there.
pub async fn run(bench: &Bench, room: &Path, piece: &str) -> anyhow::Result<Outcome> {
    if piece == READING {
        return Ok(Outcome { figures: vec![first_byte(bench, room).await?], missing: Vec::new() });
    }
    let name = peers::NAMES.into_iter().find(|name| *name == piece).with_context(|| format!("no handler {piece}"))?;
    let (small, large) = ("objects/s", "MB/s");
    let loads = match bench.quick {
        true => [
            Load { files: 20, size: MB / 10, lanes: 16, unit: small, trial: 4 },
            Load { files: 2, size: 20 * MB, lanes: 2, unit: large, trial: 0 },
        ],
        false => [
            Load { files: 1_000, size: MB / 10, lanes: 16, unit: small, trial: 100 },
            Load { files: 4, size: 64 * MB, lanes: 4, unit: large, trial: 0 },
        ],
    };
    let none = |why: String| Outcome { figures: Vec::new(), missing: vec![why] };
    if !makers::NAMES.contains(&name) && yardstick::Rclone::find().is_none() {
        return Ok(none(format!("handler {name} beside rclone: rclone is not installed and could not be")));
    }
    if !WebdavServer::can_list() {
        yardstick::install("libnginx-mod-http-dav-ext");
    }
    let Some(peer) = Peer::start(name, room)? else {
        return Ok(none(format!("handler {name}: its server, or its maker's client, is not installed")));
    };
    let (mut figures, mut missing) = (Vec::new(), Vec::new());
    for load in &loads {
        let began = Instant::now();
        match compare(&peer, load, room, if bench.quick { 1 } else { ROUNDS }).await {
            Ok(figure) => {
                let beside = figure.yardstick.as_ref().map_or(0.0, |(_, value)| *value);
                let (ratio, took) = (figure.ratio.unwrap_or_default(), began.elapsed().as_secs_f64());
                eprintln!("{}: {:.1} beside {beside:.1}, {ratio:.2}; took {took:.1} s", figure.what, figure.ours);
                figures.push(figure);
            }
            Err(error) => missing.push(format!("handler {name}, files of {}: {error:#}", load.size())),
        }
    }
    Ok(Outcome { figures, missing })
}

/// A file that both sides put.
struct File {
    path: PathBuf,
    sha256: [u8; 32],
}

/// Makes files of a load, none like another.
fn write(source: &Path, load: &Load, numbers: Range<usize>) -> anyhow::Result<Vec<File>> {
    std::fs::create_dir_all(source)?;
    let mut bytes = sound(load.size);
    let mut files = Vec::new();
    for number in numbers {
        bytes[44..60].copy_from_slice(format!("{number:016x}").as_bytes());
        let path = source.join(format!("{number:06}.wav"));
        std::fs::write(&path, &bytes)?;
        files.push(File { path, sha256: Sha256::digest(&bytes).into() });
    }
    Ok(files)
}

async fn compare(peer: &Peer, load: &Load, room: &Path, rounds: usize) -> anyhow::Result<Figure> {
    let source = room.join(format!("source-{}", load.size));
    let bar = progress(peer.name, rounds as u64 * 2);
    let pair = async |round: &str, files: &[File]| -> anyhow::Result<(f64, f64)> {
        let folders = ["ours", "theirs"].map(|whose| format!("{whose}-{}-{round}", load.size));
        folders.iter().try_for_each(|folder| peer.prepare(folder))?;
        settle(room)?;
        let ours = put_all(peer, load, files, &folders[0]).await?;
        bar.inc(1);
        settle(room)?;
        let theirs = peer.copy(&source, &folders[1], load.lanes)?;
        bar.inc(1);
        Ok((ours, theirs))
    };
    let mut files = write(&source, load, 0..load.trial.max(1))?;
    let mut count = load.files;
    if load.trial > 0 {
        let (ours, theirs) = pair("trial", &files).await?;
        let fitting = files.len() as f64 * ENOUGH.as_secs_f64() / ROUNDS as f64 / (ours + theirs);
        // Whole hundreds, where there can be hundreds.
        count = load.files.min((fitting as usize).next_multiple_of(load.trial));
        bar.reset();
    }
    files.extend(write(&source, load, files.len()..count)?);
    let (mut ours, mut theirs, began) = (Vec::new(), Vec::new(), Instant::now());
    for round in 0..rounds {
        if round > 0 && began.elapsed() > ENOUGH {
            break;
        }
        let (seconds, others) = pair(&round.to_string(), &files).await?;
        ours.push(load.rate(count, seconds));
        theirs.push(load.rate(count, others));
    }
    bar.finish_and_clear();
    std::fs::remove_dir_all(&source)?;
    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
    Ok(Figure {
        what: format!("handler {}: {count} files of {}, {} at once", peer.name, load.size(), load.lanes.min(count)),
        unit: load.unit.to_owned(),
        ours: median(&ours),
        yardstick: Some((format!("{}, {}", peer.rival(), load.unit), median(&theirs))),
        ratio: Some(median(&ratios)),
        bar: Some(Bar::AtLeast(BAR)),
        raw: json!({"ours": ours, "theirs": theirs, "ratios": ratios}),
    })
}

/// Waits until what was written before is on the disk: no side is to wait for what another left, the files themselves least of all.
fn settle(room: &Path) -> anyhow::Result<()> {
    rustix::fs::syncfs(std::fs::File::open(room)?).context("the disk of the benchmark")
}

/// Puts all files, each verified as well as its place lets the handler; the seconds that it took. Digests are known before, as they are in the
/// spool.
async fn put_all(peer: &Peer, load: &Load, files: &[File], folder: &str) -> anyhow::Result<f64> {
    // Anew in each round: what was learned of one is not known in the next.
    let payloads: Vec<_> =
        files.iter().map(|file| Payload::file(file.path.clone(), "audio/wav", load.size as u64, file.sha256)).collect();
    let handler = Pool::new(peer.ways()?).open(peer.name, &peer.settings)?;
    let started = Instant::now();
    let puts = payloads.into_iter().enumerate().map(|(number, payload)| {
        let handler = handler.clone();
        async move { put(handler, &peer.settings, peer.name, folder, number, payload).await }
    });
    stream::iter(puts).buffer_unordered(load.lanes).try_collect::<Vec<()>>().await?;
    Ok(started.elapsed().as_secs_f64())
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

/// How long a reader waits for the first byte of a message, beside one who asks the bucket itself. Reader, program and store are a process each.
///
/// On which core a process, or one of its threads, comes to lie is decided once and moves both figures by a fifth: so each round has programs of its own.
async fn first_byte(bench: &Bench, room: &Path) -> anyhow::Result<Figure> {
    let (rounds, size, reads) = if bench.quick { (1, MB, 20) } else { (9, MB, 200) };
    let bar = progress("first byte of a reading", rounds * reads);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let room = room.join(round.to_string());
        let reading = Reading::prepare(bench, &room, size).await?;
        let (mut through, mut own) = (Vec::new(), Vec::new());
        for _ in 0..reads {
            through.push(reading.through().await?);
            own.push(reading.own().await?);
            bar.inc(1);
        }
        ours.push(median(&through));
        theirs.push(median(&own));
    }
    bar.finish_and_clear();
    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
    Ok(Figure {
        what: "first byte of a message of 1 MB that is read through the program".to_owned(),
        unit: "ms (median)".to_owned(),
        ours: median(&ours),
        yardstick: Some(("the same from the S3 server itself, ms".to_owned(), median(&theirs))),
        ratio: Some(median(&ratios)),
        bar: Some(Bar::AtMost(FIRST_BYTE)),
        raw: json!({"ours": ours, "theirs": theirs, "ratios": ratios}),
    })
}

/// A message in a bucket, and two ways to it.
struct Reading {
    server: Server,
    _store: Store,
    client: reqwest::Client,
    through: String,
    own: reqwest::Url,
}

impl Reading {
    async fn prepare(bench: &Bench, room: &Path, size: usize) -> anyhow::Result<Self> {
        let objects = room.join("objects");
        let server = Server::start_with(bench, &room.join("reading"), &objects).await?;
        let store = Store::start(&objects)?;
        let mut settings = server.s3.settings(BUCKET);
        settings["port"] = store.port.into();
        server.send_to(&settings).await?;
        load::drive(server.address(), &server.template(size), 1, 0, 1, 201).await?;
        server.delivered(Duration::from_millis(20), Duration::from_secs(60)).await?;
        let listed = server.api.get(&server.messages()).await;
        let id = listed.data()[0]["media_id"].as_str().context("a message")?.to_owned();
        let through = format!("{}{}/{id}/raw", server.program.url(), server.messages());
        let key = server.s3.keys(BUCKET).pop().context("an object")?;
        let own = peers::presigned(&settings, &key).await?;
        Ok(Self { server, _store: store, client: reqwest::Client::new(), through, own })
    }

    async fn through(&self) -> anyhow::Result<f64> {
        let token = self.server.api.token().unwrap_or_default();
        until_first_byte(self.client.get(&self.through).header("x-auth-token", token)).await
    }

    async fn own(&self) -> anyhow::Result<f64> {
        until_first_byte(self.client.get(self.own.clone())).await
    }
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
