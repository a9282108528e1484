//! Counts and times what handlers do: `stowline_handler_seconds{handler,operation,outcome}`, and a line of log each.
//!
//! The outcome is `ok` or the kind of the error. No label and no log line names an account, a location or a setting.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use metrics::Histogram;
use serde_json::Value;
use url::Url;

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
    /// The histograms of what went well, by operation, once there was one.
    good: [OnceLock<Histogram>; Operation::COUNT],
}

impl Observe {
    /// Watches this handler, which is of this kind.
    #[must_use]
    pub fn new(inner: Arc<dyn Handler>, kind: &'static str) -> Self {
        Self { inner, kind, good: Default::default() }
    }

    fn note<T>(&self, operation: Operation, began: Instant, outcome: Result<T, Error>) -> Result<T, Error> {
        let seconds = began.elapsed().as_secs_f64();
        let word = outcome.as_ref().map_or_else(|error| error.kind().word(), |_| "ok");
        let times =
            || metrics::histogram!(SECONDS, "handler" => self.kind, "operation" => operation.word(), "outcome" => word);
        match (&outcome, self.good.get(operation as usize)) {
            (Ok(_), Some(good)) => good.get_or_init(times).record(seconds),
            _ => times().record(seconds),
        }
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
    async fn reserve(&self, location: &Location, key: &PutKey) -> Result<Option<String>, Error> {
        let began = Instant::now();
        self.note(Operation::Reserve, began, self.inner.reserve(location, key).await)
    }

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

    async fn presign(&self, receipt: &Receipt, disposition: &str) -> Result<Option<Url>, Error> {
        self.inner.presign(receipt, disposition).await
    }

    fn wants_metadata(&self) -> bool {
        self.inner.wants_metadata()
    }

    fn at_least_once(&self) -> bool {
        self.inner.at_least_once()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;
    use crate::error::ErrorKind;

    /// Remembers the names and labels of what is recorded.
    #[derive(Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    struct Discard;

    impl HistogramFn for Discard {
        fn record(&self, _: f64) {}
    }

    impl Recorder for Seen {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            self.0.lock().unwrap().push(format!("{}{{{}}}", key.name(), labels.join(",")));
            Histogram::from_arc(Arc::new(Discard))
        }
    }

    #[derive(Debug)]
    struct Refused;

    #[async_trait]
    impl Handler for Refused {
        async fn put(&self, _: &Location, _: &Payload, _: &PutKey) -> Result<Receipt, Error> {
            Err(Error::new(Operation::Put, ErrorKind::Refused, ""))
        }

        async fn fetch(&self, _: &Receipt, _: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
            Err(Error::new(Operation::Fetch, ErrorKind::NotFound, ""))
        }

        async fn delete(&self, _: &Receipt) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn each_operation_is_counted_by_its_outcome() {
        let seen = Seen::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        metrics::with_local_recorder(&seen, || {
            runtime.block_on(async {
                let observed = Observe::new(Arc::new(Refused), "pigeon");
                let receipt: Receipt = serde_json::from_str(
                    r#"{"handler":"","location":"a","destination":"","length":0,"content_type":"","sha256":"","assurance":"length"}"#,
                )
                .unwrap();
                let put = observed.put(&receipt.location, &Payload::bytes("", ""), &PutKey::default()).await;
                put.unwrap_err();
                observed.fetch(&receipt, None, &Value::Null).await.unwrap_err();
                observed.delete(&receipt).await.unwrap();
            });
        });
        assert_eq!(
            *seen.0.lock().unwrap(),
            [
                "stowline_handler_seconds{handler=pigeon,operation=put,outcome=refused}",
                "stowline_handler_seconds{handler=pigeon,operation=fetch,outcome=not_found}",
                "stowline_handler_seconds{handler=pigeon,operation=delete,outcome=ok}",
            ]
        );
    }
}
