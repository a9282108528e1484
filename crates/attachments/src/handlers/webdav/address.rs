//! Where the folder is, and who asks. Pure.

use ::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};
use url::Url;

use crate::error::{Error, ErrorKind, Operation};
use crate::location::PART;
use crate::settings::{Secret, Settings, wrong};

/// The folder's URL, without user and password, and what these are.
pub(super) struct Base {
    url: Url,
    authorization: Option<Secret>,
}

impl Base {
    pub(super) fn read(settings: &Map<String, Value>) -> Result<Self, Error> {
        let settings = Settings(settings);
        let mut url = Url::parse(settings.required("url")?.trim()).map_err(|_| wrong("url", "is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("url", "is neither http nor https"));
        }
        if url.query().is_some() {
            return Err(wrong("url", "has a query, which a folder has not"));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = settings.text("username")?.map(str::to_owned);
        let user = user.or(Some(decoded(url.username())).filter(|user| !user.is_empty()));
        let password = settings.text("password")?.map(str::to_owned);
        let password = password.or(url.password().map(decoded)).unwrap_or_default();
        if user.as_ref().is_some_and(|user| user.contains(':')) {
            return Err(wrong("username", "has a colon"));
        }
        let authorization =
            user.map(|user| Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))));
        // Both fail only on URLs that cannot have a user, and then there is none to remove.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        Ok(Self { url, authorization })
    }

    /// Which destination this is.
    pub(super) fn identity(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// What names us, marked so that nothing prints it.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.authorization.as_ref()?.reveal()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The URL of a path below the folder. The path is a name as it stands: what is percent-encoded in it is encoded again.
    pub(super) fn join(&self, path: &str) -> Result<Url, Error> {
        let encoded: Vec<String> =
            path.trim_start_matches('/').split('/').map(|part| utf8_percent_encode(part, PART).to_string()).collect();
        let text = format!("{}/{}", self.identity(), encoded.join("/"));
        Url::parse(&text).map_err(|_| Error::new(Operation::Locate, ErrorKind::Invalid, "the location makes no URL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base(settings: Value) -> Result<Base, Error> {
        Base::read(settings.as_object().unwrap())
    }

    #[test]
    fn a_name_is_encoded_as_it_stands() {
        let base = base(json!({"url": "https://me:s%40fe@cloud.example/dav/files/"})).unwrap();
        assert_eq!(base.identity(), "https://cloud.example/dav/files");
        assert_eq!(base.join("a%2Fb/c d").unwrap().as_str(), "https://cloud.example/dav/files/a%252Fb/c%20d");
        assert_eq!(base.authorization().unwrap(), "Basic bWU6c0BmZQ==");
        assert_eq!(format!("{:?}", base.authorization().unwrap()), "Sensitive");
    }

    #[test]
    fn settings_go_before_what_the_url_says() {
        let base = base(json!({"url": "http://h/", "username": "me", "password": "pw"})).unwrap();
        assert_eq!(base.authorization().unwrap(), "Basic bWU6cHc=");
        for wrong in [
            json!({}),
            json!({"url": "ftp://h"}),
            json!({"url": "http://h/?a"}),
            json!({"url": "http://h", "username": "a:b"}),
        ] {
            assert_eq!(
                super::Base::read(wrong.as_object().unwrap()).err().map(|error| error.kind()),
                Some(ErrorKind::Misconfigured)
            );
        }
    }
}
