//! Requests within a call: it is held and resumed, keys are pressed, somebody asks whether it is still there, it ends.

use std::sync::Arc;

use rsipstack::dialog::DialogId;
use rsipstack::sip::{Header, Method, Request, SipMessage, StatusCode};
use rsipstack::transaction::TransactionState;
use rsipstack::transaction::transaction::Transaction;

use super::{abilities, allow, peer};
use crate::SDP;
use crate::agent::Shared;
use crate::line::Line;
use crate::sdp::Session;

pub(super) async fn serve(shared: &Arc<Shared>, transaction: &mut Transaction) -> rsipstack::Result<()> {
    let id = DialogId::try_from(&*transaction)?;
    let Some(line) = shared.lines.get(&id.to_string()) else {
        return transaction.reply(StatusCode::CallTransactionDoesNotExist).await;
    };
    match transaction.original.method {
        Method::Invite | Method::Update => change(shared, &line, transaction).await,
        Method::Info => info(&line, transaction).await,
        Method::Options => transaction.reply_with(StatusCode::OK, abilities(), None).await,
        // The dialog goes by these itself.
        Method::Ack | Method::Bye | Method::PRack => line.dialog.clone().handle(transaction).await,
        _ => transaction.reply_with(StatusCode::MethodNotAllowed, vec![allow()], None).await,
    }
}

/// The other party changes its media, or only says that it is still there.
async fn change(shared: &Arc<Shared>, line: &Arc<Line>, transaction: &mut Transaction) -> rsipstack::Result<()> {
    let is_invite = transaction.original.method == Method::Invite;
    let body = match transaction.original.body.as_slice() {
        [] if !is_invite => None,
        // Before the first offer is settled there is nothing to offer anew.
        [] => Some(line.reoffer().ok_or(StatusCode::RequestPending)),
        body => Some(
            Session::parse(body)
                .map_err(|_| StatusCode::BadRequest)
                .and_then(|offer| line.renegotiate(&offer).map_err(|_| StatusCode::NotAcceptableHere)),
        ),
    };
    let offered = transaction.original.body.is_empty();
    let body = match body.transpose() {
        Ok(body) => body.map(String::into_bytes),
        Err(status) => return transaction.reply(status).await,
    };
    let mut headers = vec![allow()];
    if body.is_some() {
        headers.push(Header::ContentType(SDP.to_owned().into()));
    }
    if let Some(contact) = peer(transaction).and_then(|peer| shared.contact(peer, None).ok()) {
        headers.push(Header::Contact(format!("<{contact}>").into()));
    }
    transaction.reply_with(StatusCode::OK, headers, body).await?;
    if is_invite {
        acknowledge(line, transaction, offered).await;
    }
    Ok(())
}

/// Waits for the acknowledgement of an answer within the call. Who never sends it is gone: the call is ended.
async fn acknowledge(line: &Arc<Line>, transaction: &mut Transaction, offered: bool) {
    while let Some(message) = transaction.receive().await {
        let SipMessage::Request(Request { method: Method::Ack, body, .. }) = message else { continue };
        if offered {
            let settled = Session::parse(&body).map(|answer| line.resettle(&answer));
            if !matches!(settled, Ok(Ok(()))) {
                tracing::debug!(call.id = %line.about.call_id, "an offer of ours within a call was not answered well");
            }
        }
        return;
    }
    if transaction.state == TransactionState::Terminated && line.end.borrow().is_none() {
        tracing::info!(call.id = %line.about.call_id, "a call is ended: the other party does not acknowledge any more");
        let _ = line.dialog.bye().await;
    }
}

/// A key of the telephone, as old ones send it: `Signal=5` (`application/dtmf-relay`) or `5` (`application/dtmf`).
async fn info(line: &Arc<Line>, transaction: &mut Transaction) -> rsipstack::Result<()> {
    let request = &transaction.original;
    let kind = request.headers.iter().find(|header| header.name() == "Content-Type").map(|header| header.value());
    let text = String::from_utf8_lossy(&request.body);
    let signal = match kind.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/dtmf-relay" => text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then(|| value.trim().to_owned())
        }),
        "application/dtmf" => Some(text.trim().to_owned()),
        _ => None,
    };
    let key = signal.as_deref().and_then(|signal| match signal {
        "10" => Some('*'),
        "11" => Some('#'),
        other => other.chars().next().filter(|key| key.is_ascii_digit() || "*#ABCDabcd".contains(*key)),
    });
    if let Some(key) = key {
        line.press(key);
    }
    transaction.reply(StatusCode::OK).await
}
