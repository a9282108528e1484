use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use proptest::prelude::*;
use voice::{Codec, Voice};

use super::*;

fn menu() -> Menu {
    Menu { codecs: Codec::ALL.to_vec(), ptime: 20, direction: Direction::Both }
}

fn local() -> Local {
    Local { address: IpAddr::from([192, 0, 2, 100]), port: 40_000, session: 7, version: 1 }
}

fn session(text: &str) -> Session {
    Session::parse(text.as_bytes()).unwrap()
}

/// `tests/sdp/*.txt`: a comment, an offer, `--`, the answer to it or why there is none.
#[test]
fn offers_are_answered_as_the_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdp");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (offer, wanted) = text.split_once("--\n").unwrap();
        let offer: String =
            offer.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        let given = match answer(&session(&offer), &menu(), &local(), None) {
            Ok((text, _)) => text.replace("\r\n", "\n"),
            Err(refusal) => format!("refused: {refusal}\n"),
        };
        assert_eq!(given, wanted, "{}", path.display());
        files += 1;
    }
    assert!(files >= 10, "only {files} files were found");
}

#[test]
fn what_is_agreed_on_is_seen_from_us() {
    let text = "v=0\r\nc=IN IP4 203.0.113.4\r\nm=audio 31002 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\n";
    let (_, media) = answer(&session(text), &menu(), &local(), None).unwrap();
    assert_eq!(media.remote, "203.0.113.4:31002".parse::<SocketAddr>().ok());
    let voice = Voice { codec: Codec::Pcma, payload_type: 8, telephone_event: Some((101, 8_000)) };
    assert_eq!((media.voice, media.ptime), (voice, 30));
    assert_eq!(media.direction, Direction::Both);
    assert!(media.protection.is_none());
}

#[test]
fn a_hold_and_its_end_keep_what_runs() {
    let talk = "v=0\nc=IN IP4 203.0.113.4\nm=audio 31002 RTP/AVP 8 0\n";
    let (_, media) = answer(&session(talk), &Menu { codecs: vec![Codec::Pcma], ..menu() }, &local(), None).unwrap();
    for (line, direction) in [
        ("a=sendonly", Direction::Receive),
        ("a=inactive", Direction::Neither),
        ("a=recvonly", Direction::Send),
        ("a=sendrecv", Direction::Both),
    ] {
        let (text, held) = answer(&session(&format!("{talk}{line}\n")), &menu(), &local(), Some(&media)).unwrap();
        assert_eq!(held.direction, direction, "{line}");
        assert_eq!(held.voice.codec, Codec::Pcma, "the codec that runs stays");
        assert!(text.contains(&format!("a={}\r\n", direction.attribute())), "{text}");
    }
    let gone = "v=0\nc=IN IP4 203.0.113.4\nm=audio 0 RTP/AVP 8\n";
    let (text, held) = answer(&session(gone), &menu(), &local(), Some(&media)).unwrap();
    assert_eq!((held.direction, held.remote), (Direction::Neither, None));
    assert!(text.contains("m=audio 0 RTP/AVP 8\r\n"), "{text}");
}

#[test]
fn keys_are_exchanged_and_kept() {
    let offer_text = offer(&menu(), &local(), Some(&new_key()));
    assert!(offer_text.contains("RTP/SAVP 0 8 98 101\r\n"), "{offer_text}");
    let (text, agreed) = answer(&session(&offer_text), &menu(), &local(), None).unwrap();
    let line = agreed.protection.as_ref().unwrap().ours.to_sdp();
    assert!(text.contains(&format!("a=crypto:{}\r\n", *line)), "{text}");
    let key = line.split("inline:").nth(1).unwrap();
    assert!(!format!("{agreed:?}").contains(key), "keys do not print");
    let (again, _) = answer(&session(&offer_text), &menu(), &local(), Some(&agreed)).unwrap();
    assert_eq!(again, text, "the same key is used again");
}

#[test]
fn an_offer_and_its_answer_agree() {
    for key in [None, Some(new_key())] {
        let text = offer(&menu(), &local(), key.as_ref());
        let there = Local { address: IpAddr::from([203, 0, 113, 4]), port: 31_002, ..local() };
        let (reply, theirs) = answer(&session(&text), &menu(), &there, None).unwrap();
        let ours = settle(&session(&reply), &menu(), key.as_ref()).unwrap();
        assert_eq!(ours.remote, "203.0.113.4:31002".parse().ok());
        assert_eq!(ours.voice, theirs.voice);
        match (ours.protection, theirs.protection) {
            (Some(ours), Some(theirs)) => {
                assert_eq!(*ours.ours.to_sdp(), *theirs.theirs.to_sdp());
                assert_eq!(*ours.theirs.to_sdp(), *theirs.ours.to_sdp());
            }
            (None, None) => assert!(key.is_none()),
            _ => panic!("one side is protected"),
        }
    }
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let key = new_key();
    for (text, refusal) in [
        ("v=0\n", Refusal::Unfit),
        ("v=0\nm=video 1 RTP/AVP 97\n", Refusal::Unfit),
        ("v=0\nm=audio 0 RTP/AVP 0\n", Refusal::NoVoice),
        ("v=0\nm=audio 9 RTP/AVP 18\n", Refusal::NoFormat),
        ("v=0\nm=audio 9 RTP/SAVP 0\n", Refusal::NoProtection),
    ] {
        assert_eq!(settle(&session(text), &menu(), Some(&key)).unwrap_err(), refusal, "{text}");
    }
}

#[test]
fn what_is_no_description_is_refused() {
    for bad in [
        "".into(),
        "hello".into(),
        "v=0\nm=audio\n".into(),
        "v=0\nm=audio 99999 RTP/AVP 0\n".into(),
        "v=0\nc=IN IP4\n".into(),
        "v=0\nc=IN IP4 telephone.example\n".into(),
        "v=0\nc=ATM IP4 203.0.113.4\n".into(),
        format!("v=0\n{}", "m=audio 9 RTP/AVP 0\n".repeat(17)),
        format!("v=0\n{}", "a=x\n".repeat(600)),
        format!("v=0\na={}\n", "x".repeat(40_000)),
    ] {
        assert!(Session::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Session::parse(b"v=0\n\xff\xfe\n").is_err());
}

proptest! {
    #[test]
    fn nothing_upsets_the_reader(text in "(v=0\n)?([mcaov]=[ -~]{0,60}\n|a=(rtpmap|fmtp|crypto|ptime):[ -~]{0,60}\n|m=audio [0-9]{1,6} RTP/S?AVP [0-9 ]{0,12}\n){0,12}") {
        if let Ok(offer) = Session::parse(text.as_bytes())
            && let Ok((reply, _)) = answer(&offer, &menu(), &local(), None)
        {
            let read = Session::parse(reply.as_bytes()).unwrap();
            prop_assert_eq!(read.streams.len(), offer.streams.len(), "an answer has a stream for each of the offer");
        }
    }

    #[test]
    fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let _ = Session::parse(&bytes);
    }
}
