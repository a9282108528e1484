//! Resident memory while 100 messages of 100 MB come in at once by ingest, and until all are verified at their destination.
//!
//! Messages, since the S3 server makes names of files out of those of objects, and those of recordings get too long for it when they go in parts.

use super::report::{Bar, Figure};
use super::server::{BUCKET, Server};
use super::{Bench, Outcome, load, machine, memory, progress};
use anyhow::{Context, ensure};
use bytes::Bytes;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: f64 = 1024.0 * 1024.0;
const MB: u64 = 1_000_000;
/// Promised: so much more than idle while everything is in flight, in MiB. The same as for uploads by the API, of which 64 run.
const BAR_MORE: f64 = 256.0;

/// Runs the benchmark.
///
/// # Errors
/// The disk has no room, or an upload or a delivery failed.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let (files, size) = if bench.quick { (10, 4 * MB) } else { (100, 100 * MB) };
    // What is in the spool is in the bucket too for a moment; the bucket is in memory where there is room.
    let memory = Path::new("/dev/shm");
    let in_memory = machine::free_bytes(memory).is_ok_and(|free| free > files * size + 2000 * MB);
    let objects = if in_memory { tempfile::tempdir_in(memory)? } else { tempfile::tempdir_in(room)? };
    let needed = files * size * if in_memory { 1 } else { 2 } + 4000 * MB;
    let free = machine::free_bytes(room)?;
    if free < needed {
        let missing = format!("ingest: {} GB of disk are needed, {} are free", needed / 1000 / MB, free / 1000 / MB);
        return Ok(Outcome { figures: Vec::new(), missing: vec![missing] });
    }
    let server = Server::start_with(bench, room, objects.path()).await?;
    let key = server.ingest_key(&["voicemail"]).await?;
    memory::reset_peak(server.program.pid())?;
    let bar = progress("ingest", 0);
    bar.set_message(format!("{files} messages of {} MB at once", size / MB));
    let started = Instant::now();
    let mut uploads = tokio::task::JoinSet::new();
    for number in 0..files {
        uploads.spawn(upload(server.address(), server.account.clone(), key.clone(), size, number));
    }
    while let Some(done) = uploads.join_next().await {
        done.context("an upload broke")??;
    }
    let uploaded = started.elapsed();
    let peak_uploading = memory::peak_bytes(server.program.pid())?;
    bar.set_message(format!("{files} deliveries of {} MB", size / MB));
    server.delivered(Duration::from_millis(100), Duration::from_secs(1800)).await?;
    let delivered = started.elapsed();
    let peak = memory::peak_bytes(server.program.pid())?;
    bar.finish_and_clear();
    ensure!(server.objects_of(BUCKET, size) as u64 == files, "not every message is in the bucket");

    let mib = |bytes: u64| bytes as f64 / MIB;
    let all = mib(files * size);
    let more = mib(peak.saturating_sub(server.idle_bytes));
    Ok(Outcome {
        figures: vec![Figure {
            what: format!(
                "peak memory above idle while {files} messages of {} MB come in by ingest at once",
                size / MB
            ),
            unit: "MiB".to_owned(),
            ours: more,
            yardstick: Some(("all messages in memory, MiB".to_owned(), all)),
            ratio: Some(more / all),
            bar: Some(Bar::FigureAtMost(BAR_MORE)),
            raw: json!({
                "idle_mib": mib(server.idle_bytes), "peak_mib": mib(peak), "peak_while_uploading_mib": mib(peak_uploading),
                "files": files, "file_mb": size / MB, "objects_in_memory": in_memory,
                "uploaded_after_s": uploaded.as_secs_f64(), "delivered_after_s": delivered.as_secs_f64(),
            }),
        }],
        missing: Vec::new(),
    })
}

/// One message, made while it is sent.
async fn upload(address: SocketAddr, account: String, key: String, size: u64, number: u64) -> anyhow::Result<()> {
    let path = format!("/v2/ingest/{account}/voicemail/1001/{number}.wav?call_id={number}");
    let head = load::head("PUT", &path, address, &key, "audio/x-wav", size);
    let mut piece = super::server::sound(64 * 1000);
    piece[44..60].copy_from_slice(format!("{number:016x}").as_bytes());
    let mut lane = load::Lane::connect(address).await?;
    let (status, body) = lane.stream(&head, b"", &Bytes::from(piece), size, b"").await?;
    ensure!(status == 201, "{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}
