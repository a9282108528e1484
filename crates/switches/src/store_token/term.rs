//! Erlang's external term format, as much of it as a store token needs: texts, tuples and lists. Other terms are stepped over; what has no length
//! of its own that we know (functions, references, compressed terms) ends the reading.

/// The deepest nesting that is read.
const DEEPEST: usize = 16;
/// The version before every term.
const VERSION: u8 = 131;

/// A term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Term {
    /// An atom or a binary.
    Text(String),
    Tuple(Vec<Term>),
    List(Vec<Term>),
    /// A number, or a map, which nobody looks into.
    Other,
}

impl Term {
    /// Reads one term that is all of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { rest: bytes.strip_prefix(&[VERSION])? };
        let term = reader.term(0)?;
        reader.rest.is_empty().then_some(term)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// A number of so many bytes, the highest first.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn text(&mut self, length: usize) -> Option<Term> {
        Some(Term::Text(std::str::from_utf8(self.take(length)?).ok()?.to_owned()))
    }

    fn term(&mut self, depth: usize) -> Option<Term> {
        if depth > DEEPEST {
            return None;
        }
        match self.number(1)? {
            // Atoms.
            100 | 118 => self.number(2).and_then(|length| self.text(length)),
            115 | 119 => self.number(1).and_then(|length| self.text(length)),
            // Binaries, and lists of bytes.
            109 => self.number(4).and_then(|length| self.text(length)),
            107 => self.number(2).and_then(|length| self.text(length)),
            // Tuples and lists.
            104 => self.number(1).and_then(|count| self.terms(count, depth)).map(Term::Tuple),
            105 => self.number(4).and_then(|count| self.terms(count, depth)).map(Term::Tuple),
            106 => Some(Term::List(Vec::new())),
            108 => {
                let count = self.number(4)?;
                let list = self.terms(count, depth)?;
                self.term(depth + 1)?;
                Some(Term::List(list))
            }
            // Maps.
            116 => {
                let count = self.number(4)?;
                self.terms(count.checked_mul(2)?, depth).map(|_| Term::Other)
            }
            // Numbers.
            97 => self.take(1).map(|_| Term::Other),
            98 => self.take(4).map(|_| Term::Other),
            70 => self.take(8).map(|_| Term::Other),
            110 => {
                let length = self.number(1)?;
                self.take(length + 1).map(|_| Term::Other)
            }
            _ => None,
        }
    }

    fn terms(&mut self, count: usize, depth: usize) -> Option<Vec<Term>> {
        // A term takes a byte: a count beyond what is left is a lie, and no reason to reserve anything.
        if count > self.rest.len() {
            return None;
        }
        (0..count).map(|_| self.term(depth + 1)).collect()
    }
}
