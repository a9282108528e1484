//! One file's way: read, sent, let go.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::after::{self, Left};
use crate::answer::{Reason, Verdict};
use crate::folder::Item;
use crate::kinds::{self, Lock};
use crate::ledger::Ledger;
use crate::parcel::{Parcel, Trouble};
use crate::sender::Sender;
use crate::{After, Kind, Settings};

/// What became of an item.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The store has it, and it was let go as asked.
    Done { document: Option<String> },
    /// The store had it already.
    Known,
    /// It will never be taken. `aside` when it was moved out of the way.
    Refused { reason: String, aside: bool },
    /// The store has it, but it cannot be let go.
    Stuck(io::Error),
    /// It is not there.
    Gone,
    /// It is not what it was.
    Changed,
    /// It waits.
    Waits(Reason),
    /// All wait.
    AllWait(Reason),
}

/// What errands need.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) settings: Arc<Settings>,
    pub(crate) root: PathBuf,
    pub(crate) ledger: Option<Ledger>,
    pub(crate) sender: Sender,
}

impl Errand {
    /// Runs an errand. An item that `arrived` earlier is only let go.
    pub(crate) async fn run(self: Arc<Self>, item: Item, arrived: bool) -> Outcome {
        let mut document = None;
        let mut known = false;
        if !arrived {
            match self.clone().upload(&item).await {
                Ok(Some(became)) => document = became,
                Ok(None) => known = true,
                Err(outcome) => return outcome,
            }
        }
        match self.blocking(move |errand| errand.let_go(&item)).await {
            Ok(Left::Yes) if known => Outcome::Known,
            Ok(Left::Yes) => Outcome::Done { document },
            Ok(Left::Changed) => Outcome::Changed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Done { document },
            Err(error) => Outcome::Stuck(error),
        }
    }

    /// Uploads it. `None` when the ledger knows it, otherwise the document that it became.
    async fn upload(self: Arc<Self>, item: &Item) -> Result<Option<Option<String>>, Outcome> {
        let reads = item.clone();
        let prepared = self.clone().blocking(move |errand| errand.prepare(&reads)).await;
        let parcel = match prepared {
            Ok(Some(parcel)) => parcel,
            Ok(None) => return Ok(None),
            Err(trouble) => return Err(self.trouble(trouble, item).await),
        };
        let ledger_key = parcel.ledger_key.clone();
        match self.sender.send(parcel).await {
            Verdict::Stored { document } => {
                let remembered = document.clone();
                self.blocking(move |errand| errand.remember(&ledger_key, remembered.as_deref())).await;
                Ok(Some(document))
            }
            Verdict::Refused(reason) => Err(self.set_aside(reason, item).await),
            Verdict::Waits(reason) => Err(Outcome::Waits(reason)),
            Verdict::AllWait(reason) => Err(Outcome::AllWait(reason)),
            Verdict::Changed => Err(Outcome::Changed),
        }
    }

    fn prepare(&self, item: &Item) -> Result<Option<Parcel>, Trouble> {
        kinds::prepare(&self.settings, &self.root, self.ledger.as_ref(), item)
    }

    fn remember(&self, key: &str, document: Option<&str>) {
        if let Some(ledger) = &self.ledger
            && let Err(error) = ledger.add(key, document)
        {
            tracing::error!(%error, "the ledger cannot be written: after a restart this file is sent again");
        }
    }

    async fn trouble(self: Arc<Self>, trouble: Trouble, item: &Item) -> Outcome {
        match trouble {
            Trouble::Gone => Outcome::Gone,
            Trouble::Changed => Outcome::Changed,
            Trouble::Unreadable(error) => Outcome::Waits(Reason::lasting(format!("it cannot be read: {error}"))),
            Trouble::Unfit(reason) => self.set_aside(reason, item).await,
        }
    }

    /// Moves it out of the way, unless files are to stay where they are.
    async fn set_aside(self: Arc<Self>, reason: String, item: &Item) -> Outcome {
        if self.settings.after == After::Keep {
            return Outcome::Refused { reason, aside: false };
        }
        let (item, words) = (item.clone(), reason.clone());
        let moved = self.blocking(move |errand| {
            let _lock = errand.lock(&item)?;
            after::refuse(&errand.root, &item, &words)
        });
        match moved.await {
            Ok(Left::Yes) => Outcome::Refused { reason, aside: true },
            Ok(Left::Changed) => Outcome::Changed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Gone,
            Err(error) => {
                tracing::warn!(%error, "what was refused cannot be set aside");
                Outcome::Refused { reason, aside: false }
            }
        }
    }

    fn let_go(&self, item: &Item) -> io::Result<Left> {
        match &self.settings.after {
            After::Keep => Ok(Left::Yes),
            After::Delete => {
                let _lock = self.lock(item)?;
                after::delete(&self.root, item)
            }
            After::Move(target) => {
                let _lock = self.lock(item)?;
                after::move_to(&self.root, item, target)
            }
        }
    }

    /// Asterisk's folders are locked while something is taken out.
    fn lock(&self, item: &Item) -> io::Result<Option<Lock>> {
        if self.settings.kind != Kind::AsteriskVoicemail {
            return Ok(None);
        }
        let folder = item.name().parent().map(|parent| self.root.join(parent)).unwrap_or_default();
        match Lock::take(&folder)? {
            Some(lock) => Ok(Some(lock)),
            None => Err(io::Error::other("Asterisk has locked the mailbox")),
        }
    }

    async fn blocking<T: Send + 'static>(self: Arc<Self>, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        match tokio::task::spawn_blocking(move || work(&self)).await {
            Ok(done) => done,
            // Nobody cancels these: it panicked, and so do we, to be met again as a fault.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
