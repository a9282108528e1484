//! The operations on storage documents: each row of section 2.3 of the contract, in every scope that has it.

use connections::Document;
use plan::{Database, DocId};
use serde_json::{Value, json};
use testkit::{Api, S3Server};

use crate::fixture::HANDLER;
use crate::levels::{Levels, entry};

fn named(name: &str) -> Value {
    json!({"data": {"note": name}})
}

/// Every document that stands alone: who changes it, its path and its id.
fn singles(levels: &Levels) -> [(&Api, String, String); 4] {
    [
        (&levels.master, "/v2/storage".to_owned(), "system".to_owned()),
        (&levels.reseller_admin, Levels::storage(&levels.reseller, ""), levels.reseller.id.to_string()),
        (&levels.admin.api, Levels::storage(&levels.customer, ""), levels.customer.id.to_string()),
        (&levels.user.api, levels.user_storage(&levels.user, ""), levels.user.id.clone()),
    ]
}

/// Both kinds of lists of plans.
fn lists(levels: &Levels) -> [(&Api, String); 2] {
    [
        (&levels.master, "/v2/storage/plans".to_owned()),
        (&levels.reseller_admin, Levels::storage(&levels.reseller, "/plans")),
    ]
}

fn missing(id: &str) -> Value {
    json!({"cause": id, "message": "bad identifier"})
}

async fn stored(levels: &Levels, id: &str) -> Option<Document> {
    let (database, id) = (Database::Named("system_data".into()), DocId::parse(id).unwrap());
    levels.app().documents.get(&database, &id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_get_single() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    // A virgin system shows the built-in document, which has no revision, and what was read can be written.
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
    levels.master.put("/v2/storage", &json!({"data": answer["data"]})).await.expect_status(201);
    levels.master.delete("/v2/storage").await.expect_status(200);
    for (api, path, id) in singles(&levels) {
        if id != "system" {
            assert_eq!(api.get(&path).await.expect_status(404).data(), missing(&id));
        }
        let document = json!({"data": {"attachments": {HANDLER: entry(&server, "recordings")}}});
        // The id is defined at one level at a time.
        let made = api.put(&path, &document).await.expect_status(201).json();
        let read = api.get(&path).await.expect_status(200);
        assert_eq!(read.header("etag"), Some(format!("{}", made["revision"]).as_str()));
        let read = read.data();
        assert_eq!(read["id"], id.as_str());
        assert_eq!(read["attachments"][HANDLER]["settings"]["secret"], server.secret_key(), "to who may change it");
        assert!(!read.to_string().contains("_sig") && !read.to_string().contains("pvt_"), "{read}");
        api.delete(&path).await.expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_put_single() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    for (api, path, id) in singles(&levels) {
        let tried = server.faults().seen().len();
        let document = json!({"data": {"id": "another", "attachments": {HANDLER: entry(&server, "recordings")}}});
        let made = api.put(&path, &document).await.expect_status(201).data();
        assert_eq!(made["id"], id.as_str(), "whatever id was sent");
        assert!(server.faults().seen().len() > tried, "the settings were tried");
        assert_eq!(api.put(&path, &named("two")).await.expect_status(409).json()["message"], "datastore_conflict");
        api.delete(&path).await.expect_status(200);
        // Blank, and without a body.
        assert_eq!(api.put(&path, &json!({"data": {}})).await.expect_status(201).data(), json!({"id": id}));
        api.delete(&path).await.expect_status(200);
        let bare = api.send(api.request(reqwest::Method::PUT, &path)).await.expect_status(201).data();
        assert_eq!(bare, json!({"id": id}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_post_and_patch_single() {
    let levels = Levels::start().await;
    for (api, path, id) in singles(&levels) {
        assert_eq!(api.post(&path, &named("early")).await.expect_status(404).data(), missing(&id));
        assert_eq!(api.patch(&path, &named("early")).await.expect_status(404).data(), missing(&id));
        // What is wrong with it is said before that there is none.
        assert!(api.post(&path, &json!({"data": {"plan": 1}})).await.expect_status(400).data()["plan"].is_object());
        api.put(&path, &named("one")).await.expect_status(201);
        let patched = api.patch(&path, &json!({"data": {"more": 1}})).await.expect_status(200).data();
        assert_eq!(patched, json!({"id": id, "note": "one", "more": 1}));
        let replaced = api.post(&path, &named("three")).await.expect_status(200).json();
        assert_eq!(replaced["data"], json!({"id": id, "note": "three"}));
        assert!(replaced["revision"].as_str().unwrap().starts_with("3-"), "{replaced}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_delete_single() {
    let levels = Levels::start().await;
    for (api, path, id) in singles(&levels) {
        api.put(&path, &named("one")).await.expect_status(201);
        assert!(stored(&levels, &id).await.is_some());
        let gone = api.delete(&path).await.expect_status(200).data();
        assert_eq!(gone, json!({"id": id, "note": "one", "_read_only": {"deleted": true}}));
        assert!(stored(&levels, &id).await.is_none(), "for good, not softly");
        let after = api.get(&path).await;
        if id == "system" {
            assert_eq!(after.expect_status(200).json().get("revision"), None, "the built-in one is back");
        } else {
            assert_eq!(after.expect_status(404).data(), missing(&id));
        }
        api.put(&path, &named("again")).await.expect_status(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_get_plans() {
    let levels = Levels::start().await;
    for (api, path) in lists(&levels) {
        let empty = api.get(&path).await.expect_status(200).json();
        assert_eq!((&empty["data"], &empty["page_size"]), (&json!([]), &json!(0)));
        for id in ["silver", "gold", "bronze"] {
            api.put(&path, &json!({"data": {"id": id, "note": "whole"}})).await.expect_status(201);
        }
        let listed = api.get(&path).await.expect_status(200).data();
        let whole = |id| json!({"id": id, "note": "whole"});
        assert_eq!(listed, json!([whole("bronze"), whole("gold"), whole("silver")]), "whole documents, by id");
        let page = api.get(&format!("{path}?page_size=2")).await.expect_status(200).json();
        let next = page["next_start_key"].as_str().unwrap();
        let rest = api.get(&format!("{path}?page_size=2&start_key={next}")).await.expect_status(200).json();
        assert_eq!((page["data"].as_array().unwrap().len(), &rest["data"]), (2, &json!([whole("silver")])));
        let found = async |filter: &str| api.get(&format!("{path}?{filter}")).await.expect_status(200).data();
        assert_eq!(found("filter_id=gold").await, json!([whole("gold")]));
        assert_eq!(found("filter_not_id=gold&page_size=1").await, json!([whole("bronze")]));
        assert_eq!(found("has_key=attachments").await, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_put_plans() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    for (api, path) in lists(&levels) {
        let untried = json!({"data": {"attachments": {HANDLER: entry(&server, "recordings")}}});
        let tried = server.faults().seen().len();
        let made = api.put(&path, &untried).await.expect_status(201);
        assert_eq!(server.faults().seen().len(), tried, "a plan is not tried");
        let id = made.data()["id"].as_str().unwrap().to_owned();
        assert!(id.len() == 32, "{id}");
        assert_eq!(made.header("location"), Some(format!("{path}/{id}").as_str()));
        let chosen = json!({"data": {"id": "gold"}});
        let made = api.put(&path, &chosen).await.expect_status(201);
        assert_eq!(made.header("location"), Some(format!("{path}/gold").as_str()));
        assert_eq!(api.put(&path, &chosen).await.expect_status(409).json()["message"], "datastore_conflict");
        api.put(&path, &json!({"data": {"id": "a/b"}})).await.expect_status(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_3_row_get_post_patch_and_delete_of_a_plan() {
    let levels = Levels::start().await;
    for (api, path) in lists(&levels) {
        api.put(&path, &json!({"data": {"id": "gold", "note": "chosen"}})).await.expect_status(201);
        let gold = format!("{path}/gold");
        let read = api.get(&gold).await.expect_status(200);
        assert_eq!(read.data(), json!({"id": "gold", "note": "chosen"}));
        assert_eq!(read.header("etag"), Some(format!("{}", read.json()["revision"]).as_str()));
        let patched = api.patch(&gold, &json!({"data": {"note": null, "x": 1}})).await.expect_status(200).data();
        assert_eq!(patched, json!({"id": "gold", "x": 1}));
        assert_eq!(api.post(&gold, &named("new")).await.expect_status(200).data()["note"], "new");
        let gone = api.delete(&gold).await.expect_status(200).data();
        assert_eq!(gone["_read_only"]["deleted"], true);
        assert_eq!(api.get(&gold).await.expect_status(404).data(), missing("gold"));
        api.delete(&gold).await.expect_status(404);
        api.patch(&gold, &named("late")).await.expect_status(404);
        assert_eq!(api.get(&path).await.expect_status(200).data(), json!([]));
    }
}
