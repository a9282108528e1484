//! Which server it is, how we know it, and how it knows us.

use std::sync::Arc;

use russh::keys::ssh_key::PublicKey;
use russh::keys::{HashAlg, PrivateKey, decode_secret_key};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::settings::{Secret, Settings, wrong};

/// The settings of a server, read.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: String,
    pub(super) password: Option<Secret>,
    private_key: Option<Secret>,
    passphrase: Option<Secret>,
    /// Fingerprints of the keys that the server may show, without the padding that some print.
    host_keys: Vec<String>,
    opened: OnceCell<Arc<PrivateKey>>,
}

impl Server {
    pub(super) fn read(settings: &Map<String, Value>) -> Result<Self, Error> {
        let (host, port) = Self::place(settings)?;
        let settings = Settings(settings);
        let secret = |name| Ok::<_, Error>(settings.text(name)?.map(Secret::new));
        let (password, private_key) = (secret("password")?, secret("private_key")?);
        if password.is_none() && private_key.is_none() {
            return Err(wrong("password", "is missing, and private_key too"));
        }
        let host_keys = settings.text("host_key")?.unwrap_or_default();
        let host_keys: Vec<String> = host_keys
            .split([',', ' ', '\n'])
            .filter(|key| !key.is_empty())
            .map(|key| key.trim_end_matches('=').to_owned())
            .collect();
        if host_keys.iter().any(|key| !key.starts_with("SHA256:")) {
            return Err(wrong("host_key", "is no fingerprint as ssh-keygen -l prints it, SHA256:…"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            username: settings.required("username")?.to_owned(),
            password,
            private_key,
            passphrase: secret("passphrase")?,
            host_keys,
            opened: OnceCell::new(),
        })
    }

    pub(super) fn place(settings: &Map<String, Value>) -> Result<(&str, u16), Error> {
        let settings = Settings(settings);
        Ok((settings.required("host")?, settings.port("port")?.unwrap_or(22)))
    }

    pub(super) fn url(host: &str, port: u16) -> String {
        let bracketed =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        format!("sftp://{bracketed}:{port}")
    }

    pub(super) fn identity(&self) -> String {
        Self::url(&self.host, self.port)
    }

    /// Whether this is a key that the server may show. If not, what to say.
    pub(super) fn judge(&self, key: &PublicKey) -> Result<(), String> {
        let shown = key.fingerprint(HashAlg::Sha256).to_string();
        if self.host_keys.iter().any(|known| *known == shown.trim_end_matches('=')) {
            return Ok(());
        }
        Err(match self.host_keys.is_empty() {
            true => format!(
                "host_key is missing: the server shows {shown}; compare that with the server's own, and put it in"
            ),
            false => format!(
                "host_key is another: the server shows {shown}; somebody may stand between, or it has a new key"
            ),
        })
    }

    /// Our key, opened once; a passphrase makes that slow work.
    pub(super) async fn key(&self) -> Result<Option<Arc<PrivateKey>>, Error> {
        let Some(text) = self.private_key.clone() else { return Ok(None) };
        let passphrase = self.passphrase.clone();
        let open = || async move {
            let opened = tokio::task::spawn_blocking(move || {
                decode_secret_key(text.reveal(), passphrase.as_ref().map(Secret::reveal))
            });
            match opened.await {
                Ok(Ok(key)) => Ok(Arc::new(key)),
                // What the library says may show the text.
                Ok(Err(russh::keys::Error::KeyIsEncrypted)) => {
                    Err(wrong("passphrase", "is missing: private_key is encrypted"))
                }
                Ok(Err(_)) | Err(_) => {
                    Err(wrong("private_key", "is no private key that can be read, or passphrase is wrong"))
                }
            }
        };
        self.opened.get_or_try_init(open).await.map(|key| Some(key.clone()))
    }
}
