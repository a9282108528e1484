//! UDP: a socket that the stack reads messages from, and only messages.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rsipstack::platform::net::UdpSocket as Seam;
use tokio::net::UdpSocket;

use super::{Transport, canonical};
use crate::door::Door;
use crate::gate::{Verdict, judge};

/// Room for a moment in which nobody reads.
const BUFFER: usize = 4 << 20;

/// A socket with a door.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    door: Arc<Door>,
}

impl Datagrams {
    pub(crate) fn bind(address: SocketAddr, door: Arc<Door>) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // As much of it as the system grants.
        let _ = socket.set_recv_buffer_size(BUFFER);
        socket.bind(&address.into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, door })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

#[async_trait]
impl Seam for Datagrams {
    async fn recv_from(&self, buffer: &mut [u8]) -> rsipstack::Result<(usize, SocketAddr)> {
        loop {
            let (length, source) = match self.socket.recv_from(buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // Such as "port unreachable", told of a datagram that we sent. The stack would come back at once.
                    tracing::debug!(%error, "a SIP socket could not be read");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            };
            let bytes = &buffer[..length];
            // Keeps a translator's mapping open; the stack answers those that want an answer.
            let is_keepalive = matches!(bytes, b"\r\n\r\n" | b"\r\n");
            if !self.door.admits(source.ip()) || (is_keepalive && length == 2) {
                continue;
            }
            if is_keepalive {
                return Ok((length, source));
            }
            match judge(bytes, source, Transport::Udp) {
                Verdict::Pass(_) => return Ok((length, source)),
                Verdict::Answer(answer) => {
                    let _ = self.socket.send_to(&answer, source).await;
                }
                Verdict::Drop(reason) => {
                    tracing::debug!(peer = %canonical(source), length, reason, "dropped a datagram that is no SIP message");
                }
            }
        }
    }

    async fn send_to(&self, bytes: &[u8], address: SocketAddr) -> rsipstack::Result<usize> {
        Ok(self.socket.send_to(bytes, address).await?)
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }
}
