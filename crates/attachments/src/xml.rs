//! What a server says in XML, as far as handlers ask: the fields of the root element, by name.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// An XML answer. What is malformed ends where it is malformed: an answer of an error may be anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The name of the root element.
    pub(crate) root: String,
    fields: BTreeMap<String, String>,
}

impl Answer {
    /// The fields of the root.
    pub(crate) fn read(body: &[u8]) -> Self {
        Self::fields(body, false)
    }

    /// All fields, wherever they stand; of several of one name the first.
    pub(crate) fn leaves(body: &[u8]) -> Self {
        Self::fields(body, true)
    }

    fn fields(body: &[u8], anywhere: bool) -> Self {
        let mut answer = Self::default();
        let Ok(text) = std::str::from_utf8(body) else { return answer };
        let mut reader = Reader::from_str(text);
        let (mut path, mut value) = (Vec::new(), String::new());
        loop {
            match reader.read_event() {
                Ok(Event::Start(element)) => {
                    let name = local(&element);
                    if path.is_empty() {
                        answer.root.clone_from(&name);
                    }
                    path.push(name);
                    value.clear();
                }
                Ok(Event::Text(text)) => value.push_str(&text),
                Ok(Event::CData(text)) => value.push_str(&text),
                Ok(Event::GeneralRef(reference)) => {
                    let character = reference.resolve_char_ref().ok().flatten();
                    match resolve_predefined_entity(&reference) {
                        Some(text) => value.push_str(text),
                        None => value.extend(character),
                    }
                }
                Ok(Event::End(_)) => {
                    let name = path.pop();
                    if let Some(name) = name.filter(|_| anywhere || path.len() == 1) {
                        answer.fields.entry(name).or_insert_with(|| std::mem::take(&mut value));
                    }
                    value.clear();
                }
                Ok(Event::Eof) | Err(_) => return answer,
                Ok(_) => {}
            }
        }
    }

    /// The text of a field, when it has one.
    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(|text| text.trim()).filter(|text| !text.is_empty())
    }
}

/// A name without its prefix and attributes.
fn local(element: &str) -> String {
    let name = element.split([' ', '\t', '\r', '\n', '/']).next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_the_root_are_read() {
        let answer = Answer::read(
            b"\n  <?xml version=\"1.0\"?>\n<s:Error xmlns:s=\"x\"><Code>NoSuchKey</Code><Message>It&apos;s &lt;gone&gt;&#33; <![CDATA[&]]></Message>\
              <Nested><Code>Other</Code></Nested><Empty/></s:Error>",
        );
        assert_eq!(answer.root, "Error");
        assert_eq!(answer.get("Code"), Some("NoSuchKey"));
        assert_eq!(answer.get("Message"), Some("It's <gone>! &"));
        assert_eq!(answer.get("Empty"), None);
        assert_eq!(Answer::read(b"<R><ETag>&quot;0a-2&quot;</ETag></R>").get("ETag"), Some("\"0a-2\""));
    }

    #[test]
    fn what_is_no_xml_says_nothing() {
        for text in [
            &b""[..],
            b"no",
            b"<html><body",
            b"\xff\xfe",
            b"<a><b>c</a>",
            b"<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>",
        ] {
            assert_eq!(Answer::read(text).get("Code"), None);
        }
    }
}
