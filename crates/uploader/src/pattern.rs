//! Metadata in file names: `{call_id}_{caller_id_number}.wav`, or a regular expression with named groups.

use std::collections::BTreeMap;

use regex::Regex;

use crate::Error;

/// How a file name is read. The names of its groups are those of the query parameters.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Parses `{call_id}_{caller_id_number}.wav`, where a name stands for as little as fits, or a regular expression with named groups,
    /// `(?<call_id>[^_]+)_(?<caller_id_number>\+?\d+)\.wav`. Both must fit a whole file name.
    ///
    /// # Errors
    /// [`Error::Unfit`] when it is neither, or names nothing.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let expression = if text.contains("(?") { text.to_owned() } else { from_braces(text) };
        let unfit = |what: String| Error::Unfit(format!("--name-pattern: {what}"));
        let expression = Regex::new(&format!("^(?:{expression})$")).map_err(|error| unfit(error.to_string()))?;
        if expression.capture_names().flatten().next().is_none() {
            return Err(unfit(format!("`{text}` names nothing; write {{call_id}}_{{caller_id_number}}.wav")));
        }
        Ok(Self(expression))
    }

    /// Whether one of its groups has this name.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.capture_names().flatten().any(|known| known == name)
    }

    /// What a file name says. `None` when it does not fit.
    #[must_use]
    pub fn read(&self, file_name: &str) -> Option<BTreeMap<String, String>> {
        let captures = self.0.captures(file_name)?;
        let groups = self.0.capture_names().flatten();
        Some(groups.filter_map(|name| Some((name.to_owned(), captures.name(name)?.as_str().to_owned()))).collect())
    }
}

/// A name in braces becomes a group; everything else stands for itself, `*` for anything.
fn from_braces(text: &str) -> String {
    let mut expression = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        expression.push_str(&literal(before));
        expression.push_str(&format!("(?<{name}>.+?)"));
        rest = after;
    }
    expression + &literal(rest)
}

fn literal(text: &str) -> String {
    text.split('*').map(regex::escape).collect::<Vec<_>>().join(".*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pattern: &str, name: &str) -> Option<String> {
        let read = Pattern::parse(pattern).unwrap().read(name)?;
        Some(read.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_in_braces() {
        let pattern = "{call_id}_{caller_id_number}.wav";
        assert_eq!(read(pattern, "a-b_+1415.wav").unwrap(), "call_id=a-b caller_id_number=+1415");
        assert_eq!(read(pattern, "a_b_c.wav").unwrap(), "call_id=a caller_id_number=b_c");
        assert_eq!(read(pattern, "a_b_wav"), None);
        assert_eq!(read(pattern, "_b.wav"), None);
        assert_eq!(read("msg_{call_id}.*", "msg_1.2.wav").unwrap(), "call_id=1");
    }

    #[test]
    fn regular_expressions_fit_the_whole_name() {
        let pattern = r"(?<call_id>[^_]+)(?:_(?<to>\d+))?\.(?:wav|mp3)";
        assert_eq!(read(pattern, "a.mp3").unwrap(), "call_id=a");
        assert_eq!(read(pattern, "a_7.wav").unwrap(), "call_id=a to=7");
        assert_eq!(read(pattern, "a_7.wav.old"), None);
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for pattern in ["*.wav", "{}.wav", "{call id}.wav", "(?<call_id>.wav"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
