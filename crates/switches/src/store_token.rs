//! The path by which Kazoo's media manager names an attachment: `/store/{token}/{file name}`.
//!
//! Kazoo's token is base64 of an Erlang term in its external format, `{Db, Id, Attachment, Options}`; the options tell the document's type and owner.
//! [`StoreToken::parse`] reads it, bounded in depth and without making anything of it but texts. Who is no Kazoo may write the same as JSON:
//! base64 of `["{database}", "{document}", "{attachment}", {"doc_type": …, "doc_owner": …}]` ([`StoreToken::to_text`]).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

mod term;

use term::Term;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The longest token that is read.
const LONGEST: usize = 16 << 10;

/// The attachment that a store URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreToken {
    /// The database, as Kazoo writes it: `account%2Fab%2Fcd%2F…-202611`.
    pub database: String,
    /// The document.
    pub document: String,
    /// The attachment's name.
    pub attachment: String,
    /// The document's type, where it is told.
    pub doc_type: Option<String>,
    /// Its owner, where it is told.
    pub owner: Option<String>,
}

impl StoreToken {
    /// Reads a token, already without the percent encoding of a path.
    pub fn parse(token: &str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        // A plus sign may have become a space on its way; the alphabet for URLs says the same with two other letters.
        let letters: String = token
            .chars()
            .map(|letter| match letter {
                ' ' | '-' => '+',
                '_' => '/',
                other => other,
            })
            .collect();
        let bytes = BASE64.decode(letters).ok()?;
        match bytes.first() {
            Some(b'[') => Self::of_json(&serde_json::from_slice(&bytes).ok()?),
            _ => Self::of_term(&Term::parse(&bytes)?),
        }
        .filter(|token| ![&token.database, &token.document, &token.attachment].iter().any(|part| part.is_empty()))
    }

    /// The token as who is no Kazoo writes it, fit for a path.
    pub fn to_text(&self) -> String {
        let options = json!({"doc_type": self.doc_type, "doc_owner": self.owner});
        let text = json!([self.database, self.document, self.attachment, options]).to_string();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    }

    fn of_json(value: &Value) -> Option<Self> {
        let [database, document, attachment, rest @ ..] = value.as_array()?.as_slice() else { return None };
        let option = |name: &str| rest.first().and_then(|options| options.get(name)?.as_str()).map(str::to_owned);
        Some(Self {
            database: database.as_str()?.to_owned(),
            document: document.as_str()?.to_owned(),
            attachment: attachment.as_str()?.to_owned(),
            doc_type: option("doc_type"),
            owner: option("doc_owner"),
        })
    }

    fn of_term(term: &Term) -> Option<Self> {
        let Term::Tuple(parts) = term else { return None };
        let [database, document, attachment, options] = parts.as_slice() else { return None };
        let option = |name: &str| {
            let Term::List(options) = options else { return None };
            options.iter().find_map(|option| match option {
                Term::Tuple(pair) => match pair.as_slice() {
                    [key, value] if key.text() == Some(name) => value.text(),
                    _ => None,
                },
                _ => None,
            })
        };
        Some(Self {
            database: database.text()?.to_owned(),
            document: document.text()?.to_owned(),
            attachment: attachment.text()?.to_owned(),
            doc_type: option("doc_type").map(str::to_owned),
            owner: option("doc_owner").map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> StoreToken {
        StoreToken {
            database: "account%2Fab%2Fcd%2F0123456789abcdef0123456789ab-202611".into(),
            document: "202611-0f6d2a7be1c94c5c8d10b7a2f3e4c5d6".into(),
            attachment: "0f6d2a7b.mp3".into(),
            doc_type: Some("call_recording".into()),
            owner: None,
        }
    }

    /// The bytes that Erlang's `term_to_binary` writes for such a term.
    fn erlang(token: &StoreToken) -> Vec<u8> {
        let binary =
            |text: &str| [&[109], &u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
        let atom =
            |text: &str| [&[100], &u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
        let mut bytes = vec![131, 104, 4];
        for text in [&token.database, &token.document, &token.attachment] {
            bytes.extend(binary(text));
        }
        bytes.extend([108, 0, 0, 0, 2, 104, 2]);
        bytes.extend(atom("rev"));
        bytes.extend(binary("1-abc"));
        bytes.extend([104, 2]);
        bytes.extend(atom("doc_type"));
        bytes.extend(binary(token.doc_type.as_deref().unwrap()));
        bytes.push(106);
        bytes
    }

    #[test]
    fn both_forms_name_the_same_attachment() {
        let bytes = erlang(&wanted());
        for text in [
            base64::engine::general_purpose::STANDARD.encode(&bytes),
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes),
            base64::engine::general_purpose::STANDARD.encode(&bytes).replace('+', " "),
            wanted().to_text(),
        ] {
            assert_eq!(StoreToken::parse(&text), Some(wanted()), "{text}");
        }
    }

    #[test]
    fn what_is_cut_or_changed_names_nothing_and_breaks_nothing() {
        let bytes = erlang(&wanted());
        for length in 0..bytes.len() {
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes[..length]);
            assert_eq!(StoreToken::parse(&text), None, "{length}");
        }
        for bad in ["", "*", "W10=", "W251bGwsMSwyXQ==", "g2gA", &"A".repeat(20_000)] {
            assert_eq!(StoreToken::parse(bad), None, "{bad:.40}");
        }
    }
}
