//! What happens on the line between an answer and a message: a greeting, a beep, and then we listen.
//!
//! A conversation knows packets and time, neither mailboxes nor disks: what is said goes to a [`Tape`]. Time stands still while the other
//! party holds the call (`Beat`), so that nobody is cut off for a silence that was not theirs; a hold has a limit of its own.

use std::time::Duration;

use async_trait::async_trait;
use sip::{Call, End, sdp};
use tokio::sync::watch;
use tokio::time::Instant;
use voice::player::INTERVAL;
use voice::srtp::{Crypto, Opener, Sealer};
use voice::{Clip, Ending, Key, KeyEvent, Origin, Payloads, Player, Recorder, Settings, tone};
use zeroize::Zeroizing;

use super::beat::Beat;

/// So long the greeting waits for the acknowledgement of our answer: before it, nobody may be listening.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(1);
/// While we listen a short silence is sent so often: some switches hang up on who sends nothing.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// No hold is longer.
const LONGEST_HOLD: Duration = Duration::from_secs(10 * 60);
/// The largest datagram that is a packet of voice.
const DATAGRAM: usize = 2_048;
/// A key that came as a message was pressed so long.
const PRESS: Duration = Duration::from_millis(100);

/// Takes what is said, in the order in which it is said.
#[async_trait]
pub trait Tape: Send {
    /// Takes the samples that follow. Must not wait for long: packets arrive meanwhile.
    async fn take(&mut self, samples: &[i16]);

    /// Whether it cannot take any more, so that there is no use in listening on.
    fn is_full(&self) -> bool;
}

/// Why a conversation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The call ended.
    Call(End),
    /// The recording did.
    Recording(Ending),
    /// It was held for too long.
    Held,
    /// We are leaving.
    Leaving,
    /// What is said cannot be kept any more.
    Full,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// How long what was said is.
    pub length: Duration,
    /// Why it is over.
    pub over: Over,
    /// What was seen on the way.
    pub statistics: voice::recorder::Statistics,
}

/// Plays `greeting` and `beep` (a `#` skips the greeting), then listens until it is over. Does not hang up.
pub async fn hold(
    call: &Call,
    settings: Settings,
    greeting: &Clip,
    beep: &Clip,
    leaving: impl Future<Output = ()>,
    tape: &mut dyn Tape,
) -> Heard {
    call.acknowledged(ACKNOWLEDGEMENT).await;
    let mut line = Line::new(call, settings);
    line.player.play(greeting);
    let mut beep = Some(beep);
    let (rtp, mut media) = (call.rtp(), call.media());
    let mut buffer = vec![0; DATAGRAM];
    let ended = call.ended();
    tokio::pin!(leaving, ended);
    let over = loop {
        tokio::select! {
            end = &mut ended => break Over::Call(end),
            () = &mut leaving => break Over::Leaving,
            Ok(()) = media.changed() => line.renegotiated(&media.borrow_and_update().clone()),
            key = call.key() => line.pressed(key),
            received = rtp.receive(&mut buffer) => {
                if let Ok(length) = received {
                    line.received(&buffer[..length]);
                }
            }
            () = line.beat.wait() => {
                if let Some(packet) = line.due() {
                    rtp.send(packet).await;
                }
                if let Some(over) = line.tick(&mut beep) {
                    break over;
                }
            }
        }
        line.give(tape).await;
        if tape.is_full() {
            break Over::Full;
        }
    };
    line.finish(over, tape).await
}

/// Our end of the line.
struct Line {
    media: watch::Receiver<sdp::Media>,
    player: Player,
    recorder: Recorder,
    opener: Option<Keyed<Opener>>,
    sealer: Option<Keyed<Sealer>>,
    beat: Beat,
    packet: Vec<u8>,
    opened: Vec<u8>,
    samples: Vec<i16>,
    quiet_since: Instant,
    skip: bool,
}

impl Line {
    fn new(call: &Call, settings: Settings) -> Self {
        let media = call.media();
        let agreed = media.borrow().clone();
        let origin = Origin { ssrc: rand::random(), sequence: rand::random(), timestamp: rand::random() };
        let mut line = Self {
            player: Player::new(agreed.voice, origin),
            recorder: Recorder::new(settings, payloads(&agreed)),
            opener: None,
            sealer: None,
            media,
            beat: Beat::new(),
            packet: Vec::with_capacity(DATAGRAM),
            opened: Vec::with_capacity(DATAGRAM),
            samples: Vec::new(),
            quiet_since: Instant::now(),
            skip: false,
        };
        line.key(&agreed);
        line.beat.hold(!agreed.direction.receives());
        line
    }

    fn key(&mut self, agreed: &sdp::Media) {
        let protection = agreed.protection.as_ref();
        Keyed::renew(&mut self.opener, protection.map(|protection| &protection.theirs), Opener::of);
        let sealer = |ours: &Crypto| Sealer::new(ours.suite, &ours.key);
        Keyed::renew(&mut self.sealer, protection.map(|protection| &protection.ours), sealer);
    }

    fn renegotiated(&mut self, agreed: &sdp::Media) {
        self.recorder.change(payloads(agreed));
        self.player.change(agreed.voice);
        self.key(agreed);
        self.beat.hold(!agreed.direction.receives());
    }

    fn pressed(&mut self, key: char) {
        if let Some(key) = Key::from_char(key) {
            self.recorder.press(key, PRESS);
        }
    }

    fn received(&mut self, datagram: &[u8]) {
        self.opened.clear();
        self.opened.extend_from_slice(datagram);
        let readable = match &mut self.opener {
            Some(opener) => opener.tool.open(&mut self.opened).is_ok(),
            None => true,
        };
        if readable {
            self.recorder.feed(&self.opened, self.beat.now());
        }
    }

    /// The packet that is to be sent now.
    fn due(&mut self) -> Option<&[u8]> {
        if self.recorder.is_recording() && self.player.is_idle() && self.quiet_since.elapsed() >= SIGN_OF_LIFE {
            let rate = self.player.voice().codec.sample_rate();
            self.player.play(&tone::pause(rate, INTERVAL));
        }
        self.packet.clear();
        if !self.player.next(&mut self.packet) {
            return None;
        }
        self.quiet_since = Instant::now();
        match &mut self.sealer {
            Some(sealer) => sealer.tool.seal(&mut self.packet).is_ok().then_some(self.packet.as_slice()),
            None => Some(&self.packet),
        }
    }

    /// Lets time pass; says when the recording is over.
    fn tick(&mut self, beep: &mut Option<&Clip>) -> Option<Over> {
        if self.beat.held() > LONGEST_HOLD {
            return Some(Over::Held);
        }
        let now = self.beat.now();
        self.recorder.tick(now);
        while let Some(event) = self.recorder.next_key() {
            self.skip |= event == KeyEvent::Down(Key::HASH);
        }
        if self.recorder.is_recording() || self.recorder.ended().is_some() {
            return self.recorder.ended().map(Over::Recording);
        }
        if self.skip && beep.is_some() {
            self.player.stop();
        }
        if self.player.is_idle() {
            match beep.take() {
                Some(beep) => self.player.play(beep),
                None => self.recorder.begin(now),
            }
        }
        None
    }

    async fn give(&mut self, tape: &mut dyn Tape) {
        self.recorder.take_samples(&mut self.samples);
        if !self.samples.is_empty() {
            tape.take(&self.samples).await;
            self.samples.clear();
        }
    }

    async fn finish(mut self, over: Over, tape: &mut dyn Tape) -> Heard {
        self.recorder.drain(self.beat.now());
        self.give(tape).await;
        tracing::debug!(media = ?self.media.borrow().voice, statistics = ?self.recorder.statistics(), ?over, "a conversation is over");
        Heard { length: self.recorder.duration(), over, statistics: self.recorder.statistics() }
    }
}

/// What opens or seals, and with which key: it counts packets, and goes on doing so while the key stays the same.
struct Keyed<T> {
    line: Zeroizing<String>,
    tool: T,
}

impl<T> Keyed<T> {
    fn renew(place: &mut Option<Self>, wanted: Option<&Crypto>, make: impl Fn(&Crypto) -> T) {
        let line = wanted.map(Crypto::to_sdp);
        if place.as_ref().map(|keyed| keyed.line.as_str()) != line.as_deref().map(String::as_str) {
            *place = wanted.zip(line).map(|(wanted, line)| Self { line, tool: make(wanted) });
        }
    }
}

fn payloads(agreed: &sdp::Media) -> Payloads {
    let voice = agreed.voice;
    Payloads {
        audio: vec![(voice.payload_type, voice.codec)],
        telephone_event: voice.telephone_event.into_iter().collect(),
    }
}
