//! What is played in place of samples that never came: packet-loss concealment for codecs that have none of their own.
//!
//! A voice repeats itself: within 20 ms it hardly changes, and its period (the *pitch*) lies between 5 and 15 ms. What is missing is
//! therefore continued from the last period before the gap, as in ITU-T G.711 Appendix I. A recorder knows more than a telephone does: it
//! also has what comes *after* the gap, and continues that backwards, the one fading into the other. Samples that did come are never
//! touched. After [`FADE`] the guess is worth nothing and becomes silence.

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
    let window = longest;
    if heard.len() < window + shortest {
        return heard.len();
    }
    let likeness = |lag: usize| {
        let pairs = heard[..window].iter().zip(&heard[lag..]);
        let (mut product, mut energy) = (0.0_f32, 1.0_f32);
        for (&near, &far) in pairs {
            product += near * far;
            energy += far * far;
        }
        product / energy.sqrt()
    };
    let most = longest.min(heard.len() - window);
    (shortest..=most).max_by(|&a, &b| likeness(a).total_cmp(&likeness(b))).unwrap_or(heard.len())
}
