//! CDRs from a switch's error folders.

use std::fs;

use uploader::{Kind, Settings, Tally};

use super::fixture::{Spool, once, query};

const JSON: &str = r#"{"core-uuid":"c","variables":{"uuid":"1f","hangup_cause":"NORMAL_CLEARING"}}"#;

#[tokio::test]
async fn every_form_becomes_json_or_xml_and_truncated_ones_are_set_aside() {
    let spool = Spool::new();
    spool.put("a_1f.cdr.json", format!("{JSON}\n"));
    spool.put("2e.cdr.json", "%7B%22variables%22%3A%7B%7D%7D\n");
    spool.put("3d.cdr.json", "eyJ2YXJpYWJsZXMiOnt9fQ==\n");
    spool.put("2026-11-24-12-00-00/4c.cdr.xml", "<?xml version=\"1.0\"?>\n<cdr core-uuid=\"c\"/>");
    spool.put("empty.cdr.json", "");
    let tally = once(Settings { recursive: true, ..spool.settings(Kind::Cdr) }).await.unwrap();
    assert_eq!((tally.uploaded, tally.refused), (4, 1));
    let documents = spool.store.documents();
    let told = |uuid: &str| {
        let document = documents.iter().find(|document| document.query == query([("uuid", uuid)])).unwrap();
        assert_eq!((document.method.as_str(), document.name.as_str()), ("POST", "cdr"));
        (document.content_type.clone(), String::from_utf8(document.body.to_vec()).unwrap())
    };
    assert_eq!(told("a_1f"), ("application/json".into(), JSON.into()));
    assert_eq!(told("4c"), ("text/xml".into(), "<?xml version=\"1.0\"?>\n<cdr core-uuid=\"c\"/>".into()));
    let bare = r#"{"variables":{}}"#;
    // Two legs with the same bytes are one document to this store: what counts is that both arrived as JSON.
    let bare: Vec<_> = documents.iter().filter(|document| document.body == bare).collect();
    assert_eq!((bare.len(), bare[0].arrivals), (1, 2));
    assert_eq!(spool.names(), [".refused/empty.cdr.json", ".refused/empty.cdr.json.reason"]);
}

#[tokio::test]
async fn a_dated_folder_that_appears_is_watched_too() {
    let spool = Spool::new();
    fs::create_dir(spool.folder().join("2026-11-24")).unwrap();
    let settings = || Settings { recursive: true, ..spool.settings(Kind::Cdr) };
    assert_eq!(once(settings()).await.unwrap(), Tally::default());
    spool.put("2026-11-25/1f.cdr.json", JSON);
    assert_eq!(once(settings()).await.unwrap().uploaded, 1);
}
