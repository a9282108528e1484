//! Configuration: the embedded defaults, a file, the environment, flags; each wins over the one before.
//!
//! All four are TOML tables that are laid over each other and then parsed once, so that a key is known in one place and a typing error in
//! any of them is answered with the key's name.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use crate::seal::Source;

mod oauth;
mod sip;

pub use oauth::OAuth;
pub use sip::Sip;

/// The defaults, with a comment for every option.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Everything that can be configured. `config.default.toml` says what each option does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Config {
    pub server: Server,
    pub api: Api,
    pub login: Login,
    pub keys: Keys,
    pub oauth: OAuth,
    pub delivery: Delivery,
    pub spool: Spool,
    pub egress: Egress,
    pub aws: Aws,
    pub ingest: Ingest,
    pub sip: Sip,
    pub voicemail: Voicemail,
    pub retention: Retention,
    pub log: Log,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Server {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "duration")]
    pub drain_timeout: Duration,
    pub threads: usize,
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Api {
    pub public_url: String,
    #[serde(deserialize_with = "size")]
    pub max_upload_size: u64,
    #[serde(deserialize_with = "duration")]
    pub token_lifetime: Duration,
    pub mask_secrets: bool,
    pub page_size: usize,
    #[serde(deserialize_with = "duration")]
    pub maximum_range: Duration,
    pub anonymous_per_second: u32,
    pub account_per_second: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Login {
    pub attempts: u32,
    #[serde(deserialize_with = "duration")]
    pub window: Duration,
    pub digests: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Keys {
    pub file: PathBuf,
    pub key: Secret,
    pub command: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Delivery {
    #[serde(deserialize_with = "duration")]
    pub backoff_min: Duration,
    #[serde(deserialize_with = "duration")]
    pub backoff_max: Duration,
    pub concurrency: usize,
    pub concurrency_per_handler: usize,
    #[serde(deserialize_with = "duration")]
    pub stall_timeout: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Spool {
    #[serde(deserialize_with = "size")]
    pub min_free: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Egress {
    pub allow: Vec<ipnet::IpNet>,
    pub folders: Vec<PathBuf>,
    pub resolvers: Vec<SocketAddr>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Ingest {
    #[serde(deserialize_with = "size")]
    pub max_upload_size: u64,
    #[serde(deserialize_with = "duration")]
    pub remember: Duration,
    #[serde(deserialize_with = "address")]
    pub store_proxy: Option<SocketAddr>,
    pub store_proxy_username: String,
    pub store_proxy_password: Secret,
    pub store_proxy_acl: Vec<ipnet::IpNet>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Aws {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub principal: String,
    pub sts_url: String,
    pub instance_roles: bool,
    pub metadata_url: String,
}

/// A secret in the configuration. It does not print.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Voicemail {
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
    #[serde(deserialize_with = "duration")]
    pub min_length: Duration,
    #[serde(deserialize_with = "duration")]
    pub max_length: Duration,
    pub max_messages: u32,
    #[serde(deserialize_with = "duration")]
    pub max_pause: Duration,
    #[serde(deserialize_with = "duration")]
    pub max_wait: Duration,
    pub prompt: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Retention {
    #[serde(deserialize_with = "duration")]
    pub sweep_every: Duration,
    pub per_second: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every option, once")]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the command line says; each wins over everything else.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
}

impl Config {
    /// Reads the configuration: defaults, `file`, the `environment` as (name, value), `flags`.
    ///
    /// # Errors
    /// When the file cannot be read, or any source holds an unknown key or an unfit value; the message names it.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &Flags,
    ) -> anyhow::Result<Self> {
        let mut table: Table = DEFAULTS.parse().context("the embedded defaults")?;
        if let Some(file) = file {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let own: Table = text.parse().with_context(|| format!("{} is not TOML", file.display()))?;
            lay_over(&mut table, own, "").with_context(|| format!("in {}", file.display()))?;
        }
        for (name, value) in environment {
            let Some(path) = name.strip_prefix("STOWLINE_") else { continue };
            let Some((section, key)) = path.split_once("__") else { continue };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            let own = Table::from_iter([(section, Value::Table(Table::from_iter([(key, environment_value(&value))])))]);
            lay_over(&mut table, own, "").with_context(|| format!("in the environment variable {name}"))?;
        }
        let mut config: Self = Value::Table(table).try_into().context("in the configuration")?;
        if let Some(listen) = flags.listen {
            config.server.listen = listen;
        }
        if let Some(data_dir) = &flags.data_dir {
            config.server.data_dir.clone_from(data_dir);
        }
        if config.server.data_dir.as_os_str().is_empty() {
            config.server.data_dir = default_data_dir();
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.delivery.backoff_min.is_zero() || self.delivery.backoff_min > self.delivery.backoff_max {
            bail!("delivery.backoff_min must be above zero and at most delivery.backoff_max");
        }
        if self.delivery.concurrency == 0 || self.delivery.concurrency_per_handler == 0 {
            bail!("delivery.concurrency and delivery.concurrency_per_handler must be at least 1");
        }
        if self.ingest.store_proxy_username.is_empty() != self.ingest.store_proxy_password.expose().is_empty() {
            bail!("ingest.store_proxy_username and ingest.store_proxy_password come together");
        }
        let sources =
            [self.keys.file.as_os_str().is_empty(), self.keys.key.expose().is_empty(), self.keys.command.is_empty()];
        if sources.iter().filter(|empty| !**empty).count() > 1 {
            bail!("of keys.file, keys.key and keys.command only one may be set");
        }
        oauth::check(self)?;
        if self.voicemail.max_length.is_zero() {
            bail!("voicemail.max_length must be above zero");
        }
        if self.api.page_size == 0 {
            bail!("api.page_size must be at least 1");
        }
        Ok(())
    }

    /// Where the key comes from.
    pub fn key_source(&self) -> Source {
        match (&self.keys.key, &self.keys.command) {
            (key, _) if !key.expose().is_empty() => Source::Given(key.clone()),
            (_, command) if !command.is_empty() => Source::Command(command.clone()),
            _ => Source::File(self.key_file()),
        }
    }

    /// Where the key file is: `keys.file`, or beside the data folder.
    pub fn key_file(&self) -> PathBuf {
        if !self.keys.file.as_os_str().is_empty() {
            return self.keys.file.clone();
        }
        let mut name = self.server.data_dir.as_os_str().to_owned();
        name.push(".key");
        PathBuf::from(name)
    }
}

/// `/var/lib/stowline` for root, else `$XDG_DATA_HOME/stowline`, else `~/.local/share/stowline`.
pub fn default_data_dir() -> PathBuf {
    if let Some(home) = std::env::var_os("XDG_DATA_HOME").filter(|home| !home.is_empty()) {
        return PathBuf::from(home).join("stowline");
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home {
        Some(home) if !is_root() => home.join(".local/share/stowline"),
        _ => PathBuf::from("/var/lib/stowline"),
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Lays `over` on `table`. Only keys that the table knows may come.
fn lay_over(table: &mut Table, over: Table, path: &str) -> anyhow::Result<()> {
    for (key, value) in over {
        let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (table.get_mut(&key), value) {
            (None, _) => {
                let known: Vec<&str> = table.keys().map(String::as_str).collect();
                bail!("unknown option `{here}`; known here: {}", known.join(", "));
            }
            (Some(Value::Table(below)), Value::Table(over)) => lay_over(below, over, &here)?,
            (Some(Value::Table(_)), _) => bail!("`{here}` is a section: write [{here}] and its options below"),
            (Some(place), value) => *place = value,
        }
    }
    Ok(())
}

/// A value from the environment: TOML when it reads as such (`true`, `5`, `["10.0.0.0/8"]`), text otherwise.
fn environment_value(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| {
        serde::de::Error::custom(format!("`{text}` is no duration; write \"200ms\", \"30s\", \"15m\" or \"1h\""))
    })
}

/// An address to listen on; none when the text is empty.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let address =
        text.parse().map_err(|_| serde::de::Error::custom(format!("`{text}` is no address; write \"0.0.0.0:24517\"")));
    address.map(Some)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Size::deserialize(deserializer)? {
        Size::Bytes(bytes) => Ok(bytes),
        Size::Text(text) => parse_size(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is no size; write \"8MB\", \"1GiB\" or a number of bytes"))
        }),
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("stowline.toml");
        std::fs::write(&path, file)?;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&path), environment, &Flags::default())
    }

    #[test]
    fn the_defaults_are_complete() {
        let config = Config::load(None, [], &Flags::default()).unwrap();
        assert_eq!(config.api.max_upload_size, 8_000_000);
        assert_eq!(config.delivery.backoff_min, Duration::from_secs(2));
        assert!(config.key_file().to_string_lossy().ends_with("stowline.key"));
    }

    #[test]
    fn the_environment_wins_over_the_file_and_flags_over_both() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\n[delivery]\nbackoff_min = \"100ms\"\n[egress]\nallow = [\"10.0.0.0/8\"]";
        let environment = [
            ("STOWLINE_SERVER__LISTEN", "127.0.0.1:2"),
            ("STOWLINE_DELIVERY__BACKOFF_MAX", "1s"),
            ("STOWLINE_EGRESS__ALLOW", "[\"127.0.0.0/8\"]"),
            ("STOWLINE_BIN", "ignored: no section"),
        ];
        let config = load(file, &environment).unwrap();
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!(config.delivery.backoff_min, Duration::from_millis(100));
        assert_eq!(config.egress.allow[0].to_string(), "127.0.0.0/8");
        let flags = Flags { listen: "127.0.0.1:3".parse().ok(), data_dir: Some("/x".into()) };
        let config = Config::load(None, [("STOWLINE_SERVER__LISTEN".into(), "127.0.0.1:2".into())], &flags).unwrap();
        assert_eq!((config.server.listen.port(), config.key_file()), (3, PathBuf::from("/x.key")));
    }

    #[test]
    fn a_secret_does_not_print() {
        let file = "[ingest]\nstore_proxy_username = \"kazoo\"\nstore_proxy_password = \"hidden\"";
        let config = load(file, &[("STOWLINE_KEYS__KEY", "hidden too")]).unwrap();
        assert_eq!(config.ingest.store_proxy_password.expose(), "hidden");
        assert!(matches!(config.key_source(), Source::Given(key) if key.expose() == "hidden too"));
        assert!(!format!("{config:?}").contains("hidden"));
    }

    #[test]
    fn a_mistake_is_answered_with_the_name_of_its_key() {
        for (file, wanted) in [
            ("[delivry]\nbackoff_min = \"1s\"", "delivry"),
            ("[delivery]\nbackof_min = \"1s\"", "delivery.backof_min"),
            ("[delivery]\nbackoff_min = \"soon\"", "backoff_min"),
            ("[delivery]\nbackoff_min = \"1h\"\nbackoff_max = \"1s\"", "delivery.backoff_min"),
            ("[api]\nmax_upload_size = \"8 apples\"", "max_upload_size"),
            ("server = 5", "[server]"),
            ("[api]\npublic_url = \"stowline.example\"", "api.public_url"),
            ("[oauth]\nbase_urls = [\"nowhere\"]", "oauth.base_urls"),
            ("[ingest]\nstore_proxy = \"here\"", "store_proxy"),
            ("[ingest]\nstore_proxy_username = \"kazoo\"", "ingest.store_proxy_username"),
            ("[keys]\nfile = \"/k\"\nkey = \"00\"", "keys.command"),
        ] {
            let error = format!("{:#}", load(file, &[]).unwrap_err());
            assert!(error.contains(wanted), "{file:?} answered {error:?}");
        }
        let error = load("", &[("STOWLINE_SERVER__PORT", "1")]).unwrap_err();
        assert!(format!("{error:#}").contains("STOWLINE_SERVER__PORT"), "{error:#}");
    }
}
