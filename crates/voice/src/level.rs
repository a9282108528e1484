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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn word(milliseconds: u64) -> Vec<i16> {
        tone::sine(8_000, 500.0, -20.0, ms(milliseconds)).samples().to_vec()
    }

    fn quiet(milliseconds: usize) -> Vec<i16> {
        // The noise of a line, at -60.
        (0..milliseconds * 8).map(|at| if at % 2 == 0 { 33 } else { -33 }).collect()
    }

    const LIMITS: SilenceLimits =
        SilenceLimits { threshold: -45.0, click: ms(60), after_speech: ms(1_000), before_speech: ms(2_000) };

    #[test]
    fn levels_are_those_of_known_waves() {
        let square: Vec<i16> = (0..160).map(|at| if at < 80 { i16::MIN } else { i16::MAX }).collect();
        assert!(dbov(&square).abs() < 0.01);
        assert!((dbov(tone::sine(8_000, 400.0, -20.0, ms(1_000)).samples()) + 20.0).abs() < 0.1);
        assert!((dbov(&quiet(20)) + 60.0).abs() < 0.1);
        assert_eq!((dbov(&[0; 160]), dbov(&[])), (QUIETEST, QUIETEST));
    }

    #[test]
    fn it_is_over_at_the_sample_where_the_limit_is() {
        let said = [word(500), quiet(5_000)].concat();
        // Whatever the pieces it comes in.
        for piece in [1, 7, 160, 163, 5_000, 100_000] {
            let mut silence = Silence::new(LIMITS, 8_000);
            let mut at = 0;
            let over = said.chunks(piece).find_map(|piece| {
                let over = silence.feed(piece).map(|heard| at + heard);
                at += piece.len();
                over
            });
            assert_eq!(over, Some(1_500 * 8), "pieces of {piece}");
            assert!(silence.has_spoken());
        }
        let mut silence = Silence::new(LIMITS, 8_000);
        assert_eq!(silence.feed(&quiet(5_000)), Some(2_000 * 8));
        assert!(!silence.has_spoken());
    }

    #[test]
    fn a_click_is_no_word_and_a_word_is() {
        let mut silence = Silence::new(LIMITS, 8_000);
        assert_eq!(silence.feed(&[word(500), quiet(600), word(40), quiet(5_000)].concat()), Some(1_500 * 8));
        let mut silence = Silence::new(LIMITS, 8_000);
        assert_eq!(silence.feed(&[word(500), quiet(600), word(80), quiet(5_000)].concat()), Some(2_180 * 8));
    }

    #[test]
    fn a_pause_without_packets_counts() {
        let mut silence = Silence::new(LIMITS, 8_000);
        assert!(!silence.is_over(ms(1_999)) && silence.is_over(ms(2_000)));
        silence.feed(&[word(500), quiet(400)].concat());
        assert_eq!(silence.lasts(), ms(400));
        assert!(!silence.is_over(ms(599)) && silence.is_over(ms(600)));
    }
}
