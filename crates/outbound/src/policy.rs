//! Which addresses may be reached, and which folders of this machine.
//!
//! A tenant chooses where bytes go, and we send them: without a rule they could make us speak to the machines beside us, to
//! a cloud's metadata address, or to ourselves. So only addresses that are public on the internet are open, and what an
//! operator allows by name of network. IPv6 forms that stand for an IPv4 address are judged as that address.
//!
//! Pure: no look-ups. Whoever resolves names asks [`Policy::check_ip`] for each address found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::error::{Error, ErrorKind};
use crate::redact;

/// Networks that are never public, beside what an operator allows.
const SPECIAL_V4: [(Ipv4Net, &str); 17] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    // Where a cloud's wire server answers, the one metadata address in public space.
    (v4(168, 63, 129, 16, 32), "metadata"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "reserved"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// Only 2000::/3 is public at all; these are the exceptions in it, and the names of those outside.
const SPECIAL_V6: [(Ipv6Net, &str); 10] = [
    (v6([0x2001, 0, 0], 23), "reserved"),
    (v6([0x2001, 0xdb8, 0], 32), "documentation"),
    (v6([0x2002, 0, 0], 16), "tunnelled"),
    (v6([0x3fff, 0, 0], 20), "documentation"),
    (v6([0x64, 0xff9b, 1], 48), "translated"),
    (v6([0x100, 0, 0], 64), "discarded"),
    (v6([0xfc00, 0, 0], 7), "private"),
    (v6([0xfe80, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0], 8), "multicast"),
];

const PUBLIC_V6: Ipv6Net = v6([0x2000, 0, 0], 3);
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first[0], first[1], first[2], 0, 0, 0, 0, 0), prefix)
}

/// Says which addresses may be reached: public ones, and the networks that an operator allows. Of the folders of this machine it is
/// those that an operator names and what lies below, so none by default.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    allow: Vec<IpNet>,
    folders: Vec<PathBuf>,
}

impl Policy {
    /// A policy that opens these networks beside the public internet.
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow, folders: Vec::new() }
    }

    /// The same policy, with these folders open to who keeps files on this machine.
    #[must_use]
    pub fn with_folders(self, folders: Vec<PathBuf>) -> Self {
        Self { folders, ..self }
    }

    /// The open folder that a path lies in, or is: by its name alone. Whoever goes there resolves the links of both and compares again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] when it lies in none, or climbs.
    pub fn check_folder(&self, path: &Path) -> Result<&Path, Error> {
        let climbs = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
        let within = self.folders.iter().filter(|folder| folder.is_absolute() && path.starts_with(folder));
        match within.max_by_key(|folder| folder.as_os_str().len()).filter(|_| !climbs) {
            Some(folder) => Ok(folder),
            None => Err(Error::new(ErrorKind::Denied, "a folder that the administrator does not allow")),
        }
    }

    /// Judges an address.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] when it is not public and not allowed.
    pub fn check_ip(&self, ip: IpAddr) -> Result<(), Error> {
        match self.objection(ip) {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Denied, format!("{ip} is {why}"))),
        }
    }

    /// Judges a host as it may stand in a URL: a name, an address in any notation, an IPv6 address with or without brackets.
    /// Of a name only the local ones are refused here; its addresses are judged when it is resolved.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] when the host is a forbidden address or a local name, or is no host at all.
    pub fn check_host(&self, host: &str) -> Result<(), Error> {
        let parsed = match host.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(Host::Ipv6(ip)),
            Err(_) => Host::parse(host),
        };
        match parsed {
            Ok(host) => self.check_parsed(&host),
            Err(error) => Err(Error::caused(ErrorKind::Denied, "not a host name", error)),
        }
    }

    /// Judges a URL before anything is sent there: its scheme, and its host as by [`Policy::check_host`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] as for the host, and for a scheme other than http and https.
    pub fn check_url(&self, url: &Url) -> Result<(), Error> {
        match url.host() {
            Some(host) if matches!(url.scheme(), "http" | "https") => self.check_parsed(&host.to_owned()),
            _ => Err(Error::new(ErrorKind::Denied, redact(url))),
        }
    }

    fn check_parsed(&self, host: &Host<String>) -> Result<(), Error> {
        match host {
            Host::Ipv4(ip) => self.check_ip(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => self.check_ip(IpAddr::V6(*ip)),
            Host::Domain(name) if is_local(name) => {
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                if loopback.into_iter().any(|ip| self.allowed(ip)) {
                    return Ok(());
                }
                Err(Error::new(ErrorKind::Denied, format!("{name} is this machine")))
            }
            Host::Domain(_) => Ok(()),
        }
    }

    fn allowed(&self, ip: IpAddr) -> bool {
        self.allow.iter().any(|network| network.contains(&ip))
    }

    /// Why an address may not be reached.
    fn objection(&self, ip: IpAddr) -> Option<&'static str> {
        if self.allowed(ip) {
            return None;
        }
        match ip {
            IpAddr::V4(ip) => SPECIAL_V4.iter().find(|(network, _)| network.contains(&ip)).map(|(_, name)| *name),
            IpAddr::V6(ip) => match embedded(ip) {
                Some(inner) => self.objection(IpAddr::V4(inner)),
                None => objection_v6(ip),
            },
        }
    }
}

fn objection_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_loopback() {
        return Some("loopback");
    }
    if ip.is_unspecified() {
        return Some("unspecified");
    }
    let special = SPECIAL_V6.iter().find(|(network, _)| network.contains(&ip)).map(|(_, name)| *name);
    special.or((!PUBLIC_V6.contains(&ip)).then_some("reserved"))
}

/// The IPv4 address that a connection to this one would reach: mapped into IPv6, or behind a translator.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = ip.octets();
    ip.to_ipv4_mapped().or(NAT64.contains(&ip).then_some(Ipv4Addr::new(a, b, c, d)))
}

fn is_local(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(policy: &Policy, url: &str) -> bool {
        policy.check_url(&Url::parse(url).unwrap()).is_err()
    }

    #[test]
    fn nothing_that_is_not_public_is_reached_in_whatever_notation() {
        let policy = Policy::default();
        for url in [
            // loopback, in the notations that a URL knows
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://127.8.9.10/",
            "http://[::1]/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://api.localhost/",
            "http://①②⑦.⓪.⓪.①/",
            "http://127%2e0.0.1/",
            // nowhere, broadcast, multicast
            "http://0.0.0.0/",
            "https://ignore:me@0.0.0.0",
            "http://0/",
            "http://[::]/",
            "http://255.255.255.255/",
            "http://224.0.0.1/",
            "http://239.255.255.250/",
            "http://[ff02::1]/",
            "http://240.0.0.1/",
            // private, shared, link-local, metadata
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://172.31.255.255/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://100.100.100.200/",
            "http://100.127.255.255/",
            "http://169.254.169.254/latest/meta-data/",
            "http://0xa9fea9fe/",
            "http://168.63.129.16/",
            "http://192.0.0.192/",
            "http://198.18.0.1/",
            "http://[fd00:ec2::254]/",
            "http://[fc00::1]/",
            "http://[fdff::1]/",
            "http://[fe80::1]/",
            "http://[fec0::1]/",
            // IPv4 inside IPv6
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::127.0.0.1]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[64:ff9b:1::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2002:a00:1::1]/",
            "http://[2001:0:7f00:1::]/",
            "http://[100::1]/",
            "http://[2001:db8::1]/",
            "http://[4000::1]/",
        ] {
            assert!(denied(&policy, url), "{url}");
        }
    }

    #[test]
    fn what_is_public_is_open() {
        let policy = Policy::default();
        for url in [
            "https://s3.amazonaws.com/",
            "http://1.1.1.1/",
            "http://8.8.8.8:8080/",
            "http://100.63.255.255/",
            "http://100.128.0.1/",
            "http://172.32.0.1/",
            "http://169.253.1.1/",
            "http://[2606:4700:4700::1111]/",
            "http://[2a00:1450:4001::1]/",
            "http://[::ffff:8.8.8.8]/",
            "http://[64:ff9b::8.8.8.8]/",
            "http://localhost.example.org/",
        ] {
            assert!(!denied(&policy, url), "{url}");
        }
    }

    #[test]
    fn only_web_schemes() {
        let policy = Policy::default();
        for url in ["ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "unix:/run/x.sock", "data:,x"]
        {
            assert!(denied(&policy, url), "{url}");
        }
    }

    #[test]
    fn an_operator_opens_networks() {
        let policy = Policy::new(vec!["127.0.0.0/8".parse().unwrap(), "fd00:1::/32".parse().unwrap()]);
        for url in ["http://127.0.0.1:9/", "http://localhost/", "http://[::ffff:127.0.0.1]/", "http://[fd00:1::5]/"] {
            assert!(!denied(&policy, url), "{url}");
        }
        for url in ["http://[::1]/", "http://10.0.0.1/", "http://[fd00:2::5]/"] {
            assert!(denied(&policy, url), "{url}");
        }
    }

    #[test]
    fn only_named_folders_are_open() {
        let within = |path: &str| {
            let policy = Policy::default().with_folders(vec!["/srv/kept".into(), "/srv/kept/inner".into(), "".into()]);
            policy.check_folder(Path::new(path)).map(Path::to_owned).ok()
        };
        assert_eq!(within("/srv/kept"), Some("/srv/kept".into()));
        assert_eq!(within("/srv/kept/a/b"), Some("/srv/kept".into()));
        assert_eq!(within("/srv/kept/inner/b"), Some("/srv/kept/inner".into()));
        for path in ["/", "/srv", "/srv/kept2", "/srv/kept/../other", "srv/kept", "", "/etc"] {
            assert_eq!(within(path), None, "{path}");
        }
        assert!(Policy::default().check_folder(Path::new("/srv/kept")).is_err());
    }

    #[test]
    fn a_host_alone_is_judged_like_one_in_a_url() {
        let policy = Policy::default();
        for host in ["::1", "[::1]", "127.0.0.1", "0x7f.1", "localhost", "", "a b", "::ffff:10.0.0.1"] {
            assert!(policy.check_host(host).is_err(), "{host:?}");
        }
        for host in ["example.org", "8.8.8.8", "2606:4700:4700::1111", "my_store.example.org"] {
            assert!(policy.check_host(host).is_ok(), "{host:?}");
        }
    }
}
