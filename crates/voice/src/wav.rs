//! WAV files: prompts are read from them, messages are written to them.
//!
//! Reading takes what people have: 8 or 16 bits, μ-law and A-law, mono and stereo, extensible headers, chunks nobody knows, chunks of odd
//! size. Writing is a stream: [`header`] first, then the samples as they come. A writer that dies leaves a file whose header says less than
//! the file holds, or nothing; [`repair`] gives the header that is true of it.

use std::time::Duration;

use audio_codec_algorithms::{decode_alaw, decode_ulaw};

use crate::{Clip, Error};

/// The length of the header that we write.
pub const HEADER: usize = 44;

/// What a header says of the bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Samples a second.
    pub rate: u32,
    /// Bytes of a sample, of all channels together.
    pub frame: u16,
    /// Where the samples begin.
    pub start: u64,
    /// Bytes of samples there are.
    pub length: u64,
}

impl Format {
    /// How long it sounds.
    #[must_use]
    pub fn duration(&self) -> Duration {
        length(self.length, self.rate, self.frame)
    }
}

fn length(bytes: u64, rate: u32, frame: u16) -> Duration {
    let second = u64::from(rate.max(1)) * u64::from(frame.max(1));
    let (seconds, rest) = (bytes / second, bytes % second);
    Duration::from_secs(seconds) + Duration::from_nanos(rest * 1_000_000_000 / second)
}

/// The header of a mono file of 16 bits with so many bytes of samples; a stream that is still growing says 0. More than 4 GiB cannot be said.
#[must_use]
pub fn header(rate: u32, bytes: u64) -> [u8; HEADER] {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(u32::MAX - 36);
    let mut header = [0; HEADER];
    let mut at = 0;
    let mut put = |field: &[u8]| {
        header[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    };
    put(b"RIFF");
    put(&(bytes + 36).to_le_bytes());
    put(b"WAVEfmt ");
    put(&16_u32.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&rate.to_le_bytes());
    put(&rate.saturating_mul(2).to_le_bytes());
    put(&2_u16.to_le_bytes());
    put(&16_u16.to_le_bytes());
    put(b"data");
    put(&bytes.to_le_bytes());
    header
}

/// Appends samples as they lie in the file.
pub fn write_samples(samples: &[i16], bytes: &mut Vec<u8>) {
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
}

/// A whole mono file of 16 bits.
#[must_use]
pub fn file(rate: u32, samples: &[i16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + samples.len() * 2);
    bytes.extend(header(rate, samples.len() as u64 * 2));
    write_samples(samples, &mut bytes);
    bytes
}

/// The header that is true of a file of ours which now has `file_length` bytes, and how long the file sounds with it. Half a sample at the
/// end is not counted; whoever cuts the file there cuts nothing that was said.
///
/// # Errors
///
/// [`Error::Wav`] when the file does not begin with a header of ours.
pub fn repair(found: &[u8], file_length: u64) -> Result<([u8; HEADER], Duration), Error> {
    let found = found.first_chunk::<HEADER>().ok_or(Error::Wav("shorter than its header"))?;
    let rate = u32::from_le_bytes([found[24], found[25], found[26], found[27]]);
    let ours = header(rate, 0);
    let same = |from: usize, to: usize| found[from..to] == ours[from..to];
    if !(same(0, 4) && same(8, 40)) || rate == 0 {
        return Err(Error::Wav("not a header of ours"));
    }
    let bytes = file_length.saturating_sub(HEADER as u64) & !1;
    Ok((header(rate, bytes), length(bytes, rate, 2)))
}

#[derive(Debug, Clone, Copy)]
enum Coding {
    Unsigned8,
    Signed16,
    Ulaw,
    Alaw,
}

#[derive(Debug, Clone, Copy)]
struct Description {
    coding: Coding,
    channels: u16,
    rate: u32,
}

impl Description {
    fn sample(self) -> u16 {
        if matches!(self.coding, Coding::Signed16) { 2 } else { 1 }
    }
}

/// Finds out what lies in a file, from its beginning: all the chunks before the samples must be there, the samples need not. A length that
/// the header does not know (0 or the largest, as streams have it) follows from `file_length`.
///
/// # Errors
///
/// [`Error::Wav`] when it is no WAV file or holds what we cannot decode.
pub fn inspect(beginning: &[u8], file_length: u64) -> Result<Format, Error> {
    let (description, start, length) = chunks(beginning, file_length)?;
    let frame = description.sample() * description.channels;
    Ok(Format { rate: description.rate, frame, start, length: length - length % u64::from(frame) })
}

/// Reads a whole file. Several channels are mixed into one.
///
/// # Errors
///
/// As [`inspect`].
pub fn read(bytes: &[u8]) -> Result<Clip, Error> {
    let (description, start, length) = chunks(bytes, bytes.len() as u64)?;
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
    let data = &bytes[start..end];
    let samples: Vec<i16> = match description.coding {
        Coding::Unsigned8 => data.iter().map(|&byte| (i16::from(byte) - 128) * 256).collect(),
        Coding::Signed16 => data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect(),
        Coding::Ulaw => data.iter().map(|&byte| decode_ulaw(byte)).collect(),
        Coding::Alaw => data.iter().map(|&byte| decode_alaw(byte)).collect(),
    };
    Ok(Clip::new(description.rate, mixed(samples, usize::from(description.channels))))
}

fn mixed(samples: Vec<i16>, channels: usize) -> Vec<i16> {
    if channels == 1 {
        return samples;
    }
    let mean = |frame: &[i16]| frame.iter().map(|&sample| i64::from(sample)).sum::<i64>() / channels as i64;
    samples.chunks_exact(channels).map(|frame| i16::try_from(mean(frame)).unwrap_or_default()).collect()
}

/// Walks over the chunks as far as the samples: what they are, where they begin, how many bytes of them there are.
fn chunks(bytes: &[u8], file_length: u64) -> Result<(Description, u64, u64), Error> {
    let (riff, mut rest) = bytes.split_first_chunk::<12>().ok_or(Error::Wav("shorter than its header"))?;
    if &riff[..4] != b"RIFF" || &riff[8..] != b"WAVE" {
        return Err(Error::Wav("it does not begin as one"));
    }
    let whole = u64::from(u32::from_le_bytes([riff[4], riff[5], riff[6], riff[7]])) + 8;
    let mut described = None;
    loop {
        let (head, body) = rest.split_first_chunk::<8>().ok_or(Error::Wav("there are no samples in it"))?;
        let [n0, n1, n2, n3, l0, l1, l2, l3] = *head;
        let said = u32::from_le_bytes([l0, l1, l2, l3]);
        match &[n0, n1, n2, n3] {
            b"data" => {
                let start = (bytes.len() - body.len()) as u64;
                let there = file_length.saturating_sub(start);
                let unfinished = said == u32::MAX || (said == 0 && whole < file_length);
                let length = if unfinished { there } else { u64::from(said).min(there) };
                return Ok((described.ok_or(Error::Wav("samples before their description"))?, start, length));
            }
            b"fmt " => described = Some(describe(body, said)?),
            _ => {}
        }
        // A chunk of odd size is followed by a byte of nothing.
        let next = usize::try_from(u64::from(said) + u64::from(said & 1)).unwrap_or(usize::MAX);
        rest = body.get(next..).ok_or(Error::Wav("a chunk is longer than the file"))?;
    }
}

fn describe(body: &[u8], length: u32) -> Result<Description, Error> {
    let body =
        body.get(..usize::try_from(length).unwrap_or(usize::MAX)).ok_or(Error::Wav("its description is cut off"))?;
    let word = |at: usize| body.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let (Some(tag), Some(channels), Some(low), Some(high), Some(bits)) = (word(0), word(2), word(4), word(6), word(14))
    else {
        return Err(Error::Wav("its description is too short"));
    };
    // An extensible header says the true kind in the first two bytes of a GUID.
    let tag = if tag == 0xfffe { word(24).ok_or(Error::Wav("its description is too short"))? } else { tag };
    let coding = match (tag, bits) {
        (1, 8) => Coding::Unsigned8,
        (1, 16) => Coding::Signed16,
        (6, 8) => Coding::Alaw,
        (7, 8) => Coding::Ulaw,
        _ => return Err(Error::Wav("neither PCM of 8 or 16 bits nor G.711")),
    };
    let rate = u32::from(low) | u32::from(high) << 16;
    if !(1..=8).contains(&channels) {
        return Err(Error::Wav("no channels, or too many"));
    }
    if !(1_000..=192_000).contains(&rate) {
        return Err(Error::Wav("a rate that nobody plays"));
    }
    Ok(Description { coding, channels, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [i16; 5] = [0, 1, -1, i16::MAX, i16::MIN];

    fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut chunk = [&name[..], &(body.len() as u32).to_le_bytes(), body].concat();
        chunk.resize(chunk.len().next_multiple_of(2), 0);
        chunk
    }

    fn description(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let frame = channels * bits / 8;
        let words = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
        let rates = [rate.to_le_bytes(), (rate * u32::from(frame)).to_le_bytes()].concat();
        [words, rates, [frame.to_le_bytes(), bits.to_le_bytes()].concat()].concat()
    }

    fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body = chunks.concat();
        [&b"RIFF"[..], &(body.len() as u32 + 4).to_le_bytes(), b"WAVE", &body].concat()
    }

    fn simple(tag: u16, channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
        riff(&[chunk(b"fmt ", &description(tag, channels, 8_000, bits)), chunk(b"data", data)])
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = file(8_000, &SAMPLES);
        assert_eq!(bytes, simple(1, 1, 16, &bytes[HEADER..]), "as everybody writes it");
        let clip = read(&bytes).unwrap();
        assert_eq!((clip.rate(), clip.samples()), (8_000, &SAMPLES[..]));
        let format = inspect(&bytes[..HEADER], bytes.len() as u64).unwrap();
        assert_eq!(format, Format { rate: 8_000, frame: 2, start: 44, length: 10 });
        assert_eq!(file(48_000, &[0; 24_024]).len(), HEADER + 48_048);
        assert_eq!(inspect(&header(48_000, 48_048), 48_092).unwrap().duration(), Duration::from_micros(500_500));
    }

    #[test]
    fn other_codings_are_read() {
        assert_eq!(read(&simple(1, 1, 8, &[0, 128, 255])).unwrap().samples(), [-32_768, 0, 32_512]);
        assert_eq!(read(&simple(7, 1, 8, &[0x00, 0x80, 0xff])).unwrap().samples(), [-32_124, 32_124, 0]);
        assert_eq!(read(&simple(6, 1, 8, &[0x2a, 0xaa, 0xd5])).unwrap().samples(), [-32_256, 32_256, 8]);
        let two: Vec<u8> =
            [100, 300, -32_768, -32_768, 32_767, 32_767_i16].iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(read(&simple(1, 2, 16, &two)).unwrap().samples(), [200, -32_768, 32_767]);
    }

    #[test]
    fn chunks_that_nobody_knows_are_stepped_over() {
        let extensible = [
            description(0xfffe, 1, 16_000, 16),
            vec![22, 0, 16, 0, 4, 0, 0, 0],
            vec![1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71],
        ];
        let chunks = [
            chunk(b"LIST", b"odd"),
            chunk(b"fmt ", &extensible.concat()),
            chunk(b"fact", &[5, 0, 0, 0]),
            chunk(b"data", &[1, 0, 2, 0]),
            chunk(b"id3 ", b"after the samples"),
        ];
        let clip = read(&riff(&chunks)).unwrap();
        assert_eq!((clip.rate(), clip.samples()), (16_000, &[1, 2][..]));
    }

    #[test]
    fn a_length_that_is_not_true_is_not_believed() {
        let grown = [&header(8_000, 0)[..], &[1, 0, 2, 0, 3]].concat();
        assert_eq!(read(&grown).unwrap().samples(), [1, 2], "the writer died");
        let mut stream = file(8_000, &SAMPLES);
        stream[4..8].fill(0xff);
        stream[40..44].fill(0xff);
        assert_eq!(read(&stream).unwrap().samples(), SAMPLES, "the writer could not know");
        assert_eq!(read(&file(8_000, &SAMPLES)[..HEADER + 4]).unwrap().samples(), &SAMPLES[..2], "cut off");
        let empty = riff(&[chunk(b"fmt ", &description(1, 1, 8_000, 16)), chunk(b"data", &[]), chunk(b"LIST", b"ab")]);
        assert_eq!(read(&empty).unwrap().samples(), [0; 0], "really nothing");
    }

    #[test]
    fn what_cannot_be_played_is_refused() {
        let whole = file(8_000, &SAMPLES);
        assert!((0..HEADER).all(|length| read(&whole[..length]).is_err()));
        let with = |tag, channels, rate, bits| {
            read(&riff(&[chunk(b"fmt ", &description(tag, channels, rate, bits)), chunk(b"data", &[0; 96])])).is_err()
        };
        assert!(with(1, 1, 8_000, 24) && with(3, 1, 8_000, 32) && with(0x55, 1, 8_000, 16), "codings");
        assert!(with(1, 0, 8_000, 16) && with(1, 9, 8_000, 16) && with(1, 1, 0, 16) && with(1, 1, 400_000, 16));
        assert!(read(&riff(&[chunk(b"data", &[0; 4]), chunk(b"fmt ", &description(1, 1, 8_000, 16))])).is_err());
        assert!(read(&riff(&[chunk(b"fmt ", &description(1, 1, 8_000, 16)[..14]), chunk(b"data", &[0; 4])])).is_err());
    }

    #[test]
    fn a_file_whose_writer_died_gets_a_true_header() {
        let samples = [7; 4_000];
        let whole = file(16_000, &samples);
        for found in [header(16_000, 0), header(16_000, 320), header(16_000, 1 << 20)] {
            let (repaired, sounds) = repair(&found, whole.len() as u64).unwrap();
            assert_eq!(repaired, whole[..HEADER]);
            assert_eq!(sounds, Duration::from_millis(250));
        }
        let (repaired, sounds) = repair(&header(8_000, 0), HEADER as u64 + 17).unwrap();
        assert_eq!((repaired, sounds), (header(8_000, 16), Duration::from_millis(1)), "half a sample");
        assert_eq!(repair(&header(8_000, 0), HEADER as u64).unwrap().1, Duration::ZERO);
        assert_eq!(repair(&header(8_000, 0), 10).unwrap().0, header(8_000, 0));
        assert!(repair(&header(8_000, 0)[..43], 1_000).is_err());
        assert!(repair(&simple(7, 1, 8, &[0; 40]), 1_000).is_err());
        assert!(repair(&header(0, 0), 1_000).is_err());
        let (enormous, _) = repair(&header(8_000, 0), 1 << 40).unwrap();
        assert_eq!(enormous[4..8], [0xff; 4], "as much as can be said");
    }
}
