//! What is promised of `sftp` alone.

use attachments::{Assurance, ErrorKind, Receipt};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::fixture::filesystem::files;
use crate::fixture::sftp::Sftp;
use crate::fixture::{ACCOUNT, Fixture, Trouble, audio, key, noise, open, open_with, place, pool, read};

async fn put(fixture: &Sftp, settings: &Map<String, Value>, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place("sftp", settings, "d1", "a/b.wav");
    open_with(fixture, settings).put(&place, &audio(bytes), &key("d1", "a/b.wav")).await
}

#[tokio::test]
async fn a_file_lies_where_its_location_says() {
    let Some(ssh) = Sftp::start() else { return };
    put(&ssh, &ssh.settings(), &noise(100)).await.unwrap();
    assert_eq!(files(&ssh.server.files()), [ssh.server.files().join(ACCOUNT).join("d1").join("a%2Fb.wav")]);
    // An absolute folder begins at the top of the server, not at the user's.
    let mut settings = ssh.settings();
    let there = ssh.server.files().join("top");
    settings.insert("folder_base_path".into(), json!(there));
    settings.insert("read_back".into(), true.into());
    assert_eq!(put(&ssh, &settings, &noise(200)).await.unwrap().assurance, Assurance::ReadBack);
    assert_eq!(files(&there), [there.join(ACCOUNT).join("d1").join("a%2Fb.wav")]);
}

#[tokio::test]
async fn a_server_with_another_key_is_told_nothing() {
    let Some(ssh) = Sftp::start() else { return };
    let shown = ssh.server.fingerprint("host");
    for (host_key, why) in
        [(None, "host_key is missing"), (Some(ssh.server.fingerprint("other")), "host_key is another")]
    {
        let mut settings = ssh.settings();
        settings.insert("host_key".into(), json!(host_key));
        let error = put(&ssh, &settings, &noise(100)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let message = error.exchange().unwrap().message.clone().unwrap();
        assert!(message.contains(why) && message.contains(&shown), "{message}");
    }
    assert!(!ssh.server.log().contains(&format!("for {}", ssh.server.user())), "{}", ssh.server.log());
    // Several may be named, for the time of a change.
    let mut settings = ssh.settings();
    settings.insert("host_key".into(), format!("{}, {shown}=", ssh.server.fingerprint("other")).into());
    put(&ssh, &settings, &noise(100)).await.unwrap();
}

#[tokio::test]
async fn keys_of_rsa_and_with_a_passphrase_open_too() {
    let Some(ssh) = Sftp::start() else { return };
    let mut settings = ssh.settings();
    settings.insert("private_key".into(), ssh.server.private_key("rsa").into());
    settings.insert("passphrase".into(), "sesame open".into());
    put(&ssh, &settings, &noise(100)).await.unwrap();
    for (passphrase, what) in [(json!("hunter2"), "private_key"), (Value::Null, "passphrase is missing")] {
        settings.insert("passphrase".into(), passphrase);
        let error = put(&ssh, &settings, &noise(100)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(what) && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    settings.insert("private_key".into(), "hunter2".into());
    let error = put(&ssh, &settings, &noise(100)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Misconfigured && !format!("{error:?}").contains("hunter2"), "{error:?}");
    let neither = json!({"host": "h", "username": "u"});
    assert_eq!(pool().open("sftp", neither.as_object().unwrap()).unwrap_err().kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn one_connection_serves_all_and_is_made_again_when_it_is_lost() {
    let Some(ssh) = Sftp::start() else { return };
    let handler = open(&ssh);
    let place = place("sftp", &ssh.settings(), "d1", "m.wav");
    let receipt = handler.put(&place, &audio(&noise(1000)), &key("d1", "m.wav")).await.unwrap();
    for _ in 0..3 {
        read(handler.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap();
    }
    assert_eq!(ssh.line.opened(), 1);
    ssh.line.reset();
    assert_eq!(read(handler.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap(), noise(1000));
    assert_eq!(ssh.line.opened(), 2);
}

#[tokio::test]
async fn bytes_that_the_server_changed_are_found_where_they_are_read_back() {
    let Some(ssh) = Sftp::start() else { return };
    assert!(ssh.inflict(Trouble::Changed));
    let mut settings = ssh.settings();
    settings.insert("read_back".into(), true.into());
    let error = put(&ssh, &settings, &noise(5_000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert!(ssh.objects().is_empty(), "nor is it in anybody's way");
    ssh.relieve();
    assert_eq!(put(&ssh, &settings, &noise(5_000)).await.unwrap().assurance, Assurance::ReadBack);
    assert!(ssh.objects() == [noise(5_000)]);
}

#[tokio::test]
async fn what_an_attempt_left_is_overwritten_by_the_next() {
    let Some(ssh) = Sftp::start() else { return };
    ssh.line.cut_after(300_000);
    put(&ssh, &ssh.settings(), &noise(600_000)).await.unwrap_err();
    ssh.line.heal();
    assert_eq!(ssh.objects().len(), 1, "the temporary file");
    put(&ssh, &ssh.settings(), &noise(600_000)).await.unwrap();
    assert!(ssh.objects() == [noise(600_000)]);
    // A folder in the way, and a place where nothing may be made.
    let mut settings = ssh.settings();
    settings.insert("field_list".into(), json!([{"const": ACCOUNT}]));
    assert_eq!(put(&ssh, &settings, &noise(10)).await.unwrap_err().kind(), ErrorKind::Conflict);
    settings.insert("folder_base_path".into(), "/sys/kernel".into());
    let error = put(&ssh, &settings, &noise(10)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::Unavailable), "{error:?}");
}
