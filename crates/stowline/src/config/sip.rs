//! `[sip]`: places to listen, peers, ports.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use sip::{Listen, Transport};

/// Telephony.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Sip {
    #[serde(deserialize_with = "places")]
    pub listen: Vec<Listen>,
    #[serde(deserialize_with = "address")]
    pub public_address: Option<IpAddr>,
    #[serde(deserialize_with = "networks")]
    pub trusted_peers: Vec<ipnet::IpNet>,
    #[serde(deserialize_with = "ports")]
    pub rtp_ports: Option<RangeInclusive<u16>>,
    pub max_calls: usize,
    pub messages_per_second: u32,
    pub tls_certificate: PathBuf,
    pub tls_key: PathBuf,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn texts(self) -> Vec<String> {
        match self {
            Self::One(text) if text.trim().is_empty() => Vec::new(),
            Self::One(text) => vec![text],
            Self::More(texts) => texts,
        }
    }
}

fn places<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listen>, D::Error> {
    let mut places = Vec::new();
    for text in OneOrMore::deserialize(deserializer)?.texts() {
        let (transports, address) = match text.split_once("://") {
            Some((transport, address)) => (transport.parse().ok().map(|transport| vec![transport]), address),
            None => (Some(vec![Transport::Udp, Transport::Tcp]), text.as_str()),
        };
        let parsed = transports.zip(address.parse::<SocketAddr>().ok());
        let (transports, address) = parsed.ok_or_else(|| {
            Error::custom(format!("`{text}` is no place to listen; write \"0.0.0.0:5060\" or \"tls://192.0.2.1:5061\""))
        })?;
        places.extend(transports.into_iter().map(|transport| Listen { transport, address }));
    }
    Ok(places)
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::custom(format!("`{text}` is no address; write \"198.51.100.7\"")))
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ipnet::IpNet>, D::Error> {
    let network = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(ipnet::IpNet::from));
    let bad = |text: &str| Error::custom(format!("`{text}` is no peer; write \"198.51.100.7\" or \"10.1.0.0/16\""));
    let texts = OneOrMore::deserialize(deserializer)?.texts();
    texts.iter().map(|text| network(text).map_err(|_| bad(text))).collect()
}

fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RangeInclusive<u16>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if matches!(text.trim(), "" | "0") {
        return Ok(None);
    }
    let range = text.split_once('-').and_then(|(from, to)| Some(from.trim().parse().ok()?..=to.trim().parse().ok()?));
    let usable = range.filter(|range: &RangeInclusive<u16>| *range.start() > 0 && range.end() > range.start());
    usable.map(Some).ok_or_else(|| Error::custom(format!("`{text}` is no range of ports; write \"20000-29999\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sip, toml::de::Error> {
        let defaults = "listen = []\npublic_address = ''\ntrusted_peers = []\nrtp_ports = ''\nmax_calls = 1\nmessages_per_second = 1\n\
                        tls_certificate = ''\ntls_key = ''\n";
        let mut table: toml::Table = defaults.parse()?;
        table.extend(text.parse::<toml::Table>()?);
        toml::Value::Table(table).try_into()
    }

    #[test]
    fn places_peers_and_ports_are_written_in_short() {
        let sip = read("listen = '127.0.0.1:5060'\ntrusted_peers = '10.0.0.0/8'\nrtp_ports = '20000-20099'").unwrap();
        let listens: Vec<String> = sip.listen.iter().map(Listen::to_string).collect();
        assert_eq!(listens, ["udp://127.0.0.1:5060", "tcp://127.0.0.1:5060"]);
        assert_eq!((sip.trusted_peers[0].to_string().as_str(), sip.rtp_ports), ("10.0.0.0/8", Some(20_000..=20_099)));
        let sip =
            read("listen = ['tls://[::1]:5061', 'udp://0.0.0.0:0']\ntrusted_peers = ['192.0.2.7', '::1']").unwrap();
        assert_eq!(sip.listen[0].to_string(), "tls://[::1]:5061");
        assert_eq!(sip.trusted_peers[0].to_string(), "192.0.2.7/32");
        assert!(read("").unwrap().listen.is_empty());
    }

    #[test]
    fn mistakes_are_told() {
        for bad in [
            "listen = 'here'",
            "listen = 'ws://127.0.0.1:80'",
            "listen = ['127.0.0.1']",
            "public_address = 'me'",
            "trusted_peers = ['everybody']",
            "rtp_ports = '2000'",
            "rtp_ports = '3000-2000'",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
