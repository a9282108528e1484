//! Requests as switches send them (`requests/*.http`), and the legs that are read of them (`requests/*.leg.json`). A new quirk is a new file;
//! `UPDATE=1` writes the legs anew, to be read before they are kept.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switches::{FIELDS, Kind, Record};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests")
}

/// The posts of records, by name: (name, body).
fn posts() -> Vec<(String, Vec<u8>)> {
    let mut posts = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "http") {
            continue;
        }
        let request = std::fs::read(&path).unwrap();
        let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let (head, body) = (String::from_utf8_lossy(&request[..end]).into_owned(), request[end + 4..].to_vec());
        if head.lines().next().unwrap().contains("/cdr") {
            posts.push((path.file_stem().unwrap().to_string_lossy().into_owned(), body));
        }
    }
    posts.sort();
    posts
}

fn shown(record: &Record) -> Value {
    match record {
        Record::Skipped(why) => json!({"skipped": why}),
        Record::Leg(leg) => {
            let part = leg.part().map(|part| json!([part.variable, part.value, part.call_id]));
            json!({"leg": leg.fields(), "part": part, "account_hints": leg.account_hints()})
        }
    }
}

#[test]
fn every_request_is_read_as_it_was_meant() {
    let posts = posts();
    assert!(posts.len() >= 20, "{}", posts.len());
    let mut wrong = Vec::new();
    for (name, body) in posts {
        let found = shown(&switches::read(&body).unwrap_or_else(|error| panic!("{name}: {error}")));
        let file = folder().join(format!("{name}.leg.json"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, format!("{found:#}\n")).unwrap();
        }
        let wanted = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("{} is missing", file.display()));
        if serde_json::from_str::<Value>(&wanted).unwrap() != found {
            wrong.push(format!("{name}: {found:#}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_secret_of_any_request_is_in_its_leg() {
    let mut held = 0;
    for (name, body) in posts() {
        let text = shown(&switches::read(&body).unwrap()).to_string();
        // As it is, and as the base64 that begins with it.
        for secret in ["s3cret", "czNjcmV0"] {
            assert!(!text.contains(secret), "{name}: {text}");
        }
        held += usize::from(String::from_utf8_lossy(&body).contains("s3cret"));
    }
    assert!(held >= 10, "the requests hold secrets: {held}");
}

#[test]
fn the_same_leg_is_read_however_it_was_wrapped() {
    let leg = |name: &str| {
        let (_, body) = posts().into_iter().find(|(known, _)| known == name).unwrap();
        shown(&switches::read(&body).unwrap())
    };
    let json = leg("json_cdr-bare");
    for name in [
        "json_cdr-form",
        "json_cdr-base64",
        "json_cdr-token-in-url",
        "json_cdr-old-plain-values",
        "format_cdr-json",
        "format_cdr-json-form",
    ] {
        assert_eq!(leg(name), json, "{name}");
    }
    let xml = leg("xml_cdr-textxml");
    for name in ["xml_cdr-form", "xml_cdr-base64", "format_cdr-xml-disable-100-continue"] {
        assert_eq!(leg(name), xml, "{name}");
    }
    assert_eq!(xml, json, "XML says what JSON says");
}

#[test]
fn a_field_of_a_leg_is_of_its_kind() {
    for (name, body) in posts() {
        let Record::Leg(leg) = switches::read(&body).unwrap() else { continue };
        for (field, value) in leg.fields() {
            let (_, kind) =
                FIELDS.iter().find(|(known, _)| known == field).unwrap_or_else(|| panic!("{name}: {field}"));
            let fits = match kind {
                Kind::Text | Kind::Id => value.is_string(),
                Kind::Way => value == "inbound" || value == "outbound",
                Kind::Seconds | Kind::Time | Kind::Micros => value.is_i64() || value.is_u64(),
                Kind::Truth => value.is_boolean(),
                Kind::Object => value.is_object(),
                Kind::List => value.is_array(),
            };
            assert!(fits, "{name}: {field} is {value}");
        }
    }
}
