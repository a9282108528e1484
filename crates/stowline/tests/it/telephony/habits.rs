//! What telephones and networks do in the middle of a call: hold it, fall silent, vanish, change their mind, lose the messages that begin and end it.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::has_program;
use tokio::net::UdpSocket;
use voice::Codec;

use super::phones::{Exchange, as_heard, part_of, until_idle};
use crate::fixture::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_held_and_resumed_and_what_was_said_before_and_after_is_there() {
    if !has_program("sipp", "a call on hold") {
        return;
    }
    let exchange = Exchange::open().await;
    exchange.speech_as_ulaw();
    exchange.sipp("hold.xml", &["-m", "1"]).await;
    let message = exchange.until_left(1).await.remove(0);
    let (said, stored) = (as_heard(Codec::Pcmu), exchange.samples(&message).await);
    let packets = |samples: &[i16]| samples.chunks_exact(160).map(<[i16]>::to_vec).collect::<Vec<_>>();
    let (said, stored) = (packets(&said), packets(&stored));
    // In the order in which they were said; between them may lie the silence of the hold, as far as the caller's clock ran on.
    let follow =
        |start: usize| stored.iter().fold(start, |next, packet| next + usize::from(said.get(next) == Some(packet)));
    let begins = (0..said.len()).filter(|start| Some(&said[*start]) == stored.first());
    let found = begins.map(|start| follow(start) - start).max().expect("the beginning was said");
    assert!(found * 10 > said.len() * 6, "{found} of {} packets, {} stored", said.len(), stored.len());
    until_idle(&exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_acknowledgements_are_lost_is_heard() {
    if !has_program("sipp", "a lost ACK") {
        return;
    }
    let exchange = Exchange::open().await;
    exchange.speech_as_ulaw();
    exchange.sipp("unacknowledged.xml", &["-m", "1"]).await;
    let message = exchange.until_left(1).await.remove(0);
    let stored = exchange.samples(&message).await;
    assert!(part_of(&stored, &as_heard(Codec::Pcmu)) && stored.len() > 4_000, "{} samples", stored.len());
    until_idle(&exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_falls_silent_is_hung_up_on_and_all_that_was_said_is_there() {
    if !has_program("sipp", "a silent caller") {
        return;
    }
    let exchange = Exchange::impatient().await;
    exchange.speech_as_ulaw();
    exchange.sipp("silent.xml", &["-m", "1"]).await;
    let message = exchange.until_left(1).await.remove(0);
    let (said, stored) = (as_heard(Codec::Pcmu), exchange.samples(&message).await);
    assert!(part_of(&stored, &said) && stored.len() > 8_000, "{} samples", stored.len());
    assert_eq!(stored[stored.len() - 160..], said[said.len() - 160..], "the end is there");
    until_idle(&exchange).await;
}

/// Its BYE is lost with everything else: no goodbye, no answer to ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_vanishes_leaves_its_message_and_nothing_else() {
    let exchange = Exchange::impatient().await;
    let speech = exchange.speech();
    let to = format!("sip:1001@{}", exchange.sip("udp").await);
    let mut command = std::process::Command::new(exchange.platform.program.binary());
    command.arg("call").arg(to).arg("--play").arg(speech).stdin(std::process::Stdio::null());
    let mut caller = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let spool = exchange.platform.program.data_dir().join("spool");
    let spoken = || {
        let files = std::fs::read_dir(&spool).unwrap().filter_map(|file| file.unwrap().metadata().ok());
        files.map(|about| about.len()).max().unwrap_or(0)
    };
    until("somebody speaks", async || spoken() > 10_000).await;
    caller.kill().unwrap();
    caller.wait().unwrap();
    let message = exchange.until_left(1).await.remove(0);
    let stored = exchange.samples(&message).await;
    assert!(part_of(&stored, &as_heard(Codec::Pcmu)) && stored.len() > 4_000, "{} samples", stored.len());
    until_idle(&exchange).await;
}

/// A call that is cancelled as it is placed: it never begins, or it does and is ended. Either way nothing of it stays.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_cancelled_at_once_leave_nothing() {
    let exchange = Exchange::open().await;
    let server: SocketAddr = exchange.sip("udp").await.parse().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let own = socket.local_addr().unwrap();
    let request = |method: &str, call: usize, to: &str, cseq: u32, body: &str| {
        // A CANCEL goes by the branch of what it cancels.
        let branch = if method == "BYE" || method == "ACK" { format!("{method}{call}") } else { format!("call{call}") };
        let more = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:1001@acme.example SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:dana@carrier.example>;tag=a{call}\r\nTo: {to}\r\nCall-ID: {call}@{own}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:dana@{own}>\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
    let nobody = "<sip:1001@acme.example>";
    let mut over = std::collections::BTreeSet::new();
    for call in 0..20 {
        socket.send_to(request("INVITE", call, nobody, 1, offer).as_bytes(), server).await.unwrap();
        socket.send_to(request("CANCEL", call, nobody, 1, "").as_bytes(), server).await.unwrap();
    }
    let mut buffer = vec![0; 65_536];
    while over.len() < 20 {
        let heard = tokio::time::timeout(Duration::from_secs(60), socket.recv_from(&mut buffer)).await;
        let (length, _) = heard.expect("every call has an end").unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_default().to_owned()
        };
        let Some(call) = field("Call-ID").split('@').next().and_then(|call| call.parse::<usize>().ok()) else {
            continue;
        };
        let to = field("To");
        match (text.split(' ').nth(1).unwrap_or_default(), field("CSeq").as_str()) {
            ("200", "1 INVITE") => {
                socket.send_to(request("ACK", call, &to, 1, "").as_bytes(), server).await.unwrap();
                socket.send_to(request("BYE", call, &to, 2, "").as_bytes(), server).await.unwrap();
            }
            ("487", "1 INVITE") => {
                let ack = request("ACK", call, &to, 1, "").replace(&format!("bKACK{call}"), &format!("bKcall{call}"));
                socket.send_to(ack.as_bytes(), server).await.unwrap();
                over.insert(call);
            }
            ("200", "2 BYE") => {
                over.insert(call);
            }
            _ => {}
        }
    }
    until_idle(&exchange).await;
    assert!(exchange.messages().await.is_empty(), "nobody said anything");
}
