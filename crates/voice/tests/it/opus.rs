//! Opus as the original makes and hears it. The fixtures are libopus's; `fixtures/make.py` made them.

use voice::{Codec, Decoder};

struct Fixture {
    packets: Vec<Vec<u8>>,
    /// What libopus decodes of them.
    pcm: Vec<i16>,
}

macro_rules! fixture {
    ($name:literal) => {
        Fixture::new(
            include_bytes!(concat!("../fixtures/", $name, ".packets")),
            include_bytes!(concat!("../fixtures/", $name, ".pcm")),
        )
    };
}

impl Fixture {
    fn new(mut packets: &[u8], pcm: &[u8]) -> Self {
        let mut all = Vec::new();
        while let Some((length, rest)) = packets.split_first_chunk() {
            let (packet, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)));
            all.push(packet.to_vec());
            packets = rest;
        }
        Self { packets: all, pcm: pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect() }
    }

    /// Every packet decoded; an empty one is lost.
    fn decode(&self) -> Vec<i16> {
        let (mut decoder, mut samples, mut missing) = (Decoder::new(Codec::Opus), Vec::new(), 0);
        for packet in &self.packets {
            if packet.is_empty() {
                missing += 320;
                continue;
            }
            decoder.decode_after(missing, packet, &mut samples).unwrap();
            missing = 0;
        }
        samples
    }

    /// The largest difference from the original.
    fn difference(&self) -> u16 {
        let decoded = self.decode();
        assert_eq!(decoded.len(), self.pcm.len());
        decoded.iter().zip(&self.pcm).map(|(ours, theirs)| ours.abs_diff(*theirs)).max().unwrap()
    }

    fn noise(&self) -> f64 {
        let decoded = self.decode();
        assert_eq!(decoded.len(), self.pcm.len());
        let square = |value: f64| value * value;
        let signal: f64 = self.pcm.iter().map(|&sample| square(f64::from(sample))).sum();
        let noise: f64 = decoded.iter().zip(&self.pcm).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
        10.0 * (signal / noise.max(1.0)).log10()
    }
}

#[test]
fn what_the_original_encodes_is_decoded_as_the_original_does() {
    // One of 32,768 steps is rounding.
    assert!(fixture!("silk").difference() <= 1);
    assert!(fixture!("hybrid").difference() <= 1);
    assert!(fixture!("celt").difference() <= 1);
    assert!(fixture!("stereo").difference() <= 1, "two channels are mixed");
    assert!(fixture!("long").difference() <= 1, "60 ms in a packet");
    assert!(fixture!("fec").difference() <= 1);
}

#[test]
fn a_lost_packet_is_recovered_from_the_next() {
    let lost = fixture!("lost");
    assert!(lost.packets.iter().any(Vec::is_empty));
    assert!(lost.noise() > 30.0, "{:.1} dB", lost.noise());
}
