//! The signal after which one may speak: a steady tone, and its end.

/// A frame is so many milliseconds.
const FRAME: usize = 20;
/// So many frames of one pitch make a tone: a voice holds none for so long.
const STEADY: usize = 8;
/// Pitches that differ by less are one.
const NEARLY: f64 = 0.02;
/// Below this level, in dBov, there is no tone.
const FLOOR: f32 = -40.0;

/// Listens for a tone.
#[derive(Debug)]
pub(super) struct Signal {
    rate: u32,
    frame: Vec<i16>,
    pitch: f64,
    steady: usize,
}

impl Signal {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate, frame: Vec::new(), pitch: 0.0, steady: 0 }
    }

    /// Hears the samples that follow; says when a tone has ended.
    pub(super) fn feed(&mut self, samples: &[i16]) -> bool {
        let size = self.rate as usize * FRAME / 1_000;
        for sample in samples {
            self.frame.push(*sample);
            if self.frame.len() < size {
                continue;
            }
            let ended = self.judge();
            self.frame.clear();
            if ended {
                return true;
            }
        }
        false
    }

    /// Silence without packets ends a tone too.
    pub(super) fn silence(&mut self) -> bool {
        std::mem::take(&mut self.steady) >= STEADY
    }

    fn judge(&mut self) -> bool {
        let pitch = voice::tone::frequency(self.rate, &self.frame);
        let loud = voice::level::dbov(&self.frame) > FLOOR && (300.0..3_000.0).contains(&pitch);
        let same = loud && (pitch - self.pitch).abs() <= self.pitch * NEARLY;
        self.pitch = pitch;
        if same {
            self.steady += 1;
            return false;
        }
        std::mem::take(&mut self.steady) >= STEADY
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use voice::tone;

    use super::*;

    #[test]
    fn a_beep_is_heard_when_it_is_over_and_speech_is_none() {
        let speech = voice::wav::read(testkit::VOICEMAIL_WAV).unwrap();
        let mut signal = Signal::new(8_000);
        assert!(!speech.samples().chunks(160).any(|frame| signal.feed(frame)), "speech is no signal");
        assert!(!signal.feed(tone::beep(8_000).samples()), "it sounds still");
        assert!(signal.feed(tone::pause(8_000, Duration::from_millis(60)).samples()));
        assert!(!signal.silence(), "it is over once");
    }

    #[test]
    fn a_beep_that_is_followed_by_nothing_is_over_too() {
        let mut signal = Signal::new(8_000);
        assert!(!signal.silence());
        signal.feed(tone::beep(8_000).samples());
        assert!(signal.silence());
    }
}
