//! Twenty milliseconds, again and again: the step in which voices are sent, and the time that passes on a call.
//!
//! A beat that comes late is made up for, so that no second has fewer than fifty. A machine that stood still (a laptop that was closed, a
//! virtual machine that moved) makes up for nothing: for the call, that time has not been.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use voice::player::INTERVAL;

/// Later than this is no delay but a standstill.
const STANDSTILL: Duration = Duration::from_millis(500);

/// Beats, and the time that passes with them.
#[derive(Debug)]
pub(super) struct Beat {
    began: Instant,
    next: Instant,
    /// Time that did not count: standstills and holds.
    lost: Duration,
    held_since: Option<Instant>,
}

impl Beat {
    pub(super) fn new() -> Self {
        let began = Instant::now();
        Self { began, next: began + INTERVAL, lost: Duration::ZERO, held_since: None }
    }

    /// Waits for the next beat. Cancel-safe.
    pub(super) async fn wait(&mut self) {
        sleep_until(self.next).await;
        self.came(Instant::now());
    }

    fn came(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.next);
        if late > STANDSTILL {
            self.next = now;
            // A hold keeps its own account.
            if self.held_since.is_none() {
                self.lost += late;
            }
        }
        self.next += INTERVAL;
    }

    /// Time stands still while the call is held.
    pub(super) fn hold(&mut self, held: bool) {
        self.hold_at(Instant::now(), held);
    }

    fn hold_at(&mut self, now: Instant, held: bool) {
        match (held, self.held_since) {
            (true, None) => self.held_since = Some(now),
            (false, Some(since)) => {
                self.lost += now.saturating_duration_since(since);
                self.held_since = None;
            }
            _ => {}
        }
    }

    /// How long the call has been held by now.
    pub(super) fn held(&self) -> Duration {
        self.held_at(Instant::now())
    }

    fn held_at(&self, now: Instant) -> Duration {
        self.held_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default()
    }

    /// How long the call has lasted, without holds and standstills.
    pub(super) fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Duration {
        // Between the end of a standstill and the beat that notices it, packets may come: they came just before it.
        let now = if self.held_since.is_none() { now.min(self.next + STANDSTILL) } else { now };
        now.saturating_duration_since(self.began).saturating_sub(self.lost + self.held_at(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_stands_still_on_hold() {
        let mut beat = Beat::new();
        let began = beat.began;
        beat.next = began + 3 * SECOND;
        beat.hold_at(began + 3 * SECOND, true);
        beat.hold_at(began + 63 * SECOND, true);
        assert_eq!(beat.at(began + 63 * SECOND), 3 * SECOND);
        assert_eq!(beat.held_at(began + 63 * SECOND), 60 * SECOND);
        beat.hold_at(began + 64 * SECOND, false);
        beat.next = began + 66 * SECOND;
        assert_eq!(beat.at(began + 66 * SECOND), 5 * SECOND);
        assert_eq!(beat.held_at(began + 66 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_delay_is_made_up_for_and_a_standstill_is_not() {
        let mut beat = Beat::new();
        let began = beat.began;
        beat.came(began + 10 * INTERVAL);
        assert_eq!(beat.next, began + 2 * INTERVAL, "the beats in between are due");
        beat.next = began + SECOND;
        let resumed = began + 20 * SECOND;
        assert!(beat.at(resumed) < 2 * SECOND, "a packet that comes first");
        beat.came(resumed);
        assert_eq!((beat.next, beat.at(resumed)), (resumed + INTERVAL, SECOND));
        assert_eq!(beat.at(resumed + INTERVAL), SECOND + INTERVAL);
    }
}
