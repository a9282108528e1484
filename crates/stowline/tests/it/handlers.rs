//! Handlers beside `s3` and `http`, end to end: a storage document with one, a message, its file at the server, and back again.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{FtpServer, SshServer, VOICEMAIL_WAV, WebdavServer};

use super::fixture::{CONFIG, HANDLER, Platform};

fn document(kind: &str, settings: &Value) -> Value {
    json!({"data": {
        "attachments": {HANDLER: {"handler": kind, "name": "store", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
    }})
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a tenant does with a destination whose files lie in this folder. `wrong` are settings with something wrong, and what the answer says to it.
async fn walk(platform: &Platform, kind: &str, settings: &Value, folder: &Path, wrong: &[(Value, &str)]) {
    let api = &platform.tenant.api;
    for (settings, says) in wrong {
        let refused = api.put(&platform.storage(), &document(kind, settings)).await.expect_status(400);
        let errors = refused.data();
        assert!(errors.to_string().contains(says), "{kind} {says}: {errors}");
        assert!(!errors.to_string().contains("hunter2"), "{errors}");
    }
    api.put(&platform.storage(), &document(kind, settings)).await.expect_status(201);
    assert!(files(folder).is_empty(), "{kind}: the probe leaves nothing");
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let found = files(folder);
    assert_eq!(found.len(), 1, "{kind}: {found:?}");
    let file = &found[0];
    assert!(std::fs::read(file).unwrap() == VOICEMAIL_WAV, "{kind}");
    assert!(file.to_string_lossy().contains(&message), "{kind}: {file:?}");
    let raw = format!("{mailbox}/messages/{message}/raw");
    assert!(api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV, "{kind}");
    // What is not there any more is not made up.
    std::fs::remove_file(file).unwrap();
    assert_ne!(api.get(&raw).await.status, 200, "{kind}");
}

#[tokio::test(flavor = "multi_thread")]
async fn filesystem_keeps_messages_in_an_allowed_folder() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("tenant");
    std::fs::create_dir(&kept).unwrap();
    let allowed = format!("[egress]\nfolders = [{:?}]\n", folder.path());
    let platform = Platform::with(&CONFIG.replace("[egress]\n", &allowed)).await;
    let missing = folder.path().join("missing");
    let wrong = [
        (json!({"root": "/etc"}), "[egress] folders"),
        (json!({"root": missing}), "mount its disk"),
        (json!({}), "root"),
    ];
    let by_day = json!([{"date": "YYYY/MM"}, {"arg": "id"}]);
    let unfit = document("filesystem", &json!({"root": kept, "field_list": [{"date": "YYYY/month"}]}));
    platform.tenant.api.put(&platform.storage(), &unfit).await.expect_status(400);
    walk(&platform, "filesystem", &json!({"root": kept, "field_list": by_day}), &kept, &wrong).await;
    let year = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(year.into_iter().all(|year| year.len() == 4 && year.starts_with("20")), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav_keeps_messages_on_a_server() {
    let Some(server) = WebdavServer::start("me", "hunter2", "the handler webdav, end to end") else { return };
    let platform = Platform::start().await;
    let url = format!("http://{}/", server.address());
    let settings = json!({"url": url, "username": "me", "password": "hunter2"});
    let wrong = [
        (json!({"url": url, "username": "me", "password": "hunter22"}), "Unauthorized"),
        (json!({"url": "http://10.1.2.3/", "username": "me", "password": "hunter2"}), "egress"),
    ];
    walk(&platform, "webdav", &settings, &server.files(), &wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_keeps_messages_on_a_server() {
    let Some(server) = SshServer::start("the handler sftp, end to end") else { return };
    let platform = Platform::start().await;
    let with = |name: &str, value: Value| {
        let mut settings = json!({
            "host": "127.0.0.1", "port": server.address().port(), "username": server.user(),
            "private_key": server.private_key("key"), "host_key": server.fingerprint("host"),
        });
        settings[name] = value;
        settings
    };
    let wrong = [
        (with("host_key", Value::from(server.fingerprint("other"))), "host_key is another"),
        (with("private_key", Value::from(server.private_key("stranger"))), "check username, password and private_key"),
        (with("private_key", Value::from("hunter2")), "private_key"),
        (with("host", Value::from("10.1.2.3")), "egress"),
    ];
    walk(&platform, "sftp", &with("read_back", Value::from(true)), &server.files(), &wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ftp_keeps_messages_on_a_server_behind_tls() {
    let Some(server) = FtpServer::start("explicit", "me", "hunter2", "the handler ftp, end to end") else { return };
    let platform = Platform::start().await;
    let url = format!("ftpes://me:hunter2@{}", server.address());
    let certificate = server.certificate();
    let wrong = [
        (json!({"url": url}), "check certificate"),
        (json!({"url": url, "password": "hunter22", "certificate": certificate}), "Authentication failed"),
        (json!({"url": "ftp://me:hunter2@10.1.2.3", "certificate": certificate}), "egress"),
        (json!({"url": "http://h/"}), "url"),
    ];
    walk(&platform, "ftp", &json!({"url": url, "certificate": certificate}), &server.files(), &wrong).await;
}
