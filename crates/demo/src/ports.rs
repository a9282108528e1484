//! Whether an address can be listened on, said before anything else is started.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// Fails with a sentence for people when `address` cannot be bound; `flag` is the option that chooses another.
///
/// # Errors
/// The port is taken, or the address is not this machine's.
pub fn check(address: SocketAddr, whose: &str, flag: &str) -> anyhow::Result<()> {
    tell(TcpListener::bind(address).map(drop), address, whose, flag)
}

/// The same for datagrams.
///
/// # Errors
/// The port is taken, or the address is not this machine's.
pub fn check_udp(address: SocketAddr, whose: &str, flag: &str) -> anyhow::Result<()> {
    tell(UdpSocket::bind(address).map(drop), address, whose, flag)
}

fn tell(bound: std::io::Result<()>, address: SocketAddr, whose: &str, flag: &str) -> anyhow::Result<()> {
    match bound {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => anyhow::bail!(
            "port {port} is taken: another program listens on {address}, where {whose} should listen.\n\
             Stop that program, or choose another port: cargo demo -- {flag} {ip}:{other}   (port 0 takes a free one)",
            port = address.port(),
            ip = address.ip(),
            other = address.port().checked_add(1).unwrap_or(0),
        ),
        Err(error) => anyhow::bail!("{whose} cannot listen on {address}: {error}. Choose another address with {flag}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let message = check(address, "the API", "--listen").unwrap_err().to_string();
        assert!(message.contains(&format!("port {} is taken", address.port())), "{message}");
        assert!(message.contains("--listen 127.0.0.1:"), "{message}");
        drop(taken);
        check(address, "the API", "--listen").unwrap();
    }
}
