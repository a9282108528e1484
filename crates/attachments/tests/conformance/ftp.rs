//! What is promised of `ftp` alone.

use std::sync::Arc;

use attachments::{Assurance, ErrorKind, Pool, Receipt};
use bytes::Bytes;
use outbound::{Client, Policy};
use serde_json::{Map, Value, json};

use crate::fixture::filesystem::files;
use crate::fixture::ftp::Ftp;
use crate::fixture::{ACCOUNT, Fixture, audio, key, noise, object, open, open_with, place, read};

async fn put(fixture: &Ftp, settings: &Map<String, Value>, bytes: &Bytes) -> Result<Receipt, attachments::Error> {
    let place = place("ftp", settings, "d1", "a/b.wav");
    open_with(fixture, settings).put(&place, &audio(bytes), &key("d1", "a/b.wav")).await
}

#[tokio::test]
async fn a_file_lies_where_its_location_says_by_each_way() {
    for tls in ["none", "explicit", "implicit"] {
        let Some(ftp) = Ftp::start(tls) else { return };
        let bytes = noise(300_000);
        let receipt = put(&ftp, &ftp.settings(), &bytes).await.unwrap();
        assert_eq!(files(&ftp.server.files()), [ftp.server.files().join(ACCOUNT).join("d1").join("a%2Fb.wav")]);
        let handler = open(&ftp);
        // Line ends are left alone, and a connection serves again and again.
        for _ in 0..3 {
            assert!(read(handler.fetch(&receipt, None, &Value::Null).await.unwrap()).await.unwrap() == bytes, "{tls}");
        }
        handler.delete(&receipt).await.unwrap();
        // A folder in the URL is one from the server's root.
        let mut settings = ftp.settings();
        settings.insert("url".into(), format!("{}/in%20box", settings["url"].as_str().unwrap()).into());
        put(&ftp, &settings, &noise(10)).await.unwrap();
        assert_eq!(
            files(&ftp.server.files()),
            [ftp.server.files().join("in box").join(ACCOUNT).join("d1").join("a%2Fb.wav")]
        );
    }
}

#[tokio::test]
async fn how_sure_a_put_is_may_be_said() {
    for (tls, read_back, assurance) in [("none", false, Assurance::Length), ("explicit", true, Assurance::ReadBack)] {
        let Some(ftp) = Ftp::start(tls) else { return };
        let mut settings = ftp.settings();
        settings.insert("read_back".into(), read_back.into());
        assert_eq!(put(&ftp, &settings, &noise(100)).await.unwrap().assurance, assurance);
        // Once more it is always compared.
        assert_eq!(put(&ftp, &settings, &noise(100)).await.unwrap().assurance, Assurance::ReadBack);
        let others: Vec<u8> = noise(100).iter().map(|byte| byte ^ 1).collect();
        assert_eq!(put(&ftp, &settings, &others.into()).await.unwrap_err().kind(), ErrorKind::Conflict);
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_and_named() {
    for tls in ["explicit", "implicit"] {
        let Some(ftp) = Ftp::start(tls) else { return };
        let shown = ftp.server.certificate().replace(':', "").to_lowercase();
        for certificate in [Value::Null, json!("ab".repeat(32))] {
            let mut settings = ftp.settings();
            settings.insert("certificate".into(), certificate);
            let error = put(&ftp, &settings, &noise(10)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unreachable);
            let message = error.exchange().unwrap().message.clone().unwrap();
            assert!(message.contains(&shown) && message.contains("check certificate"), "{message}");
        }
        assert!(files(&ftp.server.files()).is_empty());
    }
}

#[tokio::test]
async fn a_server_that_wants_tls_says_so() {
    let Some(ftp) = Ftp::start("explicit") else { return };
    let mut settings = ftp.settings();
    settings.insert("tls".into(), "none".into());
    let error = put(&ftp, &settings, &noise(10)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Refused), "{error:?}");
    assert!(error.exchange().unwrap().message.clone().unwrap().contains("TLS"), "{error:?}");
}

#[tokio::test]
async fn what_an_attempt_left_is_overwritten_by_the_next() {
    let Some(ftp) = Ftp::start("none") else { return };
    ftp.server.trouble(Some("cut"));
    put(&ftp, &ftp.settings(), &noise(600_000)).await.unwrap_err();
    ftp.server.trouble(None);
    assert_eq!(ftp.objects().len(), 1, "the temporary file");
    put(&ftp, &ftp.settings(), &noise(600_000)).await.unwrap();
    assert!(ftp.objects() == [noise(600_000)]);
    let mut settings = ftp.settings();
    settings.insert("field_list".into(), json!([{"const": ACCOUNT}]));
    let error = put(&ftp, &settings, &noise(10)).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Refused | ErrorKind::NotFound | ErrorKind::Rejected),
        "{error:?}"
    );
}

/// A server that sends the data connection to a neighbour is not followed there: the address is that of the control connection.
#[tokio::test]
async fn data_go_to_the_server_and_to_nobody_else() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let neighbour = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = neighbour.local_addr().unwrap().port();
    let control = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ftp://me:pw@{}", control.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = control.accept().await.unwrap();
        let (from, mut to) = stream.into_split();
        to.write_all(b"220 hello\r\n").await.unwrap();
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match line.split(' ').next().unwrap() {
                "USER" => "331 go on".to_owned(),
                "PASS" => "230 come in".to_owned(),
                "TYPE" => "200 yes".to_owned(),
                "SIZE" => "550 nothing".to_owned(),
                "EPSV" => "500 what".to_owned(),
                "PASV" => format!("227 go there (127,0,0,2,{},{})", port / 256, port % 256),
                _ => "502 no".to_owned(),
            };
            if to.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let policy = Policy::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let settings = object(json!({"url": url}));
    let handler = Pool::new(Client::new(Arc::new(policy)).unwrap()).open("ftp", &settings).unwrap();
    let place = place("ftp", &settings, "d1", "x");
    let error = handler.put(&place, &audio(&noise(10)), &key("d1", "x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "nobody listens there on the server itself: {error:?}");
    let visited = tokio::time::timeout(std::time::Duration::from_millis(1), neighbour.accept()).await;
    assert!(visited.is_err(), "the neighbour saw somebody");
}
