//! A client of the REST API that says what came back instead of guessing what it means.

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method};
use md5::{Digest, Md5};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// A client of one server, with or without a token.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    token: Option<String>,
    client: reqwest::Client,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

impl Api {
    /// A client for this base URL (`http://127.0.0.1:8000`), without a token.
    pub fn new(url: &str) -> Self {
        crate::install_tls();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("an HTTP client");
        Api { base: url.trim_end_matches('/').to_owned(), token: None, client }
    }

    /// The same client with this token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Api { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client without a token.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Api { token: None, ..self.clone() }
    }

    /// The same client for the same server at another address, as after a restart on another port.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Api { base: url.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    /// The token, when there is one.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The base URL.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Logs in by `PUT /v2/user_auth` as the article's readers do; gives a client with the token, and the answer's data.
    /// Panics when the login is refused.
    pub async fn login(&self, account_name: &str, username: &str, password: &str) -> (Self, Value) {
        let credentials = Self::credentials(username, password);
        let body = json!({"data": {"credentials": credentials, "account_name": account_name, "method": "md5"}});
        let answer = self.anonymous().put("/v2/user_auth", &body).await.expect_status(201);
        let json = answer.json();
        let token = json["auth_token"].as_str().expect("a login answers with auth_token");
        (self.with_token(token), json["data"].clone())
    }

    /// Percent-encodes everything but letters and digits, for ids that go into a path.
    pub fn segment(text: &str) -> String {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    }

    /// What a login sends instead of a password: the MD5 of `username:password` as lower-case hex.
    pub fn credentials(username: &str, password: &str) -> String {
        hex::encode(Md5::digest(format!("{username}:{password}")))
    }

    /// Starts a request with the token: for what the short forms below cannot say. `path` begins with `/v2/`.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.header("x-auth-token", token),
            None => request,
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// The connection failed or ended early.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
        let response = request.send().await.context("the request could not be sent")?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.context("the answer ended early")?;
        Ok(Answer { status, headers, body })
    }

    /// As [`Api::try_send`], and panics when the connection fails.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.expect("the server answers")
    }

    /// Sends JSON with this method.
    pub async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path).header("content-type", "application/json").body(body.to_string());
        self.send(request).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// PUT with a JSON body. The envelope is the caller's: `{"data": …}`.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::PUT, path, body).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::POST, path, body).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::PATCH, path, body).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Uploads raw bytes of this content type.
    pub async fn upload(&self, method: Method, path: &str, content_type: &str, bytes: impl Into<Bytes>) -> Answer {
        let request = self.request(method, path).header("content-type", content_type.to_owned()).body(bytes.into());
        self.send(request).await
    }

    /// Uploads a JSON part and a file part as `multipart/form-data`.
    pub async fn multipart(
        &self,
        method: Method,
        path: &str,
        json: &Value,
        file: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Answer {
        let (kind, body) = multipart_body(json, file, content_type, bytes);
        self.upload(method, path, &kind, body).await
    }
}

/// A `multipart/form-data` body of two parts, JSON and a file, after its content type.
pub fn multipart_body(json: &Value, file: &str, content_type: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    let boundary = "testkit-7c1e0f4b9d2a4c53";
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"data\"\r\nContent-Type: application/json\r\n\r\n{json}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file}\"\r\nContent-Type: {content_type}\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

impl Answer {
    /// The body as JSON. Panics with the body when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// The envelope's `data`; `Null` when it has none.
    pub fn data(&self) -> Value {
        self.json()["data"].clone()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The answer itself when it has this status; panics with the whole answer otherwise.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body[..self.body.len().min(4096)]))
    }
}
