//! What is told: a line for each thing that happens, a sum every minute, and a bar where somebody watches.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::folder::Item;

/// How often a sum is told while there is something to tell.
const EVERY: Duration = Duration::from_secs(60);

/// What became of the files so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Uploaded.
    pub uploaded: u64,
    /// Bytes of what was uploaded.
    pub bytes: u64,
    /// Found in the ledger: uploaded earlier.
    pub known: u64,
    /// Set aside because the store will not have them.
    pub refused: u64,
    /// Still there when a single run ended: they failed or were still written to.
    pub left: u64,
}

/// The teller.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) tally: Tally,
    told: Tally,
    next: Instant,
    bar: Option<ProgressBar>,
}

impl Report {
    pub(crate) fn new(progress: bool) -> Self {
        let bar = progress.then(|| {
            let bar = ProgressBar::new(0);
            let style = "{spinner} {pos} of {len} files {wide_bar} {msg} {eta}";
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { tally: Tally::default(), told: Tally::default(), next: Instant::now() + EVERY, bar }
    }

    pub(crate) fn uploaded(&mut self, item: &Item, document: Option<&str>, took: Duration) {
        self.tally.uploaded += 1;
        self.tally.bytes += item.main.footprint.size;
        let (bytes, duration_ms) = (item.main.footprint.size, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        tracing::info!(file = %item.name().display(), bytes, document, duration_ms, "uploaded");
        self.advance();
    }

    pub(crate) fn known(&mut self, item: &Item) {
        self.tally.known += 1;
        tracing::debug!(file = %item.name().display(), "was uploaded earlier");
        self.advance();
    }

    pub(crate) fn refused(&mut self, item: &Item, reason: &str, aside: bool) {
        self.tally.refused += 1;
        let place = if aside { "in .refused" } else { "where it was" };
        tracing::error!(file = %item.name().display(), reason, place, "refused: it will not be tried again as it is");
        self.advance();
    }

    /// So many files are still to do. Tells a sum from time to time while any wait, or something happened since.
    pub(crate) fn pending(&mut self, pending: usize, troubled: usize, now: Instant) {
        if let Some(bar) = &self.bar {
            bar.set_length(self.done() + pending as u64);
            bar.set_message(if troubled == 0 { String::new() } else { format!("{troubled} waiting after a failure") });
            bar.tick();
        }
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        if self.tally != self.told || pending > 0 {
            let Tally { uploaded, bytes, refused, .. } = self.tally;
            tracing::info!(pending, troubled, uploaded, bytes, refused, "so far");
            self.told = self.tally;
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let Tally { uploaded, bytes, known, refused, left } = self.tally;
        tracing::info!(uploaded, bytes, known, refused, left, "the watcher ends");
    }

    fn done(&self) -> u64 {
        self.tally.uploaded + self.tally.known + self.tally.refused
    }

    fn advance(&self) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.done());
        }
    }
}
