//! The watcher and the server, both real, both killed: what was in the folders is in the account, once.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use testkit::VOICEMAIL_WAV;

use super::super::fixture::{Platform, until};
use super::binary;

/// A switch beside a running platform: folders, and an ingest key in a file.
struct Site {
    platform: Platform,
    mailbox: String,
    temporary: tempfile::TempDir,
}

/// A watcher that runs; killed when dropped.
struct Watcher(Child);

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    async fn new() -> Self {
        let platform = Platform::start().await;
        let mailbox = platform.mailbox().await;
        let body = json!({"data": {"name": "pbx1", "scopes": ["recordings", "voicemail", "fax", "cdr"]}});
        let keys = format!("/v2/accounts/{}/ingest_keys", platform.tenant.id);
        let made = platform.tenant.api.put(&keys, &body).await.expect_status(201).data();
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("key"), made["key"].as_str().unwrap()).unwrap();
        let site = Self { platform, mailbox, temporary };
        for folder in ["recordings", "fax", "cdr", "asterisk/default/1001/INBOX"] {
            fs::create_dir_all(site.folder(folder)).unwrap();
        }
        site
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// Puts a file there at once.
    fn put(&self, path: &str, bytes: &[u8]) {
        let half = self.folder("half");
        fs::write(&half, bytes).unwrap();
        fs::rename(half, self.folder(path)).unwrap();
    }

    fn watch(&self, folder: &str, options: &str) -> Watcher {
        let to = format!("{}/v2/ingest/{}", self.platform.program.url(), self.platform.tenant.id);
        let mut command = Command::new(binary());
        command.arg("spool").arg(self.folder(folder)).args(["--to", &to, "--key-file"]).arg(self.folder("key"));
        command.args(["--settle", "20ms", "--interval", "5ms", "--backoff-max", "100ms"]);
        command.args(options.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Watcher(command.spawn().unwrap())
    }

    fn watch_all(&self) -> [Watcher; 4] {
        [
            self.watch("recordings", "--kind recordings --name-pattern {call_id}_{caller_id_number}.wav"),
            self.watch("fax", "--kind fax"),
            self.watch("cdr", "--kind cdr"),
            self.watch("asterisk", "--kind asterisk-voicemail"),
        ]
    }

    /// A call as a switch leaves it, in every folder.
    fn call(&self, number: usize) {
        let wav = sound(number);
        self.put(&format!("recordings/call-{number}_+1415555{number:04}.wav"), &wav);
        self.put(&format!("fax/page-{number}.tiff"), format!("II*\0 page {number}").as_bytes());
        let cdr = match number % 3 {
            0 => format!("{{\"call_id\": \"call-{number}\", \"duration_seconds\": 5, \"timestamp\": 63962737380}}\n"),
            1 => format!(
                "uniqueid=call-{number}&src=1001&dst=1002&start=1795518180&duration=5&billsec=5&disposition=ANSWERED"
            ),
            _ => percent_encoding_of(&format!("{{\"call_id\": \"call-{number}\", \"timestamp\": 63962737380}}")),
        };
        self.put(&format!("cdr/{number}.{}", if number % 3 == 1 { "form" } else { "cdr.json" }), cdr.as_bytes());
        let message = format!("asterisk/default/1001/INBOX/msg{number:04}");
        self.put(&format!("{message}.wav"), &wav);
        let text = format!(
            "[message]\norigmailbox=1001\ncallerid=\"Dana {number}\" <+1415555{number:04}>\norigtime=1795518180\n\
             msg_id=1795518180-{number:08x}\nduration=5\n"
        );
        self.put(&format!("{message}.txt"), text.as_bytes());
    }

    async fn listed(&self, what: &str) -> Vec<Value> {
        let path = format!("/v2/accounts/{}/{what}?paginate=false", self.platform.tenant.id);
        self.platform.tenant.api.get(&path).await.expect_status(200).data().as_array().unwrap().clone()
    }

    fn left(&self, folder: &str) -> usize {
        let visible = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
        fs::read_dir(self.folder(folder)).unwrap().filter(|entry| visible(entry.as_ref().unwrap())).count()
    }

    /// How many lines the ledger of Asterisk's spool has.
    fn remembered(&self) -> usize {
        let ledger = fs::read_to_string(self.folder("asterisk/.stowline-spool/sent")).unwrap_or_default();
        ledger.lines().count()
    }
}

/// Five seconds of speech that no other call has.
fn sound(number: usize) -> Vec<u8> {
    let mut wav = VOICEMAIL_WAV.to_vec();
    let end = wav.len();
    wav[end - 8..].copy_from_slice(&number.to_le_bytes());
    wav
}

fn percent_encoding_of(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The values of a field, sorted.
fn sorted(documents: &[Value], field: &str) -> Vec<String> {
    let mut values: Vec<String> =
        documents.iter().map(|document| document[field].as_str().unwrap().to_owned()).collect();
    values.sort();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_watchers_that_are_killed_lose_nothing_and_double_nothing() {
    let mut site = Site::new().await;
    let (mut watchers, mut calls) = (site.watch_all(), 0);
    for round in 0..6 {
        for _ in 0..4 {
            site.call(calls);
            calls += 1;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        site.platform.program.kill9();
        if round % 2 == 0 {
            drop(watchers);
            watchers = site.watch_all();
        }
        site.call(calls);
        calls += 1;
        site.platform.program.restart();
    }
    for folder in ["recordings", "fax", "cdr"] {
        until(&format!("{folder} is empty"), async || site.left(folder) == 0).await;
    }
    until("every message is remembered", async || site.remembered() >= calls).await;
    drop(watchers);

    let recordings = site.listed("recordings").await;
    let mut wanted: Vec<String> = (0..calls).map(|number| format!("call-{number}")).collect();
    wanted.sort();
    assert_eq!(sorted(&recordings, "call_id"), wanted);
    assert_eq!(sorted(&site.listed("cdrs").await, "call_id"), wanted);
    assert_eq!(site.listed("faxes/inbox").await.len(), calls);
    let messages = site.platform.tenant.api.get(&format!("{}/messages?paginate=false", site.mailbox)).await;
    let messages = messages.expect_status(200).data().as_array().unwrap().clone();
    let mut callers: Vec<String> = (0..calls).map(|number| format!("Dana {number}")).collect();
    callers.sort();
    assert_eq!(sorted(&messages, "caller_id_name"), callers);
    assert!(messages.iter().all(|message| message["length"] == 5000 && message["timestamp"] == 63_962_737_380_i64));
    assert_eq!(site.left("asterisk/default/1001/INBOX"), 2 * calls, "Asterisk's own is untouched");
    for folder in ["recordings", "fax", "cdr"] {
        assert!(!site.folder(folder).join(".refused").exists(), "{folder}");
    }
    // Byte by byte.
    for recording in recordings.iter().take(3) {
        let number: usize = recording["call_id"].as_str().unwrap().trim_start_matches("call-").parse().unwrap();
        let path = format!("/v2/accounts/{}/recordings/{}", site.platform.tenant.id, recording["id"].as_str().unwrap());
        assert_eq!(raw(&site, &path).await, sound(number));
    }
}

async fn raw(site: &Site, path: &str) -> Vec<u8> {
    let headers = HeaderMap::from_iter([(reqwest::header::ACCEPT, "audio/wav".parse().unwrap())]);
    let request = site.platform.tenant.api.request(reqwest::Method::GET, path).headers(headers);
    request.send().await.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_will_not_take_is_set_aside_and_what_it_cannot_place_waits() {
    let site = Site::new().await;
    site.put("recordings/empty_1.wav", b"");
    site.put("recordings/good_1.wav", VOICEMAIL_WAV);
    site.put("cdr/broken.cdr.json", b"{\"variables\": ");
    site.put("asterisk/default/1001/INBOX/msg0000.wav", VOICEMAIL_WAV);
    site.put("asterisk/default/1001/INBOX/msg0000.txt", b"[message]\nmsg_id=1-a\n");
    fs::create_dir_all(site.folder("asterisk/default/1002/INBOX")).unwrap();
    site.put("asterisk/default/1002/INBOX/msg0000.wav", VOICEMAIL_WAV);
    site.put("asterisk/default/1002/INBOX/msg0000.txt", b"[message]\nmsg_id=1-b\n");
    let _watchers = site.watch_all();
    let reason = |file: &str| fs::read_to_string(site.folder(&format!("{file}.reason"))).unwrap_or_default();
    until("the empty one is refused", async || reason("recordings/.refused/empty_1.wav").contains("400")).await;
    until("the broken one is refused", async || reason("cdr/.refused/broken.cdr.json").contains("400")).await;
    until("the good ones are in", async || site.left("recordings") == 0 && site.remembered() == 1).await;
    // The mailbox is made, and the message that waited for it arrives.
    let boxes = format!("/v2/accounts/{}/vmboxes", site.platform.tenant.id);
    let made = json!({"data": {"name": "Robin", "mailbox": "1002"}});
    site.platform.tenant.api.put(&boxes, &made).await.expect_status(201);
    until("the other message is in", async || site.remembered() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_stops_everything_until_there_is_another() {
    let site = Site::new().await;
    let keys = format!("/v2/accounts/{}/ingest_keys", site.platform.tenant.id);
    let api = &site.platform.tenant.api;
    let old = api.get(&keys).await.expect_status(200).data()[0]["id"].as_str().unwrap().to_owned();
    api.delete(&format!("{keys}/{old}")).await.expect_status(200);
    let _watcher = site.watch("recordings", "--kind recordings");
    site.put("recordings/a.wav", VOICEMAIL_WAV);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(site.left("recordings"), 1, "nothing goes, nothing is set aside");
    let body = json!({"data": {"name": "pbx1", "scopes": ["recordings"]}});
    let made = api.put(&keys, &body).await.expect_status(201).data();
    fs::write(site.folder("key"), made["key"].as_str().unwrap()).unwrap();
    until("it is in", async || site.left("recordings") == 0).await;
    assert_eq!(site.listed("recordings").await.len(), 1);
}
