//! The `plan` of merged layers, read as a tree: section → type → where documents and attachments go.
//!
//! Reading never fails. What has a wrong shape is as if it were absent: the schemas keep such things out of documents that are saved, and
//! a stored one that is odd nonetheless must not stop an account's mail.

use std::collections::{BTreeMap, BTreeSet};

use regex::bytes::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::database::Month;
use crate::id::{ConnectionId, HandlerId};
use crate::retention;

/// A section of the plan: what is said of one class of databases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    /// Of the class as a whole.
    pub whole: Spec,
    /// `database.names`: the databases that an `aggregate` section is about, if it names any.
    pub names: Option<BTreeSet<String>>,
    /// Of single document types.
    pub types: BTreeMap<String, Spec>,
    /// Of the months in a range.
    pub ranges: BTreeMap<MonthRange, Spec>,
    /// Of the databases whose name matches.
    pub patterns: BTreeMap<String, Spec>,
}

/// Where documents and attachments go, as far as one place in the plan says it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spec {
    pub connection: Option<ConnectionId>,
    pub secondary: Option<Vec<ConnectionId>>,
    pub handler: Option<HandlerId>,
    pub stub: Option<bool>,
    pub delete: Option<bool>,
    pub params: Option<Map<String, Value>>,
    /// 0: for good.
    pub retention_days: Option<u32>,
}

/// What a [`Spec`] may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Connection,
    Secondary,
    Handler,
    Stub,
    Delete,
    Params,
    Retention,
}

impl Field {
    pub(crate) const ALL: [Self; 7] =
        [Self::Connection, Self::Secondary, Self::Handler, Self::Stub, Self::Delete, Self::Params, Self::Retention];

    /// The keys that lead to it from its place in a plan.
    pub(crate) fn path(self) -> &'static [&'static str] {
        match self {
            Self::Connection => &["connection"],
            Self::Secondary => &["secondary_connections"],
            Self::Handler => &["attachments", "handler"],
            Self::Stub => &["attachments", "stub"],
            Self::Delete => &["attachments", "delete"],
            Self::Params => &["attachments", "params"],
            Self::Retention => &[retention::KEY],
        }
    }

    pub(crate) fn is_said_by(self, spec: &Spec) -> bool {
        match self {
            Self::Connection => spec.connection.is_some(),
            Self::Secondary => spec.secondary.is_some(),
            Self::Handler => spec.handler.is_some(),
            Self::Stub => spec.stub.is_some(),
            Self::Delete => spec.delete.is_some(),
            Self::Params => spec.params.is_some(),
            Self::Retention => spec.retention_days.is_some(),
        }
    }

    /// Makes `spec` say of it what `other` says.
    pub(crate) fn carry_over(self, spec: &mut Spec, other: &Spec) {
        match self {
            Self::Connection => spec.connection.clone_from(&other.connection),
            Self::Secondary => spec.secondary.clone_from(&other.secondary),
            Self::Handler => spec.handler.clone_from(&other.handler),
            Self::Stub => spec.stub = other.stub,
            Self::Delete => spec.delete = other.delete,
            Self::Params => spec.params.clone_from(&other.params),
            Self::Retention => spec.retention_days = other.retention_days,
        }
    }
}

impl Section {
    /// Reads the section `class` of a merged plan. `None` when there is none.
    pub(crate) fn read(plan: &Value, class: &str) -> Option<Self> {
        let section = plan.get(class)?.as_object()?;
        let names = section.get("database").and_then(|database| database.get("names")).and_then(Value::as_array);
        Some(Self {
            whole: Spec::read(section),
            names: names.map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            types: specs(section, "types").map(|(key, spec)| (key.to_owned(), spec)).collect(),
            ranges: specs(section, "range").filter_map(|(key, spec)| Some((MonthRange::parse(key)?, spec))).collect(),
            patterns: specs(section, "regex").map(|(key, spec)| (key.to_owned(), spec)).collect(),
        })
    }
}

fn specs<'a>(section: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = (&'a str, Spec)> {
    let entries = section.get(key).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, spec)| Some((key.as_str(), Spec::read(spec.as_object()?))))
}

impl Spec {
    fn read(fields: &Map<String, Value>) -> Self {
        let attachments = |key: &str| fields.get("attachments").and_then(|attachments| attachments.get(key));
        Self {
            connection: fields.get("connection").and_then(connection),
            secondary: fields
                .get("secondary_connections")
                .and_then(Value::as_array)
                .map(|ids| ids.iter().filter_map(connection).collect()),
            handler: attachments("handler").and_then(Value::as_str).and_then(|id| HandlerId::parse(id).ok()),
            stub: attachments("stub").and_then(Value::as_bool),
            delete: attachments("delete").and_then(Value::as_bool),
            params: attachments("params").and_then(Value::as_object).cloned(),
            retention_days: fields.get(retention::KEY).and_then(retention::days),
        }
    }

    /// What `self` says, and where it says nothing what `wider` says. `params` counts as one thing.
    pub(crate) fn over(&self, wider: &Self) -> Self {
        Self {
            connection: self.connection.as_ref().or(wider.connection.as_ref()).cloned(),
            secondary: self.secondary.as_ref().or(wider.secondary.as_ref()).cloned(),
            handler: self.handler.as_ref().or(wider.handler.as_ref()).cloned(),
            stub: self.stub.or(wider.stub),
            delete: self.delete.or(wider.delete),
            params: self.params.as_ref().or(wider.params.as_ref()).cloned(),
            retention_days: self.retention_days.or(wider.retention_days),
        }
    }
}

fn connection(id: &Value) -> Option<ConnectionId> {
    ConnectionId::parse(id.as_str()?).ok()
}

/// A key of `range`: the months from one to another, both included, printed `202401-202412`.
///
/// Ordered by length, the shortest first, and then the later first: the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MonthRange {
    first: Month,
    last: Month,
}

impl MonthRange {
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let (first, last) = key.split_once('-')?;
        let (first, last) = (Month::parse(first).ok()?, Month::parse(last).ok()?);
        (first <= last).then_some(Self { first, last })
    }

    pub(crate) fn holds(self, month: Month) -> bool {
        (self.first..=self.last).contains(&month)
    }

    fn months(self) -> i32 {
        let ordinal = |month: Month| i32::from(month.year()) * 12 + i32::from(month.month());
        ordinal(self.last) - ordinal(self.first)
    }
}

impl Ord for MonthRange {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.months().cmp(&other.months()).then(other.first.cmp(&self.first))
    }
}

impl PartialOrd for MonthRange {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for MonthRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A key of `regex`, compiled for database names, which are ASCII. Small, since it comes from tenants.
pub(crate) fn pattern(key: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(key).unicode(false).size_limit(64 * 1024).dfa_size_limit(256 * 1024).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_asked_the_shortest_first_then_the_latest() {
        let mut ranges: Vec<_> = ["202001-202512", "202401-202401", "202312-202401", "202501-202501"]
            .iter()
            .map(|key| MonthRange::parse(key).unwrap())
            .collect();
        ranges.sort();
        let keys: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        assert_eq!(keys, ["202501-202501", "202401-202401", "202312-202401", "202001-202512"]);
    }

    #[test]
    fn a_range_is_two_months_in_order() {
        for bad in ["", "202401", "202401-", "202412-202401", "202413-202501", "2024-2025", "202401-202402-202403"] {
            assert!(MonthRange::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_of_a_tenant_stays_small() {
        assert!(pattern("-2024(0[1-6])$").is_ok());
        assert!(pattern("((((a{100}){100}){100}){100})").is_err());
    }
}
