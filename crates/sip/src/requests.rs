//! Requests that come in: who may ask, and what becomes of it.
//!
//! A request within a call (it has a tag in `To`) goes to its line; one without begins something. Before a stranger has said a password
//! nothing depends on whom it calls: whether an account or a box exists is learned by who may know it.

mod admission;
mod within;

use std::sync::Arc;
use std::time::Duration;

use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::DialogStateReceiver;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::headers::untyped::Contact;
use rsipstack::sip::prelude::ToTypedHeader;
use rsipstack::sip::{Header, HeadersExt, Method, Param, Request, StatusCode, Uri};
use rsipstack::transaction::transaction::Transaction;

use crate::agent::Shared;
use crate::answerer::{About, Caller};
use crate::invitation::{Invitation, Rejection};
use crate::line::{self, Line};
use crate::party::Party;
use crate::sdp::Session;
use crate::transport::{Listen, Transport, canonical};
use crate::{ALLOWED, SDP};

/// So long we ask a caller to wait when we are full.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Extensions that a caller may insist on: reliable provisional answers, of which we give none, and what costs us nothing.
const EXTENSIONS: [&str; 4] = ["100rel", "replaces", "timer", "path"];
/// How long a binding lasts that is said to be registered.
const REGISTRATION: u32 = 3_600;

/// Serves one request.
pub(crate) async fn serve(shared: Arc<Shared>, mut transaction: Transaction) {
    let request = &transaction.original;
    let in_dialog = matches!(request.to_header().map(|to| to.tag()), Ok(Ok(Some(_))));
    let served = match request.method {
        _ if in_dialog => within::serve(&shared, &mut transaction).await,
        Method::Invite => return invite(shared, transaction).await,
        Method::Register => register(&shared, &mut transaction).await,
        Method::Options => transaction.reply_with(StatusCode::OK, abilities(), None).await,
        Method::Bye | Method::Update | Method::Info | Method::PRack => {
            transaction.reply(StatusCode::CallTransactionDoesNotExist).await
        }
        _ => transaction.reply_with(StatusCode::MethodNotAllowed, vec![allow()], None).await,
    };
    if let Err(error) = served {
        tracing::debug!(error = %crate::Error::from(error), "a SIP request could not be answered");
    }
}

fn allow() -> Header {
    Header::Allow(ALLOWED.join(", ").into())
}

fn abilities() -> Vec<Header> {
    vec![allow(), Header::Accept(SDP.to_owned().into())]
}

/// Where a request comes from.
fn peer(transaction: &Transaction) -> Option<Listen> {
    let remote = transaction.connection.as_ref()?.get_remote_addr()?;
    let transport = Transport::of(remote.r#type.unwrap_or_default());
    Some(Listen { transport, address: canonical(remote.get_socketaddr().ok()?) })
}

/// Whom a request is for.
fn target(request: &Request) -> Party {
    Party::of(&request.uri)
}

async fn register(shared: &Arc<Shared>, transaction: &mut Transaction) -> rsipstack::Result<()> {
    let realm = target(&transaction.original).host;
    if admission::admit(shared, transaction, &realm).await?.is_none() {
        return Ok(());
    }
    // The bindings are of no use to us: we call nobody. Telephones want to see theirs, and when it ends.
    let request = &transaction.original;
    let asked = request.headers.iter().find(|header| header.name() == "Expires");
    let expires = asked.and_then(|header| header.value().trim().parse::<u32>().ok()).unwrap_or(REGISTRATION);
    let mut headers: Vec<Header> = Vec::new();
    for contact in request.contact_headers() {
        let Ok(mut typed) = contact.typed() else { continue };
        let own = typed.params.iter().find_map(|param| match param {
            Param::Expires(seconds) => seconds.value().parse::<u32>().ok(),
            _ => None,
        });
        let seconds = own.unwrap_or(expires).min(REGISTRATION);
        typed.params.retain(|param| !matches!(param, Param::Expires(_)));
        typed.params.push(Param::Expires(seconds.to_string().into()));
        if seconds > 0 {
            headers.push(Header::Contact(typed.to_string().into()));
        }
    }
    headers.push(allow());
    transaction.reply_with(StatusCode::OK, headers, None).await
}

/// A new call.
async fn invite(shared: Arc<Shared>, mut transaction: Transaction) {
    match prepare(&shared, &mut transaction).await {
        Ok(Some((invitation, states))) => run(shared, transaction, invitation, states).await,
        Ok(None) => {}
        Err(error) => tracing::debug!(error = %crate::Error::from(error), "an INVITE could not be answered"),
    }
}

/// Runs a call that was let in: its transaction, its dialog and who answers it, each in a task.
async fn run(shared: Arc<Shared>, mut transaction: Transaction, invitation: Invitation, states: DialogStateReceiver) {
    let line = invitation.line.clone();
    shared.tasks.spawn(line::follow(shared.clone(), line.clone(), states));
    let (mut dialog, stop) = (line.dialog.clone(), shared.stop.clone());
    shared.tasks.spawn(async move {
        // Until it is acknowledged, cancelled, or nobody acknowledged it for too long.
        stop.run_until_cancelled(dialog.handle(&mut transaction)).await
    });
    shared.answerer.take(invitation).await;
}

/// What is answered before anybody is asked to take the call; none when that was all.
async fn prepare(
    shared: &Arc<Shared>,
    transaction: &mut Transaction,
) -> rsipstack::Result<Option<(Invitation, DialogStateReceiver)>> {
    let Some(peer) = peer(transaction) else { return Ok(None) };
    if let Some((status, headers)) = unfit(&transaction.original) {
        transaction.reply_with(status, headers, None).await?;
        return Ok(None);
    }
    let target = target(&transaction.original);
    let Some(caller) = admission::admit(shared, transaction, &target.host).await? else { return Ok(None) };
    let busy = Rejection::Busy(RETRY_AFTER);
    if shared.draining.is_cancelled() {
        transaction.reply_with(StatusCode::ServiceUnavailable, busy.headers(), None).await?;
        return Ok(None);
    }
    let id = DialogId::try_from(&*transaction)?;
    if shared.lines.has_call(&id.call_id, &id.remote_tag) {
        transaction.reply(StatusCode::LoopDetected).await?;
        return Ok(None);
    }
    let Ok(place) = shared.places.clone().try_acquire_owned() else {
        tracing::warn!(calls = shared.lines.len(), "a call was declined: as many run as may");
        transaction.reply_with(StatusCode::ServiceUnavailable, busy.headers(), None).await?;
        return Ok(None);
    };
    let offer = match transaction.original.body.as_slice() {
        [] => None,
        body => match Session::parse(body) {
            Ok(offer) => Some(offer),
            Err(_) => {
                transaction.reply(StatusCode::BadRequest).await?;
                return Ok(None);
            }
        },
    };
    let about = Arc::new(about(&transaction.original, target, peer, caller));
    let Some((dialog, states)) = open(shared, transaction, peer) else {
        transaction.reply(StatusCode::BadRequest).await?;
        return Ok(None);
    };
    let (line, pressed) = Line::new(dialog, about, Some(place));
    shared.lines.insert(line.dialog.id().to_string(), line.clone());
    let invitation = Invitation {
        shared: shared.clone(),
        line,
        offer,
        pressed: Some(pressed),
        request: transaction.original.clone(),
        transaction: transaction.tu_sender.clone(),
        decided: false,
    };
    Ok(Some((invitation, states)))
}

/// Why a request cannot be served, whoever asks.
fn unfit(request: &Request) -> Option<(StatusCode, Vec<Header>)> {
    if !matches!(request.uri.scheme, Some(rsipstack::sip::Scheme::Sip | rsipstack::sip::Scheme::Sips)) {
        return Some((StatusCode::UnsupportedUriScheme, Vec::new()));
    }
    let required = request.headers.iter().filter(|header| header.name() == "Require");
    let required = required.flat_map(|header| header.value().split(',')).map(str::trim);
    let unknown: Vec<&str> =
        required.filter(|tag| !EXTENSIONS.iter().any(|own| own.eq_ignore_ascii_case(tag))).collect();
    if !unknown.is_empty() {
        return Some((StatusCode::BadExtension, vec![Header::Unsupported(unknown.join(", ").into())]));
    }
    let kind = request.headers.iter().find(|header| header.name() == "Content-Type");
    let is_sdp = |value: &str| value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(SDP);
    if !request.body.is_empty() && kind.is_some_and(|kind| !is_sdp(kind.value())) {
        return Some((StatusCode::UnsupportedMediaType, abilities()));
    }
    None
}

fn about(request: &Request, target: Party, peer: Listen, caller: Caller) -> About {
    let value = |name: &str| request.headers.iter().find(|header| header.name() == name).map(|header| header.value());
    let party = |name: &str| value(name).and_then(Party::parse);
    About {
        call_id: value("Call-ID").unwrap_or_default().to_owned(),
        from: party("From").unwrap_or_default(),
        to: party("To").unwrap_or_default(),
        target,
        asserted: if caller == Caller::Trusted { party("P-Asserted-Identity") } else { None },
        user_agent: value("User-Agent").map(|text| text.chars().filter(|c| !c.is_control()).take(128).collect()),
        source: peer.address,
        transport: peer.transport,
        caller,
    }
}

/// Makes the dialog of a call; none when the request says not where to send requests to.
fn open(
    shared: &Arc<Shared>,
    transaction: &mut Transaction,
    peer: Listen,
) -> Option<(InviteDialog, DialogStateReceiver)> {
    let contact = transaction.original.typed_contact_headers().ok()?.into_iter().next()?;
    if behind_translator(&transaction.original, peer) {
        // The address that it gives is of a network that we are not in.
        let uri = Uri { host_with_port: peer.address.into(), ..contact.uri };
        transaction.original.headers.unique_push(Header::Contact(Contact::from(format!("<{uri}>"))));
    }
    let own = shared.contact(peer, transaction.original.uri.user()).ok()?;
    let (sender, states) = shared.layer.new_dialog_state_channel();
    match shared.layer.get_or_create_server_invite(transaction, sender, None, Some(own)) {
        Ok(dialog) => Some((dialog, states)),
        Err(error) => {
            tracing::debug!(error = %crate::Error::from(error), "an INVITE makes no dialog");
            None
        }
    }
}

/// Whether a caller over UDP is seen under another address than its own, and no proxy stands between that knows better.
fn behind_translator(request: &Request, peer: Listen) -> bool {
    let proxied = request.headers.iter().any(|header| header.name() == "Record-Route");
    let vias = request.headers.iter().filter(|header| header.name() == "Via").count();
    if peer.transport != Transport::Udp || proxied || vias > 1 {
        return false;
    }
    let via = request.top_via_header().ok().and_then(|via| via.typed().ok());
    via.is_some_and(|via| {
        via.received().is_some_and(|received| {
            received.is_ok_and(|received| via.sent_by().host.to_string() != received.to_string())
        })
    })
}
