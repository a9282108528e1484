//! Requests as switches send them, byte by byte, over a socket (`crates/switches/tests/requests`).

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request from a file: what comes before its body, and its body.
pub struct Request {
    head: String,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn data(&self) -> Value {
        serde_json::from_str::<Value>(&self.body).unwrap()["data"].clone()
    }
}

/// The names of all requests.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".http")?.to_owned()))
        .collect();
    names.sort();
    names
}

fn folder() -> String {
    format!("{}/../switches/tests/requests", env!("CARGO_MANIFEST_DIR"))
}

impl Request {
    /// The request of this name.
    pub fn named(name: &str) -> Self {
        let bytes = std::fs::read(format!("{}/{name}.http", folder())).unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        Self { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes[end..].to_vec() }
    }

    /// With what differs between servers: `{ACCOUNT}`, `{KEY}`, `{TOKEN}`.
    pub fn with(mut self, placeholder: &str, text: &str) -> Self {
        self.head = self.head.replace(&format!("{{{placeholder}}}"), text);
        self
    }

    /// With these credentials in place of `{BASIC}`.
    pub fn basic(self, user: &str, password: &str) -> Self {
        self.with("BASIC", &STANDARD.encode(format!("{user}:{password}")))
    }

    /// With another length announced than its body has.
    pub fn announcing(mut self, length: usize) -> Self {
        let lines = self.head.split_inclusive("\r\n");
        let change = |line: &str| match line.starts_with("Content-Length:") {
            true => format!("Content-Length: {length}\r\n"),
            false => line.to_owned(),
        };
        self.head = lines.map(change).collect();
        self
    }

    /// Its body.
    pub fn body(self) -> Vec<u8> {
        self.body
    }

    /// With another body.
    pub fn carrying(mut self, body: Vec<u8>) -> Self {
        let length = body.len();
        self.body = body;
        self.announcing(length)
    }

    /// With another type, or none.
    pub fn typed(mut self, content_type: &str) -> Self {
        let lines = self.head.split_inclusive("\r\n");
        let change = |line: &str| match line.starts_with("Content-Type:") {
            true if content_type.is_empty() => String::new(),
            true => format!("Content-Type: {content_type}\r\n"),
            false => line.to_owned(),
        };
        self.head = lines.map(change).collect();
        self
    }

    /// With another verb.
    pub fn verb(mut self, verb: &str) -> Self {
        self.head = self.head.replacen("PUT", verb, 1);
        self
    }

    /// Without credentials.
    pub fn anonymous(mut self) -> Self {
        self.head = self.head.split_inclusive("\r\n").filter(|line| !line.starts_with("Authorization:")).collect();
        self
    }

    /// Sends it as libcurl does: who expects to be told to go on waits for it.
    pub async fn send(&self, address: SocketAddr) -> Answer {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = self.head.replace("{HOST}", &address.to_string());
        assert!(!head.contains('{'), "{head}");
        stream.write_all(head.as_bytes()).await.unwrap();
        if head.contains("Expect: 100-continue") {
            let answer = read(&mut stream).await;
            if answer.status != 100 {
                return answer;
            }
        }
        stream.write_all(&self.body).await.unwrap();
        read(&mut stream).await
    }
}

async fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "{}", String::from_utf8_lossy(&bytes));
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let length: usize = length.unwrap_or_default();
    while bytes.len() < end + length {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: String::from_utf8_lossy(&bytes[end..end + length]).into_owned() }
}
