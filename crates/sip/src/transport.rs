//! How messages travel: UDP, TCP and TLS, with one set of limits.
//!
//! The sockets are ours and the stack only hears what passed the [`gate`](crate::gate). So a flood, a peer that does not read, a handshake
//! that never ends or a frame without an end costs that peer, and not the task that all calls share.

mod datagrams;
mod streams;
mod tls;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

pub(crate) use datagrams::Datagrams;
pub(crate) use streams::{Listener, Streams};
pub use tls::{client as tls_client, server as tls_server};

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram a message.
    Udp,
    /// A stream of messages.
    Tcp,
    /// The same, encrypted.
    Tls,
}

impl Transport {
    /// As the stack calls it.
    pub(crate) fn named(self) -> rsipstack::sip::Transport {
        match self {
            Self::Udp => rsipstack::sip::Transport::Udp,
            Self::Tcp => rsipstack::sip::Transport::Tcp,
            Self::Tls => rsipstack::sip::Transport::Tls,
        }
    }

    pub(crate) fn of(named: rsipstack::sip::Transport) -> Self {
        match named {
            rsipstack::sip::Transport::Tcp => Self::Tcp,
            rsipstack::sip::Transport::Tls => Self::Tls,
            _ => Self::Udp,
        }
    }

    /// The port where there is none in an address.
    #[must_use]
    pub fn default_port(self) -> u16 {
        if self == Self::Tls { 5061 } else { 5060 }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no way for messages to travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("known are udp, tcp and tls")]
pub struct UnknownTransport;

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(text: &str) -> Result<Self, UnknownTransport> {
        let all = [Self::Udp, Self::Tcp, Self::Tls];
        all.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(text)).ok_or(UnknownTransport)
    }
}

/// A place to listen, or one where we do: `udp://192.0.2.1:5060`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listen {
    /// How.
    pub transport: Transport,
    /// Where; port 0 takes a free one.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport, self.address)
    }
}

/// The address of ours that `peer` reaches us by, as the routes stand now.
pub(crate) fn facing(peer: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if peer.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Sends nothing: it only looks up the route.
    socket.connect((peer, 9))?;
    Ok(socket.local_addr()?.ip().to_canonical())
}

/// Where a peer is, an IPv4 address inside of an IPv6 one taken out.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
