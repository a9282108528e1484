use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes as Received;
use axum::http::HeaderMap;
use axum::routing::{get, put};
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use super::*;

async fn server() -> SocketAddr {
    let router = Router::new()
        .route(
            "/put",
            put(|headers: HeaderMap, body: Received| async move {
                let said = headers.get("content-length").map(|value| value.to_str().unwrap().to_owned());
                let chunked = headers.contains_key("transfer-encoding");
                format!("{said:?} {chunked} {} {:?}", body.len(), headers.get("authorization"))
            }),
        )
        .route("/away", get(|| async { (http::StatusCode::FOUND, [("location", "http://10.0.0.1/")]) }))
        .layer(axum::extract::DefaultBodyLimit::disable());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A server that accepts, reads what comes and says `answer`, then nothing.
async fn mute(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                std::future::pending::<()>().await;
            });
        }
    });
    address
}

fn open() -> Arc<Policy> {
    Arc::new(Policy::new(vec!["127.0.0.0/8".parse().unwrap()]))
}

fn impatient() -> Client {
    let timeouts = Timeouts { connect: Duration::from_secs(5), idle: Duration::from_millis(300) };
    Client::with_timeouts(open(), timeouts).unwrap()
}

fn request(method: Method, url: &str, body: Body) -> Request {
    let mut request = Request::new(method, Url::parse(url).unwrap());
    request.body = body;
    request
}

async fn text(client: &Client, request: Request) -> String {
    let answer = client.send(request).await.unwrap();
    String::from_utf8(answer.bytes(1 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn every_body_says_its_length() {
    let address = server().await;
    let client = Client::new(open()).unwrap();
    let url = format!("http://{address}/put");
    let large = Bytes::from(vec![7; 3 * PIECE + 5]);
    let parts = stream::iter([Ok(Bytes::from_static(b"ab")), Ok(Bytes::from_static(b"cde"))]).boxed();
    for (body, expected) in [
        (Body::Empty, "Some(\"0\") false 0 None"),
        (Body::Bytes(Bytes::from_static(b"hello")), "Some(\"5\") false 5 None"),
        (Body::Bytes(large), "Some(\"786437\") false 786437 None"),
        (Body::Stream { length: 5, stream: parts }, "Some(\"5\") false 5 None"),
    ] {
        assert_eq!(text(&client, request(Method::PUT, &url, body)).await, expected);
    }
}

/// A server for `localhost` behind TLS, and its certificate, which nobody vouches for.
async fn behind_tls() -> (SocketAddr, rustls::pki_types::CertificateDer<'static>) {
    testkit::install_tls();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = issued.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let acceptor =
        tokio_rustls::TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.clone()], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..read].starts_with(b"GET /in HTTP/1.1\r\n"));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure").await;
        }
    });
    (address, certificate)
}

#[tokio::test]
async fn a_certificate_is_believed_for_its_name_when_somebody_vouches_for_it() {
    let (address, certificate) = behind_tls().await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let believing = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let client = Client::with_parts(open(), Timeouts::default(), system(), believing);
    let at = |host: &str| request(Method::GET, &format!("https://{host}:{}/in", address.port()), Body::Empty);
    assert_eq!(text(&client, at("localhost")).await, "secure");
    // Another name than that of the certificate, and a machine that does not know who issued it.
    assert_eq!(client.send(at("127.0.0.1")).await.unwrap_err().kind(), ErrorKind::Tls);
    let machine = Client::new(open()).unwrap();
    assert_eq!(machine.send(at("localhost")).await.unwrap_err().kind(), ErrorKind::Tls);
}

#[tokio::test]
async fn a_user_in_the_url_is_sent_and_never_shown() {
    let address = server().await;
    let client = Client::new(open()).unwrap();
    let url = format!("http://me:hunter2@{address}/put?token=hunter2");
    let sent = request(Method::PUT, &url, Body::Empty);
    assert!(!format!("{sent:?}").contains("hunter2"));
    assert!(text(&client, sent).await.contains("Basic bWU6aHVudGVyMg=="));
    let gone = request(Method::PUT, "http://me:hunter2@127.0.0.1:1/put?token=hunter2", Body::Empty);
    let error = client.send(gone).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_our_fault() {
    let address = server().await;
    let client = Client::new(open()).unwrap();
    let parts = stream::iter([Ok(Bytes::from_static(b"ab")), Err(io::Error::other("the file is gone"))]).boxed();
    let sent = request(Method::PUT, &format!("http://{address}/put"), Body::Stream { length: 5, stream: parts });
    assert_eq!(client.send(sent).await.unwrap_err().kind(), ErrorKind::Body);
}

#[tokio::test]
async fn forbidden_addresses_are_not_reached() {
    let address = server().await;
    let client = Client::new(Arc::new(Policy::default())).unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = format!("http://{host}:{}/put", address.port());
        let error = client.send(request(Method::PUT, &url, Body::Empty)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{url}");
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let address = server().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    // Public when it is looked at for the first time, private ever after.
    let lookup: Lookup = Arc::new(move |_| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        let found: SocketAddr = if first { "8.8.8.8:0" } else { "127.0.0.1:0" }.parse().unwrap();
        Box::pin(async move { Ok(vec![found]) })
    });
    assert_eq!(lookup("rebind.example.org".into()).await.unwrap()[0].ip().to_string(), "8.8.8.8");
    let client = Client::with_lookup(Arc::new(Policy::default()), Timeouts::default(), lookup).unwrap();
    let url = format!("http://rebind.example.org:{}/put", address.port());
    let error = client.send(request(Method::PUT, &url, Body::Empty)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(asked.load(Ordering::SeqCst), 2, "judged on the look-up that the connection uses");
}

#[tokio::test]
async fn a_dns_server_that_changes_its_answer_gains_nothing() {
    let (open_server, closed_server) = (server().await, TcpListener::bind("127.0.0.3:0").await.unwrap());
    let closed = closed_server.local_addr().unwrap();
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = reached.clone();
    tokio::spawn(async move {
        while closed_server.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let dns = testkit::DnsServer::start();
    let policy = Arc::new(Policy::new(vec!["127.0.0.1/32".parse().unwrap()]));
    let client = Client::with_resolvers(policy, Timeouts::default(), &[dns.address()]).unwrap();
    let ask = async |port: u16| {
        let mut sent = request(Method::PUT, &format!("http://rebind.example:{port}/put"), Body::Empty);
        sent.fresh = true;
        client.send(sent).await.map(|answer| answer.status().as_u16()).map_err(|error| error.kind())
    };
    assert_eq!(ask(open_server.port()).await, Err(ErrorKind::Resolve));
    dns.say("rebind.example", &["127.0.0.1"]);
    assert_eq!(ask(open_server.port()).await, Ok(200));
    for inner in [
        "127.0.0.3",
        "10.0.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "::1",
        "::ffff:127.0.0.3",
        "fd00:ec2::254",
        "64:ff9b::7f00:3",
    ] {
        dns.say("rebind.example", &[inner]);
        assert_eq!(ask(closed.port()).await, Err(ErrorKind::Denied), "{inner}");
    }
    // Beside an open address a closed one is as if it were not there.
    dns.say("rebind.example", &["127.0.0.3", "127.0.0.1", "::1"]);
    assert_eq!(ask(open_server.port()).await, Ok(200));
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    assert!(dns.asked("rebind.example") >= 11, "each connection asks anew: {}", dns.asked("rebind.example"));
}

#[tokio::test]
async fn redirects_are_answers() {
    let address = server().await;
    let client = Client::new(open()).unwrap();
    let answer = client.send(request(Method::GET, &format!("http://{address}/away"), Body::Empty)).await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.header("location"), Some("http://10.0.0.1/"));
}

#[tokio::test]
async fn what_stands_still_ends() {
    let silent = mute("").await;
    let sent = request(Method::GET, &format!("http://{silent}/"), Body::Empty);
    assert_eq!(impatient().send(sent).await.unwrap_err().kind(), ErrorKind::Timeout);

    let halfway = mute("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let sent = request(Method::GET, &format!("http://{halfway}/"), Body::Empty);
    let answer = impatient().send(sent).await.unwrap();
    assert_eq!(answer.content_length(), Some(10));
    assert_eq!(answer.bytes(100).await.unwrap_err().kind(), ErrorKind::Timeout);

    // The server reads one kilobyte and no more: the socket fills, then nothing moves.
    let full = mute("").await;
    let endless = stream::repeat_with(|| Ok(Bytes::from(vec![0; 64 << 10]))).boxed();
    let sent = request(Method::PUT, &format!("http://{full}/"), Body::Stream { length: 1 << 40, stream: endless });
    assert_eq!(impatient().send(sent).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn what_is_slow_but_moves_arrives() {
    let address = server().await;
    let slow = stream::iter(0..8)
        .then(|_| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Bytes::from_static(b"x"))
        })
        .boxed();
    let sent = request(Method::PUT, &format!("http://{address}/put"), Body::Stream { length: 8, stream: slow });
    assert!(
        text(&impatient(), sent).await.contains(" 8 "),
        "longer in all than the idle time, and never still that long"
    );
}

#[tokio::test]
async fn a_fresh_request_takes_no_used_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    let client = Client::new(open()).unwrap();
    for (fresh, connections) in [(false, 1), (false, 1), (true, 2), (true, 3), (false, 3)] {
        let mut sent = request(Method::GET, &format!("http://{address}/"), Body::Empty);
        sent.fresh = fresh;
        assert_eq!(text(&client, sent).await, "ok");
        assert_eq!(accepted.load(Ordering::SeqCst), connections, "fresh: {fresh}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // Each connection answers once, reads one request more, and closes without a word.
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    let client = Client::new(open()).unwrap();
    let url = format!("http://{address}/");
    for method in [Method::GET, Method::GET, Method::DELETE] {
        assert_eq!(text(&client, request(method, &url, Body::Empty)).await, "ok");
    }
}

#[tokio::test]
async fn what_may_have_been_done_is_sent_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let client = Client::new(open()).unwrap();
    for (method, connections) in [(Method::PUT, 1), (Method::POST, 2), (Method::GET, 4)] {
        let error = client.send(request(method, &format!("http://{address}/"), Body::Empty)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert_eq!(accepted.load(Ordering::SeqCst), connections);
    }
}
