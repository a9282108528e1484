//! When a failed job is tried again: a pure function of what is known.
//!
//! Waits double from `min` to `max`, with *full jitter*: the wait is drawn between nothing and that edge, so that what failed together
//! does not come back together. A destination that says when to come back (`Retry-After`) is believed, up to `max`: nobody is told by a
//! stranger to wait for a year.

use std::time::Duration;

/// The waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The edge after the first failure.
    pub min: Duration,
    /// The longest wait of all.
    pub max: Duration,
}

impl Schedule {
    /// The longest wait after so many failures in a row.
    pub fn edge(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }

    /// The wait after so many failures in a row. `after` is what the destination asked for; `chance` is drawn from 0 (included) to 1.
    pub fn wait(&self, failures: u32, after: Option<Duration>, chance: f64) -> Duration {
        match after {
            None => self.edge(failures).mul_f64(chance.clamp(0.0, 1.0)).max(self.least()),
            // Not before it was asked for, and then not all at once.
            Some(after) => after.saturating_add(self.min.mul_f64(chance.clamp(0.0, 1.0))).min(self.max),
        }
    }

    /// Full jitter may draw nothing at all: a failure that comes at once would then be tried in a circle.
    fn least(&self) -> Duration {
        (self.min / 20).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { min: Duration::from_secs(2), max: Duration::from_secs(900) };

    #[test]
    fn edges_double_up_to_the_longest() {
        let edges: Vec<u64> = [0, 1, 2, 3, 9, 10, 40, u32::MAX].iter().map(|&n| SCHEDULE.edge(n).as_secs()).collect();
        assert_eq!(edges, [2, 2, 4, 8, 512, 900, 900, 900]);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(SCHEDULE.wait(3, None, 0.5), Duration::from_secs(4));
        assert_eq!(SCHEDULE.wait(3, None, 0.0), Duration::from_millis(100));
        assert!(SCHEDULE.wait(50, None, 0.999) <= SCHEDULE.max);
    }

    #[test]
    fn retry_after_is_believed_up_to_the_longest_wait() {
        let asked = |seconds| SCHEDULE.wait(1, Some(Duration::from_secs(seconds)), 0.5).as_secs();
        assert_eq!((asked(0), asked(30), asked(900), asked(u64::MAX)), (1, 31, 900, 900));
    }

    #[test]
    fn a_chance_out_of_range_does_no_harm() {
        assert_eq!(SCHEDULE.wait(1, None, 7.0), Duration::from_secs(2));
        assert_eq!(SCHEDULE.wait(1, None, -7.0), Duration::from_millis(100));
    }
}
