//! From one rate to another: a windowed sinc, cut at the lower of the two bandwidths.
//!
//! For rates of telephony (8, 16, 48 kHz, and the 11.025, 22.05 and 44.1 kHz that files have). One table of the filter is made for each pair
//! of rates; a sample costs a few dozen multiplications.

use std::f64::consts::PI;

/// Zero crossings of the sinc on each side, at the lower of the two rates.
const CROSSINGS: u32 = 16;
/// The share of the bandwidth that is kept; the rest is where the filter falls.
const KEPT: f64 = 0.93;

/// Brings a stream of samples from one rate to another. Between two rates that are the same it changes nothing.
#[derive(Debug, Clone)]
pub struct Resampler {
    /// In lowest terms: so many samples come for so many that go.
    from: u64,
    to: u64,
    /// One row a phase, `2 * reach` taps each.
    taps: Vec<f32>,
    reach: usize,
    /// Samples that may still be needed; the first stands at `origin` of the incoming stream.
    kept: Vec<f32>,
    origin: u64,
    /// How many went out.
    made: u64,
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

impl Resampler {
    /// From so many samples a second to so many.
    #[must_use]
    pub fn new(from: u32, to: u32) -> Self {
        let (from, to) = (u64::from(from.max(1)), u64::from(to.max(1)));
        let common = divisor(from, to);
        let (from, to) = (from / common, to / common);
        let ratio = (to as f64 / from as f64).min(1.0);
        let reach = (f64::from(CROSSINGS) / ratio).ceil() as usize;
        let taps = if from == to { Vec::new() } else { filter(to, ratio * KEPT, reach) };
        // What was before the beginning is silence.
        Self { from, to, taps, reach, kept: vec![0.0; reach], origin: 0, made: 0 }
    }

    /// Appends what can be made of the samples that follow; the last few wait for the next.
    pub fn feed(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        if self.from == self.to {
            out.extend_from_slice(samples);
            return;
        }
        self.kept.extend(samples.iter().map(|&sample| f32::from(sample)));
        loop {
            let position = self.made * self.from / self.to;
            let phase = (self.made * self.from % self.to) as usize;
            // `kept[0]` is `reach` samples before `origin`.
            let first = (position - self.origin) as usize + 1;
            let Some(window) = self.kept.get(first..first + 2 * self.reach) else { break };
            let row = &self.taps[phase * 2 * self.reach..][..2 * self.reach];
            let sum: f32 = window.iter().zip(row).map(|(sample, tap)| sample * tap).sum();
            out.push(sum.round().clamp(-32_768.0, 32_767.0) as i16);
            self.made += 1;
        }
        let done = ((self.made * self.from / self.to - self.origin) as usize).min(self.kept.len());
        self.kept.drain(..done);
        self.origin += done as u64;
    }

    /// Appends what was still waiting.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        if self.from == self.to {
            return;
        }
        let came = self.origin + (self.kept.len() - self.reach) as u64;
        let wanted = (came * self.to).div_ceil(self.from);
        let before = out.len() as u64;
        let missing = wanted.saturating_sub(self.made);
        self.feed(&vec![0; self.reach + 1], out);
        out.truncate(usize::try_from(before + missing).unwrap_or(usize::MAX));
    }
}

/// The filter in all its phases: row `p` is for a sample that lies `p / phases` after an incoming one.
fn filter(phases: u64, cutoff: f64, reach: usize) -> Vec<f32> {
    let mut taps = Vec::with_capacity(phases as usize * 2 * reach);
    for phase in 0..phases {
        let shift = phase as f64 / phases as f64;
        let row: Vec<f64> = (0..2 * reach)
            .map(|tap| {
                let distance = tap as f64 + 1.0 - reach as f64 - shift;
                sinc(distance * cutoff) * window(distance / reach as f64)
            })
            .collect();
        // A constant stays what it is.
        let sum: f64 = row.iter().sum();
        taps.extend(row.iter().map(|tap| (tap / sum) as f32));
    }
    taps
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Blackman's, from −1 to 1.
fn window(x: f64) -> f64 {
    if x.abs() >= 1.0 { 0.0 } else { 0.42 + 0.5 * (PI * x).cos() + 0.08 * (2.0 * PI * x).cos() }
}

/// A whole recording at another rate.
#[must_use]
pub fn resampled(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    let mut out = Vec::with_capacity(samples.len() * to as usize / from.max(1) as usize + 1);
    let mut resampler = Resampler::new(from, to);
    resampler.feed(samples, &mut out);
    resampler.finish(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{level, tone};

    const RATES: [u32; 6] = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000];

    fn second(rate: u32, frequency: f64) -> Vec<i16> {
        tone::sine(rate, frequency, -20.0, Duration::from_secs(1)).samples().to_vec()
    }

    /// Without the edges of the tone.
    fn middle(samples: &[i16]) -> &[i16] {
        &samples[samples.len() / 8..samples.len() * 7 / 8]
    }

    #[test]
    fn a_tone_keeps_its_frequency_and_its_level() {
        for from in RATES {
            for to in RATES {
                for frequency in [200.0, 1_000.0, 3_000.0] {
                    let out = resampled(&second(from, frequency), from, to);
                    assert_eq!(out.len(), to as usize, "{from} to {to}");
                    let (heard, level) = (tone::frequency(to, middle(&out)), level::dbov(middle(&out)));
                    assert!((heard - frequency).abs() < 1.0, "{from} to {to}: {frequency} became {heard}");
                    assert!((level + 20.0).abs() < 0.2, "{from} to {to}: {frequency} at {level}");
                }
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        for (from, to, frequency) in
            [(16_000, 8_000, 4_500.0), (48_000, 16_000, 9_000.0), (48_000, 8_000, 7_000.0), (44_100, 8_000, 20_000.0)]
        {
            let level = level::dbov(middle(&resampled(&second(from, frequency), from, to)));
            assert!(level < -70.0, "{frequency} from {from} to {to}: {level}");
        }
    }

    #[test]
    fn a_higher_rate_adds_nothing() {
        // The mirror of 3,000 Hz at 8 kHz is at 5,000.
        let out = resampled(&second(8_000, 3_000.0), 8_000, 16_000);
        let kept = resampled(&resampled(&out, 16_000, 8_000), 8_000, 16_000);
        let rest: Vec<i16> = out.iter().zip(&kept).map(|(all, low)| all - low).collect();
        assert!(level::dbov(middle(&rest)) < -70.0, "{}", level::dbov(middle(&rest)));
    }

    #[test]
    fn a_constant_stays_one() {
        for (from, to) in [(8_000, 16_000), (16_000, 8_000), (44_100, 8_000)] {
            let out = resampled(&[12_345; 4_000], from, to);
            assert!(middle(&out).iter().all(|sample| sample.abs_diff(12_345) <= 1));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn pieces_make_the_same_as_the_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<i16>(), 0..300), 0..12), from in 0..6_usize, to in 0..6_usize,
        ) {
            let (from, to) = (RATES[from], RATES[to]);
            let (mut resampler, mut out) = (Resampler::new(from, to), Vec::new());
            pieces.iter().for_each(|piece| resampler.feed(piece, &mut out));
            resampler.finish(&mut out);
            let whole = pieces.concat();
            prop_assert_eq!(out.len() as u64, (whole.len() as u64 * u64::from(to)).div_ceil(u64::from(from)));
            prop_assert_eq!(out, resampled(&whole, from, to));
        }

        #[test]
        fn the_same_rate_changes_nothing(samples: Vec<i16>) {
            prop_assert_eq!(resampled(&samples, 8_000, 8_000), samples);
        }
    }
}
