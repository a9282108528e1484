//! A report of FreeSWITCH, whichever way it was written.

use percent_encoding::percent_decode_str;

use super::Texts;
use crate::json::Node;

/// What FreeSWITCH's own percent encoding never leaves as it is, the percent sign apart.
const ENCODED: &[char] =
    &['\r', '\n', ' ', '#', '&', '+', ':', ';', '<', '=', '>', '?', '@', '[', '\\', ']', '^', '`', '{', '|', '}', '"'];

/// What is read of a report.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// The switch.
    pub(crate) switchname: Option<String>,
    /// `channel_data`.
    pub(crate) channel: Texts,
    /// The channel's variables, decoded.
    pub(crate) variables: Texts,
    /// The latest caller profile.
    pub(crate) profile: Texts,
    /// Who caused the channel.
    pub(crate) originator: Texts,
    /// Whom the channel caused.
    pub(crate) originatee: Texts,
    /// When things happened, in microseconds.
    pub(crate) times: Texts,
}

impl Report {
    /// Reads JSON; none when it is no report.
    pub(crate) fn of(tree: &Node) -> Option<Self> {
        let is_report =
            ["variables", "channel_data", "callflow"].iter().any(|name| tree.get(name).is_some_and(holds_more));
        if !is_report {
            return None;
        }
        // The latest profile is the first of a list, and in older versions the first of repeated keys.
        let callflow = tree.all("callflow").find_map(Node::first);
        let profile = callflow.and_then(|callflow| callflow.get("caller_profile"));
        let other = |whom: &str, list: &str| {
            let other = profile.and_then(|profile| profile.get(whom)?.get(list)?.first());
            other.map(|other| texts([other])).unwrap_or_default()
        };
        Some(Self {
            switchname: tree.get("switchname").and_then(Node::text).map(std::borrow::Cow::into_owned),
            channel: tree.get("channel_data").map(|data| texts([data])).unwrap_or_default(),
            variables: decoded(texts(tree.all("variables"))),
            profile: profile.map(|profile| texts([profile])).unwrap_or_default(),
            originator: other("originator", "originator_caller_profiles"),
            originatee: other("originatee", "originatee_caller_profiles"),
            times: callflow.and_then(|callflow| callflow.get("times")).map(|times| texts([times])).unwrap_or_default(),
        })
    }

    /// Takes a variable as XML has it: in percent encoding, and once for each of its values.
    pub(crate) fn variable(&mut self, name: &str, text: &str) {
        let value = percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
        if value.is_empty() {
            return;
        }
        match self.variables.get_mut(name) {
            None => {
                self.variables.insert(name.to_owned(), value);
            }
            // As JSON has them.
            Some(held) if held.starts_with("ARRAY::") => {
                held.push_str("|:");
                held.push_str(&value);
            }
            Some(held) => *held = format!("ARRAY::{held}|:{value}"),
        }
    }

    /// The first of these variables that is there.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&str> {
        first(&self.variables, names)
    }

    /// The first of these facts of the profile that is there.
    pub(crate) fn of_profile(&self, names: &[&str]) -> Option<&str> {
        first(&self.profile, names)
    }
}

fn first<'a>(texts: &'a Texts, names: &[&str]) -> Option<&'a str> {
    names.iter().filter_map(|name| texts.get(*name)).map(String::as_str).find(|text| !text.trim().is_empty())
}

fn holds_more(node: &Node) -> bool {
    matches!(node, Node::Fields(_) | Node::List(_))
}

/// The texts of objects. The last of a name counts: what the switch itself writes at the end of a call must not be what a caller's name, decoded
/// once too often, claims before it.
fn texts<'a>(objects: impl IntoIterator<Item = &'a Node>) -> Texts {
    let fields = objects.into_iter().filter_map(Node::fields).flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.text()?.into_owned()))).collect()
}

/// Takes off the percent encoding of values (`encode-values`), if they have it: the encoding leaves no space, no colon and no `@` in any of them.
fn decoded(variables: Texts) -> Texts {
    let encoded = variables.values().all(|value| !value.contains(ENCODED) && value.is_ascii());
    if !encoded {
        return variables;
    }
    let decode = |value: String| match percent_decode_str(&value).decode_utf8_lossy() {
        std::borrow::Cow::Borrowed(_) => value,
        std::borrow::Cow::Owned(decoded) => decoded,
    };
    variables.into_iter().map(|(name, value)| (name, decode(value))).collect()
}
