//! Who may do what with storage documents: each row of section 2.2 of the contract, for all verbs and all kinds of callers.
//!
//! Nothing is stored at these paths and nothing is sent that could be: who may is answered 400, 404 or a list, who may not 403.

use reqwest::Method;
use serde_json::json;
use testkit::Api;

use crate::levels::{Levels, user};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum May {
    Nothing,
    Read,
    All,
}

/// A kind of caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Master,
    MasterUser,
    Reseller,
    ResellerUser,
    ApiKey,
    Admin,
    User,
    OtherUser,
    Stranger,
}

const EVERYBODY: [Who; 9] = [
    Who::Master,
    Who::MasterUser,
    Who::Reseller,
    Who::ResellerUser,
    Who::ApiKey,
    Who::Admin,
    Who::User,
    Who::OtherUser,
    Who::Stranger,
];

struct Stage {
    levels: Levels,
    master_user: Api,
    reseller_user: Api,
}

impl Stage {
    async fn set() -> Self {
        let levels = Levels::start().await;
        let (app, api) = (levels.app(), levels.master.anonymous());
        let master_user = user(app, &api, &levels.master_account, "Master", "plain", "user").await.api;
        let reseller_user = user(app, &api, &levels.reseller, "Reseller", "plain", "user").await.api;
        Self { levels, master_user, reseller_user }
    }

    fn caller(&self, who: Who) -> &Api {
        match who {
            Who::Master => &self.levels.master,
            Who::MasterUser => &self.master_user,
            Who::Reseller => &self.levels.reseller_admin,
            Who::ResellerUser => &self.reseller_user,
            Who::ApiKey => &self.levels.api_key,
            Who::Admin => &self.levels.admin.api,
            Who::User => &self.levels.user.api,
            Who::OtherUser => &self.levels.other_user.api,
            Who::Stranger => &self.levels.stranger,
        }
    }

    /// Asks all of `verbs` of a path as everybody, and compares with the row.
    async fn expect(&self, path: &str, verbs: &[Method], row: impl Fn(Who) -> May) {
        for who in EVERYBODY {
            for verb in verbs {
                let api = self.caller(who);
                let body = json!({"data": []}).to_string();
                let request = api.request(verb.clone(), path).header("content-type", "application/json");
                let request = if *verb == Method::GET { request } else { request.body(body) };
                let status = api.send(request).await.status;
                let may = row(who);
                let allowed = may == May::All || (may == May::Read && *verb == Method::GET);
                let expected = if allowed { &[200, 400, 404][..] } else { &[403][..] };
                assert!(expected.contains(&status), "{who:?} {verb} {path}: {status}, and may {may:?}");
            }
            self.caller(who).anonymous().get(path).await.expect_status(401);
        }
    }
}

const DOCUMENT: [Method; 5] = [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE];
const LIST: [Method; 2] = [Method::GET, Method::PUT];
const STORED: [Method; 4] = [Method::GET, Method::POST, Method::PATCH, Method::DELETE];

#[tokio::test(flavor = "multi_thread")]
async fn row_system_system_plans_and_system_plan() {
    let stage = Stage::set().await;
    let row = |who| if who == Who::Master { May::All } else { May::Nothing };
    stage.expect("/v2/storage", &DOCUMENT, row).await;
    stage.expect("/v2/storage/plans", &LIST, row).await;
    stage.expect("/v2/storage/plans/gold", &STORED, row).await;
    stage.expect("/v2/storage/retired", &[Method::GET], row).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_reseller_plans_and_plan_only_of_an_account_that_is_a_reseller() {
    let stage = Stage::set().await;
    let of_reseller = |who| match who {
        Who::Master | Who::Reseller => May::All,
        Who::ResellerUser => May::Read,
        _ => May::Nothing,
    };
    let nobody = |_| May::Nothing;
    let (reseller, customer) = (&stage.levels.reseller, &stage.levels.customer);
    stage.expect(&Levels::storage(reseller, "/plans"), &LIST, of_reseller).await;
    stage.expect(&Levels::storage(reseller, "/plans/gold"), &STORED, of_reseller).await;
    // Not even of a super admin: the account is no reseller.
    stage.expect(&Levels::storage(customer, "/plans"), &LIST, nobody).await;
    stage.expect(&Levels::storage(customer, "/plans/gold"), &STORED, nobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_account_changed_by_admins_read_by_its_users() {
    let stage = Stage::set().await;
    let row = |who| match who {
        Who::Master | Who::Reseller | Who::Admin | Who::ApiKey => May::All,
        Who::User | Who::OtherUser => May::Read,
        _ => May::Nothing,
    };
    let customer = &stage.levels.customer;
    stage.expect(&Levels::storage(customer, ""), &DOCUMENT, row).await;
    let admins = |who| if row(who) == May::All { May::All } else { May::Nothing };
    stage.expect(&Levels::storage(customer, "/deliveries"), &[Method::GET, Method::POST], admins).await;
    stage.expect(&Levels::storage(customer, "/retired"), &[Method::GET], admins).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_user_by_themselves_and_by_admins_never_by_another_user() {
    let stage = Stage::set().await;
    let row = |who| match who {
        Who::Master | Who::Reseller | Who::Admin | Who::ApiKey | Who::User => May::All,
        _ => May::Nothing,
    };
    stage.expect(&stage.levels.user_storage(&stage.levels.user, ""), &DOCUMENT, row).await;
    // Who is no user of the account: rights come first, and then a 404 by the user's id.
    let path = format!("/v2/accounts/{}/users/{}/storage", stage.levels.customer.id, "f".repeat(32));
    let unknown = |who| if who == Who::User { May::Nothing } else { row(who) };
    stage.expect(&path, &DOCUMENT, unknown).await;
    let answer = stage.levels.admin.api.get(&path).await.expect_status(404).data();
    assert_eq!(answer, json!({"cause": "f".repeat(32), "message": "bad identifier"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_scope_is_none() {
    let stage = Stage::set().await;
    for path in [
        Levels::storage(&stage.levels.customer, "/foo"),
        Levels::storage(&stage.levels.reseller, "/plans/a/b"),
        "/v2/storage/foo".to_owned(),
        format!("/v2/accounts/{}/vmboxes/x/storage", stage.levels.customer.id),
    ] {
        let answer = stage.levels.master.get(&path).await.expect_status(404).json();
        assert_eq!((&answer["message"], &answer["data"]["message"]), (&json!("not_found"), &json!("not found")));
        stage.levels.master.anonymous().get(&path).await.expect_status(401);
    }
}
