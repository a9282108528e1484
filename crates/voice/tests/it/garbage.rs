//! Whatever is sent to us, nothing falls down, and nothing grows without end.

use std::time::Duration;

use proptest::prelude::*;
use voice::srtp::{Crypto, MasterKey, Opener, Sealer, Suite};
use voice::{Codec, Decoder, Keys, Payloads, Recorder, Settings, dtmf, wav};

fn payloads() -> Payloads {
    Payloads {
        audio: vec![(0, Codec::Pcmu), (8, Codec::Pcma), (111, Codec::Opus)],
        telephone_event: vec![(101, 8_000)],
    }
}

/// Datagrams that look like RTP, from a handful of senders, with payload types that mean something.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let payload_type = prop_oneof![Just(0_u8), Just(8), Just(111), Just(101), Just(13), any::<u8>()];
    let ssrc = prop_oneof![4 => Just(7_u32), 1 => Just(8), 1 => any::<u32>()];
    let sequence = prop_oneof![8 => 0..50_u16, 1 => any::<u16>()];
    let timestamp = prop_oneof![4 => 0..20_000_u32, 1 => any::<u32>()];
    let payload = prop::collection::vec(any::<u8>(), 0..400);
    (0x80..=0xbf_u8, payload_type, sequence, timestamp, ssrc, payload).prop_map(
        |(first, payload_type, sequence, timestamp, ssrc, payload)| {
            let mut bytes = vec![if first & 1 == 0 { 0x80 } else { first }, payload_type];
            bytes.extend(sequence.to_be_bytes());
            bytes.extend(timestamp.to_be_bytes());
            bytes.extend(ssrc.to_be_bytes());
            bytes.extend(payload);
            bytes
        },
    )
}

fn datagram() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => likely(), 1 => prop::collection::vec(any::<u8>(), 0..100)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_recorder_survives_anything(
        datagrams in prop::collection::vec((datagram(), 0..100_u64), 0..200), rate in prop_oneof![Just(8_000), Just(16_000)], trim: bool,
    ) {
        let settings = Settings { rate, trim, longest: None, silence: None, end_keys: Keys::NONE, ..Settings::default() };
        let mut recorder = Recorder::new(settings, payloads());
        recorder.begin(Duration::ZERO);
        let (mut now, mut samples) = (Duration::ZERO, Vec::new());
        let mut sounds = Duration::ZERO;
        for (datagram, wait) in &datagrams {
            now += Duration::from_millis(*wait);
            recorder.feed(datagram, now);
            recorder.tick(now);
            recorder.take_samples(&mut samples);
            // The most that a payload can sound, and what may be thought lost before it.
            sounds += Duration::from_millis(120 + 1_000);
        }
        recorder.drain(now);
        recorder.take_samples(&mut samples);
        prop_assert_eq!(recorder.statistics().recorded, samples.len() as u64);
        prop_assert!(recorder.duration() <= now + sounds + Duration::from_secs(1));
        while recorder.next_key().is_some() {}
    }

    #[test]
    fn decoders_survive_anything(payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0..2_000_usize), 0..40)) {
        for codec in Codec::ALL {
            let (mut decoder, mut samples) = (Decoder::new(codec), Vec::new());
            for (payload, missing) in &payloads {
                let before = samples.len();
                match decoder.decode_after(*missing, payload, &mut samples) {
                    Ok(()) => prop_assert!(samples.len() - before >= *missing),
                    Err(_) => prop_assert_eq!(samples.len(), before),
                }
            }
        }
    }

    #[test]
    fn wav_files_survive_anything(mut bytes: Vec<u8>, tail: Vec<u8>, at in 0..60_usize, byte: u8) {
        let _ = wav::read(&bytes);
        let _ = wav::inspect(&bytes, bytes.len() as u64 * 2);
        let _ = wav::repair(&bytes, u64::MAX);
        bytes = wav::file(8_000, &[1, 2, 3, 4]);
        bytes.extend(tail);
        if let Some(there) = bytes.get_mut(at) {
            *there = byte;
        }
        let _ = wav::read(&bytes);
        let _ = wav::inspect(&bytes, u64::MAX);
        if let Ok((header, _)) = wav::repair(&bytes, bytes.len() as u64) {
            bytes[..wav::HEADER].copy_from_slice(&header);
            prop_assert!(wav::read(&bytes).is_ok());
        }
    }

    #[test]
    fn what_is_not_sealed_is_not_opened(datagrams in prop::collection::vec(datagram(), 1..50)) {
        let mut opener = Opener::new(Suite::AesCm128HmacSha1_80, &MasterKey::new([7; 30]));
        for mut datagram in datagrams {
            let before = datagram.clone();
            prop_assert!(opener.open(&mut datagram).is_err());
            prop_assert_eq!(datagram, before);
        }
    }

    #[test]
    fn what_is_sealed_is_opened_unless_a_bit_is_changed(mut sent in likely(), bit: prop::sample::Index, short: bool) {
        sent[0] = 0x80;
        let suite = if short { Suite::AesCm128HmacSha1_32 } else { Suite::AesCm128HmacSha1_80 };
        let key = MasterKey::new([7; 30]);
        let (plain, mut opener) = (sent.clone(), Opener::new(suite, &key));
        Sealer::new(suite, &key).seal(&mut sent).unwrap();
        let mut damaged = sent.clone();
        let bit = bit.index(damaged.len() * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(opener.open(&mut damaged).is_err());
        opener.open(&mut sent).unwrap();
        prop_assert_eq!(sent, plain);
    }

    #[test]
    fn lines_of_sdp_survive_anything(line in "\\PC{0,60}", inline in "[A-Za-z0-9+/=|:^;. ]{0,80}") {
        let _ = Crypto::parse(&line);
        let _ = Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{inline}"));
        let _ = Codec::from_rtpmap(&line);
    }

    #[test]
    fn keys_survive_anything(events in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..6), 0..1_000_u64), 0..100)) {
        let mut detector = dtmf::Detector::default();
        let (mut now, mut down) = (Duration::ZERO, 0);
        for (timestamp, payload, wait) in events {
            now += Duration::from_millis(wait);
            for event in detector.tick(now).into_iter().chain(detector.feed(timestamp % 3_000, 8_000, &payload, now)) {
                match event {
                    dtmf::KeyEvent::Down(_) => down += 1,
                    dtmf::KeyEvent::Up(..) => down -= 1,
                }
                prop_assert!((0..=1).contains(&down), "one key at a time");
            }
        }
    }
}
