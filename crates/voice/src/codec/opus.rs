//! Opus at 16 kHz, mono. The crate that does it is known here and nowhere else.

use std::fmt;

use rusty_opus::{Application, OpusDecoder, OpusEncoder};

use super::Codec;
use crate::Error;

const RATE: i32 = 16_000;
/// Lengths are multiples of 2.5 ms.
const STEP: usize = 40;
/// 20 ms.
const FRAME: usize = 320;
/// The longest packet of all is 120 ms.
const LONGEST: usize = 6 * FRAME;
/// Concealment of a loss without end would hum: it is silence after this.
const CONCEALED: usize = 5 * FRAME;
/// Bits a second of what we say: good for a voice, a second copy for lost packets included.
const BITRATE: i32 = 32_000;
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
    inner: Option<OpusDecoder>,
    scratch: Vec<f32>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inner: OpusDecoder::new(RATE, 1).ok(), scratch: vec![0.0; LONGEST] }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("opus::Decoder").finish_non_exhaustive()
    }
}

/// What the decoder is asked to do.
enum From<'a> {
    Packet(&'a [u8]),
    /// The packet before this one, which may lie in it a second time at a lower rate.
    Next(&'a [u8]),
    Nothing,
}

impl Decoder {
    pub(super) fn decode(&mut self, packet: &[u8], samples: &mut Vec<i16>) -> Result<(), Error> {
        let ticks = ticks(packet).ok_or(bad("it does not say how long it sounds"))?;
        self.make(From::Packet(packet), Codec::Opus.samples(ticks), samples)
    }

    /// What was lost just before a packet may lie in it; what was lost before that is concealed.
    pub(super) fn decode_after(&mut self, missing: usize, packet: &[u8], samples: &mut Vec<i16>) -> Result<(), Error> {
        let start = samples.len();
        let last = ticks(packet).map_or(0, |ticks| Codec::Opus.samples(ticks)).min(missing);
        self.conceal(missing - last, samples);
        if last > 0 {
            let _ = self.make(From::Next(packet), last.next_multiple_of(STEP), samples);
        }
        samples.resize(start + missing, 0);
        self.decode(packet, samples).inspect_err(|_| samples.truncate(start))
    }

    fn conceal(&mut self, missing: usize, samples: &mut Vec<i16>) {
        let end = samples.len() + missing.min(CONCEALED);
        while samples.len() < end {
            let some = (end - samples.len()).min(FRAME).next_multiple_of(STEP);
            if self.make(From::Nothing, some, samples).is_err() {
                break;
            }
        }
        samples.resize(end + missing.saturating_sub(CONCEALED), 0);
    }

    /// Appends what is made of something, at most `most` samples.
    fn make(&mut self, from: From<'_>, most: usize, samples: &mut Vec<i16>) -> Result<(), Error> {
        let inner = self.inner.as_mut().ok_or(bad("there is no decoder"))?;
        let (most, scratch) = (most.min(LONGEST), &mut self.scratch);
        let made = match from {
            From::Packet(packet) => inner.decode(packet, LONGEST, scratch),
            From::Next(packet) => inner.decode_fec(packet, most, scratch),
            From::Nothing => inner.decode(&[], most, scratch),
        };
        let made = made.map_err(|_| bad("it is damaged"))?.min(most);
        if made == 0 {
            return Err(bad("there is nothing in it"));
        }
        samples
            .extend(scratch[..made].iter().map(|sample| (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16));
        Ok(())
    }
}

/// The state of a stream that is spoken.
pub(super) struct Encoder {
    inner: Option<OpusEncoder>,
    input: Vec<f32>,
    output: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        // Not `Voip`: that filters the voice before it encodes it.
        let mut inner = OpusEncoder::new(RATE, 1, Application::Audio).ok();
        if let Some(encoder) = &mut inner {
            encoder.bitrate_bps = BITRATE;
            encoder.lsb_depth = 16;
            // Each packet holds the one before it a second time, for those who lose it.
            encoder.use_inband_fec = true;
            encoder.packet_loss_perc = 10;
        }
        Self { inner, input: Vec::new(), output: vec![0; PACKET] }
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
        self.input.clear();
        self.input.extend(samples.iter().map(|&sample| f32::from(sample) / 32_768.0));
        let length = inner.encode(&self.input, samples.len(), &mut self.output);
        let length = length.map_err(|_| bad("not a length that it takes"))?.min(PACKET);
        payload.extend_from_slice(&self.output[..length]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_says_how_long_it_sounds() {
        let of = |configuration: u8, code: u8| ticks(&[configuration << 3 | code, 3]);
        let one: Vec<_> =
            [0, 3, 8, 11, 12, 15, 16, 19, 28, 31].iter().map(|&configuration| of(configuration, 0)).collect();
        assert_eq!(one, [480, 2_880, 480, 2_880, 480, 960, 120, 960, 120, 960].map(Some));
        assert_eq!((of(1, 1), of(1, 2), of(1, 3)), (Some(1_920), Some(1_920), Some(2_880)));
        assert_eq!(
            (ticks(&[]), ticks(&[3]), ticks(&[3, 0])),
            (None, None, None),
            "empty, or frames that are not there"
        );
        assert_eq!((ticks(&[3 << 3 | 3, 2]), ticks(&[3 << 3 | 3, 3])), (Some(5_760), None), "120 ms at most");
    }

    #[test]
    fn what_it_does_not_take_is_an_error() {
        let mut payload = vec![1, 2];
        assert!(Encoder::default().encode(&[0; 161], &mut payload).is_err());
        assert_eq!(payload, [1, 2]);
        let mut samples = vec![7];
        assert!(Decoder::default().decode(&[], &mut samples).is_err());
        assert!(Decoder::default().decode_after(320, &[0xff, 0xff, 0xff], &mut samples).is_err());
        assert_eq!(samples, [7]);
    }
}
