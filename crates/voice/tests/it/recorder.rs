//! One call recorded: what was said is compared with what was stored.

use std::time::Duration;

use proptest::prelude::*;
use testkit::VOICEMAIL_WAV;
use voice::rtp::Packet;
use voice::{
    Clip, Codec, Decoder, Encoder, Ending, Key, KeyEvent, Keys, Origin, Payloads, Player, Recorder, Settings,
    SilenceLimits, Statistics, Voice, level, player, tone, wav,
};

const ORIGIN: Origin = Origin { ssrc: 0x1234_5678, sequence: 65_500, timestamp: u32::MAX - 5_000 };

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn speech() -> Clip {
    wav::read(VOICEMAIL_WAV).unwrap()
}

fn payloads() -> Payloads {
    Payloads {
        audio: vec![(0, Codec::Pcmu), (8, Codec::Pcma), (111, Codec::Opus)],
        telephone_event: vec![(101, 8_000), (110, 48_000)],
    }
}

fn voice(codec: Codec) -> Voice {
    let (payload_type, telephone_event) = match codec {
        Codec::Pcmu => (0, (101, 8_000)),
        Codec::Pcma => (8, (101, 8_000)),
        Codec::Opus => (111, (110, 48_000)),
    };
    Voice { codec, payload_type, telephone_event: Some(telephone_event) }
}

/// No limits: all that is said is kept.
fn everything(rate: u32) -> Settings {
    Settings { rate, silence: None, longest: None, end_keys: Keys::NONE, ..Settings::default() }
}

/// A call: datagrams, and when they come.
#[derive(Default, Clone)]
struct Call {
    datagrams: Vec<(Duration, Vec<u8>)>,
}

impl Call {
    /// All that a player says, every packet in its time.
    fn of(player: &mut Player) -> Self {
        let mut call = Self::default();
        call.say(player);
        call
    }

    fn say(&mut self, player: &mut Player) {
        let mut now = self.datagrams.last().map_or(Duration::ZERO, |(last, _)| *last + player::INTERVAL);
        let mut datagram = Vec::new();
        while player.next(&mut datagram) {
            self.datagrams.push((now, std::mem::take(&mut datagram)));
            now += player::INTERVAL;
        }
    }

    fn saying(codec: Codec, clip: &Clip) -> Self {
        let mut player = Player::new(voice(codec), ORIGIN);
        player.play(clip);
        Self::of(&mut player)
    }

    fn lose(&mut self, lost: impl Fn(usize) -> bool) {
        let mut at = 0;
        self.datagrams.retain(|_| {
            at += 1;
            !lost(at - 1)
        });
    }

    /// Recorded from the first packet to a second after the last, or to its end.
    fn record(&self, settings: Settings) -> Recorded {
        let mut recorder = Recorder::new(settings, payloads());
        recorder.begin(Duration::ZERO);
        self.record_with(recorder)
    }

    fn record_with(&self, mut recorder: Recorder) -> Recorded {
        let mut samples = Vec::new();
        let mut now = Duration::ZERO;
        let mut datagrams = self.datagrams.iter().peekable();
        let end = self.datagrams.last().map_or(Duration::ZERO, |(last, _)| *last) + ms(1_000);
        while now <= end && recorder.ended().is_none() {
            while let Some((_, datagram)) = datagrams.next_if(|(at, _)| *at <= now) {
                recorder.feed(datagram, now);
            }
            recorder.tick(now);
            recorder.take_samples(&mut samples);
            now += ms(5);
        }
        recorder.drain(now);
        recorder.take_samples(&mut samples);
        let keys = std::iter::from_fn(|| recorder.next_key()).collect();
        Recorded { samples, keys, ending: recorder.ended(), at: now, statistics: recorder.statistics() }
    }
}

struct Recorded {
    samples: Vec<i16>,
    keys: Vec<KeyEvent>,
    ending: Option<Ending>,
    at: Duration,
    statistics: Statistics,
}

/// What G.711 makes of a clip, the last packet filled up.
fn heard_as(codec: Codec, clip: &Clip) -> Vec<i16> {
    let clip = clip.at_rate(8_000);
    let mut padded = clip.samples().to_vec();
    padded.resize(padded.len().next_multiple_of(160), 0);
    let (mut payload, mut samples) = (Vec::new(), Vec::new());
    Encoder::new(codec).encode(&padded, &mut payload).unwrap();
    Decoder::new(codec).decode(&payload, &mut samples).unwrap();
    samples
}

/// How far the noise lies below the signal, in dB.
fn likeness(said: &[i16], stored: &[i16]) -> f64 {
    assert_eq!(said.len(), stored.len());
    let power = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let noise = power(&mut said.iter().zip(stored).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    10.0 * (power(&mut said.iter().map(|&sample| f64::from(sample))) / noise.max(1e-9)).log10()
}

#[test]
fn what_was_said_is_what_is_stored_sample_by_sample() {
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let recorded = Call::saying(codec, &speech()).record(everything(8_000));
        assert_eq!(recorded.samples, heard_as(codec, &speech()), "{codec:?}");
        let seen = recorded.statistics;
        assert_eq!((seen.concealed, seen.filled, seen.malformed, seen.stream.lost), (0, 0, 0, 0));
        assert_eq!(seen.recorded, recorded.samples.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn it_is_also_when_the_network_mixes_them_up(delays in prop::collection::vec(0..190_u64, 400), twice in prop::collection::vec(any::<bool>(), 400)) {
        let mut call = Call::saying(Codec::Pcmu, &speech());
        for (at, (time, _)) in call.datagrams.iter_mut().enumerate() {
            *time += ms(delays[at]);
        }
        let again: Vec<_> = call.datagrams.iter().zip(twice).filter(|(_, twice)| *twice).map(|(sent, _)| sent.clone()).collect();
        call.datagrams.extend(again.into_iter().map(|(time, sent)| (time + ms(30), sent)));
        call.datagrams.sort_by_key(|(time, _)| *time);
        prop_assert_eq!(call.record(everything(8_000)).samples, heard_as(Codec::Pcmu, &speech()));
    }

    #[test]
    fn a_loss_changes_nothing_but_what_was_lost(lost in prop::collection::vec(prop::bool::weighted(0.1), 400)) {
        let mut call = Call::saying(Codec::Pcma, &speech());
        let count = call.datagrams.len();
        // A loss at an end is not seen: nothing lies beyond it.
        let lost = |at: usize| at > 0 && at + 1 < count && lost[at];
        call.lose(lost);
        let recorded = call.record(everything(8_000));
        let said = heard_as(Codec::Pcma, &speech());
        prop_assert_eq!(recorded.samples.len(), said.len());
        for (at, (said, stored)) in said.chunks(160).zip(recorded.samples.chunks(160)).enumerate() {
            prop_assert!(lost(at) || said == stored, "packet {}", at);
        }
        let missing = (0..count).filter(|&at| lost(at)).count() as u64;
        prop_assert_eq!((recorded.statistics.stream.lost, recorded.statistics.concealed), (missing, missing * 160));
    }
}

#[test]
fn a_voice_with_lost_packets_sounds_like_the_voice() {
    let mut call = Call::saying(Codec::Pcmu, &speech());
    call.lose(|at| at % 10 == 5);
    let recorded = call.record(everything(8_000));
    let said = heard_as(Codec::Pcmu, &speech());
    let silent: Vec<i16> = said
        .chunks(160)
        .enumerate()
        .flat_map(|(at, frame)| if at % 10 == 5 { vec![0; frame.len()] } else { frame.to_vec() })
        .collect();
    let (concealed, silent) = (likeness(&said, &recorded.samples), likeness(&said, &silent));
    assert!(concealed > silent + 4.0, "concealed {concealed:.1} dB, silent {silent:.1} dB");
}

#[test]
fn opus_is_stored_as_it_sounds() {
    let recorded = Call::saying(Codec::Opus, &speech()).record(everything(16_000));
    let said = speech().at_rate(16_000);
    // Opus itself is late by a few milliseconds; the voice is to be found at one of them.
    let at = |delay: usize| {
        let end = said.samples().len() - 400;
        likeness(&said.samples()[..end], &recorded.samples[delay..end + delay])
    };
    let (best, delay) = (0..300).map(|delay| (at(delay), delay)).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    assert!(best > 20.0, "{best:.1} dB at a delay of {delay}");
    assert_eq!(recorded.samples.len(), said.samples().len().next_multiple_of(320));
}

#[test]
fn opus_with_lost_packets_is_as_long_as_it_was() {
    let mut call = Call::saying(Codec::Opus, &speech());
    let whole = call.record(everything(16_000)).samples;
    call.lose(|at| at % 10 == 5);
    let recorded = call.record(everything(16_000));
    assert_eq!(recorded.samples.len(), whole.len());
    // Every lost packet lies in the next one a second time.
    let alike = likeness(&whole, &recorded.samples);
    assert!(alike > 15.0, "{alike:.1} dB");
}

#[test]
fn a_call_in_opus_can_be_stored_at_8_khz_and_the_other_way_round() {
    let tone = tone::sine(16_000, 440.0, -20.0, ms(1_000));
    for (codec, rate) in [(Codec::Opus, 8_000), (Codec::Pcmu, 16_000)] {
        let recorded = Call::saying(codec, &tone).record(everything(rate));
        assert_eq!(recorded.samples.len(), rate as usize, "{codec:?}");
        let middle = &recorded.samples[rate as usize / 4..rate as usize * 3 / 4];
        assert!((tone::frequency(rate, middle) - 440.0).abs() < 1.0);
        assert!((level::dbov(middle) + 20.0).abs() < 1.0, "{}", level::dbov(middle));
    }
}

#[test]
fn a_hash_ends_it_and_is_not_in_it() {
    let said = speech();
    let mut player = Player::new(voice(Codec::Pcmu), ORIGIN);
    player.play(&said);
    player.press(Key::HASH, ms(160));
    player.play(&said);
    let recorded = Call::of(&mut player).record(Settings::default());
    assert_eq!(recorded.ending, Some(Ending::Key(Key::HASH)));
    assert_eq!(recorded.samples, heard_as(Codec::Pcmu, &said));
    assert_eq!(recorded.keys[0], KeyEvent::Down(Key::HASH));
}

#[test]
fn a_hash_before_the_beginning_ends_nothing() {
    let mut player = Player::new(voice(Codec::Pcmu), ORIGIN);
    player.play(&tone::pause(8_000, ms(500)));
    player.press(Key::HASH, ms(100));
    let greeting = Call::of(&mut player);
    let mut recorder = Recorder::new(Settings::default(), payloads());
    let mut now = Duration::ZERO;
    for (at, datagram) in &greeting.datagrams {
        now = *at;
        recorder.feed(datagram, now);
    }
    now += ms(400);
    recorder.begin(now);
    assert_eq!(recorder.next_key(), Some(KeyEvent::Down(Key::HASH)));
    assert_eq!(recorder.next_key(), Some(KeyEvent::Up(Key::HASH, ms(100))));
    player.play(&speech());
    let mut message = Call::of(&mut player);
    message.datagrams.iter_mut().for_each(|(at, _)| *at += now);
    let mut samples = Vec::new();
    for (at, datagram) in &message.datagrams {
        recorder.feed(datagram, *at);
    }
    recorder.drain(now + ms(10_000));
    recorder.take_samples(&mut samples);
    assert_eq!(recorder.ended(), None);
    assert_eq!(samples, heard_as(Codec::Pcmu, &speech()), "all of it, and nothing of the greeting");
    assert!(recorder.has_spoken());
}

#[test]
fn other_keys_are_told_and_what_lies_between_is_kept() {
    let tone = tone::sine(8_000, 300.0, -20.0, ms(200));
    let mut player = Player::new(voice(Codec::Pcma), ORIGIN);
    for key in ['1', '5', '*'] {
        player.play(&tone);
        player.press(Key::from_char(key).unwrap(), ms(100));
    }
    player.play(&tone);
    let recorded = Call::of(&mut player).record(Settings::default());
    let keys: String = recorded
        .keys
        .iter()
        .filter_map(|event| match event {
            KeyEvent::Up(key, duration) if *duration == ms(100) => Some(key.as_char()),
            _ => None,
        })
        .collect();
    assert_eq!((keys.as_str(), recorded.keys.len()), ("15*", 6));
    // A key of 100 ms takes 140: its end is sent three times.
    assert_eq!(recorded.samples.len(), 8 * (4 * 200 + 3 * 140));
    assert_eq!(recorded.statistics.filled, 3 * 140 * 8);
}

#[test]
fn silence_ends_it_where_the_limit_is() {
    let limits = SilenceLimits { after_speech: ms(2_000), before_speech: ms(4_000), ..SilenceLimits::default() };
    let settings = Settings { silence: Some(limits), ..Settings::default() };
    let word = tone::sine(8_000, 300.0, -20.0, ms(1_000));
    let silent = word.followed_by(&tone::pause(8_000, ms(6_000)));
    let recorded = Call::saying(Codec::Pcmu, &silent).record(settings.clone());
    assert_eq!((recorded.ending, recorded.samples.len()), (Some(Ending::Silence), 8 * 3_000));

    // Nothing at all, sent or not sent.
    let nothing = Call::saying(Codec::Pcmu, &tone::pause(8_000, ms(6_000))).record(settings.clone());
    assert_eq!((nothing.ending, nothing.samples.len()), (Some(Ending::Silence), 8 * 4_000));
    let mut recorder = Recorder::new(settings.clone(), payloads());
    recorder.begin(ms(500));
    recorder.tick(ms(4_499));
    assert_eq!(recorder.ended(), None);
    recorder.tick(ms(4_500));
    assert_eq!(recorder.ended(), Some(Ending::Silence));
    assert!(!recorder.has_spoken());

    // Cut off, where that is wanted: a quarter of a second stays.
    let trimmed = Call::saying(Codec::Pcmu, &silent).record(Settings { trim: true, ..settings });
    assert_eq!(trimmed.samples.len(), 8 * 1_250);
    assert_eq!(trimmed.samples, recorded.samples[..8 * 1_250]);
}

#[test]
fn a_sender_that_falls_silent_without_packets_ends_it_too() {
    let limits = SilenceLimits { after_speech: ms(700), ..SilenceLimits::default() };
    let call = Call::saying(Codec::Pcmu, &tone::sine(8_000, 300.0, -20.0, ms(1_000)));
    let recorded = call.record(Settings { silence: Some(limits), ..Settings::default() });
    assert_eq!(recorded.ending, Some(Ending::Silence));
    assert!((ms(1_680)..ms(1_800)).contains(&recorded.at), "{:?}", recorded.at);
    assert_eq!(recorded.samples.len(), 8_000);
}

#[test]
fn the_longest_length_ends_it_exactly() {
    let settings = Settings { longest: Some(ms(1_234)), ..Settings::default() };
    let recorded = Call::saying(Codec::Pcmu, &speech()).record(settings.clone());
    assert_eq!((recorded.ending, recorded.samples.len()), (Some(Ending::Longest), 8 * 1_234));
    assert_eq!(recorded.samples, heard_as(Codec::Pcmu, &speech())[..8 * 1_234]);
    let trimmed = Call::saying(Codec::Pcmu, &speech()).record(Settings { trim: true, ..settings });
    assert_eq!(trimmed.ending, Some(Ending::Longest));
    assert!(trimmed.samples.len() <= 8 * 1_234);

    // Also when nothing comes.
    let mut recorder =
        Recorder::new(Settings { longest: Some(ms(3_000)), silence: None, ..Settings::default() }, payloads());
    recorder.begin(Duration::ZERO);
    recorder.tick(ms(3_999));
    assert_eq!(recorder.ended(), None);
    recorder.tick(ms(4_000));
    assert_eq!(recorder.ended(), Some(Ending::Longest));
}

#[test]
fn another_codec_in_the_middle_of_the_call_changes_nothing_in_what_is_stored() {
    let (first, second) = (tone::sine(8_000, 300.0, -20.0, ms(1_000)), speech());
    let mut player = Player::new(voice(Codec::Pcmu), ORIGIN);
    player.play(&first);
    let mut call = Call::of(&mut player);
    player.change(voice(Codec::Pcma));
    player.play(&second);
    call.say(&mut player);
    let expected = [heard_as(Codec::Pcmu, &first), heard_as(Codec::Pcma, &second)].concat();
    // The player stops for a moment between the two, and its clock goes on.
    let recorded = call.record(everything(8_000));
    assert_eq!(recorded.samples.len(), expected.len() + 160);
    assert_eq!(recorded.samples[..8_000], expected[..8_000]);
    assert_eq!(recorded.samples[8_160..], expected[8_000..]);
}

#[test]
fn another_stream_after_a_re_invite_goes_on_where_the_first_ended() {
    let (first, second) = (tone::sine(8_000, 300.0, -20.0, ms(1_000)), speech());
    let mut call = Call::saying(Codec::Pcmu, &first);
    let mut again = Player::new(voice(Codec::Pcmu), Origin { ssrc: 99, sequence: 7, timestamp: 123 });
    again.play(&second);
    call.say(&mut again);
    let recorded = call.record(everything(8_000));
    assert_eq!(recorded.samples, [heard_as(Codec::Pcmu, &first), heard_as(Codec::Pcmu, &second)].concat());
    assert_eq!(recorded.statistics.stream.restarts, 1);
}

#[test]
fn a_call_on_hold_is_silent_for_as_long() {
    let tone = tone::sine(8_000, 300.0, -20.0, ms(1_000));
    for ssrc in [ORIGIN.ssrc, 99] {
        let mut call = Call::saying(Codec::Pcmu, &tone);
        let mut later = Player::new(voice(Codec::Pcmu), Origin { ssrc, sequence: 20_000, timestamp: 5 });
        later.play(&tone);
        let resumed = Call::of(&mut later);
        call.datagrams.extend(resumed.datagrams.into_iter().map(|(at, datagram)| (at + ms(5_000), datagram)));
        let samples = call.record(everything(8_000)).samples;
        let sounding = |from: usize, to: usize| level::dbov(&samples[from * 8..to * 8]) > -30.0;
        assert!((47_800..=48_200).contains(&samples.len()), "{}", samples.len());
        assert!(sounding(0, 1_000) && sounding(5_010, 5_990) && !sounding(1_010, 4_990));
    }
}

#[test]
fn reports_and_noise_are_counted_and_not_heard() {
    let mut call = Call::saying(Codec::Pcmu, &speech());
    let report = vec![0x81, 201, 0, 7, 1, 2, 3, 4, 0, 0, 0, 0];
    let strange =
        Packet { marker: false, payload_type: 77, sequence: 1, timestamp: 2, ssrc: 3, payload: b"?" }.to_vec();
    for at in [200, 100, 50] {
        call.datagrams.insert(at, (call.datagrams[at].0, report.clone()));
        call.datagrams.insert(at, (call.datagrams[at].0, b"hello".to_vec()));
        call.datagrams.insert(at, (call.datagrams[at].0, strange.clone()));
    }
    let recorded = call.record(everything(8_000));
    assert_eq!(recorded.samples, heard_as(Codec::Pcmu, &speech()));
    assert_eq!((recorded.statistics.reports, recorded.statistics.malformed), (3, 6));
}

#[test]
fn payloads_of_other_lengths_are_taken() {
    // 30 ms, 10 ms, a single sample: whatever a sender likes.
    let said = heard_as(Codec::Pcmu, &speech());
    let mut payload = Vec::new();
    Encoder::new(Codec::Pcmu).encode(&said, &mut payload).unwrap();
    let (mut call, mut start, mut sequence) = (Call::default(), 0, 9_u16);
    for length in [240, 80, 160, 1, 39, 480, 240].into_iter().cycle() {
        let part = &payload[start..payload.len().min(start + length)];
        if part.is_empty() {
            break;
        }
        let packet =
            Packet { marker: false, payload_type: 0, sequence, timestamp: start as u32, ssrc: 1, payload: part };
        call.datagrams.push((Duration::from_micros(start as u64 * 125), packet.to_vec()));
        start += part.len();
        sequence += 1;
    }
    assert_eq!(call.record(everything(8_000)).samples, said);
}
