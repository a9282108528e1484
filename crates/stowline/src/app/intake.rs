//! Call records on their way in: durable at once, documents a moment later.
//!
//! ```text
//!   POST ──▶ surely a record? ──▶ appended to the log, durable ──▶ 200
//!                                        └──▶ in the order in which they came ──▶ documents ──▶ released
//! ```
//!
//! Switches post records in bursts, and each becomes a document with half a dozen index entries: that takes many times what receiving it does. So a
//! record is *accepted* by one append to a log (`appendlog`) and read afterwards. While few wait, the sender hears what became of it, as if there were
//! no log; in a burst it hears that it was accepted. What pours in is taken
//! first: until it ends, until a record has waited for two seconds, or until somebody wants to read, none becomes a document. When too many wait, senders wait with them.
//!
//! Only what will surely be a record goes this way ([`switches::is_surely_a_record`]): nobody is told 200 and finds nothing. Whoever reads call records
//! waits until those are documents that were accepted before ([`Intake::settled`]), for a few seconds at most.
//!
//! In the log a record lies as it came, with the secrets that are struck out of the document: so it is sealed, with a key that is not in the data folder
//! (AES-256-GCM, a random nonce for each). After a crash the log is read again. That a record is a document already is found out then as for one that is sent twice.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use appendlog::{AppendLog, Options, Place};
use bytes::Bytes;
use futures_util::future::join_all;
use plan::AccountId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::ingest::{self, Recorded};
use super::{App, Error, accounts};
use crate::seal::Keys;

/// While fewer wait, a sender waits until its record is a document.
const FEW: usize = 16;
/// While more wait, too.
const MANY: usize = 100_000;
/// Records that become documents side by side.
const SIDE_BY_SIDE: usize = 256;
/// How long a record waits at most for others to come in first.
const LAG: Duration = Duration::from_secs(2);
/// Two threads write the log: they keep the disk awake; of more, each writes less at a time, and every sync takes its share of the processor. What was
/// written is sealed, so it may lie there until something else is written over it.
const LOG: Options = Options { writers: 2, reuse: true };
/// How long a reader waits at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts while the store takes no documents.
const PACE: Duration = Duration::from_millis(200);

/// Records that were accepted and are no documents yet.
pub struct Intake {
    log: AppendLog,
    key: LessSafeKey,
    queue: Mutex<Queue>,
    /// Something waits.
    wake: Notify,
    /// All up to this number are settled.
    through: watch::Sender<u64>,
    /// Readers that wait.
    readers: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// How many were accepted; the number of the last one.
    accepted: u64,
    /// The number of the last one that is settled.
    settled: u64,
    /// Of accounts of which something waits, the number of the last one.
    last_of: HashMap<AccountId, u64>,
}

struct Waiting {
    number: u64,
    since: Instant,
    account: AccountId,
    place: Place,
    answer: Option<oneshot::Sender<Result<Recorded, Error>>>,
}

impl Waiting {
    /// Tells the sender what became of it. False when nobody waits for that.
    fn tell(&mut self, outcome: Result<Recorded, Error>) -> bool {
        self.answer.take().is_some_and(|answer| answer.send(outcome).is_ok())
    }
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl Intake {
    /// Opens the log in the folder `dir`, which exists. Blocks.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn open(dir: &Path, keys: &Keys) -> Result<Self, Error> {
        let (log, found) = AppendLog::open(dir, LOG).map_err(unavailable)?;
        let key = UnboundKey::new(&AES_256_GCM, &*keys.intake_key())
            .map_err(|_| Error::Internal { what: "making a key", source: None })?;
        let mut queue = Queue::default();
        for record in found {
            match std::str::from_utf8(&record.head).ok().and_then(|id| AccountId::parse(id).ok()) {
                Some(account) => queue.push(account, record.place, None),
                None => log.release(&record.place),
            }
        }
        let (queue, through) = (Mutex::new(queue), watch::Sender::new(0));
        Ok(Self { log, key: LessSafeKey::new(key), queue, wake: Notify::new(), through, readers: AtomicUsize::new(0) })
    }

    /// Takes a record. Once this returned, it is durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; what becomes of it, where that is waited for.
    pub async fn accept(&self, account: &AccountId, body: &[u8]) -> Result<Recorded, Error> {
        let place = self.log.append(account.as_ref().into(), vec![self.seal(account, body)?]).await;
        let place = place.map_err(unavailable)?;
        let answered = {
            let mut queue = self.queue();
            let waits = !(FEW..=MANY).contains(&queue.unsettled());
            let (answer, answered) = waits.then(oneshot::channel).unzip();
            queue.push(account.clone(), place, answer);
            answered
        };
        self.wake.notify_one();
        match answered {
            // One that is let go without an answer is tried again.
            Some(answered) => answered.await.unwrap_or(Ok(Recorded::Accepted)),
            None => Ok(Recorded::Accepted),
        }
    }

    /// Waits until the records of an account that were accepted before are documents; some seconds at most.
    pub async fn settled(&self, account: &AccountId) {
        let Some(last) = self.queue().last_of.get(account).copied() else { return };
        let mut through = self.through.subscribe();
        let _reader = Reader::of(&self.readers);
        if tokio::time::timeout(PATIENCE, through.wait_for(|through| *through >= last)).await.is_err() {
            tracing::warn!(account.id = %account, waiting = self.waiting(), "call records are read while accepted ones are no documents yet");
        }
    }

    /// Records that are no documents yet.
    pub fn waiting(&self) -> usize {
        self.queue().unsettled()
    }

    fn seal(&self, account: &AccountId, body: &[u8]) -> Result<Bytes, Error> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = Vec::with_capacity(NONCE_LEN + body.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(body);
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(account.as_ref().as_bytes()));
        let tag = self.key.seal_in_place_separate_tag(nonce, aad, &mut sealed[NONCE_LEN..]);
        let tag = tag.map_err(|_| Error::Internal { what: "sealing a record", source: None })?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed.into())
    }

    fn open_sealed(&self, account: &AccountId, sealed: Bytes) -> Option<Vec<u8>> {
        let mut bytes = Vec::from(sealed);
        let nonce: [u8; NONCE_LEN] = *bytes.first_chunk()?;
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(account.as_ref().as_bytes()));
        let length = self.key.open_within(nonce, aad, &mut bytes, NONCE_LEN..).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }

    /// A record as it came; none when it cannot be read.
    fn read(&self, waiting: &Waiting) -> Option<Vec<u8>> {
        let read = self.log.read(&waiting.place);
        let sealed =
            read.inspect_err(|error| tracing::error!(%error, "an accepted call record cannot be read")).ok()?;
        let opened = self.open_sealed(&waiting.account, sealed);
        if opened.is_none() {
            tracing::error!(account.id = %waiting.account, "an accepted call record was sealed with another key, or is damaged");
        }
        opened
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn unsettled(&self) -> usize {
        usize::try_from(self.accepted - self.settled).unwrap_or(usize::MAX)
    }

    fn settle(&mut self, through: u64) {
        self.settled = through;
        self.last_of.retain(|_, last| *last > through);
    }

    fn push(&mut self, account: AccountId, place: Place, answer: Option<oneshot::Sender<Result<Recorded, Error>>>) {
        self.accepted += 1;
        let number = self.accepted;
        match self.last_of.get_mut(&account) {
            Some(last) => *last = number,
            None => {
                self.last_of.insert(account.clone(), number);
            }
        }
        self.waiting.push_back(Waiting { number, since: Instant::now(), account, place, answer });
    }
}

/// Makes documents of what was accepted, until the program stops and nothing waits any more.
pub async fn settle(app: Arc<App>, stopping: CancellationToken) {
    let intake = app.intake.clone();
    loop {
        let batch: Vec<_> = {
            let mut queue = intake.queue();
            let count = queue.waiting.len().min(SIDE_BY_SIDE);
            queue.waiting.drain(..count).collect()
        };
        metrics::gauge!("stowline_intake_waiting").set(intake.waiting() as f64);
        let Some(through) = batch.last().map(|last| last.number) else {
            if stopping.run_until_cancelled(intake.wake.notified()).await.is_none() {
                return;
            }
            continue;
        };
        let reading = intake.clone();
        let read = move || batch.into_iter().map(|waiting| (reading.read(&waiting), waiting)).collect::<Vec<_>>();
        let Ok(read) = tokio::task::spawn_blocking(read).await else { return };
        let all =
            read.into_iter().map(|(body, waiting)| tokio::spawn(one(app.clone(), body, waiting, stopping.clone())));
        let settled = join_all(all).await;
        // One that panicked has said so; its record stays in the log as those do that cannot be read.
        if !settled.into_iter().all(|settled| settled.unwrap_or(true)) {
            // They stay in the log.
            return;
        }
        intake.queue().settle(through);
        intake.through.send_replace(through);
        rest(&intake, through, &stopping).await;
    }
}

/// Leaves the processor to those who receive, while more comes than the `last` one, nobody wants to read and none has waited for long.
async fn rest(intake: &Intake, mut last: u64, stopping: &CancellationToken) {
    let slice = Duration::from_millis(5);
    while !stopping.is_cancelled() && intake.readers.load(Ordering::Relaxed) == 0 {
        let accepted = {
            let queue = intake.queue();
            let few = queue.unsettled() < FEW;
            let late = queue.waiting.front().is_some_and(|first| first.since.elapsed() > LAG);
            if few || late || queue.accepted == last || queue.unsettled() > MANY / 2 {
                return;
            }
            queue.accepted
        };
        last = accepted;
        tokio::time::sleep(slice).await;
    }
}

/// Somebody who waits for documents.
struct Reader<'a>(&'a AtomicUsize);

impl<'a> Reader<'a> {
    fn of(readers: &'a AtomicUsize) -> Self {
        readers.fetch_add(1, Ordering::Relaxed);
        Self(readers)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes a document of a record. False when the program stops before the store took it.
async fn one(app: Arc<App>, body: Option<Vec<u8>>, mut waiting: Waiting, stopping: CancellationToken) -> bool {
    // What cannot be read stays where it is, for who can mend it; the next start says so again.
    let Some(body) = body else { return true };
    loop {
        let recorded = match accounts::find(&app, &waiting.account).await {
            Ok(Some(account)) => ingest::record(&app, &account, &body).await,
            Ok(None) => Err(Error::NotFound(waiting.account.to_string())),
            Err(error) => Err(error),
        };
        match recorded {
            Err(Error::Unavailable { .. }) => {
                // It is durable: its sender need not wait for the store.
                waiting.tell(Ok(Recorded::Accepted));
                if stopping.run_until_cancelled(tokio::time::sleep(PACE)).await.is_none() {
                    return false;
                }
            }
            Err(Error::NotFound(_)) => {
                tracing::info!(account.id = %waiting.account, "the account of an accepted call record has gone, and its record with it");
                app.intake.log.release(&waiting.place);
                return true;
            }
            Err(error) => {
                // A fault of ours: it was surely a record. Who waits for the answer hears it; else the record stays for a later version.
                tracing::error!(account.id = %waiting.account, error = %error, "an accepted call record makes no document");
                if waiting.tell(Err(error)) {
                    app.intake.log.release(&waiting.place);
                }
                return true;
            }
            Ok(recorded) => {
                app.intake.log.release(&waiting.place);
                waiting.tell(Ok(recorded));
                return true;
            }
        }
    }
}

fn unavailable(error: appendlog::Error) -> Error {
    Error::unavailable("intake", error)
}
