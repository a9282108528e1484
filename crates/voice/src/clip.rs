//! Something to be played: a prompt, a beep, what a caller says in a test.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::{Codec, Encoder, tone};

/// Mono samples and their rate. Cheap to clone; what it becomes in a codec is worked out once for all calls that play it.
#[derive(Debug, Clone)]
pub struct Clip(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rate: u32,
    samples: Vec<i16>,
    encoded: [OnceLock<Encoded>; Codec::ALL.len()],
}

/// A clip as payloads of 20 ms; the last is filled with silence.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    /// The payload at this place, if the clip is so long.
    pub(crate) fn payload(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }
}

impl Clip {
    /// These samples, so many a second.
    #[must_use]
    pub fn new(rate: u32, samples: Vec<i16>) -> Self {
        Self(Arc::new(Inner { rate: rate.max(1), samples, encoded: Default::default() }))
    }

    /// Samples a second.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.0.rate
    }

    /// The samples.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        &self.0.samples
    }

    /// How long it sounds.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_nanos((self.0.samples.len() as u64).saturating_mul(1_000_000_000) / u64::from(self.0.rate))
    }

    /// The same at another rate.
    #[must_use]
    pub fn at_rate(&self, rate: u32) -> Self {
        if rate == self.0.rate {
            return self.clone();
        }
        Self::new(rate, tone::resampled(&self.0.samples, self.0.rate, rate))
    }

    /// One after the other, at the rate of this one.
    #[must_use]
    pub fn followed_by(&self, next: &Self) -> Self {
        let mut samples = self.0.samples.clone();
        samples.extend_from_slice(next.at_rate(self.0.rate).samples());
        Self::new(self.0.rate, samples)
    }

    /// Works out what it is in a codec, which may take a tenth of a second; otherwise the first who plays it waits.
    pub fn prepare(&self, codec: Codec) {
        let _ = self.encoded(codec);
    }

    pub(crate) fn encoded(&self, codec: Codec) -> &Encoded {
        self.0.encoded[codec as usize].get_or_init(|| encode(&self.at_rate(codec.sample_rate()), codec))
    }
}

fn encode(clip: &Clip, codec: Codec) -> Encoded {
    let mut encoder = Encoder::new(codec);
    let mut encoded = Encoded::default();
    let frame = (codec.sample_rate() / 50) as usize;
    let mut padded = Vec::with_capacity(frame);
    for samples in clip.samples().chunks(frame) {
        padded.clear();
        padded.extend_from_slice(samples);
        padded.resize(frame, 0);
        // The one error there is, a length that the codec does not take, cannot come of 20 ms.
        if encoder.encode(&padded, &mut encoded.bytes).is_ok() {
            encoded.ends.push(encoded.bytes.len());
        }
    }
    encoded
}
