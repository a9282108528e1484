//! The user agent: sockets, the stack behind them, and everything that runs because of them.
//!
//! [`Agent::start`] listens and hands calls to an [`Answerer`]; [`Agent::dial`] places one. [`Agent::stop`] takes no more calls, lets those that
//! run end, and then leaves nothing behind: every task is tracked, every port belongs to a socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::EndpointBuilder;
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::sip::{Auth, Method, Param, Request, Scheme, Uri};
use rsipstack::transaction::endpoint::{EndpointInnerRef, EndpointOption};
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transaction::{Endpoint, TransactionReceiver, TransactionTimer};
use rsipstack::transport::channel::ChannelConnection;
use rsipstack::transport::udp::UdpConnection;
use rsipstack::transport::{SipAddr, SipConnection, TransportLayer};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answerer::Answerer;
use crate::digest::Gatekeeper;
use crate::door::Door;
use crate::error::{Error, ErrorKind};
use crate::line::Lines;
use crate::ports::Ports;
use crate::requests;
use crate::rtp::Rtp;
use crate::transport::{Datagrams, Listen, Listener, Streams, Transport, facing};

/// What an agent is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens. One that only calls needs nothing here.
    pub listen: Vec<Listen>,
    /// What TLS listeners show ([`crate::tls_server`]).
    pub tls: Option<Arc<ServerConfig>>,
    /// The address that others reach us by, where it is not that of the machine.
    pub public_address: Option<IpAddr>,
    /// How it names itself.
    pub user_agent: String,
    /// Ports for voices; none lets the system choose.
    pub rtp_ports: Option<RangeInclusive<u16>>,
    /// Calls at a time.
    pub max_calls: usize,
    /// No call lasts longer, whatever becomes of who answers it.
    pub max_age: Duration,
    /// Messages a second from one source that is not trusted.
    pub messages_per_second: u32,
    /// How long a message takes there and back (T1): the first repetition comes after it, and after 64 times that nobody is waited for.
    pub round_trip: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            tls: None,
            public_address: None,
            user_agent: "stowline".to_owned(),
            rtp_ports: None,
            max_calls: 500,
            max_age: Duration::from_secs(3_600),
            messages_per_second: 20,
            round_trip: Duration::from_millis(500),
        }
    }
}

/// What all parts of an agent share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) answerer: Arc<dyn Answerer>,
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) endpoint: EndpointInnerRef,
    pub(crate) layer: DialogLayer,
    pub(crate) lines: Lines,
    pub(crate) places: Arc<Semaphore>,
    /// No more calls are taken.
    pub(crate) draining: CancellationToken,
    /// Everything ends.
    pub(crate) stop: CancellationToken,
    /// Calls, and requests that are being answered.
    pub(crate) calls: TaskTracker,
    /// All else.
    pub(crate) tasks: TaskTracker,
    listens: Vec<Listen>,
    ports: Arc<Ports>,
}

/// What runs in an agent at a moment; all of it is 0 when nothing was left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Calls.
    pub calls: usize,
    /// Dialogs that the stack keeps.
    pub dialogs: usize,
    /// Ports taken for voices.
    pub ports: usize,
    /// Tasks that serve calls and requests.
    pub tasks: usize,
}

/// A user agent that runs.
pub struct Agent {
    pub(crate) shared: Arc<Shared>,
    pub(crate) streams: Streams,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("listens", &self.shared.listens).finish_non_exhaustive()
    }
}

impl Agent {
    /// Opens the sockets and begins to answer.
    ///
    /// # Errors
    /// [`ErrorKind::Listen`] for a socket that cannot be had.
    pub async fn start(settings: Settings, answerer: Arc<dyn Answerer>) -> Result<Self, Error> {
        let door = Arc::new(Door::new(answerer.clone(), settings.messages_per_second));
        let sockets = Sockets::open(&settings, &door).await?;
        let stop = CancellationToken::new();
        let layer = TransportLayer::new(stop.clone());
        for (socket, _) in sockets.datagrams {
            let external = settings.public_address.map(|address| SocketAddr::new(address, socket.port));
            let connection = UdpConnection::from_socket(socket.socket, external, Some(stop.clone())).await?;
            layer.add_transport(connection.into());
        }
        let endpoint = EndpointBuilder::new()
            .with_cancel_token(stop.clone())
            .with_transport_layer(layer)
            .with_user_agent(&settings.user_agent)
            .with_option(timers(settings.round_trip))
            .with_allows(Method::all())
            .build();
        let incoming = endpoint.incoming_transactions()?;
        let shared = Arc::new(Shared {
            gatekeeper: Gatekeeper::new(),
            layer: DialogLayer::new(endpoint.inner.clone()),
            endpoint: endpoint.inner.clone(),
            lines: Lines::default(),
            places: Arc::new(Semaphore::new(settings.max_calls.min(Semaphore::MAX_PERMITS))),
            draining: CancellationToken::new(),
            stop: stop.clone(),
            calls: TaskTracker::new(),
            tasks: TaskTracker::new(),
            listens: sockets.listens,
            ports: Ports::new(settings.rtp_ports.clone()),
            answerer,
            settings,
        });
        shared.tasks.spawn(run(endpoint));
        shared.tasks.spawn(dispatch(shared.clone(), incoming));
        shared.tasks.spawn(keep_time(shared.endpoint.clone(), stop.clone()));
        let streams = Streams::new(shared.endpoint.clone(), door, shared.tasks.clone(), stop);
        for listener in sockets.listeners {
            advertise(&shared, &listener).await?;
            shared.tasks.spawn(streams.clone().accept(listener));
        }
        Ok(Self { shared, streams })
    }

    /// Where it listens.
    #[must_use]
    pub fn listens(&self) -> &[Listen] {
        &self.shared.listens
    }

    /// What runs now.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            calls: self.shared.lines.len(),
            dialogs: self.shared.layer.len(),
            ports: self.shared.ports.taken(),
            tasks: self.shared.calls.len(),
        }
    }

    /// Takes no more calls: new ones are asked to come again. Who answers those that run is told by other means.
    pub fn drain(&self) {
        self.shared.draining.cancel();
    }

    /// Takes no more calls, lets those that run end, but not for longer than `patience`, and stops.
    pub async fn stop(&self, patience: Duration) {
        self.drain();
        self.shared.calls.close();
        if tokio::time::timeout(patience, self.shared.calls.wait()).await.is_err() {
            tracing::warn!(calls = self.shared.lines.len(), "calls still ran after the drain time and were cut");
        }
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.shared.tasks.wait()).await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// The timers of RFC 3261, which all come from the first.
fn timers(round_trip: Duration) -> EndpointOption {
    let (t2, t4) = (round_trip * 8, round_trip * 10);
    EndpointOption { t1: round_trip, t2, t4, t1x64: round_trip * 64, ..EndpointOption::default() }
}

async fn run(endpoint: Endpoint) {
    endpoint.serve().await;
}

/// Wakes the stack's timers ten times a second. A timer that is set in the moment in which they fall asleep is missed by them until something
/// wakes them (there is a gap between their look at the list and their waiting for news of it); so it is late by no more than this.
async fn keep_time(endpoint: EndpointInnerRef, stop: CancellationToken) {
    const NOBODYS: &str = "OPTIONS sip:nobody SIP/2.0\r\nVia: SIP/2.0/UDP nobody;branch=z9hG4bKnobody\r\nFrom: <sip:nobody>;tag=nobody\r\n\
                           To: <sip:nobody>\r\nCall-ID: nobody\r\nCSeq: 1 OPTIONS\r\n\r\n";
    let request = Request::try_from(NOBODYS);
    let Some(key) =
        request.ok().and_then(|request| TransactionKey::from_request(&request, TransactionRole::Client).ok())
    else {
        return;
    };
    let mut beats = tokio::time::interval(Duration::from_millis(100));
    while stop.run_until_cancelled(beats.tick()).await.is_some() {
        let far = endpoint.timers.timeout(Duration::from_secs(3_600), TransactionTimer::TimerCleanup(key.clone()));
        endpoint.timers.cancel(far);
    }
}

/// Gives each request that begins a transaction a task.
async fn dispatch(shared: Arc<Shared>, mut incoming: TransactionReceiver) {
    while let Some(Some(transaction)) = shared.stop.run_until_cancelled(incoming.recv()).await {
        shared.calls.spawn(requests::serve(shared.clone(), transaction));
    }
}

/// Tells the stack the address of a listener for streams, for the requests that it sends. It must not listen there itself, so what it gets
/// is a connection that is none.
async fn advertise(shared: &Shared, listener: &Listener) -> Result<(), Error> {
    let address = listener.listener.local_addr().map_err(|error| Error::caused(ErrorKind::Stack, error))?;
    let ip = shared.settings.public_address.unwrap_or(address.ip());
    let address = SipAddr {
        r#type: Some(listener.transport().named()),
        addr: SipConnection::resolve_bind_address(SocketAddr::new(ip, address.port())).into(),
    };
    let ((_, heard), (told, _)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let channel = ChannelConnection::create_connection(heard, told, address, None).await?;
    shared.endpoint.transport_layer.add_transport(SipConnection::Channel(channel));
    Ok(())
}

impl Shared {
    /// A socket for the voice of a call whose signalling comes from `peer`.
    pub(crate) fn voice_socket(&self, peer: IpAddr) -> Result<Arc<Rtp>, Error> {
        let any: IpAddr = if peer.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        // A machine that listens on one address only speaks from there too.
        let own = self.listens.iter().map(|listen| listen.address.ip()).find(|ip| ip.is_ipv4() == peer.is_ipv4());
        let taken = self.ports.bind(own.unwrap_or(any)).map_err(|error| Error::caused(ErrorKind::NoPort, error))?;
        Ok(Arc::new(Rtp::new(taken, peer)))
    }

    /// The address that we tell a peer to reach us by.
    pub(crate) fn address_for(&self, peer: IpAddr) -> Result<IpAddr, Error> {
        match self.settings.public_address {
            Some(address) => Ok(address),
            None => facing(peer).map_err(|error| Error::caused(ErrorKind::Unreachable, error)),
        }
    }

    /// Where a peer sends its requests within a call.
    pub(crate) fn contact(&self, peer: Listen, user: Option<&str>) -> Result<Uri, Error> {
        let address = self.address_for(peer.address.ip())?;
        let port = self.listens.iter().find(|listen| listen.transport == peer.transport).map(|own| own.address.port());
        let params = match peer.transport {
            Transport::Udp => Vec::new(),
            other => vec![Param::Transport(other.named())],
        };
        Ok(Uri {
            scheme: Some(Scheme::Sip),
            auth: user.map(|user| Auth { user: user.to_owned(), password: None }),
            host_with_port: SocketAddr::new(address, port.unwrap_or(peer.transport.default_port())).into(),
            params,
            headers: Vec::new(),
        })
    }
}

struct Sockets {
    datagrams: Vec<(OwnSocket, Listen)>,
    listeners: Vec<Listener>,
    listens: Vec<Listen>,
}

struct OwnSocket {
    socket: Arc<Datagrams>,
    port: u16,
}

impl Sockets {
    async fn open(settings: &Settings, door: &Arc<Door>) -> Result<Self, Error> {
        let mut sockets = Self { datagrams: Vec::new(), listeners: Vec::new(), listens: Vec::new() };
        for listen in &settings.listen {
            let opened = sockets.add(*listen, settings, door).await;
            opened.map_err(|error| Error::caused(ErrorKind::Listen(listen.to_string()), error))?;
        }
        Ok(sockets)
    }

    async fn add(&mut self, listen: Listen, settings: &Settings, door: &Arc<Door>) -> io::Result<()> {
        // Where UDP took a free port, TCP takes the same where it can: most peers know one port only.
        let before = self.listens.iter().find(|other| other.transport != listen.transport);
        let wish = match before {
            Some(other) if listen.address.port() == 0 && listen.transport == Transport::Tcp => {
                SocketAddr::new(listen.address.ip(), other.address.port())
            }
            _ => listen.address,
        };
        let address = match listen.transport {
            Transport::Udp => {
                let socket = Arc::new(Datagrams::bind(wish, door.clone())?);
                let address = socket.address()?;
                let listen = Listen { address, ..listen };
                self.datagrams.push((OwnSocket { socket, port: address.port() }, listen));
                address
            }
            Transport::Tcp => {
                let bound = TcpListener::bind(wish).await;
                let bound = if bound.is_err() && wish != listen.address {
                    TcpListener::bind(listen.address).await
                } else {
                    bound
                };
                let listener = bound?;
                let address = listener.local_addr()?;
                self.listeners.push(Listener { listener, tls: None });
                address
            }
            Transport::Tls => {
                let config = settings.tls.clone().ok_or_else(|| io::Error::other("there is no certificate for it"))?;
                let listener = TcpListener::bind(wish).await?;
                let address = listener.local_addr()?;
                self.listeners.push(Listener { listener, tls: Some(TlsAcceptor::from(config)) });
                address
            }
        };
        self.listens.push(Listen { address, ..listen });
        Ok(())
    }
}
