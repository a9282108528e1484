//! The jitter buffer: what was sent comes out, whatever the network does to it within the window.

use std::time::Duration;

use proptest::prelude::*;
use voice::jitter::{Arrival, Counts, Event, Gap, Jitter};
use voice::rtp::Packet;

const WINDOW: Duration = Duration::from_millis(200);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A packet of 20 ms on its way: which one of its stream, and when it comes.
#[derive(Debug, Clone, Copy)]
struct Sent {
    ssrc: u32,
    number: u32,
    sequence: u16,
    timestamp: u32,
    ticks: u32,
}

impl Sent {
    fn of(ssrc: u32, number: u32) -> Self {
        Self { ssrc, number, sequence: number as u16, timestamp: number.wrapping_mul(160), ticks: 160 }
    }
}

/// What came out: of which stream, which packet, what was missing before it.
type Heard = Vec<(u32, u32, Gap)>;

#[derive(Debug)]
struct Listener {
    jitter: Jitter,
    heard: Heard,
}

impl Default for Listener {
    fn default() -> Self {
        Self { jitter: Jitter::new(WINDOW), heard: Vec::new() }
    }
}

fn note(heard: &mut Heard, event: Event<'_>) {
    let number = |packet: Packet<'_>| u32::from_be_bytes(packet.payload.try_into().unwrap());
    match event {
        Event::Audio { packet, gap } => heard.push((packet.ssrc, number(packet), gap)),
        Event::Other { packet } => heard.push((packet.ssrc, number(packet), Gap::None)),
        Event::Restarted => {}
    }
}

impl Listener {
    fn hear(&mut self, sent: Sent, now: Duration) {
        let payload = sent.number.to_be_bytes();
        let packet = Packet {
            marker: false,
            payload_type: 0,
            sequence: sent.sequence,
            timestamp: sent.timestamp,
            ssrc: sent.ssrc,
            payload: &payload,
        };
        let heard = &mut self.heard;
        self.jitter
            .push(&Arrival { packet, clock_rate: 8_000, ticks: sent.ticks }, now, &mut |event| note(heard, event));
    }

    fn end(mut self) -> (Heard, Counts) {
        let heard = &mut self.heard;
        self.jitter.flush(&mut |event| note(heard, event));
        (self.heard, self.jitter.counts())
    }
}

/// Everything in time and in order, 20 ms apart.
fn hear_all(packets: impl IntoIterator<Item = Sent>) -> (Heard, Counts) {
    let mut listener = Listener::default();
    for (at, sent) in packets.into_iter().enumerate() {
        listener.hear(sent, ms(20 * at as u64));
    }
    listener.end()
}

fn numbers(heard: &Heard) -> Vec<u32> {
    heard.iter().map(|&(_, number, _)| number).collect()
}

#[derive(Debug, Clone)]
struct Way {
    delay: u64,
    again: Option<u64>,
    lost: bool,
}

fn way(lossy: bool) -> impl Strategy<Value = Way> {
    let lost = if lossy { prop::bool::weighted(0.15).boxed() } else { Just(false).boxed() };
    (0..190_u64, prop::option::weighted(0.2, 0..600_u64), lost).prop_map(|(delay, again, lost)| Way {
        delay,
        again,
        lost,
    })
}

/// Sends a stream over such ways, and tells what came out.
fn over(ways: &[Way], sequence: u16, timestamp: u32) -> (Heard, Counts) {
    let mut arrivals = Vec::new();
    for (at, way) in ways.iter().enumerate().filter(|(_, way)| !way.lost) {
        let number = at as u32;
        let sent = Sent {
            sequence: sequence.wrapping_add(number as u16),
            timestamp: timestamp.wrapping_add(number * 160),
            ..Sent::of(7, number)
        };
        let first = 20 * u64::from(number) + way.delay;
        arrivals.push((first, sent));
        arrivals.extend(way.again.map(|again| (first + again, sent)));
    }
    arrivals.sort_by_key(|(at, _)| *at);
    let mut listener = Listener::default();
    arrivals.into_iter().for_each(|(at, sent)| listener.hear(sent, ms(at)));
    listener.end()
}

proptest! {
    #[test]
    fn any_order_within_the_window_with_anything_twice_is_what_was_sent(
        ways in prop::collection::vec(way(false), 1..120), sequence: u16, timestamp: u32,
    ) {
        let (heard, counts) = over(&ways, sequence, timestamp);
        let sent: Heard = (0..ways.len()).map(|number| (7, number as u32, Gap::None)).collect();
        prop_assert_eq!(heard, sent);
        let twice = ways.iter().filter(|way| way.again.is_some()).count() as u64;
        prop_assert_eq!((counts.packets, counts.lost, counts.late, counts.duplicates), (ways.len() as u64, 0, 0, twice));
    }

    #[test]
    fn what_is_lost_is_told_and_all_else_is_what_was_sent(
        ways in prop::collection::vec(way(true), 1..120), sequence: u16, timestamp: u32,
    ) {
        let (heard, counts) = over(&ways, sequence, timestamp);
        let came: Vec<u32> = (0..ways.len() as u32).filter(|&number| !ways[number as usize].lost).collect();
        prop_assert_eq!(numbers(&heard), came.clone());
        let mut lost = 0;
        for (pair, (_, _, gap)) in came.windows(2).zip(heard.iter().skip(1)) {
            let missing = pair[1] - pair[0] - 1;
            lost += u64::from(missing);
            prop_assert_eq!(*gap, if missing == 0 { Gap::None } else { Gap::Lost(missing * 160) });
        }
        prop_assert_eq!(counts.lost, lost);
    }
}

#[test]
fn a_packet_in_its_turn_is_not_kept_back() {
    let mut listener = Listener::default();
    for number in 0..20 {
        listener.hear(Sent::of(7, number), ms(20 * u64::from(number)));
    }
    // The beginning might still have been overtaken; after the window it was not.
    assert_eq!(numbers(&listener.heard), (0..20).collect::<Vec<_>>());
}

#[test]
fn what_comes_after_the_window_is_late() {
    let mut listener = Listener::default();
    for number in (0..40).filter(|&number| number != 20) {
        listener.hear(Sent::of(7, number), ms(20 * u64::from(number)));
    }
    listener.hear(Sent::of(7, 20), ms(800));
    listener.hear(Sent::of(7, 20), ms(801));
    let (heard, counts) = listener.end();
    assert_eq!(numbers(&heard), (0..40).filter(|&number| number != 20).collect::<Vec<_>>());
    assert_eq!((counts.lost, counts.late), (1, 2));
}

#[test]
fn silence_that_was_not_sent_is_a_gap_without_loss() {
    // A second of talk, three seconds of nothing, and the sequence goes on where it was.
    let mut listener = Listener::default();
    for number in 0..100 {
        let later = if number < 50 { 0 } else { 3_000 };
        let sent = Sent { timestamp: number * 160 + later as u32 * 8, ..Sent::of(7, number) };
        listener.hear(sent, ms(20 * u64::from(number) + later));
    }
    let (heard, counts) = listener.end();
    assert_eq!(heard[50], (7, 50, Gap::Silent(24_000)));
    assert!(heard.iter().enumerate().all(|(at, heard)| at == 50 || heard.2 == Gap::None));
    assert_eq!(counts.lost, 0);
}

#[test]
fn nobody_writes_hours_with_one_packet() {
    let jump = |number: u32, ticks: u32| Sent { timestamp: (number * 160).wrapping_add(ticks), ..Sent::of(7, number) };
    for ticks in [8_000 * 3_600, 8_000 * 86_400, u32::MAX / 2, u32::MAX - 100_000] {
        let (heard, _) = hear_all((0..50).map(|number| jump(number, if number < 25 { 0 } else { ticks })));
        assert_eq!(numbers(&heard), (0..50).collect::<Vec<_>>());
        assert!(heard.iter().all(|heard| heard.2 == Gap::None), "{ticks}: {:?}", heard[25]);
    }
}

#[test]
fn timestamps_that_begin_anew_after_a_pause_give_the_pause() {
    let mut listener = Listener::default();
    for number in 0..100 {
        let (base, later) = if number < 50 { (1_000_000, 0) } else { (77, 4_000) };
        let sent = Sent { timestamp: base + number * 160, ..Sent::of(7, number) };
        listener.hear(sent, ms(20 * u64::from(number) + later));
    }
    let (heard, _) = listener.end();
    assert_eq!(heard[50].2, Gap::Silent(32_000));
}

#[test]
fn another_stream_takes_over_and_nothing_of_either_is_lost() {
    let first = (0..50).map(|number| Sent::of(7, number));
    let second = (900..950).map(|number| Sent { timestamp: number ^ 0xdead_beef, ..Sent::of(8, number) });
    let (heard, counts) = hear_all(first.chain(second));
    assert_eq!(numbers(&heard), (0..50).chain(900..950).collect::<Vec<_>>());
    assert_eq!((counts.restarts, counts.strays, counts.lost), (1, 0, 0));
}

#[test]
fn the_times_of_another_stream_say_nothing_of_this_one() {
    let first = (0..50).map(|number| Sent::of(7, number));
    // By chance they begin half a second after those of the first end.
    let second = (0..50).map(|number| Sent { timestamp: 12_000 + number * 160, ..Sent::of(8, 900 + number) });
    let (heard, _) = hear_all(first.chain(second));
    assert!(heard.iter().all(|heard| heard.2 == Gap::None), "{heard:?}");
}

#[test]
fn a_loss_in_a_burst_is_as_long_as_it_is() {
    // Three seconds come at once: the clock on the wall confirms nothing, the missing numbers do.
    let mut listener = Listener::default();
    for number in (0..150).filter(|number| !(100..103).contains(number)) {
        listener.hear(Sent::of(7, number), ms(0));
    }
    let (heard, _) = listener.end();
    assert_eq!(heard[100], (7, 103, Gap::Lost(480)));
}

#[test]
fn stragglers_of_the_stream_before_change_nothing() {
    let mut sent: Vec<Sent> = (0..50).map(|number| Sent::of(7, number)).collect();
    sent.extend((900..950).map(|number| Sent::of(8, number)));
    // Two of the first come among the second, the one as a packet that was missed, the other again.
    let (missed, again) = (sent[48], sent[49]);
    sent.splice(60..60, [missed, again]);
    sent.remove(48);
    let (heard, counts) = hear_all(sent);
    assert_eq!(numbers(&heard), (0..50).filter(|&number| number != 48).chain(900..950).collect::<Vec<_>>());
    assert_eq!((counts.restarts, counts.late), (1, 2));
}

#[test]
fn a_stream_that_begins_anew_under_its_name_is_followed() {
    let first = (0..50).map(|number| Sent::of(7, number));
    let second = (0..50).map(|number| Sent { sequence: 30_000 + number as u16, ..Sent::of(7, 900 + number) });
    let (heard, counts) = hear_all(first.chain(second));
    assert_eq!(numbers(&heard), (0..50).chain(900..950).collect::<Vec<_>>());
    assert_eq!((counts.restarts, counts.lost), (1, 0));
}

#[test]
fn packets_of_nobody_are_not_heard() {
    // A burst of noise, each packet from somebody else or nowhere near in sequence, between good ones.
    let noise = |at: u32| Sent { sequence: (at * 7_919) as u16, ..Sent::of(0x5555_0000 + at, 5_000 + at) };
    let sent =
        (0..100).flat_map(|number| [Sent::of(7, number), noise(number), noise(number + 1_000), noise(number + 2_000)]);
    let mut listener = Listener::default();
    for (at, sent) in sent.enumerate() {
        listener.hear(sent, ms(5 * at as u64));
    }
    let (heard, counts) = listener.end();
    assert_eq!(numbers(&heard), (0..100).collect::<Vec<_>>());
    assert_eq!(counts.restarts, 0);
    assert!(counts.strays >= 298, "{counts:?}");
}

#[test]
fn of_two_streams_at_once_the_first_is_heard() {
    let (heard, counts) = hear_all((0..50).flat_map(|number| [Sent::of(7, number), Sent::of(8, number + 900)]));
    assert_eq!(numbers(&heard), (0..50).collect::<Vec<_>>());
    assert_eq!(counts.restarts, 0);
}

#[test]
fn what_is_no_audio_keeps_its_place_and_is_no_gap() {
    // Keys take the place of audio; the clock goes on meanwhile.
    let sent =
        (0..30).map(|number| Sent { ticks: if (10..15).contains(&number) { 0 } else { 160 }, ..Sent::of(7, number) });
    let (heard, counts) = hear_all(sent);
    assert_eq!(numbers(&heard), (0..30).collect::<Vec<_>>());
    assert_eq!(heard[15].2, Gap::Silent(5 * 160));
    assert_eq!(counts.lost, 0);
}

#[test]
fn a_flood_that_leaves_a_hole_is_not_kept_for_ever() {
    let mut listener = Listener::default();
    for number in (0..3_000).filter(|&number| number != 20) {
        listener.hear(Sent::of(7, number), if number < 20 { ms(20 * u64::from(number)) } else { ms(400) });
    }
    assert!(listener.heard.len() > 2_500, "{}", listener.heard.len());
}

#[test]
fn jitter_is_how_unevenly_they_come() {
    let even = hear_all((0..200).map(|number| Sent::of(7, number))).1.jitter;
    let mut listener = Listener::default();
    for number in 0..200 {
        listener.hear(Sent::of(7, number), ms(20 * u64::from(number) + u64::from(number % 2) * 10));
    }
    let uneven = listener.end().1.jitter;
    assert!(even < Duration::from_micros(100), "{even:?}");
    assert!((9.0..11.0).contains(&(uneven.as_secs_f64() * 1e3)), "{uneven:?}");
}
