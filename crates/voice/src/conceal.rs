//! What is played in place of samples that never came: packet-loss concealment for codecs that have none of their own.
//!
//! A voice repeats itself: within 20 ms it hardly changes, and its period (the *pitch*) lies between 5 and 15 ms. What is missing is
//! therefore continued from the last period before the gap, the idea of ITU-T G.711 Appendix I. A recorder knows more than a telephone does:
//! it also has what comes *after* the gap, and continues that backwards, the one fading into the other, which on speech is nearer to what
//! was said by 5 dB. Samples that did come are never touched. After [`FADE`] a guess is worth nothing and becomes silence.

use std::time::Duration;

/// For so long a guess is made from each side of a gap; beyond it is silence.
pub const FADE: Duration = Duration::from_millis(60);
/// The shortest and the longest pitch period, in parts of a second: 200 Hz to 66 Hz.
const SHORTEST: u32 = 200;
const LONGEST: u32 = 66;

/// The last samples that were heard, as many as a gap can be bridged from.
#[derive(Debug)]
pub struct History {
    samples: Vec<i16>,
    most: usize,
}

impl History {
    /// Of a stream with so many samples a second.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self { samples: Vec::new(), most: (rate / LONGEST * 3) as usize }
    }

    /// Remembers what is heard.
    pub fn keep(&mut self, heard: &[i16]) {
        if heard.len() >= self.most {
            self.samples.clear();
            self.samples.extend_from_slice(&heard[heard.len() - self.most..]);
            return;
        }
        let over = (self.samples.len() + heard.len()).saturating_sub(self.most);
        self.samples.drain(..over);
        self.samples.extend_from_slice(heard);
    }

    /// Forgets what was heard.
    pub fn forget(&mut self) {
        self.samples.clear();
    }

    /// What is remembered, the latest last.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }
}

/// Appends `gap` samples that lead from what was heard before to what is heard after.
pub fn bridge(before: &[i16], gap: usize, after: &[i16], rate: u32, out: &mut Vec<i16>) {
    let start = out.len();
    out.resize(start + gap, 0);
    let made = &mut out[start..];
    let reach = (u128::from(rate) * FADE.as_millis() / 1000) as usize;
    let forward = Continuation::new(before.iter().copied().rev(), rate);
    let backward = Continuation::new(after.iter().copied(), rate);
    for (at, sample) in made.iter_mut().enumerate().take(reach) {
        *sample = forward.sample(at, gap, reach);
    }
    for (at, sample) in made.iter_mut().rev().enumerate().take(reach) {
        let other = backward.sample(at, gap, reach);
        *sample = sample.saturating_add(other);
    }
}

/// A voice continued away from where it was last heard, in either direction.
struct Continuation {
    /// From the edge of the gap away from it.
    heard: Vec<f32>,
    pitch: usize,
}

impl Continuation {
    fn new(from_edge: impl Iterator<Item = i16>, rate: u32) -> Self {
        let longest = (rate / LONGEST) as usize;
        let shortest = (rate / SHORTEST) as usize;
        let heard: Vec<f32> = from_edge.take(longest * 2 + longest / 4).map(f32::from).collect();
        let pitch = pitch(&heard, shortest, longest);
        Self { heard, pitch }
    }

    /// The sample `at` steps into the gap, weighted: full at this edge, nothing at the other, or after `reach`.
    fn sample(&self, at: usize, gap: usize, reach: usize) -> i16 {
        if self.pitch == 0 {
            return 0;
        }
        let span = gap.min(reach) as f32;
        let weight = 1.0 - (at as f32 + 0.5) / span;
        (self.voice(at) * weight.max(0.0)) as i16
    }

    /// One period over and over. Where one repetition ends and the next begins, the last quarter of the period is blended with what really
    /// went on beyond the period, so that there is no edge.
    fn voice(&self, at: usize) -> f32 {
        let place = self.pitch - 1 - at % self.pitch;
        let here = self.heard[place];
        let blend = self.pitch / 4;
        match self.heard.get(place + self.pitch) {
            Some(&further) if place < blend => {
                let share = (place as f32 + 1.0) / (blend as f32 + 1.0);
                here * share + further * (1.0 - share)
            }
            _ => here,
        }
    }
}

/// The period at which what was heard is most like itself; everything that is there when it is too short to tell.
fn pitch(heard: &[f32], shortest: usize, longest: usize) -> usize {
    // 7.5 ms are compared, less where only one packet is there: measured on speech, both are better than a whole period.
    let window = (shortest * 3 / 2).min(heard.len() / 4);
    let longest = longest.min(heard.len() - window);
    let likeness = |lag: usize| {
        let (mut product, mut energy) = (0.0_f32, 1.0_f32);
        for (&near, &far) in heard[..window].iter().zip(&heard[lag..]) {
            product += near * far;
            energy += far * far;
        }
        product / energy.sqrt()
    };
    let likenesses = (shortest..=longest).map(|lag| (lag, likeness(lag)));
    likenesses.max_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(heard.len(), |(lag, _)| lag)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn voice(period: f64, samples: usize) -> Vec<i16> {
        let wave = |at: usize, harmonic: f64| (TAU * harmonic * at as f64 / period).sin() * 6_000.0 / harmonic;
        (0..samples).map(|at| (wave(at, 1.0) + wave(at, 2.0) + wave(at, 3.0)) as i16).collect()
    }

    fn bridged(said: &[i16], gap: std::ops::Range<usize>, after: usize) -> Vec<i16> {
        let mut out = Vec::new();
        bridge(&said[..gap.start], gap.len(), &said[gap.end..gap.end + after], 8_000, &mut out);
        out
    }

    fn loudest(samples: impl Iterator<Item = i16>) -> i16 {
        samples.map(i16::saturating_abs).max().unwrap_or_default()
    }

    #[test]
    fn a_steady_voice_goes_on_as_if_nothing_was_lost() {
        for period in [41.0, 53.0, 80.0, 101.0] {
            let said = voice(period, 2_000);
            let error = bridged(&said, 800..960, 400)
                .iter()
                .zip(&said[800..960])
                .map(|(made, said)| made - said)
                .collect::<Vec<_>>();
            assert!(loudest(error.iter().copied()) < 700, "a period of {period}: {}", loudest(error.iter().copied()));
        }
    }

    #[test]
    fn there_is_no_step_at_either_edge() {
        let said = voice(64.3, 2_000);
        let largest_step = |samples: &[i16]| loudest(samples.windows(2).map(|pair| pair[1].saturating_sub(pair[0])));
        let made = bridged(&said, 801..961, 160);
        let all = [&said[..801], &made, &said[961..]].concat();
        assert!(f64::from(largest_step(&all)) < f64::from(largest_step(&said)) * 1.6);
    }

    #[test]
    fn a_long_loss_is_silent_in_the_middle() {
        let said = voice(64.0, 8_000);
        let made = bridged(&said, 1_000..5_000, 160);
        assert_eq!(made.len(), 4_000);
        assert!(loudest(made[..80].iter().copied()) > 3_000 && loudest(made[3_920..].iter().copied()) > 3_000);
        assert_eq!(loudest(made[480..3_520].iter().copied()), 0);
    }

    #[test]
    fn with_nothing_around_it_a_gap_is_silent() {
        for (before, after) in [(0, 0), (1, 0), (0, 1), (3, 2), (39, 40)] {
            let mut out = vec![7];
            bridge(&vec![900; before], 100, &vec![900; after], 8_000, &mut out);
            assert_eq!(out.len(), 101);
            assert!(loudest(out.into_iter()) <= 900);
        }
        let mut out = Vec::new();
        bridge(&[1; 200], 0, &[1; 200], 8_000, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn history_is_what_came_last() {
        let mut history = History::new(8_000);
        for at in 0..50_i16 {
            history.keep(&[at; 33]);
        }
        assert_eq!(history.samples().last(), Some(&49));
        assert_eq!(history.samples().len(), 363);
        history.keep(&voice(64.0, 1_000));
        assert_eq!(history.samples(), &voice(64.0, 1_000)[637..]);
    }
}
