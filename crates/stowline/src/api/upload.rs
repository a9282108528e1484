//! An upload: whatever shape its body has, one file as a stream and, in a multipart body, what is said of it in JSON.
//!
//! ```text
//! raw         the body is the file
//! base64      the body is the file in base64: by `Content-Transfer-Encoding: base64`, by a type with `;base64` or `…/base64`, or as a `data:` URI
//! multipart   one part is the file; one part of JSON may come before it or after it
//! ```
//!
//! An endpoint opens the body, takes the file, streams it somewhere, and finishes; only then does it know all that was said. Two files are
//! one too many, none is too few. The limit on the file's size is for who takes its bytes; what announces itself as larger is refused here.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header::CONTENT_LENGTH;
use multer::{Constraints, Field, Multipart, SizeLimit};
use plan::Violations;
use serde_json::{Map, Value};

use super::Call;
use super::error::Fault;
use crate::app::media_types::{self, Group};
use crate::app::{App, Error};

mod decode;
mod names;

/// What a multipart body may hold beside its file: headers, boundaries, JSON.
const AROUND_THE_FILE: u64 = 1 << 20;
/// The largest part of JSON.
const LARGEST_JSON: u64 = 256 << 10;
/// The longest head of a `data:` URI, up to its comma.
const LONGEST_URI_HEAD: usize = 256;

type Bytestream = BoxStream<'static, std::io::Result<Bytes>>;

/// The file of an upload.
pub struct File {
    /// Its name, fit for any use: from the query, else from its part, else made up; with an extension where its type has one.
    pub name: String,
    /// Its media type, without parameters.
    pub content_type: String,
    /// Its bytes; at least one.
    pub stream: Bytestream,
}

/// An upload that is being read.
pub struct Upload {
    form: Form,
    name: Option<String>,
    limit: u64,
    data: Option<Map<String, Value>>,
}

enum Form {
    Whole { content_type: String, base64: bool, stream: Bytestream },
    Parts(Multipart<'static>),
    Taken,
}

impl Upload {
    /// Opens the upload of a call; none when its body is JSON or empty.
    ///
    /// # Errors
    /// 413 when the body says that it is larger than a file may be, 400 when it is multipart and names no boundary.
    pub fn open(app: &App, call: &mut Call) -> Result<Option<Self>, Fault> {
        let Some(super::call::Upload { content_type, stream }) = call.upload.take() else { return Ok(None) };
        let stream = stream.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let limit = app.config.api.max_upload_size;
        let header = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok());
        let essence = media_types::essence(&content_type);
        let base64 = header("content-transfer-encoding").is_some_and(is_base64) || names_base64(&content_type);
        let multipart = essence.starts_with("multipart/");
        let most = match (multipart, base64) {
            (true, _) => limit.saturating_mul(2).saturating_add(AROUND_THE_FILE),
            // Four letters for three bytes, and a line break now and then.
            (false, true) => limit.saturating_add(limit / 2).saturating_add(AROUND_THE_FILE),
            (false, false) => limit,
        };
        let announced = header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
        if announced.is_some_and(|length| length > most) {
            return Err(Error::TooLarge { limit }.into());
        }
        let form = if multipart {
            let boundary = parameter(&content_type, "boundary").filter(|boundary| (1..=256).contains(&boundary.len()));
            let boundary =
                boundary.ok_or_else(|| Error::Interrupted("the type of a multipart body names its boundary".into()))?;
            let constraints = Constraints::new().size_limit(SizeLimit::new().whole_stream(most));
            Form::Parts(Multipart::with_constraints(stream, boundary, constraints))
        } else {
            Form::Whole { content_type, base64, stream: stream.boxed() }
        };
        let name = call.query("filename").map(str::to_owned);
        Ok(Some(Self { form, name, limit, data: None }))
    }

    /// The file, of one of the types that `group` takes.
    ///
    /// # Errors
    /// 400 without a file or with a body that cannot be read, 415 for another type, 413 for too much JSON before it.
    pub async fn file(&mut self, group: Group) -> Result<File, Fault> {
        match std::mem::replace(&mut self.form, Form::Taken) {
            Form::Whole { content_type, base64, stream } => {
                whole(&content_type, base64, stream, self.name.take(), group).await
            }
            Form::Parts(mut parts) => {
                let found = loop {
                    match next(&mut parts, self.limit).await? {
                        None => return Err(no_file().into()),
                        Some(part) if is_json(&part) => self.learn(part).await?,
                        Some(part) => break part,
                    }
                };
                self.form = Form::Parts(parts);
                part(found, self.name.take(), group).await
            }
            Form::Taken => Err(no_file().into()),
        }
    }

    /// Reads what follows the file. Answers what was said of it; an empty object when nothing was.
    ///
    /// # Errors
    /// 400 when there is a second file, or what follows cannot be read.
    pub async fn finish(mut self) -> Result<Value, Fault> {
        if let Form::Parts(mut parts) = std::mem::replace(&mut self.form, Form::Taken) {
            while let Some(part) = next(&mut parts, self.limit).await? {
                if !is_json(&part) {
                    let mut violations = Violations::default();
                    violations.push(
                        "file",
                        "maxItems",
                        "only one file in a request".into(),
                        [("target", Value::from(1))],
                    );
                    return Err(Error::Invalid(violations).into());
                }
                self.learn(part).await?;
            }
        }
        Ok(Value::Object(self.data.unwrap_or_default()))
    }

    /// Takes a part of JSON: an envelope with `data`, or `data` itself.
    async fn learn(&mut self, mut part: Field<'static>) -> Result<(), Fault> {
        let mut text = Vec::new();
        while let Some(chunk) = part.chunk().await.map_err(|error| unreadable(&error, self.limit))? {
            text.extend_from_slice(&chunk);
            if text.len() as u64 > LARGEST_JSON {
                return Err(Error::TooLarge { limit: LARGEST_JSON }.into());
            }
        }
        let said: Value = serde_json::from_slice(&text).map_err(|error| Fault::bad_json(&error))?;
        let said = match said {
            Value::Object(mut envelope) => envelope.remove("data").unwrap_or(Value::Object(envelope)),
            other => other,
        };
        let Value::Object(data) = said else { return Err(Fault::data_type(&said)) };
        if self.data.replace(data).is_some() {
            return Err(Error::invalid("json", "maxItems", "only one part of JSON in a request").into());
        }
        Ok(())
    }
}

/// A file that is the body.
async fn whole(
    sent: &str,
    mut base64: bool,
    stream: Bytestream,
    wished: Option<String>,
    group: Group,
) -> Result<File, Fault> {
    let (mut head, mut rest) = peek(stream, b"data:".len()).await?;
    let mut content_type = named(sent);
    if head.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"data:")) {
        (head, rest) = peek(join(head, rest), LONGEST_URI_HEAD).await?;
        if let Some((length, in_uri)) = data_uri(&head) {
            content_type = named(&in_uri);
            head = head.slice(length..);
            base64 = true;
        }
    }
    opened(content_type, wished, base64, join(head, rest), group).await
}

/// A file that is a part of the body.
async fn part(part: Field<'static>, wished: Option<String>, group: Group) -> Result<File, Fault> {
    let header = |name: &str| part.headers().get(name).and_then(|value| value.to_str().ok());
    let sent = header("content-type").unwrap_or_default().to_owned();
    let base64 = header("content-transfer-encoding").is_some_and(is_base64) || names_base64(&sent);
    let wished = wished.or_else(|| part.file_name().map(str::to_owned));
    let stream = part.map_err(std::io::Error::other).boxed();
    opened(named(&sent), wished, base64, stream, group).await
}

async fn opened(
    content_type: String,
    wished: Option<String>,
    base64: bool,
    stream: Bytestream,
    group: Group,
) -> Result<File, Fault> {
    let stream = if base64 { decode::base64(stream) } else { stream };
    // What is missing altogether has no type that could be wrong.
    let (head, rest) = peek(stream, 1).await?;
    if head.is_empty() {
        return Err(no_file().into());
    }
    if !group.takes(&content_type) {
        return Err(Fault::unsupported_media_type(&content_type));
    }
    let name = names::of(wished.as_deref(), &content_type);
    Ok(File { name, content_type, stream: join(head, rest) })
}

fn no_file() -> Error {
    Error::invalid("file", "required", "send a file: as the body, or as a part of a multipart body")
}

fn broken(why: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned())
}

fn unreadable(error: &multer::Error, limit: u64) -> Fault {
    match error {
        multer::Error::StreamSizeExceeded { .. } => Error::TooLarge { limit }.into(),
        other => Error::Interrupted(other.to_string()).into(),
    }
}

async fn next(parts: &mut Multipart<'static>, limit: u64) -> Result<Option<Field<'static>>, Fault> {
    parts.next_field().await.map_err(|error| unreadable(&error, limit))
}

/// A part of JSON says so, or is a plain field of a form.
fn is_json(part: &Field<'_>) -> bool {
    let sent = part.headers().get("content-type").and_then(|value| value.to_str().ok()).map(media_types::essence);
    match sent.as_deref() {
        Some("application/json" | "application/x-json") => true,
        Some(_) => false,
        None => part.file_name().is_none() && part.name().is_some(),
    }
}

fn is_base64(encoding: &str) -> bool {
    encoding.trim().eq_ignore_ascii_case("base64")
}

/// `application/base64`, `audio/wav;base64`.
fn names_base64(content_type: &str) -> bool {
    let essence = media_types::essence(content_type);
    essence.ends_with("/base64") || essence.ends_with("/x-base64") || content_type.split(';').skip(1).any(is_base64)
}

/// The type that a body was sent as; of those that say nothing of a file, [`media_types::UNKNOWN`].
fn named(content_type: &str) -> String {
    let essence = media_types::essence(content_type);
    match essence.as_str() {
        "" | "application/base64" | "application/x-base64" | "application/x-www-form-urlencoded" | "text/plain" => {
            media_types::UNKNOWN.to_owned()
        }
        _ => essence,
    }
}

/// A parameter of a media type, without its quotes.
pub(super) fn parameter(content_type: &str, name: &str) -> Option<String> {
    let mut rest = content_type.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, next) = quoted.split_once('"')?;
                (value, next.split_once(';').map(|(_, next)| next))
            }
            None => match after.split_once(';') {
                Some((value, next)) => (value.trim(), Some(next)),
                None => (after.trim(), None),
            },
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next?;
    }
}

/// The length and the type of the head of a `data:` URI in base64.
fn data_uri(head: &[u8]) -> Option<(usize, String)> {
    let comma = head.iter().position(|byte| *byte == b',')?;
    let described = std::str::from_utf8(head.get(5..comma)?).ok()?;
    let (content_type, encoding) = described.rsplit_once(';')?;
    is_base64(encoding).then(|| (comma + 1, content_type.to_owned()))
}

/// The first bytes of a stream, at least `enough` unless it ends before, and what follows them.
async fn peek(mut stream: Bytestream, enough: usize) -> Result<(Bytes, Bytestream), Fault> {
    let mut head = Bytes::new();
    while head.len() < enough {
        let chunk = match stream.next().await {
            None => break,
            Some(chunk) => chunk.map_err(|error| Error::Interrupted(error.to_string()))?,
        };
        head = if head.is_empty() { chunk } else { Bytes::from([head, chunk].concat()) };
    }
    Ok((head, stream))
}

fn join(head: Bytes, rest: Bytestream) -> Bytestream {
    stream::once(std::future::ready(Ok(head))).chain(rest).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_found_among_parameters() {
        for (content_type, wanted) in [
            ("multipart/mixed; boundary=abc", Some("abc")),
            ("multipart/form-data; charset=\"a;b\"; Boundary = \"x y\" ; z=1", Some("x y")),
            ("multipart/mixed;boundary=\"open", None),
            ("multipart/mixed", None),
            ("multipart/mixed; boundary", None),
        ] {
            assert_eq!(parameter(content_type, "boundary").as_deref(), wanted, "{content_type}");
        }
    }

    #[test]
    fn a_data_uri_has_a_type_and_is_base64() {
        assert_eq!(data_uri(b"data:audio/wav;base64,UklG"), Some((22, "audio/wav".into())));
        assert_eq!(data_uri(b"data:;base64,"), Some((13, String::new())));
        for none in [&b"data:audio/wav,RIFF"[..], b"data:audio/wav;base64", b"data:", b"data:\xff;base64,"] {
            assert_eq!(data_uri(none), None);
        }
    }
}
