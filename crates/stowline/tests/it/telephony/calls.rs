//! Calls from beginning to end.

use testkit::has_program;
use voice::Codec;

use super::phones::{Exchange, as_heard, until_idle};
use crate::fixture::bucket;

#[tokio::test]
async fn what_a_caller_says_is_stored_sample_by_sample() {
    let exchange = Exchange::open().await;
    let speech = exchange.speech();
    for (codec, transport, more) in [("pcmu", "udp", ""), ("pcma", "tcp", ""), ("pcmu", "udp", "--srtp")] {
        let count = exchange.messages().await.len();
        let mut options = vec!["--codec", codec, "--transport", transport];
        options.extend(Some(more).filter(|more| !more.is_empty()));
        let output = exchange.call(&speech, &options).await;
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains("answered: ") && told.contains("all was said"), "{told}");
        let message = exchange.until_left(count + 1).await.remove(0);
        let codec = if codec == "pcma" { Codec::Pcma } else { Codec::Pcmu };
        let (wanted, stored) = (as_heard(codec), exchange.samples(&message).await);
        assert!(stored == wanted, "{codec:?} over {transport}: {} samples, {} were said", stored.len(), wanted.len());
        assert_eq!(message["length"], 5_240);
        assert_eq!(message["size"], 44 + 2 * wanted.len());
        assert_eq!(message["caller_id_name"], "stowline call");
    }
    until_idle(&exchange).await;
}

#[tokio::test]
async fn a_call_of_sipp_is_in_the_bucket_sample_by_sample() {
    if !has_program("sipp", "calls of sipp") {
        return;
    }
    let exchange = Exchange::open().await;
    let (server, settings) = bucket();
    exchange.platform.route_voicemail_to(settings).await;
    exchange.speech_as_ulaw();
    exchange.sipp("speak.xml", &["-m", "1"]).await;
    let message = exchange.until_left(1).await.remove(0);
    exchange.platform.until_delivered().await;
    assert_eq!(message["caller_id_number"], "+14155550123");
    assert_eq!(message["caller_id_name"], "Dana Fox");
    assert_eq!(message["from"], "+14155550123@carrier.example");
    let keys = server.keys("recordings");
    assert_eq!(keys.len(), 1, "{keys:?}");
    let object = server.object("recordings", &keys[0]).unwrap();
    assert!(keys[0].ends_with(".wav"), "{keys:?}");
    assert!(
        voice::wav::read(&object).unwrap().samples() == as_heard(Codec::Pcmu),
        "what lies in the bucket was not said"
    );
    until_idle(&exchange).await;
}

#[tokio::test]
async fn a_full_box_takes_no_call_and_what_is_sent_otherwise_all_the_same() {
    let exchange = Exchange::of_small_boxes().await;
    let speech = exchange.speech();
    let first = exchange.platform.voicemail(&exchange.mailbox).await;
    assert!(exchange.call(&speech, &[]).await.status.success());
    exchange.until_left(2).await;
    let declined = exchange.call(&speech, &[]).await;
    let told = [declined.stdout, declined.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(declined.status.code() == Some(1) && told.contains("480"), "{told}");
    exchange.platform.voicemail(&exchange.mailbox).await;
    assert_eq!(exchange.messages().await.len(), 3);
    let api = &exchange.platform.tenant.api;
    let deleted = serde_json::json!({"data": {"messages": [first], "folder": "deleted"}});
    api.post(&format!("{}/messages", exchange.mailbox), &deleted).await.expect_status(200);
    assert!(!exchange.call(&speech, &[]).await.status.success(), "two are left");
    let second = exchange.messages().await.into_iter().find(|message| message["folder"] == "new").unwrap();
    api.delete(&format!("{}/messages/{}", exchange.mailbox, second["media_id"].as_str().unwrap()))
        .await
        .expect_status(200);
    assert!(exchange.call(&speech, &[]).await.status.success());
    until_idle(&exchange).await;
}
