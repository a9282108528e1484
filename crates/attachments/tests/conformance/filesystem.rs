//! What is promised of `filesystem` alone.

use std::os::unix::fs::symlink;
use std::path::Path;

use attachments::{Assurance, ErrorKind, Location, PutKey};
use serde_json::{Map, Value, json};

use crate::fixture::filesystem::{Filesystem, files};
use crate::fixture::{ACCOUNT, Fixture, audio, key, noise, object, open, place, pool};

fn location(text: &str) -> Location {
    serde_json::from_value(text.into()).unwrap()
}

#[tokio::test]
async fn a_file_lies_where_its_location_says() {
    let folder = Filesystem::start();
    let place = place("filesystem", &folder.settings(), "d 1", "a/b.wav");
    let receipt = open(&folder).put(&place, &audio(&noise(100)), &key("d 1", "a/b.wav")).await.unwrap();
    assert_eq!(receipt.assurance, Assurance::Length);
    assert_eq!(files(&folder.root()), [folder.root().join(ACCOUNT).join("d%201").join("a%2Fb.wav")]);
    // An absolute folder begins at the root of the handler, not of the machine.
    let absolute = location("/faxes/one.tiff");
    open(&folder).put(&absolute, &audio(&noise(50)), &PutKey::default()).await.unwrap();
    assert!(folder.root().join("faxes/one.tiff").is_file());
}

#[tokio::test]
async fn only_allowed_folders_are_opened() {
    let outside = |root: Value| pool().open("filesystem", &object(json!({"root": root}))).unwrap_err();
    assert_eq!(outside(json!("/etc")).kind(), ErrorKind::Denied);
    assert!(outside(json!("/etc")).to_string().contains("[egress] folders"));
    let climbing = std::env::temp_dir().join("../etc");
    assert_eq!(outside(json!(climbing)).kind(), ErrorKind::Denied);
    assert_eq!(outside(json!("kept")).kind(), ErrorKind::Misconfigured);
    assert_eq!(pool().open("filesystem", &Map::new()).unwrap_err().kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn links_that_lead_out_are_not_followed() {
    let folder = Filesystem::start();
    symlink("/", folder.root().join("out")).unwrap();
    symlink("/etc/hostname", folder.root().join("name")).unwrap();
    let handler = open(&folder);
    for place in ["out/tmp/x", "out/etc/hostname"] {
        let error = handler.put(&location(place), &audio(&noise(100)), &PutKey::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{place}");
    }
    let error = handler.put(&location("name"), &audio(&noise(100)), &PutKey::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let mut receipt = handler.put(&location("mine"), &audio(&noise(100)), &PutKey::default()).await.unwrap();
    for place in ["out/etc/hostname", "name"] {
        receipt.location = location(place);
        assert_eq!(
            handler.fetch(&receipt, None, &Value::Null).await.map(|_| ()).unwrap_err().kind(),
            ErrorKind::Denied
        );
        assert_eq!(handler.delete(&receipt).await.unwrap_err().kind(), ErrorKind::Denied);
    }
    assert!(Path::new("/etc/hostname").exists());
    // A root that is itself such a link is refused too.
    symlink("/etc", folder.root().join("root")).unwrap();
    let through = pool().open("filesystem", &object(json!({"root": folder.root().join("root")}))).unwrap();
    let error = through.put(&location("mine"), &audio(&noise(100)), &PutKey::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn the_same_bytes_by_somebody_else_are_a_success_and_others_of_that_length_none() {
    let folder = Filesystem::start();
    let handler = open(&folder);
    std::fs::write(folder.root().join("a"), noise(1000)).unwrap();
    let put = async |bytes| handler.put(&location("a"), &audio(&bytes), &PutKey::default()).await;
    assert_eq!(put(noise(1000)).await.unwrap().assurance, Assurance::ReadBack);
    let others = noise(1000).iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
    assert_eq!(put(others.into()).await.unwrap_err().kind(), ErrorKind::Conflict);
    std::fs::create_dir(folder.root().join("b")).unwrap();
    let error = handler.put(&location("b"), &audio(&noise(10)), &PutKey::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = handler.put(&location("a/b"), &audio(&noise(10)), &PutKey::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
}
