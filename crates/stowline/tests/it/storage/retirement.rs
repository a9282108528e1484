//! Entries that leave their document serve what was sent by them, until they are erased.

use serde_json::{Value, json};
use testkit::{Api, Fault, S3Server, VOICEMAIL_WAV};

use crate::fixture::until;
use crate::levels::{Levels, entry, voicemail_to};

const OWN: &str = "dddddddddddddddddddddddddddddddd";

async fn mailbox(levels: &Levels) -> String {
    let path = format!("/v2/accounts/{}/vmboxes", levels.customer.id);
    let made = levels.admin.api.put(&path, &json!({"data": {"name": "Dana", "mailbox": "1001"}})).await;
    format!("{path}/{}", made.expect_status(201).data()["id"].as_str().unwrap())
}

async fn voicemail(api: &Api, mailbox: &str) -> String {
    let path = format!("{mailbox}/messages");
    let made =
        api.multipart(reqwest::Method::PUT, &path, &json!({"data": {}}), "v.wav", "audio/wav", VOICEMAIL_WAV).await;
    format!("{path}/{}/raw", made.expect_status(201).data()["media_id"].as_str().unwrap())
}

async fn deliveries(levels: &Levels) -> Vec<Value> {
    let path = Levels::storage(&levels.customer, "/deliveries");
    levels.admin.api.get(&path).await.expect_status(200).data().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_entry_still_serves_and_an_erased_one_parks_its_jobs_and_leaves_its_objects_out_of_reach() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    let (old, new) = (S3Server::start(), S3Server::start());
    let document = |server: &S3Server| json!({"data": {"attachments": {OWN: entry(server, "recordings")}, "plan": voicemail_to(OWN)}});
    api.put(&own, &document(&old)).await.expect_status(201);
    let mailbox = mailbox(&levels).await;
    let stored = voicemail(api, &mailbox).await;
    until("the first is delivered", async || deliveries(&levels).await.is_empty()).await;
    let waiting = {
        old.faults().rule(|seen| (seen.method == "PUT").then_some(Fault::status(503)));
        voicemail(api, &mailbox).await
    };
    until("the second was refused", async || deliveries(&levels).await.iter().any(|row| row["last_error"].is_object()))
        .await;
    // To another host: the old entry is retired, and what went by it is still read by it.
    api.post(&own, &document(&new)).await.expect_status(200);
    assert_eq!(api.get(&stored).await.expect_status(200).body, VOICEMAIL_WAV);
    let listed = api.get(&format!("{own}/retired")).await.expect_status(200);
    let text = String::from_utf8_lossy(&listed.body).into_owned();
    assert!(!text.contains(old.secret_key()) && !text.contains(old.access_key()), "{text}");
    let listed = listed.data();
    let rows = listed.as_array().unwrap();
    assert_eq!(rows.len(), 1, "{listed}");
    assert_eq!(
        (&rows[0]["handler_id"], &rows[0]["handler"], &rows[0]["name"], &rows[0]["reason"], &rows[0]["erased"]),
        (&json!(OWN), &json!("s3"), &json!("recordings"), &json!("changed"), &json!(false))
    );
    assert!(rows[0]["destination"].as_str().unwrap().contains(&old.port().to_string()), "{listed}");
    let retired = format!("{own}/retired/{}", rows[0]["id"].as_str().unwrap());
    api.delete(&format!("{own}/retired/unknown")).await.expect_status(404);
    levels.user.api.delete(&retired).await.expect_status(403);
    let erased = api.delete(&retired).await.expect_status(200).data();
    assert!(erased["erased"] == true && erased["erased_at"].is_i64(), "{erased}");
    until("what waited is parked", async || {
        let rows = deliveries(&levels).await;
        rows.len() == 1 && rows[0]["state"] == "parked" && rows[0]["last_error"]["code"] == "handler_gone"
    })
    .await;
    let gone = api.get(&stored).await.expect_status(410).json();
    assert_eq!((&gone["message"], &gone["error"]), (&json!("gone"), &json!("410")));
    // What waits is still here, and goes by today's plan when somebody says so.
    assert_eq!(api.get(&waiting).await.expect_status(200).body, VOICEMAIL_WAV);
    let reroute = json!({"data": {"action": "reroute"}});
    api.post(&format!("{own}/deliveries"), &reroute).await.expect_status(200);
    until("it went to the new host", async || deliveries(&levels).await.is_empty()).await;
    assert_eq!(api.get(&waiting).await.expect_status(200).body, VOICEMAIL_WAV);
    // Whoever puts the settings back has the objects back.
    api.post(&own, &document(&old)).await.expect_status(400);
    old.faults().heal();
    api.post(&own, &document(&old)).await.expect_status(200);
    assert_eq!(api.get(&stored).await.expect_status(200).body, VOICEMAIL_WAV);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_by_a_plan_is_read_after_the_account_left_it() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    let server = S3Server::start();
    let plans = Levels::storage(&levels.reseller, "/plans");
    let plan =
        json!({"data": {"id": "gold", "attachments": {OWN: entry(&server, "gold-plan")}, "plan": voicemail_to(OWN)}});
    levels.reseller_admin.put(&plans, &plan).await.expect_status(201);
    api.put(&own, &json!({"data": {"plan_id": "gold"}})).await.expect_status(201);
    let mailbox = mailbox(&levels).await;
    let stored = voicemail(api, &mailbox).await;
    until("it is delivered", async || deliveries(&levels).await.is_empty()).await;
    assert_eq!(server.keys("gold-plan").len(), 1);
    api.post(&own, &json!({"data": {}})).await.expect_status(200);
    assert_eq!(api.get(&stored).await.expect_status(200).body, VOICEMAIL_WAV);
    assert_eq!(
        api.get(&format!("{own}/retired")).await.expect_status(200).data(),
        json!([]),
        "the entry is the plan's"
    );
    levels.reseller_admin.delete(&format!("{plans}/gold")).await.expect_status(200);
    assert_eq!(api.get(&stored).await.expect_status(200).body, VOICEMAIL_WAV);
    let after = voicemail(api, &mailbox).await;
    assert_eq!(api.get(&after).await.expect_status(200).body, VOICEMAIL_WAV);
    assert_eq!(server.keys("gold-plan").len(), 1, "new voicemail stays here");
}
