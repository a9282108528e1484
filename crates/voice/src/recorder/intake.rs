//! What becomes of packets once they are in order: decoded, at one rate, as long as the recording goes on.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Ending, Payloads, Settings, Statistics};
use crate::dtmf::{Detector, KeyEvent};
use crate::jitter::{Event, Gap};
use crate::level::{Silence, SilenceLimits};
use crate::rtp::Packet;
use crate::tone::Resampler;
use crate::{Codec, Decoder};

/// Of the silence that is cut off at the end so much stays.
const KEPT: Duration = Duration::from_millis(250);
/// A recording whose longest length has passed on the clock, and that is not so long because nothing came, is over after this.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Ear {
    decoder: Decoder,
    resampler: Resampler,
}

#[derive(Debug)]
pub(super) struct Intake {
    settings: Settings,
    payloads: Payloads,
    ear: Option<Ear>,
    keys: Detector,
    events: VecDeque<KeyEvent>,
    silence: Silence,
    began: Option<Duration>,
    /// When audio was last given to us.
    sounded: Duration,
    heard: Option<Duration>,
    ended: Option<Ending>,
    /// Final samples that nobody has taken, and behind them, where silence is cut off, what may turn out to be of it.
    samples: Vec<i16>,
    undecided: usize,
    recorded: u64,
    concealed: u64,
    filled: u64,
    decoded: Vec<i16>,
}

impl Intake {
    pub(super) fn new(settings: Settings, payloads: &Payloads) -> Self {
        let endless =
            SilenceLimits { after_speech: Duration::MAX, before_speech: Duration::MAX, ..SilenceLimits::default() };
        let silence = Silence::new(settings.silence.unwrap_or(endless), settings.rate);
        Self {
            settings,
            payloads: payloads.clone(),
            ear: None,
            keys: Detector::default(),
            events: VecDeque::new(),
            silence,
            began: None,
            sounded: Duration::ZERO,
            heard: None,
            ended: None,
            samples: Vec::new(),
            undecided: 0,
            recorded: 0,
            concealed: 0,
            filled: 0,
            decoded: Vec::new(),
        }
    }

    pub(super) fn change(&mut self, payloads: &Payloads) {
        self.payloads = payloads.clone();
    }

    pub(super) fn hear(&mut self, now: Duration) {
        self.heard = Some(now);
    }

    pub(super) fn begin(&mut self, now: Duration) {
        if self.began.is_none() {
            self.began = Some(now);
            self.sounded = now;
        }
    }

    pub(super) fn take(&mut self, event: Event<'_>, now: Duration) {
        match event {
            Event::Audio { packet, gap } => self.audio(&packet, gap, now),
            Event::Other { packet } => self.keys(&packet, now),
            Event::Restarted => {
                let last = self.keys.reset();
                last.into_iter().for_each(|event| self.key(event));
                self.change_ear(None);
            }
        }
    }

    pub(super) fn keys(&mut self, packet: &Packet<'_>, now: Duration) {
        if let Some(clock_rate) = self.payloads.keys(packet.payload_type) {
            let events = self.keys.feed(packet.timestamp, clock_rate, packet.payload, now);
            events.for_each(|event| self.key(event));
        }
    }

    pub(super) fn key(&mut self, event: KeyEvent) {
        self.events.push_back(event);
        if let KeyEvent::Down(key) = event
            && self.is_recording()
            && self.settings.end_keys.contains(key)
        {
            self.end(Ending::Key(key));
        }
    }

    pub(super) fn tick(&mut self, now: Duration) {
        let last = self.keys.tick(now);
        last.into_iter().for_each(|event| self.key(event));
        let Some(began) = self.began.filter(|_| self.is_recording()) else { return };
        if self.settings.longest.is_some_and(|longest| now.saturating_sub(began) >= longest + GRACE) {
            self.end(Ending::Longest);
        } else if self.silence.is_over(now.saturating_sub(self.sounded)) {
            self.end(Ending::Silence);
        }
    }

    pub(super) fn drain(&mut self) {
        let last = self.keys.reset();
        last.into_iter().for_each(|event| self.key(event));
        self.change_ear(None);
        if self.settings.trim {
            self.samples.truncate(self.samples.len() - self.undecided);
            self.recorded -= self.undecided as u64;
            self.undecided = 0;
        }
    }

    pub(super) fn take_samples(&mut self, samples: &mut Vec<i16>) {
        let decided = self.samples.len() - self.undecided;
        samples.extend(self.samples.drain(..decided));
    }

    pub(super) fn next_key(&mut self) -> Option<KeyEvent> {
        self.events.pop_front()
    }

    pub(super) fn ended(&self) -> Option<Ending> {
        self.ended
    }

    pub(super) fn is_recording(&self) -> bool {
        self.began.is_some() && self.ended.is_none()
    }

    pub(super) fn has_spoken(&self) -> bool {
        self.silence.has_spoken()
    }

    pub(super) fn duration(&self) -> Duration {
        Duration::from_nanos(self.recorded.saturating_mul(1_000_000_000) / u64::from(self.settings.rate.max(1)))
    }

    pub(super) fn last_heard(&self) -> Option<Duration> {
        self.heard
    }

    pub(super) fn statistics(&self) -> Statistics {
        let (concealed, filled, recorded) = (self.concealed, self.filled, self.recorded);
        Statistics { concealed, filled, recorded, ..Statistics::default() }
    }

    fn audio(&mut self, packet: &Packet<'_>, gap: Gap, now: Duration) {
        let Some(codec) = self.payloads.codec(packet.payload_type) else { return };
        if self.ear.as_ref().is_none_or(|ear| ear.decoder.codec() != codec) {
            self.change_ear(Some(codec));
        }
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        if let Some(ear) = &mut self.ear {
            // A payload that cannot be decoded leaves a hole, and the next one is heard as it is.
            let _ = match gap {
                Gap::None => ear.decoder.decode(packet.payload, &mut decoded),
                Gap::Lost(ticks) => {
                    let missing = codec.samples(ticks);
                    self.concealed += if self.began.is_some() { missing as u64 } else { 0 };
                    ear.decoder.decode_after(missing, packet.payload, &mut decoded)
                }
                Gap::Silent(ticks) => {
                    let missing = codec.samples(ticks);
                    self.filled += if self.began.is_some() { missing as u64 } else { 0 };
                    ear.decoder.pause(missing, &mut decoded);
                    ear.decoder.decode(packet.payload, &mut decoded)
                }
            };
        }
        if self.is_recording() {
            self.sounded = now;
            self.append(&decoded);
        }
        self.decoded = decoded;
    }

    /// Another codec, or another stream: what the one before still holds back comes first.
    fn change_ear(&mut self, codec: Option<Codec>) {
        let start = self.samples.len();
        if let Some(mut ear) = self.ear.take()
            && self.is_recording()
        {
            ear.resampler.finish(&mut self.samples);
        }
        // A limit that only this tail reaches is told with the next that comes.
        let _ = self.settle(start);
        self.ear = codec.map(|codec| Ear {
            decoder: Decoder::new(codec),
            resampler: Resampler::new(codec.sample_rate(), self.settings.rate),
        });
    }

    fn append(&mut self, decoded: &[i16]) {
        let start = self.samples.len();
        if let Some(ear) = &mut self.ear {
            ear.resampler.feed(decoded, &mut self.samples);
        }
        if let Some(ending) = self.settle(start) {
            self.end(ending);
        }
    }

    /// What was appended from `start` on is of the recording, as far as its limits allow; the limit that it reaches, if it does.
    fn settle(&mut self, start: usize) -> Option<Ending> {
        let mut ending = None;
        let room = self.room();
        if self.samples.len() > start && self.samples.len() - start >= room {
            self.samples.truncate(start + room);
            ending = Some(Ending::Longest);
        }
        if let Some(heard) = self.silence.feed(&self.samples[start..]) {
            self.samples.truncate(start + heard);
            ending = Some(Ending::Silence);
        }
        self.recorded += (self.samples.len() - start) as u64;
        if self.settings.trim {
            let silent = self.silence.lasts().saturating_sub(KEPT);
            self.undecided = count(silent, self.settings.rate).min(self.samples.len());
        }
        ending
    }

    /// How many samples there may still be.
    fn room(&self) -> usize {
        let Some(longest) = self.settings.longest else { return usize::MAX };
        count(longest, self.settings.rate).saturating_sub(usize::try_from(self.recorded).unwrap_or(usize::MAX))
    }

    fn end(&mut self, ending: Ending) {
        if self.ended.is_none() {
            self.change_ear(None);
            self.ended = Some(ending);
        }
    }
}

/// Samples in so much time.
fn count(time: Duration, rate: u32) -> usize {
    usize::try_from(time.as_nanos() * u128::from(rate) / 1_000_000_000).unwrap_or(usize::MAX)
}
