//! Which server it is, how it is spoken to and who we are to it. Pure.

use outbound::Trust;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use url::Url;

use crate::error::Error;
use crate::settings::{Secret, Settings, wrong};

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Never,
    /// At our word `AUTH TLS`.
    Explicit,
    /// With the connection.
    Implicit,
}

/// The settings of a server, read.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Tls,
    pub(super) trust: Trust,
    pub(super) username: String,
    pub(super) password: Secret,
    /// The folder that the URL names, from the server's root; empty for the one in which we begin.
    pub(super) folder: String,
}

impl Server {
    pub(super) fn read(settings: &Map<String, Value>) -> Result<Self, Error> {
        let settings = Settings(settings);
        let url = Url::parse(settings.required("url")?.trim()).map_err(|_| wrong("url", "is no URL"))?;
        let by_scheme = match url.scheme() {
            "ftp" => Tls::Never,
            "ftpes" => Tls::Explicit,
            "ftps" => Tls::Implicit,
            _ => return Err(wrong("url", "is neither ftp, ftpes nor ftps")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("url", "names no host"))?;
        let tls = match settings.text("tls")? {
            None => by_scheme,
            Some("none") => Tls::Never,
            Some("explicit") => Tls::Explicit,
            Some("implicit") => Tls::Implicit,
            Some(_) => return Err(wrong("tls", "is neither none, explicit nor implicit")),
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let folder = decoded(url.path().trim_end_matches('/'));
        if folder.chars().any(char::is_control) || folder.split('/').any(|part| part == "..") {
            return Err(wrong("url", "has a path that leads nowhere"));
        }
        let user = Some(decoded(url.username())).filter(|user| !user.is_empty());
        let username = settings.text("username")?.map(str::to_owned).or(user).unwrap_or_else(|| "anonymous".into());
        let password = settings.text("password")?.map(str::to_owned).or(url.password().map(decoded));
        let password =
            password.unwrap_or_else(|| if username == "anonymous" { "anonymous@".into() } else { String::new() });
        if [&username, &password].into_iter().any(|text| text.contains(['\r', '\n'])) {
            return Err(wrong("password", "or username has a line break"));
        }
        let port = url.port().unwrap_or(if tls == Tls::Implicit { 990 } else { 21 });
        let trust = settings.text("certificate")?.map_or(Ok(Trust::Authorities), fingerprint)?;
        Ok(Self { host: host.to_owned(), port, tls, trust, username, password: Secret::new(password), folder })
    }

    /// Which destination this is: its scheme says how safe the way is.
    pub(super) fn identity(&self) -> String {
        let scheme = match self.tls {
            Tls::Never => "ftp",
            Tls::Explicit => "ftpes",
            Tls::Implicit => "ftps",
        };
        format!("{scheme}://{}:{}{}", self.host, self.port, self.folder)
    }

    /// The path of a name below the folder.
    pub(super) fn path(&self, name: &str) -> String {
        match self.folder.is_empty() {
            true => name.to_owned(),
            false => format!("{}/{}", self.folder, name.trim_start_matches('/')),
        }
    }
}

/// `AA:BB:…`, with or without colons.
fn fingerprint(text: &str) -> Result<Trust, Error> {
    let plain: String = text.chars().filter(|character| *character != ':').collect();
    let bytes = hex::decode(plain.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(Trust::Fingerprint).ok_or_else(|| wrong("certificate", "is no SHA-256 in hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn server(settings: Value) -> Result<Server, Error> {
        Server::read(settings.as_object().unwrap())
    }

    #[test]
    fn urls_are_read_as_kazoo_writes_them_and_settings_go_before() {
        let plain = server(json!({"url": "ftp://me:s%40fe@h.example/in%20box/"})).unwrap();
        assert_eq!((plain.username.as_str(), plain.password.reveal(), plain.tls), ("me", "s@fe", Tls::Never));
        assert_eq!(
            (plain.identity().as_str(), plain.path("/a/b").as_str()),
            ("ftp://h.example:21/in box", "/in box/a/b")
        );
        let other = server(json!({"url": "ftps://h", "username": "u", "password": "p"})).unwrap();
        assert_eq!((other.identity().as_str(), other.path("a/b").as_str()), ("ftps://h:990", "a/b"));
        let other = server(json!({"url": "ftp://h:2121", "tls": "explicit"})).unwrap();
        assert_eq!((other.identity().as_str(), other.username.as_str()), ("ftpes://h:2121", "anonymous"));
        let pinned = server(json!({"url": "ftpes://h", "certificate": "AB:".repeat(31) + "ab"})).unwrap();
        assert_eq!(pinned.trust, Trust::Fingerprint([0xab; 32]));
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (settings, name) in [
            (json!({}), "url"),
            (json!({"url": "http://h"}), "url"),
            (json!({"url": "ftp://h/a/%2e%2e/b"}), ""),
            (json!({"url": "ftp://h", "tls": "perhaps"}), "tls"),
            (json!({"url": "ftp://h", "certificate": "abc"}), "certificate"),
            (json!({"url": "ftp://h", "username": "a\r\nDELE b"}), "username"),
            (json!({"url": "ftp://h/a%0Db"}), "url"),
        ] {
            match server(settings.clone()) {
                Err(error) => assert!(error.to_string().contains(name) && !name.is_empty(), "{error}"),
                // A URL resolves its own dots.
                Ok(server) => assert!(name.is_empty() && server.folder == "/b", "{settings}"),
            }
        }
    }
}
