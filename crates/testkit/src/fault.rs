//! What can go wrong on the way to a provider, one word each.

use std::time::Duration;

/// One thing that goes wrong with one request. Each server and the [`FaultProxy`](crate::FaultProxy) understands all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the request is served as it should be.
    Pass,
    /// The request is served after a pause.
    Delay(Duration),
    /// The body is read to its end, nothing is done, and this is the answer.
    Answer {
        /// The status code.
        status: u16,
        /// Header names and values.
        headers: Vec<(String, String)>,
        /// The body of the answer.
        body: String,
    },
    /// The connection is reset (RST) as soon as the head of the request has been read.
    Reset,
    /// The connection is reset after this many bytes of the request's body; nothing is done.
    ResetDuringUpload {
        /// Bytes of the body that are read before the reset.
        after: usize,
    },
    /// The connection is reset after this many bytes of the request's body; what arrived is dealt with as if it were all.
    KeepPart {
        /// Bytes of the body that arrive.
        after: usize,
    },
    /// The request is carried out, then the connection is reset instead of an answer.
    LoseAnswer,
    /// The request is carried out; its answer's body ends after this many bytes although more were promised.
    Truncate {
        /// Bytes of the answer's body that are sent.
        after: usize,
    },
    /// The request is carried out; its answer's body comes in pieces with a pause before each.
    Trickle {
        /// Bytes of a piece, at least 1.
        piece: usize,
        /// The pause before each piece.
        pause: Duration,
    },
    /// The request's body arrives with its first byte changed.
    CorruptUpload,
    /// The answer's body leaves with its first byte changed.
    CorruptAnswer,
    /// The whole request is read and no answer ever comes; the connection stays open.
    BlackHole,
}

impl Fault {
    /// An answer with this status and an empty body; nothing is stored. `Fault::status(200)` is the store that lies.
    pub fn status(status: u16) -> Self {
        Fault::Answer { status, headers: Vec::new(), body: String::new() }
    }

    /// A 200 that stored nothing.
    pub fn swallow() -> Self {
        Fault::status(200)
    }

    /// A 429 that asks to come back after so many seconds.
    pub fn throttled(retry_after_seconds: u64) -> Self {
        Fault::Answer {
            status: 429,
            headers: vec![("retry-after".into(), retry_after_seconds.to_string())],
            body: "slow down".into(),
        }
    }

    /// A 503 without advice.
    pub fn unavailable() -> Self {
        Fault::Answer { status: 503, headers: Vec::new(), body: "service unavailable".into() }
    }

    /// A redirect (301, 302, 307 …) to this location.
    pub fn redirect(status: u16, location: &str) -> Self {
        Fault::Answer { status, headers: vec![("location".into(), location.to_owned())], body: String::new() }
    }

    /// The same answer with one more header. Only an [`Fault::Answer`] has headers.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        match &mut self {
            Fault::Answer { headers, .. } => headers.push((name.to_owned(), value.to_owned())),
            other => panic!("{other:?} has no headers"),
        }
        self
    }

    /// The same answer with this body. Only an [`Fault::Answer`] has a body.
    #[must_use]
    pub fn with_body(mut self, text: &str) -> Self {
        match &mut self {
            Fault::Answer { body, .. } => text.clone_into(body),
            other => panic!("{other:?} has no body"),
        }
        self
    }
}
