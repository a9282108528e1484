//! Entries that leave their document serve what was sent by them, until they are erased.

use plan::{Database, DocId};
use serde_json::{Value, json};
use testkit::{Api, Fault, S3Server, VOICEMAIL_WAV};

use crate::fixture::until;
use crate::levels::{Levels, entry, voicemail_to};
use crate::secrets::holding;

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
async fn fault_6_7_a_retired_entry_still_serves_and_an_erased_one_parks_its_jobs_and_leaves_its_objects_out_of_reach() {
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
    let found = async |query: &str| api.get(&format!("{own}/retired?{query}")).await.expect_status(200).json();
    assert_eq!(found("filter_handler=http").await["data"], json!([]));
    let page = found("page_size=1&filter_handler=s3").await;
    assert_eq!((&page["data"], &page["page_size"], page.get("next_start_key")), (&listed, &json!(1), None));
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
async fn fault_22_what_went_by_a_plan_is_read_after_the_account_left_it() {
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

/// What is sealed in the stored document with this id.
async fn sealed_in(levels: &Levels, id: &str) -> Vec<String> {
    let (database, id) = (Database::Named("system_data".into()), DocId::parse(id).unwrap());
    let document = levels.app().documents.get(&database, &id).await.unwrap().unwrap();
    let text = Value::Object(document.body.clone()).to_string();
    // From the end of a sealed text, which is the cipher's own: its beginning names the key.
    let sealed = text.split("\"$sealed\":\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    sealed.map(|text| text[text.len() - 40..].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_5_of_an_erased_entry_not_even_the_sealed_bytes_are_left_in_any_file() {
    let levels = Levels::start().await;
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    let folder = levels.app().config.server.data_dir.clone();
    let server = S3Server::start();
    let mut sealed = Vec::new();
    // Entries of every size: in a page of the store with others, and in pages of their own.
    for (size, bucket) in [(0, "small-bucket"), (3000, "middle-bucket"), (40_000, "large-bucket")] {
        let mut entry = entry(&server, bucket);
        entry["settings"]["remark"] = "r".repeat(size).into();
        let document = json!({"data": {"attachments": {OWN: entry}, "plan": voicemail_to(OWN)}});
        let answer = if sealed.is_empty() { api.put(&own, &document).await } else { api.post(&own, &document).await };
        assert!(answer.status == 201 || answer.status == 200, "{answer}");
        sealed.extend(sealed_in(&levels, levels.customer.id.as_ref()).await);
        // Written again and again, each time sealed anew: what stood there before is of the same entry.
        for n in 0..3 {
            api.patch(&own, &json!({"data": {"note": n}})).await.expect_status(200);
            sealed.extend(sealed_in(&levels, levels.customer.id.as_ref()).await);
        }
    }
    api.post(&own, &json!({"data": {}})).await.expect_status(200);
    sealed.extend(sealed_in(&levels, &format!("retired-{}", levels.customer.id)).await);
    assert!(sealed.len() >= 12 + 3, "{}", sealed.len());
    assert!(sealed.iter().any(|text| !holding(&folder, text).is_empty()), "the search finds what is there");
    let rows = api.get(&format!("{own}/retired")).await.expect_status(200).data();
    for row in rows.as_array().unwrap() {
        api.delete(&format!("{own}/retired/{}", row["id"].as_str().unwrap())).await.expect_status(200);
    }
    for text in sealed.iter().map(String::as_str).chain([server.secret_key(), server.access_key()]) {
        assert_eq!(holding(&folder, text), [""; 0], "{text}");
    }
}
