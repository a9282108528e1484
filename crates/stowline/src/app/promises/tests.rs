//! What a record promised, at every step at which a crash or a power cut may leave it.

use bytes::Bytes;
use connections::{Change, Document};
use delivery::SealedFile;
use plan::AccountId;
use serde_json::json;

use super::*;
use crate::Server;
use crate::app::attachment::{ATTACHMENTS, Area, Attachment};
use crate::config::{Config, Flags};

async fn start(folder: &tempfile::TempDir) -> Server {
    let flags = Flags { listen: "127.0.0.1:0".parse().ok(), data_dir: Some(folder.path().join("data")) };
    Server::start(Config::load(None, [], &flags).unwrap()).await.unwrap()
}

/// A deposit of which nothing is written yet.
struct Deposit {
    put: jobs::PutAttachment,
    draft: Draft,
    file: Option<SealedFile>,
}

impl Deposit {
    async fn of(app: &App, number: u8) -> Self {
        let mut partial = app.spool.begin().unwrap();
        partial.write(Bytes::from(vec![number; 100])).await.unwrap();
        let file = partial.finish().await.unwrap();
        let account = AccountId::parse("0123456789abcdef0123456789abcdef").unwrap();
        let attachment = Attachment {
            content_type: "audio/wav".into(),
            length: 100,
            sha256: hex::encode(file.sha256()),
            generation: format!("generation {number}"),
            place: Place::Pending { file: file.file().clone(), area: Area::Spool },
        };
        let put = json!({
            "account": account, "database": Database::parse("account/01/23/456789abcdef0123456789abcdef-202611").unwrap().name(),
            "document": format!("202611-{}", format!("{number:02x}").repeat(16)), "doc_type": "mailbox_message", "attachment": "a.wav",
            "generation": attachment.generation, "handler_id": "ab".repeat(16), "handler": "http", "destination": "http://example.invalid",
            "location": "a.wav", "content_type": "audio/wav", "length": 100, "sha256": attachment.sha256, "file": file.file(), "area": "spool",
        });
        let put: jobs::PutAttachment = serde_json::from_value(put).unwrap();
        let body = Map::from_iter([
            (ATTACHMENTS.to_owned(), json!({"a.wav": attachment})),
            ("number".to_owned(), number.into()),
        ]);
        let draft =
            Draft { doc_type: "mailbox_message".into(), parent: Some("box".into()), at: 1, body, ..Draft::default() };
        Self { put, draft, file: Some(file) }
    }

    async fn publish(&mut self, promise: &Promise) {
        let note = promise.note(&self.put, &self.draft).unwrap().unwrap();
        self.file.take().unwrap().publish_with(&note).await.unwrap();
    }

    fn database(&self) -> Database {
        Database::parse(&self.put.database).unwrap()
    }

    async fn document(&self, app: &App) -> Option<Document> {
        app.documents.get(&self.database(), &self.put.document).await.unwrap()
    }

    async fn create(&self, app: &App) {
        app.documents.create_backed(&self.database(), &self.put.document, self.draft.clone()).await.unwrap();
    }

    async fn jobs(&self, app: &App) -> usize {
        let page = app.journal.list(self.put.account.as_ref(), None, 100).await.unwrap();
        page.jobs.iter().filter(|job| job.payload.as_ref() == Some(&self.put.file)).count()
    }

    /// Whether its bytes are there: in the log, or in a file of their own.
    async fn bytes(&self, app: &App) -> bool {
        match app.spool.held(&self.put.file).await.unwrap() {
            delivery::Held::Bytes(bytes) => bytes.len() == 100,
            delivery::Held::File(path) => std::fs::metadata(path).is_ok_and(|file| file.len() == 100),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_start_keeps_what_was_promised_and_makes_nothing_of_what_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder).await;
    let app = server.app().clone();
    let mut all = Vec::new();
    for number in 0..6 {
        all.push(Deposit::of(&app, number).await);
    }
    let promise = app.promises.begin();
    for deposit in &mut all {
        deposit.publish(&promise).await;
    }
    let [bare, documented, queued, delivered, replaced, refused] = &all[..] else { panic!() };
    for deposit in [documented, queued, delivered, replaced] {
        deposit.create(&app).await;
    }
    app.journal.enqueue(queued.put.job().unwrap()).await.unwrap();
    let set = async |deposit: &Deposit, attachment: Value| {
        let change = move |document: &Document| {
            let mut body = document.body.clone();
            body.insert(ATTACHMENTS.into(), json!({"a.wav": attachment}));
            Ok(Change::Write(body))
        };
        app.documents.update(&deposit.database(), &deposit.put.document, change).await.unwrap();
    };
    let mut stored = delivered.draft.body[ATTACHMENTS]["a.wav"].clone();
    let receipt = json!({"handler": "http", "location": "a.wav", "destination": "x", "length": 100, "content_type": "audio/wav",
        "sha256": stored["sha256"], "assurance": "checksum"});
    for gone in ["state", "file", "area"] {
        stored.as_object_mut().unwrap().remove(gone);
    }
    for (key, value) in [("state", json!("stored")), ("receipt", receipt), ("handler_id", json!("ab".repeat(16)))] {
        stored[key] = value;
    }
    set(delivered, stored).await;
    let mut other = replaced.draft.body[ATTACHMENTS]["a.wav"].clone();
    other["generation"] = json!("a later one");
    set(replaced, other).await;
    // Its id was taken by another document: the depositor heard so.
    let taken = Draft { doc_type: "mailbox_message".into(), ..Draft::default() };
    app.documents.create(&refused.database(), &refused.put.document, taken).await.unwrap();
    // The process ends before any of it is known to be in both stores.
    std::mem::forget(promise);
    server.stop().await;
    drop(app);

    for start_number in 0..2 {
        let server = start(&folder).await;
        let app = server.app().clone();
        for (name, deposit) in [("bare", bare), ("documented", documented), ("queued", queued)] {
            let document = deposit.document(&app).await.unwrap();
            assert_eq!(document.body, deposit.draft.body, "{name}");
            assert_eq!(
                (deposit.jobs(&app).await, deposit.bytes(&app).await),
                (1, true),
                "{name}, start {start_number}"
            );
        }
        for (name, deposit) in [("delivered", delivered), ("replaced", replaced), ("refused", refused)] {
            assert!(deposit.document(&app).await.is_some(), "{name}");
            assert_eq!(
                (deposit.jobs(&app).await, deposit.bytes(&app).await),
                (0, false),
                "{name}, start {start_number}"
            );
        }
        assert_eq!(bare.document(&app).await.unwrap().revision.number(), 1);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_settled_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder).await;
    let app = server.app().clone();
    let mut kept = Deposit::of(&app, 1).await;
    let mut removed = Deposit::of(&app, 2).await;
    for deposit in [&mut kept, &mut removed] {
        let promise = app.promises.begin();
        deposit.publish(&promise).await;
        deposit.create(&app).await;
        app.journal.confirm(app.journal.promise(deposit.put.job().unwrap()).unwrap());
    }
    settle(&app).await.unwrap();
    // Of this one the document is removed for good; its record stays where it is, for its neighbour's sake.
    app.documents.remove(&removed.database(), &removed.put.document, None).await.unwrap();
    server.stop().await;
    drop(app);
    let server = start(&folder).await;
    let app = server.app().clone();
    assert!(removed.document(&app).await.is_none(), "it came back");
    assert!(kept.document(&app).await.is_some());
    assert_eq!(kept.jobs(&app).await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_ends_when_all_that_was_promised_in_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder).await;
    let app = server.app().clone();
    settle(&app).await.unwrap();
    let before = settled(&app.documents).await.unwrap();
    let (one, two) = (app.promises.begin(), app.promises.begin());
    let ending = tokio::spawn({
        let app = app.clone();
        async move { settle(&app).await }
    });
    drop(one);
    while app.promises.epoch().number == two.epoch {
        tokio::task::yield_now().await;
    }
    let later = app.promises.begin();
    assert!(later.epoch > two.epoch, "it belongs to the next one");
    assert!(!ending.is_finished());
    assert_eq!(settled(&app.documents).await.unwrap(), before);
    assert!(!app.promises.overdue());
    drop(two);
    ending.await.unwrap().unwrap();
    assert_eq!(settled(&app.documents).await.unwrap(), later.epoch - 1);
    // Whoever removes documents for good waits while that does not come about.
    app.promises.epoch().behind = Instant::now().checked_sub(2 * OVERDUE);
    assert!(app.promises.overdue());
    server.stop().await;
}
