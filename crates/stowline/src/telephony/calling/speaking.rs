//! What a caller does on the line: waits for the signal, speaks, presses keys, and hears all the while.

use std::time::Duration;

use sip::Call;
use tokio::time::Instant;
use voice::srtp::{Opener, Sealer};
use voice::{Clip, Key, Keys, Origin, Payloads, Player, Recorder, Settings};

use super::Speak;
use super::signal::Signal;
use crate::telephony::beat::Beat;

/// A caller that hears no signal begins after this.
const PATIENCE: Duration = Duration::from_secs(30);
/// When nothing has come for so long, the other party is silent.
const SILENT: Duration = Duration::from_millis(120);
/// Between the end of the signal and the first word.
const BREATH: Duration = Duration::from_millis(300);
/// A key is pressed for so long.
const PRESS: Duration = Duration::from_millis(160);
/// After the last key the other party may hang up first.
const FAREWELL: Duration = Duration::from_secs(5);

/// Speaks and hears.
pub(super) struct Speaker {
    player: Player,
    ear: Recorder,
    opener: Option<Opener>,
    sealer: Option<Sealer>,
    rate: u32,
    beat: Beat,
    heard: Vec<i16>,
    signal: Signal,
}

impl Speaker {
    pub(super) fn new(call: &Call) -> Self {
        let media = call.media().borrow().clone();
        let rate = media.voice.codec.sample_rate();
        let settings = Settings { rate, silence: None, longest: None, end_keys: Keys::NONE, ..Settings::default() };
        let payloads = Payloads {
            audio: vec![(media.voice.payload_type, media.voice.codec)],
            telephone_event: media.voice.telephone_event.into_iter().collect(),
        };
        let mut ear = Recorder::new(settings, payloads);
        ear.begin(Duration::ZERO);
        let origin = Origin { ssrc: rand::random(), sequence: rand::random(), timestamp: rand::random() };
        Self {
            player: Player::new(media.voice, origin),
            ear,
            opener: media.protection.as_ref().map(|protection| Opener::of(&protection.theirs)),
            sealer: media
                .protection
                .as_ref()
                .map(|protection| Sealer::new(protection.ours.suite, &protection.ours.key)),
            rate,
            beat: Beat::new(),
            heard: Vec::new(),
            signal: Signal::new(rate),
        }
    }

    /// Whether all was said.
    pub(super) async fn speak(
        &mut self,
        call: &Call,
        when: Speak,
        clip: &Clip,
        keys: &[Key],
        say: &mut (dyn FnMut(&str) + Send),
    ) -> bool {
        if !self.wait(call, when, say).await {
            return false;
        }
        let length = clip.duration();
        say(&format!("speaking, {:.1} s", length.as_secs_f64()));
        self.player.play(clip);
        let (started, mut told) = (Instant::now(), 0);
        while !self.player.is_idle() {
            if !self.step(call).await {
                return false;
            }
            let seconds = started.elapsed().as_secs();
            if seconds > told {
                told = seconds;
                say(&format!("  {seconds} s of {:.1} s", length.as_secs_f64()));
            }
        }
        if !keys.is_empty() && self.player.voice().telephone_event.is_none() {
            say("the other party takes no keys");
        }
        keys.iter().for_each(|key| self.player.press(*key, PRESS));
        while !self.player.is_idle() {
            self.step(call).await;
        }
        let farewell = Instant::now();
        while !keys.is_empty() && farewell.elapsed() < FAREWELL && self.step(call).await {}
        true
    }

    /// Waits until one may speak; no longer than the call lasts.
    async fn wait(&mut self, call: &Call, when: Speak, say: &mut (dyn FnMut(&str) + Send)) -> bool {
        let (limit, for_tone) = match when {
            Speak::After(pause) => (pause, false),
            Speak::AfterTheTone => {
                say("waiting for the tone");
                (PATIENCE, true)
            }
        };
        let mut from = Instant::now();
        let mut limit = limit;
        let mut heard = !for_tone;
        while from.elapsed() < limit {
            let before = self.heard.len();
            if !self.step(call).await {
                return false;
            }
            let fresh = self.heard[before..].to_vec();
            let silent = self.ear.last_heard().is_some_and(|last| self.beat.now().saturating_sub(last) > SILENT);
            if !heard && (self.signal.feed(&fresh) || (silent && self.signal.silence())) {
                heard = true;
                (from, limit) = (Instant::now(), BREATH);
            }
        }
        if !heard {
            say("no tone was heard");
        }
        true
    }

    /// Twenty milliseconds on the line; `false` when it is over.
    async fn step(&mut self, call: &Call) -> bool {
        let rtp = call.rtp();
        let mut datagram = Vec::new();
        if self.player.next(&mut datagram) {
            let sealed = self.sealer.as_mut().is_none_or(|sealer| sealer.seal(&mut datagram).is_ok());
            if sealed {
                rtp.send(&datagram).await;
            }
        }
        let mut buffer = [0; 2_048];
        loop {
            tokio::select! {
                () = self.beat.wait() => break,
                _ = call.ended() => return false,
                Ok(length) = rtp.receive(&mut buffer) => {
                    let mut packet = buffer[..length].to_vec();
                    if self.opener.as_mut().is_none_or(|opener| opener.open(&mut packet).is_ok()) {
                        self.ear.feed(&packet, self.beat.now());
                    }
                }
            }
        }
        self.ear.tick(self.beat.now());
        self.ear.take_samples(&mut self.heard);
        true
    }

    /// What was heard, and its rate.
    pub(super) fn heard(mut self) -> (u32, Vec<i16>) {
        self.ear.drain(self.beat.now());
        self.ear.take_samples(&mut self.heard);
        (self.rate, self.heard)
    }
}
