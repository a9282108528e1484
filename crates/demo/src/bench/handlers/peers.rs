//! The servers that both sides put files on, and how rclone is told where they are.

use std::any::Any;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use attachments::{Assurance, Moment, Pool, Receipt};
use serde_json::{Map, Value, json};
use testkit::{AzureServer, FtpServer, GcsServer, S3Server, SshServer, WebdavServer};

/// The handlers that have a server to be had.
pub(super) const NAMES: [&str; 7] = ["s3", "azure", "google_storage", "filesystem", "webdav", "sftp", "ftp"];

const PLACE: &str = "bench";
const USER: (&str, &str) = ("bench", "bench-password");

/// A server, what a handler is told of it, and what rclone is.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) settings: Map<String, Value>,
    /// `RCLONE_CONFIG_BENCH_…`
    remote: Vec<(&'static str, String)>,
    /// Where below the remote the files go.
    below: String,
    _server: Box<dyn Any + Send + Sync>,
}

impl Peer {
    /// Starts the server of a handler; none where it is not installed.
    pub(super) fn start(name: &'static str, room: &Path) -> anyhow::Result<Option<Self>> {
        let what = "the benchmark of handlers";
        let made = match name {
            "s3" => Some(s3(room)?),
            "azure" => AzureServer::start().map(azure),
            "google_storage" => GcsServer::start().map(google_storage),
            "filesystem" => Some(filesystem(room)?),
            "webdav" => WebdavServer::start(USER.0, USER.1, what).map(webdav).transpose()?,
            "sftp" => SshServer::start(what).map(|server| sftp(server, room)).transpose()?,
            "ftp" => FtpServer::start("none", USER.0, USER.1, what).map(ftp).transpose()?,
            other => anyhow::bail!("{other} has no server"),
        };
        Ok(made.map(|(settings, remote, below, server)| Self {
            name,
            settings: settings.as_object().cloned().unwrap_or_default(),
            remote,
            below,
            _server: server,
        }))
    }

    /// rclone copies a folder there, so many files at once; the seconds that it took.
    pub(super) fn copy(&self, from: &Path, to: &str, transfers: usize) -> anyhow::Result<f64> {
        let mut command = Command::new("rclone");
        command.args(["copy", "--config", "/dev/null", "--transfers", &transfers.to_string(), "--retries", "1"]);
        command.arg(from).arg(format!("bench:{}/{to}", self.below));
        command.env_remove("AWS_CA_BUNDLE");
        for (name, value) in &self.remote {
            command.env(format!("RCLONE_CONFIG_BENCH_{name}"), value);
        }
        let started = Instant::now();
        let output = command.output().context("rclone could not be run")?;
        let seconds = started.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rclone: {}", said.lines().last().unwrap_or_default());
        Ok(seconds)
    }
}

type Made = (Value, Vec<(&'static str, String)>, String, Box<dyn Any + Send + Sync>);

fn s3(room: &Path) -> anyhow::Result<Made> {
    let folder = room.join("objects");
    std::fs::create_dir_all(&folder)?;
    let server = S3Server::builder().folder(&folder).start()?;
    server.faults().stop_log();
    server.bucket("bench-handlers");
    let remote = vec![
        ("TYPE", "s3".into()),
        ("PROVIDER", "Other".into()),
        ("ENDPOINT", server.url()),
        ("ACCESS_KEY_ID", server.access_key().into()),
        ("SECRET_ACCESS_KEY", server.secret_key().into()),
        ("NO_CHECK_BUCKET", "true".into()),
    ];
    Ok((server.settings("bench-handlers"), remote, "bench-handlers".into(), Box::new(server)))
}

fn azure(server: AzureServer) -> Made {
    server.faults().stop_log();
    server.container(PLACE);
    let settings = server.settings(PLACE);
    let root = settings["base_url"].as_str().unwrap_or_default();
    let url = format!("{root}/{PLACE}?{}", server.sas("rwdlac"));
    (settings, vec![("TYPE", "azureblob".into()), ("SAS_URL", url)], PLACE.into(), Box::new(server))
}

fn google_storage(server: GcsServer) -> Made {
    server.faults().stop_log();
    server.bucket(PLACE);
    let remote = vec![
        ("TYPE", "google cloud storage".into()),
        ("ENDPOINT", format!("http://{}/storage/v1/", server.address())),
        ("ANONYMOUS", "true".into()),
        ("NO_CHECK_BUCKET", "true".into()),
        ("BUCKET_POLICY_ONLY", "true".into()),
    ];
    (server.settings(PLACE), remote, PLACE.into(), Box::new(server))
}

fn filesystem(room: &Path) -> anyhow::Result<Made> {
    let folder = room.join("files");
    std::fs::create_dir_all(&folder)?;
    let below = folder.join("rclone").display().to_string();
    Ok((json!({"root": folder}), vec![("TYPE", "local".into())], below, Box::new(())))
}

fn webdav(server: WebdavServer) -> anyhow::Result<Made> {
    let url = format!("http://{}/", server.address());
    let remote = vec![
        ("TYPE", "webdav".into()),
        ("URL", url.clone()),
        ("VENDOR", "other".into()),
        ("USER", USER.0.into()),
        ("PASS", obscured()?),
    ];
    Ok((json!({"url": url, "username": USER.0, "password": USER.1}), remote, PLACE.into(), Box::new(server)))
}

fn sftp(server: SshServer, room: &Path) -> anyhow::Result<Made> {
    let key = room.join("key");
    std::fs::write(&key, server.private_key("key"))?;
    let remote = vec![
        ("TYPE", "sftp".into()),
        ("HOST", server.address().ip().to_string()),
        ("PORT", server.address().port().to_string()),
        ("USER", server.user().into()),
        ("KEY_FILE", key.display().to_string()),
        ("DISABLE_HASHCHECK", "true".into()),
    ];
    let settings = json!({
        "host": "127.0.0.1", "port": server.address().port(), "username": server.user(),
        "private_key": server.private_key("key"), "host_key": server.fingerprint("host"),
    });
    Ok((settings, remote, PLACE.into(), Box::new(server)))
}

fn ftp(server: FtpServer) -> anyhow::Result<Made> {
    let remote = vec![
        ("TYPE", "ftp".into()),
        ("HOST", server.address().ip().to_string()),
        ("PORT", server.address().port().to_string()),
        ("USER", USER.0.into()),
        ("PASS", obscured()?),
    ];
    let settings = json!({"url": format!("ftp://{}:{}@{}", USER.0, USER.1, server.address())});
    Ok((settings, remote, PLACE.into(), Box::new(server)))
}

/// The password as rclone wants to be told it.
fn obscured() -> anyhow::Result<String> {
    let output = Command::new("rclone").args(["obscure", USER.1]).output().context("rclone could not be run")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A client that may go to this machine, and to its temporary folders.
pub(super) fn client() -> anyhow::Result<outbound::Client> {
    let policy = outbound::Policy::new(vec!["127.0.0.0/8".parse()?]).with_folders(vec!["/".into()]);
    Ok(outbound::Client::new(Arc::new(policy))?)
}

/// No file's folder is named by its day here.
pub(super) fn moment() -> Moment {
    Moment { year: 2026, month: 11, day: 24, hour: 0 }
}

/// A URL by which an object can be read without keys.
pub(super) async fn presigned(server: &S3Server, bucket: &str, key: &str) -> anyhow::Result<reqwest::Url> {
    let mut settings = server.settings(bucket).as_object().cloned().unwrap_or_default();
    settings.insert("redirect_reads".into(), true.into());
    let handler = Pool::new(client()?).open("s3", &settings)?;
    let receipt: Receipt = serde_json::from_value(json!({
        "handler": "s3", "location": key, "destination": "", "length": 0, "content_type": "audio/wav", "sha256": "",
        "assurance": Assurance::Checksum,
    }))?;
    handler.presign(&receipt, "attachment").await?.context("a presigned URL")
}
