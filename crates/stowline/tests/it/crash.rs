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

/// A program that runs under `strace` while the file `kill-at` says so.
fn wrapper(folder: &Path) -> std::path::PathBuf {
    let binary = testkit::find_binary().unwrap();
    let script = folder.join("stowline");
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = serve ] && [ -s '{dir}/kill-at' ]; then\n  read -r call at < '{dir}/kill-at'\n  \
         exec strace -D -f -qq -o /dev/null -e trace=\"$call\" -e inject=\"$call:signal=SIGKILL:when=$at\" '{binary}' \"$@\"\nfi\nexec '{binary}' \"$@\"\n",
        dir = folder.display(),
        binary = binary.display(),
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_loses_nothing_and_leaves_one_object() {
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

    let kill_at = tools.path().join("kill-at");
    let (mut accepted, mut killed) = (Vec::new(), 0);
    for call in CALLS {
        for at in 1..=COUNT {
            program.kill9();
            std::fs::write(&kill_at, format!("{call} {at}\n")).unwrap();
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
            std::fs::write(&kill_at, "").unwrap();
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
