//! A load generator that costs little: HTTP/1.1 on kept-alive connections, requests prepared as bytes beforehand.
//!
//! It runs on the same cores as what it measures, so what it does not do counts for the program under observation.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where a body is stamped.
pub const STAMP: &str = "~~sixteen chars~";

/// A request that can be sent again and again, each time with another stamp in its body.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    stamps: Vec<usize>,
    /// The bytes of the file in the body.
    pub file: std::ops::Range<usize>,
}

impl Template {
    /// A multipart upload: a JSON part and a file whose first 16 bytes after its first 44 are the stamp.
    pub fn multipart(
        method: &str,
        path: &str,
        host: SocketAddr,
        token: &str,
        json: &serde_json::Value,
        file: &[u8],
    ) -> Self {
        let (content_type, body) = testkit::multipart_body(json, "voicemail.wav", "audio/wav", file);
        let mut bytes = head(method, path, host, token, &content_type, body.len() as u64);
        // The file stands at the body's end, before the closing delimiter.
        let tail = content_type.split("boundary=").nth(1).map_or(0, str::len) + 8;
        let file_end = bytes.len() + body.len() - tail;
        let file = file_end - file.len()..file_end;
        bytes.extend_from_slice(&body);
        Template { stamps: vec![file.start + 44], file, bytes }
    }

    /// A request with this body, in which every [`STAMP`] becomes the stamp.
    pub fn whole(method: &str, path: &str, host: SocketAddr, token: &str, content_type: &str, body: &[u8]) -> Self {
        let mut bytes = head(method, path, host, token, content_type, body.len() as u64);
        let file = bytes.len()..bytes.len() + body.len();
        bytes.extend_from_slice(body);
        let mark = STAMP.as_bytes();
        let stamps = (file.start..file.end).filter(|at| bytes[*at..].starts_with(mark)).collect();
        Template { stamps, file, bytes }
    }

    /// Writes another stamp: no two files of a run are the same.
    pub fn stamp(&mut self, number: u64) {
        let stamp = format!("{number:016x}");
        for at in &self.stamps {
            self.bytes[*at..*at + 16].copy_from_slice(stamp.as_bytes());
        }
    }

    /// The file as it would be sent now.
    pub fn file_bytes(&self) -> &[u8] {
        &self.bytes[self.file.clone()]
    }
}

/// The head of a request with a body of this length.
pub fn head(method: &str, path: &str, host: SocketAddr, token: &str, content_type: &str, length: u64) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-auth-token: {token}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

/// One connection that is kept from request to request.
#[derive(Debug)]
pub struct Lane {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Lane {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Lane { stream, buffer: Vec::with_capacity(8192) })
    }

    /// Sends a whole request and reads its answer: status and body.
    ///
    /// # Errors
    /// The connection failed, or the answer is none that this small reader knows.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        self.stream.write_all(request).await.context("sending")?;
        self.answer().await
    }

    /// Sends a head, then pieces until `length` bytes of them are sent, and reads the answer.
    ///
    /// # Errors
    /// As [`Lane::exchange`].
    pub async fn stream(
        &mut self,
        head: &[u8],
        before: &[u8],
        piece: &Bytes,
        length: u64,
        after: &[u8],
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        self.stream.write_all(head).await?;
        self.stream.write_all(before).await?;
        let mut left = length;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            self.stream.write_all(&piece[..now]).await.context("sending a piece")?;
            left -= now as u64;
        }
        self.stream.write_all(after).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        self.buffer.clear();
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            ensure!(self.stream.read_buf(&mut self.buffer).await.context("reading")? > 0, "the connection ended");
        };
        let head = std::str::from_utf8(&self.buffer[..end]).context("the head is no text")?;
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).context("no status")?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let Some(length) = length else { bail!("an answer without a length: {head}") };
        while self.buffer.len() < end + 4 + length {
            ensure!(self.stream.read_buf(&mut self.buffer).await.context("reading")? > 0, "the connection ended");
        }
        Ok((status, self.buffer[end + 4..end + 4 + length].to_vec()))
    }
}

/// Sends `count` stamped requests, `lanes` at a time, the stamps counting from `first`; each must answer `expected`.
/// Gives the time from the first byte to the last answer, and each request's own time in milliseconds.
///
/// All lanes share one thread: two that wake each other would take from the cores of the program under observation.
///
/// # Errors
/// A connection failed or a request answered another status.
pub async fn drive(
    address: SocketAddr,
    template: &Template,
    lanes: usize,
    first: u64,
    count: usize,
    expected: u16,
) -> anyhow::Result<(Duration, Vec<f64>)> {
    let template = template.clone();
    let driving = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(drive_here(address, &template, lanes, first, count, expected))
    };
    tokio::task::spawn_blocking(driving).await.context("the load generator broke")?
}

async fn drive_here(
    address: SocketAddr,
    template: &Template,
    lanes: usize,
    first: u64,
    count: usize,
    expected: u16,
) -> anyhow::Result<(Duration, Vec<f64>)> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    for _ in 0..lanes {
        connections.push(Lane::connect(address).await?);
    }
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut lane in connections {
        let (next, mut template) = (next.clone(), template.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(times);
                }
                template.stamp(first + number as u64);
                let sent = Instant::now();
                let (status, body) = lane.exchange(&template.bytes).await?;
                times.push(sent.elapsed().as_secs_f64() * 1000.0);
                ensure!(status == expected, "{status} instead of {expected}: {}", String::from_utf8_lossy(&body));
            }
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done.context("a lane broke")??);
    }
    Ok((started.elapsed(), times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_driven_arrives_stamped_and_whole() {
        let store = testkit::HttpStore::start();
        let file: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        let json = serde_json::json!({"data": {}});
        let mut template = Template::multipart("PUT", "/x", store.address(), "token", &json, &file);
        assert_eq!(&template.file_bytes()[..44], &file[..44]);
        assert_eq!(&template.file_bytes()[60..], &file[60..]);
        drive(store.address(), &template, 3, 5, 7, 201).await.unwrap_err();
        drive(store.address(), &template, 3, 5, 7, 200).await.unwrap();
        assert!(store.requests().len() >= 8);
        template.stamp(11);
        let kept: Vec<_> = store.uploads().iter().filter_map(|upload| upload.parts()).flatten().collect();
        assert!(kept.iter().any(|part| part.body == template.file_bytes()), "the last of the seven stamps is 11");
    }
}
