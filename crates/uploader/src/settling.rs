//! Which files have stood still long enough.
//!
//! Two looks, at least `settle` apart, must find the same footprints. Clocks of file systems are not asked: only ours is. The table is
//! bounded, so that a folder with a million files needs no more memory than one with a few thousand: the rest is seen when these are gone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::folder::Item;
use crate::footprint::Footprint;

/// So many files are watched at a time.
pub(crate) const WINDOW: usize = 4096;

/// What a look at an item found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not been watched for long enough.
    New,
    /// It changed since the last look.
    Changed,
    /// It has stood still.
    Still,
    /// Too many others are watched now.
    Later,
}

/// The items that are watched.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    watched: HashMap<PathBuf, Watched>,
    round: u64,
}

#[derive(Debug)]
struct Watched {
    footprints: Vec<Footprint>,
    since: Instant,
    round: u64,
}

impl Settling {
    /// Begins a look at the whole folder.
    pub(crate) fn begin(&mut self) {
        self.round += 1;
    }

    /// Looks at one item.
    pub(crate) fn look(&mut self, item: &Item, now: Instant, settle: Duration) -> Standing {
        let round = self.round;
        let footprints = item.footprints();
        let Some(watched) = self.watched.get_mut(item.name()) else {
            if settle.is_zero() {
                return Standing::Still;
            }
            if self.watched.len() >= WINDOW {
                return Standing::Later;
            }
            self.watched.insert(item.name().to_owned(), Watched { footprints, since: now, round });
            return Standing::New;
        };
        watched.round = round;
        if watched.footprints != footprints {
            (watched.footprints, watched.since) = (footprints, now);
            return Standing::Changed;
        }
        if now.duration_since(watched.since) < settle { Standing::New } else { Standing::Still }
    }

    /// The item still moves, although its footprint does not show it.
    pub(crate) fn restart(&mut self, name: &Path, now: Instant) {
        if let Some(watched) = self.watched.get_mut(name) {
            watched.since = now;
        }
    }

    /// The item is somebody else's business now.
    pub(crate) fn forget(&mut self, name: &Path) {
        self.watched.remove(name);
    }

    /// Ends a look at the whole folder: what was not met is gone.
    pub(crate) fn end(&mut self) {
        let round = self.round;
        self.watched.retain(|_, watched| watched.round == round);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::look;

    const SETTLE: Duration = Duration::from_secs(2);

    #[test]
    fn a_file_is_still_when_two_looks_far_enough_apart_agree() {
        let folder = tempfile::tempdir().unwrap();
        let item = |text: &str| {
            std::fs::write(folder.path().join("a"), text).unwrap();
            Item { main: look(folder.path(), "a".into()).unwrap(), others: vec![] }
        };
        let (short, long) = (item("speech"), item("speech that goes on"));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut settling = Settling::default();
        assert_eq!(settling.look(&short, start, SETTLE), Standing::New);
        assert_eq!(settling.look(&short, after(1), SETTLE), Standing::New);
        assert_eq!(settling.look(&long, after(2), SETTLE), Standing::Changed);
        assert_eq!(settling.look(&long, after(3), SETTLE), Standing::New);
        assert_eq!(settling.look(&long, after(4), SETTLE), Standing::Still);
        settling.restart(long.name(), after(4));
        assert_eq!(settling.look(&long, after(5), SETTLE), Standing::New);
        settling.begin();
        settling.end();
        assert!(settling.watched.is_empty(), "what is gone is forgotten");
        assert_eq!(settling.look(&long, after(60), SETTLE), Standing::New, "and begins anew");
        assert_eq!(Settling::default().look(&long, start, Duration::ZERO), Standing::Still);
    }

    #[test]
    fn the_table_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "x").unwrap();
        let mut found = look(folder.path(), "a".into()).unwrap();
        let mut settling = Settling::default();
        for number in 0..=WINDOW {
            found.path = number.to_string().into();
            let standing = settling.look(&Item { main: found.clone(), others: vec![] }, Instant::now(), SETTLE);
            assert_eq!(standing == Standing::Later, number == WINDOW);
        }
    }
}
