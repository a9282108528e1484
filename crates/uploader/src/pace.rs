//! How failures are waited out.
//!
//! A file that failed waits by itself, longer each time, and others go on. When the store as a whole is to blame (it is down, it is busy, it
//! does not know the key) all wait, and then a single file tries the way for the others. Several odd answers in a row, each for another
//! file, count as the store's fault, too. Nothing is ever given up here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than this a store cannot make us wait, whatever its `Retry-After` says.
const LONGEST_ADVICE: Duration = Duration::from_secs(3600);
/// So many files in a row that fail for their own reasons are no coincidence.
const COINCIDENCES: u32 = 5;

/// From where to where waiting grows: it doubles with each failure.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// After the first failure.
    pub min: Duration,
    /// After many.
    pub max: Duration,
}

impl Schedule {
    /// The wait after so many failures in a row. `chance`, from 0 to 1, spreads watchers that failed together over half of it.
    fn wait(&self, failures: u32, advice: Option<Duration>, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let edge = self.min.saturating_mul(1 << doublings).min(self.max);
        let wait = edge.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        advice.map_or(wait, |advice| advice.min(LONGEST_ADVICE).max(wait))
    }
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    failures: u32,
    until: Instant,
}

/// Who waits until when.
#[derive(Debug)]
pub(crate) struct Pace {
    schedule: Schedule,
    all: Option<Wait>,
    /// When the last pause of all began.
    paused: Instant,
    files: HashMap<PathBuf, Wait>,
    odd: u32,
}

impl Pace {
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self { schedule, all: None, paused: Instant::now(), files: HashMap::new(), odd: 0 }
    }

    /// Whether a file may be sent now, while so many are on their way.
    pub(crate) fn open(&self, now: Instant, running: usize) -> bool {
        self.all.is_none_or(|wait| now >= wait.until && running == 0)
    }

    /// When all may go on, where they wait.
    pub(crate) fn opens(&self) -> Option<Instant> {
        self.all.map(|wait| wait.until)
    }

    /// How often in a row the store itself failed.
    pub(crate) fn failures(&self) -> u32 {
        self.all.map_or(0, |wait| wait.failures)
    }

    /// Whether this file waits.
    pub(crate) fn waits(&self, name: &Path, now: Instant) -> bool {
        self.files.get(name).is_some_and(|wait| now < wait.until)
    }

    /// How often this file failed in a row.
    pub(crate) fn failures_of(&self, name: &Path) -> u32 {
        self.files.get(name).map_or(0, |wait| wait.failures)
    }

    /// How many files have failed and not succeeded since.
    pub(crate) fn troubled(&self) -> usize {
        self.files.len()
    }

    /// The file failed for a reason of its own. Gives how long it waits.
    pub(crate) fn file_failed(&mut self, name: &Path, now: Instant, advice: Option<Duration>) -> Duration {
        let failures = self.failures_of(name).saturating_add(1);
        // The same file again says nothing new about the others.
        if failures == 1 {
            self.odd += 1;
        }
        if self.odd >= COINCIDENCES {
            self.odd = 0;
            self.hold(now, None);
        }
        self.put_off(name, failures, now, advice)
    }

    /// The file arrived but cannot be let go. Gives how long it waits.
    pub(crate) fn stuck(&mut self, name: &Path, now: Instant) -> Duration {
        self.put_off(name, self.failures_of(name).saturating_add(1), now, None)
    }

    /// The store failed when it was this file's turn, which began at `since`. Gives how long all wait.
    pub(crate) fn all_failed(&mut self, name: &Path, since: Instant, advice: Option<Duration>) -> Duration {
        let now = Instant::now().max(since);
        self.put_off(name, self.failures_of(name).saturating_add(1), now, None);
        // What was out when the store was found failing says the same once more.
        match self.all {
            Some(wait) if since < self.paused && advice.is_none() => wait.until.saturating_duration_since(now),
            _ => self.hold(now, advice),
        }
    }

    /// The file arrived: the store is well.
    pub(crate) fn succeeded(&mut self, name: &Path) {
        self.files.remove(name);
        self.store_answers();
    }

    /// The store gave a clear answer, be it a refusal.
    pub(crate) fn store_answers(&mut self) {
        self.all = None;
        self.odd = 0;
    }

    /// The file is no longer there.
    pub(crate) fn forget(&mut self, name: &Path) {
        self.files.remove(name);
    }

    /// Forgets files that were due long ago and did not come: they were taken away.
    pub(crate) fn tidy(&mut self, now: Instant) {
        let grace = self.schedule.max * 4;
        self.files.retain(|_, wait| now < wait.until + grace);
    }

    fn put_off(&mut self, name: &Path, failures: u32, now: Instant, advice: Option<Duration>) -> Duration {
        let wait = self.schedule.wait(failures, advice, rand::random());
        self.files.insert(name.to_owned(), Wait { failures, until: now + wait });
        wait
    }

    fn hold(&mut self, now: Instant, advice: Option<Duration>) -> Duration {
        let failures = self.failures().saturating_add(1);
        let wait = self.schedule.wait(failures, advice, rand::random());
        self.all = Some(Wait { failures, until: now + wait });
        self.paused = now;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { min: Duration::from_secs(1), max: Duration::from_secs(60) };

    #[test]
    fn waits_double_and_end_and_believe_advice() {
        let waits: Vec<u64> =
            [1, 2, 3, 7, 40, u32::MAX].iter().map(|&n| SCHEDULE.wait(n, None, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 60, 60, 60]);
        assert_eq!(SCHEDULE.wait(3, None, 0.0), Duration::from_secs(2));
        assert_eq!(SCHEDULE.wait(1, Some(Duration::from_secs(90)), 0.5), Duration::from_secs(90));
        assert_eq!(SCHEDULE.wait(1, Some(Duration::MAX), 0.5), LONGEST_ADVICE);
        assert_eq!(SCHEDULE.wait(3, Some(Duration::ZERO), 1.0), Duration::from_secs(4));
    }

    #[test]
    fn one_bad_file_holds_nobody_up() {
        let (mut pace, now) = (Pace::new(SCHEDULE), Instant::now());
        for _ in 0..100 {
            pace.file_failed(Path::new("bad"), now, None);
        }
        assert!(pace.open(now, 3) && pace.waits(Path::new("bad"), now) && !pace.waits(Path::new("good"), now));
    }

    #[test]
    fn an_outage_holds_all_and_one_file_tries_the_way() {
        let (mut pace, now) = (Pace::new(SCHEDULE), Instant::now());
        let wait = pace.all_failed(Path::new("a"), now, Some(Duration::from_secs(30)));
        assert_eq!(wait, Duration::from_secs(30));
        assert!(!pace.open(now, 0));
        let then = pace.opens().unwrap();
        assert!(pace.open(then, 0) && !pace.open(then, 1));
        pace.all_failed(Path::new("c"), now, None);
        assert_eq!((pace.failures(), pace.opens()), (1, Some(then)), "it was out when the store failed");
        assert!(pace.waits(Path::new("a"), now) && !pace.waits(Path::new("b"), now), "another one tries the way");
        pace.succeeded(Path::new("b"));
        assert!(pace.open(now, 3));
    }

    #[test]
    fn many_odd_answers_in_a_row_are_the_stores_fault() {
        let (mut pace, now) = (Pace::new(SCHEDULE), Instant::now());
        for number in 1..COINCIDENCES {
            pace.file_failed(Path::new(&number.to_string()), now, None);
            assert!(pace.open(now, 1));
        }
        pace.store_answers();
        pace.file_failed(Path::new("x"), now, None);
        assert!(pace.open(now, 1), "a clear answer in between begins anew");
        for number in 1..COINCIDENCES {
            pace.file_failed(Path::new(&format!("y{number}")), now, None);
        }
        assert!(!pace.open(now, 0));
    }
}
