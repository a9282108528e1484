//! A power cut at every acknowledgement: what the program had answered by then is there when it starts again.
//!
//! The page cache survives a kill, so killing proves little about fsync. Here the whole program is recorded from its very first start: an account
//! is made, a voicemail is left that stays here, two that wait for a bucket that is down, a short one and a long one, and after a restart another. The folder is then
//! rebuilt as a power cut would leave it at each answer, everything that was not synced forgotten, and the real program is started on it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use testkit::powercut::{Mode, Recording, Trace};
use testkit::{Api, Program, VOICEMAIL_WAV, has_program};

use super::fixture::{CONFIG, HANDLER, bucket};

/// Syncs that nobody would miss, and why they are there. SQLite writes a fresh file once with a rollback journal, before it changes to a WAL; what
/// that journal could bring back is an empty file.
const NEEDLESS: [&str; 2] = ["data/documents.db-journal", "data/journal.db-journal"];

const LOGIN: (&str, &str, &str) = ("Acme", "admin", "sesame-open");

struct Running {
    recording: Recording,
    url: String,
}

fn start(folder: &Path, config: &Path) -> Running {
    let mut command = Command::new(testkit::find_binary().unwrap());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(config)
        .arg("--data-dir")
        .arg(folder.join("data"));
    let mut recording = Recording::start(&command, folder, &[]).unwrap();
    let mut lines = BufReader::new(recording.stdout().unwrap()).lines();
    let url = lines.next().unwrap().unwrap().replace("listening on ", "");
    let stderr = BufReader::new(recording.stderr().unwrap());
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(drop));
    Running { recording, url }
}

fn sup(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(testkit::find_binary().unwrap());
    command.arg("sup").arg("--data-dir").arg(folder.join("data")).args(arguments).stdout(Stdio::null());
    assert!(command.status().unwrap().success(), "{arguments:?}");
}

/// Too long for a record of the spool's log: a file, whose delivery the journal knows alone.
fn long() -> Vec<u8> {
    let mut long = VOICEMAIL_WAV.to_vec();
    long.resize(300 << 10, 0);
    long
}

async fn voicemail(api: &Api, mailbox: &str, sound: &[u8]) {
    let path = format!("{mailbox}/messages");
    let about = json!({"data": {"description": "left"}});
    api.multipart(reqwest::Method::PUT, &path, &about, "v.wav", "audio/wav", sound).await.expect_status(201);
}

/// The life that is recorded.
async fn live(folder: &Path, config: &Path) -> Trace {
    let first = start(folder, config);
    sup(folder, &["crossbar_maintenance", "create_account", LOGIN.0, "acme.example", LOGIN.1, LOGIN.2]);
    sup(folder, &["kzs_plan", "allow_validation_overrides"]);
    let (api, who) = Api::new(&first.url).login(LOGIN.0, LOGIN.1, LOGIN.2).await;
    let account = format!("/v2/accounts/{}", who["account_id"].as_str().unwrap());
    let made = api.put(&format!("{account}/vmboxes"), &json!({"data": {"name": "Dana", "mailbox": "1001"}})).await;
    let mailbox = format!("{account}/vmboxes/{}", made.expect_status(201).data()["id"].as_str().unwrap());
    voicemail(&api, &mailbox, VOICEMAIL_WAV).await;
    let (server, settings) = bucket();
    server.stop();
    let document = json!({"data": {
        "attachments": {HANDLER: {"handler": "s3", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
    }});
    api.put(&format!("{account}/storage?validate_settings=false"), &document).await.expect_status(201);
    voicemail(&api, &mailbox, VOICEMAIL_WAV).await;
    voicemail(&api, &mailbox, &long()).await;
    first.recording.signal("TERM").unwrap();
    let before = first.recording.finish().unwrap();
    let second = start(folder, config);
    let (api, _) = Api::new(&second.url).login(LOGIN.0, LOGIN.1, LOGIN.2).await;
    voicemail(&api, &mailbox, VOICEMAIL_WAV).await;
    second.recording.signal("TERM").unwrap();
    before.then(second.recording.finish().unwrap())
}

/// What had been promised by then: the ids of mailboxes' messages, and whether there was an account and a storage document.
fn promised(told: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in told.match_indices("\"media_id\":\"") {
        let id: String = told[at + 12..].chars().take_while(|c| *c != '"').collect();
        found.insert(id);
    }
    for (sign, word) in
        [("\"api_key\":\"", "account"), ("\"attachments\":{", "storage"), ("\"mailbox\":\"1001\"", "mailbox")]
    {
        if told.contains(sign) {
            found.insert(word.to_owned());
        }
    }
    found
}

/// Starts the real program on what the power cut left and looks for what was promised.
async fn missing(image: &testkit::powercut::Image, promises: &BTreeSet<String>) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    image.lay(folder.path()).unwrap();
    let data = folder.path().join("data");
    // A rebuilt folder knows no modes.
    let key = folder.path().join("data.key");
    if key.exists() {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let program = match Program::builder().config(CONFIG).data_dir(&data).start() {
        Ok(program) => program,
        Err(error) => return Some(format!("it does not start: {error:#}")),
    };
    if !promises.contains("account") {
        return None;
    }
    match found(&program, promises).await {
        Ok(lost) => lost,
        // On what is left of a folder it may fail in any way.
        Err(error) => Some(format!("it does not answer: {error:#}\n{}", program.log())),
    }
}

async fn found(program: &Program, promises: &BTreeSet<String>) -> anyhow::Result<Option<String>> {
    let api = Api::new(&program.url());
    let credentials = json!({"data": {"account_name": LOGIN.0, "credentials": Api::credentials(LOGIN.1, LOGIN.2)}});
    let login = api.request(reqwest::Method::PUT, "/v2/user_auth").body(credentials.to_string());
    let login = api.try_send(login).await?;
    if login.status != 201 {
        return Ok(Some("the account is gone".into()));
    }
    let api = api.with_token(login.json()["auth_token"].as_str().unwrap());
    let get = async |path: &str| api.try_send(api.request(reqwest::Method::GET, path)).await;
    let account = format!("/v2/accounts/{}", login.data()["account_id"].as_str().unwrap());
    if promises.contains("storage") && get(&format!("{account}/storage")).await?.status != 200 {
        return Ok(Some("the storage document is gone".into()));
    }
    if !promises.contains("mailbox") {
        return Ok(None);
    }
    let boxes = get(&format!("{account}/vmboxes")).await?.data();
    let Some(mailbox) = boxes[0]["id"].as_str() else { return Ok(Some("the mailbox is gone".into())) };
    for id in promises.iter().filter(|id| id.len() == 39) {
        let raw = get(&format!("{account}/vmboxes/{mailbox}/messages/{id}/raw")).await?;
        if raw.status != 200 || (raw.body != VOICEMAIL_WAV && raw.body != long()) {
            return Ok(Some(format!("message {id}: {}", raw.status)));
        }
    }
    Ok(None)
}

/// The first loss, looked for at each moment when something new had been promised, and at the end.
fn first_loss(trace: &Trace, mode: Mode, ignore: &[String], runtime: &tokio::runtime::Runtime) -> Option<String> {
    let mut known = BTreeSet::new();
    let end = trace.cuts(mode).last().copied();
    trace.replay(mode, ignore, |cut| {
        let promises = promised(cut.told());
        if promises == known && Some(cut.at()) != end {
            return None;
        }
        known = promises;
        let lost = runtime.block_on(missing(cut.image(), &known))?;
        Some(format!("{lost}\nafter\n{}", trace.story(cut.at(), 12)))
    })
}

#[test]
fn what_was_answered_survives_a_power_cut_and_every_sync_is_needed() {
    if !has_program("strace", "a power cut of the whole program") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), CONFIG).unwrap();
    let trace = runtime.block_on(live(folder.path(), config.path()));
    for mode in [Mode::Strict, Mode::Names, Mode::Written] {
        if let Some(loss) = first_loss(&trace, mode, &[], &runtime) {
            panic!("{mode:?}: {loss}");
        }
    }
    let needless: Vec<String> = trace
        .classes()
        .into_iter()
        .filter(|class| first_loss(&trace, Mode::Strict, std::slice::from_ref(class), &runtime).is_none())
        .collect();
    assert_eq!(needless, NEEDLESS, "of {:?}, nobody would miss these", trace.classes());
}
