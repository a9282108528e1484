//! Who may ask: peers that are trusted by their address, and who knows a password.

use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{Header, StatusCode};
use rsipstack::transaction::transaction::Transaction;

use super::peer;
use crate::agent::Shared;
use crate::answerer::{Caller, Password};
use crate::digest::{Claim, Nonce};
use crate::invitation::Rejection;

/// Says who asks, or answers why not and says none.
pub(super) async fn admit(
    shared: &Arc<Shared>,
    transaction: &mut Transaction,
    realm: &str,
) -> rsipstack::Result<Option<Caller>> {
    let Some(peer) = peer(transaction) else { return Ok(None) };
    if shared.answerer.trusts(peer.address.ip()) {
        return Ok(Some(Caller::Trusted));
    }
    if !shared.answerer.knows_anybody().await {
        transaction.reply(StatusCode::Forbidden).await?;
        return Ok(None);
    }
    let given = transaction.original.headers.iter().find(|header| header.name() == "Authorization");
    let Some(given) = given.map(|header| header.value().to_owned()) else {
        return ask(shared, transaction, realm, false).await;
    };
    let Some(claim) = Claim::parse(&given) else {
        return ask(shared, transaction, realm, false).await;
    };
    match shared.gatekeeper.nonce_of(&claim, realm) {
        Nonce::Foreign => return ask(shared, transaction, realm, false).await,
        Nonce::Stale => return ask(shared, transaction, realm, true).await,
        Nonce::Good => {}
    }
    let Ok(known) = shared.answerer.identify(realm, &claim.username).await else {
        let headers = Rejection::Busy(Duration::from_secs(5)).headers();
        transaction.reply_with(StatusCode::ServiceUnavailable, headers, None).await?;
        return Ok(None);
    };
    let method = transaction.original.method.to_string();
    // Who is unknown is checked just so, against what nobody knows.
    let password = known.as_ref().map_or_else(nobodys, |known| known.password.clone());
    let checked = shared.gatekeeper.check(&claim, &method, &password);
    match (known, checked) {
        (Some(known), Ok(())) => Ok(Some(Caller::Known(known.who))),
        (Some(_), Err(Nonce::Stale)) => ask(shared, transaction, realm, true).await,
        _ => {
            tracing::info!(peer = %peer.address, "a SIP caller gave a wrong name or password");
            transaction.reply(StatusCode::Forbidden).await?;
            Ok(None)
        }
    }
}

fn nobodys() -> Password {
    Password::new(format!("{:x}", rand::random::<u128>()))
}

async fn ask(
    shared: &Arc<Shared>,
    transaction: &mut Transaction,
    realm: &str,
    stale: bool,
) -> rsipstack::Result<Option<Caller>> {
    let challenges = shared.gatekeeper.challenges(realm, stale);
    let headers = challenges.into_iter().map(|value| Header::WwwAuthenticate(value.into())).collect();
    transaction.reply_with(StatusCode::Unauthorized, headers, None).await?;
    Ok(None)
}
