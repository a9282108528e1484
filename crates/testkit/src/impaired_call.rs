//! A bad network between a caller and who answers: voices lose packets, get some twice and some late, by a seed.
//!
//! A caller calls this address instead of the server's. What it sends goes on to the server and what comes back goes back, but where a message
//! describes media, the port in it becomes one of ours: so the voices of the call come by here too. Signalling passes unharmed, and after the
//! answer goes straight.
//!
//! What becomes of the n-th packet of a voice is decided by the seed and n alone, never by a clock: two runs harm the same packets. Packets are
//! held back until others have passed them; time only says when a packet is no longer held back because no other came.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout_at};

/// A packet is held back no longer than this.
const HELD: Duration = Duration::from_millis(50);
/// The largest datagram.
const DATAGRAM: usize = 64 * 1024;

/// What happens to packets that come from the caller. Shares are of 100.
#[derive(Debug, Clone, Copy, Default)]
pub struct Impairment {
    /// Decides which packets are harmed.
    pub seed: u64,
    /// The first packets, which pass unharmed.
    pub spared: u64,
    /// Lost.
    pub lost: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Overtaken by up to three others.
    pub overtaken: u64,
    /// The most by which any packet is late, in its place.
    pub jitter: Duration,
}

/// A packet of RTP from the caller, and whether it was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Its payload type.
    pub payload_type: u8,
    /// Its timestamp.
    pub timestamp: u32,
    /// False when it was lost here.
    pub arrived: bool,
}

/// A bad network before the address of a SIP server. Dropping it takes it down.
#[derive(Debug)]
pub struct ImpairedCall {
    address: SocketAddr,
    passed: Arc<Mutex<Vec<Passed>>>,
    runtime: Option<Runtime>,
}

impl ImpairedCall {
    /// Stands before `server` on a free port.
    pub fn start(server: SocketAddr, impairment: Impairment) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime of its own");
        // Bound here: a test may be asynchronous itself, and then must not wait for this runtime.
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_nonblocking(true).expect("a socket that does not block");
        let address = socket.local_addr().expect("a bound socket has an address");
        let passed = Arc::new(Mutex::default());
        let kept = passed.clone();
        runtime.spawn(async move {
            let socket = UdpSocket::from_std(socket).expect("a socket of this runtime");
            Signals { socket, server, callers: HashMap::new(), impairment, passed: kept }.carry().await;
        });
        Self { address, passed, runtime: Some(runtime) }
    }

    /// Where callers call.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The packets that came from callers so far.
    pub fn passed(&self) -> Vec<Passed> {
        lock(&self.passed).clone()
    }
}

impl Drop for ImpairedCall {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port")
}

/// A call that goes by here.
struct Caller {
    address: SocketAddr,
    relay: Option<Relay>,
}

/// The ports of a voice: one that the server sends to, and one that the caller does.
struct Relay {
    server_side: Arc<UdpSocket>,
    caller: SocketAddr,
    caller_side: Option<Arc<UdpSocket>>,
}

struct Signals {
    socket: UdpSocket,
    server: SocketAddr,
    callers: HashMap<String, Caller>,
    impairment: Impairment,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Signals {
    async fn carry(mut self) {
        let mut buffer = vec![0; DATAGRAM];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer).await {
            let Ok(text) = std::str::from_utf8(&buffer[..length]) else { continue };
            let Some(call) = header(text, "Call-ID") else { continue };
            let (call, text) = (call.to_owned(), text.to_owned());
            let (text, to) = if from == self.server {
                let Some(address) = self.callers.get(&call).map(|caller| caller.address) else { continue };
                (self.answered(&call, text).await, address)
            } else {
                (self.asked(&call, text, from).await, self.server)
            };
            let _ = self.socket.send_to(text.as_bytes(), to).await;
        }
    }

    /// A message of the caller's: the server is to send the voice to us.
    async fn asked(&mut self, call: &str, text: String, from: SocketAddr) -> String {
        let caller = self.callers.entry(call.to_owned()).or_insert(Caller { address: from, relay: None });
        let Some(port) = media_port(&text) else { return text };
        if caller.relay.is_none() {
            let server_side = Arc::new(bind().await);
            caller.relay = Some(Relay { server_side, caller: SocketAddr::new(from.ip(), port), caller_side: None });
        }
        let ours = caller.relay.as_ref().and_then(|relay| relay.server_side.local_addr().ok());
        ours.map_or(text.clone(), |ours| with_media_port(&text, ours.port()))
    }

    /// A message of the server's: the caller is to send the voice to us. From now on voices pass.
    async fn answered(&mut self, call: &str, text: String) -> String {
        let (server, impairment, passed) = (self.server, self.impairment, self.passed.clone());
        let relay = self.callers.get_mut(call).and_then(|caller| caller.relay.as_mut());
        let (Some(relay), Some(port)) = (relay, media_port(&text)) else { return text };
        if relay.caller_side.is_none() {
            let caller_side = Arc::new(bind().await);
            relay.caller_side = Some(caller_side.clone());
            tokio::spawn(pass(relay.server_side.clone(), caller_side.clone(), relay.caller));
            let to = SocketAddr::new(server.ip(), port);
            let voice = Voice { from: caller_side, by: relay.server_side.clone(), to, impairment, passed };
            tokio::spawn(voice.impair());
        }
        let ours = relay.caller_side.as_ref().and_then(|socket| socket.local_addr().ok());
        ours.map_or(text.clone(), |ours| with_media_port(&text, ours.port()))
    }
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
    let named = |line: &'a str| line.split_once(':').filter(|(known, _)| known.trim().eq_ignore_ascii_case(name));
    lines.find_map(|line| named(line).map(|(_, value)| value.trim()))
}

fn media_port(text: &str) -> Option<u16> {
    let line = text.split("\r\n").find_map(|line| line.strip_prefix("m=audio "))?;
    line.split(' ').next()?.parse().ok()
}

/// The message with another port in its description, and the length that it has then.
fn with_media_port(text: &str, port: u16) -> String {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return text.to_owned() };
    let lines =
        body.split("\r\n").map(|line| match line.strip_prefix("m=audio ").and_then(|rest| rest.split_once(' ')) {
            Some((_, rest)) => format!("m=audio {port} {rest}"),
            None if line.starts_with("a=rtcp:") => format!("a=rtcp:{}", port.saturating_add(1)),
            None => line.to_owned(),
        });
    let body = lines.collect::<Vec<_>>().join("\r\n");
    let length = |line: &str| {
        let named = line.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("Content-Length"));
        if named { format!("Content-Length: {}", body.len()) } else { line.to_owned() }
    };
    let head = head.split("\r\n").map(length).collect::<Vec<_>>().join("\r\n");
    format!("{head}\r\n\r\n{body}")
}

/// Carries a voice unharmed.
async fn pass(from: Arc<UdpSocket>, by: Arc<UdpSocket>, to: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok((length, _)) = from.recv_from(&mut buffer).await {
        let _ = by.send_to(&buffer[..length], to).await;
    }
}

/// The voice of a caller.
struct Voice {
    from: Arc<UdpSocket>,
    by: Arc<UdpSocket>,
    to: SocketAddr,
    impairment: Impairment,
    passed: Arc<Mutex<Vec<Passed>>>,
}

/// A packet that is held back until so many others have passed.
struct Held {
    packet: Vec<u8>,
    until: u64,
    latest: Instant,
}

impl Voice {
    async fn impair(self) {
        let (mut number, mut held) = (0_u64, Vec::<Held>::new());
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let wake = held.iter().map(|held| held.latest).min();
            let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            match timeout_at(wake, self.from.recv_from(&mut buffer)).await {
                Ok(Ok((length, _))) => {
                    self.packet(number, &buffer[..length], &mut held).await;
                    number += 1;
                }
                Ok(Err(_)) => return,
                Err(_) => {}
            }
            let now = Instant::now();
            for due in held.extract_if(.., |held| held.until <= number || held.latest <= now) {
                let _ = self.by.send_to(&due.packet, self.to).await;
            }
        }
    }

    async fn packet(&self, number: u64, packet: &[u8], held: &mut Vec<Held>) {
        let Impairment { seed, spared, lost, duplicated, overtaken, jitter } = self.impairment;
        let chance = |purpose: u64| mixed(seed ^ (number << 8) ^ purpose);
        let harmed = |purpose: u64, share: u64| number >= spared && chance(purpose) % 100 < share;
        let arrived = !harmed(1, lost);
        if let [first, second, _, _, a, b, c, d, ..] = *packet
            && first >> 6 == 2
        {
            let (payload_type, timestamp) = (second & 0x7f, u32::from_be_bytes([a, b, c, d]));
            lock(&self.passed).push(Passed { payload_type, timestamp, arrived });
        }
        if !jitter.is_zero() {
            let most = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
            tokio::time::sleep(Duration::from_micros(chance(5) % most)).await;
        }
        if !arrived {
            return;
        }
        if harmed(2, overtaken) {
            let until = number + 2 + chance(3) % 3;
            held.push(Held { packet: packet.to_vec(), until, latest: Instant::now() + HELD });
        } else {
            let _ = self.by.send_to(packet, self.to).await;
        }
        if harmed(4, duplicated) {
            let _ = self.by.send_to(packet, self.to).await;
        }
    }
}

/// Well mixed bits of a number (splitmix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_gets_another_port_and_its_true_length() {
        let message = "INVITE sip:a@b SIP/2.0\r\nCall-ID: x@y\r\nContent-Length: 41\r\n\r\nv=0\r\nm=audio 9 RTP/AVP 0\r\na=rtpmap:0 x/8\r\n";
        let changed = with_media_port(message, 40_000);
        assert_eq!((media_port(&changed), header(&changed, "call-id")), (Some(40_000), Some("x@y")));
        let (_, body) = changed.split_once("\r\n\r\n").unwrap();
        assert_eq!(header(&changed, "Content-Length").unwrap(), body.len().to_string());
        assert!(body.ends_with("m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 x/8\r\n"), "{body}");
    }

    #[test]
    fn a_seed_harms_its_share_and_the_same_packets_again() {
        let harmed =
            |seed: u64| (0..10_000_u64).filter(|number| mixed(seed ^ (number << 8) ^ 1) % 100 < 20).collect::<Vec<_>>();
        assert!((1_800..2_200).contains(&harmed(7).len()), "{}", harmed(7).len());
        assert_eq!(harmed(7), harmed(7));
        assert_ne!(harmed(7), harmed(8));
    }
}
