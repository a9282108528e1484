//! AWS Signature Version 4, in a request's headers and in a URL, as S3 and the security token service want it
//! ([Amazon's description](https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html)).
//!
//! What is signed is a text made of the request: verb, path, query, headers in their order, digest of the body. Our own, because every read waits for it; that
//! it comes to the same as that of others is tested beside theirs.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};
use http::{HeaderMap, Method};
use percent_encoding::{percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};
use url::Url;

use super::Keys;
use crate::location::PART;
use crate::presigned;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// The digest of a body that is not known yet.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Who signs, for what, and when.
pub(super) struct Signature<'a> {
    keys: &'a Keys,
    /// As `20130524T000000Z`; the day are its first eight.
    moment: String,
    /// Day, region and service: what the key is good for.
    scope: String,
    region: &'a str,
    service: &'a str,
}

impl<'a> Signature<'a> {
    pub(super) fn now(keys: &'a Keys, region: &'a str, service: &'a str) -> Self {
        Self::at(keys, region, service, presigned::stamp(SystemTime::now()))
    }

    fn at(keys: &'a Keys, region: &'a str, service: &'a str, moment: String) -> Self {
        let scope = format!("{}/{region}/{service}/aws4_request", &moment[..8]);
        Self { keys, moment, scope, region, service }
    }

    /// Signs a request in its headers, which are all signed: the time is added, the token of temporary keys and the `digest` of the body, its SHA-256 in
    /// hexadecimal.
    pub(super) fn headers(
        &self,
        method: &Method,
        url: &Url,
        headers: &mut HeaderMap,
        digest: &str,
    ) -> Result<(), InvalidHeaderValue> {
        headers.insert(DATE, HeaderValue::from_str(&self.moment)?);
        headers.insert(CONTENT_SHA256, HeaderValue::from_str(digest)?);
        if let Some(token) = &self.keys.session {
            headers.insert(SECURITY_TOKEN, sensitive(token.reveal())?);
        }
        let host = presigned::host(url);
        let values = headers.keys().map(|name| (name.as_str(), headers[name].as_bytes().trim_ascii()));
        let mut signed: Vec<(&str, &[u8])> = values.chain([("host", host.as_bytes())]).collect();
        signed.sort_unstable();
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let signature = self.of(&canonical(method, url, &signed, &names, digest));
        let (key, scope) = (self.keys.key.reveal(), &self.scope);
        let authorization =
            format!("{ALGORITHM} Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}");
        headers.insert(AUTHORIZATION, sensitive(&authorization)?);
        Ok(())
    }

    /// The URL, signed: whoever has it is let in for so long.
    pub(super) fn url(&self, method: &Method, url: &Url, lasts: Duration) -> Url {
        let (credential, lasts) = (format!("{}/{}", self.keys.key.reveal(), self.scope), lasts.as_secs().to_string());
        let mut pairs = vec![
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &self.moment),
            ("X-Amz-Expires", &lasts),
            ("X-Amz-SignedHeaders", "host"),
        ];
        pairs.extend(self.keys.session.as_ref().map(|token| ("X-Amz-Security-Token", token.reveal())));
        let mut url = url.clone();
        let query: Vec<String> = url.query().map(str::to_owned).into_iter().chain([presigned::query(&pairs)]).collect();
        let query = query.join("&");
        url.set_query(Some(&query));
        let signature =
            self.of(&canonical(method, &url, &[("host", presigned::host(&url).as_bytes())], "host", UNSIGNED));
        url.set_query(Some(&format!("{query}&X-Amz-Signature={signature}")));
        url
    }

    /// The signature of a request, in hexadecimal.
    fn of(&self, canonical: &[u8]) -> String {
        let text = format!("{ALGORITHM}\n{}\n{}\n{}", self.moment, self.scope, hex::encode(Sha256::digest(canonical)));
        let secret = format!("AWS4{}", self.keys.secret.reveal());
        let steps = [&self.moment[..8], self.region, self.service, "aws4_request", &text];
        let signature = steps.into_iter().fold(secret.into_bytes(), |key, step| hmac(&key, step));
        hex::encode(signature)
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // A key of any length will do.
    let Ok(hmac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    hmac.chain_update(text).finalize().into_bytes().to_vec()
}

/// The text of a request that is signed.
fn canonical(method: &Method, url: &Url, headers: &[(&str, &[u8])], names: &str, digest: &str) -> Vec<u8> {
    let mut text = String::with_capacity(512);
    text.push_str(method.as_str());
    text.push('\n');
    for (number, part) in url.path().split('/').enumerate() {
        if number > 0 {
            text.push('/');
        }
        encode(&mut text, part);
    }
    text.push('\n');
    text.push_str(&canonical_query(url.query().unwrap_or_default()));
    text.push('\n');
    let mut text = text.into_bytes();
    for (name, value) in headers {
        text.extend([name.as_bytes(), b":", value, b"\n"].into_iter().flatten());
    }
    text.extend([b"\n", names.as_bytes(), b"\n", digest.as_bytes()].into_iter().flatten());
    text
}

fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs.map(|(name, value)| [name, value].map(encoded)).collect();
    pairs.sort_unstable();
    pairs.iter().map(|pair| pair.join("=")).collect::<Vec<_>>().join("&")
}

/// What is encoded somehow in a URL, as it is signed.
fn encode(text: &mut String, part: &str) {
    text.extend(percent_encode(&percent_decode_str(part).collect::<Vec<_>>(), PART));
}

fn encoded(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    encode(&mut text, part);
    text
}

fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use outbound::Secret;
    use proptest::prelude::*;
    use reqsign_aws_v4::{Credential, RequestSigner};
    use reqsign_core::{Context, SignRequest};

    use super::*;

    fn keys(session: Option<&str>) -> Keys {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        Keys { key: Secret::new("AKIAIOSFODNN7EXAMPLE"), secret, session: session.map(Secret::new) }
    }

    /// The example in Amazon's description: a read of a range.
    #[test]
    fn amazons_own_example_comes_to_what_amazon_says() {
        let keys = keys(None);
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").unwrap();
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        headers.insert("x-amz-content-sha256", HeaderValue::from_static(nothing));
        let signature = Signature::at(&keys, "us-east-1", "s3", "20130524T000000Z".into());
        signature.headers(&Method::GET, &url, &mut headers, nothing).unwrap();
        assert_eq!(headers["x-amz-date"], "20130524T000000Z");
        assert_eq!(
            headers[AUTHORIZATION],
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let url = signature.url(&Method::GET, &url, Duration::from_secs(86_400));
        let (_, signature) = url.query().unwrap().split_once("&X-Amz-Signature=").unwrap();
        assert_eq!(signature, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    }

    async fn theirs(
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        session: Option<&str>,
        lasts: Option<Duration>,
    ) -> http::request::Parts {
        let keys = keys(session);
        let (mut parts, ()) = http::Request::new(()).into_parts();
        (parts.method, parts.uri, parts.headers) = (method.clone(), url.as_str().parse().unwrap(), headers.clone());
        let credential = Credential {
            access_key_id: keys.key.reveal().to_owned(),
            secret_access_key: keys.secret.reveal().to_owned(),
            session_token: session.map(str::to_owned),
            ..Credential::default()
        };
        let signer = RequestSigner::new("s3", "eu-west-1");
        signer.sign_request(&Context::new(), &mut parts, Some(&credential), lasts).await.unwrap();
        parts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Beside another's: whatever the key of an object, its query and its headers are.
        #[test]
        fn others_sign_alike(
            key in r"[ -~äß€😀/%+]{0,40}",
            query in prop::collection::vec((r"[ -~ä&=+]{1,12}", r"[ -~ä&=+]{0,12}"), 0..4),
            named in prop::collection::btree_map(r"x-amz-meta-[a-z]{1,8}|range|content-type|if-match", r"[!-~]([ -~]{0,20}[!-~])?", 0..4),
            session in prop::option::of("[A-Za-z0-9+/=]{1,40}"),
            put: bool,
            port in prop::option::of(1024..60_000_u16),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let method = if put { Method::PUT } else { Method::GET };
            let mut url = Url::parse("http://127.0.0.1/bucket").unwrap();
            url.set_port(port).unwrap();
            let path: Vec<_> = key.split('/').map(|part| percent_encode(part.as_bytes(), PART).to_string()).collect();
            url.set_path(&format!("/bucket/{}", path.join("/")));
            let pairs: Vec<_> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            url.set_query((!pairs.is_empty()).then(|| presigned::query(&pairs)).as_deref());
            let mut headers = HeaderMap::new();
            let digest = hex::encode(Sha256::digest(&key));
            headers.insert("x-amz-content-sha256", HeaderValue::from_str(&digest).unwrap());
            for (name, value) in &named {
                headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
            }

            let keys = keys(session.as_deref());
            let signed = runtime.block_on(theirs(&method, &url, &headers, session.as_deref(), None)).headers;
            let now = signed["x-amz-date"].to_str().unwrap().to_owned();
            let mut ours = headers.clone();
            Signature::at(&keys, "eu-west-1", "s3", now).headers(&method, &url, &mut ours, &digest).unwrap();
            prop_assert_eq!(&ours[AUTHORIZATION], &signed[AUTHORIZATION]);
            prop_assert_eq!(ours.get("x-amz-security-token"), signed.get("x-amz-security-token"));

            let lasts = Duration::from_secs(60);
            let none = HeaderMap::new();
            let signed = runtime.block_on(theirs(&method, &url, &none, session.as_deref(), Some(lasts))).uri.to_string();
            let signed = Url::parse(&signed).unwrap();
            let date = signed.query_pairs().find(|(name, _)| name == "X-Amz-Date").unwrap().1.into_owned();
            let ours = Signature::at(&keys, "eu-west-1", "s3", date).url(&method, &url, lasts);
            let sorted = |url: &Url| {
                let mut pairs: Vec<_> = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
                pairs.sort();
                pairs
            };
            prop_assert_eq!(sorted(&ours), sorted(&signed));
            prop_assert_eq!(ours.path(), signed.path());
        }
    }
}
