//! A leg as a row of a list: the columns that clients and spreadsheets know, all of them text.

use serde_json::Value;

use super::Leg;
use crate::time;

/// The columns, in their order.
pub const COLUMNS: [&str; 35] = [
    "id",
    "call_id",
    "caller_id_number",
    "caller_id_name",
    "callee_id_number",
    "callee_id_name",
    "duration_seconds",
    "billing_seconds",
    "timestamp",
    "hangup_cause",
    "other_leg_call_id",
    "owner_id",
    "to",
    "from",
    "direction",
    "request",
    "authorizing_id",
    "cost",
    "dialed_number",
    "calling_from",
    "datetime",
    "unix_timestamp",
    "unix_timestamp_micro",
    "rfc_1036",
    "iso_8601",
    "iso_8601_combined",
    "call_type",
    "rate",
    "rate_name",
    "bridge_id",
    "recording_url",
    "media_recordings",
    "media_server",
    "call_priority",
    "interaction_id",
];

/// What resellers see beside them.
pub const RESELLER_COLUMNS: [&str; 2] = ["reseller_cost", "reseller_call_type"];

/// The values of a leg's columns, in the order of `columns`. `utc_offset` is added to the time in `datetime`, in seconds.
pub fn row(leg: &Leg, columns: &[&str], utc_offset: i64) -> Vec<String> {
    columns.iter().map(|column| value(leg, column, utc_offset)).collect()
}

fn value(leg: &Leg, column: &str, utc_offset: i64) -> String {
    let start = leg.start();
    let field = |key: &str| text(leg.document.body.get(key));
    let var = |key: &str| text(leg.document.body.get("custom_channel_vars").and_then(|vars| vars.get(key)));
    let either = |key: &str| Some(field(key)).filter(|text| !text.is_empty()).unwrap_or_else(|| var(key));
    let at = |format: &str, offset: i64| time::local(start.saturating_add(offset), None, format).0;
    match column {
        "id" => leg.id.to_string(),
        "timestamp" => start.to_string(),
        "owner_id" => leg.owner_id().unwrap_or_default().to_owned(),
        "direction" => field("call_direction"),
        // An account that authorised itself is nobody in particular.
        "authorizing_id" => Some(var(column)).filter(|id| *id != var("account_id")).unwrap_or_default(),
        "dialed_number" => match field("call_direction").as_str() {
            "outbound" => user(&field("to")),
            _ => user(&field("request")),
        },
        "calling_from" => match field("call_direction").as_str() {
            "outbound" => {
                Some(user(&field("from_uri"))).filter(|n| !n.is_empty()).unwrap_or_else(|| user(&field("from")))
            }
            _ => field("caller_id_number"),
        },
        "datetime" => at("%Y-%m-%d %H:%M:%S", utc_offset),
        "unix_timestamp" => time::to_unix(start).to_string(),
        "unix_timestamp_micro" => match leg.number("channel_created_time") {
            Some(micros) if micros > 0 => micros.to_string(),
            _ => time::to_unix(start).saturating_mul(1_000_000).to_string(),
        },
        "rfc_1036" => at("%a, %d %b %Y %H:%M:%S GMT", 0),
        "iso_8601" => at("%Y-%m-%d", 0),
        "iso_8601_combined" => at("%Y-%m-%dT%H:%M:%SZ", 0),
        "call_type" => var("account_billing"),
        "reseller_call_type" => var("reseller_billing"),
        "cost" | "reseller_cost" | "rate" | "rate_name" | "bridge_id" => var(column),
        "recording_url" | "media_recordings" | "call_priority" => either(column),
        _ => field(column),
    }
}

/// A value as text; a list as its texts with commas between.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null | Value::Object(_)) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}

/// The user of `user@realm`.
fn user(address: &str) -> String {
    let bare = address.strip_prefix("sips:").or_else(|| address.strip_prefix("sip:")).unwrap_or(address);
    bare.split('@').next().unwrap_or_default().to_owned()
}
