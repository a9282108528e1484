//! FreeSWITCH's record of a leg, from `mod_json_cdr`, `mod_xml_cdr` or `mod_format_cdr`.
//!
//! | ours | theirs |
//! |---|---|
//! | `call_id` | `sip_call_id`, else `uuid` |
//! | `timestamp` | `end_epoch`, else the time of hangup |
//! | `duration_seconds`, `billing_seconds` | `duration`, `billsec` |
//! | `ringing_seconds` | `progresssec`, else `waitsec` |
//! | `call_direction` | the channel's direction |
//! | `other_leg_call_id` | `bridge_uuid`, else `signal_bond`, else the originator |
//! | `disposition`, `media_server` | `sip_hangup_disposition`, the switch's name |
//! | `interaction_time`, `interaction_key` | when the channel was created, `call_uuid`, which all legs of a call share |
//!
//! Every channel variable stands in `custom_channel_vars`, apart from session descriptions and custom SIP headers, which have fields of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::leg::{PROMOTED, Part};
use crate::{Error, Leg, Record, strike, times};

mod report;

pub(crate) use report::Report;

/// Facts by name.
pub(crate) type Texts<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// Variables with a field of their own that is no fact but a document.
const DESCRIPTIONS: &[&str] = &[
    "rtp_local_sdp_str",
    "sip_local_sdp_str",
    "switch_r_sdp",
    "switch_m_sdp",
    "rtp_remote_sdp_str",
    "sip_remote_sdp_str",
    "sdp_m_per_ptime",
];
/// Before the names of SIP headers that a dialplan set, or that came in.
const HEADER_PREFIXES: &[&str] = &["sip_h_", "sip_rh_", "sip_ph_", "sip_bye_h_"];

/// The leg that a report is of.
pub(crate) fn leg(report: &Report<'_>) -> Result<Record, Error> {
    let Some(call_id) = report.first(&["sip_call_id", "uuid", "call_uuid"]).or_else(|| report.of_profile(&["uuid"]))
    else {
        return Err(Error::NoCallId);
    };
    if is_helper(report) {
        return Ok(Record::Skipped("a leg of a loopback channel that ended normally"));
    }
    let mut leg = Leg::default();
    leg.set("call_id", Some(call_id));
    leg.set("app_name", Some("freeswitch"));
    who(report, &mut leg);
    when(report, &mut leg);
    how(report, &mut leg);
    other_leg(report, &mut leg);
    fax(report, &mut leg);
    for name in PROMOTED {
        leg.set(name, report.variables.get(*name));
    }
    custom(report, &mut leg);
    // Where a call comes back to the switch that sent it, two channels may have one `sip_call_id`; the channel's own id is never another's.
    if let Some(uuid) = report.first(&["uuid"]).or_else(|| report.of_profile(&["uuid"])) {
        leg.set_part(Part { variable: "uuid", value: uuid.to_owned(), call_id: uuid.to_owned() });
    }
    for name in ["account_id", "accountcode", "domain_name"] {
        leg.hint(report.variables.get(name));
    }
    Ok(Record::Leg(Box::new(leg)))
}

/// A leg of a loopback channel stands between two others and tells nothing of its own, unless it failed.
fn is_helper(report: &Report<'_>) -> bool {
    let name = report.first(&["channel_name"]).or_else(|| report.of_profile(&["chan_name"]));
    let loopback = name.is_some_and(|name| name.starts_with("loopback/"))
        || report.variables.contains_key("other_loopback_leg_uuid")
        || report.first(&["is_loopback"]) == Some("true");
    loopback && report.first(&["hangup_cause"]).is_none_or(|cause| cause.starts_with("NORMAL"))
}

fn who(report: &Report<'_>, leg: &mut Leg) {
    let called = || report.of_profile(&["callee_id_number", "destination_number"]);
    leg.set(
        "caller_id_name",
        report
            .first(&["effective_caller_id_name", "caller_id_name"])
            .or_else(|| report.of_profile(&["caller_id_name"])),
    );
    leg.set(
        "caller_id_number",
        report
            .first(&["effective_caller_id_number", "caller_id_number"])
            .or_else(|| report.of_profile(&["caller_id_number"])),
    );
    leg.set(
        "callee_id_name",
        report
            .first(&["effective_callee_id_name", "callee_id_name"])
            .or_else(|| report.of_profile(&["callee_id_name"])),
    );
    leg.set(
        "callee_id_number",
        report
            .first(&["effective_callee_id_number", "callee_id_number"])
            .or_else(called)
            .or_else(|| report.first(&["destination_number"])),
    );
    for (field, uri, user, host) in [
        ("from", "sip_from_uri", "sip_from_user", "sip_from_host"),
        ("to", "sip_to_uri", "sip_to_user", "sip_to_host"),
        ("request", "sip_req_uri", "sip_req_user", "sip_req_host"),
    ] {
        leg.set(
            field,
            report
                .first(&[uri])
                .map(str::to_owned)
                .or_else(|| Some(format!("{}@{}", report.first(&[user])?, report.first(&[host])?))),
        );
    }
    leg.set("from_uri", report.first(&["sip_from_uri"]));
    leg.set("to_uri", report.first(&["sip_to_uri"]));
    leg.set("from_tag", report.first(&["sip_from_tag"]));
    leg.set("to_tag", report.first(&["sip_to_tag"]));
    leg.set("user_agent", report.first(&["sip_user_agent"]));
    leg.set("presence_id", report.first(&["presence_id"]));
    leg.set("digits_dialed", report.first(&["digits_dialed"]).filter(|digits| *digits != "none"));
    leg.set("media_server", report.switchname.as_deref());
}

fn when(report: &Report<'_>, leg: &mut Leg) {
    let moment = |name: &str| report.times.get(name).map(|time| &**time).filter(|time| *time != "0");
    let created = moment("created_time").or_else(|| report.first(&["start_uepoch"]));
    leg.set("channel_created_time", created);
    leg.set("timestamp", report.first(&["end_epoch"]).or_else(|| moment("hangup_time")));
    leg.set("duration_seconds", report.first(&["duration"]));
    leg.set("billing_seconds", report.first(&["billsec"]));
    leg.set(
        "ringing_seconds",
        ["progresssec", "waitsec"]
            .iter()
            .find_map(|name| report.first(&[name]).filter(|seconds| *seconds != "0"))
            .or_else(|| report.first(&["progresssec", "waitsec"])),
    );
    let began = created.and_then(times::of_micros).or_else(|| times::gregorian(report.first(&["start_epoch"])?));
    leg.set_number("interaction_time", began);
    leg.set("interaction_key", report.first(&["call_uuid", "uuid"]).or_else(|| report.of_profile(&["uuid"])));
}

fn how(report: &Report<'_>, leg: &mut Leg) {
    let direction = report.channel.get("direction").map(|way| &**way).or_else(|| report.first(&["direction"]));
    leg.set("call_direction", direction);
    leg.set("hangup_cause", report.first(&["hangup_cause"]));
    let code = report.first(&["proto_specific_hangup_cause"]).map(str::to_owned);
    leg.set("hangup_code", code.or_else(|| report.first(&["sip_term_status"]).map(|status| format!("sip:{status}"))));
    leg.set("disposition", report.first(&["sip_hangup_disposition"]));
    leg.set("local_sdp", report.first(&["rtp_local_sdp_str", "sip_local_sdp_str"]));
    leg.set("remote_sdp", report.first(&["switch_r_sdp", "rtp_remote_sdp_str", "sip_remote_sdp_str"]));
}

fn other_leg(report: &Report<'_>, leg: &mut Leg) {
    leg.set("other_leg_call_id", report.first(&["bridge_uuid", "signal_bond", "originator"]));
    let (other, direction) = match (report.originator.is_empty(), report.originatee.is_empty()) {
        (false, _) => (&report.originator, "inbound"),
        (true, false) => (&report.originatee, "outbound"),
        (true, true) => return,
    };
    leg.set("other_leg_direction", Some(direction));
    leg.set("other_leg_caller_id_name", other.get("caller_id_name"));
    leg.set("other_leg_caller_id_number", other.get("caller_id_number"));
    leg.set("other_leg_destination_number", other.get("destination_number"));
}

fn fax(report: &Report<'_>, leg: &mut Leg) {
    for (field, variable) in [
        ("fax_success", "fax_success"),
        ("fax_result_code", "fax_result_code"),
        ("fax_result_text", "fax_result_text"),
        ("fax_total_pages", "fax_document_total_pages"),
        ("fax_transferred_pages", "fax_document_transferred_pages"),
        ("fax_transfer_rate", "fax_transfer_rate"),
        ("fax_ecm_used", "fax_ecm_used"),
        ("fax_bad_rows", "fax_bad_rows"),
        ("fax_t38", "fax_t38_status"),
    ] {
        leg.set(field, report.first(&[variable]));
    }
}

/// What stands under names of its own: headers, and all other variables.
fn custom(report: &Report<'_>, leg: &mut Leg) {
    let mut headers = Map::new();
    let mut variables = Map::new();
    for (name, value) in &report.variables {
        if DESCRIPTIONS.contains(&&**name) || value.is_empty() {
            continue;
        }
        let kept = strike::variable(name, value).into_owned();
        match HEADER_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
            Some(header) if !header.is_empty() => headers.insert(header.to_owned(), kept.into()),
            _ => variables.insert(name.as_ref().to_owned(), kept.into()),
        };
    }
    // What a channel received lies on the inbound one; on an outbound one it is what was sent.
    let way = if leg.text("call_direction") == Some("outbound") { "out" } else { "in" };
    if !headers.is_empty() {
        leg.set_value("custom_sip_headers", Value::Object(Map::from_iter([(way.to_owned(), headers.into())])));
    }
    leg.set_value("custom_channel_vars", variables.into());
}
