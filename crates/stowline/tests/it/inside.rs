//! The program inside of the test, for what comes in from switches and not by the API: the test calls the use case as whoever takes it from the
//! switch does, and looks at what the API shows.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use stowline::Server;
use stowline::app::accounts::{self, Account};
use stowline::app::cdrs::{self, Recorded};
use stowline::app::recordings::{self, Recording, Sound};
use stowline::app::{App, users};
use stowline::config::{Config, Flags};
use testkit::{Answer, Api};

use super::fixture::{CONFIG, HANDLER, until};

/// Gregorian seconds of the Unix epoch.
pub const EPOCH: i64 = 62_167_219_200;
pub const DAY: i64 = 86_400;

pub fn now() -> i64 {
    stowline::time::now()
}

/// A running program with a tenant below its master account.
pub struct Inside {
    pub server: Server,
    pub account: Account,
    pub api: Api,
    pub master: Api,
    folder: tempfile::TempDir,
}

impl Inside {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With more configuration.
    pub async fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stowline.toml");
        std::fs::write(&file, format!("{CONFIG}\n{more}")).unwrap();
        let server = serve(&folder).await;
        let url = format!("http://{}", server.address());
        let app = server.app();
        let (top, master) = account(app, &url, None, "Master").await;
        let (account, api) = account(app, &url, Some(&top), "Acme").await;
        Self { server, account, api, master, folder }
    }

    /// The same, stopped and started again.
    pub async fn again(self) -> Self {
        self.server.stop().await;
        let server = serve(&self.folder).await;
        let url = format!("http://{}", server.address());
        let (api, master) = (self.api.at(&url), self.master.at(&url));
        Self { server, api, master, ..self }
    }

    pub fn app(&self) -> &Arc<App> {
        self.server.app()
    }

    /// `/v2/accounts/{tenant}/{rest}`
    pub fn path(&self, rest: &str) -> String {
        format!("/v2/accounts/{}/{rest}", self.account.id)
    }

    /// A user of the tenant without rights; their client and id.
    pub async fn user(&self, name: &str) -> (Api, String) {
        let user = json!({"first_name": name, "last_name": "Plain", "username": name, "password": "sesame-shut"});
        let made = users::create(self.app(), &self.account.id, user).await.unwrap();
        let (api, _) = self.api.anonymous().login("Acme", name, "sesame-shut").await;
        (api, made.id.to_string())
    }

    /// Sends what the tenant has of a type to a bucket; `params` stand beside the handler in the plan.
    pub async fn route(&self, doc_type: &str, settings: Value, params: Value) {
        let mut attachments = json!({"handler": HANDLER});
        attachments.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let document = json!({"data": {
            "attachments": {HANDLER: {"handler": "s3", "name": "bucket", "settings": settings}},
            "plan": {"modb": {"types": {doc_type: {"attachments": attachments}}}},
        }});
        self.api.put(&self.path("storage"), &document).await.expect_status(201);
    }

    pub async fn until_delivered(&self) {
        let path = self.path("storage/deliveries");
        until("all is delivered", async || self.api.get(&path).await.data() == json!([])).await;
    }

    /// A recording with audio, as a switch leaves one.
    pub async fn recording(&self, said: Value, content_type: &str, audio: &'static [u8]) -> Recording {
        let owner = said["owner_id"].as_str().map(str::to_owned);
        let sound = Sound { content_type, file_name: None, limit: 1 << 20 };
        let audio =
            recordings::receive(self.app(), &self.account, owner.as_deref(), sound, whole(audio)).await.unwrap();
        recordings::create(self.app(), &self.account, object(said), Some(audio)).await.unwrap()
    }

    pub async fn leg(&self, said: Value) -> Recorded {
        cdrs::record(self.app(), &self.account, object(said)).await.unwrap()
    }
}

/// The program on a folder, in which its configuration lies.
async fn serve(folder: &tempfile::TempDir) -> Server {
    let flags = Flags { listen: "127.0.0.1:0".parse().ok(), data_dir: Some(folder.path().join("data")) };
    let config = Config::load(Some(&folder.path().join("stowline.toml")), [], &flags).unwrap();
    Server::start(config).await.unwrap()
}

async fn account(app: &App, url: &str, parent: Option<&Account>, name: &str) -> (Account, Api) {
    let about = json!({"name": name, "realm": format!("{}.example", name.to_lowercase())});
    let account = accounts::create(app, parent, about).await.unwrap();
    let admin = json!({"first_name": "An", "last_name": "Admin", "username": "admin", "password": "sesame-open", "priv_level": "admin"});
    users::create(app, &account.id, admin).await.unwrap();
    let (api, _) = Api::new(url).login(name, "admin", "sesame-open").await;
    (account, api)
}

/// What a reader gets who goes where an answer sends them, without a token.
pub async fn followed(sent: &Answer) -> reqwest::Response {
    assert_eq!((sent.status, sent.header("cache-control")), (302, Some("no-store")), "{sent}");
    assert!(sent.body.is_empty());
    reqwest::get(sent.header("location").unwrap()).await.unwrap().error_for_status().unwrap()
}

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

/// A body that comes in one piece.
pub fn whole(bytes: &'static [u8]) -> futures_util::stream::Iter<std::array::IntoIter<std::io::Result<Bytes>, 1>> {
    futures_util::stream::iter([Ok(Bytes::from_static(bytes))])
}
