//! Names become addresses here, at the moment of the connection, and each address is judged.
//!
//! The client connects to what this module returns and to nothing else. A name that was harmless when it was looked at and
//! is not when it is used is therefore refused: there is no second look-up between the judgement and the connection.
//!
//! Names are looked up as the machine does it, or by asking the DNS servers that an operator names.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::error::{Error, ErrorKind};
use crate::policy::Policy;

/// How a name is looked up.
pub(crate) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The machine's own look-up.
pub(crate) fn system() -> Lookup {
    Arc::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) }))
}

/// A look-up that asks these DNS servers and nobody else, `/etc/hosts` included.
pub(crate) fn servers(servers: &[SocketAddr]) -> Result<Lookup, Error> {
    let server = |address: &SocketAddr| {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        server.connections.iter_mut().for_each(|connection| connection.port = address.port());
        server
    };
    let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    let resolver = builder.build().map_err(|error| Error::caused(ErrorKind::Other, "DNS servers", error))?;
    let resolver = Arc::new(resolver);
    Ok(Arc::new(move |host| {
        let resolver = resolver.clone();
        Box::pin(async move {
            let found = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
            Ok(found.iter().map(|address| SocketAddr::new(address, 0)).collect())
        })
    }))
}

#[derive(Clone)]
pub(crate) struct Resolver {
    policy: Arc<Policy>,
    lookup: Lookup,
}

impl Resolver {
    pub(crate) fn new(policy: Arc<Policy>, lookup: Lookup) -> Self {
        Self { policy, lookup }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let policy = self.policy.clone();
        let host = name.as_str().to_owned();
        let looking = (self.lookup)(host.clone());
        Box::pin(async move {
            let found = looking.await.map_err(|error| Error::caused(ErrorKind::Resolve, host.clone(), error))?;
            Ok(permitted(&policy, &host, found)?.into_iter())
        })
    }
}

/// The addresses that may be reached. The forbidden ones among them are as if they had not been found.
pub(crate) fn permitted(policy: &Policy, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Error> {
    if found.is_empty() {
        return Err(Error::new(ErrorKind::Resolve, host));
    }
    let open: Vec<SocketAddr> = found.into_iter().filter(|address| policy.check_ip(address.ip()).is_ok()).collect();
    if open.is_empty() {
        // Which addresses those were is nobody's business who may not reach them.
        return Err(Error::new(ErrorKind::Denied, host));
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn forbidden_addresses_of_a_name_are_left_out() {
        let policy = Policy::default();
        let found = addresses(&["10.0.0.1:0", "8.8.8.8:0", "[::1]:0"]);
        assert_eq!(permitted(&policy, "x", found).unwrap(), addresses(&["8.8.8.8:0"]));
        let error = permitted(&policy, "x", addresses(&["10.0.0.1:0"])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(!error.to_string().contains("10.0.0.1"), "{error}");
        assert_eq!(permitted(&policy, "x", Vec::new()).unwrap_err().kind(), ErrorKind::Resolve);
    }
}
