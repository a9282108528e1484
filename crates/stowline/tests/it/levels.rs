//! A platform of all levels: the master, a reseller below it, the reseller's customer with its users, and a stranger.

use std::sync::Arc;

use serde_json::{Value, json};
use stowline::Server;
use stowline::app::accounts::{self, Account};
use stowline::app::{App, users};
use stowline::config::{Config, Flags};
use testkit::{Api, S3Server};

use super::fixture::CONFIG;

/// Somebody who calls.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub api: Api,
}

pub struct Levels {
    pub server: Server,
    /// Super admin.
    pub master: Api,
    pub master_account: Account,
    pub reseller: Account,
    pub reseller_admin: Api,
    pub customer: Account,
    pub admin: Person,
    pub user: Person,
    pub other_user: Person,
    /// With the token that the customer's API key gives.
    pub api_key: Api,
    /// Admin of another account below the master.
    pub stranger: Api,
    pub stranger_account: Account,
    _folder: tempfile::TempDir,
}

impl Levels {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With more configuration.
    pub async fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stowline.toml");
        std::fs::write(&file, format!("{CONFIG}\n{more}")).unwrap();
        let flags = Flags { listen: "127.0.0.1:0".parse().ok(), data_dir: Some(folder.path().join("data")) };
        let server = Server::start(Config::load(Some(&file), [], &flags).unwrap()).await.unwrap();
        let api = Api::new(&format!("http://{}", server.address()));
        let app = server.app();
        let (master_account, master) = account(app, &api, None, "Master").await;
        let (made, reseller_admin) = account(app, &api, Some(&master_account), "Reseller").await;
        let reseller = promoted(app, &master, &made).await;
        let (customer, admin) = account(app, &api, Some(&reseller), "Customer").await;
        let (stranger_account, stranger) = account(app, &api, Some(&master_account), "Stranger").await;
        let user = user(app, &api, &customer, "Customer", "pat", "user").await;
        let other_user = self::user(app, &api, &customer, "Customer", "kim", "user").await;
        let key = accounts::api_key(app, &customer).unwrap();
        let answer = api.put("/v2/api_auth", &json!({"data": {"api_key": key}})).await.expect_status(201).json();
        let api_key = api.with_token(answer["auth_token"].as_str().unwrap());
        let admin_id = users::list(app, &customer.id).await.unwrap();
        let admin_id = admin_id.iter().find(|user| user.is_admin()).unwrap().id.to_string();
        let admin = Person { id: admin_id, api: admin };
        Self {
            server,
            master,
            master_account,
            reseller,
            reseller_admin,
            customer,
            admin,
            user,
            other_user,
            api_key,
            stranger,
            stranger_account,
            _folder: folder,
        }
    }

    pub fn app(&self) -> &Arc<App> {
        self.server.app()
    }

    /// `/v2/accounts/{account}/storage{rest}`
    pub fn storage(account: &Account, rest: &str) -> String {
        format!("/v2/accounts/{}/storage{rest}", account.id)
    }

    /// `/v2/accounts/{customer}/users/{user}/storage{rest}`
    pub fn user_storage(&self, person: &Person, rest: &str) -> String {
        format!("/v2/accounts/{}/users/{}/storage{rest}", self.customer.id, person.id)
    }
}

/// A user of an account, logged in.
pub async fn user(app: &App, api: &Api, account: &Account, name: &str, username: &str, level: &str) -> Person {
    let data = json!({
        "first_name": "Some", "last_name": "Body", "username": username, "password": "sesame-open", "priv_level": level,
    });
    let id = users::create(app, &account.id, data).await.unwrap().id.to_string();
    let (api, _) = api.login(name, username, "sesame-open").await;
    Person { id, api }
}

async fn account(app: &App, api: &Api, parent: Option<&Account>, name: &str) -> (Account, Api) {
    let account = accounts::create(app, parent, json!({"name": name})).await.unwrap();
    let admin = user(app, api, &account, name, "admin", "admin").await;
    (account, admin.api)
}

async fn promoted(app: &App, master: &Api, account: &Account) -> Account {
    master.put(&format!("/v2/accounts/{}/reseller", account.id), &json!({"data": {}})).await.expect_status(201);
    accounts::get(app, &account.id).await.unwrap()
}

/// An entry of `attachments` for a bucket, and its handler id.
pub fn entry(server: &S3Server, bucket: &str) -> Value {
    server.bucket(bucket);
    json!({"handler": "s3", "name": bucket, "settings": server.settings(bucket)})
}

/// A plan that sends voicemail to a handler.
pub fn voicemail_to(handler: &str) -> Value {
    json!({"modb": {"types": {"mailbox_message": {"attachments": {"handler": handler}}}}})
}
