//! Calls from beginning to end.

use std::sync::Arc;
use std::time::Duration;

use sip::sdp::Menu;
use sip::{Agent, End, ErrorKind, Settings, Transport};

use voice::{Codec, Voice};

use crate::desk::{Desk, answering, dial, menu, on, telephone, to, until, until_idle};

/// Sends packets until one comes back.
async fn hears_echo(call: &sip::Call) {
    let rtp = call.rtp();
    let mut buffer = [0; 2_000];
    for n in 0..500_u16 {
        rtp.send(&[&[0x80, 0], n.to_be_bytes().as_slice(), &[7; 168]].concat()).await;
        if let Ok(Ok(length)) = tokio::time::timeout(Duration::from_millis(20), rtp.receive(&mut buffer)).await {
            assert_eq!(length, 172);
            return;
        }
    }
    panic!("no packet came back");
}

async fn a_call_over(transport: Transport) {
    let desk = Desk::new();
    let (agent, phone) = (answering(desk.clone()).await, telephone().await);
    let call = dial(&phone, &to(&agent, "1001", transport)).await.unwrap();
    let voice = Voice { codec: Codec::Pcmu, payload_type: 0, telephone_event: Some((101, 8_000)) };
    assert_eq!(call.media().borrow().voice, voice);
    hears_echo(&call).await;
    let id = call.about().call_id.clone();
    call.hang_up().await;
    until("the desk knows that it is over", || !desk.past().is_empty()).await;
    let past = desk.past().remove(0);
    assert_eq!(past.end, End::TheirHangup);
    assert_eq!(past.about.call_id, id);
    assert_eq!(past.about.from.name.as_deref(), Some("Dana Fox"));
    assert_eq!(past.about.from.to_string(), "+14155550123@carrier.example");
    assert_eq!(past.about.target.to_string(), "1001@acme.example");
    assert_eq!(past.about.transport, transport);
    assert!(past.heard > 0);
    until_idle(&agent).await;
    until_idle(&phone).await;
}

#[tokio::test]
async fn a_call_over_udp() {
    a_call_over(Transport::Udp).await;
}

#[tokio::test]
async fn a_call_over_tcp() {
    a_call_over(Transport::Tcp).await;
}

#[tokio::test]
async fn a_call_over_tls_with_a_protected_voice() {
    testkit::install_tls();
    let issued = rcgen::generate_simple_self_signed(["acme.example".to_owned()]).unwrap();
    let (chain, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let desk = Desk::new();
    let tls = sip::tls_server(chain.as_bytes(), key.as_bytes()).unwrap();
    let settings = Settings { listen: vec![on(Transport::Tls)], tls: Some(tls), ..Settings::default() };
    let agent = Agent::start(settings, desk.clone()).await.unwrap();
    let phone = telephone().await;
    let mut wanted = to(&agent, "1001", Transport::Tls);
    wanted.protected = true;
    assert!(matches!(dial(&phone, &wanted).await.unwrap_err().kind(), ErrorKind::Address(_)), "nobody is believed");
    wanted.tls = Some(sip::tls_client(chain.as_bytes()).unwrap());
    let call = dial(&phone, &wanted).await.unwrap();
    let agreed = call.media().borrow().protection.clone().unwrap();
    assert_ne!(*agreed.ours.to_sdp(), *agreed.theirs.to_sdp());
    hears_echo(&call).await;
    // The desk hangs up over the same connection: nobody listens at the phone.
    drop(call);
    until("the desk knows that it is over", || desk.past().first().is_some_and(|past| past.end == End::TheirHangup))
        .await;
    until_idle(&agent).await;
}

#[tokio::test]
async fn who_answers_may_hang_up() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let desk = Desk::new();
        let (agent, phone) = (answering(desk.clone()).await, telephone().await);
        let call = dial(&phone, &to(&agent, "1002", transport)).await.unwrap();
        assert_eq!(call.ended().await, End::TheirHangup);
        drop(call);
        until_idle(&agent).await;
        until_idle(&phone).await;
    }
}

#[tokio::test]
async fn refusals_have_their_statuses() {
    let (agent, phone) = (answering(Desk::new()).await, telephone().await);
    for (number, status) in [("9999", 404), ("busy", 503), ("off", 480), ("lost", 500)] {
        let error = dial(&phone, &to(&agent, number, Transport::Udp)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Declined(code, _) if *code == status), "{number}: {error}");
    }
    until_idle(&agent).await;
}

#[tokio::test]
async fn voices_that_nobody_here_knows_are_refused() {
    let (agent, phone) = (answering(Desk::new()).await, telephone().await);
    let strange = Menu { codecs: vec![Codec::Opus], ..menu() };
    let told = tokio::sync::mpsc::unbounded_channel().0;
    let error = phone.dial(&to(&agent, "1001", Transport::Udp), &strange, told).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Declined(488, _)), "{error}");
    until_idle(&agent).await;
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing() {
    let desk = Desk::new();
    let (agent, phone) = (answering(desk.clone()).await, telephone().await);
    let wanted = to(&agent, "slow", Transport::Udp);
    let dialling = dial(&phone, &wanted);
    assert!(tokio::time::timeout(Duration::from_millis(500), dialling).await.is_err());
    until_idle(&agent).await;
    until_idle(&phone).await;
}

#[tokio::test]
async fn when_all_places_are_taken_callers_are_asked_to_come_again() {
    let desk = Desk::new();
    let settings = Settings { listen: vec![on(Transport::Udp)], max_calls: 2, ..Settings::default() };
    let agent = Agent::start(settings, desk).await.unwrap();
    let phone = telephone().await;
    let wanted = to(&agent, "1001", Transport::Udp);
    let (one, two) = (dial(&phone, &wanted).await.unwrap(), dial(&phone, &wanted).await.unwrap());
    let error = dial(&phone, &wanted).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Declined(503, _)), "{error}");
    one.hang_up().await;
    until("a place is free", || agent.census().calls < 2).await;
    drop(two);
    until_idle(&agent).await;
    let again = dial(&phone, &wanted).await.unwrap();
    again.hang_up().await;
}

#[tokio::test]
async fn an_agent_that_stops_lets_calls_end() {
    let desk = Desk::new();
    let (agent, phone) = (answering(desk.clone()).await, telephone().await);
    let call = dial(&phone, &to(&agent, "1002", Transport::Udp)).await.unwrap();
    let wanted = to(&agent, "1001", Transport::Udp);
    let phone = Arc::new(phone);
    agent.drain();
    let error = dial(&phone, &wanted).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Declined(503, _)), "{error}");
    agent.stop(Duration::from_secs(30)).await;
    assert_eq!(call.ended().await, End::TheirHangup);
    assert_eq!(desk.past().len(), 1);
}

#[tokio::test]
async fn no_call_lasts_for_ever() {
    let desk = Desk::new();
    let settings =
        Settings { listen: vec![on(Transport::Udp)], max_age: Duration::from_secs(1), ..Settings::default() };
    let agent = Agent::start(settings, desk.clone()).await.unwrap();
    let phone = telephone().await;
    let call = dial(&phone, &to(&agent, "1001", Transport::Udp)).await.unwrap();
    assert_eq!(call.ended().await, End::TheirHangup);
    until_idle(&agent).await;
    assert_eq!(desk.past()[0].end, End::TooOld);
}
