//! Ports for voices: taken for a call, and given back whatever becomes of it.
//!
//! With a range (`[sip] rtp_ports`) each socket gets an even port of it, in turn, so that late packets of a call that is over do not reach
//! the next one. Without a range the system chooses. A socket gives its port back when it is dropped; there is no other way, and none to forget.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;

/// Ports that may be taken.
#[derive(Debug)]
pub(crate) struct Ports {
    range: Option<RangeInclusive<u16>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: HashSet<u16>,
    next: u16,
}

/// A port that is taken.
#[derive(Debug)]
pub(crate) struct Taken {
    ports: Arc<Ports>,
    port: u16,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.ports.lock().taken.remove(&self.port);
    }
}

impl Ports {
    /// Ports of this range; none lets the system choose.
    pub(crate) fn new(range: Option<RangeInclusive<u16>>) -> Arc<Self> {
        let next = range.as_ref().map_or(0, |range| *range.start());
        Arc::new(Self { range, state: Mutex::new(State { taken: HashSet::new(), next }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.lock().taken.len()
    }

    /// A socket on a free port of this address.
    ///
    /// # Errors
    /// When all of them are taken, or the address is not ours.
    pub(crate) fn bind(self: &Arc<Self>, address: IpAddr) -> io::Result<(UdpSocket, Taken)> {
        let Some(range) = &self.range else {
            let socket = bound(SocketAddr::new(address, 0))?;
            let port = socket.local_addr()?.port();
            self.lock().taken.insert(port);
            return Ok((socket, Taken { ports: self.clone(), port }));
        };
        let pairs = range.clone().filter(|port| port % 2 == 0).count();
        for _ in 0..pairs {
            let Some(taken) = self.choose(range) else { break };
            match bound(SocketAddr::new(address, taken.port)) {
                Ok(socket) => return Ok((socket, taken)),
                // Another program has it.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "all ports for voices are taken"))
    }

    fn choose(self: &Arc<Self>, range: &RangeInclusive<u16>) -> Option<Taken> {
        let mut state = self.lock();
        let (start, end) = (*range.start(), *range.end());
        let from = state.next.clamp(start, end);
        let port = (from..=end).chain(start..from).find(|port| port % 2 == 0 && !state.taken.contains(port))?;
        state.taken.insert(port);
        state.next = port.checked_add(2).filter(|next| range.contains(next)).unwrap_or(start);
        Some(Taken { ports: self.clone(), port })
    }
}

fn bound(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six ports that nobody else is likely to have, three of them even.
    const RANGE: RangeInclusive<u16> = 47_310..=47_315;
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn ports_are_taken_in_turn_and_given_back() {
        let ports = Ports::new(Some(RANGE));
        let mut held: Vec<_> = (0..3).map(|_| ports.bind(HERE).unwrap()).collect();
        let numbers: Vec<u16> = held.iter().map(|(_, taken)| taken.port).collect();
        assert_eq!(numbers, [47_310, 47_312, 47_314]);
        assert_eq!(ports.bind(HERE).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(held.remove(1));
        assert_eq!(ports.taken(), 2);
        assert_eq!(ports.bind(HERE).unwrap().1.port, 47_312);
    }

    #[tokio::test]
    async fn a_port_of_another_program_is_passed_over() {
        let other = std::net::UdpSocket::bind((HERE, 47_330)).unwrap();
        let ports = Ports::new(Some(47_330..=47_333));
        assert_eq!(ports.bind(HERE).unwrap().1.port, 47_332);
        assert_eq!(ports.taken(), 0);
        drop(other);
    }
}
