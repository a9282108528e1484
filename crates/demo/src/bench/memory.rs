//! Resident memory while 64 files of 256 MiB are in flight at once: uploaded all together, then delivered.

use super::report::{Bar, Figure};
use super::server::{BUCKET, Server};
use super::{Bench, Outcome, load, machine, progress};
use anyhow::{Context, ensure};
use bytes::Bytes;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;
/// Promised: so much more than idle while everything is in flight, and so much when idle, in MiB.
const BAR_MORE: f64 = 256.0;
const BAR_IDLE: f64 = 64.0;

/// Runs the benchmark.
///
/// # Errors
/// The disk has no room, or an upload or a delivery failed.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let (files, size) = if bench.quick { (8, 16 * MIB) } else { (64, 256 * MIB) };
    // Everything is in the spool and in the bucket at the same moment, and some room must stay.
    let needed = 2 * files * size + 4096 * MIB;
    let free = machine::free_bytes(room)?;
    if free < needed {
        let missing = format!("memory: {} GiB of disk are needed, {} are free", needed >> 30, free >> 30);
        return Ok(Outcome { figures: Vec::new(), missing: vec![missing] });
    }

    let server = Server::start(bench, room).await?;
    // The peak counts from here.
    reset_peak(server.program.pid())?;
    let bar = progress("memory", 0);
    bar.set_message(format!("{files} uploads of {} MiB at once", size / MIB));
    let started = Instant::now();
    let mut uploads = tokio::task::JoinSet::new();
    for number in 0..files {
        let upload = Upload::new(&server, size, number);
        uploads.spawn(upload.send());
    }
    while let Some(done) = uploads.join_next().await {
        done.context("an upload broke")??;
    }
    let uploaded = started.elapsed();
    bar.set_message(format!("{files} deliveries of {} MiB", size / MIB));
    server.delivered(Duration::from_millis(100), Duration::from_secs(1800)).await?;
    let delivered = started.elapsed();
    let peak = peak_bytes(server.program.pid())?;
    bar.finish_and_clear();

    ensure!(server.objects_of(BUCKET, size) as u64 == files, "not every file is in the bucket");

    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let all = mib(files * size);
    let raw = json!({
        "idle_mib": mib(server.idle_bytes), "peak_mib": mib(peak), "files": files, "file_mib": mib(size),
        "uploaded_after_s": uploaded.as_secs_f64(), "delivered_after_s": delivered.as_secs_f64(),
    });
    let more = mib(peak.saturating_sub(server.idle_bytes));
    Ok(Outcome {
        figures: vec![
            Figure {
                what: format!("peak memory above idle while {files} files of {} MiB are in flight", size / MIB),
                unit: "MiB".to_owned(),
                ours: more,
                yardstick: Some(("all files in memory, MiB".to_owned(), all)),
                ratio: Some(more / all),
                bar: Some(Bar::FigureAtMost(BAR_MORE)),
                raw: raw.clone(),
            },
            Figure {
                what: "resident memory when idle".to_owned(),
                unit: "MiB".to_owned(),
                ours: mib(server.idle_bytes),
                yardstick: None,
                ratio: None,
                bar: Some(Bar::FigureAtMost(BAR_IDLE)),
                raw,
            },
        ],
        missing: Vec::new(),
    })
}

struct Upload {
    address: std::net::SocketAddr,
    head: Vec<u8>,
    before: Vec<u8>,
    after: Vec<u8>,
    piece: Bytes,
    size: u64,
}

impl Upload {
    fn new(server: &Server, size: u64, number: u64) -> Self {
        // The frame of a multipart body around a file that is made while it is sent.
        let mark = b"----the file----";
        let (content_type, frame) = testkit::multipart_body(&Server::metadata(), "long.wav", "audio/wav", mark);
        let at = frame.windows(mark.len()).position(|window| window == mark).unwrap_or_default();
        let (before, after) = (frame[..at].to_vec(), frame[at + mark.len()..].to_vec());
        let length = (before.len() + after.len()) as u64 + size;
        let token = server.api.token().unwrap_or_default();
        let head = load::head("PUT", &server.messages(), server.address(), token, &content_type, length);
        let mut piece = super::server::sound(64 * 1024);
        piece[44..60].copy_from_slice(format!("{number:016x}").as_bytes());
        Upload { address: server.address(), head, before, after, piece: piece.into(), size }
    }

    async fn send(self) -> anyhow::Result<()> {
        let mut lane = load::Lane::connect(self.address).await?;
        let (status, body) = lane.stream(&self.head, &self.before, &self.piece, self.size, &self.after).await?;
        ensure!(status == 201, "{status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}

/// Lets the peak of a process count from here.
pub(super) fn reset_peak(pid: u32) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("the peak cannot be reset")
}

/// The highest resident memory since the peak was reset.
pub(super) fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the program is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}
