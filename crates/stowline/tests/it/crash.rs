//! `kill -9` at every step of a deposit and its delivery: nothing accepted is lost, and each is in the bucket once.
//!
//! The program runs under `strace`, which kills it in the middle of the N-th call of a kind: before every fsync, rename, write and removal in
//! turn, those of the start included.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use testkit::{Api, Program, VOICEMAIL_WAV, has_program};

use super::fixture::{CONFIG, HANDLER, bucket, until};

const CALLS: &[&str] =
    &["fsync", "fdatasync", "rename,renameat,renameat2", "pwrite64", "unlink,unlinkat", "sendto,writev"];
/// How far each is counted: beyond the last one of a run that leaves and delivers one message.
const COUNT: usize = 9;

/// A program that runs under `strace` while the file `fault` says so: a call, and what happens to it in strace's words.
fn wrapper(folder: &Path) -> std::path::PathBuf {
    let binary = testkit::find_binary().unwrap();
    let script = folder.join("stowline");
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = serve ] && [ -s '{dir}/fault' ]; then\n  read -r call what < '{dir}/fault'\n  \
         exec strace -D -f -qq -o /dev/null -e trace=\"$call\" -e inject=\"$call:$what\" '{binary}' \"$@\"\nfi\nexec '{binary}' \"$@\"\n",
        dir = folder.display(),
        binary = binary.display(),
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_12_a_kill_at_any_step_loses_nothing_and_leaves_one_object() {
    if !has_program("strace", "a kill at every step") {
        return;
    }
    let tools = tempfile::tempdir().unwrap();
    let (server, settings) = bucket();
    let mut program = Program::builder().config(CONFIG).binary(&wrapper(tools.path())).start().unwrap();
    let made = program.sup(&["crossbar_maintenance", "create_account", "Acme", "acme.example", "admin", "sesame-open"]);
    let account = made["account_id"].as_str().unwrap().to_owned();
    let (api, _) = Api::new(&program.url()).login("Acme", "admin", "sesame-open").await;
    let document = json!({"data": {
        "attachments": {HANDLER: {"handler": "s3", "settings": settings}},
        "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
    }});
    let storage = format!("/v2/accounts/{account}/storage");
    api.put(&storage, &document).await.expect_status(201);
    let boxes = format!("/v2/accounts/{account}/vmboxes");
    let made = api.put(&boxes, &json!({"data": {"name": "Dana", "mailbox": "1001"}})).await.expect_status(201).data();
    let messages = format!("{boxes}/{}/messages", made["id"].as_str().unwrap());

    let fault = tools.path().join("fault");
    let (mut accepted, mut killed) = (Vec::new(), 0);
    for call in CALLS {
        for at in 1..=COUNT {
            program.kill9();
            std::fs::write(&fault, format!("{call} signal=SIGKILL:when={at}\n")).unwrap();
            if program.try_restart().is_ok() {
                let (kind, body) = testkit::multipart_body(&json!({"data": {}}), "v.wav", "audio/wav", VOICEMAIL_WAV);
                let request = api
                    .at(&program.url())
                    .request(reqwest::Method::PUT, &messages)
                    .header("content-type", kind)
                    .body(body);
                if let Ok(answer) = api.try_send(request).await
                    && answer.status == 201
                {
                    accepted.push(answer.data()["media_id"].as_str().unwrap().to_owned());
                    // Either it is delivered, or it is killed on the way.
                    let path = format!("{storage}/deliveries");
                    for _ in 0..200 {
                        let request = api.at(&program.url()).request(reqwest::Method::GET, &path);
                        match api.try_send(request).await {
                            Ok(answer) if answer.data() == json!([]) => break,
                            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                            Err(_) => break,
                        }
                    }
                }
            }
            killed += usize::from(!program.is_running());
            std::fs::write(&fault, "").unwrap();
        }
    }
    assert!(killed >= 15, "the kills must have hit: {killed}");
    program.kill9();
    program.restart();
    let api = api.at(&program.url());
    until("all is delivered", async || api.get(&format!("{storage}/deliveries")).await.data() == json!([])).await;
    let listed = api.get(&format!("{messages}?paginate=false")).await.expect_status(200).data();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|row| row["media_id"].as_str().unwrap()).collect();
    let objects = server.objects("recordings");
    for id in &accepted {
        assert!(ids.contains(&id.as_str()), "{id} was accepted and is gone");
    }
    for id in &ids {
        let own: Vec<_> = objects.iter().filter(|(key, _)| key.contains(id)).collect();
        assert_eq!(own.len(), 1, "{id} has one object");
        assert!(own[0].1 == VOICEMAIL_WAV, "{id} has other bytes");
    }
    // A probe's object may be there, or one whose document was never answered; nothing else.
    assert_eq!(
        objects.len(),
        ids.len(),
        "no object is left over: {:?}",
        objects.iter().map(|(key, _)| key).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_a_sync_is_answered_503_and_loses_nothing_that_was_accepted() {
    if !has_program("strace", "a sync that fails") {
        return;
    }
    let tools = tempfile::tempdir().unwrap();
    let mut program = Program::builder().config(CONFIG).binary(&wrapper(tools.path())).start().unwrap();
    let made = program.sup(&["crossbar_maintenance", "create_account", "Acme", "acme.example", "admin", "sesame-open"]);
    let (api, _) = Api::new(&program.url()).login("Acme", "admin", "sesame-open").await;
    let boxes = format!("/v2/accounts/{}/vmboxes", made["account_id"].as_str().unwrap());
    let made = api.put(&boxes, &json!({"data": {"name": "Dana", "mailbox": "1001"}})).await.expect_status(201).data();
    let messages = format!("{boxes}/{}/messages", made["id"].as_str().unwrap());
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for call in ["fsync", "fdatasync"] {
        for at in [3, 5, 8] {
            program.kill9();
            std::fs::write(tools.path().join("fault"), format!("{call} error=EIO:when={at}\n")).unwrap();
            if program.try_restart().is_err() {
                continue;
            }
            let api = api.at(&program.url());
            for _ in 0..12 {
                let answer = api
                    .multipart(
                        reqwest::Method::PUT,
                        &messages,
                        &json!({"data": {}}),
                        "v.wav",
                        "audio/wav",
                        VOICEMAIL_WAV,
                    )
                    .await;
                match answer.status {
                    201 => accepted.push(answer.data()["media_id"].as_str().unwrap().to_owned()),
                    503 => {
                        assert!(answer.header("retry-after").is_some());
                        refused += 1;
                        // The store is opened anew by itself.
                        until("it takes writes again", async || api.get("/healthz").await.status == 200).await;
                    }
                    other => panic!("{other}: {answer}"),
                }
            }
        }
    }
    assert!(refused > 0 && accepted.len() > 30, "{refused} refused, {} accepted", accepted.len());
    program.kill9();
    std::fs::write(tools.path().join("fault"), "").unwrap();
    program.restart();
    let api = api.at(&program.url());
    for id in &accepted {
        let raw = api.get(&format!("{messages}/{id}/raw")).await.expect_status(200);
        assert!(raw.body == VOICEMAIL_WAV, "{id}");
    }
}
