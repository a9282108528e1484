//! Two hundred calls at once: whether every packet is recorded, how soon after the hang-up the object is verified, and what a call costs.
//!
//! The callers are in this process, one SIP user agent with a socket a call; the program answers each with its greeting and its tone, then all
//! speak at once and all hang up at once. Every caller says something else, and what is stored is compared with it, sample by sample.

use super::receiver::Receiver;
use super::report::{Bar, Figure};
use super::server::Server;
use super::{Bench, Outcome, median, memory, percentile, progress};
use anyhow::{Context, ensure};
use serde_json::json;
use sip::sdp::{Direction, Menu};
use sip::{Agent, Call, Dial, Listen, Nobody, Settings, Transport};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::VOICEMAIL_WAV;
use voice::{Codec, Decoder, Encoder, wav};

/// Bytes, and samples, of a packet of G.711.
const PACKET: usize = 160;
const PTIME: Duration = Duration::from_millis(20);
/// One call after the other is placed, so far apart.
const APART: Duration = Duration::from_millis(20);
/// Greeting and tone are over by then.
const GREETING: Duration = Duration::from_secs(6);
/// Promised: so many milliseconds from the hang-up to the verified object, for 99 of 100.
const BAR: f64 = 5_000.0;

/// Runs the benchmark.
///
/// # Errors
/// A call was not answered, or its message is not there.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let (rounds, calls, seconds) = if bench.quick { (1, 8, 2) } else { (2, 200, 20) };
    let sip = free_port()?;
    let more = format!("[sip]\nlisten = \"udp://{sip}\"\ntrusted_peers = [\"127.0.0.0/8\"]\n");
    let server = Server::start_configured(bench, room, &room.join("objects"), &more).await?;
    let voice = Voice::new()?;
    let phone = phone().await?;
    let bar = progress("calls at once", rounds * 2);
    let mut all = Vec::new();
    for round in 0..rounds {
        let plain = Receiver::start(calls, &room.join("plain"))?;
        let before = cpu_seconds(plain.pid())?;
        plainly(&plain.ports, &voice, seconds * 50).await?;
        let plain_cpu = cpu_seconds(plain.pid())? - before;
        plain.finish()?;
        bar.inc(1);
        let mut found = Round::of(&server, sip, &phone, &voice, round as usize * calls, calls, seconds).await?;
        found.plain_cpu = plain_cpu;
        bar.inc(1);
        bar.set_message(format!("p99 {:.0} ms", percentile(&found.verified_ms, 0.99)));
        all.push(found);
    }
    bar.finish_and_clear();
    phone.stop(Duration::from_secs(5)).await;
    Ok(Outcome { figures: figures(&all, calls, seconds, server.idle_bytes), missing: Vec::new() })
}

fn figures(all: &[Round], calls: usize, seconds: usize, idle: u64) -> Vec<Figure> {
    let said = (calls * seconds * 50) as u64;
    let lost: u64 = all.iter().map(|round| round.lost).sum();
    let verified: Vec<f64> = all.iter().flat_map(|round| round.verified_ms.iter().copied()).collect();
    let spoken = (calls * seconds) as f64;
    let cpu: Vec<f64> = all.iter().map(|round| round.cpu / spoken * 1_000.0).collect();
    let plain: Vec<f64> = all.iter().map(|round| round.plain_cpu / spoken * 1_000.0).collect();
    let ratios: Vec<f64> = cpu.iter().zip(&plain).map(|(ours, plain)| ours / plain).collect();
    let memory: Vec<f64> =
        all.iter().map(|round| round.peak.saturating_sub(idle) as f64 / 1024.0 / calls as f64).collect();
    let figure = |what: String, unit: &str, ours: f64, bar: Option<Bar>, raw: serde_json::Value| Figure {
        what,
        unit: unit.to_owned(),
        ours,
        yardstick: None,
        ratio: None,
        bar,
        raw,
    };
    let rounds = all.len() as u64;
    vec![
        figure(
            format!(
                "packets that are not in their place in what was stored, {calls} calls at once, {} packets",
                said * rounds
            ),
            "packets",
            lost as f64,
            Some(Bar::FigureAtMost(0.0)),
            json!({"said": said * rounds, "lost": lost, "calls": calls, "seconds": seconds, "rounds": rounds}),
        ),
        figure(
            format!("from the hang-up to the verified object, p99, {calls} calls that end at once"),
            "ms",
            percentile(&verified, 0.99),
            Some(Bar::FigureAtMost(BAR)),
            json!({"p50": percentile(&verified, 0.5), "p95": percentile(&verified, 0.95), "p99": percentile(&verified, 0.99),
                   "most": percentile(&verified, 1.0)}),
        ),
        figure("the same, p50".to_owned(), "ms", percentile(&verified, 0.5), None, json!({})),
        Figure {
            what: "processor time of a call, a second of speech".to_owned(),
            unit: "ms".to_owned(),
            ours: median(&cpu),
            yardstick: Some(("datagrams received and written to a file, ms".to_owned(), median(&plain))),
            ratio: Some(median(&ratios)),
            bar: None,
            raw: json!({"ours": cpu, "plain": plain, "ratios": ratios}),
        },
        figure(
            format!("peak memory of a call, {calls} at once"),
            "KiB",
            median(&memory),
            None,
            json!({"kib": memory, "idle_mib": idle as f64 / 1_048_576.0}),
        ),
    ]
}

/// What one round found.
struct Round {
    /// Packets that were said and are not in their place.
    lost: u64,
    verified_ms: Vec<f64>,
    /// Seconds of processor time while all spoke.
    cpu: f64,
    plain_cpu: f64,
    peak: u64,
}

impl Round {
    async fn of(
        server: &Server,
        sip: SocketAddr,
        phone: &Agent,
        voice: &Arc<Voice>,
        first: usize,
        calls: usize,
        seconds: usize,
    ) -> anyhow::Result<Self> {
        memory::reset_peak(server.program.pid())?;
        let mut lines = Vec::new();
        for number in first..first + calls {
            lines.push((number, dial(phone, sip, number).await.with_context(|| format!("call {number}"))?));
            tokio::time::sleep(APART).await;
        }
        tokio::time::sleep(GREETING).await;
        let before = cpu_seconds(server.program.pid())?;
        let started = Instant::now();
        let mut speakers = tokio::task::JoinSet::new();
        for (number, call) in lines {
            let voice = voice.clone();
            speakers.spawn(async move {
                let (rtp, stream) = (call.rtp(), number as u32);
                let mut beats = tokio::time::interval(PTIME);
                for at in 0..seconds * 50 {
                    beats.tick().await;
                    rtp.send(&voice.packet(number, at, stream)).await;
                }
                beats.tick().await;
                let over = Instant::now();
                call.hang_up().await;
                (number, over)
            });
        }
        tokio::time::sleep((Duration::from_secs(seconds as u64)).saturating_sub(started.elapsed())).await;
        let cpu = cpu_seconds(server.program.pid())? - before;
        let peak = memory::peak_bytes(server.program.pid())?;
        let verified = verified(server, first, calls).await?;
        let over: HashMap<usize, Instant> = speakers.join_all().await.into_iter().collect();
        let took = |number: &usize| {
            let seen = verified.get(number)?.0;
            Some(seen.saturating_duration_since(*over.get(number)?).as_secs_f64() * 1_000.0)
        };
        let verified_ms: Vec<f64> = over.keys().filter_map(took).collect();
        ensure!(verified_ms.len() == calls, "{} of {calls} calls are in the bucket", verified_ms.len());
        let mut lost = 0;
        for (number, (_, message)) in &verified {
            let answer = server.api.get(&format!("{}/{message}/raw", server.messages())).await;
            ensure!(answer.status == 200, "the audio of {message}: {}", answer.status);
            lost += voice.missing(*number, seconds * 50, wav::read(&answer.body)?.samples());
        }
        Ok(Self { lost, verified_ms, cpu, plain_cpu: 0.0, peak })
    }
}

/// When each call's message was first seen with nothing left to deliver, and its id. Looked at every 50 ms: so much too late at the most.
async fn verified(server: &Server, first: usize, calls: usize) -> anyhow::Result<HashMap<usize, (Instant, String)>> {
    let started = Instant::now();
    let deliveries = format!("/v2/accounts/{}/storage/deliveries?page_size=1000", server.account);
    let messages = format!("{}?paginate=false", server.messages());
    let mut seen = HashMap::new();
    while seen.len() < calls {
        ensure!(started.elapsed() < Duration::from_secs(120), "{} of {calls} calls are in the bucket", seen.len());
        let there = server.api.get(&messages).await.data();
        let waiting = server.api.get(&deliveries).await.data();
        let now = Instant::now();
        let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let waiting: HashSet<String> =
            waiting.as_array().into_iter().flatten().map(|row| text(row, "document_id")).collect();
        for row in there.as_array().into_iter().flatten() {
            let (id, number) = (text(row, "media_id"), text(row, "caller_id_number").parse().unwrap_or(usize::MAX));
            if (first..first + calls).contains(&number) && !waiting.contains(&id) {
                seen.entry(number).or_insert((now, id));
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(seen)
}

/// What callers say: speech, each of them from another place on.
struct Voice {
    said: Vec<u8>,
    heard: Vec<i16>,
}

impl Voice {
    fn new() -> anyhow::Result<Arc<Self>> {
        let mut samples = wav::read(VOICEMAIL_WAV)?.samples().to_vec();
        samples.truncate(samples.len() / PACKET * PACKET);
        let (mut said, mut heard) = (Vec::new(), Vec::new());
        Encoder::new(Codec::Pcmu).encode(&samples, &mut said)?;
        Decoder::new(Codec::Pcmu).decode(&said, &mut heard)?;
        Ok(Arc::new(Self { said, heard }))
    }

    fn place(&self, caller: usize, at: usize) -> std::ops::Range<usize> {
        let packet = (caller * 7 + at) % (self.said.len() / PACKET);
        packet * PACKET..(packet + 1) * PACKET
    }

    /// A packet of RTP.
    fn packet(&self, caller: usize, at: usize, stream: u32) -> Vec<u8> {
        let mut packet = Vec::with_capacity(12 + PACKET);
        packet.extend([0x80, if at == 0 { 0x80 } else { 0 }]);
        packet.extend((at as u16).to_be_bytes());
        packet.extend(((at * PACKET) as u32).to_be_bytes());
        packet.extend(stream.to_be_bytes());
        packet.extend(&self.said[self.place(caller, at)]);
        packet
    }

    /// How many packets of what was said are not in their place in what was stored.
    fn missing(&self, caller: usize, packets: usize, stored: &[i16]) -> u64 {
        let beyond = stored.len().saturating_sub(packets * PACKET).div_ceil(PACKET) as u64;
        let wrong = (0..packets).filter(|at| {
            let here = stored.get(at * PACKET..(at + 1) * PACKET);
            here != Some(&self.heard[self.place(caller, *at)])
        });
        wrong.count() as u64 + beyond
    }
}

/// The same voices to the yardstick, without a call around them.
async fn plainly(ports: &[u16], voice: &Arc<Voice>, packets: usize) -> anyhow::Result<()> {
    let mut speakers = tokio::task::JoinSet::new();
    for (number, port) in ports.iter().copied().enumerate() {
        let (voice, socket) = (voice.clone(), tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await?);
        socket.connect(("127.0.0.1", port)).await?;
        speakers.spawn(async move {
            let mut beats = tokio::time::interval(PTIME);
            for at in 0..packets {
                beats.tick().await;
                let _ = socket.send(&voice.packet(number, at, 0)).await;
            }
        });
    }
    speakers.join_all().await;
    Ok(())
}

/// Seconds of processor time that a process has taken.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    let (_, fields) = stat.rsplit_once(')').context("no stat")?;
    let spent = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    Ok(spent.sum::<f64>() / rustix::param::clock_ticks_per_second() as f64)
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(std::net::UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?)
}

async fn phone() -> anyhow::Result<Agent> {
    let listen = vec![Listen { transport: Transport::Udp, address: SocketAddr::from(([127, 0, 0, 1], 0)) }];
    let settings = Settings { listen, max_calls: 1_000, ..Settings::default() };
    Ok(Agent::start(settings, Arc::new(Nobody)).await?)
}

async fn dial(phone: &Agent, server: SocketAddr, number: usize) -> anyhow::Result<Call> {
    let dial = Dial {
        to: "sip:1001@bench.example".to_owned(),
        from: format!("<sip:{number}@bench.example>"),
        proxy: Some(server),
        transport: Some(Transport::Udp),
        credentials: None,
        tls: None,
        protected: false,
    };
    let menu = Menu { codecs: vec![Codec::Pcmu], ptime: 20, direction: Direction::Both };
    Ok(phone.dial(&dial, &menu, tokio::sync::mpsc::unbounded_channel().0).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_too_much_is_counted() {
        let voice = Voice::new().unwrap();
        let mut stored: Vec<i16> = (0..50).flat_map(|at| voice.heard[voice.place(3, at)].to_vec()).collect();
        assert_eq!(voice.missing(3, 50, &stored), 0);
        assert_ne!(voice.missing(4, 50, &stored), 0);
        stored[7 * PACKET] ^= 1;
        assert_eq!(voice.missing(3, 50, &stored), 1);
        stored.push(0);
        assert_eq!(voice.missing(3, 50, &stored), 2);
        stored.truncate(48 * PACKET);
        assert_eq!(voice.missing(3, 50, &stored), 3);
    }
}
