//! Files of broken messages and descriptions, thrown at an agent: each is answered or dropped, none is fatal, nothing of them stays, and a good
//! call afterwards is answered as if nothing had been.

use std::path::Path;
use std::time::Duration;

use sip::{Agent, Settings, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::desk::{Desk, dial, on, telephone, to, until_idle};

/// An agent that gives up soon on what nobody answers, and ends calls that were only strange.
async fn agent() -> Agent {
    let settings = Settings {
        listen: vec![on(Transport::Udp), on(Transport::Tcp)],
        round_trip: Duration::from_millis(20),
        max_age: Duration::from_secs(3),
        ..Settings::default()
    };
    Agent::start(settings, Desk::new()).await.unwrap()
}

/// The files of a folder of the corpus, by name.
fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<(String, Vec<u8>)> = files
        .map(|file| (file.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&file).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 40, "the corpus is there");
    files
}

async fn assert_well(agent: &Agent, after: &str) {
    for transport in [Transport::Udp, Transport::Tcp] {
        let phone = telephone().await;
        let call = dial(&phone, &to(agent, "1001", transport)).await;
        let call = call.unwrap_or_else(|error| panic!("no call is answered over {transport} after {after}: {error}"));
        call.hang_up().await;
    }
}

fn listens(agent: &Agent, transport: Transport) -> std::net::SocketAddr {
    agent.listens().iter().find(|listen| listen.transport == transport).unwrap().address
}

#[tokio::test]
async fn broken_messages_harm_nobody() {
    let agent = agent().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (name, bytes) in files("messages") {
        socket.send_to(&bytes, listens(&agent, Transport::Udp)).await.unwrap();
        // A stream may be closed over it, while it is being written.
        let mut stream = TcpStream::connect(listens(&agent, Transport::Tcp)).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = vec![0; 4_096];
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut answer)).await;
        // It still answers: by this the message before it was read.
        ping(&agent, &name).await;
    }
    assert_well(&agent, "the broken messages").await;
    until_idle(&agent).await;
}

#[tokio::test]
async fn broken_descriptions_harm_nobody() {
    let agent = agent().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let own = socket.local_addr().unwrap();
    for (name, body) in files("descriptions") {
        let head = format!(
            "INVITE sip:1001@acme.example SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{name};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:dana@carrier.example>;tag={name}\r\nTo: <sip:1001@acme.example>\r\nCall-ID: {name}@{own}\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:dana@{own}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.send_to(&[head.as_bytes(), &body].concat(), listens(&agent, Transport::Udp)).await.unwrap();
        // What is too large for a datagram (it belongs on TCP) is passed over without a word.
        if head.len() + body.len() < 2_000 {
            let status = status(&socket, &name).await;
            assert!((200..700).contains(&status), "{name}: {status}");
        }
        ping(&agent, &name).await;
    }
    assert_well(&agent, "the broken descriptions").await;
    until_idle(&agent).await;
}

/// The final status of the call that this description was offered in.
async fn status(socket: &UdpSocket, name: &str) -> u16 {
    let mut buffer = vec![0; 65_536];
    loop {
        let heard = tokio::time::timeout(Duration::from_secs(30), socket.recv_from(&mut buffer)).await;
        let (length, _) = heard.unwrap_or_else(|_| panic!("{name} is not answered")).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        let code = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
        match code {
            Some(code) if code >= 200 && text.contains(&format!("Call-ID: {name}@")) => return code,
            _ => {}
        }
    }
}

/// Asks whether the agent is there, and waits for the answer.
async fn ping(agent: &Agent, after: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let own = socket.local_addr().unwrap();
    let options = format!(
        "OPTIONS sip:acme.example SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKping{0};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:ping@{own}>;tag=p\r\nTo: <sip:acme.example>\r\nCall-ID: ping{0}@{own}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        own.port()
    );
    let mut buffer = vec![0; 65_536];
    for _ in 0..60 {
        socket.send_to(options.as_bytes(), listens(agent, Transport::Udp)).await.unwrap();
        if tokio::time::timeout(Duration::from_secs(1), socket.recv_from(&mut buffer)).await.is_ok() {
            assert!(buffer.starts_with(b"SIP/2.0 200"), "after {after}");
            return;
        }
    }
    panic!("nobody answers any more after {after}");
}
