//! All scopes and verbs of section 2 of the contract: what each answers, and that an id opens its owner's document of its type and no other.

use serde_json::{Value, json};
use testkit::S3Server;

use crate::fixture::HANDLER;
use crate::levels::{Levels, entry};

fn named(name: &str) -> Value {
    json!({"data": {"note": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn get_of_a_virgin_system_gives_the_built_in_default_without_a_revision() {
    let levels = Levels::start().await;
    let answer = levels.master.get("/v2/storage").await.expect_status(200).json();
    let section = json!({"connection": "local", "attachments": {}, "types": {}});
    assert_eq!(
        answer["data"],
        json!({
            "id": "system", "attachments": {}, "connections": {"local": {}},
            "plan": {"account": section, "modb": section, "system": section, "yodb": section},
        })
    );
    assert_eq!(answer.get("revision"), None);
    levels.master.patch("/v2/storage", &json!({"data": {}})).await.expect_status(404);
    // What was read can be written.
    levels.master.put("/v2/storage", &json!({"data": answer["data"]})).await.expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_document_has_all_verbs() {
    let levels = Levels::start().await;
    for (api, path, id) in [
        (&levels.master, "/v2/storage".to_owned(), "system"),
        (&levels.reseller_admin, Levels::storage(&levels.reseller, ""), levels.reseller.id.as_ref()),
        (&levels.admin.api, Levels::storage(&levels.customer, ""), levels.customer.id.as_ref()),
        (&levels.user.api, levels.user_storage(&levels.user, ""), levels.user.id.as_str()),
    ] {
        api.post(&path, &named("early")).await.expect_status(404);
        let made = api.put(&path, &named("one")).await.expect_status(201).json();
        assert_eq!(made["data"], json!({"id": id, "note": "one"}));
        assert_eq!(api.put(&path, &named("two")).await.expect_status(409).json()["message"], "datastore_conflict");
        let patched = api.patch(&path, &json!({"data": {"more": 1}})).await.expect_status(200).data();
        assert_eq!(patched, json!({"id": id, "note": "one", "more": 1}));
        let replaced = api.post(&path, &named("three")).await.expect_status(200).json();
        assert_eq!(replaced["data"], json!({"id": id, "note": "three"}));
        let read = api.get(&path).await.expect_status(200);
        assert_eq!(read.header("etag"), Some(format!("{}", replaced["revision"]).as_str()));
        let gone = api.delete(&path).await.expect_status(200).data();
        assert_eq!(gone, json!({"id": id, "note": "three", "_read_only": {"deleted": true}}));
        let after = api.get(&path).await;
        if id == "system" {
            assert_eq!(after.expect_status(200).json().get("revision"), None, "the built-in one is back");
        } else {
            assert_eq!(after.expect_status(404).data(), json!({"cause": id, "message": "bad identifier"}));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_made_listed_read_changed_and_deleted() {
    let levels = Levels::start().await;
    for (api, path) in [
        (&levels.master, "/v2/storage/plans".to_owned()),
        (&levels.reseller_admin, Levels::storage(&levels.reseller, "/plans")),
    ] {
        let empty = api.get(&path).await.expect_status(200).json();
        assert_eq!((&empty["data"], &empty["page_size"]), (&json!([]), &json!(0)));
        let made = api.put(&path, &named("generated")).await.expect_status(201);
        let id = made.data()["id"].as_str().unwrap().to_owned();
        assert!(id.len() == 32, "{id}");
        assert_eq!(made.header("location"), Some(format!("{path}/{id}").as_str()));
        let chosen = json!({"data": {"id": "gold", "note": "chosen"}});
        api.put(&path, &chosen).await.expect_status(201);
        assert_eq!(api.put(&path, &chosen).await.expect_status(409).json()["message"], "datastore_conflict");
        api.put(&path, &json!({"data": {"id": "a/b"}})).await.expect_status(400);
        api.put(&path, &json!({"data": {"id": "silver"}})).await.expect_status(201);
        let listed = api.get(&path).await.expect_status(200).json();
        let listed = listed["data"].as_array().unwrap();
        let mut ids: Vec<&str> = listed.iter().map(|plan| plan["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 3);
        assert!(ids.is_sorted(), "{ids:?}");
        ids.retain(|listed| *listed != id);
        assert_eq!(ids, ["gold", "silver"]);
        assert!(listed.iter().any(|plan| plan["note"] == "chosen"), "whole documents: {listed:?}");
        let page = api.get(&format!("{path}?page_size=2")).await.expect_status(200).json();
        let next = page["next_start_key"].as_str().unwrap();
        let rest = api.get(&format!("{path}?page_size=2&start_key={next}")).await.expect_status(200).json();
        assert_eq!((page["data"].as_array().unwrap().len(), rest["data"].as_array().unwrap().len()), (2, 1));
        let gold = format!("{path}/gold");
        assert_eq!(api.get(&gold).await.expect_status(200).data(), json!({"id": "gold", "note": "chosen"}));
        let patched = api.patch(&gold, &json!({"data": {"note": null, "x": 1}})).await.expect_status(200).data();
        assert_eq!(patched, json!({"id": "gold", "x": 1}));
        api.post(&gold, &named("new")).await.expect_status(200);
        let gone = api.delete(&gold).await.expect_status(200).data();
        assert_eq!(gone["_read_only"]["deleted"], true);
        assert_eq!(
            api.get(&gold).await.expect_status(404).data(),
            json!({"cause": "gold", "message": "bad identifier"})
        );
        api.delete(&gold).await.expect_status(404);
        api.patch(&gold, &named("late")).await.expect_status(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_owner_or_type_is_never_readable() {
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
async fn deleting_an_account_takes_its_documents_those_of_its_users_its_plans_and_what_was_retired() {
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
}
