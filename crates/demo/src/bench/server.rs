//! The program under observation with an account whose voicemails go to a real S3 server.

use super::Bench;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::{Api, Program, S3Server, VOICEMAIL_WAV};

/// The bucket that everything goes to.
pub const BUCKET: &str = "bench-voicemail";
const HANDLER: &str = "00000000000000000000000000000b3c";

/// What differs from the default configuration, and why.
pub const CONFIG: &str = r#"# the S3 server is on this machine
[egress]
allow = ["127.0.0.0/8"]
# the files of the memory benchmark
[api]
max_upload_size = "1GiB"
token_lifetime = "12h"
[log]
filter = "error"
"#;

/// Program, S3 server and account.
#[derive(Debug)]
pub struct Server {
    /// The program.
    pub program: Program,
    /// Where its objects go.
    pub s3: S3Server,
    /// A client that is logged in as the account's admin.
    pub api: Api,
    /// The account.
    pub account: String,
    /// A mailbox of the account.
    pub mailbox: String,
    /// Resident memory after the start, before any load.
    pub idle_bytes: u64,
}

impl Server {
    /// Starts both in this folder and sets the account up.
    ///
    /// # Errors
    /// Something did not start or answered otherwise than it should.
    pub async fn start(bench: &Bench, room: &Path) -> anyhow::Result<Self> {
        Self::start_with(bench, room, &room.join("objects")).await
    }

    /// The same with the folder of the S3 server elsewhere.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(bench: &Bench, room: &Path, objects: &Path) -> anyhow::Result<Self> {
        Self::start_configured(bench, room, objects, "").await
    }

    /// The same with more in the configuration.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_configured(bench: &Bench, room: &Path, objects: &Path, more: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(objects)?;
        std::fs::create_dir_all(room)?;
        let s3 = S3Server::builder().folder(objects).start()?;
        s3.faults().stop_log();
        s3.bucket(BUCKET);
        let mut program =
            Program::builder().binary(&bench.binary).temporary_in(room).config(&format!("{CONFIG}{more}")).start()?;
        program.forget_log();
        // Idle: started, settled, never asked for anything.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle_bytes = program.resident_bytes();
        program.sup(&["crossbar_maintenance", "create_account", "bench", "bench.example", "admin", "bench-password"]);
        let (api, login) = Api::new(&program.url()).login("bench", "admin", "bench-password").await;
        let account = login["account_id"].as_str().context("no account_id")?.to_owned();
        let storage = json!({"data": {
            "attachments": entry(&s3.settings(BUCKET)),
            "plan": {"modb": {"types": {
                "mailbox_message": {"attachments": {"handler": HANDLER}},
                "call_recording": {"attachments": {"handler": HANDLER}},
            }}},
        }});
        let answer = api.put(&format!("/v2/accounts/{account}/storage"), &storage).await;
        ensure!(answer.status == 201, "storage: {answer}");
        let mailbox = json!({"data": {"name": "bench", "mailbox": "1001"}});
        let answer = api.put(&format!("/v2/accounts/{account}/vmboxes"), &mailbox).await;
        ensure!(answer.status == 201, "mailbox: {answer}");
        let mailbox = answer.data()["id"].as_str().context("no id")?.to_owned();
        Ok(Server { program, s3, api, account, mailbox, idle_bytes })
    }

    /// Sends what comes from now on by other settings.
    ///
    /// # Errors
    /// They were refused.
    pub async fn send_to(&self, settings: &Value) -> anyhow::Result<()> {
        let change = json!({"data": {"attachments": entry(settings)}});
        let answer = self.api.patch(&format!("/v2/accounts/{}/storage", self.account), &change).await;
        ensure!(answer.status == 200, "storage: {answer}");
        Ok(())
    }

    /// A key of the account for switches, with these scopes.
    ///
    /// # Errors
    /// It was refused.
    pub async fn ingest_key(&self, scopes: &[&str]) -> anyhow::Result<String> {
        let path = format!("/v2/accounts/{}/ingest_keys", self.account);
        let answer = self.api.put(&path, &json!({"data": {"name": "bench", "scopes": scopes}})).await;
        ensure!(answer.status == 201, "ingest key: {answer}");
        Ok(answer.data()["key"].as_str().context("no key")?.to_owned())
    }

    /// Where the program listens.
    pub fn address(&self) -> SocketAddr {
        self.program.url().trim_start_matches("http://").parse().expect("an address")
    }

    /// Where voicemails are left.
    pub fn messages(&self) -> String {
        format!("/v2/accounts/{}/vmboxes/{}/messages", self.account, self.mailbox)
    }

    /// The upload of a voicemail of this size.
    pub fn template(&self, size: usize) -> super::load::Template {
        let token = self.api.token().unwrap_or_default();
        super::load::Template::multipart(
            "PUT",
            &self.messages(),
            self.address(),
            token,
            &Self::metadata(),
            &sound(size),
        )
    }

    /// The JSON part of an upload.
    pub fn metadata() -> Value {
        json!({"data": {"caller_id_name": "Dana Fox", "caller_id_number": "+14155550123", "length": 5225}})
    }

    /// Waits until nothing is left to deliver, and gives the time that it took.
    ///
    /// # Errors
    /// Something is left after `patience`; the first delivery that waits is in the message.
    pub async fn delivered(&self, poll: Duration, patience: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let path = format!("/v2/accounts/{}/storage/deliveries?page_size=1", self.account);
        loop {
            let answer = self.api.get(&path).await;
            ensure!(answer.status == 200, "deliveries: {answer}");
            if answer.data() == json!([]) {
                return Ok(started.elapsed());
            }
            ensure!(started.elapsed() < patience, "not delivered after {patience:?}: {answer}");
            tokio::time::sleep(poll).await;
        }
    }

    /// How many objects of exactly this size are in a bucket.
    pub fn objects_of(&self, bucket: &str, size: u64) -> usize {
        let folder = self.s3.folder().join(bucket);
        let keys = self.s3.keys(bucket);
        keys.iter().filter(|key| std::fs::metadata(folder.join(key)).is_ok_and(|file| file.len() == size)).count()
    }

    /// Empties the bucket, and what the S3 server keeps beside it about its objects.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn empty_bucket(&self) -> anyhow::Result<()> {
        self.s3.remove_bucket(BUCKET);
        for entry in std::fs::read_dir(self.s3.folder())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".bucket-") {
                std::fs::remove_file(entry.path())?;
            }
        }
        self.s3.bucket(BUCKET);
        Ok(())
    }
}

/// The account's handler.
fn entry(settings: &Value) -> Value {
    json!({HANDLER: {"handler": "s3", "name": "bench", "settings": settings}})
}

/// A WAV file of exactly this size whose samples do not repeat soon.
pub fn sound(size: usize) -> Vec<u8> {
    let mut bytes = VOICEMAIL_WAV[..44].to_vec();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
