//! Counts and times what handlers do: `stowline_handler_seconds{handler,operation,outcome}`, and a line of log each.
//!
//! The outcome is `ok` or the kind of the error. No label and no log line names an account, a location or a setting.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::Value;

use crate::Handler;
use crate::body::{Body, ByteRange};
use crate::error::{Error, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::Receipt;

/// The name of the histogram, in seconds.
pub(crate) const SECONDS: &str = "stowline_handler_seconds";

/// Times the operations of a handler. A fetch lasts until its first byte may be read.
#[derive(Debug)]
pub struct Observe {
    inner: Arc<dyn Handler>,
    kind: &'static str,
}

impl Observe {
    /// Watches this handler, which is of this kind.
    #[must_use]
    pub fn new(inner: Arc<dyn Handler>, kind: &'static str) -> Self {
        Self { inner, kind }
    }

    fn note<T>(&self, operation: Operation, began: Instant, outcome: Result<T, Error>) -> Result<T, Error> {
        let seconds = began.elapsed().as_secs_f64();
        let word = outcome.as_ref().map_or_else(|error| error.kind().word(), |_| "ok");
        metrics::histogram!(SECONDS, "handler" => self.kind, "operation" => operation.word(), "outcome" => word)
            .record(seconds);
        let status = outcome.as_ref().err().and_then(Error::exchange).and_then(|exchange| exchange.status);
        tracing::debug!(
            handler.kind = self.kind,
            operation = operation.word(),
            outcome = word,
            status,
            duration_ms = seconds * 1000.0,
            "handler"
        );
        outcome
    }
}

#[async_trait]
impl Handler for Observe {
    async fn put(&self, location: &Location, payload: &Payload, key: &PutKey) -> Result<Receipt, Error> {
        let began = Instant::now();
        self.note(Operation::Put, began, self.inner.put(location, payload, key).await)
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, metadata: &Value) -> Result<Body, Error> {
        let began = Instant::now();
        self.note(Operation::Fetch, began, self.inner.fetch(receipt, range, metadata).await)
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let began = Instant::now();
        self.note(Operation::Delete, began, self.inner.delete(receipt).await)
    }

    fn at_least_once(&self) -> bool {
        self.inner.at_least_once()
    }
}
