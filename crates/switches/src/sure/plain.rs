//! JSON as switches print it, looked through without being parsed.
//!
//! A parser decides about every byte of every text. Here a text is what stands between two quotes ([`quotes`]), and only the plainest
//! grammar is known: no escapes by number, no control character anywhere, no exponents, no long numbers. What has any of these may be JSON all the
//! same; then the answer is that nothing is known.

mod quotes;

use super::{NAMES, is_name};
use quotes::quotes;

/// How deeply values may lie in each other. JSON is read down to 128.
const DEPTH: u32 = 100;
/// Digits of a number that every reader of numbers takes.
const DIGITS: usize = 15;

/// Whether the variables of a report name a leg; `None` when the text is not a plain object, or no JSON at all.
pub(super) fn names_a_leg(text: &[u8]) -> Option<bool> {
    let mut is_named = false;
    let mut rest = Rest { text, at: 0, quotes: &quotes(text)? };
    rest.take(b'{')?;
    let is_other = |name: &[u8]| name != b"variables";
    rest.fields(
        |name, _| is_other(name).then_some(()),
        |rest, name| {
            if is_other(name) {
                return rest.value(1);
            }
            rest.take(b'{')?;
            rest.fields(
                |name, value| {
                    if !is_one_of_a_leg(name) {
                        return Some(());
                    }
                    is_named |= is_name(value);
                    // What is written with an escape may be another name.
                    (!value.contains(&b'\\')).then_some(())
                },
                |rest, name| if is_one_of_a_leg(name) { None } else { rest.value(2) },
            )
        },
    )?;
    rest.next().is_none().then_some(is_named)
}

/// Whether a variable of this name names the leg.
fn is_one_of_a_leg(name: &[u8]) -> bool {
    NAMES.iter().any(|known| known.as_bytes() == name)
}

/// What is left of a text.
struct Rest<'a> {
    text: &'a [u8],
    /// Where it goes on.
    at: usize,
    /// Those of its quotes that were not passed.
    quotes: &'a [u32],
}

impl<'a> Rest<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.byte()? {
                b' ' => {}
                byte => return Some(byte),
            }
        }
    }

    /// The next byte that is no blank has to be this one.
    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A text, after its first quote: as it is written.
    fn text(&mut self) -> Option<&'a [u8]> {
        let ([first, last], quotes) = self.quotes.split_first_chunk()?;
        let (first, last) = (*first as usize, *last as usize);
        if first + 1 != self.at {
            return None;
        }
        (self.at, self.quotes) = (last + 1, quotes);
        self.text.get(first + 1..last)
    }

    /// The fields of an object, after its bracket. `texts` is given those that are texts, with their names; `others` takes the value of any other.
    fn fields(
        &mut self,
        mut texts: impl FnMut(&[u8], &[u8]) -> Option<()>,
        mut others: impl FnMut(&mut Self, &[u8]) -> Option<()>,
    ) -> Option<()> {
        match self.next()? {
            b'}' => return Some(()),
            b'"' => {}
            _ => return None,
        }
        loop {
            self.run(&mut texts)?;
            let name = self.text()?;
            self.take(b':')?;
            match self.next()? {
                b'"' => texts(name, self.text()?)?,
                _ => {
                    self.at -= 1;
                    others(self, name)?;
                }
            }
            match self.next()? {
                b'}' => return Some(()),
                b',' => self.take(b'"')?,
                _ => return None,
            }
        }
    }

    /// Passes a run of fields that are texts, as they are printed: without a blank between them, and each with another one behind it. It begins and ends
    /// after the first quote of a name.
    #[inline]
    fn run(&mut self, texts: &mut impl FnMut(&[u8], &[u8]) -> Option<()>) -> Option<()> {
        let (text, mut quotes, mut at) = (self.text, self.quotes, self.at);
        while let [opening, name, first, last, next, ..] = *quotes {
            let (end, first, last) = (name as usize, first as usize, last as usize);
            let is_run = opening as usize + 1 == at && first == end + 2 && next as usize == last + 2;
            if !is_run || text.get(end + 1) != Some(&b':') || text.get(last + 1) != Some(&b',') {
                break;
            }
            texts(text.get(at..end)?, text.get(first + 1..last)?)?;
            (quotes, at) = (&quotes[4..], last + 3);
        }
        (self.quotes, self.at) = (quotes, at);
        Some(())
    }

    /// The values of a list, after its bracket.
    fn list(&mut self, depth: u32) -> Option<()> {
        let first = self.at;
        if self.next()? == b']' {
            return Some(());
        }
        self.at = first;
        loop {
            self.value(depth)?;
            match self.next()? {
                b']' => return Some(()),
                b',' => {}
                _ => return None,
            }
        }
    }

    /// Any value that lies in so many others.
    fn value(&mut self, depth: u32) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        match self.next()? {
            b'"' => self.text().map(|_| ()),
            b'{' => self.fields(|_, _| Some(()), |rest, _| rest.value(depth + 1)),
            b'[' => self.list(depth + 1),
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            b'n' => self.word(b"ull"),
            b'-' => {
                let first = self.byte()?;
                self.number(first)
            }
            first => self.number(first),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    /// A number after its `first` digit.
    fn number(&mut self, first: u8) -> Option<()> {
        if !first.is_ascii_digit() {
            return None;
        }
        let mut digits = 1 + self.digits();
        if first == b'0' && digits > 1 {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            let places = self.digits();
            if places == 0 {
                return None;
            }
            digits += places;
        }
        (digits <= DIGITS).then_some(())
    }

    /// Passes digits, and says how many.
    fn digits(&mut self) -> usize {
        let count = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sure::parsed;
    use crate::{Record, read};

    const REPORT: &str = r#"{"core-uuid":"2a1f","channel_data":{"flags":"0=1;1=1","caps":[]},
        "callStats":{"mos":4.5,"errorLog":[{"start":1,"lost":-0.25}]},
        "variables":{"direction":"in\\bound","uuid":"6b2f","sip_from":"\"Jürgen\" <%2B1>","empty":"","on":true,"off":false,"none":null},
        "app_log":[["a", 0]]}"#;

    /// The report in one line, as it is printed.
    fn report() -> String {
        REPORT.lines().map(str::trim_start).collect()
    }

    #[test]
    fn what_is_printed_plainly_is_known_and_the_rest_is_left_to_a_parser() {
        assert_eq!(names_a_leg(report().as_bytes()), Some(true));
        assert_eq!(names_a_leg(br#"{"variables": {"uuid": "-", "x": {"uuid": "a"}}, "uuid": "a"}  "#), Some(false));
        for unknown in [
            REPORT,
            r#"{"variables":{"uuid":"\n"}}"#,
            r#"{"variables":{"uuid":"a"}} x"#,
            r#"{"variables":{"uuid":"a","x":"\u0041"}}"#,
            r#"{"variables":{"uuid":"a","x":1e9}}"#,
            r#"{"variables":{"uuid":"a","x":1234567890123456}}"#,
            r#"{"variables":{"uuid":"a","x":01}}"#,
            r#"{"variables":{"uuid":"a","x":1.}}"#,
            r#"{"variables":{"uuid":"a","x":-}}"#,
            r#"{"variables":{"uuid":"a",}}"#,
            r#"{"variables":{"uuid":"a","x":[1,]}}"#,
            r#"{"variables":{"uuid":"a","x":tru}}"#,
            r#"{"variables":{"uuid":"a","x":"a\x"}}"#,
            r#"{"variables":{"uuid":"a","x":"#,
            r#"{"variables":{"uuid":"a\"#,
            r#"{"variables":["uuid"]}"#,
            "[]",
            "",
        ] {
            assert_eq!(names_a_leg(unknown.as_bytes()), None, "{unknown}");
        }
        let nested = |depth: usize| format!(r#"{{"x":{}{},"variables":{{}}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(names_a_leg(nested(100).as_bytes()), Some(false));
        assert_eq!(names_a_leg(nested(102).as_bytes()), None);
    }

    /// What somebody writes over a part of a report.
    const SCRAWL: &str = r#"[ -~]|\PC|\\u[0-9a-fd]{4}|[0-9]{1,20}|[{}\[\],:"\\]|1e[0-9]{1,3}|\\."#;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Whatever is said of a report that was broken here and there, a parser says too, and it is read.
        #[test]
        fn what_is_known_is_true(
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize, SCRAWL), 0..4),
        ) {
            let mut text: Vec<char> = report().chars().collect();
            for (at, gone, new) in changes {
                let at = at.index(text.len());
                text.splice(at..text.len().min(at + gone), new.chars());
            }
            let text: String = text.into_iter().collect();
            if let Some(is_named) = names_a_leg(text.as_bytes()) {
                prop_assert_eq!(is_named, parsed(&text), "{}", text);
                prop_assert!(!is_named || matches!(read(text.as_bytes()), Ok(Record::Leg(_))), "{}", text);
            }
        }
    }
}
