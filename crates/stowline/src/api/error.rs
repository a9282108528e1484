//! The only place where an error becomes a status. The catalogue is Kazoo's, with the faults of it that we decided to mend.

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::app::Error;

/// An answer that is not a success.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The status.
    pub status: StatusCode,
    /// The machine's word for it.
    pub message: &'static str,
    /// Details. Boxed by `Value`.
    pub data: Value,
    /// Headers beside the usual ones.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Seconds after which a client may try again when something of ours is unavailable.
const TRY_AGAIN_AFTER: u64 = 5;

impl Fault {
    fn new(status: StatusCode, message: &'static str, data: Value) -> Self {
        Self { status, message, data, headers: Vec::new() }
    }

    fn validation(path: &str, code: &str, detail: Value) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "validation error", json!({ path: { code: detail } }))
    }

    /// The body is not JSON.
    pub fn bad_json(error: &serde_json::Error) -> Self {
        let message = format!("the body is not JSON: {error}");
        Self::validation("json", "invalid", json!({"message": message, "target": "body"}))
    }

    /// The body has no `data`.
    pub fn data_required() -> Self {
        Self::validation("data", "required", json!({"message": "Field is required but missing: send {\"data\": {…}}"}))
    }

    /// `data` is neither object nor array.
    pub fn data_type(value: &Value) -> Self {
        Self::validation(
            "data",
            "type",
            json!({"message": "data must be an object or an array", "target": "object, array", "value": value}),
        )
    }

    /// Nothing is at this path.
    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", json!({"message": "not found"}))
    }

    /// The path does not know the verb.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_method", json!({"message": "method not allowed"}))
    }

    /// Version 1 of the API.
    pub fn gone() -> Self {
        Self::new(StatusCode::GONE, "gone", json!({"message": "version 1 is gone: use /v2/"}))
    }

    /// An account id that cannot be one.
    pub fn malformed_account(id: &str) -> Self {
        let message =
            if id.is_empty() { "missing account_id".to_owned() } else { format!("invalid account id '{id}'") };
        Self::new(StatusCode::NOT_FOUND, "bad identifier", json!({"message": message, "cause": id}))
    }

    /// An unknown API key; it is not repeated.
    pub fn unknown_api_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, "bad identifier", json!({"message": "bad identifier", "cause": "api_key"}))
    }

    /// The type of the body is none that this path takes.
    pub fn unsupported_media_type(sent: &str) -> Self {
        let data = json!({"message": format!("content type '{sent}' is not taken here"), "cause": sent});
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", data)
    }

    /// No CDR can have this id.
    pub fn no_cdr(id: &str) -> Self {
        let message = "could not find cdr with supplied id";
        Self::new(StatusCode::NOT_FOUND, message, json!({"message": message, "cause": id}))
    }

    /// There is no form of the answer that the client takes.
    pub fn not_acceptable(offered: &[String]) -> Self {
        let message = format!("this can be had as {}", offered.join(", "));
        Self::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", json!({"message": message, "target": offered}))
    }

    /// A fault of ours that says nothing of itself.
    pub fn unspecified() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unspecified_fault", json!({"message": "unspecified fault"}))
    }

    /// As an answer outside of a request's envelope.
    pub fn bare(self) -> super::envelope::Bare {
        super::envelope::Bare(self)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(cause) => {
                Self::new(StatusCode::NOT_FOUND, "bad_identifier", json!({"cause": cause, "message": "bad identifier"}))
            }
            Error::Conflict => {
                Self::new(StatusCode::CONFLICT, "datastore_conflict", json!({"message": "conflicting documents"}))
            }
            Error::Forbidden => Self::new(StatusCode::FORBIDDEN, "forbidden", json!({"message": "forbidden"})),
            Error::Unauthenticated => {
                Self::new(StatusCode::UNAUTHORIZED, "invalid_credentials", json!({"message": "invalid credentials"}))
            }
            Error::Locked => {
                Self::new(StatusCode::LOCKED, "locked", json!({"message": "the account is disabled or has expired"}))
            }
            Error::TooMany { wait } => {
                let message = json!({"message": "too many requests"});
                let mut fault = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
                let seconds = wait.as_secs().saturating_add(1);
                fault.headers.extend(header(RETRY_AFTER, seconds.to_string()));
                fault
            }
            Error::Invalid(violations) => Self::new(StatusCode::BAD_REQUEST, "validation error", violations.to_json()),
            Error::Precondition => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                json!({"message": "the document was changed meanwhile: read it again"}),
            ),
            Error::TooLarge { limit } => {
                let message = format!("the body may hold at most {limit} bytes");
                let data = json!({"file": {"maxSize": {"message": message, "target": limit}}});
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "validation error", data)
            }
            Error::Range { total } => {
                let mut fault = Self::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "range not satisfiable",
                    json!({"message": format!("the attachment has {total} bytes")}),
                );
                fault.headers.extend(header(http::header::CONTENT_RANGE, format!("bytes */{total}")));
                fault
            }
            Error::Interrupted(why) => Self::new(
                StatusCode::BAD_REQUEST,
                "parse_error",
                json!({"message": format!("the body could not be read: {why}")}),
            ),
            Error::Unavailable { what, ref source } => {
                tracing::warn!(what, error = source.as_ref().map(|source| chain(source.as_ref())), "answered 503");
                Self::try_again(json!({"message": format!("{what} is unavailable, try again"), "cause": what}))
            }
            Error::OutOfReach => Self::new(
                StatusCode::GONE,
                "gone",
                json!({"message": "it lies at a destination that no settings lead to any more"}),
            ),
            Error::Destination(error) => Self::from_destination(&error),
            Error::Internal { what, ref source } => {
                tracing::error!(what, error = source.as_ref().map(|source| chain(source.as_ref())), "answered 500");
                Self::unspecified()
            }
        }
    }
}

impl Fault {
    fn try_again(data: Value) -> Self {
        let mut fault = Self::new(StatusCode::SERVICE_UNAVAILABLE, "datastore_fault", data);
        fault.headers.extend(header(RETRY_AFTER, TRY_AGAIN_AFTER.to_string()));
        fault
    }

    /// The destination that holds an attachment did not give it.
    fn from_destination(error: &attachments::Error) -> Self {
        tracing::info!(error = %error, "a destination did not answer a read");
        let mut data = Map::from_iter([("message".to_owned(), Value::from(error.to_string()))]);
        let exchange = error.exchange();
        if let Some(status) = exchange.and_then(|exchange| exchange.status) {
            data.insert("error_code".into(), status.into());
        }
        Self::new(StatusCode::BAD_GATEWAY, "bad_gateway", Value::Object(data))
    }
}

fn header(name: HeaderName, value: String) -> Option<(HeaderName, HeaderValue)> {
    Some((name, HeaderValue::try_from(value).ok()?))
}

/// An error and what lies under it, on one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
