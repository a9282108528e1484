//! Call records over the API: rows, calls, legs, sums, and who may.

use serde_json::{Value, json};
use stowline::app::cdrs::COLUMNS;
use testkit::{Answer, Api};

use super::inside::{DAY, EPOCH, Inside, now};

mod csv;
mod windows;

/// 2026-11-23T14:26:35Z
const AT: i64 = EPOCH + 1_795_443_995;

/// A call of two legs that a switch recorded; their call ids.
async fn call(inside: &Inside, key: &str, start: i64, owner: Option<&str>) -> (String, String) {
    let (a, b) = (format!("{key}-a@sbc.example"), format!("{key}-b@10.1.1.9"));
    let common = json!({"interaction_key": key, "hangup_cause": "NORMAL_CLEARING", "media_server": "sw1"});
    let leg = |more: Value| {
        let mut leg = common.clone();
        leg.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        leg
    };
    let vars = owner.map_or_else(|| json!({}), |owner| json!({"owner_id": owner}));
    inside.leg(leg(json!({"call_id": a, "other_leg_call_id": b, "call_direction": "inbound", "timestamp": start + 201, "duration_seconds": 201,
        "billing_seconds": 184, "caller_id_number": "+442079460000", "caller_id_name": "Harbour Ltd", "callee_id_number": "310", "request": "310@acme.example",
        "to": "310@acme.example", "from": "+442079460000@sbc.example"}))).await;
    inside.leg(leg(json!({"call_id": b, "other_leg_call_id": a, "call_direction": "outbound", "timestamp": start + 201, "duration_seconds": 195,
        "billing_seconds": 184, "to": "sip:310@10.1.1.9", "from_uri": "+442079460000@acme.example", "custom_channel_vars": vars}))).await;
    (a, b)
}

fn column(answer: &Answer, name: &str) -> Vec<String> {
    answer.data().as_array().unwrap().iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
}

fn window(at: i64) -> String {
    format!("created_from={}&created_to={}", at - 5 * DAY, at + 5 * DAY)
}

async fn ids(api: &Api, path: &str) -> Vec<String> {
    column(&api.get(path).await.expect_status(200), "id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_all_columns_in_their_order_as_text() {
    let inside = Inside::start().await;
    let leg = json!({"call_id": "f3b1@sbc.example", "timestamp": AT + 201, "duration_seconds": 201, "billing_seconds": 184, "call_direction": "inbound",
        "caller_id_number": "+442079460000", "caller_id_name": "Harbour Ltd", "callee_id_number": "310", "callee_id_name": "Support", "hangup_cause": "NORMAL_CLEARING",
        "other_leg_call_id": "b", "to": "310@acme.example", "from": "+442079460000@sbc.example", "request": "310@acme.example",
        "channel_created_time": 1_795_443_995_123_456_i64, "media_server": "sw1", "media_recordings": ["202611-r1", "202611-r2"], "recording_url": "https://x/y",
        "interaction_id": format!("{AT}-9c2e"), "custom_channel_vars": {"owner_id": "o1", "authorizing_id": "d1", "account_id": "a1", "account_billing": "per_minute",
        "reseller_billing": "none", "rate": 0.02, "rate_name": "UK", "bridge_id": "br", "cost": "0.06", "call_priority": 5}});
    inside.leg(leg).await;
    let row =
        inside.api.get(&format!("{}?{}", inside.path("cdrs"), window(AT))).await.expect_status(200).data()[0].clone();
    let wanted = json!({"id": "202611-f3b1@sbc.example", "call_id": "f3b1@sbc.example", "caller_id_number": "+442079460000", "caller_id_name": "Harbour Ltd",
        "callee_id_number": "310", "callee_id_name": "Support", "duration_seconds": "201", "billing_seconds": "184", "timestamp": AT.to_string(),
        "hangup_cause": "NORMAL_CLEARING", "other_leg_call_id": "b", "owner_id": "o1", "to": "310@acme.example", "from": "+442079460000@sbc.example",
        "direction": "inbound", "request": "310@acme.example", "authorizing_id": "d1", "cost": "0.06", "dialed_number": "310", "calling_from": "+442079460000",
        "datetime": "2026-11-23 14:26:35", "unix_timestamp": "1795443995", "unix_timestamp_micro": "1795443995123456", "rfc_1036": "Mon, 23 Nov 2026 14:26:35 GMT",
        "iso_8601": "2026-11-23", "iso_8601_combined": "2026-11-23T14:26:35Z", "call_type": "per_minute", "rate": "0.02", "rate_name": "UK", "bridge_id": "br",
        "recording_url": "https://x/y", "media_recordings": "202611-r1,202611-r2", "media_server": "sw1", "call_priority": "5", "interaction_id": format!("{AT}-9c2e")});
    assert_eq!(row, wanted);
    let keys: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(keys, COLUMNS.iter().collect::<Vec<_>>());
    // What a leg does not say is empty.
    let bare = inside.leg(json!({"call_id": "bare", "timestamp": AT, "call_direction": "outbound", "to": "sip:49@x", "from_uri": "sip:30@y",
        "custom_channel_vars": {"account_id": "a1", "authorizing_id": "a1"}})).await;
    let path = format!("{}?{}&filter_call_id=bare&utc_offset=3600", inside.path("cdrs"), window(AT));
    let row = inside.api.get(&path).await.data()[0].clone();
    for (key, wanted) in [
        ("caller_id_name", ""),
        ("duration_seconds", ""),
        ("authorizing_id", ""),
        ("media_recordings", ""),
        ("cost", ""),
        ("dialed_number", "49"),
        ("calling_from", "30"),
        ("datetime", "2026-11-23 15:26:35"),
        ("iso_8601_combined", "2026-11-23T14:26:35Z"),
        ("unix_timestamp_micro", "1795443995000000"),
        ("id", bare.leg.id.as_ref()),
    ] {
        assert_eq!(row[key], wanted, "{key}");
    }
    // Resellers see two more.
    let more = inside.master.get(&path).await.expect_status(200).data()[0].clone();
    let keys: Vec<&str> = more.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys[35..], ["reseller_cost", "reseller_call_type"]);
    for (query, field) in
        [("utc_offset=east", "utc_offset"), ("created_from=x", "created_from"), ("start_key=x", "start_key")]
    {
        let refused = inside.api.get(&format!("{}?{query}", inside.path("cdrs"))).await.expect_status(400).data();
        assert!(refused[field].is_object(), "{query}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_listed_once_by_their_first_leg() {
    let inside = Inside::start().await;
    let (_, pat) = inside.user("pat").await;
    let start = now() - DAY;
    let mut first = Vec::new();
    for index in 0..7 {
        let (a, _) =
            call(&inside, &format!("k{index}"), start + index * 10, (index % 2 == 0).then_some(pat.as_str())).await;
        first.push(a);
    }
    first.reverse();
    let path = inside.path("cdrs/interaction");
    assert_eq!(column(&inside.api.get(&path).await.expect_status(200), "call_id"), first);
    for size in [1, 2, 3, 7, 50] {
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let page = inside.api.get(&format!("{path}?page_size={size}&start_key={next}")).await.expect_status(200);
            seen.extend(column(&page, "call_id"));
            match page.json()["next_start_key"].as_str() {
                Some(key) => next = key.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, first, "{size}");
    }
    // Below a user, of each of their calls the first leg that is theirs.
    let theirs = column(&inside.api.get(&inside.path(&format!("users/{pat}/cdrs/interaction"))).await, "call_id");
    assert_eq!(theirs, ["k6-b@10.1.1.9", "k4-b@10.1.1.9", "k2-b@10.1.1.9", "k0-b@10.1.1.9"]);
    let outbound = column(
        &inside.api.get(&format!("{path}?filter_call_direction=outbound&ascending=true&page_size=2")).await,
        "call_id",
    );
    assert_eq!(outbound, ["k0-b@10.1.1.9", "k1-b@10.1.1.9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legs_of_a_call_are_found_by_the_call_and_by_each_leg() {
    let inside = Inside::start().await;
    // Begun in one month, ended in the next.
    let start = EPOCH + 1_793_491_200 - 30;
    let (a, b) = call(&inside, "over/midnight?", start, None).await;
    call(&inside, "another", start, None).await;
    let (a, b) = (format!("202610-{a}"), format!("202610-{b}"));
    let leg = inside.api.get(&inside.path(&format!("cdrs/{}", Api::segment(&b)))).await.expect_status(200).data();
    let interaction = leg["interaction_id"].as_str().unwrap().to_owned();
    assert!(interaction.starts_with(&format!("{start}-")), "{interaction}");
    for by in [&interaction, &a, &b] {
        let path = inside.path(&format!("cdrs/legs/{}", Api::segment(by)));
        let legs = inside.api.get(&path).await.expect_status(200);
        assert_eq!(column(&legs, "id"), [a.clone(), b.clone()], "{by}");
        assert_eq!(legs.data()[1], leg, "whole documents");
    }
    for by in ["63963340001-9c2e", "202610-nothing", "nothing", "202613-x"] {
        let refused = inside.api.get(&inside.path(&format!("cdrs/legs/{by}"))).await.expect_status(404).json();
        assert_eq!((&refused["message"], &refused["data"]["cause"]), (&json!("bad_identifier"), &json!(by)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_call_id_is_an_address() {
    let inside = Inside::start().await;
    let long = "x".repeat(300);
    for call_id in [
        "a84b4c76e66710@10.1.1.9",
        "a/b",
        "a?b#c",
        "100%25",
        "a b+c",
        "\"<>{}|\\^`",
        "..",
        "ünï",
        "interaction",
        "summary",
        long.as_str(),
    ] {
        let id = inside.leg(json!({"call_id": call_id})).await.leg.id.to_string();
        let answer = inside.api.get(&inside.path(&format!("cdrs/{}", Api::segment(&id)))).await.expect_status(200);
        assert_eq!((&answer.data()["call_id"], &answer.data()["id"]), (&json!(call_id), &json!(id)));
        let tag = answer.header("etag").unwrap();
        let again = inside.api.request(reqwest::Method::GET, &inside.path(&format!("cdrs/{}", Api::segment(&id))));
        inside.api.send(again.header("if-none-match", tag)).await.expect_status(304);
    }
    assert_eq!(inside.api.get(&inside.path("cdrs")).await.data().as_array().unwrap().len(), 11);
    let plain = "could not find cdr with supplied id";
    for (id, message) in
        [("nothing", plain), ("202611-nothing", "bad_identifier"), ("202613-x", plain), ("000012-x", "bad_identifier")]
    {
        let answer = inside.api.get(&inside.path(&format!("cdrs/{id}"))).await.expect_status(404).json();
        assert_eq!((&answer["message"], &answer["data"]["cause"]), (&json!(message), &json!(id)));
    }
    for method in [reqwest::Method::PUT, reqwest::Method::POST, reqwest::Method::PATCH, reqwest::Method::DELETE] {
        for path in ["cdrs", "cdrs/interaction", "cdrs/summary", "cdrs/x", "cdrs/legs/x"] {
            inside.api.json(method.clone(), &inside.path(path), &json!({"data": {}})).await.expect_status(405);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_adds_up_what_the_window_holds() {
    let inside = Inside::with("[api]\nmaximum_range = \"2400h\"").await;
    let (_, pat) = inside.user("pat").await;
    for (index, days) in [1, 2, 40, 200].into_iter().enumerate() {
        call(&inside, &format!("k{index}"), now() - days * DAY, (index == 0).then_some(pat.as_str())).await;
    }
    inside.leg(json!({"call_id": "lone", "duration_seconds": 9, "hangup_cause": "NO_ANSWER"})).await;
    let path = inside.path("cdrs/summary");
    let sum = inside.api.get(&path).await.expect_status(200).data();
    let sums = |legs: i64, answered: i64, duration: i64, billing: i64| json!({"legs": legs, "answered": answered, "duration_seconds": duration, "billing_seconds": billing});
    for (key, wanted) in [
        ("legs", 7),
        ("interactions", 4),
        ("answered", 6),
        ("duration_seconds", 3 * 396 + 9),
        ("billing_seconds", 6 * 184),
    ] {
        assert_eq!(sum[key], wanted, "{key}: {sum}");
    }
    assert_eq!(
        sum["direction"],
        json!({"unknown": sums(1, 0, 9, 0), "outbound": sums(3, 3, 585, 552), "inbound": sums(3, 3, 603, 552)})
    );
    assert_eq!(sum["hangup_cause"]["NO_ANSWER"], sums(1, 0, 9, 0));
    let months = sum["month"].as_object().unwrap();
    assert_eq!(months.values().map(|month| month["legs"].as_i64().unwrap()).sum::<i64>(), 7);
    assert!(months.len() >= 2, "{sum}");
    let theirs = inside.api.get(&inside.path(&format!("users/{pat}/cdrs/summary"))).await.expect_status(200).data();
    assert_eq!((&theirs["legs"], &theirs["interactions"]), (&json!(1), &json!(1)));
    let none = inside.api.get(&format!("{path}?filter_call_direction=sideways")).await.expect_status(200).data();
    assert_eq!((&none["legs"], &none["direction"]), (&json!(0), &json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_admin_sees_only_their_own_legs() {
    let inside = Inside::start().await;
    let ((pat, pat_id), (kim, kim_id)) = (inside.user("pat").await, inside.user("kim").await);
    let (a, b) = call(&inside, "k1", now() - 300, Some(&pat_id)).await;
    let other = inside.leg(json!({"call_id": "other"})).await.leg.id.to_string();
    let month = &other[..7];
    let (a, b) = (format!("{month}{a}"), format!("{month}{b}"));
    let below = |user: &str, rest: &str| inside.path(&format!("users/{user}/cdrs{rest}"));
    assert_eq!(ids(&inside.api, &inside.path("cdrs")).await.len(), 3);
    assert_eq!(ids(&pat, &inside.path("cdrs")).await, std::slice::from_ref(&b));
    assert_eq!(ids(&pat, &below(&pat_id, "")).await, std::slice::from_ref(&b));
    assert_eq!(ids(&inside.api, &below(&pat_id, "")).await, std::slice::from_ref(&b));
    assert_eq!(ids(&kim, &inside.path("cdrs")).await, Vec::<String>::new());
    let one = |id: &str| inside.path(&format!("cdrs/{}", Api::segment(id)));
    for (id, status) in [(&b, 200), (&a, 403), (&other, 403)] {
        pat.get(&one(id)).await.expect_status(status);
        kim.get(&one(id)).await.expect_status(403);
    }
    assert_eq!(ids(&pat, &inside.path(&format!("cdrs/legs/{}", Api::segment(&a)))).await, std::slice::from_ref(&b));
    kim.get(&inside.path(&format!("cdrs/legs/{}", Api::segment(&a)))).await.expect_status(403);
    for (filter, count) in [
        (format!("filter_owner_id={pat_id}"), 1),
        (format!("filter_custom_channel_vars.owner_id={pat_id}"), 1),
        ("filter_direction=inbound".into(), 1),
        ("filter_call_direction=outbound&has_key=other_leg_call_id".into(), 1),
        ("key_missing=owner_id".into(), 2),
    ] {
        let found = ids(&inside.api, &format!("{}?{filter}", inside.path("cdrs"))).await;
        assert_eq!(found.len(), count, "{filter}");
    }
    let csv = pat.get(&format!("{}?accept=csv", inside.path("cdrs"))).await.expect_status(200);
    assert_eq!(csv.body.iter().filter(|byte| **byte == b'\n').count(), 2);
    for rest in ["", "/interaction", "/summary", "/x", "/legs/x"] {
        pat.get(&below(&kim_id, rest)).await.expect_status(403);
        inside.api.get(&below("nobody", rest)).await.expect_status(404);
        pat.anonymous().get(&below(&pat_id, rest)).await.expect_status(401);
        inside.api.get(&format!("/v2/accounts/{}/cdrs{rest}", "0".repeat(32))).await.expect_status(404);
    }
}
