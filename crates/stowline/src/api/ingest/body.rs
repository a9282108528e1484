//! A file as a switch sends it: the body itself, byte by byte and under any type or none, or the one part of a form that has a file name.
//!
//! Digests that are said of the bytes are those of the body, or of the part (`digest`). Fields of a form are heard as parameters of a query are. `mod_httapi` sends them before the file and after it.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header::CONTENT_LENGTH;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde_json::Value;
use switches::facts::Kind;

use super::digest::Said;
use crate::api::Call;
use crate::api::error::Fault;
use crate::api::upload::parameter;
use crate::app::Error;
use crate::app::media_types;

/// What a form may hold beside its file.
const AROUND_THE_FILE: u64 = 1 << 20;
/// The longest field of a form, and the most fields.
const LONGEST_FIELD: usize = 64 << 10;
const MOST_FIELDS: usize = 200;

type Bytestream = BoxStream<'static, std::io::Result<Bytes>>;

/// A file that is being read, and what stands beside it.
pub(super) struct Incoming {
    form: Form,
    limit: u64,
    fields: Vec<(String, String)>,
}

/// The file that is sent.
pub(super) struct File {
    /// Its type, as its sender says.
    pub sent_as: String,
    /// The digests that its sender says it has.
    pub said: Said,
    /// Its bytes.
    pub bytes: Bytestream,
}

enum Form {
    Whole(File),
    Parts(Multipart<'static>),
    Taken,
}

impl Incoming {
    /// Opens the body of a call, in which a file may hold `limit` bytes.
    ///
    /// # Errors
    /// 413 when the body says that it is larger, 400 when it is a form and names no boundary, or says a digest that is none.
    pub(super) fn open(call: &mut Call, limit: u64) -> Result<Self, Fault> {
        let announced = call.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let (content_type, stream) = match call.upload.take() {
            Some(upload) => {
                let stream = upload.stream.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
                (upload.content_type, stream.boxed())
            }
            None => (String::new(), stream::empty().boxed()),
        };
        let multipart = media_types::essence(&content_type).starts_with("multipart/");
        let most = if multipart { limit.saturating_add(AROUND_THE_FILE) } else { limit };
        if announced.is_some_and(|length| length > most) {
            return Err(Error::TooLarge { limit }.into());
        }
        let form = if multipart {
            let boundary = parameter(&content_type, "boundary").filter(|boundary| (1..=256).contains(&boundary.len()));
            let boundary =
                boundary.ok_or_else(|| Error::Interrupted("the type of a form names its boundary".into()))?;
            let constraints = Constraints::new().size_limit(SizeLimit::new().whole_stream(most));
            Form::Parts(Multipart::with_constraints(stream, boundary, constraints))
        } else {
            Form::Whole(File { sent_as: content_type, said: Said::of(&call.headers)?, bytes: stream })
        };
        Ok(Self { form, limit, fields: Vec::new() })
    }

    /// What has been said so far.
    pub(super) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The file.
    ///
    /// # Errors
    /// 400 for a form without a file, or one that cannot be read.
    pub(super) async fn file(&mut self) -> Result<File, Fault> {
        match std::mem::replace(&mut self.form, Form::Taken) {
            Form::Whole(file) => Ok(file),
            Form::Parts(mut parts) => loop {
                let part = next(&mut parts, self.limit).await?;
                let part =
                    part.ok_or_else(|| Error::invalid("file", "required", "the form has no part with a file name"))?;
                if part.file_name().is_none() {
                    self.hear(part).await?;
                    continue;
                }
                self.form = Form::Parts(parts);
                let sent_as = part.headers().get("content-type").and_then(|value| value.to_str().ok());
                let sent_as = sent_as.unwrap_or_default().to_owned();
                let said = Said::of(part.headers())?;
                let limit = self.limit;
                let bytes = part.map_err(move |error| std::io::Error::other(unreadable(&error, limit).to_string()));
                return Ok(File { sent_as, said, bytes: bytes.boxed() });
            },
            Form::Taken => Err(Error::invalid("file", "required", "there is no file").into()),
        }
    }

    /// Reads what follows the file. Answers all that stood beside it.
    ///
    /// # Errors
    /// 400 when there is a second file, or what follows cannot be read.
    pub(super) async fn finish(mut self) -> Result<Vec<(String, String)>, Fault> {
        if let Form::Parts(mut parts) = std::mem::replace(&mut self.form, Form::Taken) {
            while let Some(part) = next(&mut parts, self.limit).await? {
                if part.file_name().is_some() {
                    return Err(Error::invalid("file", "maxItems", "only one file in a request").into());
                }
                self.hear(part).await?;
            }
        }
        Ok(self.fields)
    }

    /// A field by its name; an object in JSON is as many fields as it has texts and numbers.
    async fn hear(&mut self, mut part: Field<'static>) -> Result<(), Fault> {
        let name = part.name().unwrap_or_default().to_owned();
        let mut text = Vec::new();
        while let Some(chunk) = part.chunk().await.map_err(|error| unreadable(&error, self.limit))? {
            text.extend_from_slice(&chunk);
            if text.len() > LONGEST_FIELD {
                return Err(Error::TooLarge { limit: LONGEST_FIELD as u64 }.into());
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        match serde_json::from_str(&text) {
            Ok(Value::Object(mut object)) => {
                let object = match object.remove("data") {
                    Some(Value::Object(data)) => data,
                    _ => object,
                };
                for (name, value) in object {
                    match value {
                        Value::String(text) => self.fields.push((name, text)),
                        Value::Number(number) => self.fields.push((name, number.to_string())),
                        _ => {}
                    }
                }
            }
            _ => self.fields.push((name, text)),
        }
        if self.fields.len() > MOST_FIELDS {
            return Err(Error::invalid("file", "maxItems", "too many fields beside the file").into());
        }
        Ok(())
    }
}

async fn next(parts: &mut Multipart<'static>, limit: u64) -> Result<Option<Field<'static>>, Error> {
    parts.next_field().await.map_err(|error| unreadable(&error, limit))
}

fn unreadable(error: &multer::Error, limit: u64) -> Error {
    match error {
        multer::Error::StreamSizeExceeded { .. } => Error::TooLarge { limit },
        other => Error::Interrupted(other.to_string()),
    }
}

/// The type that a file of this kind is taken as: what its sender says, if a file of the kind can be that; else its name tells.
pub(super) fn content_type(kind: Kind, sent_as: &str) -> &str {
    let essence = media_types::essence(sent_as);
    let fits = match kind {
        Kind::Recording | Kind::Voicemail => essence.starts_with("audio/") || essence.starts_with("video/"),
        Kind::Fax => essence.starts_with("image/") || essence == "application/pdf",
    };
    if fits { sent_as } else { media_types::UNKNOWN }
}
