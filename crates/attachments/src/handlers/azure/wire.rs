//! One request to a container: its URL, its signature, and its refusal read.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use outbound::{Body, Client, Request};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde_json::{Map, Value};
use url::Url;

use super::signature::Pass;
use crate::asking::{Answer, Refusal, ask};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::PART;
use crate::presigned;
use crate::settings::{Settings, wrong};
use crate::xml::Answer as Xml;

/// The version of the protocol that we speak.
const VERSION: &str = "2021-12-02";
const VERSION_NAME: HeaderName = HeaderName::from_static("x-ms-version");
/// A slash in a name is one in its URL.
const NAME: &AsciiSet = &PART.remove(b'/');

/// Where a container is.
pub(super) struct Container {
    root: Url,
    name: String,
}

impl Container {
    pub(super) fn read(settings: &Map<String, Value>) -> Result<Self, Error> {
        let settings = Settings(settings);
        let account = settings.required("account")?;
        if !account.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return Err(wrong("account", "is no name of a storage account"));
        }
        let name = settings.required("container")?;
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'$')) {
            return Err(wrong("container", "is no name of a container"));
        }
        let root = match settings.url("base_url")? {
            Some(root) => root,
            None => format!("https://{account}.blob.core.windows.net")
                .parse()
                .map_err(|_| wrong("account", "is no name"))?,
        };
        Ok(Self { root, name: name.to_owned() })
    }

    pub(super) fn identity(&self) -> String {
        format!("{}/{}", outbound::redact(&self.root).trim_end_matches('/'), self.name)
    }

    fn url(&self, blob: &str, query: &str) -> Result<Url, Error> {
        let unfit = || Error::new(Operation::Locate, ErrorKind::Invalid, "the location makes no URL");
        let mut text = format!("{}/{}", self.identity(), utf8_percent_encode(blob, NAME));
        if !query.is_empty() {
            text = format!("{text}?{query}");
        }
        Url::parse(&text).ok().filter(|url| url.origin() == self.root.origin()).ok_or_else(unfit)
    }
}

/// A signed way to one container.
pub(super) struct Wire {
    client: Client,
    container: Container,
    pass: Pass,
}

/// What is asked of a blob.
pub(super) struct Ask<'a> {
    operation: Operation,
    method: Method,
    blob: &'a str,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl<'a> Ask<'a> {
    /// A request without a body.
    pub(super) fn new(operation: Operation, method: Method, blob: &'a str) -> Self {
        Self { operation, method, blob, query: String::new(), headers: HeaderMap::new(), body: Body::Empty }
    }
}

impl Wire {
    pub(super) fn open(settings: &Map<String, Value>, client: Client) -> Result<Self, Error> {
        let container = Container::read(settings)?;
        Ok(Self { pass: Pass::read(settings)?, client, container })
    }

    pub(super) fn container(&self) -> &Container {
        &self.container
    }

    /// A URL that lets in whoever has it, for a while.
    pub(super) fn presign(&self, blob: &str, disposition: &str, content_type: &str) -> Result<Option<Url>, Error> {
        let resource = format!("{}/{blob}", self.container.name);
        let expiry = presigned::moment(SystemTime::now() + presigned::GOOD_FOR);
        let query = self.pass.lend(&resource, &expiry, VERSION, (disposition, content_type));
        query.map(|query| self.container.url(blob, &query)).transpose()
    }

    /// Asks, and gives back the answer if it is a good one (2xx).
    pub(super) async fn ask(&self, what: Ask<'_>) -> Result<Answer, Error> {
        let url = self.container.url(what.blob, &what.query)?;
        let Ask { operation, method, headers, body, .. } = what;
        let mut request = Request { method, url, headers, body, fresh: false };
        request.headers.insert(VERSION_NAME, HeaderValue::from_static(VERSION));
        self.pass.show(&mut request)?;
        ask(&self.client, operation, request).await?.map_err(|refusal| refused(&refusal))
    }
}

fn refused(refusal: &Refusal) -> Error {
    let xml = Xml::read(&refusal.body);
    // An answer to HEAD has no body: then the word stands in a header.
    let code = refusal.header("x-ms-error-code").or(xml.get("Code")).map(str::to_owned);
    // The sentence is followed by lines that name the request.
    let message = xml.get("Message").and_then(|text| text.lines().next()).map(|line| line.trim().to_owned());
    refusal.error(kind(refusal, code.as_deref()), code, message)
}

/// The kind of a refusal: the service's word goes before its number.
fn kind(refusal: &Refusal, code: Option<&str>) -> ErrorKind {
    match code {
        Some("ServerBusy") => ErrorKind::Throttled,
        Some("OperationTimedOut") => ErrorKind::Timeout,
        Some("Md5Mismatch" | "InvalidMd5" | "Crc64Mismatch") => ErrorKind::Mismatch,
        Some("ContainerBeingDeleted" | "ContainerDisabled" | "AccountBeingCreated") => ErrorKind::Unavailable,
        _ => ErrorKind::of_status(refusal.status),
    }
}
