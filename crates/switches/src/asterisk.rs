//! Asterisk's record of a call: the fields that its dialplan, its manager or a script sends, as a form or as JSON.
//!
//! | ours | theirs |
//! |---|---|
//! | `call_id`, `interaction_key` | `uniqueid`, `linkedid` |
//! | `timestamp` | `end`, else `start` and `duration` |
//! | `duration_seconds`, `billing_seconds` | `duration`, `billsec` |
//! | `ringing_seconds` | what of the duration was not billed |
//! | `hangup_cause`, `disposition` | `disposition` |
//! | `from`, `to` | `src`, `dst` |
//!
//! Names are compared without case, and as the manager interface spells them. Times are Unix seconds (`${CDR(start,u)}`, recommended) or words, which
//! are UTC (`usegmtime=yes`) unless they say otherwise. Fields of ours may stand beside Asterisk's, and everything else is a variable.

use std::collections::BTreeMap;

use serde_json::Map;

use crate::leg::{FIELDS, Kind, Part, seconds};
use crate::{Error, Leg, Record, strike, times};

/// Names of the manager interface, and the names that they stand for.
const ALIASES: &[(&str, &str)] = &[
    ("source", "src"),
    ("destination", "dst"),
    ("destinationcontext", "dcontext"),
    ("callerid", "clid"),
    ("destinationchannel", "dstchannel"),
    ("lastapplication", "lastapp"),
    ("starttime", "start"),
    ("answertime", "answer"),
    ("endtime", "end"),
    ("calldate", "start"),
    ("billableseconds", "billsec"),
];

/// What became a field and need not be repeated among the variables.
const MAPPED: &[&str] = &["uniqueid", "linkedid", "src", "dst", "clid", "duration", "billsec", "disposition"];

/// The leg that the fields are of.
pub(crate) fn leg(pairs: &[(String, String)]) -> Result<Record, Error> {
    let mut fields = BTreeMap::new();
    for (name, value) in pairs {
        let name = name.trim().to_ascii_lowercase();
        let name = ALIASES
            .iter()
            .find(|(alias, _)| *alias == name.replace(['_', '-'], ""))
            .map_or(name, |(_, meant)| (*meant).to_owned());
        if !value.trim().is_empty() {
            fields.entry(name).or_insert_with(|| value.trim().to_owned());
        }
    }
    let get = |name: &str| fields.get(name).map(String::as_str);
    let call_id = match (get("uniqueid"), get("call_id")) {
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) if get("linkedid").is_some() || get("channel").is_some() => return Err(Error::NoCallId),
        (None, None) => return Err(Error::NoRecord),
    };
    let mut leg = Leg::default();
    for (field, _) in FIELDS.iter().filter(|(_, kind)| *kind != Kind::Object) {
        leg.set(field, get(field));
    }
    leg.set("call_id", Some(call_id));
    leg.set("app_name", get("app_name").or(Some("asterisk")));
    who(&get, &mut leg);
    when(&get, &mut leg);
    leg.set("hangup_cause", get("hangup_cause").or(get("disposition")));
    leg.set(
        "call_direction",
        get("call_direction")
            .or(get("direction"))
            .filter(|way| matches!(*way, "inbound" | "outbound"))
            .or(Some("inbound")),
    );
    leg.set("interaction_key", get("interaction_key").or(get("linkedid")));
    leg.set("media_server", get("media_server").or(get("systemname")));
    let ours = |name: &str| FIELDS.iter().any(|(known, _)| *known == name);
    let rest = fields.iter().filter(|(name, _)| !MAPPED.contains(&name.as_str()) && !ours(name));
    let variables: Map<_, _> = rest.map(|(name, value)| (name.clone(), strike::variable(name, value).into())).collect();
    leg.set_value("custom_channel_vars", variables.into());
    if let Some(sequence) = get("sequence") {
        leg.set_part(Part {
            variable: "sequence",
            value: sequence.to_owned(),
            call_id: format!("{call_id}-{sequence}"),
        });
    }
    for name in ["account_id", "accountcode", "peeraccount"] {
        leg.hint(get(name));
    }
    Ok(Record::Leg(Box::new(leg)))
}

fn who<'a>(get: &impl Fn(&str) -> Option<&'a str>, leg: &mut Leg) {
    let (name, number) = get("clid").map(caller).unwrap_or_default();
    leg.set("caller_id_name", get("caller_id_name").or(name.as_deref()));
    leg.set("caller_id_number", get("caller_id_number").or(get("src")).or(number.as_deref()));
    leg.set("callee_id_number", get("callee_id_number").or(get("dst")));
    leg.set("from", get("from").or(get("src")));
    leg.set("to", get("to").or(get("dst")));
}

/// `"Dana \"Dee\" Fox" <+14155550123>` as its two parts.
fn caller(clid: &str) -> (Option<String>, Option<String>) {
    let (name, number) = match clid.rsplit_once('<') {
        Some((name, number)) => (name, number.trim_end_matches('>')),
        None => ("", clid),
    };
    let name = name.trim();
    // Quotes and backslashes within quotes are escaped.
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    let name = name.replace("\\\"", "\"").replace("\\\\", "\\");
    let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    (said(&name), said(number))
}

fn when<'a>(get: &impl Fn(&str) -> Option<&'a str>, leg: &mut Leg) {
    let duration = get("duration").and_then(seconds);
    let billed = get("billsec").and_then(seconds);
    leg.set_number("duration_seconds", duration);
    leg.set_number("billing_seconds", billed);
    if let (Some(duration), Some(billed)) = (duration, billed) {
        leg.set_number("ringing_seconds", Some((duration - billed).max(0)));
    }
    let start = get("start").and_then(times::gregorian);
    let end = get("end").and_then(times::gregorian).or_else(|| Some(start? + duration?));
    leg.set_number("timestamp", get("timestamp").and_then(times::gregorian).or(end));
    leg.set_number("channel_created_time", start.and_then(times::to_micros));
    // The linked id begins with the second in which the first of the channels was made.
    leg.set_number("interaction_time", get("linkedid").and_then(times::gregorian).or(start));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_name_a_number_or_both() {
        for (clid, name, number) in [
            (r#""Dana Fox" <+14155550123>"#, "Dana Fox", "+14155550123"),
            (r#""Dana \"Dee\" & \\Fox" <100>"#, r#"Dana "Dee" & \Fox"#, "100"),
            (r#""" <100>"#, "", "100"),
            ("100", "", "100"),
            ("Dana Fox <100>", "Dana Fox", "100"),
            ("<", "", ""),
        ] {
            let wanted = [name, number].map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()));
            assert_eq!([caller(clid).0, caller(clid).1], wanted, "{clid}");
        }
    }
}
