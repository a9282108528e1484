//! Locks: what a level above has locked no lower one weakens, whether it tries now or had tried before.

use serde_json::json;
use testkit::S3Server;

use super::in_force::{goes, voicemail};
use crate::levels::{Levels, entry, voicemail_to};
use plan::Level;

const LOCK: &str = "plan.modb.types.mailbox_message.attachments.handler";
const UPPER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const LOWER: &str = "dddddddddddddddddddddddddddddddd";

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_the_system_the_reseller_or_the_plan_overrules_what_is_below_and_refuses_more_of_it() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    let own = Levels::storage(&levels.customer, "");
    let reseller = Levels::storage(&levels.reseller, "");
    let gold = Levels::storage(&levels.reseller, "/plans/gold");
    levels
        .reseller_admin
        .put(&Levels::storage(&levels.reseller, "/plans"), &json!({"data": {"id": "gold"}}))
        .await
        .expect_status(201);
    let lower =
        json!({"plan_id": "gold", "attachments": {LOWER: entry(&server, "customers")}, "plan": voicemail_to(LOWER)});
    levels.admin.api.put(&own, &json!({"data": lower})).await.expect_status(201);
    levels.master.put("/v2/storage", &json!({"data": {}})).await.expect_status(201);
    levels.reseller_admin.put(&reseller, &json!({"data": {}})).await.expect_status(201);
    for (api, path, bucket, level) in [
        (&levels.master, "/v2/storage", "systems", Level::System),
        (&levels.reseller_admin, reseller.as_str(), "resellers", Level::Reseller),
        (&levels.reseller_admin, gold.as_str(), "plan-gold", Level::Plan),
    ] {
        assert_eq!(voicemail(&levels).await, goes("customers", Level::Account));
        let locking =
            json!({"attachments": {UPPER: entry(&server, bucket)}, "plan": voicemail_to(UPPER), "locks": [LOCK]});
        api.patch(path, &json!({"data": locking})).await.expect_status(200);
        assert_eq!(voicemail(&levels).await, goes(bucket, level), "what was there before is overruled");
        // What stands there already is in nobody's way, as long as it is not touched.
        let answer = levels.admin.api.patch(&own, &json!({"data": {"note": level.word()}})).await;
        answer.expect_status(200);
        for attempt in [
            json!({"plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": "local"}}}}}}),
            json!({"plan": {"modb": {"range": {"202601-202712": {"attachments": {"handler": LOWER}}}}}}),
            json!({"plan": {"modb": {"regex": {".": {"attachments": {"handler": LOWER}}}}}}),
        ] {
            let refused = levels.admin.api.patch(&own, &json!({"data": attempt})).await.expect_status(400).data();
            let (path, faults) = refused.as_object().unwrap().iter().next().unwrap();
            assert!(path.starts_with("plan.modb."), "{refused}");
            assert_eq!((&faults["locked"]["target"], &faults["locked"]["cause"]), (&json!(LOCK), &json!(level.word())));
            let message = faults["locked"]["message"].as_str().unwrap();
            assert!(message.contains(LOCK) && message.contains(level.word()), "{message}");
        }
        let user = levels.user_storage(&levels.user, "");
        let refused = levels.user.api.put(&user, &json!({"data": {"plan": voicemail_to(LOWER)}})).await;
        refused.expect_status(400);
        // What is not locked stays free.
        let stub = json!({"plan": {"modb": {"types": {"mailbox_message": {"attachments": {"stub": true}}}}}});
        levels.user.api.put(&user, &json!({"data": stub})).await.expect_status(201);
        levels.user.api.delete(&user).await.expect_status(200);
        let silent = json!({"attachments": {}, "plan": null, "locks": null});
        api.patch(path, &json!({"data": silent})).await.expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_plan_id_is_changed_from_above_only() {
    let levels = Levels::start().await;
    let own = Levels::storage(&levels.customer, "");
    let plans = Levels::storage(&levels.reseller, "/plans");
    for id in ["gold", "silver"] {
        levels.reseller_admin.put(&plans, &json!({"data": {"id": id}})).await.expect_status(201);
    }
    let reseller = Levels::storage(&levels.reseller, "");
    levels.reseller_admin.put(&reseller, &json!({"data": {"locks": ["plan_id"]}})).await.expect_status(201);
    let link = |id: &str| json!({"data": {"plan_id": id}});
    let refused = levels.admin.api.put(&own, &link("gold")).await.expect_status(400).data();
    assert_eq!((&refused["plan_id"]["locked"]["cause"]), &json!("reseller"));
    levels.reseller_admin.put(&own, &link("gold")).await.expect_status(201);
    levels.admin.api.patch(&own, &json!({"data": {"note": 1}})).await.expect_status(200);
    levels.admin.api.patch(&own, &link("silver")).await.expect_status(400);
    levels.admin.api.post(&own, &json!({"data": {}})).await.expect_status(400);
    levels.admin.api.delete(&own).await.expect_status(400);
    levels.api_key.delete(&own).await.expect_status(400);
    assert_eq!(levels.admin.api.get(&own).await.data()["plan_id"], "gold");
    levels.reseller_admin.patch(&own, &link("silver")).await.expect_status(200);
    levels.master.delete(&own).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_none_is_refused_by_its_place() {
    let levels = Levels::start().await;
    let locks = json!({"data": {"locks": ["plan.modb", "retention"]}});
    let refused = levels.master.put("/v2/storage", &locks).await.expect_status(400).data();
    assert!(refused["locks.1"]["invalid"]["message"].is_string(), "{refused}");
}
