//! Where a bucket is: settings become URLs. Pure.
//!
//! Amazon's own host depends on the region; any other host is as the settings say. The bucket stands in the host (vhost) or in the
//! path; a bucket whose name is no DNS label, and a server that is named by its address, take the path.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value};
use url::Url;

use crate::error::{Error, ErrorKind, Operation};
use crate::location::PART;
use crate::settings::{Settings, wrong};

/// The region of whoever does not say another.
pub(super) const DEFAULT_REGION: &str = "us-east-1";
const AMAZON: &str = "s3.amazonaws.com";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Server {
    Amazon,
    Host(String),
}

/// A bucket's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    scheme: &'static str,
    server: Server,
    port: Option<u16>,
    bucket: String,
    vhost: bool,
    region: Option<String>,
    has_regions: bool,
    /// The first region that was asked for, and the server's URL there.
    first: OnceLock<(String, Url)>,
}

impl Endpoint {
    pub(super) fn read(settings: &Map<String, Value>) -> Result<Self, Error> {
        let endpoint = Self::said(settings)?;
        // Whatever is wrong with host and port shows here and not at the first upload.
        endpoint.server(DEFAULT_REGION)?;
        Ok(endpoint)
    }

    /// What the settings say, whether or not it makes a URL. Every fetch asks which destination it is.
    pub(super) fn said(settings: &Map<String, Value>) -> Result<Self, Error> {
        let settings = Settings(settings);
        let scheme = match settings.text("scheme")? {
            None | Some("https") => "https",
            Some("http") => "http",
            Some(_) => return Err(wrong("scheme", "is neither http nor https")),
        };
        let bucket = settings.required("bucket")?.to_owned();
        if bucket.contains(['/', '\\'])
            || bucket.chars().any(char::is_whitespace)
            || matches!(bucket.as_str(), "." | "..")
        {
            return Err(wrong("bucket", "is no name"));
        }
        let host = settings.text("host")?.map(str::to_ascii_lowercase);
        if host.as_deref().is_some_and(|host| host.contains(['/', '\\', '@', '?', '#', '%'])) {
            return Err(wrong("host", "is no host name"));
        }
        let said = settings.text("region")?;
        if said.is_some_and(|region| !is_region(region)) {
            return Err(wrong("region", "is no region"));
        }
        let server = match host.filter(|host| host != AMAZON) {
            None => Server::Amazon,
            Some(host) => Server::Host(host),
        };
        let asked = match settings.text("bucket_access_method")? {
            _ if settings.flag("bucket_after_host")? => false,
            None => said.is_some(),
            Some("auto" | "vhost") => true,
            Some("path") => false,
            Some(_) => return Err(wrong("bucket_access_method", "is none of auto, vhost, path")),
        };
        let port = settings.port("port")?;
        let vhost = asked && is_label(&bucket) && server.has_subdomains();
        let region = said.map(str::to_owned).or_else(|| server.region());
        let has_regions = server == Server::Amazon;
        Ok(Self { scheme, server, port, bucket, vhost, region, has_regions, first: OnceLock::new() })
    }

    /// The region that the settings tell, by name or by host.
    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Whether a bucket may lie in any region, and has to be asked.
    pub(super) fn has_regions(&self) -> bool {
        self.has_regions
    }

    /// The same, as if it were one of Amazon's.
    #[cfg(test)]
    pub(super) fn with_regions(self) -> Self {
        Self { has_regions: true, ..self }
    }

    /// Which destination this is, whatever its region: `https://s3.amazonaws.com:443/bucket`.
    pub(super) fn identity(&self) -> String {
        let port = self.port.unwrap_or(if self.scheme == "http" { 80 } else { 443 });
        let host = match &self.server {
            Server::Amazon => AMAZON,
            Server::Host(host) => host,
        };
        format!("{}://{host}:{port}/{}", self.scheme, self.bucket)
    }

    /// The URL of the bucket, or of an object in it. The key is encoded here, a percent sign in it too.
    pub(super) fn url(&self, region: &str, key: Option<&str>, query: Option<&str>) -> Result<Url, Error> {
        let mut url = match self.first.get() {
            Some((known, server)) if known == region => server.clone(),
            _ => {
                let server = self.server(region)?;
                // Who was first stays.
                let _ = self.first.set((region.to_owned(), server.clone()));
                server
            }
        };
        let mut path = String::new();
        if !self.vhost {
            path.push('/');
            path.extend(utf8_percent_encode(&self.bucket, PART));
        }
        for part in key.iter().flat_map(|key| key.split('/')) {
            path.push('/');
            path.extend(utf8_percent_encode(part, PART));
        }
        url.set_path(&path);
        if url.path().trim_start_matches('/') != path.trim_start_matches('/') {
            return Err(Error::new(Operation::Locate, ErrorKind::Invalid, "the key does not survive in a URL"));
        }
        url.set_query(query);
        Ok(url)
    }

    /// The URL of the server, for this bucket.
    fn server(&self, region: &str) -> Result<Url, Error> {
        let mut text = format!("{}://", self.scheme);
        if self.vhost {
            text.push_str(&self.bucket);
            text.push('.');
        }
        match &self.server {
            Server::Amazon if self.region.is_none() && region == DEFAULT_REGION => text.push_str(AMAZON),
            Server::Amazon if region.starts_with("cn-") => text.push_str(&format!("s3.{region}.amazonaws.com.cn")),
            Server::Amazon => text.push_str(&format!("s3.{region}.amazonaws.com")),
            Server::Host(host) if host.parse::<Ipv6Addr>().is_ok() => text.push_str(&format!("[{host}]")),
            Server::Host(host) => text.push_str(host),
        }
        if let Some(port) = self.port {
            text.push_str(&format!(":{port}"));
        }
        Url::parse(&text).map_err(|_| wrong("host or port", "makes no URL"))
    }
}

impl Server {
    fn has_subdomains(&self) -> bool {
        match self {
            Self::Amazon => true,
            Self::Host(host) => {
                let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
                host.parse::<IpAddr>().is_err()
                    && name.parse::<IpAddr>().is_err()
                    && name != "localhost"
                    && !host.starts_with('[')
            }
        }
    }

    /// The region in a host of Amazon's: `s3.eu-west-1.amazonaws.com`, `s3-eu-west-1.amazonaws.com`.
    fn region(&self) -> Option<String> {
        let Self::Host(host) = self else { return None };
        let host = host.strip_suffix(".cn").unwrap_or(host);
        let name = host.strip_prefix("s3")?.strip_suffix(".amazonaws.com")?;
        let region = name.strip_prefix(".dualstack").unwrap_or(name).strip_prefix(['.', '-'])?;
        (is_region(region)).then(|| region.to_owned())
    }
}

/// Whether a text may be a region: it becomes a part of a host name.
pub(super) fn is_region(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether a bucket's name can be one label of a host name.
fn is_label(bucket: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&bucket.len()) && bucket.bytes().all(inner) && !bucket.starts_with('-') && !bucket.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoint(settings: Value) -> Result<Endpoint, Error> {
        Endpoint::read(settings.as_object().unwrap())
    }

    #[test]
    fn settings_become_urls() {
        for (settings, region, url) in [
            (json!({"bucket": "recordings"}), DEFAULT_REGION, "https://s3.amazonaws.com/recordings/k"),
            (json!({"bucket": "recordings"}), "eu-west-1", "https://s3.eu-west-1.amazonaws.com/recordings/k"),
            (
                json!({"bucket": "recordings", "region": "eu-west-1"}),
                "eu-west-1",
                "https://recordings.s3.eu-west-1.amazonaws.com/k",
            ),
            (
                json!({"bucket": "recordings", "region": "cn-north-1"}),
                "cn-north-1",
                "https://recordings.s3.cn-north-1.amazonaws.com.cn/k",
            ),
            (
                json!({"bucket": "my_kazoo_bucket_name", "region": "eu-west-1"}),
                "eu-west-1",
                "https://s3.eu-west-1.amazonaws.com/my_kazoo_bucket_name/k",
            ),
            (
                json!({"bucket": "my_bucket", "bucket_access_method": "vhost"}),
                DEFAULT_REGION,
                "https://s3.amazonaws.com/my_bucket/k",
            ),
            (
                json!({"bucket": "my.bucket", "region": "eu-west-1"}),
                "eu-west-1",
                "https://s3.eu-west-1.amazonaws.com/my.bucket/k",
            ),
            (
                json!({"bucket": "recordings", "bucket_access_method": "auto"}),
                DEFAULT_REGION,
                "https://recordings.s3.amazonaws.com/k",
            ),
            (
                json!({"bucket": "recordings", "region": "x", "bucket_after_host": true}),
                "x",
                "https://s3.x.amazonaws.com/recordings/k",
            ),
            (
                json!({"bucket": "recordings", "region": "x", "bucket_access_method": "path"}),
                "x",
                "https://s3.x.amazonaws.com/recordings/k",
            ),
            (
                json!({"bucket": "recordings", "host": "127.0.0.1", "port": 9000, "scheme": "http"}),
                "x",
                "http://127.0.0.1:9000/recordings/k",
            ),
            (
                json!({"bucket": "recordings", "host": "127.0.0.1", "port": "9000", "scheme": "http", "region": "x"}),
                "x",
                "http://127.0.0.1:9000/recordings/k",
            ),
            (
                json!({"bucket": "recordings", "host": "::1", "port": 9000, "scheme": "http", "region": "x"}),
                "x",
                "http://[::1]:9000/recordings/k",
            ),
            (
                json!({"bucket": "recordings", "host": "minio:9000", "scheme": "http"}),
                "x",
                "http://minio:9000/recordings/k",
            ),
            (
                json!({"bucket": "recordings", "host": "Store.Example.org", "region": "x"}),
                "x",
                "https://recordings.store.example.org/k",
            ),
            (
                json!({"bucket": "recordings", "host": "store.example.org", "port": 443}),
                "x",
                "https://store.example.org/recordings/k",
            ),
        ] {
            assert_eq!(
                endpoint(settings.clone()).unwrap().url(region, Some("k"), None).unwrap().as_str(),
                url,
                "{settings}"
            );
        }
    }

    #[test]
    fn a_percent_sign_in_a_key_is_encoded_again() {
        let endpoint = endpoint(json!({"bucket": "recordings"})).unwrap();
        for (key, path) in [
            ("account%2Fab/x_y.mp3", "/recordings/account%252Fab/x_y.mp3"),
            ("a b/ü+&=?#/c", "/recordings/a%20b/%C3%BC%2B%26%3D%3F%23/c"),
            ("a//b/", "/recordings/a//b/"),
            ("%2e%2e/x", "/recordings/%252e%252e/x"),
        ] {
            assert_eq!(endpoint.url("x", Some(key), None).unwrap().path(), path);
        }
        assert!(endpoint.url("x", Some("a/../b"), None).is_err());
        assert_eq!(endpoint.url("x", Some("k"), Some("uploads=")).unwrap().query(), Some("uploads="));
    }

    #[test]
    fn a_destination_is_the_same_whatever_its_region_and_key() {
        let of = |settings| endpoint(settings).unwrap().identity();
        assert_eq!(of(json!({"bucket": "recordings", "key": "a"})), "https://s3.amazonaws.com:443/recordings");
        assert_eq!(
            of(json!({"bucket": "recordings", "host": "s3.amazonaws.com", "region": "x", "key": "b"})),
            of(json!({"bucket": "recordings", "port": 443}))
        );
        assert_eq!(of(json!({"bucket": "recordings", "host": "H", "scheme": "http"})), "http://h:80/recordings");
    }

    #[test]
    fn what_cannot_be_an_address_is_named() {
        for (settings, named) in [
            (json!({}), "bucket"),
            (json!({"bucket": "a/b"}), "bucket"),
            (json!({"bucket": ".."}), "bucket"),
            (json!({"bucket": "recordings", "host": "evil/x"}), "host"),
            (json!({"bucket": "recordings", "host": "me@evil"}), "host"),
            (json!({"bucket": "recordings", "host": "a b"}), "host"),
            (json!({"bucket": "recordings", "host": "minio:9000", "port": 80}), "host"),
            (json!({"bucket": "recordings", "port": 0}), "port"),
            (json!({"bucket": "recordings", "scheme": "ftp"}), "scheme"),
            (json!({"bucket": "recordings", "region": "x.evil.org/"}), "region"),
            (json!({"bucket": "recordings", "bucket_access_method": "sideways"}), "bucket_access_method"),
        ] {
            let error = endpoint(settings).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(error.to_string().contains(named), "{error} names {named}");
        }
    }

    #[test]
    fn a_region_is_read_from_the_host() {
        let of =
            |host: &str| endpoint(json!({"bucket": "recordings", "host": host})).unwrap().region().map(str::to_owned);
        assert_eq!(of("s3.eu-west-1.amazonaws.com").as_deref(), Some("eu-west-1"));
        assert_eq!(of("s3-eu-west-1.amazonaws.com").as_deref(), Some("eu-west-1"));
        assert_eq!(of("s3.dualstack.eu-west-1.amazonaws.com").as_deref(), Some("eu-west-1"));
        assert_eq!(of("s3.cn-north-1.amazonaws.com.cn").as_deref(), Some("cn-north-1"));
        assert_eq!(of("minio.example.org"), None);
    }
}
