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
