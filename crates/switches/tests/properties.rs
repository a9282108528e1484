//! What holds for every input: nothing panics, nothing grows, and what was encoded comes out as it went in.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use base64::Engine;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use switches::{Record, StoreToken, facts, strike};

fn post(name: &str) -> Vec<u8> {
    let file = format!("{}/tests/requests/{name}.http", env!("CARGO_MANIFEST_DIR"));
    let request = std::fs::read(file).unwrap();
    let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    request[end + 4..].to_vec()
}

/// Percent encoding as FreeSWITCH does it.
fn encoded(text: &str) -> String {
    let open = |byte: u8| byte.is_ascii_graphic() && !b"#%&+:;<=>?@[\\]^`{|}\"".contains(&byte);
    text.bytes().map(|byte| if open(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn variables(record: Record) -> Map<String, Value> {
    let Record::Leg(leg) = record else { panic!("a leg") };
    leg.fields()["custom_channel_vars"].as_object().unwrap().clone()
}

/// Names of variables that are neither secrets nor headers nor anything that we read.
fn held() -> impl Strategy<Value = Map<String, Value>> {
    let name = "x_[a-z]{1,8}".prop_filter("no secret", |name| !strike::is_secret(name));
    let text = "[ -~\u{a0}-\u{17f}\\n]{1,40}".prop_filter("says something", |text| !text.trim().is_empty());
    proptest::collection::btree_map(name, text.prop_map(|text| text.trim().to_owned()), 1..12).prop_map(|pairs| {
        let mut held: Map<String, Value> = pairs.into_iter().map(|(name, text)| (name, text.into())).collect();
        held.insert("uuid".into(), "u-1".into());
        // What every call has, and by which encoded values are told from plain ones.
        held.insert("channel_name".into(), "sofia/internal/1000@acme.example:5060".into());
        held
    })
}

fn struck(held: &Map<String, Value>) -> Map<String, Value> {
    let keep = |(name, text): (&String, &Value)| (name.clone(), strike::text(text.as_str().unwrap()).into());
    held.iter().map(keep).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = switches::read(&body);
        let _ = switches::read(&[b"cdr=", &body[..]].concat());
        let _ = switches::read(&[b"{\"variables\":{\"uuid\":\"1\",\"a\":\"", &body[..], b"\"}}"].concat());
        let _ = switches::read(&[b"<cdr><variables><uuid>1</uuid>", &body[..], b"</variables></cdr>"].concat());
    }

    #[test]
    fn a_damaged_record_is_read_or_refused(
        name in prop::sample::select(vec!["json_cdr-bare", "json_cdr-form", "xml_cdr-textxml", "xml_cdr-base64", "asterisk-curl-form", "kazoo-document"]),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..20),
    ) {
        let mut body = post(name);
        for (at, what, byte) in damage {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match what {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => { body.remove(at); }
                _ => body.truncate(at.max(1)),
            }
        }
        if let Ok(Record::Leg(leg)) = switches::read(&body) {
            prop_assert!(!leg.call_id().is_empty());
            prop_assert!(Value::Object(leg.into_fields()).to_string().len() < 8 * body.len() + 2000);
        }
    }

    #[test]
    fn values_come_out_as_they_went_in(held in held()) {
        let values: Map<String, Value> = held.iter().map(|(name, text)| (name.clone(), encoded(text.as_str().unwrap()).into())).collect();
        let plain = json!({"core-uuid": "c", "variables": held}).to_string();
        let twice = json!({"core-uuid": "c", "variables": values}).to_string();
        let base64 = |text: &str| format!("cdr={}", base64::engine::general_purpose::STANDARD.encode(text));
        let xml: String = values.iter().map(|(name, text)| format!("<{name}>{}</{name}>", text.as_str().unwrap())).collect();
        let xml = format!("<cdr><variables>{xml}</variables></cdr>");
        let wanted = struck(&held);
        for body in [plain.clone(), twice.clone(), base64(&plain), base64(&twice), format!("cdr={}", encoded(&plain)), format!("cdr={}", encoded(&twice)), xml.clone(), base64(&xml), format!("cdr={xml}"), format!("cdr={}", encoded(&xml))] {
            prop_assert_eq!(&variables(switches::read(body.as_bytes()).unwrap()), &wanted, "{}", body);
        }
    }

    #[test]
    fn striking_once_is_enough(text in "[ -~]{0,200}") {
        let once = strike::text(&text).into_owned();
        prop_assert_eq!(&strike::text(&once), &once);
    }

    #[test]
    fn a_credential_in_a_url_never_stays(before in "[ -~]{0,40}", user in "[a-z0-9]{0,8}", after in "[a-z/?&=.]{0,40}") {
        for url in [
            format!("{before} https://{user}:Zq7Zq7Zq7Zq7@host/{after}"),
            format!("{before} https://host/x?{after}&token=Zq7Zq7Zq7Zq7"),
            format!("{before} https://host/x?{after}&key=Zq7Zq7Zq7Zq7&a=b"),
            format!("{before} ik_Zq7Zq7Zq7Zq7Zq7Zq7"),
        ] {
            let struck = strike::text(&url);
            prop_assert!(!struck.contains("Zq7Zq7Zq7Zq7"), "{} became {}", url, struck);
        }
    }

    #[test]
    fn a_token_names_what_it_was_made_of(database in ".{1,60}", document in ".{1,60}", attachment in ".{1,60}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let token = StoreToken { database, document, attachment, doc_type: Some("fax".into()), owner: None };
        prop_assert_eq!(StoreToken::parse(&token.to_text()), Some(token));
        let _ = StoreToken::parse(&base64::engine::general_purpose::STANDARD.encode([&[131][..], &bytes].concat()));
    }

    #[test]
    fn any_query_is_heard(query in ".{0,300}") {
        for kind in [facts::Kind::Recording, facts::Kind::Voicemail, facts::Kind::Fax] {
            let said = facts::of(kind, &facts::pairs(&query));
            prop_assert!(Value::Object(said).to_string().len() <= 20 * query.len() + 200);
        }
    }
}

#[test]
fn nothing_is_nested_without_end_and_nothing_expands() {
    let bomb = "<!DOCTYPE cdr [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><cdr><variables><uuid>&b;</uuid></variables></cdr>";
    assert!(switches::read(bomb.as_bytes()).is_err());
    for (open, close) in [("<a>", "</a>"), ("[", "]"), ("{\"variables\":", "}")] {
        let deep = format!("{}{}", open.repeat(100_000), close.repeat(100_000));
        assert!(switches::read(deep.as_bytes()).is_err(), "{open}");
    }
    // Broken from the first quote to the last: mending walks over it once.
    let quotes = format!("{{\"variables\":{{\"uuid\":\"{}\"}}}}", "\" ".repeat(200_000));
    let _ = switches::read(quotes.as_bytes());
    let wide = format!("<cdr>{}<variables><uuid>u</uuid></variables></cdr>", "<callflow/>".repeat(100_000));
    assert!(switches::read(wide.as_bytes()).is_ok());
}
