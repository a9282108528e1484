//! What a put leaves on the document: enough to find the object again with the settings of the day, and not one credential.

use serde::{Deserialize, Serialize};

use crate::location::Location;
use crate::payload::Payload;

/// How sure we are that the destination has the bytes, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// The destination confirmed our digest.
    Checksum,
    /// We read the bytes back and they were ours.
    ReadBack,
    /// The destination says the right length.
    Length,
    /// The destination said yes, and there was no way to look.
    Acknowledged,
}

/// Where an attachment is kept. No field can hold a credential: a URL in it has neither user nor query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The kind of handler: `s3`, `http`.
    pub handler: String,
    /// The name under the handler's root.
    pub location: Location,
    /// Which destination it was: [`Kind::destination`](crate::Kind) of the settings at that time.
    pub destination: String,
    /// Bytes of the attachment.
    pub length: u64,
    /// Its media type.
    pub content_type: String,
    /// The SHA-256 of its bytes, in lowercase hexadecimal.
    pub sha256: String,
    /// The destination's own tag for the content, without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The destination's name for this version of the object, where it keeps several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The destination's own id of the object, where it finds it by that and not by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How sure we are.
    pub assurance: Assurance,
    /// Whether the destination was given base64 and may give base64 back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base64: bool,
    /// Where redirects led, origin and path, when the object lies there and not where it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<String>,
    /// Whether other attachments may lie under the same name, so that removing it would remove theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

impl Receipt {
    /// A receipt for a payload that lies under its location, and nowhere else.
    pub(crate) fn of(
        handler: &str,
        destination: String,
        location: &Location,
        payload: &Payload,
        assurance: Assurance,
    ) -> Self {
        Self {
            handler: handler.to_owned(),
            location: location.clone(),
            destination,
            length: payload.length,
            content_type: payload.content_type.clone(),
            sha256: hex::encode(payload.sha256),
            etag: None,
            version: None,
            id: None,
            assurance,
            base64: false,
            moved_to: None,
            shared: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_small_and_readable() {
        let stored = r#"{"handler":"s3","location":"a/b","destination":"https://h:443/b","length":3,"content_type":"audio/wav","sha256":"00","assurance":"read_back"}"#;
        let receipt: Receipt = serde_json::from_str(stored).unwrap();
        assert_eq!(receipt.assurance, Assurance::ReadBack);
        assert_eq!(serde_json::to_string(&receipt).unwrap(), stored);
    }
}
