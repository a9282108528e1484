//! Calls that we place.

use std::net::SocketAddr;
use std::sync::Arc;

use rsipstack::dialog::dialog::{DialogState, DialogStateReceiver};
use rsipstack::dialog::invitation::InviteOption;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::{Auth, Header, HeadersExt, Host, Param, Response, Scheme, StatusCode, StatusCodeKind, Uri};
use rsipstack::transport::SipAddr;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::agent::Agent;
use crate::answerer::{About, Caller, Password};
use crate::error::{Error, ErrorKind};
use crate::line::{self, Call, Line};
use crate::party::Party;
use crate::sdp::{self, Local, Menu, Session};
use crate::transport::{Listen, Transport};
use crate::{SDP, digest};

/// A call to be placed.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Whom: `sip:1001@acme.example`, `sip:1001@192.0.2.1:5070;transport=tcp`.
    pub to: String,
    /// Who we say we are: `sip:dana@example.org`, `"Dana Fox" <sip:dana@example.org>`.
    pub from: String,
    /// Where to send it, instead of where the address says.
    pub proxy: Option<SocketAddr>,
    /// How, instead of what the address says.
    pub transport: Option<Transport>,
    /// A name and a password, should they be asked for.
    pub credentials: Option<(String, Password)>,
    /// Whom TLS believes.
    pub tls: Option<Arc<ClientConfig>>,
    /// Whether the voice is protected (SRTP).
    pub protected: bool,
}

/// What happens until a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is on its way.
    Calling,
    /// Somebody works on it, or it rings: the status.
    Provisional(u16),
}

impl Agent {
    /// Places a call and waits until it is answered. Dropping the future gives it up.
    ///
    /// # Errors
    /// [`ErrorKind::Address`], [`ErrorKind::Unreachable`], [`ErrorKind::Declined`], [`ErrorKind::Media`], [`ErrorKind::NoPort`].
    pub async fn dial(
        &self,
        dial: &Dial,
        menu: &Menu,
        progress: mpsc::UnboundedSender<Progress>,
    ) -> Result<Call, Error> {
        let callee = uri(&dial.to)?;
        let peer = locate(&callee, dial).await?;
        let destination = self.connect(peer, &callee, dial).await?;
        let shared = &self.shared;
        let rtp = shared.voice_socket(peer.address.ip())?;
        let port = rtp.port().map_err(|error| Error::caused(ErrorKind::NoPort, error))?;
        let address = shared.address_for(peer.address.ip())?;
        let local = Local { address, port, session: rand::random::<u64>() >> 2, version: 1 };
        let key = dial.protected.then(sdp::new_key);
        let offer = sdp::offer(menu, &local, key.as_ref());
        let from = named(&dial.from)?;
        let mut contact = shared.contact(peer, from.1.user())?;
        contact.auth.get_or_insert_with(|| Auth { user: "stowline".to_owned(), password: None });
        let option = InviteOption {
            caller_display_name: from.0,
            caller: from.1,
            callee: callee.clone(),
            destination: Some(destination),
            content_type: Some(SDP.to_owned()),
            offer: Some(offer.into_bytes()),
            contact,
            call_id: Some(format!("{:032x}@{address}", rand::random::<u128>())),
            ..InviteOption::default()
        };
        let _ = progress.send(Progress::Calling);
        let (dialog, answer, follow) = self.invite(option, dial, progress).await?;
        let about = About {
            call_id: dialog.id().call_id,
            from: Party::parse(&dial.from).unwrap_or_default(),
            to: Party::of(&callee),
            target: Party::of(&callee),
            asserted: None,
            user_agent: None,
            source: peer.address,
            transport: peer.transport,
            caller: Caller::Trusted,
        };
        let (line, pressed) = Line::new(dialog, Arc::new(about), None);
        shared.lines.insert(line.dialog.id().to_string(), line.clone());
        line.acknowledged.send_replace(true);
        shared.tasks.spawn(line::follow(shared.clone(), line.clone(), follow));
        let settled = Session::parse(&answer).map_err(|_| sdp::Refusal::Unfit);
        let settled = settled.and_then(|answer| sdp::settle(&answer, menu, key.as_ref()));
        let media = match settled {
            Ok(media) => line.begin(menu.clone(), local, rtp.clone(), media),
            Err(refusal) => {
                let _ = line.dialog.bye().await;
                return Err(refusal.into());
            }
        };
        Ok(Call { shared: shared.clone(), line, rtp, media, pressed: pressed.into() })
    }

    /// Asks for the call, and once more when a password is wanted and there is one. The body of the answer, and what becomes of the dialog.
    async fn invite(
        &self,
        mut option: InviteOption,
        dial: &Dial,
        progress: mpsc::UnboundedSender<Progress>,
    ) -> Result<(InviteDialog, Vec<u8>, DialogStateReceiver), Error> {
        let shared = &self.shared;
        loop {
            let (states, seen) = shared.layer.new_dialog_state_channel();
            let (told, follow) = mpsc::unbounded_channel();
            let watching = shared.tasks.spawn(relay(seen, told, progress.clone()));
            let (dialog, response) = match shared.layer.do_invite(option.clone(), states).await {
                Ok(invited) => invited,
                Err(error) => {
                    watching.abort();
                    return Err(Error::caused(ErrorKind::Unreachable, Error::from(error)));
                }
            };
            let Some(response) = response else { return Err(Error::new(ErrorKind::Unreachable)) };
            let authorization = if option.headers.is_none() { authorization(&response, &option, dial) } else { None };
            match authorization {
                Some(header) => option.headers = Some(vec![header]),
                None => return Ok((dialog, answered(response)?, follow)),
            }
        }
    }

    /// The address by which the stack finds the way to a peer: for a stream there must be a connection first.
    async fn connect(&self, peer: Listen, callee: &Uri, dial: &Dial) -> Result<SipAddr, Error> {
        let tls = match peer.transport {
            Transport::Udp => {
                let r#type = Some(peer.transport.named());
                return Ok(SipAddr { r#type, addr: peer.address.into() });
            }
            Transport::Tcp => None,
            Transport::Tls => {
                let believes =
                    || ErrorKind::Address("it is called over TLS, and no authority to believe was given".to_owned());
                let config = dial.tls.clone().ok_or_else(|| Error::new(believes()))?;
                let host = callee.host().to_string();
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| {
                    Error::caused(ErrorKind::Address("TLS does not know such names".to_owned()), error)
                })?;
                Some((TlsConnector::from(config), name))
            }
        };
        self.streams.connect(peer.address, tls).await.map_err(|error| Error::caused(ErrorKind::Unreachable, error))
    }
}

/// Passes on what becomes of the dialog, and tells of the progress.
async fn relay(
    mut seen: DialogStateReceiver,
    told: mpsc::UnboundedSender<DialogState>,
    progress: mpsc::UnboundedSender<Progress>,
) {
    while let Some(state) = seen.recv().await {
        let status = match &state {
            DialogState::Trying(_) => Some(100),
            DialogState::Early(_, response) => Some(response.status_code.code()),
            _ => None,
        };
        if let Some(status) = status {
            let _ = progress.send(Progress::Provisional(status));
        }
        if told.send(state).is_err() {
            return;
        }
    }
}

/// What a server that asks for a password is sent at the second try.
fn authorization(response: &Response, option: &InviteOption, dial: &Dial) -> Option<Header> {
    let (username, password) = dial.credentials.as_ref()?;
    let name = match response.status_code {
        StatusCode::Unauthorized => "WWW-Authenticate",
        StatusCode::ProxyAuthenticationRequired => "Proxy-Authenticate",
        _ => return None,
    };
    let challenges: Vec<&str> =
        response.headers.iter().filter(|header| header.name() == name).map(|header| header.value()).collect();
    let value = digest::answer(&challenges, "INVITE", &option.callee.to_string(), username, password)?;
    Some(match response.status_code {
        StatusCode::Unauthorized => Header::Authorization(value.into()),
        _ => Header::ProxyAuthorization(value.into()),
    })
}

/// The body of a 2xx; what else came of it is an error.
fn answered(response: Response) -> Result<Vec<u8>, Error> {
    if response.status_code.kind() == StatusCodeKind::Successful {
        return Ok(response.body);
    }
    // The stack makes these itself when nobody answers or nothing can be sent: such an answer has nobody's tag.
    let nobodys = !matches!(response.to_header().map(|to| to.tag()), Ok(Ok(Some(_))));
    if nobodys && matches!(response.status_code, StatusCode::RequestTimeout | StatusCode::ServiceUnavailable) {
        return Err(Error::new(ErrorKind::Unreachable));
    }
    let phrase = response.wire_reason.clone().unwrap_or_else(|| response.status_code.text().to_owned());
    Err(Error::new(ErrorKind::Declined(response.status_code.code(), phrase)))
}

fn bad(text: &str) -> Error {
    Error::new(ErrorKind::Address(format!("`{text}` is no SIP address, such as sip:1001@example.org")))
}

fn uri(text: &str) -> Result<Uri, Error> {
    let uri = Uri::try_from(text).map_err(|_| bad(text))?;
    if matches!(uri.scheme, Some(Scheme::Sip | Scheme::Sips)) && text.is_ascii() { Ok(uri) } else { Err(bad(text)) }
}

fn named(text: &str) -> Result<(Option<String>, Uri), Error> {
    let named = rsipstack::sip::headers::typed::From::parse(text).map_err(|_| bad(text))?;
    let name = named.display_name.map(|name| name.chars().filter(|c| !c.is_control() && *c != '"').collect());
    let uri = if named.uri.scheme.is_some() { named.uri } else { uri(&format!("sip:{}", named.uri))? };
    Ok((name, uri))
}

/// Where a callee is. Names are looked up as addresses (A, AAAA); service records are not asked for.
async fn locate(callee: &Uri, dial: &Dial) -> Result<Listen, Error> {
    let named = callee.params.iter().find_map(|param| match param {
        Param::Transport(transport) => Some(Transport::of(*transport)),
        _ => None,
    });
    let secure = callee.scheme == Some(Scheme::Sips);
    let transport = dial.transport.or(named).unwrap_or(if secure { Transport::Tls } else { Transport::Udp });
    if let Some(address) = dial.proxy {
        return Ok(Listen { transport, address });
    }
    let port = callee.host_with_port.port.map_or(transport.default_port(), u16::from);
    let address = match callee.host() {
        Host::IpAddr(ip) => SocketAddr::new(*ip, port),
        Host::Domain(name) => {
            let unknown = || Error::new(ErrorKind::Address(format!("the name {name} is not known")));
            let found = tokio::net::lookup_host((name.to_string(), port)).await;
            let mut found: Vec<SocketAddr> = found.map_err(|_| unknown())?.collect();
            found.sort_by_key(SocketAddr::is_ipv6);
            *found.first().ok_or_else(unknown)?
        }
    };
    Ok(Listen { transport, address })
}
