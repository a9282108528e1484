//! JSON as switches write it: with a key that comes again and again, and sometimes broken by its own encoding.
//!
//! A [`Node`] keeps every field in order, repeated ones too. Nesting is bounded by `serde_json` (128).
//!
//! What FreeSWITCH encodes once too often may not be JSON after decoding: with `encode-values` and a form, `%22` within a value is decoded together
//! with the quotes around it. [`parse`] mends such text where it can be told what was meant (`repair`), rather than lose the record.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::Error;

mod repair;

/// A JSON value that forgets nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Fields(Vec<(String, Node)>),
}

/// Reads JSON, mending it where it has to be.
pub(crate) fn parse(text: &str) -> Result<Node, Error> {
    serde_json::from_str(text)
        .or_else(|error| serde_json::from_str(&repair::mend(text)).map_err(|_| Error::Json(error)))
}

impl Node {
    /// The first field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.fields()?.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Every field of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.fields().into_iter().flatten().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }

    /// The fields of an object.
    pub(crate) fn fields(&self) -> Option<&[(String, Node)]> {
        match self {
            Self::Fields(fields) => Some(fields),
            _ => None,
        }
    }

    /// The first of a list; what is no list is its own first.
    pub(crate) fn first(&self) -> Option<&Node> {
        match self {
            Self::List(list) => list.first(),
            other => Some(other),
        }
    }

    /// What a text, a number or a truth value says; nothing for an empty text.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => (!text.is_empty()).then_some(Cow::Borrowed(text)),
            Self::Number(number) => Some(number.to_string().into()),
            Self::Bool(truth) => Some(truth.to_string().into()),
            Self::Null | Self::List(_) | Self::Fields(_) => None,
        }
    }

    /// As JSON; the last of repeated fields counts.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => (*truth).into(),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => text.as_str().into(),
            Self::List(list) => list.iter().map(Node::value).collect(),
            Self::Fields(fields) => {
                Value::Object(fields.iter().map(|(name, value)| (name.clone(), value.value())).collect::<Map<_, _>>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Everything)
    }
}

struct Everything;

impl<'de> Visitor<'de> for Everything {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Number::from_f64(number).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = sequence.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_kept_and_the_first_is_first() {
        let node = parse(r#"{"a": 1, "b": {"c": "x"}, "a": 2, "d": [null, true, ""]}"#).unwrap();
        assert_eq!(node.get("a").unwrap().text().unwrap(), "1");
        assert_eq!(node.all("a").count(), 2);
        assert_eq!(node.value()["a"], 2);
        assert_eq!(node.get("d").unwrap().first(), Some(&Node::Null));
        assert!(parse(&format!("{}{}", "[".repeat(500), "]".repeat(500))).is_err());
    }

    #[test]
    fn what_was_decoded_once_too_often_is_mended() {
        for (broken, wanted) in [
            (r#"{"a":"say "hi"","b":"2"}"#, r#"say "hi""#),
            ("{\"a\":\"two\nlines\",\"b\":\"2\"}", "two\nlines"),
            (r#"{"a":"C:\dir\x","b":"2"}"#, r"C:\dir\x"),
            (r#"{"a":"kept \"as it is\"" ,"b":"2"}"#, r#"kept "as it is""#),
        ] {
            let node = parse(broken).unwrap_or_else(|error| panic!("{broken}: {error}"));
            assert_eq!(node.get("a").unwrap().text().unwrap(), wanted);
            assert_eq!(node.get("b").unwrap().text().unwrap(), "2");
        }
        assert!(parse(r#"{"a":"#).is_err());
    }
}
