//! A GET of a storage document, beside a GET of `/healthz` on the same server.
//!
//! `/healthz` is what a request costs that asks for nothing: connection, parser, answer. What a storage document costs more is the token, the rights,
//! the store, the opening of its secrets and the envelope.

use super::load::{Lane, head};
use super::report::{Bar, Figure};
use super::server::Server;
use super::{Bench, Outcome, median, progress};
use anyhow::ensure;
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// A storage document may cost so many times `/healthz`.
const BAR: f64 = 3.0;

/// Runs the benchmark.
///
/// # Errors
/// A request was answered otherwise than it should have been.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let (requests, rounds) = if bench.quick { (200, 2) } else { (5000, 9) };
    let server = Server::start(bench, room).await?;
    let (host, token) = (server.address(), server.api.token().unwrap_or_default().to_owned());
    let storage = head("GET", &format!("/v2/accounts/{}/storage", server.account), host, &token, "application/json", 0);
    let health = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
    let mut lane = Lane::connect(host).await?;
    let bar = progress("api", rounds);
    let (mut documents, mut healths) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let document = microseconds(&mut lane, &storage, requests).await?;
        let health = microseconds(&mut lane, &health, requests).await?;
        if round > 0 {
            documents.push(document);
            healths.push(health);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let ratios: Vec<f64> = documents.iter().zip(&healths).map(|(document, health)| document / health).collect();
    let figure = Figure {
        what: "GET of a storage document, one after the other on one connection".to_owned(),
        unit: "µs (median)".to_owned(),
        ours: median(&documents),
        yardstick: Some(("GET of /healthz, µs".to_owned(), median(&healths))),
        ratio: Some(median(&ratios)),
        bar: Some(Bar::AtMost(BAR)),
        raw: json!({"documents": documents, "healths": healths, "ratios": ratios}),
    };
    Ok(Outcome { figures: vec![figure], missing: Vec::new() })
}

/// The median time of a request.
async fn microseconds(lane: &mut Lane, request: &[u8], count: usize) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let sent = Instant::now();
        let (status, body) = lane.exchange(request).await?;
        times.push(sent.elapsed().as_secs_f64() * 1e6);
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(median(&times))
}
