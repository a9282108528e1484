//! A DNS server that says what it is told to, and may say something else the next time.
//!
//! It answers questions for A and AAAA over UDP, with a time to live of zero, so that nobody has a reason to remember. A name that it was not told
//! about does not exist.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::wire::lock;

const A: u16 = 1;
const AAAA: u16 = 28;
const NO_SUCH_NAME: u8 = 3;

/// A DNS server on a free port of 127.0.0.1. It ends when it is dropped.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    names: Arc<Mutex<Names>>,
    stopping: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Names {
    addresses: HashMap<String, Vec<IpAddr>>,
    asked: Vec<String>,
}

impl DnsServer {
    /// Starts one that knows no name.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
        let address = socket.local_addr().expect("the socket has an address");
        let (names, stopping) = (Arc::<Mutex<Names>>::default(), Arc::<AtomicBool>::default());
        let (known, stop) = (names.clone(), stopping.clone());
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
                if let Some(answer) = answer(&packet[..length], &known) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        DnsServer { address, names, stopping }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this name has these addresses.
    pub fn say(&self, name: &str, addresses: &[&str]) {
        let parse = |address: &&str| address.parse().expect("an IP address");
        lock(&self.names).addresses.insert(name.to_lowercase(), addresses.iter().map(parse).collect());
    }

    /// How often it was asked for this name.
    pub fn asked(&self, name: &str) -> usize {
        lock(&self.names).asked.iter().filter(|asked| *asked == name).count()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// The answer to a packet with one question; none for what is no question.
fn answer(packet: &[u8], names: &Mutex<Names>) -> Option<Vec<u8>> {
    let (name, end) = name(packet, 12)?;
    let question = packet.get(12..end + 4)?;
    let kind = u16::from_be_bytes([*packet.get(end)?, *packet.get(end + 1)?]);
    let mut names = lock(names);
    names.asked.push(name.clone());
    let known = names.addresses.get(&name);
    let records: Vec<Vec<u8>> = known.into_iter().flatten().filter_map(|address| record(kind, *address)).collect();
    let count = u16::try_from(records.len()).ok()?;
    let code = if known.is_some() { 0 } else { NO_SUCH_NAME };
    // The same id; an answer, authoritative, with what was wished of recursion; one question.
    let mut made = vec![*packet.first()?, *packet.get(1)?, 0x84 | (packet.get(2)? & 1), 0x80 | code, 0, 1];
    made.extend(count.to_be_bytes());
    made.extend([0, 0, 0, 0]);
    made.extend(question);
    made.extend(records.concat());
    Some(made)
}

/// The name at a place in a packet, in lower case, and where it ends.
fn name(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        match length {
            0 => return Some((labels.join("."), at)),
            1..=63 => labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase()),
            _ => return None,
        }
        at += length;
    }
}

fn record(kind: u16, address: IpAddr) -> Option<Vec<u8>> {
    let bytes = match (kind, address) {
        (A, IpAddr::V4(address)) => address.octets().to_vec(),
        (AAAA, IpAddr::V6(address)) => address.octets().to_vec(),
        _ => return None,
    };
    // A pointer to the name in the question; class IN; no time to live.
    let mut record = vec![0xc0, 12];
    record.extend(kind.to_be_bytes());
    record.extend([0, 1, 0, 0, 0, 0, 0, u8::try_from(bytes.len()).ok()?]);
    record.extend(bytes);
    Some(record)
}
