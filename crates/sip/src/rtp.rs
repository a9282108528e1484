//! The socket of a call's voice: what comes from the other party passes, what anybody else sends does not.
//!
//! A party says in its description where it wants its sound, and sends from there, or, behind an address translator, from where its
//! signalling comes from, with another port. The first such source is learned and then alone is heard; sound goes back to it. When it falls
//! silent another one may take its place, as after a change of networks. Nothing here knows what a packet holds.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use crate::ports::Taken;
use crate::transport::canonical;

/// After so long without a packet another source may be learned.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// A socket for RTP.
#[derive(Debug)]
pub struct Rtp {
    socket: UdpSocket,
    route: Mutex<Route>,
    _taken: Taken,
}

#[derive(Debug)]
struct Route {
    /// Where the signalling comes from.
    signalling: IpAddr,
    announced: Option<SocketAddr>,
    learned: Option<(SocketAddr, Instant)>,
    sends: bool,
}

impl Rtp {
    pub(crate) fn new((socket, taken): (UdpSocket, Taken), signalling: IpAddr) -> Self {
        let route = Route { signalling: signalling.to_canonical(), announced: None, learned: None, sends: false };
        Self { socket, route: Mutex::new(route), _taken: taken }
    }

    /// The port.
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Goes by a new description: where the other is, and whether it wants our sound.
    pub(crate) fn aim(&self, announced: Option<SocketAddr>, sends: bool) {
        let mut route = self.lock();
        if route.announced != announced {
            route.learned = None;
        }
        route.announced = announced;
        route.sends = sends;
    }

    fn lock(&self) -> MutexGuard<'_, Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next packet of the other party, and its length. Cancel-safe.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.recv_from(buffer).await {
                Ok((length, source)) if self.lock().hears(canonical(source), Instant::now()) => return Ok(length),
                Ok(_) => {}
                // We are told so of a packet that we sent, when nobody listens there (yet).
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a packet to the other party; does nothing while it wants none, or when the network does not take it: nobody repeats sound.
    pub async fn send(&self, packet: &[u8]) {
        let to = self.lock().destination();
        if let Some(to) = to {
            let _ = self.socket.send_to(packet, to).await;
        }
    }
}

impl Route {
    fn hears(&mut self, source: SocketAddr, now: Instant) -> bool {
        let expected = self.announced.is_some_and(|announced| announced.ip().to_canonical() == source.ip());
        if !expected && source.ip() != self.signalling {
            return false;
        }
        if let Some((learned, heard)) = &mut self.learned
            && *learned != source
            && now.saturating_duration_since(*heard) < FORGOTTEN
        {
            return false;
        }
        self.learned = Some((source, now));
        true
    }

    fn destination(&self) -> Option<SocketAddr> {
        let learned = self.learned.map(|(source, _)| source);
        learned.or(self.announced).filter(|_| self.sends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route {
            signalling: IpAddr::from([192, 0, 2, 1]),
            announced: "198.51.100.7:4000".parse().ok(),
            learned: None,
            sends: true,
        }
    }

    #[test]
    fn sound_goes_back_to_where_it_comes_from() {
        let (mut route, now) = (route(), Instant::now());
        assert_eq!(route.destination(), "198.51.100.7:4000".parse().ok());
        assert!(route.hears("192.0.2.1:31000".parse().unwrap(), now), "behind a translator");
        assert_eq!(route.destination(), "192.0.2.1:31000".parse().ok());
    }

    #[test]
    fn nobody_can_speak_in_between() {
        let (mut route, now) = (route(), Instant::now());
        assert!(!route.hears("203.0.113.9:4000".parse().unwrap(), now), "a stranger");
        assert!(route.hears("198.51.100.7:4000".parse().unwrap(), now));
        assert!(!route.hears("198.51.100.7:4002".parse().unwrap(), now), "a second source");
        assert!(route.hears("198.51.100.7:4002".parse().unwrap(), now + FORGOTTEN), "the first fell silent");
    }

    #[test]
    fn on_hold_nothing_is_sent() {
        let route = Route { sends: false, ..route() };
        assert_eq!(route.destination(), None);
    }
}
