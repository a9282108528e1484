//! What we say on a call: clips and keys as a stream of packets, one every 20 ms.
//!
//! The player owns what must go on through the whole call whatever is played: sequence, timestamps, SSRC. It has no clock: whoever sends
//! calls [`Player::next`] every 20 ms, and sends nothing when there is nothing to say. Timestamps go on all the same, as RFC 3550 wants it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::dtmf::{Key, Press};
use crate::rtp::Packet;
use crate::{Clip, Codec};

/// The time from one packet to the next.
pub const INTERVAL: Duration = Duration::from_millis(20);

/// Which codec is spoken under which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voice {
    /// The codec.
    pub codec: Codec,
    /// Its payload type, as the other side wants it.
    pub payload_type: u8,
    /// The payload type of telephone-event and its clock rate, where the other side takes it.
    pub telephone_event: Option<(u8, u32)>,
}

/// Where a stream begins: drawn at random for every call (RFC 3550, 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Who we are in the stream.
    pub ssrc: u32,
    /// The first packet's number.
    pub sequence: u16,
    /// The first packet's time.
    pub timestamp: u32,
}

#[derive(Debug)]
enum Item {
    Clip { clip: Clip, at: usize },
    Key { press: Press, timestamp: Option<u32> },
}

/// Plays clips and keys, one after the other.
#[derive(Debug)]
pub struct Player {
    voice: Voice,
    origin: Origin,
    queue: VecDeque<Item>,
    /// The next packet is the first after a silence.
    fresh: bool,
}

impl Player {
    /// For one call.
    #[must_use]
    pub fn new(voice: Voice, origin: Origin) -> Self {
        Self { voice, origin, queue: VecDeque::new(), fresh: true }
    }

    /// The other side wants another codec from now on; what is being played goes on in it.
    pub fn change(&mut self, voice: Voice) {
        self.voice = voice;
    }

    /// What is spoken.
    #[must_use]
    pub fn voice(&self) -> Voice {
        self.voice
    }

    /// Plays this after what is being played.
    pub fn play(&mut self, clip: &Clip) {
        self.queue.push_back(Item::Clip { clip: clip.clone(), at: 0 });
    }

    /// Presses a key after what is being played; nothing where the other side does not take keys this way.
    pub fn press(&mut self, key: Key, duration: Duration) {
        if let Some((_, clock_rate)) = self.voice.telephone_event {
            let press = Press::new(key, duration, clock_rate);
            self.queue.push_back(Item::Key { press, timestamp: None });
        }
    }

    /// Forgets what was to be played.
    pub fn stop(&mut self) {
        self.queue.clear();
    }

    /// Whether there is nothing more to play.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends the packet that is due now to a datagram; `false` when there is nothing to say. To be called every [`INTERVAL`].
    pub fn next(&mut self, datagram: &mut Vec<u8>) -> bool {
        let step = self.voice.codec.clock_rate() / 50;
        let now = self.origin.timestamp;
        self.origin.timestamp = now.wrapping_add(step);
        while let Some(item) = self.queue.front_mut() {
            let written = match item {
                Item::Clip { clip, at } => {
                    let payload = clip.encoded(self.voice.codec).payload(*at);
                    *at += 1;
                    if let Some(payload) = payload {
                        write(self.origin, now, self.fresh, self.voice.payload_type, payload, datagram);
                    }
                    payload.is_some()
                }
                Item::Key { press, timestamp } => match (press.next(), self.voice.telephone_event) {
                    (Some(event), Some((payload_type, _))) => {
                        let marker = timestamp.is_none();
                        let began = *timestamp.get_or_insert(now);
                        write(self.origin, began, marker, payload_type, &event.to_bytes(), datagram);
                        true
                    }
                    _ => false,
                },
            };
            if written {
                self.origin.sequence = self.origin.sequence.wrapping_add(1);
                self.fresh = false;
                return true;
            }
            self.queue.pop_front();
        }
        self.fresh = true;
        false
    }
}

fn write(origin: Origin, timestamp: u32, marker: bool, payload_type: u8, payload: &[u8], datagram: &mut Vec<u8>) {
    Packet { marker, payload_type, sequence: origin.sequence, timestamp, ssrc: origin.ssrc, payload }.write(datagram);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtmf::TelephoneEvent;
    use crate::tone;

    const ORIGIN: Origin = Origin { ssrc: 7, sequence: 65_534, timestamp: u32::MAX - 300 };
    const PCMU: Voice = Voice { codec: Codec::Pcmu, payload_type: 0, telephone_event: Some((101, 8_000)) };

    fn next(player: &mut Player) -> Option<(bool, u8, u16, u32, Vec<u8>)> {
        let mut datagram = Vec::new();
        player.next(&mut datagram).then(|| {
            let packet = Packet::parse(&datagram).unwrap();
            assert_eq!(packet.ssrc, 7);
            (packet.marker, packet.payload_type, packet.sequence, packet.timestamp, packet.payload.to_vec())
        })
    }

    #[test]
    fn a_clip_is_packets_of_20_ms_the_last_filled_up() {
        let mut player = Player::new(PCMU, ORIGIN);
        player.play(&Clip::new(8_000, vec![7_932; 330]));
        let loud = 0xa0;
        let [first, second, third] = [(); 3].map(|()| next(&mut player).unwrap());
        assert_eq!(first, (true, 0, 65_534, u32::MAX - 300, vec![loud; 160]));
        assert_eq!(second, (false, 0, 65_535, u32::MAX - 140, vec![loud; 160]));
        assert_eq!((third.0, third.2, third.3), (false, 0, 19));
        assert_eq!(third.4, [vec![loud; 10], vec![0xff; 150]].concat());
        assert_eq!(next(&mut player), None);
        assert!(player.is_idle());
    }

    #[test]
    fn silence_between_is_not_sent_but_takes_its_time() {
        let mut player = Player::new(PCMU, ORIGIN);
        assert_eq!((next(&mut player), next(&mut player)), (None, None));
        player.play(&tone::pause(8_000, INTERVAL));
        let (marker, _, sequence, timestamp, _) = next(&mut player).unwrap();
        assert_eq!((marker, sequence, timestamp), (true, 65_534, 19));
    }

    #[test]
    fn a_key_has_one_time_and_the_clock_goes_on() {
        let mut player = Player::new(PCMU, Origin { timestamp: 1_000, ..ORIGIN });
        player.play(&tone::pause(8_000, INTERVAL));
        player.press(Key::HASH, Duration::from_millis(60));
        player.play(&tone::pause(8_000, INTERVAL));
        let packets: Vec<_> = std::iter::from_fn(|| next(&mut player)).collect();
        let times: Vec<_> = packets
            .iter()
            .map(|(marker, payload_type, _, timestamp, _)| (*marker, *payload_type, *timestamp))
            .collect();
        let key = |marker| (marker, 101, 1_160);
        assert_eq!(
            times,
            [(true, 0, 1_000), key(true), key(false), key(false), key(false), key(false), (false, 0, 1_960)]
        );
        let events: Vec<_> = packets[1..6].iter().map(|packet| TelephoneEvent::parse(&packet.4).unwrap()).collect();
        assert_eq!(
            events.iter().map(|event| (event.event, event.end, event.duration)).collect::<Vec<_>>(),
            [(11, false, 160), (11, false, 320), (11, true, 480), (11, true, 480), (11, true, 480),]
        );
    }

    #[test]
    fn another_codec_goes_on_at_the_same_place() {
        let clip = tone::sine(8_000, 500.0, -20.0, Duration::from_secs(1));
        let mut player = Player::new(PCMU, ORIGIN);
        player.play(&clip);
        let mut all = [(); 20].map(|()| next(&mut player).unwrap()).to_vec();
        player.change(Voice { codec: Codec::Pcma, payload_type: 8, telephone_event: None });
        player.press(Key::STAR, INTERVAL);
        all.extend(std::iter::from_fn(|| next(&mut player)));
        assert_eq!(all.len(), 50, "and no key, for nobody would understand it");
        assert!(all[20..].iter().all(|packet| packet.1 == 8));
        player.play(&clip);
        player.stop();
        assert_eq!(next(&mut player), None);
    }

    #[test]
    fn a_clip_is_encoded_once_for_all_who_play_it() {
        let clip = tone::sine(16_000, 500.0, -20.0, Duration::from_millis(100));
        let other = clip.clone();
        clip.prepare(Codec::Opus);
        assert!(std::ptr::eq(clip.encoded(Codec::Opus), other.encoded(Codec::Opus)));
        assert_eq!(clip.followed_by(&tone::beep(8_000)).duration(), Duration::from_millis(350));
        assert_eq!(clip.at_rate(8_000).samples().len(), 800);
    }
}
