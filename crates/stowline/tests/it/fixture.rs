//! A platform to test on: a running program with a master account and a tenant, and a bucket.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Api, Program, S3Server, VOICEMAIL_WAV};

/// Retries are fast, loopback is open, nothing else differs from the defaults.
pub const CONFIG: &str = r#"
[egress]
allow = ["127.0.0.0/8"]
[delivery]
backoff_min = "20ms"
backoff_max = "200ms"
[log]
filter = "debug,hyper=info,reqwest=info,h2=info"
"#;

/// The handler id that tests use.
pub const HANDLER: &str = "e3e26e06a4b1465599e6dc9e1516fd8b";

/// An account that `sup` made.
#[derive(Clone)]
pub struct Tenant {
    pub id: String,
    pub user_id: String,
    pub api_key: String,
    pub api: Api,
}

/// A running program with its accounts.
pub struct Platform {
    pub program: Program,
    pub master: Tenant,
    pub tenant: Tenant,
}

impl Platform {
    pub async fn start() -> Self {
        Self::with(CONFIG).await
    }

    pub async fn with(config: &str) -> Self {
        let program = Program::start(config);
        let master = tenant(&program, "Master", "master.example").await;
        let tenant = tenant(&program, "Acme", "acme.example").await;
        Self { program, master, tenant }
    }

    /// One whose tenant's voicemail goes to a bucket.
    pub async fn with_bucket() -> (Self, S3Server) {
        let platform = Self::start().await;
        let (server, settings) = bucket();
        platform.route_voicemail_to(settings).await;
        (platform, server)
    }

    /// The tenant's storage path.
    pub fn storage(&self) -> String {
        format!("/v2/accounts/{}/storage", self.tenant.id)
    }

    /// Sends the tenant's voicemail to a bucket.
    pub async fn route_voicemail_to(&self, settings: Value) {
        let document = json!({"data": {
            "attachments": {HANDLER: {"handler": "s3", "name": "bucket", "settings": settings}},
            "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
        }});
        self.tenant.api.put(&self.storage(), &document).await.expect_status(201);
    }

    /// A mailbox of the tenant; its path.
    pub async fn mailbox(&self) -> String {
        let path = format!("/v2/accounts/{}/vmboxes", self.tenant.id);
        let made =
            self.tenant.api.put(&path, &json!({"data": {"name": "Dana", "mailbox": "1001"}})).await.expect_status(201);
        format!("{path}/{}", made.data()["id"].as_str().unwrap())
    }

    /// Leaves a voicemail of real speech; the message's id.
    pub async fn voicemail(&self, mailbox: &str) -> String {
        self.voicemail_of(mailbox, VOICEMAIL_WAV).await
    }

    pub async fn voicemail_of(&self, mailbox: &str, audio: &'static [u8]) -> String {
        let about = json!({"data": {"caller_id_number": "+14155550123", "caller_id_name": "Dana Fox"}});
        let path = format!("{mailbox}/messages");
        let made =
            self.tenant.api.multipart(reqwest::Method::PUT, &path, &about, "voicemail.wav", "audio/wav", audio).await;
        made.expect_status(201).data()["media_id"].as_str().unwrap().to_owned()
    }

    /// What waits to be delivered.
    pub async fn deliveries(&self) -> Vec<Value> {
        let answer = self.tenant.api.get(&format!("{}/deliveries", self.storage())).await.expect_status(200);
        answer.data().as_array().unwrap().clone()
    }

    /// Waits until nothing waits any more.
    pub async fn until_delivered(&self) {
        until("all is delivered", async || self.deliveries().await.is_empty()).await;
    }
}

async fn tenant(program: &Program, name: &str, realm: &str) -> Tenant {
    let made = program.sup(&["crossbar_maintenance", "create_account", name, realm, "admin", "sesame-open"]);
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    let (api, _) = Api::new(&program.url()).login(name, "admin", "sesame-open").await;
    Tenant { id: text("account_id"), user_id: text("user_id"), api_key: text("api_key"), api }
}

/// A user without rights of the tenant.
pub async fn plain_user(platform: &Platform) -> (Api, String) {
    let path = format!("/v2/accounts/{}/users", platform.tenant.id);
    let user =
        json!({"data": {"first_name": "Pat", "last_name": "Plain", "username": "pat", "password": "sesame-shut"}});
    let made = platform.tenant.api.put(&path, &user).await.expect_status(201);
    let (api, _) = Api::new(&platform.program.url()).login("Acme", "pat", "sesame-shut").await;
    (api, made.data()["id"].as_str().unwrap().to_owned())
}

/// Makes a user of an account, whose password is `sesame-shut`; their id.
pub async fn user_of(by: &Api, account: &str, username: &str, priv_level: &str) -> String {
    let user = json!({"data": {
        "first_name": username, "last_name": "Test", "username": username, "password": "sesame-shut", "priv_level": priv_level,
    }});
    let made = by.put(&format!("/v2/accounts/{account}/users"), &user).await.expect_status(201);
    made.data()["id"].as_str().unwrap().to_owned()
}

/// Logs in as such a user.
pub async fn login(api: &Api, account_name: &str, username: &str) -> Api {
    api.login(account_name, username, "sesame-shut").await.0
}

/// Starts the program again with other configuration.
pub fn reconfigure(program: &mut Program, config: &str) {
    std::fs::write(program.config_file(), config).unwrap();
    program.restart();
}

/// Waits for a condition; panics when it does not come about. The patience is for a loaded machine, not a promise.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A bucket on a server that checks signatures.
pub fn bucket() -> (S3Server, Value) {
    let server = S3Server::start();
    server.bucket("recordings");
    let settings = server.settings("recordings");
    (server, settings)
}
