//! Azure Blob Storage, by Microsoft's own emulator (npm `azurite`), behind a fault proxy.
//!
//! It checks signatures (of keys and of shared access signatures), the MD5 of what arrives, and conditions. Known to differ from the original:
//! its addresses have the account in their path; it is in no hurry about service-wide limits.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

use crate::installed::path_of;
use crate::served::Served;
use crate::wire::runtime;
use crate::{FaultProxy, Faults};

const ACCOUNT: &str = "stowtest";
const KEY: &str = "hunter2-azure/account+key";
const VERSION: &str = "2021-12-02";
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b'/');

/// An emulator with one account.
#[derive(Debug)]
pub struct AzureServer {
    proxy: FaultProxy,
    _process: Served,
}

impl AzureServer {
    /// Starts one; `None` where azurite is not installed, and then the test counts as skipped.
    pub fn start() -> Option<Self> {
        let program = path_of("azurite-blob", "the handler azure against azurite")?;
        let mut command = Command::new(program);
        command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", STANDARD.encode(KEY)));
        command.args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--silent"]);
        command.args(["--skipApiVersionCheck", "--disableTelemetry"]);
        let (process, address) = Served::that_says(command, "successfully listens on");
        Some(Self { proxy: FaultProxy::start(address), _process: process })
    }

    /// The settings of a handler for a container, with the account's key.
    pub fn settings(&self, container: &str) -> serde_json::Value {
        serde_json::json!({
            "account": ACCOUNT, "container": container, "key": STANDARD.encode(KEY), "base_url": format!("{}/{ACCOUNT}", self.proxy.url()),
        })
    }

    /// A shared access signature for the whole account with these permissions (`rwdlac`).
    pub fn sas(&self, permissions: &str) -> String {
        let expiry = "2099-01-01T00:00:00Z";
        let text = format!("{ACCOUNT}\n{permissions}\nb\nsco\n\n{expiry}\n\n\n{VERSION}\n\n");
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("any length is a key");
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!("sv={VERSION}&ss=b&srt=sco&sp={permissions}&se={}&sig={}", encoded(expiry), encoded(&signature))
    }

    /// Makes a container.
    pub fn container(&self, name: &str) -> &Self {
        let made = self.ask("PUT", &format!("{name}?restype=container"), Vec::new());
        assert!(made.0 < 300, "{made:?}");
        self
    }

    /// Everything in a container, by name.
    pub fn objects(&self, container: &str) -> Vec<(String, Bytes)> {
        let (_, list) = self.ask("GET", &format!("{container}?restype=container&comp=list"), Vec::new());
        let list = String::from_utf8_lossy(&list).into_owned();
        let names = list.split("<Name>").skip(1).filter_map(|rest| rest.split_once("</Name>"));
        let plain = |name: &str| {
            name.replace("&quot;", "\"")
                .replace("&apos;", "'")
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&")
        };
        names.filter_map(|(name, _)| Some((plain(name), self.object(container, &plain(name))?))).collect()
    }

    /// A blob's bytes; none where it went since it was listed.
    fn object(&self, container: &str, name: &str) -> Option<Bytes> {
        let (status, bytes) = self.ask("GET", &path(container, name), Vec::new());
        assert!(matches!(status, 200 | 404), "{status} {name}");
        (status == 200).then_some(bytes)
    }

    /// Replaces a blob.
    pub fn plant(&self, container: &str, name: &str, bytes: &[u8]) {
        let planted = self.ask("PUT", &path(container, name), bytes.to_vec());
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

    /// Asks the emulator itself, past the proxy.
    fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, Bytes) {
        let and = if path.contains('?') { '&' } else { '?' };
        let url = format!("http://{}/{ACCOUNT}/{path}{and}{}", self.proxy.upstream(), self.sas("rwdlac"));
        let method: reqwest::Method = method.parse().expect("a method");
        let (tell, told) = mpsc::channel();
        runtime().spawn(async move {
            crate::install_tls();
            let request = reqwest::Client::new().request(method, url).header("x-ms-version", VERSION);
            let request = request.header("x-ms-blob-type", "BlockBlob");
            let request = request.header("content-length", body.len()).body(body);
            let answer = request.send().await.expect("azurite answers");
            let status = answer.status().as_u16();
            let _ = tell.send((status, answer.bytes().await.expect("its whole answer")));
        });
        told.recv().expect("azurite answers")
    }
}

fn path(container: &str, name: &str) -> String {
    format!("{container}/{}", utf8_percent_encode(name, NAME))
}
