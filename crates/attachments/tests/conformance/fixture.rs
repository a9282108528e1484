//! The destinations that the suite runs against, and what it has to know of each.

use std::sync::Arc;
use std::time::Duration;

use attachments::{Assurance, Body, Document, Handler, Location, Payload, Pool, PutKey, Ways, location};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outbound::{Client, Policy, Timeouts};
use plan::{AttachmentName, Database, DocId};
use serde_json::{Map, Value, json};
use testkit::{Fault, Faults, HttpStore, S3Server};

pub mod azure;
pub mod drives;
pub mod filesystem;
pub mod ftp;
pub mod google_storage;
pub mod sftp;
pub mod webdav;

pub const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
/// Stands in every credential of every fixture: it must never be printed.
pub const SECRET: &str = "hunter2";

/// A destination of one kind, and what can be seen and done behind its back.
pub trait Fixture {
    /// For messages: the kind, and what is special.
    fn name(&self) -> &'static str;
    fn kind(&self) -> &'static str;
    /// Settings that work.
    fn settings(&self) -> Map<String, Value>;
    /// What a put can prove here.
    fn assurance(&self) -> Assurance;
    /// Everything that is stored, as the bytes that were put.
    fn objects(&self) -> Vec<Bytes>;
    /// Replaces everything that is stored.
    fn tamper(&self, with: &dyn Fn(&[u8]) -> Vec<u8>);
    /// Refuses the handler from now on, in these words.
    fn lock_out(&self) -> (Map<String, Value>, &'static str);
    /// The script of faults of a destination that speaks HTTP.
    fn faults(&self) -> Option<&Faults> {
        None
    }
    /// Makes the next upload meet this trouble. False where there can be no such trouble, or no server could be made to have it.
    fn inflict(&self, trouble: Trouble) -> bool {
        let Some(faults) = self.faults() else { return false };
        faults.next([trouble.as_fault()]);
        true
    }
    /// The trouble is over.
    fn relieve(&self) {
        self.faults().into_iter().for_each(Faults::heal);
    }
    /// Takes the destination away.
    fn stop(&self);
    /// Characters of the longest attachment name that the server can keep.
    fn longest(&self) -> usize;
}

/// What an upload may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The destination asks for patience.
    Busy,
    /// It has no room.
    Full,
    /// It is out of order.
    OutOfOrder,
    /// It says yes and stores nothing.
    Swallowed,
    /// The bytes change on the way.
    Changed,
    /// The connection breaks in the middle.
    Cut,
    /// Nothing is heard any more.
    Silent,
}

impl Trouble {
    /// As a fault of a request over HTTP.
    pub fn as_fault(self) -> Fault {
        match self {
            Self::Busy => Fault::throttled(7),
            Self::Full => Fault::status(507).with_body("no room"),
            Self::OutOfOrder => Fault::unavailable(),
            Self::Swallowed => Fault::swallow(),
            Self::Changed => Fault::CorruptUpload,
            Self::Cut => Fault::ResetDuringUpload { after: 100_000 },
            Self::Silent => Fault::BlackHole,
        }
    }
}

/// The kinds that have a fixture, also where a server for it is missing on this machine.
pub const COVERED: &[&str] = &[
    "s3",
    "http",
    "filesystem",
    "webdav",
    "sftp",
    "ftp",
    "azure",
    "google_storage",
    "google_drive",
    "dropbox",
    "onedrive",
];

/// One fixture at least for every kind whose server is on this machine.
pub fn all() -> Vec<Box<dyn Fixture>> {
    let mut all: Vec<Box<dyn Fixture>> = vec![
        Box::new(filesystem::Filesystem::start()),
        Box::new(S3::start()),
        Box::new(Http::start("http", json!({"verb": "put"}))),
        Box::new(Http::start("http with ranges", json!({"verb": "POST"}))),
        Box::new(Http::start("http with forms", json!({"verb": "post", "send_multipart": true}))),
        Box::new(Http::start("http with forms of base64", json!({"send_multipart": true, "base64_encode_data": true}))),
    ];
    all.extend(boxed(webdav::Webdav::start()));
    all.extend(boxed(sftp::Sftp::start()));
    all.extend(boxed(ftp::Ftp::start("none")));
    all.extend(boxed(ftp::Ftp::start("explicit")));
    all.extend(boxed(google_storage::GoogleStorage::start()));
    all.extend(boxed(azure::Azure::start()));
    all.extend(boxed(Some(drives::google())));
    all.extend(boxed(Some(drives::dropbox())));
    all.extend(boxed(Some(drives::onedrive())));
    all
}

pub fn boxed(fixture: Option<impl Fixture + 'static>) -> Option<Box<dyn Fixture>> {
    fixture.map(|fixture| Box::new(fixture) as Box<dyn Fixture>)
}

pub struct S3 {
    pub server: S3Server,
}

pub const BUCKET: &str = "recordings";

impl S3 {
    pub fn start() -> Self {
        let server = S3Server::builder().keys("AKIAFIXTURE", &format!("{SECRET}-s3")).start().unwrap();
        server.bucket(BUCKET);
        Self { server }
    }
}

impl Fixture for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }

    fn kind(&self) -> &'static str {
        "s3"
    }

    fn settings(&self) -> Map<String, Value> {
        object(self.server.settings(BUCKET))
    }

    fn assurance(&self) -> Assurance {
        Assurance::Checksum
    }

    fn objects(&self) -> Vec<Bytes> {
        self.server.objects(BUCKET).into_iter().map(|(_, bytes)| bytes).collect()
    }

    fn tamper(&self, with: &dyn Fn(&[u8]) -> Vec<u8>) {
        for (key, bytes) in self.server.objects(BUCKET) {
            self.server.plant(BUCKET, &key, &with(&bytes));
        }
    }

    fn lock_out(&self) -> (Map<String, Value>, &'static str) {
        let mut settings = self.settings();
        settings.insert("key".into(), "AKIANOBODY".into());
        (settings, "The AWS Access Key Id you provided does not exist in our records.")
    }

    fn faults(&self) -> Option<&Faults> {
        Some(self.server.faults())
    }

    fn stop(&self) {
        self.server.stop();
    }

    fn longest(&self) -> usize {
        // A limit of the test server, which keeps names as file names.
        60
    }
}

pub struct Http {
    name: &'static str,
    pub store: HttpStore,
    settings: Map<String, Value>,
}

impl Http {
    pub fn start(name: &'static str, settings: Value) -> Self {
        let store = HttpStore::start();
        store.serve_ranges(name.contains("ranges"));
        let mut settings = object(settings);
        settings.insert("url".into(), format!("http://me:{SECRET}@{}/in/", store.address()).into());
        Self { name, store, settings }
    }

    fn is_base64(&self) -> bool {
        self.settings.contains_key("base64_encode_data")
    }
}

impl Fixture for Http {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> &'static str {
        "http"
    }

    fn settings(&self) -> Map<String, Value> {
        self.settings.clone()
    }

    fn assurance(&self) -> Assurance {
        Assurance::ReadBack
    }

    fn objects(&self) -> Vec<Bytes> {
        let decoded = |bytes: Bytes| if self.is_base64() { STANDARD.decode(bytes).unwrap().into() } else { bytes };
        self.store.objects().into_values().map(decoded).collect()
    }

    fn tamper(&self, with: &dyn Fn(&[u8]) -> Vec<u8>) {
        for (path, bytes) in self.store.objects() {
            let changed = match self.is_base64() {
                true => STANDARD.encode(with(&STANDARD.decode(bytes).unwrap())).into_bytes(),
                false => with(&bytes),
            };
            self.store.plant(&path, "audio/wav", &changed);
        }
    }

    fn lock_out(&self) -> (Map<String, Value>, &'static str) {
        self.store.faults().always(testkit::Fault::status(403).with_body("not you"));
        (self.settings(), "Forbidden")
    }

    fn faults(&self) -> Option<&Faults> {
        Some(self.store.faults())
    }

    fn stop(&self) {
        self.store.stop();
    }

    fn longest(&self) -> usize {
        200
    }
}

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A way out that may reach this machine and its temporary folders, and gives up soon.
pub fn client(idle: Duration) -> Client {
    let policy = Policy::new(vec!["127.0.0.0/8".parse().unwrap()])
        .with_folders(vec![std::env::temp_dir(), "/sys/kernel".into()]);
    Client::with_timeouts(Arc::new(policy), Timeouts { connect: Duration::from_secs(10), idle }).unwrap()
}

/// The ways out of such a client, with all consents.
pub fn ways(client: Client) -> Ways {
    Ways { grants: Arc::new(drives::Consents), ..client.into() }
}

pub fn pool() -> Pool {
    Pool::new(ways(client(Duration::from_secs(60))))
}

pub fn open(fixture: &dyn Fixture) -> Arc<dyn Handler> {
    open_with(fixture, &fixture.settings())
}

pub fn open_with(fixture: &dyn Fixture, settings: &Map<String, Value>) -> Arc<dyn Handler> {
    pool().open(fixture.kind(), settings).unwrap()
}

/// The default location of an attachment of a document.
pub fn place(kind: &str, settings: &Map<String, Value>, id: &str, attachment: &str) -> Location {
    let document = Document {
        account_id: Some(ACCOUNT),
        database: &Database::parse(&format!("{ACCOUNT}-202611")).unwrap(),
        id: &DocId::parse(id).unwrap(),
        public: &public(id),
        at: attachments::Moment::default(),
    };
    location(kind, settings, &Map::new(), &document, &AttachmentName::parse(attachment).unwrap()).unwrap()
}

pub fn public(id: &str) -> Value {
    json!({"id": id, "metadata": {"media_id": id, "caller": "a b"}})
}

pub fn key(id: &str, attachment: &str) -> PutKey {
    PutKey {
        generation: format!("generation-of-{id}"),
        document: public(id),
        document_id: id.into(),
        attachment: attachment.into(),
        reserved: None,
    }
}

/// Bytes that repeat nowhere within a piece, the same every time.
pub fn noise(length: usize) -> Bytes {
    let mut state = 0x2545_F491_4F6C_DD1D_u64 ^ length as u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(length);
    bytes.into()
}

pub fn audio(bytes: &Bytes) -> Payload {
    Payload::bytes(bytes.clone(), "audio/wav")
}

pub async fn read(body: Body) -> Result<Bytes, attachments::Error> {
    body.read(256 << 20).await
}
