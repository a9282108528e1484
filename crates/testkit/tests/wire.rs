//! The equipment itself is checked: a fault that does not happen would make every test that relies on it worthless.

use http::Method;
use std::time::Duration;
use testkit::{Api, Fault, FaultProxy, HttpStore, S3Server, VOICEMAIL_WAV};

async fn put(api: &Api, path: &str, body: &'static [u8]) -> anyhow::Result<testkit::Answer> {
    api.try_send(api.request(Method::PUT, path).body(body)).await
}

/// A store, a proxy before it, and a client of the proxy that keeps no connection from one request to the next.
fn behind_proxy() -> (HttpStore, FaultProxy, Api) {
    let store = HttpStore::start();
    let proxy = FaultProxy::start(store.address());
    let api = Api::new(&proxy.url());
    (store, proxy, api)
}

#[tokio::test]
async fn a_store_keeps_and_gives_back() {
    let (store, proxy, api) = behind_proxy();
    assert_eq!(put(&api, "/a%2Fb/c.wav?from=x", VOICEMAIL_WAV).await.unwrap().status, 201);
    assert_eq!(put(&api, "/a%2Fb/c.wav", VOICEMAIL_WAV).await.unwrap().status, 200);
    assert_eq!(api.get("/a%2Fb/c.wav?any=thing").await.body, VOICEMAIL_WAV);
    assert_eq!(api.get("/unknown").await.status, 404);
    let first = &store.uploads()[0];
    assert_eq!((first.path.as_str(), first.query.as_str()), ("/a%2Fb/c.wav", "from=x"));
    assert_eq!(first.headers["host"], proxy.address().to_string(), "the proxy leaves Host alone");
}

#[tokio::test]
async fn each_fault_happens() {
    let (store, proxy, api) = behind_proxy();
    let faults = proxy.faults();

    faults.next([Fault::throttled(7), Fault::unavailable(), Fault::swallow()]);
    let answer = put(&api, "/1", b"one").await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    assert_eq!(put(&api, "/1", b"one").await.unwrap().status, 503);
    assert_eq!(put(&api, "/1", b"one").await.unwrap().status, 200);
    assert!(store.objects().is_empty(), "none of the three stored anything");

    faults.next([Fault::Reset, Fault::ResetDuringUpload { after: 1 }]);
    assert!(put(&api, "/1", b"one").await.is_err());
    assert!(put(&api, "/1", VOICEMAIL_WAV).await.is_err());
    assert!(store.objects().is_empty());

    faults.next([Fault::LoseAnswer]);
    assert!(put(&api, "/1", b"one").await.is_err());
    assert_eq!(store.object("/1").unwrap(), &b"one"[..], "the request was carried out");

    faults.next([Fault::CorruptUpload]);
    assert_eq!(put(&api, "/2", b"two").await.unwrap().status, 201);
    assert_eq!(store.object("/2").unwrap(), &[b't' ^ 0xff, b'w', b'o'][..]);

    faults.next([
        Fault::CorruptAnswer,
        Fault::Truncate { after: 2 },
        Fault::Trickle { piece: 1, pause: Duration::from_millis(1) },
    ]);
    assert_eq!(api.get("/1").await.body, &[b'o' ^ 0xff, b'n', b'e'][..]);
    assert!(api.try_send(api.request(Method::GET, "/1")).await.is_err(), "the end is missing");
    assert_eq!(api.get("/1").await.body, &b"one"[..]);

    faults.next([Fault::BlackHole]);
    let waited = tokio::time::timeout(Duration::from_millis(50), put(&api, "/3", b"three")).await;
    assert!(waited.is_err(), "no answer came");
    faults.wait_for(11, Duration::from_secs(10)).await;
    assert!(store.object("/3").is_none());
}

#[tokio::test]
async fn a_truncated_answer_delivers_what_it_says() {
    let (store, proxy, api) = behind_proxy();
    store.plant("/a", "text/plain", b"0123456789");
    proxy.faults().next([Fault::Truncate { after: 4 }]);
    let mut response = api.request(Method::GET, "/a").send().await.unwrap();
    assert_eq!(response.content_length(), Some(10));
    let mut got = Vec::new();
    let end = loop {
        match response.chunk().await {
            Ok(Some(piece)) => got.extend_from_slice(&piece),
            end => break end,
        }
    };
    assert!(end.is_err(), "the end is noticed");
    assert_eq!(got, b"0123");
}

#[tokio::test]
async fn rules_go_before_the_queue_and_the_queue_before_the_default() {
    let (_store, proxy, api) = behind_proxy();
    proxy.faults().always(Fault::status(500));
    proxy.faults().next([Fault::status(501)]);
    proxy.faults().rule(|seen| (seen.path == "/special").then(|| Fault::status(502)));
    assert_eq!(api.get("/special").await.status, 502);
    assert_eq!(api.get("/").await.status, 501);
    assert_eq!(api.get("/").await.status, 500);
    proxy.faults().heal();
    assert_eq!(api.get("/").await.status, 404);
    let fates: Vec<_> = proxy.faults().seen().into_iter().map(|seen| seen.fault).collect();
    assert_eq!(fates, [Fault::status(502), Fault::status(501), Fault::status(500), Fault::Pass]);
}

#[tokio::test]
async fn a_stopped_server_refuses_and_comes_back_on_its_port() {
    let store = HttpStore::start();
    let api = Api::new(&store.url());
    assert_eq!(put(&api, "/a", b"a").await.unwrap().status, 201);
    store.stop();
    assert!(put(&api, "/a", b"a").await.is_err());
    store.restart();
    assert_eq!(put(&api, "/a", b"a").await.unwrap().status, 200, "it remembers");
}

#[test]
fn a_server_answers_a_synchronous_test() {
    let store = HttpStore::start();
    let mut stream = std::net::TcpStream::connect(store.address()).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
}

#[tokio::test]
async fn the_s3_server_refuses_the_unsigned_and_the_unknown() {
    let s3 = S3Server::start();
    s3.bucket("my_kazoo_bucket_name").plant("my_kazoo_bucket_name", "a/b", b"planted");
    let api = Api::new(&s3.url());
    let unsigned = put(&api, "/my_kazoo_bucket_name/c", b"c").await.unwrap();
    assert_eq!(unsigned.status, 403, "{unsigned}");
    let unknown = api.request(Method::GET, "/my_kazoo_bucket_name/a/b").header(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=NOBODY/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00",
    );
    let unknown = api
        .send(unknown.header("x-amz-date", "20260101T000000Z").header("x-amz-content-sha256", "UNSIGNED-PAYLOAD"))
        .await;
    assert_eq!(unknown.status, 403, "{unknown}");
    assert_eq!(s3.objects("my_kazoo_bucket_name"), [("a/b".to_owned(), bytes::Bytes::from_static(b"planted"))]);
}

#[tokio::test]
async fn an_s3_server_with_a_region_names_it() {
    let s3 = S3Server::builder().region("eu-central-1").start().unwrap();
    s3.bucket("b");
    let api = Api::new(&s3.url());
    let request = api.request(Method::HEAD, "/b").header(
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00",
            s3.access_key()
        ),
    );
    let answer = api.send(request).await;
    assert_eq!((answer.status, answer.header("x-amz-bucket-region")), (400, Some("eu-central-1")));
}

#[test]
fn the_voicemail_is_five_seconds_of_telephone_audio() {
    assert_eq!(&VOICEMAIL_WAV[..4], b"RIFF");
    let rate = u32::from_le_bytes(VOICEMAIL_WAV[24..28].try_into().unwrap());
    let seconds = (VOICEMAIL_WAV.len() - 44) as u32 / 2 / rate;
    assert_eq!((rate, seconds), (8000, 5));
    let loudest =
        VOICEMAIL_WAV[44..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]).unsigned_abs()).max();
    assert!(loudest > Some(8000), "speech, not silence: {loudest:?}");
}
