use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct Case {
    about: String,
    kind: String,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    params: Map<String, Value>,
    /// Arguments to list, shorter than a `field_list`.
    #[serde(default)]
    list: Vec<String>,
    #[serde(default = "account")]
    account: Option<String>,
    #[serde(default)]
    db: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    attachment: Option<String>,
    #[serde(default)]
    public: Map<String, Value>,
    #[serde(default)]
    is: String,
    #[serde(default)]
    error: Option<String>,
}

fn account() -> Option<String> {
    Some("483f0000000000000000000000000000".into())
}

#[test]
fn locations_are_as_the_cases_say() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("cases.json")).unwrap();
    assert!(cases.len() > 30);
    for mut case in cases {
        if !case.list.is_empty() {
            let list: Vec<Value> = case.list.iter().map(|arg| json!({"arg": arg})).collect();
            case.settings.insert("field_list".into(), list.into());
        }
        let mut public = case.public;
        public.insert("test_field".into(), "test_value".into());
        let database = case.db.or(account()).unwrap();
        let document = Document {
            account_id: case.account.as_deref(),
            database: &Database::parse(&database).unwrap(),
            id: &DocId::parse(case.id.as_deref().unwrap_or("test_id")).unwrap(),
            public: &Value::Object(public),
            at: Moment { year: 2026, month: 3, day: 7, hour: 9 },
        };
        let attachment = AttachmentName::parse(case.attachment.as_deref().unwrap_or("test_att")).unwrap();
        let found = location(&case.kind, &case.settings, &case.params, &document, &attachment);
        match (found, case.error) {
            (Ok(found), None) => assert_eq!(found.as_str(), case.is, "{}", case.about),
            (Err(error), Some(kind)) => assert_eq!(error.kind().word(), kind, "{}", case.about),
            (found, _) => panic!("{}: {found:?}", case.about),
        }
    }
}

#[test]
fn who_has_no_date_is_not_asked_when() {
    let asks = |list: Value| asks_when(json!({"field_list": list}).as_object().unwrap(), &Map::new());
    assert!(
        asks(json!([{"date": "YYYY"}])) && asks(json!([{"arg": "id"}, {"group": [{"group": [{"date": "YYYY"}]}]}]))
    );
    assert!(!asks(json!([{"arg": "id"}, {"const": "date"}])) && !asks(json!("date")) && !asks(Value::Null));
    let plan = json!({"field_list": [{"date": "MM"}]});
    assert!(asks_when(&Map::new(), plan.as_object().unwrap()));
}

#[test]
fn params_cannot_change_where_the_root_is() {
    let document = Document {
        account_id: None,
        database: &Database::parse("system_data").unwrap(),
        id: &DocId::parse("d").unwrap(),
        public: &Value::Null,
        at: Moment::default(),
    };
    let attachment = AttachmentName::parse("a").unwrap();
    let params = json!({"bucket": "theirs", "host": "evil", "url": "http://evil", "key": "k", "secret": "s"});
    for kind in registry::kinds() {
        let plain = location(kind.name, &Map::new(), &Map::new(), &document, &attachment).unwrap();
        let said = location(kind.name, &Map::new(), params.as_object().unwrap(), &document, &attachment).unwrap();
        assert_eq!(plain, said, "{}", kind.name);
    }
}
