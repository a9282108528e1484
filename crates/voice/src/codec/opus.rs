//! Opus at 16 kHz, mono. The crate that does it is known here and nowhere else.

use std::fmt;

use ropus::{Application, Channels, DecodeMode};

use super::Codec;
use crate::Error;

/// The longest packet of all is 120 ms.
const LONGEST: usize = 16_000 * 120 / 1000;
/// Concealment of a loss without end would hum: it is silence after this.
const CONCEALED: usize = 16_000 * 100 / 1000;
/// No packet is larger, by far.
const PACKET: usize = 1_500;

fn bad(reason: &'static str) -> Error {
    Error::Payload { codec: Codec::Opus.name(), reason }
}

/// How long a packet sounds in ticks of 48 kHz: what its first bytes say (RFC 6716, 3.1).
pub(super) fn ticks(packet: &[u8]) -> Option<u32> {
    let first = *packet.first()?;
    let frame = match first >> 3 {
        configuration @ 0..=11 => [480, 960, 1_920, 2_880][usize::from(configuration & 3)],
        configuration @ 12..=15 => [480, 960][usize::from(configuration & 1)],
        configuration => [120, 240, 480, 960][usize::from(configuration & 3)],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|ticks| (1..=5_760).contains(ticks))
}

/// The state of a stream that is heard.
pub(super) struct Decoder {
    inner: Option<ropus::Decoder>,
    scratch: Vec<i16>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inner: ropus::Decoder::new(16_000, Channels::Mono).ok(), scratch: vec![0; LONGEST] }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("opus::Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    pub(super) fn decode(&mut self, packet: &[u8], samples: &mut Vec<i16>) -> Result<(), Error> {
        ticks(packet).ok_or(bad("it does not say how long it sounds"))?;
        let inner = self.inner.as_mut().ok_or(bad("there is no decoder"))?;
        let decoded = inner.decode(packet, &mut self.scratch, DecodeMode::Normal).map_err(|_| bad("it is damaged"))?;
        samples.extend_from_slice(&self.scratch[..decoded.min(LONGEST)]);
        Ok(())
    }

    /// The packet before this one may lie in it a second time, at a lower rate: that is what it is asked for first.
    pub(super) fn decode_after(&mut self, missing: usize, packet: &[u8], samples: &mut Vec<i16>) -> Result<(), Error> {
        let start = samples.len();
        let last = ticks(packet).map_or(0, |ticks| Codec::Opus.samples(ticks)).min(missing);
        self.conceal(missing - last, samples);
        self.recover(last, packet, samples);
        samples.resize(start + missing, 0);
        self.decode(packet, samples).inspect_err(|_| samples.truncate(start))
    }

    fn conceal(&mut self, missing: usize, samples: &mut Vec<i16>) {
        let mut left = missing.min(CONCEALED);
        while left > 0 {
            // What Opus can conceal at a time is a multiple of 2.5 ms.
            let some = left.min(320).next_multiple_of(40);
            let Some(Ok(made)) =
                self.inner.as_mut().map(|inner| inner.decode(&[], &mut self.scratch[..some], DecodeMode::Normal))
            else {
                break;
            };
            samples.extend_from_slice(&self.scratch[..made.min(left)]);
            left = left.saturating_sub(made.max(1));
        }
        samples.resize(samples.len() + left + missing.saturating_sub(CONCEALED), 0);
    }

    fn recover(&mut self, missing: usize, packet: &[u8], samples: &mut Vec<i16>) {
        if missing == 0 {
            return;
        }
        let whole = missing.next_multiple_of(40).min(LONGEST);
        let recovered =
            self.inner.as_mut().map(|inner| inner.decode(packet, &mut self.scratch[..whole], DecodeMode::Fec));
        match recovered {
            Some(Ok(made)) => samples.extend_from_slice(&self.scratch[..made.min(missing)]),
            _ => self.conceal(missing, samples),
        }
    }
}

/// The state of a stream that is spoken.
pub(super) struct Encoder {
    inner: Option<ropus::Encoder>,
    scratch: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        let inner = ropus::Encoder::builder(16_000, Channels::Mono, Application::Voip).build().ok();
        Self { inner, scratch: vec![0; PACKET] }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("opus::Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    pub(super) fn encode(&mut self, samples: &[i16], payload: &mut Vec<u8>) -> Result<(), Error> {
        let inner = self.inner.as_mut().ok_or(bad("there is no encoder"))?;
        let length = inner.encode(samples, &mut self.scratch).map_err(|_| bad("not a length that it takes"))?;
        payload.extend_from_slice(&self.scratch[..length.min(PACKET)]);
        Ok(())
    }
}
