//! What is promised of `s3` alone.

use attachments::{Assurance, ErrorKind, Handler, Payload, Receipt};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use testkit::{Fault, S3Server};

use crate::fixture::{ACCOUNT, BUCKET, Fixture, S3, audio, key, noise, object, open, place, pool, read};

async fn put(handler: &dyn Handler, id: &str, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place("s3", &Map::new(), id, "message.wav");
    handler.put(&place, &audio(bytes), &key(id, "message.wav")).await
}

#[tokio::test]
async fn the_key_is_the_location_and_one_request_is_enough() {
    let s3 = S3::start();
    let receipt = put(open(&s3).as_ref(), "d1", &noise(100)).await.unwrap();
    let name = format!("account%2F01%2F23%2F{}-202611/d1_message.wav", &ACCOUNT[4..]);
    assert_eq!(receipt.location.as_str(), name);
    assert_eq!(s3.server.keys(BUCKET), [name]);
    let seen = s3.server.faults().seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].path.contains("/account%252F01%252F23%252F"), "{}", seen[0].path);
    assert_eq!(seen[0].headers["if-none-match"], "*");
}

#[tokio::test]
async fn a_region_that_nobody_told_is_found_and_kept() {
    let server = S3Server::builder().region("eu-central-1").start().unwrap();
    server.bucket(BUCKET);
    let Value::Object(settings) = server.settings(BUCKET) else { panic!("settings") };
    let handler = pool().open("s3", &settings).unwrap();
    let receipt = put(handler.as_ref(), "d1", &noise(100)).await.unwrap();
    assert_eq!(server.faults().seen().len(), 2, "refused once, then right");
    put(handler.as_ref(), "d2", &noise(200)).await.unwrap();
    assert_eq!(server.faults().seen().len(), 3, "the region is kept");
    // Also where the refusal has no body.
    let fresh = pool().open("s3", &settings).unwrap();
    assert_eq!(read(fresh.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap(), noise(100));
    fresh.delete(&receipt).await.unwrap();
}

#[tokio::test]
async fn a_wrong_region_that_was_told_is_put_right() {
    let server = S3Server::builder().region("eu-central-1").start().unwrap();
    server.bucket(BUCKET);
    let Value::Object(mut settings) = server.settings(BUCKET) else { panic!("settings") };
    settings.insert("region".into(), "us-west-2".into());
    put(pool().open("s3", &settings).unwrap().as_ref(), "d1", &noise(100)).await.unwrap();
}

#[tokio::test]
async fn a_bucket_that_is_no_dns_label_works() {
    let s3 = S3::start();
    s3.server.bucket("my_kazoo_bucket_name");
    let Value::Object(mut settings) = s3.server.settings("my_kazoo_bucket_name") else { panic!("settings") };
    settings.insert("bucket_access_method".into(), "vhost".into());
    put(pool().open("s3", &settings).unwrap().as_ref(), "d1", &noise(100)).await.unwrap();
    assert_eq!(s3.server.keys("my_kazoo_bucket_name").len(), 1);
}

#[tokio::test]
async fn a_server_without_checksums_is_spared_them() {
    let s3 = S3::start();
    let refusal = Fault::status(400).with_body("<Error><Code>InvalidArgument</Code></Error>");
    s3.server.faults().rule(move |seen| seen.headers.contains_key("x-amz-checksum-sha256").then(|| refusal.clone()));
    let handler = open(&s3);
    assert_eq!(put(handler.as_ref(), "d1", &noise(100)).await.unwrap().assurance, Assurance::Checksum, "by its tag");
    let first = s3.server.faults().seen().len();
    put(handler.as_ref(), "d2", &noise(200)).await.unwrap();
    let seen = s3.server.faults().seen();
    assert_eq!(seen.len(), first + 1, "it is remembered");
    assert!(seen[first].headers.contains_key("if-none-match"), "conditions are another thing");
    assert_eq!(s3.server.objects(BUCKET).len(), 2);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_in_the_servers_words() {
    let s3 = S3::start();
    let mut settings = s3.settings();
    settings.insert("secret".into(), "hunter2-wrong".into());
    let error = put(pool().open("s3", &settings).unwrap().as_ref(), "d1", &noise(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.exchange().unwrap().code.as_deref(), Some("SignatureDoesNotMatch"));
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_missing_bucket_is_not_found() {
    let s3 = S3::start();
    let answer = "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>";
    s3.server.faults().next([Fault::status(404).with_body(answer)]);
    let error = put(open(&s3).as_ref(), "d1", &noise(100)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert_eq!(error.exchange().unwrap().message.as_deref(), Some("The specified bucket does not exist"));
    assert_eq!(error.to_string(), "put failed: it is not there (404 NoSuchBucket)");
}

#[tokio::test]
async fn a_server_without_conditions_is_looked_at_first() {
    for refusal in [
        Fault::status(501)
            .with_body("<Error><Code>NotImplemented</Code><Message>A header you provided</Message></Error>"),
        Fault::status(400).with_body("<Error><Code>InvalidArgument</Code></Error>"),
    ] {
        let s3 = S3::start();
        s3.server.faults().rule(move |seen| seen.headers.contains_key("if-none-match").then(|| refusal.clone()));
        let handler = open(&s3);
        put(handler.as_ref(), "d1", &noise(100)).await.unwrap();
        let first = s3.server.faults().seen().len();
        put(handler.as_ref(), "d2", &noise(200)).await.unwrap();
        assert_eq!(s3.server.faults().seen().len(), first + 2, "a look and a put: it is remembered");
        assert_eq!(put(handler.as_ref(), "d2", &noise(201)).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(put(handler.as_ref(), "d2", &noise(200)).await.unwrap().assurance, Assurance::Checksum);
        assert_eq!(s3.server.objects(BUCKET).len(), 2);
    }
}

#[tokio::test]
async fn a_bucket_that_may_only_be_written_is_believed() {
    let s3 = S3::start();
    // No tag in the answer to the put, and nothing may be looked at.
    s3.server.faults().rule(|seen| match seen.method.as_str() {
        "PUT" => Some(Fault::status(200)),
        _ => Some(Fault::status(403)),
    });
    assert_eq!(put(open(&s3).as_ref(), "d1", &noise(100)).await.unwrap().assurance, Assurance::Acknowledged);
}

#[tokio::test]
async fn a_tag_that_is_no_digest_is_looked_behind() {
    let place = place("s3", &Map::new(), "d1", "message.wav");
    for (planted, tag, expected) in [
        (noise(1000), "opaque", Ok(Assurance::Checksum)),
        (noise(1000), "00000000000000000000000000000000", Ok(Assurance::Checksum)),
        (noise(999), "opaque", Err(ErrorKind::Mismatch)),
        (noise(1000).iter().map(|byte| byte ^ 1).collect(), "opaque", Err(ErrorKind::Mismatch)),
        (
            noise(1000).iter().map(|byte| byte ^ 1).collect(),
            "00000000000000000000000000000000",
            Err(ErrorKind::Mismatch),
        ),
    ] {
        let s3 = S3::start();
        s3.server.plant(BUCKET, place.as_str(), &planted);
        let answer = Fault::status(200).with_header("etag", &format!("\"{tag}\""));
        s3.server.faults().rule(move |seen| (seen.method == "PUT").then(|| answer.clone()));
        let found = put(open(&s3).as_ref(), "d1", &noise(1000)).await;
        assert_eq!(found.map(|receipt| receipt.assurance).map_err(|error| error.kind()), expected, "{tag}");
    }
}

#[tokio::test]
async fn a_name_that_is_taken_by_the_same_bytes_is_a_success() {
    let place = place("s3", &Map::new(), "d1", "message.wav");
    let s3 = S3::start();
    // Put by somebody else: nothing of ours stands beside it.
    s3.server.plant(BUCKET, place.as_str(), &noise(1000));
    assert_eq!(put(open(&s3).as_ref(), "d1", &noise(1000)).await.unwrap().assurance, Assurance::Checksum);
    s3.server.plant(BUCKET, place.as_str(), &noise(1000).iter().map(|byte| byte ^ 1).collect::<Vec<_>>());
    assert_eq!(put(open(&s3).as_ref(), "d1", &noise(1000)).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_rotated_key_opens_what_an_old_one_stored() {
    let s3 = S3::start();
    let receipt = put(open(&s3).as_ref(), "d1", &noise(100)).await.unwrap();
    s3.server.stop();
    let rotated = S3Server::builder().folder(s3.server.folder()).keys("AKIANEW", "new-secret").start().unwrap();
    let Value::Object(settings) = rotated.settings(BUCKET) else { panic!("settings") };
    let handler = pool().open("s3", &settings).unwrap();
    assert_eq!(read(handler.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap(), noise(100));
}

#[tokio::test]
async fn what_is_wished_of_objects_is_said_signed_when_they_begin() {
    let s3 = S3::start();
    let mut settings = s3.settings();
    let wishes = json!({
        "server_side_encryption": "aws:kms", "kms_key_id": "k1", "storage_class": "REDUCED_REDUNDANCY", "tags": {"kind": "call recording"}, "tags_key_path": ["tags"],
        "object_lock_mode": "GOVERNANCE", "object_lock_days": 30, "object_lock_legal_hold": true,
    });
    settings.extend(object(wishes));
    let handler = pool().open("s3", &settings).unwrap();
    for (name, length) in [("small.wav", 5_000), ("large.wav", 101 << 20)] {
        let payload = Payload::bytes(vec![7; length], "audio/wav");
        let mut key = key("d1", name);
        key.document["tags"] = json!(["queue=sales"]);
        handler.put(&place("s3", &settings, "d1", name), &payload, &key).await.unwrap();
    }
    let seen = s3.server.faults().seen();
    let begun: Vec<_> = seen
        .iter()
        .filter(|seen| (seen.method == "PUT" && seen.query.is_empty()) || seen.query == "uploads=")
        .collect();
    assert_eq!(begun.len(), 2);
    for request in begun {
        let signed = request.headers["authorization"].to_str().unwrap();
        for (header, value) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "k1"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-tagging", "kind=call+recording&queue=sales"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-legal-hold", "ON"),
        ] {
            assert_eq!(request.headers[header], value, "{}", request.method);
            assert!(signed.contains(header), "{signed}");
        }
        let until = request.headers["x-amz-object-lock-retain-until-date"].to_str().unwrap();
        assert!(until.starts_with("20") && until.ends_with('Z') && until.len() == 20, "{until}");
    }
    // What locks wants a digest of every part, and hears no wishes with it.
    let parts: Vec<_> = seen.iter().filter(|seen| seen.query.starts_with("partNumber=")).collect();
    assert_eq!(parts.len(), 13);
    for part in parts {
        assert!(part.headers.contains_key("content-md5") && !part.headers.contains_key("x-amz-storage-class"));
    }
}
