//! Where the quotes of a text are: sixty-four bytes are looked at together.
//!
//! Most texts in a report have some twenty bytes. A search for the end of each pays for its beginning every time; here each byte is compared once,
//! sixteen by an instruction, and a quote costs no more than its bit.

use wide::u8x16;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// The quotes that no backslash stands before, one after the other.
pub(super) struct Quotes<'a> {
    blocks: std::slice::Iter<'a, [u8; BLOCK]>,
    tail: Option<[u8; BLOCK]>,
    /// Where the block that is looked at ends.
    end: usize,
    /// The quotes of it that were not given, its first byte at the lowest bit.
    left: u64,
    /// A backslash stood at the end of the block before.
    escaped: bool,
    /// There is more to be seen than quotes and escapes of a letter.
    unknown: bool,
}

impl<'a> Quotes<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        let (blocks, rest) = text.as_chunks();
        let mut tail = [b' '; BLOCK];
        tail[..rest.len()].copy_from_slice(rest);
        Self { blocks: blocks.iter(), tail: Some(tail), end: 0, left: 0, escaped: false, unknown: false }
    }

    /// Where the next one is; `None` after the last, at a control character, and where an escape is none of those that are a letter long.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            self.advance();
        }
        let first = self.left.trailing_zeros() as usize;
        self.left &= self.left.wrapping_sub(1);
        (first < BLOCK).then(|| self.end - BLOCK + first)
    }

    /// Goes on to the next block with a quote.
    #[inline(never)]
    fn advance(&mut self) {
        while self.left == 0 && !self.unknown {
            let Some(block) = self.blocks.next().copied().or_else(|| self.tail.take()) else { return };
            self.left = self.block(&block);
            self.end += BLOCK;
        }
    }

    /// True when nothing else is left: no quote, and nothing at which they end.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.next().is_none() && !self.unknown
    }

    #[inline]
    fn block(&mut self, block: &[u8; BLOCK]) -> u64 {
        let (mut quotes, mut others) = (0, u8x16::ZERO);
        for (number, bytes) in block.as_chunks().0.iter().enumerate() {
            let bytes = u8x16::new(*bytes);
            quotes |= u64::from(bytes.simd_eq(u8x16::splat(b'"')).to_bitmask()) << (16 * number);
            // At least a blank, or a control character.
            others |= bytes.simd_eq(u8x16::splat(b'\\')) | !bytes.max(u8x16::splat(b' ')).simd_eq(bytes);
        }
        if others.any() || self.escaped { self.unescaped(block) } else { quotes }
    }

    /// The quotes of a block in which there is more to be seen.
    #[cold]
    fn unescaped(&mut self, block: &[u8; BLOCK]) -> u64 {
        let mut quotes = 0;
        for (at, byte) in block.iter().enumerate() {
            match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' if self.escaped => self.escaped = false,
                _ if self.escaped => self.unknown = true,
                b'\\' => self.escaped = true,
                b'"' => quotes |= 1 << at,
                0..b' ' => self.unknown = true,
                _ => {}
            }
        }
        if self.unknown { 0 } else { quotes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quotes, and whether they are all.
    fn all(text: &[u8]) -> (Vec<usize>, bool) {
        let mut quotes = Quotes::of(text);
        let found = std::iter::from_fn(|| quotes.next()).collect();
        (found, quotes.is_at_end())
    }

    #[test]
    fn every_quote_is_found_wherever_it_stands() {
        for length in 0..200 {
            for other in [b' ', b'!', b'#', b'"' | 0x80, b'\\' | 0x80, 0x7f, 0x80, 0xff] {
                let mut text = vec![other; length];
                assert_eq!(all(&text), (vec![], true));
                for at in 0..length {
                    text.fill(other);
                    text[at] = b'"';
                    assert_eq!(all(&text), (vec![at], true), "{other} {length}");
                }
            }
            assert_eq!(all(&vec![b'"'; length]), ((0..length).collect(), true));
        }
    }

    #[test]
    fn one_after_a_backslash_is_none() {
        for before in 0..200 {
            let text = |end: &[u8]| [&vec![b'x'; before], end].concat();
            assert_eq!(all(&text(br#"\"""#)), (vec![before + 2], true));
            assert_eq!(all(&text(br#"\\"""#)), (vec![before + 2, before + 3], true));
            assert_eq!(all(&text(br#"\\\"\n""#)), (vec![before + 6], true));
            for unknown in [&br#"\u0022"#[..], b"\\", b"\x1f", b"\0", b"\\\n"] {
                assert_eq!(all(&text(unknown)), (vec![], false), "{unknown:?}");
            }
        }
    }
}
