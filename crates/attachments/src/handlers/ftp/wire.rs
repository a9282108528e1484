//! Connections: each serves one operation at a time, and is kept a while for the next.
//!
//! Data connections go to the address of the control connection and no other, whatever the server says: a server cannot make us speak to
//! its neighbours. And each goes through the same door as the first.
//!
//! A connection that was kept may have ended without our noticing. Each operation begins with a question that changes nothing: where that meets
//! an old connection's end, it is repeated once on a new one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outbound::Client;
use suppaftp::tokio::{AsyncRustlsConnector, AsyncRustlsFtpStream};
use suppaftp::types::FileType;
use suppaftp::{FtpError, Mode, Status};
use tokio_rustls::TlsConnector;

use super::server::{Server, Tls};
use crate::error::{Error, ErrorKind, Operation};

/// How long a connection that nobody uses is kept: servers end them after a minute or more.
const IDLE: Duration = Duration::from_secs(20);
/// How many are kept.
const KEPT: usize = 4;

pub(super) struct Wire {
    client: Client,
    pub(super) server: Server,
    tls: Option<Arc<rustls::ClientConfig>>,
    kept: Mutex<Vec<(AsyncRustlsFtpStream, Instant)>>,
    /// Whether the server knows only the old way to open a data connection.
    old: AtomicBool,
}

/// What a server says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Absent,
    Length(u64),
    /// The server does not tell lengths.
    Untold,
}

impl Wire {
    pub(super) fn new(client: Client, server: Server) -> Result<Self, Error> {
        let tls = match server.tls {
            Tls::Never => None,
            Tls::Explicit | Tls::Implicit => Some(
                client
                    .tls(server.trust)
                    .map_err(|error| Error::unconnected(Operation::Open, &server.identity(), error))?,
            ),
        };
        Ok(Self { client, server, tls, kept: Mutex::default(), old: AtomicBool::new(false) })
    }

    /// A connection, and what the server says of this path.
    pub(super) async fn look(&self, operation: Operation, path: &str) -> Result<(AsyncRustlsFtpStream, Look), Error> {
        if let Some(mut kept) = self.take() {
            match self.length(operation, &mut kept, path).await {
                Err(error) if error.kind() == ErrorKind::Interrupted || has_ended(&error) => {}
                other => return other.map(|found| (kept, found)),
            }
        }
        let mut fresh = self.connect(operation).await?;
        let found = self.length(operation, &mut fresh, path).await?;
        Ok((fresh, found))
    }

    pub(super) async fn length(
        &self,
        operation: Operation,
        ftp: &mut AsyncRustlsFtpStream,
        path: &str,
    ) -> Result<Look, Error> {
        match ftp.size(path).await {
            Ok(length) => Ok(Look::Length(length as u64)),
            Err(FtpError::UnexpectedResponse(answer)) if answer.status == Status::FileUnavailable => Ok(Look::Absent),
            Err(FtpError::UnexpectedResponse(answer)) if matches!(answer.status.code(), 500..=504) => Ok(Look::Untold),
            Err(error) => Err(self.failed(operation, error)),
        }
    }

    fn take(&self) -> Option<AsyncRustlsFtpStream> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < IDLE);
        kept.pop().map(|(ftp, _)| ftp)
    }

    /// Takes a connection back, on which nothing is open.
    pub(super) fn keep(&self, ftp: AsyncRustlsFtpStream) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < IDLE);
        if kept.len() < KEPT {
            kept.push((ftp, Instant::now()));
        }
    }

    async fn connect(&self, operation: Operation) -> Result<AsyncRustlsFtpStream, Error> {
        let patience = self.client.timeouts().connect + self.client.timeouts().idle;
        let greeted = tokio::time::timeout(patience, self.greet(operation)).await;
        let mut ftp = greeted.map_err(|_| self.told(operation, ErrorKind::Timeout, None, ""))??;
        let failed = |error| self.failed(operation, error);
        let (user, password) = (self.server.username.as_str(), self.server.password.reveal());
        ftp.login(user, password).await.map_err(|error| match self.failed(operation, error) {
            error if error.kind() == ErrorKind::Refused => error.because("check username and password"),
            error => error,
        })?;
        ftp.transfer_type(FileType::Binary).await.map_err(failed)?;
        ftp.set_passive_nat_workaround(true);
        ftp.set_mode(if self.old.load(Ordering::Relaxed) { Mode::Passive } else { Mode::ExtendedPassive });
        let client = self.client.clone();
        Ok(ftp.passive_stream_builder(move |address| {
            let client = client.clone();
            // On a task of its own, because the library wants a future that may be shared.
            let connecting =
                tokio::spawn(async move { client.connect(&address.ip().to_string(), address.port()).await });
            Box::pin(async move {
                let other = |error: Box<dyn std::error::Error + Send + Sync>| {
                    FtpError::ConnectionError(std::io::Error::other(error))
                };
                connecting.await.map_err(|error| other(error.into()))?.map_err(|error| other(error.into()))
            })
        }))
    }

    /// A connection on which the server has said its name, behind TLS where that is wished.
    async fn greet(&self, operation: Operation) -> Result<AsyncRustlsFtpStream, Error> {
        let Server { host, port, .. } = &self.server;
        let failed = |error| self.failed(operation, error);
        let unconnected = |error| Error::unconnected(operation, &self.server.identity(), error);
        let connector = || self.tls.clone().map(|tls| AsyncRustlsConnector::from(TlsConnector::from(tls)));
        let name = host.trim_start_matches('[').trim_end_matches(']');
        match (self.server.tls, connector()) {
            (Tls::Implicit, Some(connector)) => {
                // This library makes the connection itself: it is given an address that was judged.
                let probe = self.client.connect(host, *port).await.map_err(unconnected)?;
                let address = probe.peer_addr().map_err(|error| failed(FtpError::ConnectionError(error)))?;
                drop(probe);
                let mut ftp =
                    AsyncRustlsFtpStream::connect_secure_implicit(address, connector, name).await.map_err(failed)?;
                // Data connections are to be protected too, which it does not say by itself.
                for command in ["PBSZ 0", "PROT P"] {
                    ftp.custom_command(command, &[Status::CommandOk]).await.map_err(failed)?;
                }
                Ok(ftp)
            }
            (Tls::Explicit, Some(connector)) => {
                let tcp = self.client.connect(host, *port).await.map_err(unconnected)?;
                let ftp = AsyncRustlsFtpStream::connect_with_stream(tcp).await.map_err(failed)?;
                ftp.into_secure(connector, name).await.map_err(failed)
            }
            _ => {
                let tcp = self.client.connect(host, *port).await.map_err(unconnected)?;
                AsyncRustlsFtpStream::connect_with_stream(tcp).await.map_err(failed)
            }
        }
    }

    /// After a transfer could not begin: whether the server may know the old way to open it. It is taken from now on.
    pub(super) fn is_for_the_new_way(&self, ftp: &mut AsyncRustlsFtpStream, error: &FtpError) -> bool {
        let FtpError::UnexpectedResponse(answer) = error else { return false };
        let refused = matches!(answer.status.code(), 500..=504 | 522) && !self.old.swap(true, Ordering::Relaxed);
        if refused {
            ftp.set_mode(Mode::Passive);
        }
        refused
    }

    /// What a failure means.
    pub(super) fn failed(&self, operation: Operation, error: FtpError) -> Error {
        match &error {
            FtpError::UnexpectedResponse(answer) => {
                let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
                let (kind, help) = meaning(answer.status.code(), &text);
                self.told(operation, kind, Some(answer.status.code()), &[text.as_str(), help].join(": ")).caused(error)
            }
            FtpError::ConnectionError(cause) => {
                let way = cause.get_ref().and_then(|inner| inner.downcast_ref::<outbound::Error>());
                let kind = match (way.map(outbound::Error::kind), cause.kind()) {
                    (Some(outbound::ErrorKind::Denied), _) => ErrorKind::Denied,
                    (Some(outbound::ErrorKind::Timeout), _) | (_, std::io::ErrorKind::TimedOut) => ErrorKind::Timeout,
                    (Some(_), _) | (_, std::io::ErrorKind::ConnectionRefused) => ErrorKind::Unreachable,
                    _ => ErrorKind::Interrupted,
                };
                self.told(operation, kind, None, "").caused(error)
            }
            // The text is of the TLS library and of ours, and holds what the server showed.
            FtpError::SecureError(why) => {
                let what = format!("{why}: check certificate, or put that SHA-256 there if it is the server's");
                self.told(operation, ErrorKind::Unreachable, None, &what).caused(error)
            }
            _ => {
                self.told(operation, ErrorKind::Interrupted, None, "the server answers what nobody asked").caused(error)
            }
        }
    }

    pub(super) fn told(&self, operation: Operation, kind: ErrorKind, code: Option<u32>, message: &str) -> Error {
        let message = message.trim_matches([':', ' ']);
        Error::told(operation, kind, &self.server.identity(), code.map(|code| code.to_string()), message)
    }
}

/// Whether a server ended a connection that stood idle, and said so.
fn has_ended(error: &Error) -> bool {
    error.exchange().and_then(|exchange| exchange.code.as_deref()) == Some("421")
}

/// What a negative answer means, and what may help.
fn meaning(code: u32, text: &str) -> (ErrorKind, &'static str) {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match code {
        421 => (ErrorKind::Throttled, "too many connections, or the server is about to stop"),
        425 | 426 => (ErrorKind::Interrupted, ""),
        430 | 530 | 532 => (ErrorKind::Refused, ""),
        450 => (ErrorKind::Throttled, "the file is busy"),
        452 | 552 => (ErrorKind::Full, "the disk or our quota there is used up"),
        400..=499 => (ErrorKind::Unavailable, ""),
        500.. if says(&["tls", "ssl"]) => (ErrorKind::Rejected, "check tls"),
        521 | 522 | 533 | 534 => (ErrorKind::Rejected, "the server wants another kind of TLS: check tls"),
        550 | 553 if says(&["permission", "denied", "not allowed", "privilege", "read-only"]) => {
            (ErrorKind::Refused, "check the rights of username in the folder")
        }
        550 if says(&["space", "quota"]) => (ErrorKind::Full, ""),
        550 => (ErrorKind::NotFound, ""),
        553 => (ErrorKind::Rejected, "the server does not take this name: change field_list"),
        _ => (ErrorKind::Rejected, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_servers_mean() {
        for (code, text, kind) in [
            (421, "421 Too many connections", ErrorKind::Throttled),
            (426, "426 Failure writing network stream.", ErrorKind::Interrupted),
            (451, "451 Local error", ErrorKind::Unavailable),
            (452, "452 Error writing file: No space left on device", ErrorKind::Full),
            (530, "530 Login incorrect.", ErrorKind::Refused),
            (550, "550 Permission denied.", ErrorKind::Refused),
            (550, "550 Failed to open file.", ErrorKind::NotFound),
            (550, "550 Not enough privileges.", ErrorKind::Refused),
            (552, "552 Quota exceeded", ErrorKind::Full),
            (553, "553 Could not create file.", ErrorKind::Rejected),
            (522, "522 SSL connection failed: session reuse required", ErrorKind::Rejected),
            (550, "550 SSL/TLS required on the control channel.", ErrorKind::Rejected),
            (502, "502 Command not implemented.", ErrorKind::Rejected),
        ] {
            assert_eq!(meaning(code, text).0, kind, "{text}");
        }
    }
}
