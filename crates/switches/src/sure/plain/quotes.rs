//! Where the quotes of a text are: sixty-four bytes are looked at together.
//!
//! Most texts in a report have some twenty bytes. A search for the end of each pays for its beginning every time; here each byte is compared once,
//! sixteen by an instruction, and a quote costs no more than its bit.

use wide::u8x16;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Where the quotes of a text are that no backslash stands before, in their order; `None` where there is a control character, or an escape that is
/// none of those that are a letter long, and of what is no UTF-8.
pub(super) fn quotes(text: &[u8]) -> Option<Vec<u32>> {
    let length = u32::try_from(text.len()).ok()?;
    let (blocks, rest) = text.as_chunks();
    let mut tail = [b' '; BLOCK];
    tail[..rest.len()].copy_from_slice(rest);
    // One of ten bytes is one, in what switches print.
    let (mut found, mut escaped, mut all) = (Vec::with_capacity(text.len() / 8), false, u8x16::ZERO);
    for (block, first) in blocks.iter().chain([&tail]).zip((0..=length).step_by(BLOCK)) {
        let block = Block::of(block);
        all |= block.all;
        let mut quotes = if block.is_plain && !escaped { block.quotes } else { unescaped(block.bytes, &mut escaped)? };
        while quotes != 0 {
            found.push(first.wrapping_add(quotes.trailing_zeros()));
            quotes &= quotes.wrapping_sub(1);
        }
    }
    let is_ascii = all.to_bitmask() == 0;
    (!escaped && (is_ascii || std::str::from_utf8(text).is_ok())).then_some(found)
}

/// What is seen of a block.
struct Block<'a> {
    bytes: &'a [u8; BLOCK],
    /// Its quotes, the first byte at the lowest bit.
    quotes: u64,
    /// It has no backslash and no control character.
    is_plain: bool,
    /// All bits of its bytes.
    all: u8x16,
}

impl<'a> Block<'a> {
    #[inline]
    fn of(bytes: &'a [u8; BLOCK]) -> Self {
        let (mut quotes, mut others, mut all) = (0, u8x16::ZERO, u8x16::ZERO);
        for (number, bytes) in bytes.as_chunks().0.iter().enumerate() {
            let bytes = u8x16::new(*bytes);
            quotes |= u64::from(bytes.simd_eq(u8x16::splat(b'"')).to_bitmask()) << (16 * number);
            // At least a blank, or a control character.
            others |= bytes.simd_eq(u8x16::splat(b'\\')) | !bytes.max(u8x16::splat(b' ')).simd_eq(bytes);
            all |= bytes;
        }
        Self { bytes, quotes, is_plain: !others.any(), all }
    }
}

/// The quotes of a block in which there is more to be seen.
#[cold]
fn unescaped(block: &[u8; BLOCK], escaped: &mut bool) -> Option<u64> {
    let mut quotes = 0;
    for (at, byte) in block.iter().enumerate() {
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' if *escaped => *escaped = false,
            _ if *escaped => return None,
            b'\\' => *escaped = true,
            b'"' => quotes |= 1 << at,
            0..b' ' => return None,
            _ => {}
        }
    }
    Some(quotes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quote_is_found_wherever_it_stands() {
        for length in 0..200 {
            for other in [b' ', b'!', b'#', b'[', b']', 0x7f] {
                let mut text = vec![other; length];
                assert_eq!(quotes(&text), Some(vec![]));
                for at in 0..length {
                    text.fill(other);
                    text[at] = b'"';
                    assert_eq!(quotes(&text), Some(vec![at as u32]), "{other} {length}");
                }
            }
            assert_eq!(quotes(&vec![b'"'; length]), Some((0..length as u32).collect()));
        }
    }

    #[test]
    fn other_letters_are_seen_and_bytes_that_are_none() {
        for before in 0..200 {
            let text = |end: &[u8]| [&vec![b'x'; before], end].concat();
            // Their bytes are a quote and a backslash but for the highest bit.
            assert_eq!(quotes(&text("\u{e2}\u{1f79c}\"".as_bytes())), Some(vec![before as u32 + 6]));
            for none in [&b"\xa2"[..], b"\"\xff\"", b"\xc3"] {
                assert_eq!(quotes(&text(none)), None, "{none:?}");
            }
        }
    }

    #[test]
    fn one_after_a_backslash_is_none() {
        for before in 0..200_u32 {
            let text = |end: &[u8]| [&vec![b'x'; before as usize], end].concat();
            assert_eq!(quotes(&text(br#"\"""#)), Some(vec![before + 2]));
            assert_eq!(quotes(&text(br#"\\"""#)), Some(vec![before + 2, before + 3]));
            assert_eq!(quotes(&text(br#"\\\"\n""#)), Some(vec![before + 6]));
            for unknown in [&br#"\u0022"#[..], b"\\", b"\x1f", b"\0", b"\\\n"] {
                assert_eq!(quotes(&text(unknown)), None, "{unknown:?}");
            }
        }
    }
}
