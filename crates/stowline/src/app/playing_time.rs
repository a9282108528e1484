//! How long a sound plays, found out while its bytes come in: a message tells its length even where its sender does not.
//!
//! A WAV file says it in its header: how many bytes of samples there are, and how many of them go into a second, whatever they are coded in. One that
//! was written as a stream does not know its length; then all that follows the header counts. An MP3 says it nowhere, and is what its frames are
//! together: they are counted, by their headers alone. Of anything else nothing is known.
//!
//! Whoever uploads may write anything into a file; a wrong length is the worst that comes of it.

use std::time::Duration;

/// A sound that is passing.
#[derive(Debug, Default)]
pub(super) struct PlayingTime {
    passed: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The first bytes, of which it is not clear yet what they begin.
    Unclear(Vec<u8>),
    /// The first bytes of a WAV file, whose samples have not begun.
    Wav(Vec<u8>),
    Samples(Samples),
    Mp3(Frames),
    Other,
}

impl Default for Kind {
    fn default() -> Self {
        Self::Unclear(Vec::new())
    }
}

/// So many bytes tell what a file is.
const TELLING: usize = 12;
/// The chunks before a WAV file's samples are looked for in so many bytes.
const HEAD: usize = 64 << 10;
/// Most have come after so many.
const SHORT: usize = 512;

impl PlayingTime {
    /// Sees the next bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.passed += bytes.len() as u64;
        self.see(bytes);
    }

    fn see(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Unclear(head) => {
                let (first, rest) = bytes.split_at(bytes.len().min(SHORT));
                head.extend_from_slice(first);
                if head.len() < TELLING {
                    return;
                }
                let head = std::mem::take(head);
                self.kind = if head.starts_with(b"RIFF") && head[8..].starts_with(b"WAVE") {
                    Samples::of(&head).map_or_else(|| Kind::Wav(head), Kind::Samples)
                } else if head.starts_with(b"ID3") || (head[0] == 0xFF && head[1] >= 0xE0) {
                    let mut frames = Frames::default();
                    frames.pass(&head);
                    Kind::Mp3(frames)
                } else {
                    Kind::Other
                };
                self.see(rest);
            }
            Kind::Wav(head) => {
                let room = HEAD.saturating_sub(head.len());
                head.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if let Some(samples) = Samples::of(head) {
                    self.kind = Kind::Samples(samples);
                }
            }
            Kind::Mp3(frames) => frames.pass(bytes),
            Kind::Samples(_) | Kind::Other => {}
        }
    }

    /// How long it plays, when all bytes have passed.
    pub(super) fn of_all(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Samples(samples) => Some(samples.playing_time(self.passed)),
            Kind::Mp3(frames) => frames.playing_time(),
            Kind::Unclear(_) | Kind::Wav(_) | Kind::Other => None,
        }
    }
}

/// The samples of a WAV file.
#[derive(Debug)]
struct Samples {
    /// Where they begin.
    start: u64,
    /// Bytes of them, where the header knows.
    length: Option<u64>,
    /// Bytes that go into a second.
    per_second: u64,
}

impl Samples {
    /// What a file says of them that begins so; none while they have not begun.
    fn of(head: &[u8]) -> Option<Self> {
        let mut at = TELLING;
        let mut per_second = None;
        loop {
            let chunk = head.get(at..at + 8)?;
            let length = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
            let start = at + 8;
            match &chunk[..4] {
                b"fmt " => {
                    let rate = head.get(start + 8..start + 12)?;
                    per_second =
                        Some(u32::from_le_bytes([rate[0], rate[1], rate[2], rate[3]])).filter(|rate| *rate > 0);
                }
                b"data" => {
                    let length = (length != 0 && length != u32::MAX).then_some(length.into());
                    return Some(Self { start: start as u64, length, per_second: per_second?.into() });
                }
                _ => {}
            }
            // Chunks begin at even places.
            at = start.checked_add(usize::try_from(length).ok()?)?.checked_add(length as usize & 1)?;
        }
    }

    /// How long they play in a file of so many bytes.
    fn playing_time(&self, file: u64) -> Duration {
        let there = file.saturating_sub(self.start);
        let length = self.length.map_or(there, |length| there.min(length));
        Duration::from_millis(length.saturating_mul(1000) / self.per_second)
    }
}

/// The frames of an MP3 file, as they pass.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes that need not be looked at.
    skip: u64,
    /// The beginning of what may be a frame.
    partial: Vec<u8>,
    frames: u64,
    nanoseconds: u64,
    /// Bytes that belong to no frame.
    strange: usize,
    lost: bool,
}

/// Bytes by which a frame is recognised; and those in which the first one may say that it is none, but a table of the others.
const HEADER: usize = 10;
const TABLE: usize = 40;
/// So many bytes that are no frames, and it is no MP3.
const STRANGE: usize = 64 << 10;

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            bytes = &bytes[skipped..];
            let wanted = if self.frames == 0 { TABLE } else { HEADER };
            let taken = wanted.saturating_sub(self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.partial.len() >= wanted {
                self.look();
            }
        }
    }

    /// Looks at the beginning of a frame.
    fn look(&mut self) {
        if let Some(tag) = tag(&self.partial) {
            return self.go_on(tag);
        }
        match Frame::read(&self.partial) {
            Some(frame) => {
                let table = self.frames == 0 && [b"Xing", b"Info"].iter().any(|word| frame.holds(&self.partial, *word));
                if !table {
                    self.frames += 1;
                    self.nanoseconds = self.nanoseconds.saturating_add(frame.nanoseconds());
                }
                self.go_on(frame.length());
            }
            None => {
                self.partial.remove(0);
                self.strange += 1;
                self.lost = self.strange > STRANGE;
            }
        }
    }

    /// Passes over so many bytes from the beginning of what is partly here.
    fn go_on(&mut self, length: u64) {
        let here = usize::try_from(length).unwrap_or(usize::MAX).min(self.partial.len());
        self.partial.drain(..here);
        self.skip = length - here as u64;
    }

    fn playing_time(&self) -> Option<Duration> {
        let known = self.frames > 0 && !self.lost;
        known.then(|| Duration::from_nanos(self.nanoseconds))
    }
}

/// The length of the tag that stands here.
fn tag(bytes: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', _, _, _, size @ ..] = bytes else { return None };
    let size: [u8; 4] = size.get(..4)?.try_into().ok()?;
    let size = size.iter().try_fold(0_u64, |size, seven| (*seven < 0x80).then(|| size << 7 | u64::from(*seven)))?;
    Some(10 + size)
}

/// What the header of a frame says.
#[derive(Debug, Clone, Copy)]
struct Frame {
    /// MPEG 1, where it is not one of the later ones with half the samples.
    first: bool,
    mono: bool,
    /// Bits a second.
    bits: u64,
    /// Samples a second.
    rate: u64,
    padded: bool,
}

/// Thousands of bits a second by their number in the header, for MPEG 1 and for the later ones.
const BITS: [[u64; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const RATES: [u64; 3] = [44_100, 48_000, 32_000];

impl Frame {
    /// Reads the header of a frame of layer III.
    fn read(bytes: &[u8]) -> Option<Self> {
        let [0xFF, version, numbers, channels, ..] = bytes else { return None };
        let (divisor, first) = match version >> 3 {
            0b11111 => (1, true),
            0b11110 => (2, false),
            0b11100 => (4, false),
            _ => return None,
        };
        let layer_three = version >> 1 & 0b11 == 0b01;
        let bits = *BITS[usize::from(!first)].get(usize::from(numbers >> 4))? * 1000;
        let rate = *RATES.get(usize::from(numbers >> 2 & 0b11))? / divisor;
        let frame = Self { first, mono: channels >> 6 == 0b11, bits, rate, padded: numbers & 0b10 != 0 };
        (layer_three && bits > 0).then_some(frame)
    }

    fn samples(self) -> u64 {
        if self.first { 1152 } else { 576 }
    }

    fn length(self) -> u64 {
        self.samples() / 8 * self.bits / self.rate + u64::from(self.padded)
    }

    fn nanoseconds(self) -> u64 {
        self.samples() * 1_000_000_000 / self.rate
    }

    /// True when this word stands where the table of a file's frames would begin.
    fn holds(self, bytes: &[u8], word: &[u8]) -> bool {
        let at = match (self.first, self.mono) {
            (true, false) => 36,
            (true, true) | (false, false) => 21,
            (false, true) => 13,
        };
        bytes.get(at..).is_some_and(|rest| rest.starts_with(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The playing time in milliseconds, the bytes coming in pieces of this size.
    fn in_pieces(bytes: &[u8], size: usize) -> Option<u128> {
        let mut time = PlayingTime::default();
        bytes.chunks(size).for_each(|piece| time.pass(piece));
        time.of_all().map(|time| time.as_millis())
    }

    fn of(bytes: &[u8]) -> Option<u128> {
        let whole = in_pieces(bytes, bytes.len().max(1));
        for size in [1, 7, 1000] {
            assert_eq!(in_pieces(bytes, size), whole, "in pieces of {size}");
        }
        whole
    }

    /// A WAV file in which so many bytes are a second.
    fn wav(per_second: u32, said: u32, samples: usize) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x31\0\x01\0\x40\x1f\0\0".to_vec();
        bytes.extend(per_second.to_le_bytes());
        bytes.extend(b"\x41\0\0\0data");
        bytes.extend(said.to_le_bytes());
        bytes.extend(vec![0; samples]);
        bytes
    }

    #[test]
    fn a_wav_file_plays_as_long_as_its_samples_last() {
        assert_eq!(of(testkit::VOICEMAIL_WAV), Some(5225));
        assert_eq!(of(&wav(1625, 3250, 3250)), Some(2000), "GSM in RIFF too");
        assert_eq!(of(&wav(16_000, 0, 8000)), Some(500), "a stream that did not know");
        assert_eq!(of(&wav(16_000, u32::MAX, 8000)), Some(500));
        assert_eq!(of(&wav(16_000, 16_000, 8000)), Some(500), "what is missing does not play");
        assert_eq!(of(&[wav(16_000, 8000, 8000), b"LIST".repeat(500)].concat()), Some(500));
        assert_eq!(of(&wav(0, 8000, 8000)), None);
        for length in 0..wav(1, 1, 0).len() {
            assert_eq!(of(&wav(1, 1, 0)[..length]), None, "{length}");
        }
    }

    /// MPEG 1, 44.1 kHz, 128 kbit/s: 417 bytes, or 418 with padding.
    fn frames(count: usize) -> Vec<u8> {
        (0..count)
            .flat_map(|n| {
                [&[0xFF, 0xFB, if n % 2 == 0 { 0x90 } else { 0x92 }, 0x64][..], &vec![0x55; 413 + n % 2]].concat()
            })
            .collect()
    }

    #[test]
    fn an_mp3_plays_as_long_as_its_frames() {
        let wanted = Some(100 * 1152 * 1000 / 44_100);
        assert_eq!(of(&frames(100)), wanted);
        let tag = [&b"ID3\x04\0\0\0\0\x02\x01"[..], &[0xFF; 257]].concat();
        let last = [&b"TAG"[..], &[0; 125]].concat();
        assert_eq!(of(&[tag, frames(100), last].concat()), wanted, "tags are not played");
        let mut table = frames(1);
        table[36..40].copy_from_slice(b"Xing");
        assert_eq!(of(&[table, frames(100)].concat()), wanted, "neither is a table of the frames");
        // MPEG 2.5, 8 kHz, mono, 8 kbit/s, as telephony has it: 72 bytes for 72 ms.
        let quiet: Vec<u8> = (0..50).flat_map(|_| [&[0xFF, 0xE3, 0x18, 0xC4][..], &[0; 68]].concat()).collect();
        assert_eq!(of(&quiet), Some(3600));
    }

    #[test]
    fn of_anything_else_nothing_is_known_and_nothing_breaks() {
        for bytes in [&b""[..], b"R", b"OggS and so on, whatever it may be", b"%PDF-1.4 and so on", &[0xFF; 200_000]] {
            assert_eq!(of(bytes), None);
        }
        // Framed AAC begins the same way.
        assert_eq!(of(&[0xFF, 0xF1, 0x50, 0x80].repeat(50_000)), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_pass(mut bytes: Vec<u8>, cut in 1_usize..50, like in 0_usize..3) {
            let begin: &[u8] = [&b"RIFF....WAVE"[..], b"ID3", &[0xFF, 0xFB, 0x90, 0x64]][like];
            bytes.splice(0..0, begin.iter().copied());
            let whole = in_pieces(&bytes, bytes.len());
            proptest::prop_assert_eq!(in_pieces(&bytes, cut), whole);
        }
    }
}
