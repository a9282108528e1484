//! Which database a document lives in, and what class of database that is.
//!
//! A database is named in four ways: by the raw id of an account, by its name (`account/aa/bb/rest-202611`), by its encoded name
//! (`account%2Faa%2Fbb%2Frest-202611`, the `%2f` in either case), and plainly (`system_config`). [`Database::parse`] reads them all;
//! [`Database::name`] and [`Database::encoded`] print. The class decides which section of a plan is asked.

use std::fmt::{self, Write};
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{AccountId, BadId, DocId};

/// What is left alone when a database name is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A month in UTC, printed `202611`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: u16,
    month: u8,
}

impl Month {
    /// Parses six digits, `YYYYMM`.
    ///
    /// # Errors
    ///
    /// [`BadId`] when there are not exactly six digits or the month is not 01 to 12.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let bad = |reason| BadId::new("month", text, reason);
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad("it is not six digits"));
        }
        let (year, month) = text.split_at(4);
        let parts = year.parse().ok().zip(month.parse().ok());
        parts.and_then(|(year, month)| Self::from_parts(year, month)).ok_or(bad("there is no such month"))
    }

    /// The `month` (1 to 12) of a `year` (0 to 9999).
    #[must_use]
    pub fn from_parts(year: u16, month: u8) -> Option<Self> {
        (year <= 9999 && (1..=12).contains(&month)).then_some(Self { year, month })
    }

    /// The year.
    #[must_use]
    pub fn year(self) -> u16 {
        self.year
    }

    /// The month of the year, 1 to 12.
    #[must_use]
    pub fn month(self) -> u8 {
        self.month
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        Self::parse(text)
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl DocId {
    /// The month in which a document with such an id lives: ids in a monthly database begin `YYYYMM-`.
    #[must_use]
    pub fn month(&self) -> Option<Month> {
        let (month, _) = self.as_str().split_once('-')?;
        Month::parse(month).ok()
    }
}

/// A database, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Database {
    /// An account's own: users, mailboxes, settings.
    Account(AccountId),
    /// An account's month: messages, recordings, call records.
    Modb(AccountId, Month),
    /// An account's year.
    Yodb(AccountId, u16),
    /// An account's resource selectors; the text is what follows the dash (`selectors`).
    Selectors(AccountId, Box<str>),
    /// Any other, by its unencoded name: `system_config`, `numbers/+1415`, …
    Named(Box<str>),
}

/// The class of a database, which decides the section of a plan that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Classification {
    /// The database server's own: `_users`, `_replicator`, …
    External,
    /// No longer in use: `sms`, `registrations`, …
    Deprecated,
    /// `ratedeck` and `ratedeck/…`.
    Ratedeck,
    /// Settings and data of the whole system: `system_config`, `system_media`, …
    System,
    /// Collected from all accounts: `accounts`, `faxes`, …
    Aggregate,
    /// Phone numbers by prefix: `numbers/…`.
    Numbers,
    /// An account's resource selectors.
    ResourceSelectors,
    /// An account's month.
    Modb,
    /// An account's year.
    Yodb,
    /// An account's own.
    Account,
    /// The provisioner's.
    Provisioner,
}

impl Classification {
    /// The word that stands for it in answers: `modb`, `resource_selectors`, …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Deprecated => "deprecated",
            Self::Ratedeck => "ratedeck",
            Self::System => "system",
            Self::Aggregate => "aggregate",
            Self::Numbers => "numbers",
            Self::ResourceSelectors => "resource_selectors",
            Self::Modb => "modb",
            Self::Yodb => "yodb",
            Self::Account => "account",
            Self::Provisioner => "provisioner",
        }
    }
}

impl fmt::Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Database {
    /// Reads any of the forms in which a database is named: the raw id of an account, with or without a suffix; `account/aa/bb/rest…`;
    /// the same with `%2F` or `%2f`; or any other database's name, encoded or not.
    ///
    /// # Errors
    ///
    /// [`BadId`] when it begins like an account's database and is none, when the suffix means nothing, or when the name holds what no
    /// database name may hold.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let bad = |reason| BadId::new("database", text, reason);
        if text.len() > 255 {
            return Err(bad("it is too long"));
        }
        let decoded = percent_decode_str(text).decode_utf8().map_err(|_| bad("it is not UTF-8"))?;
        if let Some(path) = decoded.strip_prefix("account/") {
            let (account, suffix) =
                split_path(path).ok_or(bad("an account's database is account/aa/bb/ and 28 more"))?;
            return Self::of_account(account, suffix).map_err(bad);
        }
        if let Some((account, suffix)) = split_raw(&decoded) {
            return Self::of_account(account, suffix).map_err(bad);
        }
        if decoded == "account" {
            return Err(bad("an account's database is account/aa/bb/ and 28 more"));
        }
        check_name(&decoded).map_err(bad)?;
        Ok(Self::Named(decoded.into()))
    }

    fn of_account(account: AccountId, suffix: &str) -> Result<Self, &'static str> {
        if suffix.is_empty() {
            return Ok(Self::Account(account));
        }
        let suffix = suffix.strip_prefix('-').ok_or("an account's id is 32 characters long")?;
        let digits = suffix.bytes().all(|byte| byte.is_ascii_digit());
        match suffix.len() {
            6 if digits => Month::parse(suffix).map(|month| Self::Modb(account, month)).map_err(|bad| bad.reason),
            4 if digits => suffix.parse().map(|year| Self::Yodb(account, year)).map_err(|_| "there is no such year"),
            9..=64 if suffix.ends_with("selectors") && is_plain(suffix) => Ok(Self::Selectors(account, suffix.into())),
            _ => Err("its suffix is no month, year or selectors"),
        }
    }

    /// The unencoded name: `account/aa/bb/rest-202611`.
    #[must_use]
    pub fn name(&self) -> String {
        self.to_string()
    }

    /// The name as it stands in a URL: `account%2Faa%2Fbb%2Frest-202611`.
    #[must_use]
    pub fn encoded(&self) -> String {
        utf8_percent_encode(&self.name(), ENCODED).to_string()
    }

    /// The class, if it is a database that the system knows.
    #[must_use]
    pub fn classification(&self) -> Option<Classification> {
        match self {
            Self::Account(_) => Some(Classification::Account),
            Self::Modb(..) => Some(Classification::Modb),
            Self::Yodb(..) => Some(Classification::Yodb),
            Self::Selectors(..) => Some(Classification::ResourceSelectors),
            Self::Named(name) => classify(name),
        }
    }

    /// The account it belongs to, if it belongs to one.
    #[must_use]
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Account(account) | Self::Modb(account, _) | Self::Yodb(account, _) | Self::Selectors(account, _) => {
                Some(account)
            }
            Self::Named(_) => None,
        }
    }

    /// The month it holds, if it is a monthly database.
    #[must_use]
    pub fn month(&self) -> Option<Month> {
        match self {
            Self::Modb(_, month) => Some(*month),
            _ => None,
        }
    }
}

fn split_path(path: &str) -> Option<(AccountId, &str)> {
    let (first, path) = path.split_once('/')?;
    let (second, path) = path.split_once('/')?;
    if first.len() != 2 || second.len() != 2 {
        return None;
    }
    let (rest, suffix) = path.split_at_checked(28)?;
    let account = AccountId::parse(&[first, second, rest].concat()).ok()?;
    Some((account, suffix))
}

/// 32 characters alone or with a suffix; anything else is a name.
fn split_raw(text: &str) -> Option<(AccountId, &str)> {
    let (account, suffix) = text.split_at_checked(32)?;
    let whole = suffix.is_empty() || suffix.starts_with('-');
    AccountId::parse(account).ok().filter(|_| whole).map(|account| (account, suffix))
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-')
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_$()+-/.".contains(&byte);
    if name.is_empty() {
        Err("it is empty")
    } else if !name.bytes().all(harmless) {
        Err("it holds a character that no database name may hold")
    } else if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        Err("it climbs or has an empty part")
    } else {
        Ok(())
    }
}

fn classify(name: &str) -> Option<Classification> {
    Some(match name {
        "_users" | "_dbs" | "users" | "dbs" | "_metadata" | "_nodes" | "nodes" | "_replicator" | "_global_changes" => {
            Classification::External
        }
        "ts" | "crossbar_schemas" | "registrations" | "crossbar/sessions" | "sms" => Classification::Deprecated,
        "ratedeck" => Classification::Ratedeck,
        "cccps"
        | "alerts"
        | "offnet"
        | "anonymous_cdrs"
        | "dedicated_ips"
        | "system_config"
        | "system_media"
        | "system_schemas"
        | "oauth"
        | "system_auth"
        | "system_data"
        | "tasks"
        | "pending_notifications" => Classification::System,
        "accounts" | "token_auth" | "sip_auth" | "faxes" | "acdc" | "services" | "port_requests" | "webhooks"
        | "functions" => Classification::Aggregate,
        "resource_selectors" => Classification::ResourceSelectors,
        "provisioner" => Classification::Provisioner,
        _ if name.starts_with("ratedeck/") => Classification::Ratedeck,
        _ if name.starts_with("numbers/") => Classification::Numbers,
        _ => return None,
    })
}

/// The unencoded name.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(account) = self.account() else {
            return match self {
                Self::Named(name) => f.write_str(name),
                _ => Ok(()),
            };
        };
        let (first, rest) = account.as_str().split_at(2);
        let (second, rest) = rest.split_at(2);
        write!(f, "account/{first}/{second}/{rest}")?;
        match self {
            Self::Modb(_, month) => write!(f, "-{month}"),
            Self::Yodb(_, year) => write!(f, "-{year:04}"),
            Self::Selectors(_, name) => write!(f, "-{name}"),
            Self::Account(_) | Self::Named(_) => Ok(()),
        }
    }
}

impl FromStr for Database {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        Self::parse(text)
    }
}

/// As its unencoded name.
impl Serialize for Database {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Database {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The unencoded name of a database on the stack, for the patterns of a plan: asking for a route must not allocate.
pub(crate) struct NameBuffer {
    bytes: [u8; 256],
    length: usize,
}

impl NameBuffer {
    /// `None` when the name is longer than any that [`Database::parse`] lets in.
    pub(crate) fn of(database: &Database) -> Option<Self> {
        let mut buffer = Self { bytes: [0; 256], length: 0 };
        write!(buffer, "{database}").ok().map(|()| buffer)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for NameBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
