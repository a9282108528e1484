//! Where a file is: the configured URL and a location become one. Pure.
//!
//! The configured URL may hold a user, a password and a query with a token. They are in the URLs that are asked, and in nothing that is
//! kept: a receipt is joined with the settings of the day again.

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use crate::error::{Error, ErrorKind, Operation};
use crate::location::{Location, PART};
use crate::payload::PutKey;
use crate::settings::{Settings, wrong};

/// Bytes of metadata that a query takes. Beyond, common servers refuse the URL; what does not fit is left out.
const METADATA: usize = 4 << 10;

/// The configured URL.
#[derive(Clone)]
pub(super) struct Base {
    text: String,
    parsed: Url,
}

impl Base {
    pub(super) fn read(settings: &Map<String, Value>) -> Result<Self, Error> {
        let text = Settings(settings).required("url")?;
        let text = text.split('#').next().unwrap_or(text).trim();
        let parsed = Url::parse(text).map_err(|_| wrong("url", "is no URL"))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(wrong("url", "is neither http nor https"));
        }
        Ok(Self { text: text.to_owned(), parsed })
    }

    /// Which destination this is: origin and path, without user and query.
    pub(super) fn identity(&self) -> String {
        outbound::redact(&self.parsed).trim_end_matches('/').to_owned()
    }

    /// The URL of a location: after a slash, or where the configured URL has a query, at its end.
    pub(super) fn join(&self, location: &Location) -> Result<Url, Error> {
        let text = match self.text.contains('?') {
            true => format!("{}{location}", self.text),
            false => format!("{}/{}", self.text.trim_end_matches('/'), location.as_str().trim_start_matches('/')),
        };
        let url = Url::parse(&text).ok().filter(|url| url.origin() == self.parsed.origin());
        url.ok_or_else(|| Error::new(Operation::Locate, ErrorKind::Invalid, "the location makes no URL"))
    }

    /// A URL that redirects led to, with our user and password where it is our origin.
    pub(super) fn moved(&self, to: &str) -> Option<Url> {
        let mut url = Url::parse(to).ok()?;
        if url.origin() == self.parsed.origin() {
            let _ = url.set_username(self.parsed.username());
            let _ = url.set_password(self.parsed.password());
        }
        Some(url)
    }
}

/// Whether the path alone is one attachment's: then what a GET finds there is that attachment.
pub(super) fn path_is_unique(url: &Url, key: &PutKey) -> bool {
    is_unique(url.path(), key)
}

/// Whether the URL is one attachment's, its query counted.
pub(super) fn url_is_unique(url: &Url, key: &PutKey) -> bool {
    is_unique(&url[url::Position::BeforePath..], key)
}

fn is_unique(text: &str, key: &PutKey) -> bool {
    let names = |name: &str| !name.is_empty() && text.contains(&utf8_percent_encode(name, PART).to_string());
    names(&key.generation) || (names(&key.document_id) && names(&key.attachment))
}

/// The URL with the metadata of a document in its query: that under `metadata`, or all public fields.
pub(super) fn with_metadata(mut url: Url, document: &Value) -> Url {
    let metadata = document.get("metadata").filter(|metadata| metadata.is_object()).unwrap_or(document);
    let mut pairs = Vec::new();
    for (name, value) in metadata.as_object().into_iter().flatten() {
        collect(&encoded(name), value, &mut pairs);
    }
    let mut query = url.query().unwrap_or_default().to_owned();
    let most = query.len() + METADATA;
    for (name, value) in pairs {
        if query.len() + name.len() + value.len() + 2 <= most {
            let and = if query.is_empty() || query.ends_with('&') { "" } else { "&" };
            query.push_str(&format!("{and}{name}={value}"));
        }
    }
    if !query.is_empty() {
        url.set_query(Some(&query));
    }
    url
}

fn collect(name: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| collect(&format!("{name}[{}]", encoded(key)), value, pairs))
        }
        Value::Array(items) => items.iter().for_each(|item| collect(&format!("{name}[]"), item, pairs)),
        Value::String(text) => pairs.push((name.to_owned(), encoded(text))),
        other => pairs.push((name.to_owned(), encoded(&other.to_string()))),
    }
}

/// As in a form: a blank is a plus.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base(url: &str) -> Base {
        Base::read(json!({"url": url}).as_object().unwrap()).unwrap()
    }

    fn location(text: &str) -> Location {
        serde_json::from_value(text.into()).unwrap()
    }

    #[test]
    fn a_location_is_put_after_the_url() {
        for (url, place, joined) in [
            ("http://h", "a/b", "http://h/a/b"),
            ("http://h/", "a/b", "http://h/a/b"),
            ("http://h/base/", "/a/b", "http://h/base/a/b"),
            ("http://h/base", "", "http://h/base/"),
            ("http://h/i.cgi?k=v&rec=", "a/b", "http://h/i.cgi?k=v&rec=a/b"),
            ("http://h/i.cgi?", "a/b", "http://h/i.cgi?a/b"),
            ("http://h/base#x", "a", "http://h/base/a"),
            ("http://h", "?path=/a/b", "http://h/?path=/a/b"),
            ("http://h", "a%2Fb/c%20d?from=x", "http://h/a%2Fb/c%20d?from=x"),
            ("http://me:pw@h:8080/x", "a b", "http://me:pw@h:8080/x/a%20b"),
        ] {
            assert_eq!(base(url).join(&location(place)).unwrap().as_str(), joined, "{url} {place}");
        }
    }

    #[test]
    fn the_identity_has_neither_user_nor_query() {
        assert_eq!(base("https://me:pw@Example.org:443/base/?token=t&f=").identity(), "https://example.org/base");
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for url in ["", "ftp://h/", "h/base", "file:///x", "http://", "http://h:99999/"] {
            let error = Base::read(json!({"url": url}).as_object().unwrap()).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
        }
    }

    #[test]
    fn a_name_is_unique_with_the_generation_or_id_and_attachment() {
        let key = PutKey {
            generation: "g7".into(),
            document_id: "d 1".into(),
            attachment: "a/b.wav".into(),
            ..PutKey::default()
        };
        let url = |text: &str| Url::parse(text).unwrap();
        for (text, path, whole) in [
            ("http://h/acc/d%201/a%2Fb.wav", true, true),
            ("http://h/acc/d%201/a%2Fb.wav?from=x", true, true),
            ("http://h/g7", true, true),
            ("http://h/acc/d%201", false, false),
            ("http://h/all", false, false),
            ("http://h/i.cgi?rec=acc/d%201/a%2Fb.wav", false, true),
        ] {
            assert_eq!((path_is_unique(&url(text), &key), url_is_unique(&url(text), &key)), (path, whole), "{text}");
        }
        assert!(!path_is_unique(&url("http://h/"), &PutKey::default()));
    }

    #[test]
    fn metadata_is_a_form() {
        let of = |url: &str, document: Value| with_metadata(Url::parse(url).unwrap(), &document).to_string();
        let document = json!({"n": 1, "text": "foo bar", "line": "foo\n", "marks": "foo;&=", "yes": true, "none": null,
            "deep": {"a": {"b": "c"}}, "list": ["x", 2], "empty": {}});
        assert_eq!(
            of("http://h/x", document),
            "http://h/x?n=1&text=foo+bar&line=foo%0A&marks=foo%3B%26%3D&yes=true&deep[a][b]=c&list[]=x&list[]=2"
        );
        assert_eq!(
            of("http://h/x?k=v", json!({"id": "1", "metadata": {"media_id": "7"}})),
            "http://h/x?k=v&media_id=7"
        );
        assert_eq!(of("http://h/x", Value::Null), "http://h/x");
        let long = json!({"long": "x".repeat(5000), "short": "y"});
        assert_eq!(of("http://h/x", long), "http://h/x?short=y");
    }

    #[test]
    fn a_password_goes_along_to_our_own_origin_only() {
        let base = base("http://me:pw@h/x");
        assert_eq!(base.moved("http://h/y").unwrap().as_str(), "http://me:pw@h/y");
        assert_eq!(base.moved("http://other/y").unwrap().as_str(), "http://other/y");
    }
}
