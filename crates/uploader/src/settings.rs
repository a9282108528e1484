//! What a watcher is told, parsed and checked.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::{Error, Key, Kind, Pattern, Schedule};

/// What happens to a file once the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// It is deleted.
    Delete,
    /// It is moved below this folder.
    Move(PathBuf),
    /// It stays, and a ledger remembers that it was sent.
    Keep,
}

/// All that a watcher is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that is watched.
    pub folder: PathBuf,
    /// The ingest endpoint of the account: `https://host/v2/ingest/{account}`.
    pub to: Url,
    /// What it proves itself with.
    pub key: Key,
    /// What the files are.
    pub kind: Kind,
    /// The mailbox of voicemail files.
    pub mailbox: Option<String>,
    /// What happens to a file once the store has it.
    pub after: After,
    /// How long a file must have stood still.
    pub settle: Duration,
    /// The pause between two looks at the folder.
    pub interval: Duration,
    /// Whether folders below the folder are watched, too.
    pub recursive: bool,
    /// Whether it ends when everything that was there is done.
    pub once: bool,
    /// Whether a progress bar is drawn.
    pub progress: bool,
    /// How many files are sent at the same time.
    pub concurrency: usize,
    /// How metadata is read from file names.
    pub pattern: Option<Pattern>,
    /// Whether files whose names do not match the pattern are left alone.
    pub only_matching: bool,
    /// Whether a file waits until its sidecar is there.
    pub require_sidecar: bool,
    /// Query parameters for every file.
    pub parameters: Vec<(String, String)>,
    /// Asterisk: the voicemail contexts that are watched; all, when empty.
    pub contexts: Vec<String>,
    /// Asterisk: the folders of a mailbox that are watched.
    pub mailbox_folders: Vec<String>,
    /// Where lock and ledger are kept. By default `.stowline-spool` in the folder.
    pub state: Option<PathBuf>,
    /// How failures are waited out.
    pub backoff: Schedule,
    /// How long a transfer may stand still.
    pub stall: Duration,
    /// Certificate authorities beside the system's, as PEM.
    pub certificates: Option<PathBuf>,
}

impl Settings {
    /// The usual settings for a folder.
    pub fn new(folder: impl Into<PathBuf>, to: Url, key: Key, kind: Kind) -> Self {
        Self {
            folder: folder.into(),
            to,
            key,
            kind,
            mailbox: None,
            after: if kind == Kind::AsteriskVoicemail { After::Keep } else { After::Delete },
            settle: Duration::from_secs(2),
            interval: Duration::from_secs(1),
            recursive: false,
            once: false,
            progress: false,
            concurrency: 4,
            pattern: None,
            only_matching: false,
            require_sidecar: false,
            parameters: Vec::new(),
            contexts: Vec::new(),
            mailbox_folders: ["INBOX", "Urgent", "Old"].map(str::to_owned).into(),
            state: None,
            backoff: Schedule { min: Duration::from_secs(1), max: Duration::from_secs(60) },
            stall: Duration::from_secs(60),
            certificates: None,
        }
    }

    /// Whether the settings fit together.
    ///
    /// # Errors
    /// [`Error::Unfit`] with what does not.
    pub fn check(&self) -> Result<(), Error> {
        let unfit = |text: &str| Err(Error::Unfit(text.to_owned()));
        if !matches!(self.to.scheme(), "http" | "https") || self.to.cannot_be_a_base() {
            return unfit("--to is no http or https URL");
        }
        if !self.to.username().is_empty() || self.to.password().is_some() || self.to.query().is_some() {
            return unfit("--to must hold no key, no user and no query, since everybody can read it: use --key-file");
        }
        if self.concurrency == 0 {
            return unfit("--concurrency must be at least 1");
        }
        if self.only_matching && self.pattern.is_none() {
            return unfit("--only-matching needs --name-pattern");
        }
        if self.state.is_some() && self.after != After::Keep {
            return unfit("--state is for --after keep: otherwise all state is in the folder");
        }
        if self.backoff.min.is_zero() || self.backoff.min > self.backoff.max {
            return unfit("the shortest back-off must be above zero and at most the longest");
        }
        let named = self.pattern.as_ref().is_some_and(|pattern| pattern.names("mailbox"));
        if self.kind == Kind::Voicemail && self.mailbox.is_none() && !self.recursive && !named {
            return unfit(
                "whose voicemail is it? Give --mailbox, or --recursive for one folder a mailbox, \
                 or a --name-pattern with {mailbox}",
            );
        }
        if self.kind != Kind::Voicemail && self.mailbox.is_some() {
            return unfit("--mailbox is for --kind voicemail");
        }
        if self.kind != Kind::AsteriskVoicemail && !self.contexts.is_empty() {
            return unfit("--context is for --kind asterisk-voicemail");
        }
        Ok(())
    }
}
