//! Packets as they came, put in the order in which they were sent: a *recorder's* jitter buffer.
//!
//! A telephone throws away what comes too late to be played. A recorder plays nothing: it can wait, up to the *window*, for a packet that
//! others have overtaken, and gives up on it only then. When nothing is lost, what comes out is what was sent, packet by packet; where
//! something is, the timestamps say how much ([`Gap`]).
//!
//! * A packet that comes twice is dropped. One that comes after it was given up is dropped too, and counted as late.
//! * A packet that cannot belong to the stream (another SSRC, a sequence from nowhere) waits as a *candidate*. Two of them in a row make it
//!   the new stream, as after a re-INVITE, and nothing of it is lost; alone it was noise (RFC 3550, A.1).
//! * Timestamps may jump: silence that nobody sent, a call on hold, a new beginning. As much silence is filled in as the clock on the wall
//!   confirms, so that nobody can write hours with one packet.
//!
//! It keeps bytes only of packets that wait. It knows no codec; times are durations since any moment, always the same.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::rtp::Packet;

/// A packet, and what its payload type means.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The packet.
    pub packet: Packet<'a>,
    /// Ticks a second of its timestamps; of audio only.
    pub clock_rate: u32,
    /// How long its audio sounds, in these ticks; 0 for what is no audio but part of the stream: keys, comfort noise.
    pub ticks: u32,
}

/// What lies between a packet of audio and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Nothing.
    None,
    /// So many ticks of audio never came: to be concealed.
    Lost(u32),
    /// So many ticks in which nothing was sent: silence.
    Silent(u32),
}

/// What comes out, in order.
#[derive(Debug)]
pub enum Event<'a> {
    /// Audio.
    Audio {
        /// The packet.
        packet: Packet<'a>,
        /// What is missing before it.
        gap: Gap,
    },
    /// What is no audio.
    Other {
        /// The packet.
        packet: Packet<'a>,
    },
    /// Another stream begins: decoders start over.
    Restarted,
}

/// What was seen on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that belonged to the stream and were given out.
    pub packets: u64,
    /// Packets that were missing when their turn came.
    pub lost: u64,
    /// Packets that came after they had been given up; they are among the lost.
    pub late: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that were overtaken by others and put back in their place.
    pub reordered: u64,
    /// Packets of no stream.
    pub strays: u64,
    /// How often another stream began.
    pub restarts: u64,
    /// How unevenly packets came (RFC 3550, 6.4.1).
    pub jitter: Duration,
}

#[derive(Debug)]
struct Held {
    marker: bool,
    payload_type: u8,
    timestamp: u32,
    clock_rate: u32,
    ticks: u32,
    arrival: Duration,
    payload: Vec<u8>,
}

impl Held {
    fn new(arrived: &Arrival<'_>, arrival: Duration) -> Self {
        let Packet { marker, payload_type, timestamp, payload, .. } = arrived.packet;
        let (clock_rate, ticks, payload) = (arrived.clock_rate, arrived.ticks, payload.to_vec());
        Self { marker, payload_type, timestamp, clock_rate, ticks, arrival, payload }
    }

    fn arrived(&self, sequence: u16, ssrc: u32) -> Arrival<'_> {
        let packet = Packet {
            marker: self.marker,
            payload_type: self.payload_type,
            sequence,
            timestamp: self.timestamp,
            ssrc,
            payload: &self.payload,
        };
        Arrival { packet, clock_rate: self.clock_rate, ticks: self.ticks }
    }
}

/// Packets of a stream that may be the next one.
#[derive(Debug)]
struct Candidate {
    ssrc: u32,
    packets: VecDeque<(u16, Held)>,
    /// How many came in a row, without one of the stream between them.
    run: u32,
}

/// The sequence of one stream. Numbers are extended: they do not start over.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    /// The next to give out; unknown while the beginning may still be overtaken.
    next: Option<u64>,
    highest: u64,
    /// Which of the 64 before `next` were given out; bit 0 is the one just before.
    given: u64,
    /// When the first one came.
    since: Duration,
}

/// The time that a recording covers: what was given out against the clock on the wall.
#[derive(Debug, Default)]
struct Timeline {
    /// Where the next packet should begin, and the ticks a second of that.
    expected: Option<(u32, u32)>,
    began: Option<Duration>,
    covered: Duration,
    lost: u64,
}

/// The buffer.
#[derive(Debug)]
pub struct Jitter {
    window: Duration,
    stream: Option<Stream>,
    /// The stream before: its SSRC and its highest sequence, to know its stragglers by.
    previous: Option<(u32, u16)>,
    held: BTreeMap<u64, Held>,
    candidate: Option<Candidate>,
    timeline: Timeline,
    counts: Counts,
    /// Transit time of the packet before, for the jitter, in seconds.
    transit: Option<(u32, f64)>,
    jitter: f64,
}

/// More than this forward is no loss but another stream; and backward, no delay.
const DROPOUT: u16 = 3_000;
const MISORDER: u16 = 100;
/// Packets that wait at most.
const MOST: usize = 256;
/// A recording may be ahead of the clock on the wall by this much; and so much audio is believed to be lost when packets are.
const BELIEVED: Duration = Duration::from_secs(1);
/// A difference of the clocks that is none.
const SLACK: Duration = Duration::from_millis(250);

impl Jitter {
    /// One that waits so long for a packet which others have overtaken.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            stream: None,
            previous: None,
            held: BTreeMap::new(),
            candidate: None,
            timeline: Timeline::default(),
            counts: Counts::default(),
            transit: None,
            jitter: 0.0,
        }
    }

    /// What was seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { jitter: Duration::from_secs_f64(self.jitter.clamp(0.0, 1e6)), ..self.counts }
    }

    /// The stream that is heard, if there is one.
    #[must_use]
    pub fn ssrc(&self) -> Option<u32> {
        self.stream.as_ref().map(|stream| stream.ssrc)
    }

    /// Takes a packet and gives out what is now in order.
    pub fn push(&mut self, arrived: &Arrival<'_>, now: Duration, sink: &mut impl FnMut(Event<'_>)) {
        self.tick(now, sink);
        match self.place(arrived.packet.ssrc, arrived.packet.sequence) {
            Some(sequence) => {
                if let Some(candidate) = &mut self.candidate {
                    candidate.run = 0;
                }
                self.accept(sequence, arrived, now, sink);
            }
            None if self.stream.is_none() => self.start(arrived, now),
            None if self.is_straggler(&arrived.packet) => self.counts.late += 1,
            None => self.consider(arrived, now, sink),
        }
    }

    /// Lets time pass: gives up what did not come within the window.
    pub fn tick(&mut self, now: Duration, sink: &mut impl FnMut(Event<'_>)) {
        let Some(stream) = &mut self.stream else { return };
        if stream.next.is_none() && now.saturating_sub(stream.since) >= self.window {
            stream.next = self.held.keys().next().copied();
        }
        self.give_out(sink);
        while self.held.len() > MOST || self.oldest().is_some_and(|oldest| now.saturating_sub(oldest) >= self.window) {
            self.give_up(sink);
        }
    }

    /// Gives out all that waits: nothing more will come.
    pub fn flush(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        while !self.held.is_empty() {
            self.give_up(sink);
        }
    }

    /// What comes next begins a recording: no gap is seen before it.
    pub fn mark(&mut self) {
        self.timeline = Timeline::default();
    }

    /// The extended sequence of a packet of the stream; `None` when it cannot be of it.
    fn place(&self, ssrc: u32, sequence: u16) -> Option<u64> {
        let stream = self.stream.as_ref().filter(|stream| stream.ssrc == ssrc)?;
        let ahead = sequence.wrapping_sub(stream.highest as u16);
        let behind = 0_u16.wrapping_sub(ahead);
        if ahead < DROPOUT {
            Some(stream.highest + u64::from(ahead))
        } else if behind <= MISORDER {
            Some(stream.highest.saturating_sub(u64::from(behind)))
        } else {
            None
        }
    }

    /// Whether a packet is of the stream before, come after that was left.
    fn is_straggler(&self, packet: &Packet<'_>) -> bool {
        self.previous
            .is_some_and(|(ssrc, highest)| ssrc == packet.ssrc && highest.wrapping_sub(packet.sequence) < DROPOUT)
    }

    fn start(&mut self, arrived: &Arrival<'_>, now: Duration) {
        // Room below, so that what was overtaken has a number.
        let first = (1 << 32) + u64::from(arrived.packet.sequence);
        let ssrc = arrived.packet.ssrc;
        self.previous = self.stream.take().map(|stream| (stream.ssrc, stream.highest as u16));
        if self.previous.is_some_and(|(previous, _)| previous != ssrc) {
            self.timeline.expected = None;
        }
        self.stream = Some(Stream { ssrc, next: None, highest: first, given: 0, since: now });
        self.transit = None;
        self.measure(arrived, now);
        self.held.insert(first, Held::new(arrived, now));
    }

    fn accept(&mut self, sequence: u64, arrived: &Arrival<'_>, now: Duration, sink: &mut impl FnMut(Event<'_>)) {
        let Some(stream) = &mut self.stream else { return };
        if let Some(next) = stream.next.filter(|&next| sequence < next) {
            let back = next - sequence - 1;
            let known = back >= 64 || stream.given >> back & 1 == 1;
            let count = if known { &mut self.counts.duplicates } else { &mut self.counts.late };
            *count += 1;
            return;
        }
        if self.held.contains_key(&sequence) {
            self.counts.duplicates += 1;
            return;
        }
        self.counts.reordered += u64::from(sequence < stream.highest);
        stream.highest = stream.highest.max(sequence);
        let turn = stream.next == Some(sequence);
        self.measure(arrived, now);
        if turn {
            self.give(sequence, arrived, now, sink);
            self.give_out(sink);
        } else {
            self.held.insert(sequence, Held::new(arrived, now));
        }
    }

    /// A packet that is not of the stream: the second in a row makes another one.
    fn consider(&mut self, arrived: &Arrival<'_>, now: Duration, sink: &mut impl FnMut(Event<'_>)) {
        let Packet { ssrc, sequence, .. } = arrived.packet;
        let near = |other: u16| sequence.wrapping_sub(other).min(other.wrapping_sub(sequence)) <= MISORDER;
        let fits = |candidate: &Candidate| {
            candidate.ssrc == ssrc && candidate.packets.back().is_some_and(|&(other, _)| near(other))
        };
        let kept = self.candidate.take();
        let mut candidate = match kept {
            Some(candidate) if fits(&candidate) => candidate,
            other => {
                self.counts.strays += other.map_or(0, |other| other.packets.len() as u64);
                Candidate { ssrc, packets: VecDeque::new(), run: 0 }
            }
        };
        if candidate.packets.iter().any(|&(known, _)| known == sequence) {
            self.counts.duplicates += 1;
            self.candidate = Some(candidate);
            return;
        }
        // What came beside the stream for long is not what comes after it.
        while candidate.packets.front().is_some_and(|(_, held)| now.saturating_sub(held.arrival) >= self.window) {
            candidate.packets.pop_front();
            self.counts.strays += 1;
        }
        candidate.packets.push_back((sequence, Held::new(arrived, now)));
        candidate.run += 1;
        if candidate.run < 2 {
            self.candidate = Some(candidate);
            return;
        }
        self.flush(sink);
        self.counts.restarts += 1;
        sink(Event::Restarted);
        let mut packets = candidate.packets.iter();
        if let Some((sequence, first)) = packets.next() {
            self.start(&first.arrived(*sequence, ssrc), first.arrival);
        }
        for (sequence, next) in packets {
            self.push(&next.arrived(*sequence, ssrc), next.arrival, sink);
        }
    }

    /// When the one that waits the longest came.
    fn oldest(&self) -> Option<Duration> {
        self.stream.as_ref()?.next?;
        self.held.values().next().map(|held| held.arrival)
    }

    /// Gives up what is missing before the first that waits, and gives that out.
    fn give_up(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        let (Some(stream), Some(&first)) = (&mut self.stream, self.held.keys().next()) else { return };
        let missing = stream.next.map_or(0, |next| first.saturating_sub(next));
        stream.given = u32::try_from(missing).ok().and_then(|missing| stream.given.checked_shl(missing)).unwrap_or(0);
        stream.next = Some(first);
        self.counts.lost += missing;
        self.timeline.lost += missing;
        self.give_out(sink);
    }

    /// Gives out what waits and has its turn.
    fn give_out(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        while let Some((ssrc, next)) = self.stream.as_ref().and_then(|stream| Some((stream.ssrc, stream.next?))) {
            let Some(held) = self.held.remove(&next) else { break };
            self.give(next, &held.arrived(next as u16, ssrc), held.arrival, sink);
        }
    }

    fn give(&mut self, sequence: u64, arrived: &Arrival<'_>, arrival: Duration, sink: &mut impl FnMut(Event<'_>)) {
        if let Some(stream) = &mut self.stream {
            stream.next = Some(sequence + 1);
            stream.given = stream.given << 1 | 1;
        }
        self.counts.packets += 1;
        let packet = arrived.packet;
        if arrived.ticks == 0 {
            return sink(Event::Other { packet });
        }
        let gap = self.timeline.advance(arrived, arrival);
        sink(Event::Audio { packet, gap });
    }

    /// The estimate of RFC 3550: a sixteenth of the difference of two transit times.
    fn measure(&mut self, arrived: &Arrival<'_>, now: Duration) {
        if arrived.ticks == 0 || arrived.clock_rate == 0 {
            return;
        }
        let transit = now.as_secs_f64();
        if let Some((timestamp, before)) = self.transit {
            let sent = f64::from(arrived.packet.timestamp.wrapping_sub(timestamp).cast_signed());
            let difference = (transit - before - sent / f64::from(arrived.clock_rate)).abs();
            if difference < BELIEVED.as_secs_f64() {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
        self.transit = Some((arrived.packet.timestamp, transit));
    }
}

impl Timeline {
    /// What is missing before this packet of audio; then the packet is covered as well.
    fn advance(&mut self, arrived: &Arrival<'_>, arrival: Duration) -> Gap {
        let clock_rate = arrived.clock_rate.max(1);
        let lost = std::mem::take(&mut self.lost);
        let ticks = self.missing(arrived, lost, clock_rate, arrival);
        self.covered += time(u64::from(ticks) + u64::from(arrived.ticks), clock_rate);
        self.expected = Some((arrived.packet.timestamp.wrapping_add(arrived.ticks), clock_rate));
        match ticks {
            0 => Gap::None,
            ticks if lost > 0 => Gap::Lost(ticks),
            ticks => Gap::Silent(ticks),
        }
    }

    fn missing(&mut self, arrived: &Arrival<'_>, lost: u64, clock_rate: u32, arrival: Duration) -> u32 {
        let passed = arrival.saturating_sub(*self.began.get_or_insert(arrival));
        if let Some((expected, _)) = self.expected.filter(|&(_, rate)| rate == clock_rate)
            && let Ok(jump) = u32::try_from(arrived.packet.timestamp.wrapping_sub(expected).cast_signed())
        {
            let gap = time(u64::from(jump), clock_rate);
            let by_packets = time(lost.saturating_mul(u64::from(arrived.ticks)), clock_rate).min(BELIEVED);
            if gap <= by_packets || self.covered + gap <= passed + BELIEVED {
                return jump;
            }
        }
        // The timestamps began anew. What the clock on the wall says is all there is.
        let behind = passed.saturating_sub(self.covered);
        if behind > SLACK { (behind.as_secs_f64() * f64::from(clock_rate)) as u32 } else { 0 }
    }
}

fn time(ticks: u64, clock_rate: u32) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000) / u64::from(clock_rate.max(1)))
}
