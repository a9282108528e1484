//! What switches leave: documents that are made of it, before anybody asks for them.

use serde_json::{Value, json};
use stowline::app::{Error, cdrs, faxes, recordings};
use testkit::VOICEMAIL_WAV;

use super::fixture::{bucket, until};
use super::inside::{DAY, EPOCH, Inside, now, object, whole};

/// 2026-11-01T00:00:00Z
const NOVEMBER: i64 = EPOCH + 1_793_491_200;

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_says_what_it_was_told_and_what_follows_from_it() {
    let inside = Inside::start().await;
    let said = json!({"start": NOVEMBER + 5, "duration_ms": 184_220, "direction": "inbound", "call_id": "f3b1@sbc.example",
        "caller_id_number": "+442079460000", "url": "https://u:p@store.example/x", "token": "secret", "pvt_type": "x", "custom_channel_vars": {"a": 1}});
    let recording = inside.recording(said, "audio/mpeg", b"ID3").await;
    let shown = Value::Object(recording.public());
    let id = recording.id.as_ref();
    assert!(id.starts_with("202611-") && id.len() == 39, "{id}");
    for (key, wanted) in [
        ("id", json!(id)),
        ("name", json!(format!("{id}.mp3"))),
        ("description", json!(format!("recording {id}.mp3"))),
        ("content_type", json!("audio/mpeg")),
        ("media_type", json!("mp3")),
        ("media_source", json!("recorded")),
        ("origin", json!("no origin")),
        ("duration", json!(184)),
        ("cdr_id", json!("202611-f3b1@sbc.example")),
        ("url", json!("https://store.example/x")),
        ("custom_channel_vars", json!({"a": 1})),
        ("_read_only", json!({"content_types": ["audio/mpeg"]})),
        ("token", Value::Null),
        ("pvt_type", Value::Null),
    ] {
        assert_eq!(shown[key], wanted, "{key}: {shown}");
    }
    // The month of the CDR is that of the call, which began before its recording did.
    let said = json!({"start": NOVEMBER + 5, "call_id": "a", "interaction_id": format!("{}-9c2e", NOVEMBER - 5), "name": "x.wav"});
    let shown = inside.recording(said, "audio/wav", b"RIFF").await.public();
    assert_eq!((&shown["cdr_id"], &shown["name"]), (&json!("202610-a"), &json!("x.wav")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_recording_is_named_and_nothing_is_left() {
    let inside = Inside::start().await;
    for (said, field, code) in [
        (json!({"direction": "sideways"}), "direction", "enum"),
        (json!({"start": "soon"}), "start", "type"),
        (json!({"start": 5}), "start", "minimum"),
        (json!({"duration": -1}), "duration", "minimum"),
        (json!({"caller_id_name": "x".repeat(300)}), "caller_id_name", "maxLength"),
        (json!({"owner_id": "../x"}), "owner_id", "pattern"),
        (json!({"custom_channel_vars": []}), "custom_channel_vars", "type"),
        (json!({"owner_id": "somebodyelse"}), "owner_id", "invalid"),
    ] {
        let sound = recordings::Sound { content_type: "audio/wav", file_name: None, limit: 1 << 20 };
        let audio = recordings::receive(inside.app(), &inside.account, None, sound, whole(b"RIFF")).await.unwrap();
        let refused = recordings::create(inside.app(), &inside.account, object(said.clone()), Some(audio)).await;
        let Err(Error::Invalid(violations)) = refused else { panic!("{said}: {refused:?}") };
        assert!(violations.get(field, code).is_some(), "{said}: {violations:?}");
    }
    let sound = recordings::Sound { content_type: "audio/wav", file_name: None, limit: 3 };
    let refused = recordings::receive(inside.app(), &inside.account, None, sound, whole(b"RIFF")).await;
    assert!(matches!(refused, Err(Error::TooLarge { limit: 3 })), "{refused:?}");
    let kept = inside.app().config.server.data_dir.join("attachments");
    until("no file is left", async || std::fs::read_dir(&kept).unwrap().flatten().all(|entry| !entry.path().is_file()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_and_a_fax_go_where_the_plan_sends_their_types() {
    let inside = Inside::start().await;
    let (server, settings) = bucket();
    inside.route("call_recording", settings, json!({"params": {}})).await;
    let sound = recordings::Sound { content_type: "audio/wav", file_name: Some("../call 7.wav"), limit: 1 << 20 };
    let audio = recordings::receive(inside.app(), &inside.account, None, sound, whole(VOICEMAIL_WAV)).await.unwrap();
    let recording = recordings::create(inside.app(), &inside.account, object(json!({})), Some(audio)).await.unwrap();
    inside.until_delivered().await;
    let objects = server.objects("recordings");
    assert_eq!(objects.len(), 1);
    assert!(objects[0].0.ends_with(&format!("{0}_{0}.wav", recording.id)), "{}", objects[0].0);
    assert_eq!(recording.document.text("name"), Some("call_7.wav"));

    let sent = faxes::Sent { content_type: "image/tiff", file_name: None, limit: 1 << 20 };
    let pages = faxes::receive(inside.app(), &inside.account, None, sent, whole(b"II*\0")).await.unwrap();
    let said =
        json!({"from_number": "+14155550100", "timestamp": NOVEMBER, "call_id": "c", "rx_result": {"total_pages": 2}});
    let fax = faxes::create(inside.app(), &inside.account, object(said), pages).await.unwrap();
    let public = Value::Object(fax.document.public());
    assert_eq!(public["name"], "fax message received at 2026-11-01 00:00:00 UTC");
    assert_eq!((&public["folder"], &public["cdr_doc_id"]), (&json!("inbox"), &json!("202611-c")));
    assert_eq!(fax.pages().unwrap().0.as_ref(), format!("received_file_{}.tiff", fax.id));
    assert_eq!(server.objects("recordings").len(), 1, "no plan sends faxes anywhere: it stays here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_is_recorded_once() {
    let inside = Inside::start().await;
    let said = json!({"call_id": "f3b1@sbc/../x?y", "timestamp": NOVEMBER + 100, "duration_seconds": "60", "hangup_cause": "NORMAL_CLEARING"});
    let first = inside.leg(said.clone()).await;
    let again = inside.leg(said).await;
    assert_eq!((first.new, again.new), (true, false));
    assert_eq!(first.leg.id.as_ref(), "202611-f3b1@sbc/../x?y");
    assert_eq!(first.leg.document.revision, again.leg.document.revision);
    assert_eq!((first.leg.start(), first.leg.at()), (NOVEMBER + 40, NOVEMBER + 40));
    for (said, field, code) in [
        (json!({}), "call_id", "required"),
        (json!({"call_id": 5}), "call_id", "type"),
        (json!({"call_id": ""}), "call_id", "minLength"),
        (json!({"call_id": "x", "timestamp": 1}), "timestamp", "minimum"),
        (json!({"call_id": "x", "duration_seconds": "long"}), "duration_seconds", "type"),
        (json!({"call_id": "x", "call_direction": "sideways"}), "call_direction", "enum"),
        (json!({"call_id": "x", "custom_channel_vars": "y"}), "custom_channel_vars", "type"),
    ] {
        let refused = cdrs::record(inside.app(), &inside.account, object(said.clone())).await;
        let Err(Error::Invalid(violations)) = refused else { panic!("{said}: {refused:?}") };
        assert!(violations.get(field, code).is_some(), "{said}: {violations:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_of_the_call_decides_the_month_of_its_legs() {
    let inside = Inside::start().await;
    // It began in October and its legs were hung up in November.
    let a = json!({"call_id": "a", "interaction_key": "call-1", "timestamp": NOVEMBER + 60, "duration_seconds": 70, "call_direction": "inbound"});
    let b = json!({"call_id": "b", "interaction_key": "call-1", "timestamp": NOVEMBER + 60, "duration_seconds": 55});
    let (a, b) = (inside.leg(a).await.leg, inside.leg(b).await.leg);
    assert_eq!((a.id.as_ref(), b.id.as_ref()), ("202610-a", "202610-b"));
    assert_eq!(a.interaction_id(), b.interaction_id());
    assert_eq!(cdrs::time_of(a.interaction_id()), Some(NOVEMBER - 10));
    assert_eq!((b.start(), b.at()), (NOVEMBER + 5, NOVEMBER - 1));
    // A leg may say its call.
    let said = inside
        .leg(json!({"call_id": "c", "interaction_id": format!("{}-9c2e", NOVEMBER - 1), "timestamp": NOVEMBER + 9}))
        .await;
    assert_eq!((said.leg.id.as_ref(), said.leg.document.text("interaction_key")), ("202610-c", Some("9c2e")));
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_of_a_call_find_each_other_in_any_order_and_at_the_same_moment() {
    let inside = Inside::start().await;
    let at = now();
    // By what their switch gives to all legs.
    let mut at_once = Vec::new();
    for leg in 0..8 {
        let (app, account) = (inside.app().clone(), inside.account.clone());
        let said =
            json!({"call_id": format!("k{leg}"), "interaction_key": "K", "timestamp": at, "duration_seconds": leg});
        at_once.push(tokio::spawn(async move { cdrs::record(&app, &account, object(said)).await.unwrap() }));
    }
    let mut calls = std::collections::HashSet::new();
    for leg in at_once {
        calls.insert(leg.await.unwrap().leg.interaction_id().to_owned());
    }
    assert_eq!(calls.len(), 1, "{calls:?}");
    // By the leg that they were bridged to, each order.
    for (first, second) in [
        (
            json!({"call_id": "m1", "other_leg_call_id": "m2"}),
            json!({"call_id": "m2", "other_leg_call_id": "m1", "duration_seconds": 9}),
        ),
        (json!({"call_id": "n1"}), json!({"call_id": "n2", "other_leg_call_id": "n1"})),
        (json!({"call_id": "o2", "other_leg_call_id": "o1"}), json!({"call_id": "o1"})),
    ] {
        let of_first = inside.leg(first).await.leg;
        let of_second = inside.leg(second.clone()).await.leg;
        assert_eq!(of_first.interaction_id(), of_second.interaction_id(), "{second}");
        let again = inside.leg(second).await;
        assert_eq!((again.new, again.leg.interaction_id()), (false, of_first.interaction_id()));
    }
    // A third joins the two.
    let third = inside.leg(json!({"call_id": "m3", "other_leg_call_id": "m1"})).await.leg;
    let legs = cdrs::legs_of(inside.app(), &inside.account, third.interaction_id()).await.unwrap();
    assert_eq!(legs.iter().map(|leg| leg.id.as_ref()[7..].to_owned()).collect::<Vec<_>>(), ["m2", "m1", "m3"]);
    // A key that is used again a month later is another call.
    let later = inside.leg(json!({"call_id": "k9", "interaction_key": "K", "timestamp": at + 40 * DAY})).await.leg;
    assert!(!calls.contains(later.interaction_id()));
    let other = inside.leg(json!({"call_id": "z", "timestamp": at})).await.leg;
    assert_ne!(other.interaction_id(), third.interaction_id());
}
