//! Connections without HTTP: to a host and a port, judged as all others are.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

use crate::error::{Error, ErrorKind};
use crate::policy::Policy;
use crate::resolver::{Lookup, permitted};

/// Connects to the first address of the host that takes us, of those that may be reached.
pub(crate) async fn connect(policy: &Policy, lookup: &Lookup, host: &str, port: u16) -> Result<TcpStream, Error> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses(policy, lookup, host, port).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small requests and their answers follow each other; without it the connection works too.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(Error::caused(ErrorKind::Connect, format!("{host}:{port}"), failed))
}

/// The addresses of the host that may be reached.
pub(crate) async fn addresses(
    policy: &Policy,
    lookup: &Lookup,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Error> {
    policy.check_host(host)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = match bare.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => lookup(host.to_owned()).await.map_err(|error| Error::caused(ErrorKind::Resolve, host, error))?,
    };
    let open = permitted(policy, host, found)?;
    Ok(open.into_iter().map(|address| SocketAddr::new(address.ip(), port)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn names(address: &'static str) -> Lookup {
        Arc::new(move |_| Box::pin(async move { Ok(vec![address.parse().map_err(io::Error::other)?]) }))
    }

    #[tokio::test]
    async fn a_name_is_judged_by_its_addresses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (closed, open) = (Policy::default(), Policy::new(vec!["127.0.0.0/8".parse().unwrap()]));
        let lookup = names("127.0.0.1:0");
        for host in ["store.example", "127.0.0.1", "localhost", "[::1]", "::1"] {
            let error = connect(&closed, &lookup, host, port).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{host}");
        }
        connect(&open, &lookup, "store.example", port).await.unwrap();
        connect(&open, &lookup, "127.0.0.1", port).await.unwrap();
        drop(listener);
        assert_eq!(connect(&open, &lookup, "store.example", port).await.unwrap_err().kind(), ErrorKind::Connect);
    }
}
