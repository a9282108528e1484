//! Whose a storage document is: an id opens its owner's document of its type and no other, and what goes with an account.

use serde_json::{Value, json};
use testkit::S3Server;

use crate::fixture::HANDLER;
use crate::levels::{Levels, entry};

fn named(name: &str) -> Value {
    json!({"data": {"note": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_1_an_id_of_another_owner_or_type_is_never_readable() {
    let levels = Levels::start().await;
    let plans = Levels::storage(&levels.reseller, "/plans");
    levels.master.put("/v2/storage", &named("system")).await.expect_status(201);
    levels.master.put("/v2/storage/plans", &json!({"data": {"id": "shared", "note": "s"}})).await.expect_status(201);
    levels.reseller_admin.put(&plans, &json!({"data": {"id": "own", "note": "r"}})).await.expect_status(201);
    levels.admin.api.put(&Levels::storage(&levels.customer, ""), &named("customer")).await.expect_status(201);
    levels.user.api.put(&levels.user_storage(&levels.user, ""), &named("user")).await.expect_status(201);
    let (customer, reseller) = (levels.customer.id.to_string(), levels.reseller.id.to_string());
    let others = [
        "system",
        &customer,
        &reseller,
        &levels.user.id,
        "shared",
        "plan-system-shared",
        &format!("plan-{reseller}-own"),
    ];
    for id in others {
        let path = format!("{plans}/{id}");
        let body = named("stolen");
        for answer in [
            levels.reseller_admin.get(&path).await,
            levels.reseller_admin.post(&path, &body).await,
            levels.reseller_admin.patch(&path, &body).await,
            levels.reseller_admin.delete(&path).await,
        ] {
            assert_eq!(answer.expect_status(404).data(), json!({"cause": id, "message": "bad identifier"}));
        }
    }
    for id in ["system", &customer, "own", &levels.user.id] {
        levels.master.get(&format!("/v2/storage/plans/{id}")).await.expect_status(404);
        levels.master.delete(&format!("/v2/storage/plans/{id}")).await.expect_status(404);
    }
    // Both may choose the same id, and neither learns of the other.
    levels.reseller_admin.put(&plans, &json!({"data": {"id": "shared", "note": "r"}})).await.expect_status(201);
    assert_eq!(levels.master.get("/v2/storage/plans/shared").await.data()["note"], "s");
    assert_eq!(levels.reseller_admin.get(&format!("{plans}/shared")).await.data()["note"], "r");
    assert_eq!(levels.admin.api.get(&Levels::storage(&levels.customer, "")).await.data()["note"], "customer");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_22_row_account_deletion_takes_its_documents_those_of_its_users_its_plans_and_what_was_retired() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    let mut document = json!({"attachments": {HANDLER: entry(&server, "recordings")}});
    let own = Levels::storage(&levels.customer, "");
    levels.admin.api.put(&own, &json!({"data": document})).await.expect_status(201);
    levels.user.api.put(&levels.user_storage(&levels.user, ""), &json!({"data": {}})).await.expect_status(201);
    document["attachments"] = json!({});
    levels.admin.api.post(&own, &json!({"data": document})).await.expect_status(200);
    let plans = Levels::storage(&levels.reseller, "/plans");
    levels.reseller_admin.put(&plans, &json!({"data": {"id": "gold"}})).await.expect_status(201);
    levels.reseller_admin.put(&Levels::storage(&levels.reseller, ""), &json!({"data": {}})).await.expect_status(201);
    levels.master.put("/v2/storage/plans", &json!({"data": {"id": "gold"}})).await.expect_status(201);
    assert_eq!(stored(&levels).await, 6, "three documents, two plans, one of what was retired");
    levels.reseller_admin.delete(&format!("/v2/accounts/{}", levels.customer.id)).await.expect_status(200);
    assert_eq!(stored(&levels).await, 3);
    levels.master.delete(&format!("/v2/accounts/{}", levels.reseller.id)).await.expect_status(200);
    assert_eq!(stored(&levels).await, 1, "the system's plan stays");
}

/// How many documents there are in the database of storage documents.
async fn stored(levels: &Levels) -> usize {
    let mut found = 0;
    for doc_type in ["storage", "storage_plan", "storage_retired"] {
        let query = connections::Query::new(plan::Database::Named("system_data".into()), doc_type);
        found += levels.app().documents.list(query).await.unwrap().documents.len();
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_not_probed_and_its_secrets_are_for_who_may_change_it() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    let plans = Levels::storage(&levels.reseller, "/plans");
    let plan = json!({"data": {"id": "gold", "attachments": {HANDLER: entry(&server, "recordings")}}});
    server.stop();
    let made = levels.reseller_admin.put(&plans, &plan).await.expect_status(201).data();
    assert_eq!(made["attachments"][HANDLER]["settings"]["secret"], server.secret_key());
    let reader =
        crate::levels::user(levels.app(), &levels.master.anonymous(), &levels.reseller, "Reseller", "reader", "user")
            .await;
    for path in [plans.clone(), format!("{plans}/gold")] {
        let shown = reader.api.get(&path).await.expect_status(200).data().to_string();
        assert!(shown.contains("********") && !shown.contains(server.secret_key()), "{shown}");
    }
    // Nor can it be guessed, by a filter.
    let guess = format!("{plans}?filter_attachments.{HANDLER}.settings.secret={}", server.secret_key());
    assert_eq!(reader.api.get(&guess).await.expect_status(200).data(), json!([]));
    let bucket = format!("{plans}?filter_attachments.{HANDLER}.settings.bucket=recordings");
    assert_eq!(reader.api.get(&bucket).await.expect_status(200).data()[0]["id"], "gold");
}
