//! The two clocks of this crate.
//!
//! Schedules are written down in wall time, because they outlive the process. Everything that a running process waits for is measured by
//! the monotonic clock, so that a wall clock that is set (or was wrong) delays nothing.

use std::fmt;
use std::time::SystemTime;

use tokio::time::Instant;

/// Tells the time, twice.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day, for what is written down.
    fn wall(&self) -> SystemTime;
    /// The time since something, for what is waited for. Never goes back.
    fn now(&self) -> Instant;
}

/// The clocks of the machine; the monotonic one is tokio's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Milliseconds since 1970; times before are zero.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
