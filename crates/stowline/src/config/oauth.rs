//! Where people consent to the use of their drives, and the address by which they come back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;
use url::Url;

use super::{Api, Config};

impl Api {
    /// Without an address that others know this server by, the one that it listens on will do.
    pub(crate) fn find_public_url(&mut self, listening: SocketAddr) {
        if self.public_url.is_empty() {
            let host = match listening.ip() {
                ip if ip.is_unspecified() => "localhost".to_owned(),
                IpAddr::V6(ip) => format!("[{ip}]"),
                IpAddr::V4(ip) => ip.to_string(),
            };
            self.public_url = format!("http://{host}:{}", listening.port());
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct OAuth {
    #[serde(deserialize_with = "super::duration")]
    pub consent_time: Duration,
    pub same_browser: bool,
    pub google_authorize_url: String,
    pub google_token_url: String,
    pub google_revoke_url: String,
    pub dropbox_authorize_url: String,
    pub dropbox_token_url: String,
    pub dropbox_revoke_url: String,
    pub microsoft_authorize_url: String,
    pub microsoft_token_url: String,
    pub base_urls: Vec<String>,
}

impl OAuth {
    /// Its addresses, with the name of the option that each is.
    fn urls(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("oauth.google_authorize_url", &self.google_authorize_url),
            ("oauth.google_token_url", &self.google_token_url),
            ("oauth.google_revoke_url", &self.google_revoke_url),
            ("oauth.dropbox_authorize_url", &self.dropbox_authorize_url),
            ("oauth.dropbox_token_url", &self.dropbox_token_url),
            ("oauth.dropbox_revoke_url", &self.dropbox_revoke_url),
            ("oauth.microsoft_authorize_url", &self.microsoft_authorize_url),
            ("oauth.microsoft_token_url", &self.microsoft_token_url),
        ]
        .into_iter()
        .map(|(name, url)| (name, url.as_str()))
        .chain(self.base_urls.iter().map(|url| ("oauth.base_urls", url.as_str())))
    }
}

/// Looks whether all addresses are some.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    let public = Some(("api.public_url", config.api.public_url.as_str())).filter(|(_, url)| !url.is_empty());
    for (name, url) in config.oauth.urls().chain(public) {
        let parsed = Url::parse(&url.replace("{tenant}", "common")).ok();
        if !parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none()) {
            bail!("{name} is no address: write \"https://HOST/PATH\"");
        }
    }
    Ok(())
}
