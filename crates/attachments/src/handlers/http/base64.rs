//! Base64 as a stream, both ways, in bounded memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future;
use futures_util::stream::{self, Stream, StreamExt};

/// The length of so many bytes as base64.
pub(super) fn encoded_length(bytes: u64) -> u64 {
    bytes.div_ceil(3) * 4
}

/// The bytes of a stream as base64, in lines of any length: none is broken.
pub(super) fn encoded<E>(source: impl Stream<Item = Result<Bytes, E>>) -> impl Stream<Item = Result<Bytes, E>> {
    source.map(Some).chain(stream::iter([None])).scan(Vec::<u8>::new(), |carry, piece| {
        future::ready(match piece {
            Some(Ok(piece)) => {
                carry.extend_from_slice(&piece);
                let rest = carry.split_off(carry.len() - carry.len() % 3);
                let whole = std::mem::replace(carry, rest);
                Some(Ok(Bytes::from(STANDARD.encode(whole))))
            }
            Some(Err(error)) => Some(Err(error)),
            None => Some(Ok(Bytes::from(STANDARD.encode(std::mem::take(carry))))),
        })
    })
}

/// Whether a first piece of bytes may be base64.
pub(super) fn may_be(bytes: &[u8]) -> bool {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\r' | b'\n');
    !bytes.is_empty() && bytes.iter().all(is)
}

/// What base64 stands for; `broken` makes the error where it is none.
pub(super) fn decoded<E: Send + 'static>(
    source: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    broken: fn() -> E,
) -> impl Stream<Item = Result<Bytes, E>> + Send + 'static {
    source.map(Some).chain(stream::iter([None])).scan(Decoder::default(), move |decoder, piece| {
        future::ready(match piece {
            _ if decoder.failed => None,
            Some(Ok(piece)) => Some(decoder.take(&piece, false).ok_or_else(broken)),
            Some(Err(error)) => Some(Err(error)),
            None => Some(decoder.take(&[], true).ok_or_else(broken)),
        })
    })
}

#[derive(Default)]
struct Decoder {
    carry: Vec<u8>,
    padded: bool,
    failed: bool,
}

impl Decoder {
    fn take(&mut self, piece: &[u8], last: bool) -> Option<Bytes> {
        let before = self.carry.len();
        self.carry.extend(piece.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        // Padding ends it: what comes after is no base64.
        let after_the_end = self.padded && self.carry.len() > before;
        let keep = if last { 0 } else { self.carry.len() % 4 };
        let rest = self.carry.split_off(self.carry.len() - keep);
        let whole = std::mem::replace(&mut self.carry, rest);
        self.padded |= whole.ends_with(b"=");
        let decoded = STANDARD.decode(whole).ok().filter(|_| !after_the_end);
        self.failed = decoded.is_none();
        decoded.map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;
    use proptest::prelude::*;

    fn run(stream: impl Stream<Item = Result<Bytes, &'static str>>) -> Result<Vec<u8>, &'static str> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pieces: Vec<Bytes> = runtime.block_on(stream.try_collect())?;
        Ok(pieces.concat())
    }

    fn pieces(content: &[u8], size: usize) -> impl Stream<Item = Result<Bytes, &'static str>> + Send + use<> {
        stream::iter(content.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn there_and_back(content in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..20, line in 1_usize..20) {
            let text = run(encoded(pieces(&content, size))).unwrap();
            let expected = STANDARD.encode(&content);
            prop_assert_eq!(&text, expected.as_bytes());
            prop_assert_eq!(text.len() as u64, encoded_length(content.len() as u64));
            let broken_lines = text.chunks(line).collect::<Vec<_>>().join(&b"\r\n"[..]);
            prop_assert_eq!(run(decoded(pieces(&broken_lines, size), || "broken")).unwrap(), content);
        }
    }

    #[test]
    fn what_is_none_is_an_error() {
        for text in ["a", "abc", "ab==cd==", "RIFF\0\0", "====", "aGVsbG8=x"] {
            for size in [1, 3, 100] {
                assert_eq!(run(decoded(pieces(text.as_bytes(), size), || "broken")), Err("broken"), "{text} {size}");
            }
        }
        assert!(may_be(b"aGVs\r\nbG8=") && !may_be(b"RIFF\0") && !may_be(b""));
    }
}
