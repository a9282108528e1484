//! What comes in on one call: packets go in, samples and keys come out.
//!
//! A [`Recorder`] listens from the first packet of a call on, for a key may be pressed while the greeting plays; what is said is kept from
//! [`Recorder::begin`] on. It gives samples of one rate whatever codec the call is held in and however often that changes. Everything that
//! was said until the end is stored, exactly as it was said: where G.711 came without loss, every sample is the one that was sent.
//!
//! The end is a key, a silence, or the longest length ([`Ending`]); the recorder says so and keeps nothing more, and whoever holds the call
//! hangs up. A call that is hung up, or ended, is to be [drained](Recorder::drain), so that no tail is lost.
//!
//! It has no clock: `now` is the time since any moment, always the same. It is to be told of it at least a few times a second
//! ([`Recorder::tick`]), for silence may come without any packet.

mod intake;

use std::time::Duration;

use intake::Intake;

use crate::Codec;
use crate::dtmf::{Key, KeyEvent, Keys};
use crate::jitter::{Arrival, Jitter};
use crate::level::SilenceLimits;
use crate::rtp::{self, Packet};

/// What the numbers mean that were agreed on for what comes in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payloads {
    /// Payload types of audio.
    pub audio: Vec<(u8, Codec)>,
    /// Payload types of telephone-event, each with its clock rate.
    pub telephone_event: Vec<(u8, u32)>,
}

impl Payloads {
    fn codec(&self, payload_type: u8) -> Option<Codec> {
        self.audio.iter().find(|(known, _)| *known == payload_type).map(|(_, codec)| *codec)
    }

    fn keys(&self, payload_type: u8) -> Option<u32> {
        self.telephone_event.iter().find(|(known, _)| *known == payload_type).map(|(_, clock_rate)| *clock_rate)
    }
}

/// How a call is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Samples a second of what is given out.
    pub rate: u32,
    /// How long a packet is waited for that others have overtaken.
    pub window: Duration,
    /// The silence that ends a recording, if any does.
    pub silence: Option<SilenceLimits>,
    /// A recording is never longer.
    pub longest: Option<Duration>,
    /// The keys that end a recording.
    pub end_keys: Keys,
    /// Cuts off the silence at the end. What was said is not all there then: off unless somebody wants it.
    pub trim: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rate: 8_000,
            window: Duration::from_millis(200),
            silence: Some(SilenceLimits::default()),
            longest: Some(Duration::from_secs(500)),
            end_keys: Keys::HASH,
            trim: false,
        }
    }
}

/// Why a recording is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A key that ends it was pressed.
    Key(Key),
    /// Nothing was said for too long.
    Silence,
    /// It is as long as it may be.
    Longest,
}

/// What was seen on the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// What the jitter buffer saw.
    pub stream: crate::jitter::Counts,
    /// Datagrams that were no RTP, or RTP of no payload type that was agreed on, or no payload of their codec.
    pub malformed: u64,
    /// Reports on the same port.
    pub reports: u64,
    /// Samples made up for what was lost.
    pub concealed: u64,
    /// Samples of silence filled in where nothing was sent.
    pub filled: u64,
    /// Samples given out or waiting to be.
    pub recorded: u64,
}

/// One call's ears.
#[derive(Debug)]
pub struct Recorder {
    payloads: Payloads,
    jitter: Jitter,
    intake: Intake,
    malformed: u64,
    reports: u64,
}

impl Recorder {
    /// Listens, and keeps nothing yet.
    #[must_use]
    pub fn new(settings: Settings, payloads: Payloads) -> Self {
        let jitter = Jitter::new(settings.window);
        Self { jitter, intake: Intake::new(settings, &payloads), payloads, malformed: 0, reports: 0 }
    }

    /// The numbers mean something else from now on, as after a re-INVITE.
    pub fn change(&mut self, payloads: Payloads) {
        self.intake.change(&payloads);
        self.payloads = payloads;
    }

    /// What is said from now on is kept.
    pub fn begin(&mut self, now: Duration) {
        let intake = &mut self.intake;
        self.jitter.tick(now, &mut |event| intake.take(event, now));
        self.jitter.flush(&mut |event| intake.take(event, now));
        self.jitter.mark();
        self.intake.begin(now);
    }

    /// Takes a datagram, already opened where the call is encrypted.
    pub fn feed(&mut self, datagram: &[u8], now: Duration) {
        if rtp::is_rtcp(datagram) {
            self.reports += 1;
            return;
        }
        let Ok(packet) = Packet::parse(datagram) else {
            self.malformed += 1;
            return;
        };
        self.intake.hear(now);
        let intake = &mut self.intake;
        let mut sink = |event: crate::jitter::Event<'_>| intake.take(event, now);
        let known = self.jitter.ssrc() == Some(packet.ssrc);
        match (self.payloads.codec(packet.payload_type), self.payloads.keys(packet.payload_type)) {
            (Some(codec), _) => match codec.ticks(packet.payload) {
                Some(ticks) => {
                    self.jitter.push(&Arrival { packet, clock_rate: codec.clock_rate(), ticks }, now, &mut sink)
                }
                None => self.malformed += 1,
            },
            // Some send keys as a stream of their own: those are taken as they come.
            (None, Some(_)) if !known => self.intake.keys(&packet, now),
            (None, Some(clock_rate)) => self.jitter.push(&Arrival { packet, clock_rate, ticks: 0 }, now, &mut sink),
            (None, None) if known => self.jitter.push(&Arrival { packet, clock_rate: 0, ticks: 0 }, now, &mut sink),
            (None, None) => self.malformed += 1,
        }
    }

    /// A key that came another way, as in a SIP INFO.
    pub fn press(&mut self, key: Key, duration: Duration) {
        self.intake.key(KeyEvent::Down(key));
        self.intake.key(KeyEvent::Up(key, duration));
    }

    /// Lets time pass: what did not come is given up, a silence without packets is noticed.
    pub fn tick(&mut self, now: Duration) {
        let intake = &mut self.intake;
        self.jitter.tick(now, &mut |event| intake.take(event, now));
        self.intake.tick(now);
    }

    /// Nothing more will come: what still waits is given out. Afterwards the samples are complete.
    pub fn drain(&mut self, now: Duration) {
        let intake = &mut self.intake;
        self.jitter.flush(&mut |event| intake.take(event, now));
        self.intake.drain();
    }

    /// Appends the samples that are there to others, each of them once. They are final: nothing that comes changes them.
    pub fn take_samples(&mut self, samples: &mut Vec<i16>) {
        self.intake.take_samples(samples);
    }

    /// What happened to the keys since it was asked last.
    pub fn next_key(&mut self) -> Option<KeyEvent> {
        self.intake.next_key()
    }

    /// Why the recording is over, once it is.
    #[must_use]
    pub fn ended(&self) -> Option<Ending> {
        self.intake.ended()
    }

    /// Whether what is said is being kept.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.intake.is_recording()
    }

    /// Whether anybody has spoken since the beginning.
    #[must_use]
    pub fn has_spoken(&self) -> bool {
        self.intake.has_spoken()
    }

    /// How long what was kept sounds.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.intake.duration()
    }

    /// When a packet of the call came last; `None` while none has.
    #[must_use]
    pub fn last_heard(&self) -> Option<Duration> {
        self.intake.last_heard()
    }

    /// What was seen so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let Recorder { malformed, reports, .. } = *self;
        Statistics { stream: self.jitter.counts(), malformed, reports, ..self.intake.statistics() }
    }
}
