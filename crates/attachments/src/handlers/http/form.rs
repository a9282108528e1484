//! What is sent: the bytes as they are, or a form of two parts, the document as JSON and the file, as streams of known length.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use outbound::Body;
use serde_json::Value;

use super::base64::{encoded, encoded_length};
use crate::payload::{Payload, PutKey};

/// The bytes as they are.
pub(super) fn plain(payload: &Payload) -> Body {
    Body::Stream { length: payload.length, stream: payload.open(None) }
}

/// A form. Its boundary is made once a put, so that the same form can be sent again after a redirect.
pub(super) struct Form {
    boundary: String,
    head: Bytes,
    tail: Bytes,
    base64: bool,
}

impl Form {
    pub(super) fn new(payload: &Payload, key: &PutKey, base64: bool) -> Self {
        let boundary = hex::encode(rand::random::<[u8; 16]>());
        let document = match &key.document {
            Value::Null => "{}".to_owned(),
            document => document.to_string(),
        };
        let content_type: String = payload.content_type.chars().filter(|character| !character.is_control()).collect();
        let head = format!(
            "\r\n--{boundary}\r\ncontent-disposition: form-data; name={id}\r\ncontent-type: application/json\r\n\r\n{document}\
             \r\n--{boundary}\r\ncontent-disposition: form-data; name={name}\r\ncontent-type: {content_type}\r\n\r\n",
            id = name(&key.document_id),
            name = name(&key.attachment),
        );
        let tail = format!("\r\n--{boundary}--");
        Self { boundary, head: head.into(), tail: tail.into(), base64 }
    }

    pub(super) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    pub(super) fn body(&self, payload: &Payload) -> Body {
        let file: BoxStream<'static, std::io::Result<Bytes>> = match self.base64 {
            true => encoded(payload.open(None)).boxed(),
            false => payload.open(None),
        };
        let length = if self.base64 { encoded_length(payload.length) } else { payload.length };
        let around = |text: &Bytes| stream::iter([Ok(text.clone())]);
        Body::Stream {
            length: (self.head.len() + self.tail.len()) as u64 + length,
            stream: around(&self.head).chain(file).chain(around(&self.tail)).boxed(),
        }
    }
}

/// A name as it stands in a header: bare where it is a plain word, as Kazoo writes it, else quoted.
fn name(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    let quoted = text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    format!("\"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;
    use serde_json::json;

    async fn text(form: &Form, payload: &Payload) -> String {
        let Body::Stream { length, stream } = form.body(payload) else { panic!("a form is a stream") };
        let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
        let whole = pieces.concat();
        assert_eq!(whole.len() as u64, length, "the length is said beforehand");
        String::from_utf8(whole).unwrap()
    }

    #[tokio::test]
    async fn a_form_has_the_document_and_the_file() {
        let payload = Payload::bytes(&b"hello"[..], "audio/mpeg");
        let key = PutKey {
            document: json!({"id": "doc-1", "metadata": {"media_id": "m"}}),
            document_id: "doc-1".into(),
            attachment: "grüße \"1\".mp3".into(),
            ..PutKey::default()
        };
        for (base64, file) in [(false, "hello"), (true, "aGVsbG8=")] {
            let form = Form::new(&payload, &key, base64);
            let boundary = form.boundary.clone();
            let expected = format!(
                "\r\n--{boundary}\r\ncontent-disposition: form-data; name=doc-1\r\ncontent-type: application/json\r\n\r\n\
                 {{\"id\":\"doc-1\",\"metadata\":{{\"media_id\":\"m\"}}}}\r\n--{boundary}\r\n\
                 content-disposition: form-data; name=\"grüße %221%22.mp3\"\r\ncontent-type: audio/mpeg\r\n\r\n{file}\r\n--{boundary}--"
            );
            assert_eq!(text(&form, &payload).await, expected);
            assert_eq!(text(&form, &payload).await, expected, "the same again");
        }
    }
}
