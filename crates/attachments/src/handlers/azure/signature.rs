//! What lets us in: the account's key, by which each request is signed (Shared Key), or a shared access signature, which is shown.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use outbound::{Request, Secret};
use serde_json::{Map, Value};
use sha2::Sha256;
use url::Url;

use crate::error::{Error, ErrorKind, Operation};
use crate::presigned;
use crate::settings::{Settings, wrong};

const DATE: HeaderName = HeaderName::from_static("x-ms-date");
/// The headers that are signed by their place, in that order, after the length.
const PLACED: [&str; 8] = [
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// What lets us in.
pub(super) enum Pass {
    /// A key of the account.
    Key { account: String, key: Hmac<Sha256> },
    /// A query that is shown.
    Shown(Secret),
}

impl Pass {
    pub(super) fn read(settings: &Map<String, Value>) -> Result<Self, Error> {
        let settings = Settings(settings);
        match (settings.text("key")?, settings.text("sas_token")?) {
            (Some(key), None) => {
                let key = STANDARD.decode(key.trim()).map_err(|_| wrong("key", "is no base64"))?;
                let key = Hmac::new_from_slice(&key).map_err(|_| wrong("key", "is no key"))?;
                Ok(Self::Key { account: settings.required("account")?.to_owned(), key })
            }
            (None, Some(token)) => Ok(Self::Shown(Secret::new(token.trim().trim_start_matches('?')))),
            (None, None) => Err(wrong("key", "is missing")),
            (Some(_), Some(_)) => Err(wrong("sas_token", "stands beside a key: one of them, please")),
        }
    }

    /// Shows it with a request.
    pub(super) fn show(&self, request: &mut Request) -> Result<(), Error> {
        match self {
            Self::Key { account, key } => {
                let date = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now()));
                request.headers.extend(date.ok().map(|date| (DATE, date)));
                let text = text(request, account);
                let signature = STANDARD.encode(key.clone().chain_update(text).finalize().into_bytes());
                let unfit = |_| Error::new(Operation::Open, ErrorKind::Misconfigured, "the account fits in no header");
                let mut value = HeaderValue::from_str(&format!("SharedKey {account}:{signature}")).map_err(unfit)?;
                value.set_sensitive(true);
                request.headers.insert(header::AUTHORIZATION, value);
            }
            Self::Shown(token) => {
                let query = request.url.query().map_or_else(String::new, |query| format!("{query}&"));
                request.url.set_query(Some(&format!("{query}{}", token.reveal())));
            }
        }
        Ok(())
    }
}

impl Pass {
    /// The query that lets in whoever has it to read one blob until `expiry`; none where all we have is what we may not give away.
    ///
    /// `resource` is the blob's path after the service, `said` what the answer is to say: its disposition and its media type.
    pub(super) fn lend(&self, resource: &str, expiry: &str, version: &str, said: (&str, &str)) -> Option<String> {
        let Self::Key { account, key } = self else { return None };
        let (disposition, content_type) = said;
        // Permissions, start, expiry, resource, identifier, address, protocol, version, kind, snapshot, scope, and five headers of the answer.
        let resource = format!("/blob/{account}/{resource}");
        let text =
            ["r", "", expiry, &resource, "", "", "", version, "b", "", "", "", disposition, "", "", content_type];
        let signature = STANDARD.encode(key.clone().chain_update(text.join("\n")).finalize().into_bytes());
        Some(presigned::query(&[
            ("sv", version),
            ("sr", "b"),
            ("sp", "r"),
            ("se", expiry),
            ("rscd", disposition),
            ("rsct", content_type),
            ("sig", &signature),
        ]))
    }
}

/// What is signed of a request.
fn text(request: &Request, account: &str) -> String {
    let length = request.body.length();
    // Neither encoding nor language are ever said; no length stands for an empty body.
    let mut lines = vec![request.method.to_string(), String::new(), String::new()];
    lines.push(if length == 0 { String::new() } else { length.to_string() });
    lines.extend(PLACED.iter().map(|name| value(&request.headers, name).to_owned()));
    let mut ours: Vec<&str> =
        request.headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-ms-")).collect();
    ours.sort_unstable();
    lines.extend(ours.into_iter().map(|name| format!("{name}:{}", value(&request.headers, name).trim())));
    lines.push(format!("/{account}{}", request.url.path()));
    lines.extend(query(&request.url));
    lines.join("\n")
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn query(url: &Url) -> Vec<String> {
    let mut pairs: Vec<String> =
        url.query_pairs().map(|(name, value)| format!("{}:{value}", name.to_lowercase())).collect();
    pairs.sort_unstable();
    pairs
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pass")
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn the_text_is_that_of_the_documentation() {
        let url = "http://127.0.0.1:1/acct/calls/a%2520b?comp=block&blockid=MDA%3D".parse().unwrap();
        let mut request = Request::new(Method::PUT, url);
        for (name, value) in
            [("x-ms-version", "2021-12-02"), ("x-ms-date", "D"), ("content-md5", "M"), ("if-none-match", "*")]
        {
            request.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        request.body = outbound::Body::Bytes("hello".into());
        assert_eq!(
            text(&request, "acct"),
            "PUT\n\n\n5\nM\n\n\n\n\n*\n\n\nx-ms-date:D\nx-ms-version:2021-12-02\n/acct/acct/calls/a%2520b\nblockid:MDA=\ncomp:block"
        );
    }
}
