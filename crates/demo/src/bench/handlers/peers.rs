//! The servers that both sides put files on, and how the other side is told where they are: rclone, or curl where rclone cannot write.
//!
//! Neither side does more than the other: rclone looks at an object's length once it is there, and at its digest where the server tells one, so
//! no handler is told to read back what it wrote; what `http` reads back in any case, curl fetches and `diff` compares. What `filesystem` and `sftp` sync is synced.

use std::any::Any;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use attachments::{Assurance, Grants, Moment, Pool, Receipt, Ways};
use serde_json::{Map, Value, json};
use testkit::{AzureServer, FtpServer, GcsServer, S3Server, SshServer, WebdavServer};

use super::makers::{self, Maker};

/// All handlers; but for those of drives, which have fakes of ours, a real server of each is to be had.
pub(super) const NAMES: [&str; 11] = {
    let [google_drive, dropbox, onedrive] = makers::NAMES;
    ["s3", "azure", "google_storage", "filesystem", "webdav", "sftp", "ftp", "http", google_drive, dropbox, onedrive]
};

const PLACE: &str = "bench";
const USER: (&str, &str) = ("bench", "bench-password");

/// A server, what a handler is told of it, and who else puts files there.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) settings: Map<String, Value>,
    rival: Rival,
    /// Where folders must be made before anybody writes to them.
    folders: Option<PathBuf>,
    grants: Option<Arc<dyn Grants>>,
    _server: Box<dyn Any + Send + Sync>,
}

/// Who does the same.
pub(super) enum Rival {
    Rclone {
        /// `RCLONE_CONFIG_BENCH_…`
        remote: Vec<(&'static str, String)>,
        /// Where below the remote the files go.
        below: String,
        /// A folder that is synced when they are there.
        synced: Option<PathBuf>,
    },
    /// It sends all files to a URL, and fetches them again.
    Curl(String),
    Maker(Maker),
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
            "webdav" => WebdavServer::start_with_lists(USER.0, USER.1, what).map(webdav).transpose()?,
            "sftp" => SshServer::start(what).map(|server| sftp(server, room)).transpose()?,
            "ftp" => FtpServer::start("none", USER.0, USER.1, what).map(ftp).transpose()?,
            "http" => WebdavServer::start(USER.0, USER.1, what).map(http),
            drive if makers::NAMES.contains(&drive) => makers::start(drive, room)?,
            other => bail!("{other} has no server"),
        };
        Ok(made.map(|Made { settings, rival, folders, grants, server }| Self {
            name,
            settings: settings.as_object().cloned().unwrap_or_default(),
            rival,
            folders,
            grants,
            _server: server,
        }))
    }

    /// What the other side is called.
    pub(super) fn rival(&self) -> &'static str {
        match &self.rival {
            Rival::Rclone { synced: None, .. } => "rclone",
            Rival::Rclone { .. } => "rclone, then sync",
            Rival::Curl(_) => "curl, there and back, and diff",
            Rival::Maker(maker) => maker.title,
        }
    }

    /// The ways out of its handler.
    pub(super) fn ways(&self) -> anyhow::Result<Ways> {
        let ways = Ways::from(client()?);
        Ok(match &self.grants {
            Some(grants) => Ways { grants: grants.clone(), ..ways },
            None => ways,
        })
    }

    /// Makes a folder where neither side could.
    pub(super) fn prepare(&self, folder: &str) -> anyhow::Result<()> {
        self.folders.iter().try_for_each(|root| std::fs::create_dir_all(root.join(folder)))?;
        Ok(())
    }

    /// The other side copies a folder there, so many files at once; the seconds that it took.
    pub(super) fn copy(&self, from: &Path, to: &str, transfers: usize) -> anyhow::Result<f64> {
        let mut commands = match &self.rival {
            Rival::Rclone { remote, below, synced } => {
                let mut rclone = Command::new("rclone");
                rclone.args(["copy", "--config", "/dev/null", "--transfers", &transfers.to_string(), "--retries", "1"]);
                rclone.arg(from).arg(format!("bench:{below}/{to}")).env_remove("AWS_CA_BUNDLE");
                rclone.envs(remote.iter().map(|(name, value)| (format!("RCLONE_CONFIG_BENCH_{name}"), value)));
                let sync = synced.iter().map(|folder| {
                    let mut sync = Command::new("sync");
                    sync.arg("--file-system").arg(folder);
                    sync
                });
                std::iter::once(rclone).chain(sync).collect()
            }
            Rival::Curl(url) => curl(url, from, to, transfers)?,
            Rival::Maker(maker) => return maker.put(from, to, transfers),
        };
        let started = Instant::now();
        for command in &mut commands {
            let output = command.output().with_context(|| format!("{command:?} could not be run"))?;
            let said = String::from_utf8_lossy(&output.stderr);
            let program = command.get_program().to_string_lossy();
            ensure!(output.status.success(), "{program}: {}", said.lines().last().unwrap_or_default());
        }
        Ok(started.elapsed().as_secs_f64())
    }
}

/// Where the other side keeps for a moment what it has fetched: in memory, where there is such a place.
const MEMORY: &str = "/dev/shm";

/// Sends all files of a folder, then fetches and compares them.
fn curl(url: &str, from: &Path, to: &str, transfers: usize) -> anyhow::Result<Vec<Command>> {
    let beside = from.parent().context("a folder above")?;
    let memory = Path::new(MEMORY);
    let back = if memory.is_dir() { memory } else { beside }.join(format!("bench-back-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&back);
    std::fs::create_dir(&back)?;
    let (mut up, mut down) = (String::new(), String::new());
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let there = format!("{url}{to}/{}", entry.file_name().to_string_lossy());
        writeln!(up, "upload-file = \"{}\"\nurl = \"{there}\"", entry.path().display())?;
        writeln!(down, "output = \"{}\"\nurl = \"{there}\"", back.join(entry.file_name()).display())?;
    }
    let mut commands = Vec::new();
    for (name, text) in [("up", up), ("down", down)] {
        let file = beside.join(format!("curl-{name}"));
        std::fs::write(&file, text)?;
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--parallel", "--parallel-max"]);
        command.arg(transfers.to_string()).arg("--config").arg(file);
        commands.push(command);
    }
    let mut diff = Command::new("diff");
    diff.args(["--brief", "--recursive"]).arg(from).arg(&back);
    let mut remove = Command::new("rm");
    remove.arg("--recursive").arg(&back);
    commands.extend([diff, remove]);
    Ok(commands)
}

/// What a peer is made of.
pub(super) struct Made {
    pub(super) settings: Value,
    pub(super) rival: Rival,
    pub(super) folders: Option<PathBuf>,
    /// Who lets its handler in, where that takes a consent.
    pub(super) grants: Option<Arc<dyn Grants>>,
    pub(super) server: Box<dyn Any + Send + Sync>,
}

impl Made {
    fn rclone(
        settings: Value,
        remote: Vec<(&'static str, String)>,
        below: impl Into<String>,
        server: impl Any + Send + Sync,
    ) -> Self {
        let rival = Rival::Rclone { remote, below: below.into(), synced: None };
        Self { settings, rival, folders: None, grants: None, server: Box::new(server) }
    }
}

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
    Ok(Made::rclone(server.settings("bench-handlers"), remote, "bench-handlers", server))
}

fn azure(server: AzureServer) -> Made {
    server.faults().stop_log();
    server.container(PLACE);
    let settings = server.settings(PLACE);
    let root = settings["base_url"].as_str().unwrap_or_default();
    let url = format!("{root}/{PLACE}?{}", server.sas("rwdlac"));
    Made::rclone(settings, vec![("TYPE", "azureblob".into()), ("SAS_URL", url)], PLACE, server)
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
    Made::rclone(server.settings(PLACE), remote, PLACE, server)
}

fn filesystem(room: &Path) -> anyhow::Result<Made> {
    let folder = room.join("files");
    std::fs::create_dir_all(&folder)?;
    let below = folder.join("rclone").display().to_string();
    let remote = vec![("TYPE", "local".into())];
    let rival = Rival::Rclone { remote, below, synced: Some(folder.clone()) };
    Ok(Made { settings: json!({"root": folder}), rival, folders: None, grants: None, server: Box::new(()) })
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
    let settings = json!({"url": url, "username": USER.0, "password": USER.1, "read_back": false});
    Ok(Made::rclone(settings, remote, PLACE, server))
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
    let rival = Rival::Rclone { remote, below: PLACE.into(), synced: Some(server.files()) };
    Ok(Made { settings, rival, folders: None, grants: None, server: Box::new(server) })
}

fn ftp(server: FtpServer) -> anyhow::Result<Made> {
    let remote = vec![
        ("TYPE", "ftp".into()),
        ("HOST", server.address().ip().to_string()),
        ("PORT", server.address().port().to_string()),
        ("USER", USER.0.into()),
        ("PASS", obscured()?),
    ];
    let url = format!("ftp://{}:{}@{}", USER.0, USER.1, server.address());
    // pyftpdlib answers what rclone does not understand when it is asked for the list of a folder that is missing.
    let folders = Some(server.files().join(PLACE));
    Ok(Made { folders, ..Made::rclone(json!({"url": url, "read_back": false}), remote, PLACE, server) })
}

fn http(server: WebdavServer) -> Made {
    let url = format!("http://{}:{}@{}/", USER.0, USER.1, server.address());
    // One folder, since a plain web server makes none.
    let fields = json!([{"group": [{"arg": "id"}, {"const": "_"}, {"arg": "attachment"}]}]);
    let (settings, folders) = (json!({"url": url, "field_list": fields}), Some(server.files()));
    Made { settings, rival: Rival::Curl(url), folders, grants: None, server: Box::new(server) }
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
pub(super) async fn presigned(settings: &Value, key: &str) -> anyhow::Result<reqwest::Url> {
    let mut settings = settings.as_object().cloned().unwrap_or_default();
    settings.insert("redirect_reads".into(), true.into());
    let handler = Pool::new(client()?).open("s3", &settings)?;
    let receipt: Receipt = serde_json::from_value(json!({
        "handler": "s3", "location": key, "destination": "", "length": 0, "content_type": "audio/wav", "sha256": "",
        "assurance": Assurance::Checksum,
    }))?;
    handler.presign(&receipt, "attachment").await?.context("a presigned URL")
}
