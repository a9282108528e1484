//! The codecs that a call may be held in, and what turns their payloads into samples and back.
//!
//! Samples are linear, 16 bits, mono. G.711 (PCMU, PCMA) is 8 kHz and exact: a payload means certain samples, and nothing is lost in storing
//! them. Opus runs on a clock of 48 kHz whatever it carries; we decode it at 16 kHz, all that a voice on a telephone has, a third of the
//! bytes of 48 kHz, and the rate that speech recognition wants. Both decoders bridge what was lost on the way (see [`Decoder::decode_after`]).

mod opus;

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

use crate::{Error, conceal};

/// How a voice is written down on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 μ-law, payload type 0.
    Pcmu,
    /// G.711 A-law, payload type 8.
    Pcma,
    /// Opus (RFC 6716, RFC 7587), a payload type by agreement.
    Opus,
}

impl Codec {
    /// All of them, the exact ones first.
    pub const ALL: [Self; 3] = [Self::Pcmu, Self::Pcma, Self::Opus];

    /// The name in an `a=rtpmap` line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::Opus => "opus",
        }
    }

    /// The payload type that needs no agreement (RFC 3551), where there is one.
    #[must_use]
    pub fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::Opus => None,
        }
    }

    /// Ticks a second of the RTP timestamps, as in `a=rtpmap`.
    #[must_use]
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8_000,
            Self::Opus => 48_000,
        }
    }

    /// What stands after the clock rate in `a=rtpmap`: Opus always says 2 there (RFC 7587), even of a mono voice; 1 is not written.
    #[must_use]
    pub fn channels(self) -> u8 {
        match self {
            Self::Pcmu | Self::Pcma => 1,
            Self::Opus => 2,
        }
    }

    /// Samples a second that we decode to and encode from.
    #[must_use]
    pub fn sample_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8_000,
            Self::Opus => 16_000,
        }
    }

    /// What an `a=rtpmap` line names: `PCMU/8000`, `opus/48000/2`. Names are compared without regard to case; none is `None`.
    #[must_use]
    pub fn from_rtpmap(encoding: &str) -> Option<Self> {
        let mut parts = encoding.trim().split('/');
        let (name, clock, channels) = (parts.next()?, parts.next()?.parse::<u32>().ok()?, parts.next().unwrap_or("1"));
        Self::ALL.into_iter().find(|codec| {
            codec.name().eq_ignore_ascii_case(name)
                && codec.clock_rate() == clock
                && channels.parse() == Ok(codec.channels())
        })
    }

    /// The `a=rtpmap` encoding: `PCMU/8000`, `opus/48000/2`.
    #[must_use]
    pub fn rtpmap(self) -> String {
        match self.channels() {
            1 => format!("{}/{}", self.name(), self.clock_rate()),
            channels => format!("{}/{}/{channels}", self.name(), self.clock_rate()),
        }
    }

    /// The codec of a payload type that needs no agreement.
    #[must_use]
    pub fn from_static(payload_type: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.static_payload_type() == Some(payload_type))
    }

    /// How long a payload sounds, in ticks of the codec's clock; `None` for what is no payload of it.
    #[must_use]
    pub fn ticks(self, payload: &[u8]) -> Option<u32> {
        match self {
            Self::Pcmu | Self::Pcma => u32::try_from(payload.len()).ok().filter(|&ticks| ticks > 0),
            Self::Opus => opus::ticks(payload),
        }
    }

    /// Ticks of the codec's clock as samples of [`Codec::sample_rate`].
    #[must_use]
    pub fn samples(self, ticks: u32) -> usize {
        (u64::from(ticks) * u64::from(self.sample_rate()) / u64::from(self.clock_rate())) as usize
    }
}

/// Turns the payloads of one stream into samples, in their order.
#[derive(Debug)]
pub struct Decoder {
    codec: Codec,
    /// The end of what was decoded, to bridge a loss from. G.711 alone needs it.
    heard: conceal::History,
    opus: Option<Box<opus::Decoder>>,
    next: Vec<i16>,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        let opus = (codec == Codec::Opus).then(Box::default);
        Self { codec, heard: conceal::History::new(codec.sample_rate()), opus, next: Vec::new() }
    }

    /// What it decodes.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Samples a second of what it gives.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.codec.sample_rate()
    }

    /// Appends the samples of a payload that follows the one before it.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] when it is none of this codec; then nothing is appended.
    pub fn decode(&mut self, payload: &[u8], samples: &mut Vec<i16>) -> Result<(), Error> {
        let start = samples.len();
        match (self.codec, &mut self.opus) {
            (Codec::Pcmu, _) => samples.extend(payload.iter().map(|&byte| decode_ulaw(byte))),
            (Codec::Pcma, _) => samples.extend(payload.iter().map(|&byte| decode_alaw(byte))),
            (Codec::Opus, Some(opus)) => opus.decode(payload, samples)?,
            (Codec::Opus, None) => {}
        }
        self.heard.keep(&samples[start..]);
        Ok(())
    }

    /// Appends `missing` samples of silence where nothing was sent. What was heard before is no guide to what comes after it.
    pub fn pause(&mut self, missing: usize, samples: &mut Vec<i16>) {
        self.heard.forget();
        samples.resize(samples.len() + missing, 0);
    }

    /// Appends `missing` samples in place of what was lost before this payload, made to sound like what is around them, and then the
    /// payload's own, which are not touched. A long loss fades into silence.
    ///
    /// # Errors
    ///
    /// As [`Decoder::decode`]; nothing is appended.
    pub fn decode_after(&mut self, missing: usize, payload: &[u8], samples: &mut Vec<i16>) -> Result<(), Error> {
        if missing == 0 {
            return self.decode(payload, samples);
        }
        if let Some(opus) = &mut self.opus {
            return opus.decode_after(missing, payload, samples);
        }
        let mut next = std::mem::take(&mut self.next);
        next.clear();
        match self.codec {
            Codec::Pcma => next.extend(payload.iter().map(|&byte| decode_alaw(byte))),
            _ => next.extend(payload.iter().map(|&byte| decode_ulaw(byte))),
        }
        conceal::bridge(self.heard.samples(), missing, &next, self.codec.sample_rate(), samples);
        samples.extend_from_slice(&next);
        self.heard.keep(&next);
        self.next = next;
        Ok(())
    }
}

/// Turns samples of [`Codec::sample_rate`] into payloads.
#[derive(Debug)]
pub struct Encoder {
    codec: Codec,
    opus: Option<Box<opus::Encoder>>,
}

impl Encoder {
    /// An encoder at the beginning of a stream.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self { codec, opus: (codec == Codec::Opus).then(Box::default) }
    }

    /// What it encodes to.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends the payload for these samples. Opus takes 2.5, 5, 10, 20, 40 or 60 ms at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Payload`] when the codec does not take so many samples.
    pub fn encode(&mut self, samples: &[i16], payload: &mut Vec<u8>) -> Result<(), Error> {
        match (self.codec, &mut self.opus) {
            (Codec::Pcmu, _) => payload.extend(samples.iter().map(|&sample| encode_ulaw(sample))),
            (Codec::Pcma, _) => payload.extend(samples.iter().map(|&sample| encode_alaw(sample))),
            (Codec::Opus, Some(opus)) => opus.encode(samples, payload)?,
            (Codec::Opus, None) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(codec: Codec, payload: &[u8]) -> Vec<i16> {
        let mut samples = Vec::new();
        Decoder::new(codec).decode(payload, &mut samples).unwrap();
        samples
    }

    fn encoded(codec: Codec, samples: &[i16]) -> Vec<u8> {
        let mut payload = Vec::new();
        Encoder::new(codec).encode(samples, &mut payload).unwrap();
        payload
    }

    #[test]
    fn g711_means_the_samples_of_the_standard() {
        assert_eq!(
            decoded(Codec::Pcmu, &[0x00, 0x80, 0x7f, 0xff, 0x0f, 0x8f, 0x10, 0x6e]),
            [-32_124, 32_124, 0, 0, -16_764, 16_764, -15_996, -148]
        );
        assert_eq!(decoded(Codec::Pcma, &[0x55, 0xd5, 0x2a, 0xaa, 0x54, 0x45]), [-8, 8, -32_256, 32_256, -24, -264]);
    }

    #[test]
    fn what_is_decoded_is_encoded_to_the_same_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let again = encoded(codec, &decoded(codec, &all));
            // μ-law has two zeros.
            assert!(
                all.iter()
                    .zip(&again)
                    .all(|(was, is)| was == is || (codec == Codec::Pcmu && *was == 0x7f && *is == 0xff))
            );
        }
    }

    #[test]
    fn encoding_is_as_near_as_the_steps_are() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            // Beyond ±32,124 there is nothing nearer.
            for sample in -32_635..=32_635_i16 {
                let taken = decoded(codec, &encoded(codec, &[sample]))[0];
                // Half a step of the segment, which is a 32nd of the distance from its zero.
                let most = sample.unsigned_abs() / 31 + 16;
                assert!(taken.abs_diff(sample) <= most, "{codec:?} {sample}: {taken}");
            }
        }
    }

    #[test]
    fn what_was_heard_before_a_pause_does_not_come_back_after_it() {
        let loud: Vec<i16> = (0..400).map(|at| if at % 64 < 32 { 8_000 } else { -8_000 }).collect();
        let quiet = encoded(Codec::Pcmu, &[0; 40]);
        let (mut decoder, mut samples) = (Decoder::new(Codec::Pcmu), Vec::new());
        decoder.decode(&encoded(Codec::Pcmu, &loud), &mut samples).unwrap();
        decoder.pause(800, &mut samples);
        decoder.decode(&quiet, &mut samples).unwrap();
        decoder.decode_after(160, &quiet, &mut samples).unwrap();
        assert_eq!(samples[400..], [0; 800 + 40 + 160 + 40]);
    }

    #[test]
    fn names_are_as_in_the_sdp() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_rtpmap(&codec.rtpmap()), Some(codec));
        }
        let named = [
            "pcmu/8000",
            "PCMA/8000/1",
            "OPUS/48000/2",
            "opus/48000",
            "opus/16000/2",
            "PCMU/16000",
            "PCMU",
            "G729/8000",
            "",
        ];
        let codecs: Vec<_> = named.iter().map(|name| Codec::from_rtpmap(name)).collect();
        let (pcmu, pcma, opus) = (Some(Codec::Pcmu), Some(Codec::Pcma), Some(Codec::Opus));
        assert_eq!(codecs, [pcmu, pcma, opus, None, None, None, None, None, None]);
        assert_eq!([0, 8, 9, 111].map(Codec::from_static), [pcmu, pcma, None, None]);
    }

    #[test]
    fn lengths_are_in_ticks_of_the_clock() {
        assert_eq!((Codec::Pcmu.ticks(&[0; 160]), Codec::Pcma.ticks(&[])), (Some(160), None));
        assert_eq!((Codec::Pcmu.samples(160), Codec::Opus.samples(960)), (160, 320));
    }
}
