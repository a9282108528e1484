//! What comes over the wire that no agent of ours would send: written by hand, byte for byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sip::{Agent, End, Settings, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::desk::{Desk, answering, on, until, until_idle};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";

/// A peer that sends text and reads text.
struct Peer {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Peer {
    async fn of(agent: &Agent) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = agent.listens().iter().find(|listen| listen.transport == Transport::Udp).unwrap().address;
        Self { socket, to }
    }

    async fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.to).await.unwrap();
    }

    /// The next message, if one comes soon.
    async fn hear(&self) -> Option<String> {
        let mut buffer = [0; 8_000];
        let (length, _) =
            tokio::time::timeout(Duration::from_secs(20), self.socket.recv_from(&mut buffer)).await.ok()?.unwrap();
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Reads on until a message begins so.
    async fn hear_until(&self, start: &str) -> String {
        for _ in 0..50 {
            let text = self.hear().await.unwrap_or_else(|| panic!("no message begins with {start}"));
            if text.starts_with(start) {
                return text;
            }
        }
        panic!("other messages than {start}");
    }

    /// A request of this peer. `to` may have a tag; `more` are header lines.
    fn request(&self, method: &str, to: &str, cseq: u32, more: &str, body: &str) -> String {
        let own = self.socket.local_addr().unwrap();
        let branch = format!("{method}{cseq}{}", own.port());
        format!(
            "{method} sip:1001@acme.example SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:dana@carrier.example>;tag=mine\r\nTo: {to}\r\nCall-ID: wire@{own}\r\n\
             CSeq: {cseq} {}\r\nContact: <sip:dana@{own}>\r\n{more}Content-Length: {}\r\n\r\n{body}",
            method,
            body.len()
        )
    }

    fn invite(&self, cseq: u32, to: &str, body: &str) -> String {
        self.request("INVITE", to, cseq, if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" }, body)
    }

    /// Calls, and acknowledges. The `To` header with the tag of the other.
    async fn call(&self) -> String {
        self.send(&self.invite(1, "<sip:1001@acme.example>", OFFER)).await;
        let answer = self.hear_until("SIP/2.0 200").await;
        let to = header(&answer, "To");
        self.send(&self.request("ACK", &to, 1, "", "").replace("bKACK", "bKack")).await;
        to
    }

    /// Ends the call.
    async fn bye(&self, to: &str) {
        self.send(&self.request("BYE", to, 90, "", "")).await;
        self.hear_until("SIP/2.0 200").await;
    }
}

fn header(message: &str, name: &str) -> String {
    let line = message.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {message}")).to_owned()
}

#[tokio::test]
async fn a_call_is_answered_once_however_often_it_is_asked_for() {
    let desk = Desk::new();
    let agent = answering(desk.clone()).await;
    let peer = Peer::of(&agent).await;
    let invite = peer.invite(1, "<sip:1001@acme.example>", OFFER);
    for _ in 0..3 {
        peer.send(&invite).await;
    }
    let answer = peer.hear_until("SIP/2.0 200").await;
    assert_eq!(agent.census().calls, 1);
    let to = header(&answer, "To");
    peer.send(&peer.request("ACK", &to, 1, "", "")).await;
    peer.bye(&to).await;
    until_idle(&agent).await;
    assert_eq!(desk.past().len(), 1);
}

#[tokio::test]
async fn an_answer_is_repeated_until_it_is_acknowledged() {
    let agent = answering(Desk::new()).await;
    let peer = Peer::of(&agent).await;
    peer.send(&peer.invite(1, "<sip:1001@acme.example>", OFFER)).await;
    let first = peer.hear_until("SIP/2.0 200").await;
    let second = peer.hear_until("SIP/2.0 200").await;
    assert_eq!(first, second);
    let to = header(&first, "To");
    peer.send(&peer.request("ACK", &to, 1, "", "")).await;
    peer.bye(&to).await;
    until_idle(&agent).await;
}

#[tokio::test]
async fn a_call_that_nobody_acknowledges_is_ended() {
    let desk = Desk::new();
    let agent = answering(desk.clone()).await;
    let peer = Peer::of(&agent).await;
    peer.send(&peer.invite(1, "<sip:1001@acme.example>", OFFER)).await;
    let to = header(&peer.hear_until("SIP/2.0 200").await, "To");
    let bye = peer.hear_until("BYE ").await;
    assert_eq!(header(&bye, "From"), to);
    until("the desk knows", || desk.past().first().is_some_and(|past| past.end == End::Unacknowledged)).await;
    let line = bye.lines().find(|line| line.starts_with("Via:")).unwrap();
    peer.send(&format!(
        "SIP/2.0 200 OK\r\n{line}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {}\r\nContent-Length: 0\r\n\r\n",
        header(&bye, "From"),
        header(&bye, "To"),
        header(&bye, "Call-ID"),
        header(&bye, "CSeq")
    ))
    .await;
    until_idle(&agent).await;
}

#[tokio::test]
async fn a_bye_that_overtakes_the_acknowledgement_ends_the_call() {
    let desk = Desk::new();
    let agent = answering(desk.clone()).await;
    let peer = Peer::of(&agent).await;
    peer.send(&peer.invite(1, "<sip:1001@acme.example>", OFFER)).await;
    let to = header(&peer.hear_until("SIP/2.0 200").await, "To");
    peer.bye(&to).await;
    until_idle(&agent).await;
    assert_eq!(desk.past()[0].end, End::TheirHangup);
    // The same once more, as when its answer was lost.
    peer.bye(&to).await;
}

#[tokio::test]
async fn a_hold_is_answered_and_a_lost_acknowledgement_of_it_ends_the_call() {
    let desk = Desk::new();
    let agent = answering(desk.clone()).await;
    let peer = Peer::of(&agent).await;
    let to = peer.call().await;
    for (cseq, line, wanted) in
        [(2, "a=sendonly\r\n", "a=recvonly"), (3, "a=inactive\r\n", "a=inactive"), (4, "", "a=sendrecv")]
    {
        peer.send(&peer.invite(cseq, &to, &format!("{OFFER}{line}"))).await;
        let answer = loop {
            let answer = peer.hear_until("SIP/2.0 200").await;
            if header(&answer, "CSeq") == format!("{cseq} INVITE") {
                break answer;
            }
        };
        assert!(answer.contains(wanted), "{answer}");
        if cseq < 4 {
            peer.send(&peer.request("ACK", &to, cseq, "", "")).await;
        }
    }
    peer.hear_until("BYE ").await;
    until("the desk knows", || !desk.past().is_empty()).await;
}

#[tokio::test]
async fn what_may_come_within_a_call_is_answered() {
    let desk = Desk::new();
    let agent = answering(desk.clone()).await;
    let peer = Peer::of(&agent).await;
    let to = peer.call().await;
    let sdp = "Content-Type: application/sdp\r\n";
    let dtmf = "Content-Type: application/dtmf-relay\r\n";
    for (cseq, method, more, body, status) in [
        (2, "OPTIONS", "", "", "200"),
        (3, "UPDATE", sdp, OFFER, "200"),
        (4, "UPDATE", "", "", "200"),
        (5, "INFO", dtmf, "Signal=5\r\nDuration=160\r\n", "200"),
        (6, "INFO", dtmf, "Signal= #\r\n", "200"),
        (7, "INFO", "Content-Type: application/json\r\n", "{}", "200"),
        (8, "UPDATE", sdp, "nonsense", "400"),
        (9, "UPDATE", sdp, "v=0\r\nm=audio 9 RTP/AVP 18\r\n", "488"),
        (10, "MESSAGE", "", "hello", "405"),
        (11, "REFER", "", "", "405"),
        (12, "NOTIFY", "", "", "405"),
    ] {
        peer.send(&peer.request(method, &to, cseq, more, body)).await;
        let answer = peer.hear_until("SIP/2.0").await;
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{method} {cseq}: {answer}");
        assert_eq!(header(&answer, "CSeq"), format!("{cseq} {method}"));
    }
    peer.bye(&to).await;
    until_idle(&agent).await;
    assert_eq!(desk.past()[0].keys, "5#");
}

#[tokio::test]
async fn a_caller_without_an_offer_is_made_one() {
    let desk = Desk::new();
    let agent = answering(desk.clone()).await;
    let peer = Peer::of(&agent).await;
    peer.send(&peer.invite(1, "<sip:1001@acme.example>", "")).await;
    let answer = peer.hear_until("SIP/2.0 200").await;
    assert!(answer.contains("RTP/AVP 0 8 101"), "{answer}");
    let to = header(&answer, "To");
    let port = peer.socket.local_addr().unwrap().port();
    let media = OFFER.replace("audio 9", &format!("audio {port}"));
    peer.send(&peer.request("ACK", &to, 1, "Content-Type: application/sdp\r\n", &media)).await;
    // In the call one may ask the same: what do you offer? Too soon is answered 491, and then one asks again.
    let (cseq, answer) = loop {
        static CSEQ: AtomicU32 = AtomicU32::new(2);
        let cseq = CSEQ.fetch_add(1, Ordering::Relaxed);
        peer.send(&peer.invite(cseq, &to, "")).await;
        let answer = loop {
            let answer = peer.hear_until("SIP/2.0").await;
            if header(&answer, "CSeq") == format!("{cseq} INVITE") {
                break answer;
            }
        };
        if answer.starts_with("SIP/2.0 200") {
            break (cseq, answer);
        }
        assert!(answer.starts_with("SIP/2.0 491"), "{answer}");
    };
    assert!(answer.contains("RTP/AVP 0 101"), "{answer}");
    peer.send(&peer.request("ACK", &to, cseq, "Content-Type: application/sdp\r\n", &media)).await;
    peer.bye(&to).await;
    until_idle(&agent).await;
}

#[tokio::test]
async fn a_caller_that_answers_our_offer_with_nothing_is_hung_up_on() {
    let agent = answering(Desk::new()).await;
    let peer = Peer::of(&agent).await;
    peer.send(&peer.invite(1, "<sip:1001@acme.example>", "")).await;
    let to = header(&peer.hear_until("SIP/2.0 200").await, "To");
    peer.send(&peer.request("ACK", &to, 1, "", "")).await;
    peer.hear_until("BYE ").await;
}

#[tokio::test]
async fn a_cancelled_call_is_answered_487() {
    let agent = answering(Desk::new()).await;
    let peer = Peer::of(&agent).await;
    let invite = peer.invite(1, "<sip:slow@acme.example>", OFFER).replace("sip:1001@acme", "sip:slow@acme");
    peer.send(&invite).await;
    peer.hear_until("SIP/2.0 100").await;
    let branch = invite.split("branch=").nth(1).unwrap().split(';').next().unwrap();
    let cancel = peer.request("CANCEL", "<sip:slow@acme.example>", 1, "", "");
    let own = cancel.split("branch=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    peer.send(&cancel.replace(&own, branch)).await;
    peer.hear_until("SIP/2.0 200").await;
    peer.hear_until("SIP/2.0 487").await;
    until_idle(&agent).await;
}

#[tokio::test]
async fn what_begins_nothing_is_refused() {
    let agent = answering(Desk::new()).await;
    let peer = Peer::of(&agent).await;
    let to = "<sip:1001@acme.example>";
    let known = "<sip:1001@acme.example>;tag=nobodys";
    for (cseq, method, to, more, body, status) in [
        (1, "OPTIONS", to, "", "", "200"),
        (2, "BYE", to, "", "", "481"),
        (3, "BYE", known, "", "", "481"),
        (4, "INVITE", known, "", "", "481"),
        (5, "CANCEL", to, "", "", "481"),
        (6, "SUBSCRIBE", to, "", "", "405"),
        (7, "PUBLISH", to, "", "", "405"),
        (8, "INVITE", to, "Require: teleportation\r\n", OFFER, "420"),
        (9, "INVITE", to, "Content-Type: text/plain\r\n", "hello", "415"),
        (10, "INVITE", to, "Content-Type: application/sdp\r\n", "hello", "400"),
        (11, "INVITE", to, "Content-Type: application/sdp\r\n", "v=0\r\nm=video 9 RTP/AVP 97\r\n", "488"),
    ] {
        peer.send(&peer.request(method, to, cseq, more, body)).await;
        let answer = loop {
            let answer = peer.hear_until("SIP/2.0").await;
            if header(&answer, "CSeq") == format!("{cseq} {method}") && !answer.starts_with("SIP/2.0 100") {
                break answer;
            }
        };
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{method} {cseq}: {answer}");
    }
    let no_contact = peer.invite(20, to, OFFER);
    let own = peer.socket.local_addr().unwrap();
    peer.send(&no_contact.replace(&format!("Contact: <sip:dana@{own}>\r\n"), "")).await;
    peer.hear_until("SIP/2.0 400").await;
    until_idle(&agent).await;
}

#[tokio::test]
async fn a_telephone_may_register() {
    let agent = answering(Desk::new()).await;
    let peer = Peer::of(&agent).await;
    let register = |cseq, more: &str| peer.request("REGISTER", "<sip:1001@acme.example>", cseq, more, "");
    peer.send(&register(1, "Expires: 600\r\n")).await;
    let answer = peer.hear_until("SIP/2.0 200").await;
    assert!(header(&answer, "Contact").ends_with(";expires=600"), "{answer}");
    peer.send(&register(2, "Expires: 0\r\n")).await;
    assert!(!peer.hear_until("SIP/2.0 200").await.contains("Contact:"), "its binding is gone");
}

#[tokio::test]
async fn a_stream_is_read_whatever_its_pieces_are() {
    let desk = Desk::new();
    let agent = answering(desk.clone()).await;
    let address = agent.listens().iter().find(|listen| listen.transport == Transport::Tcp).unwrap().address;
    let peer = Peer::of(&agent).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let own = stream.local_addr().unwrap();
    let request = |cseq| {
        peer.request("OPTIONS", "<sip:a@b>", cseq, "", "")
            .replace("SIP/2.0/UDP", "SIP/2.0/TCP")
            .replace("rport", &format!("x={own}"))
    };
    let text = format!("\r\n\r\n{}{}", request(1), request(2));
    for piece in text.as_bytes().chunks(37) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut heard = String::new();
    let mut buffer = [0; 4_000];
    while heard.matches("SIP/2.0 200 OK").count() < 2 {
        let length = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(length, 0, "closed after {heard}");
        heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    assert!(heard.starts_with("\r\nSIP/2.0"), "the question whether we are there is answered first: {heard}");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    while stream.read(&mut buffer).await.unwrap() != 0 {}
}

#[tokio::test]
async fn a_flood_of_a_stranger_is_not_heard_and_others_are() {
    let desk = Desk::guarded("sesame");
    let settings = Settings { listen: vec![on(Transport::Udp)], messages_per_second: 5, ..Settings::default() };
    let agent = Agent::start(settings, desk.clone()).await.unwrap();
    let peer = Peer::of(&agent).await;
    for cseq in 0..200 {
        peer.send(&peer.request("OPTIONS", "<sip:a@b>", cseq, "", "")).await;
    }
    let mut answered = 0;
    while tokio::time::timeout(Duration::from_millis(500), peer.hear()).await.is_ok() {
        answered += 1;
    }
    assert!((20..60).contains(&answered), "{answered} of 200 were answered");
    desk.trusted.store(true, std::sync::atomic::Ordering::Relaxed);
    peer.send(&peer.request("OPTIONS", "<sip:a@b>", 900, "", "")).await;
    assert_eq!(header(&peer.hear_until("SIP/2.0 200").await, "CSeq"), "900 OPTIONS");
}
