//! TCP and TLS: streams that are cut into messages.
//!
//! One task a connection reads and writes in turn: who does not read what it asked for is not listened to either, and is cut off when a
//! write takes too long. A stream that has not sent a message soon after it came is closed, as is one on which nothing moves for long.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transport::channel::ChannelConnection;
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Listen, Transport, canonical};
use crate::door::Door;
use crate::gate::{LARGEST, Verdict, judge};

/// Streams at a time.
const MOST: usize = 1_000;
/// Until the first message is whole, the handshake included.
const FIRST_MESSAGE: Duration = Duration::from_secs(15);
/// Without anything moving: longer than the longest call without a word.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// For one message to go out.
const WRITE: Duration = Duration::from_secs(10);

type Messages = mpsc::UnboundedReceiver<TransportEvent>;

/// What all streams of an agent have in common.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) endpoint: EndpointInnerRef,
    pub(crate) door: Arc<Door>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    room: Arc<Semaphore>,
}

/// A listening socket.
pub(crate) struct Listener {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
}

impl Listener {
    pub(crate) fn transport(&self) -> Transport {
        if self.tls.is_some() { Transport::Tls } else { Transport::Tcp }
    }
}

impl Streams {
    pub(crate) fn new(
        endpoint: EndpointInnerRef,
        door: Arc<Door>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self { endpoint, door, tasks, stop, room: Arc::new(Semaphore::new(MOST)) }
    }

    /// Takes connections until the agent stops.
    pub(crate) async fn accept(self, listener: Listener) {
        let transport = listener.transport();
        while let Some(accepted) = self.stop.run_until_cancelled(listener.listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Such as no file handles left. Waiting is all that can be done.
                    tracing::warn!(%error, %transport, "a SIP connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            if !self.door.admits(peer.ip()) {
                continue;
            }
            let Ok(room) = self.room.clone().try_acquire_owned() else {
                tracing::warn!(peer = %canonical(peer), "too many SIP connections: one was closed");
                continue;
            };
            let (streams, tls) = (self.clone(), listener.tls.clone());
            self.tasks.spawn(async move { streams.welcome(stream, peer, transport, tls, room).await });
        }
    }

    async fn welcome(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        transport: Transport,
        tls: Option<TlsAcceptor>,
        room: OwnedSemaphorePermit,
    ) {
        let _ = stream.set_nodelay(true);
        let deadline = Instant::now() + FIRST_MESSAGE;
        let Some(tls) = tls else {
            return self.serve(stream, Listen { transport, address: peer }, Some(deadline), Some(room)).await;
        };
        match timeout_at(deadline, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                self.serve(stream, Listen { transport, address: peer }, Some(deadline), Some(room)).await;
            }
            Ok(Err(error)) => tracing::debug!(peer = %canonical(peer), %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %canonical(peer), "a TLS handshake did not end"),
        }
    }

    /// Connects to a peer; the stack finds the connection by the address that this answers.
    pub(crate) async fn connect(
        &self,
        peer: SocketAddr,
        tls: Option<(TlsConnector, ServerName<'static>)>,
    ) -> io::Result<SipAddr> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let stream = timeout(FIRST_MESSAGE, TcpStream::connect(peer)).await.map_err(|_| late())??;
        stream.set_nodelay(true)?;
        match tls {
            None => self.clone().open(stream, Listen { transport: Transport::Tcp, address: peer }).await,
            Some((connector, name)) => {
                let connected = timeout(FIRST_MESSAGE, connector.connect(name, stream)).await.map_err(|_| late())??;
                self.clone().open(connected, Listen { transport: Transport::Tls, address: peer }).await
            }
        }
    }

    async fn open<S: AsyncRead + AsyncWrite + Send + 'static>(self, stream: S, peer: Listen) -> io::Result<SipAddr> {
        let (connection, incoming, outgoing) = self.register(peer).await?;
        let tasks = self.tasks.clone();
        tasks.spawn(async move { self.exchange(stream, peer, connection, incoming, outgoing, None).await });
        Ok(address(peer))
    }

    async fn serve<S: AsyncRead + AsyncWrite + Send>(
        self,
        stream: S,
        peer: Listen,
        deadline: Option<Instant>,
        room: Option<OwnedSemaphorePermit>,
    ) {
        if let Ok((connection, incoming, outgoing)) = self.register(peer).await {
            self.exchange(stream, peer, connection, incoming, outgoing, deadline).await;
        }
        drop(room);
    }

    /// Makes the connection known to the stack.
    async fn register(
        &self,
        peer: Listen,
    ) -> io::Result<(SipConnection, mpsc::UnboundedSender<TransportEvent>, Messages)> {
        let (incoming, heard) = mpsc::unbounded_channel();
        let (told, outgoing) = mpsc::unbounded_channel();
        let token = Some(self.stop.child_token());
        let made = ChannelConnection::create_connection(heard, told, address(peer), token).await;
        let connection = SipConnection::Channel(made.map_err(io::Error::other)?);
        self.endpoint.transport_layer.add_connection(connection.clone());
        Ok((connection, incoming, outgoing))
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Send>(
        &self,
        stream: S,
        peer: Listen,
        connection: SipConnection,
        incoming: mpsc::UnboundedSender<TransportEvent>,
        mut outgoing: Messages,
        first: Option<Instant>,
    ) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut frames = Frames::default();
        let mut deadline = first.unwrap_or_else(|| Instant::now() + IDLE);
        let mut spoken = first.is_none();
        let ended = loop {
            tokio::select! {
                () = self.stop.cancelled() => break "we stop",
                () = tokio::time::sleep_until(deadline) => break "nothing moved",
                read = reader.read_buf(&mut frames.buffer) => match read {
                    Ok(0) => break "the peer closed it",
                    Err(_) => break "it broke",
                    Ok(_) => {}
                },
                message = outgoing.recv() => {
                    let Some(message) = message else { break "the stack is gone" };
                    let TransportEvent::Incoming(message, ..) = message else { continue };
                    if write(&mut writer, &message.to_bytes()).await.is_err() {
                        break "the peer does not read";
                    }
                    deadline = Instant::now() + IDLE;
                    continue;
                }
            }
            if spoken {
                deadline = Instant::now() + IDLE;
            }
            match self.take(&mut frames, peer, &connection, &incoming, &mut writer).await {
                Ok(any) => spoken |= any,
                Err(reason) => break reason,
            }
        };
        tracing::debug!(peer = %canonical(peer.address), transport = %peer.transport, reason = ended, "a SIP connection ended");
        self.endpoint.transport_layer.remove_connection(&connection);
    }

    /// Takes the messages that are whole by now. Whether there were any.
    async fn take<W: AsyncWrite + Unpin>(
        &self,
        frames: &mut Frames,
        peer: Listen,
        connection: &SipConnection,
        incoming: &mpsc::UnboundedSender<TransportEvent>,
        writer: &mut W,
    ) -> Result<bool, &'static str> {
        let mut any = false;
        while let Some(frame) = frames.next()? {
            if !self.door.admits(peer.address.ip()) {
                return Err("it sent too much");
            }
            let frame = match frame {
                Frame::Keepalive => {
                    write(writer, b"\r\n").await?;
                    continue;
                }
                Frame::Message(frame) => frame,
            };
            match judge(&frame, peer.address, peer.transport) {
                Verdict::Pass(message) => {
                    any = true;
                    let event = TransportEvent::Incoming(*message, connection.clone(), address(peer));
                    incoming.send(event).map_err(|_| "the stack is gone")?;
                }
                Verdict::Answer(answer) => write(writer, &answer).await?,
                Verdict::Drop(reason) => return Err(reason),
            }
        }
        Ok(any)
    }
}

async fn write<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> Result<(), &'static str> {
    let written = timeout(WRITE, async {
        writer.write_all(bytes).await?;
        writer.flush().await
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        _ => Err("the peer does not read"),
    }
}

fn address(peer: Listen) -> SipAddr {
    SipAddr { r#type: Some(peer.transport.named()), addr: canonical(peer.address).into() }
}

/// Bytes of a stream, cut into messages.
#[derive(Debug, Default)]
struct Frames {
    buffer: BytesMut,
}

#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// Two empty lines: "are you there?"
    Keepalive,
    /// One message, perhaps a broken one.
    Message(BytesMut),
}

impl Frames {
    /// The next message that is whole.
    fn next(&mut self) -> Result<Option<Frame>, &'static str> {
        loop {
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.advance(4);
                return Ok(Some(Frame::Keepalive));
            }
            // A single one may be the answer to ours, or the first half of a question.
            if self.buffer.len() > 2 && self.buffer.starts_with(b"\r\n") {
                self.buffer.advance(2);
                continue;
            }
            break;
        }
        let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n").map(|at| at + 4) else {
            return if self.buffer.len() > LARGEST { Err("its header never ends") } else { Ok(None) };
        };
        let body = body_length(&self.buffer[..end])?;
        let whole = end.saturating_add(body);
        if whole > LARGEST {
            return Err("a message is too large");
        }
        Ok((self.buffer.len() >= whole).then(|| Frame::Message(self.buffer.split_to(whole))))
    }
}

/// What the header promises to follow. Without a promise nothing does.
fn body_length(header: &[u8]) -> Result<usize, &'static str> {
    for line in header.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
            let value = std::str::from_utf8(line[colon + 1..].trim_ascii()).ok();
            return value.and_then(|value| value.parse().ok()).ok_or("the length of a message is no number");
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\nl: 4\r\n\r\nbody";

    fn all(pieces: &[&[u8]]) -> Result<Vec<Frame>, &'static str> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for piece in pieces {
            frames.buffer.extend_from_slice(piece);
            while let Some(frame) = frames.next()? {
                found.push(frame);
            }
        }
        Ok(found)
    }

    #[test]
    fn messages_and_keepalives_are_told_apart() {
        let stream = format!("\r\n\r\n{MESSAGE}\r\n\r\n{MESSAGE}");
        let found = all(&[stream.as_bytes()]).unwrap();
        let message = || Frame::Message(BytesMut::from(MESSAGE));
        assert_eq!(found, [Frame::Keepalive, message(), Frame::Keepalive, message()]);
    }

    #[test]
    fn what_never_ends_is_refused() {
        assert!(all(&[&vec![b'a'; LARGEST + 1]]).is_err());
        assert!(all(&[b"OPTIONS a SIP/2.0\r\nContent-Length: 18446744073709551615\r\n\r\n"]).is_err());
        assert!(all(&[b"OPTIONS a SIP/2.0\r\nContent-Length: many\r\n\r\n"]).is_err());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in proptest::collection::vec(0_usize..MESSAGE.len() * 3, 0..8)) {
            let stream = MESSAGE.repeat(3);
            let mut cuts = cuts;
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &stream.as_bytes()[ends[0]..ends[1]]).collect();
            prop_assert_eq!(all(&pieces).unwrap().len(), 3);
        }

        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = all(&[&bytes]);
        }
    }
}
