//! Keys pressed on a telephone, as RFC 4733 sends them: packets of their own among the voice.
//!
//! A key is several packets with one timestamp: the same event with a growing duration, at last three times marked as the end. Any of them
//! may be lost, come twice or late. [`Detector`] makes one press of them: [`KeyEvent::Down`] with the first that comes, [`KeyEvent::Up`] with
//! the end, or with the next key, or when nothing comes any more. [`Press`] is the other side: the payloads of one key.

use std::fmt;
use std::time::Duration;

/// A key of a telephone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u8);

impl Key {
    /// `#`
    pub const HASH: Self = Self(11);
    /// `*`
    pub const STAR: Self = Self(10);
    const NAMES: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

    /// The key of an event's number, 0 to 15; other events (a flash of the hook, tones of a modem) are no keys.
    #[must_use]
    pub fn from_event(event: u8) -> Option<Self> {
        (event < 16).then_some(Self(event))
    }

    /// The event's number.
    #[must_use]
    pub fn event(self) -> u8 {
        self.0
    }

    /// The key with this name on it; letters in either case.
    #[must_use]
    pub fn from_char(name: char) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        Self::NAMES.iter().position(|&known| known == name).and_then(|at| u8::try_from(at).ok()).map(Self)
    }

    /// What is printed on it.
    #[must_use]
    pub fn as_char(self) -> char {
        Self::NAMES[usize::from(self.0 & 15)]
    }

    /// Its digit, where it has one.
    #[must_use]
    pub fn digit(self) -> Option<u8> {
        (self.0 < 10).then_some(self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

/// A set of keys, such as those that end a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keys(u16);

impl Keys {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// Only `#`.
    pub const HASH: Self = Self(1 << 11);
    /// Every key there is.
    pub const ANY: Self = Self(u16::MAX);

    /// Whether this key is among them.
    #[must_use]
    pub fn contains(self, key: Key) -> bool {
        self.0 >> (key.0 & 15) & 1 == 1
    }
}

impl FromIterator<Key> for Keys {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        Self(keys.into_iter().fold(0, |set, key| set | 1 << (key.0 & 15)))
    }
}

/// One payload of RFC 4733.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Which event; see [`Key::from_event`].
    pub event: u8,
    /// The key was let go.
    pub end: bool,
    /// Power below 0 dBm0, 0 to 63.
    pub volume: u8,
    /// How long so far, in ticks of the stream's clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads a payload; `None` when it is too short. What follows the first event is ignored, as nobody sends more.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, high, low] = *payload.first_chunk::<4>()?;
        let duration = u16::from_be_bytes([high, low]);
        Some(Self { event, end: flags & 0x80 != 0, volume: flags & 0x3f, duration })
    }

    /// The payload.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, u8::from(self.end) << 7 | self.volume & 0x3f, high, low]
    }
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEvent {
    /// It was pressed.
    Down(Key),
    /// It was let go, after so long.
    Up(Key, Duration),
}

#[derive(Debug, Clone, Copy)]
struct Held {
    key: Option<Key>,
    event: u8,
    timestamp: u32,
    clock_rate: u32,
    /// Ticks before this part: a key held for long is sent in parts of 65,535 ticks.
    before: u64,
    duration: u16,
    ended: bool,
    heard: Duration,
}

/// Makes presses of payloads.
#[derive(Debug, Default)]
pub struct Detector {
    last: Option<Held>,
}

/// A key of which nothing was heard for so long has been let go. Senders repeat every 20 to 50 ms.
const FORGOTTEN: Duration = Duration::from_millis(300);
/// After so long nothing comes late any more: whatever its timestamp is, it is another key. Some senders begin their timestamps anew.
const PAST: Duration = Duration::from_secs(1);

impl Detector {
    /// Takes the payload of a packet of payload type telephone-event, with the packet's timestamp, and how often the clock of it ticks in a
    /// second (8,000 unless `a=rtpmap:… telephone-event/…` says otherwise). At most three things happen at once: the key before is let go,
    /// this one is pressed, and let go.
    pub fn feed(
        &mut self,
        timestamp: u32,
        clock_rate: u32,
        payload: &[u8],
        now: Duration,
    ) -> impl Iterator<Item = KeyEvent> + use<> {
        let mut told = [None; 3];
        if let Some(event) = TelephoneEvent::parse(payload) {
            if self.last.is_some_and(|held| now.saturating_sub(held.heard) > PAST) {
                told[0] = self.reset();
            }
            if self.continues(timestamp, event) {
                told[1] = self.extend(timestamp, event, now);
            } else if !self.is_old(timestamp) {
                told[0] = told[0].or(self.let_go());
                (told[1], told[2]) = self.begin(timestamp, clock_rate, event, now);
            }
        }
        told.into_iter().flatten()
    }

    /// Lets time pass: a key whose end was lost is let go.
    pub fn tick(&mut self, now: Duration) -> Option<KeyEvent> {
        let silent = self.last.is_some_and(|held| now.saturating_sub(held.heard) > FORGOTTEN);
        if silent { self.let_go() } else { None }
    }

    /// The stream is over, or begins anew: a key still down is let go, and timestamps have no meaning any more.
    pub fn reset(&mut self) -> Option<KeyEvent> {
        let told = self.let_go();
        self.last = None;
        told
    }

    fn continues(&self, timestamp: u32, event: TelephoneEvent) -> bool {
        self.last.is_some_and(|held| {
            let next_part = held.timestamp.wrapping_add(u32::from(u16::MAX));
            held.event == event.event && (held.timestamp == timestamp || !held.ended && next_part == timestamp)
        })
    }

    fn is_old(&self, timestamp: u32) -> bool {
        self.last.is_some_and(|held| timestamp.wrapping_sub(held.timestamp).cast_signed() <= 0)
    }

    fn extend(&mut self, timestamp: u32, event: TelephoneEvent, now: Duration) -> Option<KeyEvent> {
        let held = self.last.as_mut()?;
        held.heard = held.heard.max(now);
        if held.ended {
            return None;
        }
        if held.timestamp != timestamp {
            held.before += u64::from(u16::MAX);
            held.timestamp = timestamp;
            held.duration = 0;
        }
        held.duration = held.duration.max(event.duration);
        if event.end { self.let_go() } else { None }
    }

    fn begin(
        &mut self,
        timestamp: u32,
        clock_rate: u32,
        event: TelephoneEvent,
        now: Duration,
    ) -> (Option<KeyEvent>, Option<KeyEvent>) {
        let key = Key::from_event(event.event);
        self.last = Some(Held {
            key,
            event: event.event,
            timestamp,
            clock_rate: clock_rate.max(1),
            before: 0,
            duration: event.duration,
            ended: false,
            heard: now,
        });
        (key.map(KeyEvent::Down), if event.end { self.let_go() } else { None })
    }

    fn let_go(&mut self) -> Option<KeyEvent> {
        let held = self.last.as_mut().filter(|held| !held.ended)?;
        held.ended = true;
        let ticks = held.before + u64::from(held.duration);
        let duration = Duration::from_nanos(ticks.saturating_mul(1_000_000_000) / u64::from(held.clock_rate));
        held.key.map(|key| KeyEvent::Up(key, duration))
    }
}

/// The payloads of one press: one every 20 ms, the end three times. All of them have the timestamp of the first; the first has the marker.
#[derive(Debug, Clone)]
pub struct Press {
    event: u8,
    step: u32,
    sent: u32,
    steps: u32,
    ends: u8,
}

impl Press {
    /// A key pressed for so long (at least 20 ms, at most 8 s or what the clock allows in 16 bits).
    #[must_use]
    pub fn new(key: Key, duration: Duration, clock_rate: u32) -> Self {
        let step = (clock_rate / 50).clamp(1, u32::from(u16::MAX));
        let most = u32::from(u16::MAX) / step;
        let steps = u32::try_from(duration.as_millis() / 20).unwrap_or(most).clamp(1, most);
        Self { event: key.event(), step, sent: 0, steps, ends: 0 }
    }
}

impl Iterator for Press {
    type Item = TelephoneEvent;

    fn next(&mut self) -> Option<TelephoneEvent> {
        if self.ends == 3 {
            return None;
        }
        self.sent = (self.sent + 1).min(self.steps);
        let end = self.sent == self.steps;
        self.ends += u8::from(end);
        let duration = u16::try_from(self.step * self.sent).unwrap_or(u16::MAX);
        Some(TelephoneEvent { event: self.event, end, volume: 10, duration })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn key(name: char) -> Key {
        Key::from_char(name).unwrap()
    }

    /// A press as packets: timestamp and payload.
    fn press(name: char, timestamp: u32, duration: u64) -> Vec<(u32, [u8; 4])> {
        Press::new(key(name), ms(duration), 8_000).map(|event| (timestamp, event.to_bytes())).collect()
    }

    /// What is heard of packets that come 20 ms apart; afterwards nothing comes.
    fn hear(packets: &[(u32, [u8; 4])]) -> Vec<KeyEvent> {
        let (mut detector, mut now, mut heard) = (Detector::default(), Duration::ZERO, Vec::new());
        for (timestamp, payload) in packets {
            heard.extend(detector.tick(now));
            heard.extend(detector.feed(*timestamp, 8_000, payload, now));
            now += ms(20);
        }
        heard.extend(detector.tick(now + ms(1_000)));
        heard
    }

    fn pressed(name: char, duration: u64) -> [KeyEvent; 2] {
        [KeyEvent::Down(key(name)), KeyEvent::Up(key(name), ms(duration))]
    }

    #[test]
    fn a_press_is_one_however_many_packets_it_has() {
        let packets = press('5', 777, 100);
        let events: Vec<_> = packets.iter().filter_map(|(_, payload)| TelephoneEvent::parse(payload)).collect();
        assert_eq!(events.iter().map(|event| event.duration).collect::<Vec<_>>(), [160, 320, 480, 640, 800, 800, 800]);
        assert_eq!(events.iter().filter(|event| event.end).count(), 3);
        assert_eq!(hear(&packets), pressed('5', 100));
        assert_eq!(hear(&[packets.clone(), packets].concat()), pressed('5', 100), "all of it twice");
    }

    #[test]
    fn what_is_lost_of_it_does_not_matter() {
        let packets = press('#', 777, 100);
        assert_eq!(hear(&packets[6..]), pressed('#', 100), "only the last");
        assert_eq!(hear(&packets[..4]), pressed('#', 80), "no end");
        assert_eq!(hear(&packets[..1]), pressed('#', 20), "only the first");
        let next = press('#', 2_000, 60);
        assert_eq!(
            hear(&[&packets[..4], &next].concat()),
            [pressed('#', 80), pressed('#', 60)].concat(),
            "no end, and the key again"
        );
    }

    #[test]
    fn the_same_key_twice_is_two() {
        assert_eq!(
            hear(&[press('1', 0, 60), press('1', 1_600, 40)].concat()),
            [pressed('1', 60), pressed('1', 40)].concat()
        );
    }

    #[test]
    fn what_comes_late_of_the_key_before_is_nothing_new() {
        let (mut first, second) = (press('1', 0xffff_ff00, 60), press('2', 700, 60));
        let late = first.split_off(2);
        assert_eq!(hear(&[first, second, late].concat()), [pressed('1', 40), pressed('2', 60)].concat());
    }

    #[test]
    fn a_key_held_for_long_is_one() {
        let part = |timestamp: u32, duration: u16, end| {
            (timestamp, TelephoneEvent { event: 3, end, volume: 10, duration }.to_bytes())
        };
        let packets =
            [part(100, 400, false), part(100, 65_535, false), part(65_635, 1_600, false), part(65_635, 8_065, true)];
        assert_eq!(hear(&packets), pressed('3', 9_200));
    }

    #[test]
    fn timestamps_that_begin_anew_are_no_older_key() {
        let mut detector = Detector::default();
        let mut at = |timestamp: u32, milliseconds| {
            let end = TelephoneEvent { event: 4, end: true, volume: 10, duration: 800 }.to_bytes();
            detector.feed(timestamp, 8_000, &end, ms(milliseconds)).count()
        };
        assert_eq!((at(9_000, 0), at(9_000, 40), at(3_000, 200)), (2, 0, 0), "a key, once more, and something late");
        assert_eq!((at(3_000, 2_000), at(3_000, 2_020), at(3_000, 4_000)), (2, 0, 2));
    }

    #[test]
    fn what_is_no_key_is_told_to_nobody() {
        let flash = TelephoneEvent { event: 16, end: true, volume: 0, duration: 800 }.to_bytes();
        assert_eq!(hear(&[(1, flash), (2_000, flash)]), []);
        assert_eq!(Detector::default().feed(1, 8_000, &[1, 2, 3], Duration::ZERO).count(), 0);
    }

    #[test]
    fn keys_have_names_and_sets() {
        let names: String = (0..16).filter_map(Key::from_event).map(Key::as_char).collect();
        assert_eq!(names, "0123456789*#ABCD");
        assert!(names.chars().all(|name| key(name).as_char() == name) && key('d') == key('D'));
        assert_eq!((Key::from_char('E'), Key::from_event(16)), (None, None));
        assert_eq!((key('7').digit(), Key::STAR.digit()), (Some(7), None));
        let keys: Keys = [Key::STAR, key('0')].into_iter().collect();
        assert!(keys.contains(Key::STAR) && keys.contains(key('0')) && !keys.contains(Key::HASH));
        assert!(Keys::HASH.contains(Key::HASH) && !Keys::NONE.contains(Key::HASH) && Keys::ANY.contains(key('D')));
    }

    proptest! {
        #[test]
        fn each_key_once_whatever_the_network_does(
            digits in prop::collection::vec((0..16_u8, 40..400_u64), 1..12),
            fate in prop::collection::vec((0..100_u8, 0..4_usize), 400),
        ) {
            let mut sent = Vec::new();
            for (at, (digit, duration)) in digits.iter().enumerate() {
                let name = Key::from_event(*digit).unwrap().as_char();
                sent.extend(press(name, 100_000 * at as u32, *duration).into_iter().map(|packet| (at, packet)));
            }
            // A fifth is lost, but something of each key comes; some come twice; some are overtaken by up to three.
            let mut came = Vec::new();
            for (at, (packet, (chance, back))) in sent.iter().zip(fate.iter().cycle()).enumerate() {
                let last = sent.get(at + 1).is_none_or(|(key, _)| *key != packet.0);
                if *chance < 20 && !last {
                    continue;
                }
                let place = came.len() - (*back).min(came.len());
                let place = (place..came.len()).find(|&place| came[place..].iter().all(|(key, _)| *key == packet.0)).unwrap_or(came.len());
                came.insert(place, *packet);
                if *chance > 80 {
                    came.push(*packet);
                }
            }
            let packets: Vec<_> = came.into_iter().map(|(_, packet)| packet).collect();
            let heard: Vec<_> = hear(&packets).into_iter().filter_map(|event| match event {
                KeyEvent::Up(key, duration) => Some((key.event(), duration)),
                KeyEvent::Down(_) => None,
            }).collect();
            let expected: Vec<_> = digits.iter().map(|(digit, duration)| (*digit, ms(duration / 20 * 20))).collect();
            prop_assert_eq!(heard, expected);
        }
    }
}
