//! No secret where it does not belong: the data folder, the log, metrics, errors, answers to the wrong person.

use std::path::Path;

use serde_json::json;
use testkit::Program;

use super::fixture::{CONFIG, HANDLER, Platform, bucket, plain_user};

/// Files below `folder` that hold `secret`.
pub fn holding(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, secret));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_5_secrets_are_in_no_file_no_log_and_no_metric() {
    let mut platform = Platform::start().await;
    let (server, mut settings) = bucket();
    let path = platform.storage();
    platform.route_voicemail_to(settings.clone()).await;
    let http = "cafecafecafecafecafecafecafecafe";
    let url = format!("http://robot:userinfo-s3cret@127.0.0.1:{}/in?token=query-s3cret", server.port());
    // It does not work: its error must not give it away either.
    let refused = platform
        .tenant
        .api
        .patch(
            &path,
            &json!({"data": {"attachments": {http: {"handler": "http", "settings": {"url": url, "verb": "put"}}}}}),
        )
        .await
        .expect_status(400);
    let refused = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(!refused.contains("s3cret"), "{refused}");
    settings["secret"] = json!("rotated-s3cret-rotated-s3cret");
    platform.program.sup(&["kzs_plan", "allow_validation_overrides"]);
    let untried = format!("{path}?validate_settings=false");
    platform
        .tenant
        .api
        .patch(&untried, &json!({"data": {"attachments": {HANDLER: {"settings": settings}}}}))
        .await
        .expect_status(200);
    let with_url =
        json!({"data": {"attachments": {http: {"handler": "http", "settings": {"url": url, "verb": "put"}}}}});
    platform.tenant.api.patch(&untried, &with_url).await.expect_status(200);
    let mailbox = platform.mailbox().await;
    platform.voicemail(&mailbox).await;
    super::fixture::until("a delivery was refused", async || {
        platform.deliveries().await.iter().any(|row| row["last_error"].is_object())
    })
    .await;
    let deliveries = json!(platform.deliveries().await).to_string();
    let metrics = platform.tenant.api.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let (pat, _) = plain_user(&platform).await;
    let shown = pat.get(&path).await.expect_status(200).data().to_string();
    let token = platform.tenant.api.token().unwrap().to_owned();
    let md5 = testkit::Api::credentials("admin", "sesame-open");
    let secrets = [
        server.secret_key(),
        server.access_key(),
        "rotated-s3cret",
        "userinfo-s3cret",
        "query-s3cret",
        "sesame-open",
        "sesame-shut",
        &md5,
        &platform.tenant.api_key,
        &token,
    ];
    // While what was written last lies in the store's own log (its `-wal` file), and again when it lies in the file alone.
    let data = platform.program.data_dir().to_owned();
    let in_no_file =
        || secrets.iter().for_each(|secret| assert_eq!(holding(&data, secret), [""; 0], "{secret} stands there"));
    assert_ne!(std::fs::metadata(data.join("documents.db-wal")).unwrap().len(), 0);
    in_no_file();
    platform.program.terminate();
    in_no_file();
    let log = platform.program.log();
    assert!(log.contains("listening on") || log.contains("stowline answers"), "the log was kept: {log}");
    for secret in secrets {
        for (place, text) in
            [("log", &log), ("metrics", &metrics), ("deliveries", &deliveries), ("a user's view", &shown)]
        {
            assert!(!text.contains(secret), "{secret} stands in the {place}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_lies_beside_the_data_folder_and_without_it_nothing_starts() {
    let mut platform = Platform::start().await;
    let data = platform.program.data_dir().to_owned();
    let key = data.with_file_name(format!("{}.key", data.file_name().unwrap().to_string_lossy()));
    assert!(key.exists() && !key.starts_with(&data));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    platform.program.terminate();
    let aside = key.with_extension("aside");
    std::fs::rename(&key, &aside).unwrap();
    let refused = platform.program.try_restart().unwrap_err().to_string();
    assert!(refused.contains("put the key back"), "{refused}");
    assert!(!key.exists(), "no new key is made");
    std::fs::rename(&aside, &key).unwrap();
    platform.program.restart();
    let (api, _) = testkit::Api::new(&platform.program.url()).login("Acme", "admin", "sesame-open").await;
    api.get(&format!("/v2/accounts/{}", platform.tenant.id)).await.expect_status(200);
}

/// `stowline keys rotate` on the data folder of a program.
pub fn rotate(platform: &Platform) -> std::process::Output {
    let program = &platform.program;
    let mut command = std::process::Command::new(program.binary());
    command.args(["keys", "rotate", "--data-dir"]).arg(program.data_dir()).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_seals_everything_anew_and_retires_the_old_key() {
    let mut platform = Platform::start().await;
    let (server, settings) = bucket();
    let path = platform.storage();
    platform.route_voicemail_to(settings.clone()).await;
    // An entry that is retired, one that was changed, one that was deleted.
    let wiped = json!({"data": {"attachments": {}, "plan": null}});
    platform.tenant.api.patch(&path, &wiped).await.expect_status(200);
    platform.tenant.api.delete(&path).await.expect_status(200);
    platform.route_voicemail_to(settings).await;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let data = platform.program.data_dir().to_owned();
    let old = std::fs::read_to_string(data.join("key.id")).unwrap().trim().to_owned();
    assert!(!holding(&data, &old).is_empty(), "what is sealed says by which key");
    let running = rotate(&platform);
    assert_eq!(running.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&running.stderr).contains("another stowline runs"), "{running:?}");
    platform.program.terminate();
    let run = rotate(&platform);
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        run.status.success() && told.contains("the old key is at"),
        "{told} {}",
        String::from_utf8_lossy(&run.stderr)
    );
    // Not in a page that is free, not in a log of the store: nothing that the old key opens is left.
    let left = holding(&data, &old);
    assert!(left.is_empty(), "sealed with the old key: {left:?}");
    let beside =
        |suffix: &str| data.with_file_name(format!("{}.key{suffix}", data.file_name().unwrap().to_string_lossy()));
    let retired = beside(&format!(".retired-{old}"));
    for file in [beside(""), retired] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    platform.program.restart();
    let url = platform.program.url();
    platform.tenant.api.at(&url).get(&path).await.expect_status(401);
    let (api, _) = testkit::Api::new(&url).login("Acme", "admin", "sesame-open").await;
    let key = json!({"data": {"api_key": platform.tenant.api_key}});
    testkit::Api::new(&url).put("/v2/api_auth", &key).await.expect_status(201);
    let shown = api.get(&path).await.expect_status(200).data();
    assert_eq!(shown["attachments"][HANDLER]["settings"]["secret"], server.secret_key());
    let raw = api.get(&format!("{mailbox}/messages/{message}/raw")).await.expect_status(200);
    assert_eq!(raw.body, testkit::VOICEMAIL_WAV, "read from the bucket with settings that the new key opened");
    platform.program.terminate();
    assert!(rotate(&platform).status.success(), "and again");
    assert!(holding(&data, server.secret_key()).is_empty());
    platform.program.restart();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_the_environment_or_a_command_is_needed_with_every_start_and_lies_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (old, new) = ("5a".repeat(32), "6b".repeat(32));
    let start = |config: &str, environment: Option<&str>| {
        let builder = Program::builder().config(&format!("{CONFIG}\n{config}")).data_dir(&data);
        environment.into_iter().fold(builder, |builder, key| builder.env("STOWLINE_KEYS__KEY", key)).start()
    };
    let refused = |config: &str, environment: Option<&str>| start(config, environment).unwrap_err().to_string();
    let mut program = start("", Some(&old)).unwrap();
    let made = program.sup(&["crossbar_maintenance", "create_account", "Acme", "acme.example", "admin", "sesame-open"]);
    let (_server, settings) = bucket();
    let storage = format!("/v2/accounts/{}/storage", made["account_id"].as_str().unwrap());
    let (api, _) = testkit::Api::new(&program.url()).login("Acme", "admin", "sesame-open").await;
    let document = json!({"data": {"attachments": {HANDLER: {"handler": "s3", "settings": settings}}}});
    let shown = api.put(&storage, &document).await.expect_status(201).data();
    program.terminate();
    let log = program.log();
    let alone = || {
        let names = std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["data"], "no key is made or written beside the data");
        for key in [&old, &new] {
            assert_eq!(holding(folder.path(), key), [""; 0]);
            assert!(!log.contains(key.as_str()));
        }
    };
    // None, another one, a command that fails: nothing starts, and no new key is made.
    for (config, environment, why) in [
        ("", None, "put the key back"),
        ("", Some(new.as_str()), "is not the one"),
        ("[keys]\ncommand = [\"sh\", \"-c\", \"exit 4\"]", None, "ended with"),
        ("[keys]\ncommand = [\"true\"]", None, "is empty"),
    ] {
        let said = refused(config, environment);
        assert!(said.contains(why) && !said.contains(&new), "{config}: {said}");
        alone();
    }
    // To change it: who keeps the key gives a new one first.
    let aside = tempfile::tempdir().unwrap();
    let keeper = aside.path().join("keeper");
    let config = format!("[keys]\ncommand = [\"cat\", \"{}\"]", keeper.display());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &config).unwrap();
    let rotate = || {
        let mut command = std::process::Command::new(program.binary());
        command.args(["keys", "rotate", "--config"]).arg(file.path()).arg("--data-dir").arg(&data).output().unwrap()
    };
    std::fs::write(&keeper, &old).unwrap();
    let told = rotate();
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        told.status.code() == Some(1) && said.contains("put a new one before it") && !said.contains(&old),
        "{said}"
    );
    std::fs::write(&keeper, format!("{new}\n{old}\n")).unwrap();
    let told = rotate();
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && said.contains("take the old key away"), "{said} {told:?}");
    std::fs::write(&keeper, &new).unwrap();
    let program = start(&config, None).unwrap();
    let (api, _) = testkit::Api::new(&program.url()).login("Acme", "admin", "sesame-open").await;
    assert_eq!(api.get(&storage).await.expect_status(200).data(), shown);
    drop(program);
    std::fs::remove_file(&keeper).unwrap();
    alone();
    assert!(refused("", Some(&old)).contains("is not the one"));
}
