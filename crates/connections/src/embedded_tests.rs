//! The promises of the embedded store, one test each.

use super::*;
use crate::{Claim, Order};
use serde_json::json;

fn open() -> (tempfile::TempDir, Embedded) {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&folder.path().join("documents.db")).unwrap();
    (folder, store)
}

fn database() -> Database {
    Database::parse("system_data").unwrap()
}

fn id(text: &str) -> DocId {
    DocId::parse(text).unwrap()
}

fn draft(value: Value) -> Draft {
    Draft { doc_type: "thing".into(), body: value.as_object().unwrap().clone(), ..Draft::default() }
}

#[tokio::test]
async fn a_document_is_created_once_and_replaced_at_its_revision_only() {
    let (_folder, store) = open();
    let first = store.create(&database(), &id("a"), draft(json!({"n": 1}))).await.unwrap();
    let again = store.create(&database(), &id("a"), draft(json!({"n": 2}))).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let second = store.replace(&database(), &id("a"), &first.revision, draft(json!({"n": 3}))).await.unwrap();
    let stale = store.replace(&database(), &id("a"), &first.revision, draft(json!({"n": 4}))).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Conflict);
    let stored = store.get(&database(), &id("a")).await.unwrap().unwrap();
    assert_eq!((&stored.revision, &stored.body["n"]), (&second.revision, &json!(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_looked_for_in_vain_is_found_as_soon_as_it_is_written() {
    let (_folder, store) = open();
    for n in 0..200 {
        let (id, reader) = (id(&format!("a{n}")), store.clone());
        let asked = id.clone();
        let looking = tokio::spawn(async move {
            while reader.get(&database(), &asked).await.unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        });
        assert!(store.get(&database(), &id).await.unwrap().is_none());
        match n % 2 {
            0 => drop(store.create(&database(), &id, draft(json!({}))).await.unwrap()),
            _ => {
                let place = id.clone();
                let make = move |_: &Stored<'_>| Ok::<_, Error>((database(), place, draft(json!({}))));
                assert!(store.find_or_create(make).await.unwrap().1);
            }
        }
        assert!(store.get(&database(), &id).await.unwrap().is_some());
        looking.await.unwrap();
        store.remove(&database(), &id, None).await.unwrap();
        assert!(store.get(&database(), &id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn an_update_sees_what_is_stored_at_the_moment_of_the_write() {
    let (_folder, store) = open();
    store.create(&database(), &id("a"), draft(json!({"n": 0}))).await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let add = |document: &Document| {
                let mut body = document.body.clone();
                body["n"] = json!(body["n"].as_i64().unwrap() + 1);
                Ok(Change::Write(body))
            };
            store.update(&database(), &id("a"), add).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let stored = store.get(&database(), &id("a")).await.unwrap().unwrap();
    assert_eq!((stored.body["n"].clone(), stored.revision.number()), (json!(50), 51));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_again_is_never_older_than_what_was_answered() {
    let (_folder, store) = open();
    let month = Database::parse("account/aa/bb/00000000000000000000000000cc-202611").unwrap();
    for database in [database(), month] {
        assert!(store.get_again(&database, &id("a")).await.unwrap().is_none());
        store.create(&database, &id("a"), draft(json!({"n": 0}))).await.unwrap();
        let number = async || store.get_again(&database, &id("a")).await.unwrap().unwrap().body["n"].as_u64().unwrap();
        for n in 1..50 {
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    let (store, database) = (store.clone(), database.clone());
                    tokio::spawn(async move { store.get_again(&database, &id("a")).await.unwrap() })
                })
                .collect();
            let change = move |_: &Document| Ok(Change::Write(Map::from_iter([("n".to_owned(), n.into())])));
            store.update(&database, &id("a"), change).await.unwrap();
            assert_eq!((number().await, number().await), (n, n));
            for reader in readers {
                let seen = reader.await.unwrap().unwrap().body["n"].as_u64().unwrap();
                assert!(seen == n || seen + 1 == n, "{seen} is of another time");
            }
        }
        assert_eq!(store.get(&database, &id("a")).await.unwrap().unwrap().body["n"], 49);
    }
    store.close().await;
    assert_eq!(store.get(&database(), &id("b")).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_unique_key_has_one_holder_and_is_free_after_removal() {
    let (_folder, store) = open();
    let keyed = |key: &str| Draft { keys: vec![("realm", key.into())], ..draft(json!({})) };
    let first = store.create(&database(), &id("a"), keyed("x.example")).await.unwrap();
    let second = store.create(&database(), &id("b"), keyed("x.example")).await.unwrap_err();
    assert_eq!((second.kind(), second.subject()), (ErrorKind::KeyTaken, "realm"));
    assert!(store.get(&database(), &id("b")).await.unwrap().is_none(), "a refused write leaves nothing");
    assert_eq!(store.holder("realm", "x.example").await.unwrap().unwrap().id, id("a"));
    store.replace(&database(), &id("a"), &first.revision, keyed("y.example")).await.unwrap();
    assert!(store.holder("realm", "x.example").await.unwrap().is_none());
    store.remove(&database(), &id("a"), None).await.unwrap();
    assert!(store.holder("realm", "y.example").await.unwrap().is_none());
    assert_eq!(store.remove(&database(), &id("a"), None).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_list_is_ordered_by_time_and_pages_without_gap_or_overlap() {
    let (_folder, store) = open();
    for n in 0..25_i64 {
        let parent = Some(if n % 5 == 0 { "five" } else { "other" }.to_owned());
        let draft = Draft { at: 100 + n / 2, parent, ..draft(json!({"n": n})) };
        store.create(&database(), &id(&format!("d{n:02}")), draft).await.unwrap();
    }
    let gone = Draft { at: 105, deleted: true, ..draft(json!({})) };
    store.create(&database(), &id("gone"), gone).await.unwrap();
    for order in [Order::Descending, Order::Ascending] {
        let mut seen = Vec::new();
        let mut query = Query { order, limit: 4, ..Query::new(database(), "thing") };
        loop {
            let page = store.list(query.clone()).await.unwrap();
            assert!(page.documents.len() <= 4);
            seen.extend(page.documents.iter().map(|(_, document)| document.body["n"].as_i64().unwrap()));
            match page.next {
                Some(next) => query.start = Some(next),
                None => break,
            }
        }
        let mut expected: Vec<i64> = (0..25).collect();
        if order == Order::Descending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
    let window =
        Query { from: Some(101), to: Some(103), parent: Some("five".into()), ..Query::new(database(), "thing") };
    let page = store.list(window).await.unwrap();
    assert_eq!(page.documents.len(), 1, "only 5 lies in the window and is a multiple of five");
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let (folder, store) = open();
    let written =
        store.create(&database(), &id("a"), draft(json!({"text": "ü 😀", "deep": {"x": [1, null]}}))).await.unwrap();
    drop(store);
    let store = Embedded::open(&folder.path().join("documents.db")).unwrap();
    let stored = store.get(&database(), &id("a")).await.unwrap().unwrap();
    assert_eq!((&stored.revision, &stored.body), (&written.revision, &written.body));
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let (folder, store) = open();
    drop(store);
    let file = folder.path().join("documents.db");
    Connection::open(&file).unwrap().pragma_update(None, "user_version", schema::SCHEMA_VERSION + 1).unwrap();
    assert_eq!(Embedded::open(&file).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_is_deleted_in_a_change_is_kept_but_neither_listed_nor_counted_and_frees_its_keys() {
    let (_folder, store) = open();
    let kept = |at: i64| Draft { parent: Some("box".into()), at, ..draft(json!({"folder": "new"})) };
    for (name, at) in [("a", 10), ("b", 20)] {
        let keys = vec![("name", name.to_owned())];
        let draft = Draft { keys, ..kept(at) };
        store.create(&database(), &id(name), draft).await.unwrap();
    }
    let count = async |from| {
        let database = database();
        let counted = store.count_by(&database, "thing", "box", from, "$.folder");
        counted.await.unwrap()
    };
    assert_eq!(count(0).await, [("new".to_owned(), 2)]);
    assert_eq!(count(20).await, [("new".to_owned(), 1)]);
    let gone = |document: &Document| {
        let mut body = document.body.clone();
        body.insert("folder".into(), "deleted".into());
        Ok(Change::Delete(body))
    };
    let deleted = store.update(&database(), &id("b"), gone).await.unwrap();
    assert!(deleted.deleted);
    assert_eq!(count(0).await, [("new".to_owned(), 1)]);
    let listed = store.list(Query::new(database(), "thing")).await.unwrap();
    assert_eq!(listed.documents.len(), 1);
    let stored = store.get(&database(), &id("b")).await.unwrap().unwrap();
    assert!(stored.deleted);
    assert_eq!(stored.text("folder"), Some("deleted"));
    assert!(store.holder("name", "b").await.unwrap().is_none());
    assert!(store.holder("name", "a").await.unwrap().is_some());
}

fn claiming(key: &str, until: i64) -> Draft {
    Draft { claims: vec![Claim { space: "arrival", key: key.into(), until }], ..draft(json!({})) }
}

#[tokio::test]
async fn a_claim_outlives_what_becomes_of_its_document_until_it_expires() {
    let (_folder, store) = open();
    let first = store.create(&database(), &id("a"), claiming("k", 100)).await.unwrap();
    let refused = store.create(&database(), &id("b"), claiming("k", 200)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.subject()), (ErrorKind::KeyTaken, "arrival"));
    assert!(store.get(&database(), &id("b")).await.unwrap().is_none(), "document and claim are one");
    store.replace(&database(), &id("a"), &first.revision, draft(json!({"n": 1}))).await.unwrap();
    store.update(&database(), &id("a"), |document| Ok(Change::Delete(document.body.clone()))).await.unwrap();
    let holder = store.holder("arrival", "k").await.unwrap().unwrap();
    assert!(holder.deleted && holder.id == id("a"));
    assert_eq!(store.expire("arrival", 99).await.unwrap(), 0);
    assert_eq!(store.expire("another", 100).await.unwrap(), 0);
    assert_eq!(store.expire("arrival", 100).await.unwrap(), 1);
    assert!(store.holder("arrival", "k").await.unwrap().is_none());
    let again = store.create(&database(), &id("b"), claiming("k", 300)).await.unwrap();
    store.remove(&database(), &id("b"), Some(&again.revision)).await.unwrap();
    store.create(&database(), &id("c"), claiming("k", 400)).await.unwrap();
}

#[tokio::test]
async fn of_twins_that_claim_at_the_same_moment_one_is_stored() {
    let (_folder, store) = open();
    let twins = (0..20).map(|n| {
        let store = store.clone();
        tokio::spawn(
            async move { store.create(&database(), &id(&format!("twin-{n}")), claiming("k", 100)).await.is_ok() },
        )
    });
    let mut stored = 0;
    for twin in twins.collect::<Vec<_>>() {
        stored += usize::from(twin.await.unwrap());
    }
    assert_eq!(stored, 1);
}

/// The ids of an owner's documents, newest first.
async fn owned_by(store: &Embedded, doc_type: &str, owner: &str) -> Vec<String> {
    let query = Query { owner: Some(owner.into()), ..Query::new(database(), doc_type) };
    store.list(query).await.unwrap().documents.into_iter().map(|(_, document)| document.id.to_string()).collect()
}

#[tokio::test]
async fn documents_are_found_by_their_owner_and_by_many_parents_without_looking_at_others() {
    let (_folder, store) = open();
    for (name, owner, parent) in [("a", "pat", "p"), ("b", "pat", "q"), ("c", "sam", "q"), ("d", "", "r")] {
        let at = i64::from(name.as_bytes()[0]);
        let (owner, parent) = (Some(owner.to_owned()), Some(parent.to_owned()));
        store.create(&database(), &id(name), Draft { owner, parent, at, ..draft(json!({})) }).await.unwrap();
    }
    store.update(&database(), &id("a"), |_| Ok(Change::Write(Map::new()))).await.unwrap();
    assert_eq!(owned_by(&store, "thing", "pat").await, ["b", "a"]);
    assert_eq!((owned_by(&store, "thing", "").await.len(), owned_by(&store, "other", "pat").await.len()), (0, 0));
    let of = async |parents: &[&str]| {
        let parents: Vec<String> = parents.iter().map(|&parent| parent.to_owned()).collect();
        let found = store.of_parents(&database(), "thing", &parents).await.unwrap();
        found.into_iter().map(|document| document.id.to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(of(&["q", "r", "\"x"]).await, ["b", "c", "d"].map(str::to_owned).into());
    assert!(of(&[]).await.is_empty());
    // Both are answered out of an index.
    for (asked, index) in [
        ("owner = ?3 AND owner <> ''", "documents_by_owner"),
        ("parent IN (SELECT value FROM json_each(?3))", "documents_by_parent"),
    ] {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT {COLUMNS} FROM documents WHERE db = ?1 AND type = ?2 AND deleted = 0 AND {asked}"
        );
        let plan = store.read(move |connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params!["d", "t", "[]"], |row| row.get::<_, String>(3))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        });
        let plan = plan.await.unwrap().join("\n");
        assert!(plan.contains(index), "{plan}");
    }
}

#[tokio::test]
async fn what_was_deleted_softly_is_listed_apart() {
    let (_folder, store) = open();
    for (name, at) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        store.create(&database(), &id(name), Draft { at, ..draft(json!({})) }).await.unwrap();
    }
    for name in ["a", "c"] {
        store.update(&database(), &id(name), |_| Ok(Change::Delete(Map::new()))).await.unwrap();
    }
    let listed = async |deleted, to| {
        let query = Query { deleted, to, order: Order::Ascending, ..Query::new(database(), "thing") };
        let page = store.list(query).await.unwrap();
        page.documents.into_iter().map(|(_, document)| document.id.to_string()).collect::<Vec<_>>().concat()
    };
    assert_eq!(
        (listed(false, None).await, listed(true, None).await, listed(true, Some(2)).await),
        ("bd".into(), "ac".into(), "a".into())
    );
}

#[tokio::test]
async fn a_walk_passes_every_database_that_holds_anything_once() {
    let (_folder, store) = open();
    let account = "account/aa/bb/0000000000000000000000000000";
    let names = [
        account.to_owned(),
        format!("{account}-202512"),
        format!("{account}-202601"),
        "accounts".into(),
        "system_data".into(),
    ];
    for name in names.iter().rev() {
        let database = Database::parse(name).unwrap();
        for number in 0..3 {
            store.create(&database, &id(&number.to_string()), draft(json!({}))).await.unwrap();
        }
    }
    let all = store.databases_after("", 100).await.unwrap();
    assert_eq!(all, names);
    assert_eq!(store.databases_after(&all[1], 2).await.unwrap(), all[2..4]);
    assert!(store.databases_after(&all[4], 2).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_old_by_both_of_its_times_is_counted_deleted_or_not() {
    let (_folder, store) = open();
    for (name, at, came, of_type) in [
        ("a", 10, json!({"came": 10}), "thing"),
        ("b", 19, json!({}), "thing"),
        ("c", 20, json!({"came": 1}), "thing"),
        ("d", 5, json!({"came": 20}), "thing"),
        ("e", 5, json!({"came": 5}), "other"),
        ("f", 5, json!({"came": 19}), "thing"),
    ] {
        let draft = Draft { doc_type: of_type.into(), at, ..draft(came) };
        store.create(&database(), &id(name), draft).await.unwrap();
    }
    let delete = |document: &Document| Ok(Change::Delete(document.body.clone()));
    store.update(&database(), &id("f"), delete).await.unwrap();
    let count = async |time| store.count_before(&database(), "thing", time, "$.came").await.unwrap();
    assert_eq!((count(5).await, count(20).await, count(21).await), (0, 3, 5));
    let elsewhere = Database::parse("system_config").unwrap();
    assert_eq!(store.count_before(&elsewhere, "thing", 100, "$.came").await.unwrap(), 0);
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents.db");
    let old = Connection::open(&file).unwrap();
    old.execute_batch(
        r#"CREATE TABLE documents (db TEXT NOT NULL, id TEXT NOT NULL, revision TEXT NOT NULL, type TEXT NOT NULL, parent TEXT NOT NULL DEFAULT '',
           at INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL, PRIMARY KEY (db, id));
         CREATE TABLE keys (space TEXT NOT NULL, key TEXT NOT NULL, db TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (space, key)) WITHOUT ROWID;
         INSERT INTO documents VALUES ('system_data', 'a', '1-00000000000000000000000000000000', 'thing', '', 5, 0, '{}');
         INSERT INTO documents VALUES ('system_data', 'x', '1-00000000000000000000000000000000', 'cdr', 'call', 6, 0,
           '{"owner_id": "top", "custom_channel_vars": {"owner_id": "pat"}}');
         INSERT INTO documents VALUES ('system_data', 'y', '1-00000000000000000000000000000000', 'cdr', 'call', 7, 0,
           '{"owner_id": "top", "custom_channel_vars": {"owner_id": ""}}');
         INSERT INTO documents VALUES ('system_data', 'z', '1-00000000000000000000000000000000', 'cdr', 'call', 8, 0, '{}');
         INSERT INTO keys VALUES ('realm', 'acme', 'system_data', 'a');
         PRAGMA user_version = 1;"#,
    )
    .unwrap();
    drop(old);
    for _ in 0..2 {
        let store = Embedded::open(&file).unwrap();
        assert_eq!(store.holder("realm", "acme").await.unwrap().unwrap().id, id("a"));
        assert_eq!(store.expire("realm", i64::MAX).await.unwrap(), 0, "a key is no claim");
        assert_eq!(owned_by(&store, "cdr", "pat").await, ["x"]);
        assert_eq!(owned_by(&store, "cdr", "top").await, ["y"]);
    }
    Embedded::open(&file).unwrap().create(&database(), &id("b"), claiming("k", 100)).await.unwrap();
}
