//! A report of FreeSWITCH, whichever way it was written.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::Texts;
use crate::json::Node;
use crate::strike;

/// What FreeSWITCH's own percent encoding never leaves as it is, the percent sign apart.
const ENCODED: &[u8] = b"\r\n #&+:;<=>?@[\\]^`{|}\"";
/// Which bytes the encoding never leaves as they are; among them all that are not ASCII.
const IS_ENCODED: [bool; 256] = {
    let mut table = strike::table(ENCODED);
    let mut byte = 128;
    while byte < 256 {
        table[byte] = true;
        byte += 1;
    }
    table
};

/// What is read of a report.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Report<'a> {
    /// The switch.
    pub(crate) switchname: Option<String>,
    /// `channel_data`.
    pub(crate) channel: Texts<'a>,
    /// The channel's variables, decoded.
    pub(crate) variables: Texts<'a>,
    /// The latest caller profile.
    pub(crate) profile: Texts<'a>,
    /// Who caused the channel.
    pub(crate) originator: Texts<'a>,
    /// Whom the channel caused.
    pub(crate) originatee: Texts<'a>,
    /// When things happened, in microseconds.
    pub(crate) times: Texts<'a>,
}

impl<'a> Report<'a> {
    /// Reads JSON; none when it is no report.
    pub(crate) fn of(tree: &'a Node) -> Option<Self> {
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
            switchname: tree.get("switchname").and_then(Node::text).map(Cow::into_owned),
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
                self.variables.insert(name.to_owned().into(), value.into());
            }
            // As JSON has them.
            Some(held) if held.starts_with("ARRAY::") => {
                let held = held.to_mut();
                held.push_str("|:");
                held.push_str(&value);
            }
            Some(held) => *held = format!("ARRAY::{held}|:{value}").into(),
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

fn first<'a>(texts: &'a Texts<'_>, names: &[&str]) -> Option<&'a str> {
    names.iter().filter_map(|name| texts.get(*name)).map(|text| &**text).find(|text| !text.trim().is_empty())
}

fn holds_more(node: &Node) -> bool {
    matches!(node, Node::Fields(_) | Node::List(_))
}

/// The texts of objects. The last of a name counts: what the switch itself writes at the end of a call must not be what a caller's name, decoded
/// once too often, claims before it.
fn texts<'a>(objects: impl IntoIterator<Item = &'a Node>) -> Texts<'a> {
    let fields = objects.into_iter().filter_map(Node::fields).flatten();
    fields.filter_map(|(name, value)| Some((name.as_str().into(), value.text()?))).collect()
}

/// Takes off the percent encoding of values (`encode-values`), if they have it: the encoding leaves no space, no colon and no `@` in any of them.
fn decoded(mut variables: Texts<'_>) -> Texts<'_> {
    let encoded = variables.values().all(|value| !value.bytes().any(|byte| IS_ENCODED[usize::from(byte)]));
    if !encoded {
        return variables;
    }
    for value in variables.values_mut().filter(|value| value.contains('%')) {
        if let Cow::Owned(decoded) = percent_decode_str(value).decode_utf8_lossy() {
            *value = decoded.into();
        }
    }
    variables
}
