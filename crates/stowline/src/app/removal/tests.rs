//! What a crash leaves of a removal, and what becomes of it at the next start.

use attachments::{Assurance, Receipt};
use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::Server;
use crate::app::recordings::{self, Recording, Sound};
use crate::app::{accounts, attachment};
use crate::config::{Config, Flags};

struct Inside {
    server: Server,
    account: Account,
    recording: Recording,
    _folder: tempfile::TempDir,
}

impl Inside {
    /// A server with a recording that is kept here.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flags = Flags { listen: "127.0.0.1:0".parse().ok(), data_dir: Some(folder.path().join("data")) };
        let server = Server::start(Config::load(None, [], &flags).unwrap()).await.unwrap();
        let app = server.app().clone();
        let account = accounts::create(&app, None, json!({"name": "Master"})).await.unwrap();
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"RIFF"))]);
        let sound = Sound { content_type: "audio/wav", file_name: None, limit: 100 };
        let audio = recordings::receive(&app, &account, None, sound, body).await.unwrap();
        let recording = recordings::create(&app, &account, Map::new(), Some(audio)).await.unwrap();
        Self { server, account, recording, _folder: folder }
    }

    fn app(&self) -> &Arc<App> {
        self.server.app()
    }

    async fn document(&self) -> Document {
        let Recording { id, document } = &self.recording;
        self.app().documents.get(&document.database, id).await.unwrap().unwrap()
    }

    /// Says of the audio that it lies at a destination, and still here where it did.
    async fn delivered(&self, stub: bool) {
        let receipt = json!({"handler": "s3", "location": format!("x/{}", self.recording.id), "destination": "nowhere", "length": 4,
            "content_type": "audio/wav", "sha256": "00", "assurance": "checksum"});
        let receipt: Receipt = serde_json::from_value(receipt).unwrap();
        assert_eq!(receipt.assurance, Assurance::Checksum);
        let change = move |document: &Document| {
            let (name, mut audio) = attachments_of(document).next().unwrap();
            let Place::Local { file } = audio.place else { return Ok(Change::Leave) };
            let handler_id = plan::HandlerId::parse("h").unwrap();
            audio.place =
                Place::Stored { receipt: Box::new(receipt), handler_id, owner: None, file: stub.then_some(file) };
            let mut body = document.body.clone();
            body.insert(ATTACHMENTS.into(), json!({name.as_ref(): audio}));
            Ok(Change::Write(body))
        };
        let Recording { id, document } = &self.recording;
        self.app().documents.update(&document.database, id, change).await.unwrap();
    }

    /// Begins a removal and stops before the document lets go, or after it did, as a crash would; then settles what is left.
    async fn crash(&self, everywhere: bool, let_go: bool) {
        let document = self.document().await;
        let removal = Removal::of(&self.account, &document, What::Document(|_| ()), everywhere).unwrap();
        removal.reserve(self.app(), &self.account).await.unwrap();
        if let_go {
            assert!(removal.let_go(self.app(), &document, What::Document(|_| ())).await.unwrap().is_some());
        }
        reservations::reconcile(self.app()).await.unwrap();
    }

    /// How many files are kept, once as many are as are wanted or a while has passed: some go in the background.
    async fn files(&self, wanted: usize) -> usize {
        let folder = self.app().config.server.data_dir.join("attachments");
        let count = || std::fs::read_dir(&folder).unwrap().flatten().filter(|entry| entry.path().is_file()).count();
        for _ in 0..500 {
            if count() == wanted {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        count()
    }

    async fn jobs(&self) -> usize {
        let jobs = &self.app().journal;
        jobs.reservations().await.unwrap().len()
            + jobs.list(self.account.id.as_ref(), None, 100).await.unwrap().jobs.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_stays_with_its_document_and_goes_once_it_was_let_go() {
    for stub in [false, true] {
        let inside = Inside::start().await;
        if stub {
            inside.delivered(true).await;
        }
        inside.crash(false, false).await;
        assert_eq!((inside.files(1).await, inside.document().await.deleted), (1, false), "stub {stub}");
        inside.crash(false, true).await;
        assert_eq!((inside.files(0).await, inside.document().await.deleted), (0, true), "stub {stub}");
        let document = inside.document().await;
        let left = attachment::attachments_of(&document);
        assert_eq!(left.count(), usize::from(stub), "where a copy lies is still known");
        inside.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_removed_only_once_its_document_let_it_go() {
    let inside = Inside::start().await;
    inside.delivered(false).await;
    inside.crash(true, false).await;
    assert_eq!((inside.jobs().await, inside.document().await.deleted), (0, false), "nothing is to be done");
    inside.crash(true, true).await;
    assert_eq!((inside.jobs().await, inside.document().await.deleted), (1, true), "the object is to be removed");
    assert_eq!(attachment::attachments_of(&inside.document().await).count(), 0);
    inside.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_meanwhile_is_looked_at_again() {
    let inside = Inside::start().await;
    let before = inside.document().await;
    inside.delivered(true).await;
    let removal = Removal::of(&inside.account, &before, What::Document(|_| ()), false).unwrap();
    assert!(removal.let_go(inside.app(), &before, What::Document(|_| ())).await.unwrap().is_none());
    remove(inside.app(), &inside.account, None, &before).await.unwrap();
    assert_eq!((inside.files(0).await, inside.document().await.deleted, inside.jobs().await), (0, true, 0));
    let again = remove(inside.app(), &inside.account, None, &before).await;
    assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
    inside.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shall_be_gone_entirely_stays_whole_or_goes_whole() {
    for (stub, everywhere) in [(false, false), (true, false), (true, true)] {
        let inside = Inside::start().await;
        if stub {
            inside.delivered(true).await;
        }
        for gone in [false, true] {
            let document = inside.document().await;
            let removal = Removal::of(&inside.account, &document, What::Entirely, everywhere).unwrap();
            removal.reserve(inside.app(), &inside.account).await.unwrap();
            if gone {
                inside.app().documents.remove(&document.database, &document.id, None).await.unwrap();
            }
            reservations::reconcile(inside.app()).await.unwrap();
            let (files, objects) = if gone { (0, usize::from(everywhere)) } else { (1, 0) };
            assert_eq!(
                (inside.files(files).await, inside.jobs().await),
                (files, objects),
                "{stub} {everywhere} {gone}"
            );
        }
        inside.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_to_meanwhile_is_not_purged() {
    let inside = Inside::start().await;
    let before = inside.document().await;
    inside.delivered(true).await;
    assert!(!purge(inside.app(), &inside.account, None, &before).await.unwrap());
    assert_eq!((inside.files(1).await, inside.jobs().await), (1, 0));
    assert!(purge(inside.app(), &inside.account, None, &inside.document().await).await.unwrap());
    assert!(!purge(inside.app(), &inside.account, None, &before).await.unwrap(), "it is gone already");
    assert_eq!((inside.files(0).await, inside.jobs().await), (0, 0));
    inside.server.stop().await;
}
