//! Plans that work: links, layers, and a change that is in force before its answer, at each level.

use plan::{Database, DocType, Level};
use serde_json::{Value, json};
use stowline::app::dataplans;
use testkit::{Api, S3Server};

use crate::levels::{Levels, entry, voicemail_to};

const SYSTEMS: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const RESELLERS: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const PLANS: &str = "cccccccccccccccccccccccccccccccc";
const OWN: &str = "dddddddddddddddddddddddddddddddd";
const USERS: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";

/// Where the voicemail of the customer's user goes: the bucket, and the level whose handler it is.
pub async fn voicemail(levels: &Levels) -> Option<(String, Level)> {
    let plan = dataplans::of(levels.app(), &levels.customer.id, Some(&levels.user.id)).await.unwrap();
    let month: Database = format!("{}-202611", Database::Account(levels.customer.id.clone()).name()).parse().unwrap();
    let doc_type: DocType = "mailbox_message".parse().unwrap();
    let route = plan.route(&month, Some(&doc_type)).attachment.clone()?;
    let (entry, _) = plan.handler(&route.handler_id).unwrap();
    Some((entry.settings["bucket"].as_str().unwrap().to_owned(), route.level))
}

pub fn goes(bucket: &str, level: Level) -> Option<(String, Level)> {
    Some((bucket.to_owned(), level))
}

/// A document that defines a handler and sends voicemail to it.
fn document(server: &S3Server, id: &str, bucket: &str) -> Value {
    json!({"attachments": {id: entry(server, bucket)}, "plan": voicemail_to(id)})
}

/// Writes a document, changes its bucket, takes its plan away, gives it back, deletes it, and looks after each answer where voicemail goes.
async fn each_change_counts(levels: &Levels, server: &S3Server, at: (&Api, &str), id: &str, level: Level) {
    let (api, path) = at;
    let before = voicemail(levels).await;
    let first = format!("{}-first", id.get(..4).unwrap());
    let second = format!("{}-second", id.get(..4).unwrap());
    let data = document(server, id, &first);
    let written = if path.contains("/plans/") {
        api.post(path, &json!({"data": data})).await.expect_status(200)
    } else {
        api.put(path, &json!({"data": data})).await.expect_status(201)
    };
    drop(written);
    assert_eq!(voicemail(levels).await, goes(&first, level), "written at {path}");
    let moved = json!({"data": {"attachments": {id: entry(server, &second)}}});
    api.patch(path, &moved).await.expect_status(200);
    assert_eq!(voicemail(levels).await, goes(&second, level), "changed at {path}");
    api.patch(path, &json!({"data": {"plan": null}})).await.expect_status(200);
    assert_eq!(voicemail(levels).await, before, "silent at {path}");
    api.delete(path).await.expect_status(200);
    assert_eq!(voicemail(levels).await, before, "deleted at {path}");
    let again = json!({"data": document(server, id, &first)});
    if let Some((plans, id)) = path.split_once("/plans/") {
        let mut again = again;
        again["data"]["id"] = id.into();
        api.put(&format!("{plans}/plans"), &again).await.expect_status(201);
    } else {
        api.put(path, &again).await.expect_status(201);
    }
    assert_eq!(voicemail(levels).await, goes(&first, level), "written anew at {path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_15_a_change_at_each_level_is_in_force_before_it_is_answered() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    assert_eq!(voicemail(&levels).await, None);
    each_change_counts(&levels, &server, (&levels.master, "/v2/storage"), SYSTEMS, Level::System).await;
    let reseller = Levels::storage(&levels.reseller, "");
    each_change_counts(&levels, &server, (&levels.reseller_admin, &reseller), RESELLERS, Level::Reseller).await;
    let plans = Levels::storage(&levels.reseller, "/plans");
    levels.reseller_admin.put(&plans, &json!({"data": {"id": "gold"}})).await.expect_status(201);
    let own = Levels::storage(&levels.customer, "");
    levels.admin.api.put(&own, &json!({"data": {"plan_id": "gold"}})).await.expect_status(201);
    let gold = format!("{plans}/gold");
    each_change_counts(&levels, &server, (&levels.reseller_admin, &gold), PLANS, Level::Plan).await;
    levels.admin.api.delete(&own).await.expect_status(200);
    assert_eq!(voicemail(&levels).await, goes("bbbb-first", Level::Reseller), "no link, no plan");
    each_change_counts(&levels, &server, (&levels.admin.api, &own), OWN, Level::Account).await;
    let user = levels.user_storage(&levels.user, "");
    each_change_counts(&levels, &server, (&levels.user.api, &user), USERS, Level::Owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_4_row_plans_are_linked_to_an_accounts_own_its_resellers_or_the_systems_only() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    let own = Levels::storage(&levels.customer, "");
    let link = |id: &str| json!({"data": {"plan_id": id}});
    let refused = levels.admin.api.put(&own, &link("gold")).await.expect_status(400).data();
    assert_eq!(refused["plan_id"]["error"], json!({"message": "invalid reference 'gold' to plans", "value": "gold"}));
    let plan = |id: &str, bucket: &str| {
        let mut plan = document(&server, PLANS, bucket);
        plan["id"] = id.into();
        json!({"data": plan})
    };
    levels.master.put("/v2/storage/plans", &plan("gold", "systems-gold")).await.expect_status(201);
    levels.admin.api.put(&own, &link("gold")).await.expect_status(201);
    assert_eq!(voicemail(&levels).await, goes("systems-gold", Level::Plan));
    // The reseller's is nearer; a change of it reaches who links to that id already.
    let plans = Levels::storage(&levels.reseller, "/plans");
    levels.reseller_admin.put(&plans, &plan("gold", "resellers-gold")).await.expect_status(201);
    assert_eq!(voicemail(&levels).await, goes("resellers-gold", Level::Plan));
    levels.reseller_admin.delete(&format!("{plans}/gold")).await.expect_status(200);
    assert_eq!(voicemail(&levels).await, goes("systems-gold", Level::Plan));
    // The reseller links to one of its own.
    levels.reseller_admin.put(&plans, &plan("mine", "resellers-mine")).await.expect_status(201);
    let reseller = Levels::storage(&levels.reseller, "");
    levels.reseller_admin.put(&reseller, &link("mine")).await.expect_status(201);
    // Nobody else does.
    let stranger = Levels::storage(&levels.stranger_account, "");
    levels.stranger.put(&stranger, &link("mine")).await.expect_status(400);
    levels.stranger.put(&stranger, &link("gold")).await.expect_status(201);
    for (api, path) in [
        (&levels.master, "/v2/storage".to_owned()),
        (&levels.reseller_admin, plans),
        (&levels.user.api, levels.user_storage(&levels.user, "")),
    ] {
        let refused = api.put(&path, &link("gold")).await.expect_status(400).data();
        assert!(refused["plan_id"]["error"].is_object(), "{path}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_level_refers_to_a_handler_of_a_higher_one_and_never_sees_its_secrets() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    let entries = |id: &str, bucket: &str| json!({"data": {"attachments": {id: entry(&server, bucket)}}});
    levels.master.put("/v2/storage", &entries(SYSTEMS, "systems")).await.expect_status(201);
    let reseller = Levels::storage(&levels.reseller, "");
    levels.reseller_admin.put(&reseller, &entries(RESELLERS, "resellers")).await.expect_status(201);
    let mut plan = entries(PLANS, "gold-plans");
    plan["data"]["id"] = "gold".into();
    // A plan may build on what its reseller defines.
    plan["data"]["plan"] = voicemail_to(RESELLERS);
    levels.reseller_admin.put(&Levels::storage(&levels.reseller, "/plans"), &plan).await.expect_status(201);
    let own = Levels::storage(&levels.customer, "");
    let linked = json!({"data": {"plan_id": "gold"}});
    levels.admin.api.put(&own, &linked).await.expect_status(201);
    assert_eq!(voicemail(&levels).await, goes("resellers", Level::Reseller));
    for (id, bucket, level) in [
        (SYSTEMS, "systems", Level::System),
        (RESELLERS, "resellers", Level::Reseller),
        (PLANS, "gold-plans", Level::Plan),
    ] {
        let refers = json!({"data": {"plan_id": "gold", "plan": voicemail_to(id)}});
        let answer = levels.admin.api.post(&own, &refers).await.expect_status(200);
        assert_eq!(voicemail(&levels).await, goes(bucket, level));
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!body.contains(server.secret_key()) && !body.contains(server.access_key()), "{body}");
        let taken = levels.admin.api.patch(&own, &entries(id, "mine-own")).await.expect_status(400).data();
        assert!(taken[format!("attachments.{id}")]["unique"].is_object(), "{taken}");
        let user = levels.user_storage(&levels.user, "");
        levels.user.api.put(&user, &json!({"data": {"plan": voicemail_to(id)}})).await.expect_status(201);
        levels.user.api.delete(&user).await.expect_status(200);
    }
    // The handlers of a plan are for those who link to it.
    levels.admin.api.post(&own, &json!({"data": {"plan": voicemail_to(PLANS)}})).await.expect_status(400);
}
