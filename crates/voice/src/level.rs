//! How loud it is, and for how long nothing was said.
//!
//! Loudness is counted in decibels below the loudest square wave there is (dBov): 0 is that wave, a voice on a telephone is −20 to −35, a
//! quiet line is below −50. [`Silence`] looks at frames of 20 ms.

use std::time::Duration;

/// What samples without any sound have.
pub const QUIETEST: f32 = -127.0;

/// The level of some samples in dBov, from [`QUIETEST`] to 0.
#[must_use]
pub fn dbov(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return QUIETEST;
    }
    let energy: f64 = samples.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum();
    let mean = energy / samples.len() as f64;
    if mean <= 0.0 {
        return QUIETEST;
    }
    ((10.0 * (mean / (32_768.0 * 32_768.0)).log10()) as f32).max(QUIETEST)
}

/// What counts as silence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SilenceLimits {
    /// Frames below this level, in dBov, are silent.
    pub threshold: f32,
    /// Sound shorter than this is a click on the line and does not interrupt a silence.
    pub click: Duration,
    /// A pause this long after somebody has spoken ends the message.
    pub after_speech: Duration,
    /// So long may it take until somebody speaks.
    pub before_speech: Duration,
}

impl Default for SilenceLimits {
    fn default() -> Self {
        Self {
            threshold: -45.0,
            click: Duration::from_millis(60),
            after_speech: Duration::from_secs(5),
            before_speech: Duration::from_secs(10),
        }
    }
}

/// Follows a stream of samples and knows how long it has been silent.
#[derive(Debug)]
pub struct Silence {
    limits: SilenceLimits,
    rate: u32,
    frame: usize,
    energy: f64,
    filled: usize,
    floor: f64,
    /// Silent samples since speech, clicks included.
    silent: u64,
    /// Loud samples in a row, not yet enough to be speech.
    loud: u64,
    spoken: bool,
}

impl Silence {
    /// For samples that come so many a second.
    #[must_use]
    pub fn new(limits: SilenceLimits, rate: u32) -> Self {
        let floor = 10_f64.powf(f64::from(limits.threshold) / 10.0) * 32_768.0 * 32_768.0;
        let frame = (rate / 50).max(1) as usize;
        Self { limits, rate: rate.max(1), frame, energy: 0.0, filled: 0, floor, silent: 0, loud: 0, spoken: false }
    }

    /// Hears the samples that follow. The number of them after which the limit was reached, if it was: what follows is none of the message.
    pub fn feed(&mut self, samples: &[i16]) -> Option<usize> {
        let mut heard = 0;
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.frame - self.filled));
            self.energy += now.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum::<f64>();
            self.filled += now.len();
            heard += now.len();
            rest = later;
            if self.filled == self.frame {
                self.judge();
                if self.is_over(Duration::ZERO) {
                    return Some(heard);
                }
            }
        }
        None
    }

    fn judge(&mut self) {
        let frame = self.frame as u64;
        let loud = self.energy / self.frame as f64 >= self.floor;
        (self.energy, self.filled) = (0.0, 0);
        self.silent += frame;
        self.loud = if loud { self.loud + frame } else { 0 };
        if loud && self.time(self.loud) >= self.limits.click {
            self.spoken = true;
            self.silent = 0;
        }
    }

    fn time(&self, samples: u64) -> Duration {
        Duration::from_nanos(samples.saturating_mul(1_000_000_000) / u64::from(self.rate))
    }

    /// How long it has been silent.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.time(self.silent)
    }

    /// Whether anybody has spoken.
    #[must_use]
    pub fn has_spoken(&self) -> bool {
        self.spoken
    }

    /// Whether the limit is reached when nothing at all has come for `since` after the last sample.
    #[must_use]
    pub fn is_over(&self, since: Duration) -> bool {
        let limit = if self.spoken { self.limits.after_speech } else { self.limits.before_speech };
        self.lasts() + since >= limit
    }
}
