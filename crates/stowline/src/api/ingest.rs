//! `/v2/ingest/{account}/…`: what switches send; `/v2/ingest/…` without an account is that of the key.
//!
//! Switches are not clients of the API. Their proof is an ingest key in whatever place they can put one: as a password of `Basic` authentication (or
//! as its user, where a URL has room for one only), as a bearer, in `X-Auth-Token`, in the query. An admin's token will do as well. A body is what it
//! is, whatever its type says; there is no envelope to read, and the verb is never tunnelled.
//!
//! Answers are in the envelope, without the token that would stand there otherwise: 201 for a file that is new, 200 for one that came before, 200 for
//! every call record (`mod_xml_cdr` takes nothing else for success). All of them are durable then.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, WWW_AUTHENTICATE};
use serde_json::json;
use switches::facts;

use super::envelope::digest_of;
use super::error::Fault;
use super::proof::basic;
use super::{Access, Call, Reply};
use crate::app::accounts::{self, Account};
use crate::app::auth::{self, Caller};
use crate::app::ingest::{self, Aim, Kept, Parcel, Recorded};
use crate::app::ingest_keys::{self, IngestKey};
use crate::app::received::Sent;
use crate::app::{App, Error};
use plan::AccountId;

mod body;
mod digest;

use body::Incoming;
use digest::Said;

/// The first segment of all paths here.
pub const PATH: &str = "ingest";

/// Who sends.
#[derive(Debug, Clone)]
pub enum Sender {
    /// Who has this key, of this account.
    Key(IngestKey, Box<Account>),
    /// Who has a token.
    Caller(Caller),
}

impl Sender {
    /// Proves who sends.
    ///
    /// # Errors
    /// 401, with the challenge that some clients wait for; 423 for a disabled account.
    pub async fn of(app: &App, call: &Call) -> Result<Self, Fault> {
        for presented in presented(call) {
            let proven = if ingest_keys::looks_like_one(&presented) {
                ingest_keys::authenticate(app, &presented).await.map(|(key, account)| Self::Key(key, Box::new(account)))
            } else {
                auth::authenticate(app, &presented).await.map(Self::Caller)
            };
            match proven {
                Err(Error::Unauthenticated) => {}
                other => return Ok(other?),
            }
        }
        Err(challenge())
    }

    /// The account that is meant where none is named.
    pub(super) fn account(&self) -> &AccountId {
        match self {
            Self::Key(key, _) => &key.account,
            Self::Caller(caller) => &caller.account.id,
        }
    }
}

/// The account with this id, for whom a sender may send what a route takes.
///
/// # Errors
/// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Locked`], [`Error::Unavailable`].
pub(super) async fn admit(app: &App, sender: Sender, access: Access, id: &AccountId) -> Result<Account, Error> {
    let Access::Ingest(scope) = access else { return Err(Error::Forbidden) };
    // Who has a key learns nothing of other accounts, not even whether they exist.
    let account = match sender {
        Sender::Key(key, _) if key.account != *id || !key.may(scope) => return Err(Error::Forbidden),
        Sender::Key(_, account) => *account,
        Sender::Caller(caller) => {
            let account = accounts::get(app, id).await?;
            if !caller.administers(&account) {
                return Err(Error::Forbidden);
            }
            account
        }
    };
    if account.enabled() { Ok(account) } else { Err(Error::Locked) }
}

fn challenge() -> Fault {
    let mut fault = Fault::from(Error::Unauthenticated);
    fault.headers.push((WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"stowline\"")));
    fault
}

/// Everything in a request that may be a proof, the likeliest first.
fn presented(call: &Call) -> Vec<String> {
    let header = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut found = Vec::new();
    found.extend(header("x-auth-token"));
    found.extend(["token", "auth_token"].iter().filter_map(|name| call.query(name)).map(str::to_owned));
    if let Some((scheme, rest)) =
        header(AUTHORIZATION.as_str()).as_deref().and_then(|value| value.trim().split_once(' '))
    {
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => found.push(rest.trim().to_owned()),
            "basic" => found.extend(basic(rest).into_iter().flat_map(|(user, password)| [password, user])),
            _ => {}
        }
    }
    found.retain(|proof| !proof.is_empty());
    found
}

/// `PUT|POST /ingest/[{account}/]recordings/{name}`.
pub async fn recording(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    file(app, call, facts::Kind::Recording).await
}

/// `PUT|POST /ingest/[{account}/]voicemail/{mailbox}/{name}`.
pub async fn voicemail(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    file(app, call, facts::Kind::Voicemail).await
}

/// `PUT|POST /ingest/[{account}/]fax/{name}`.
pub async fn fax(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    file(app, call, facts::Kind::Fax).await
}

/// Where a file goes, by what was said before it came.
async fn aim(app: &App, call: &Call, kind: facts::Kind, said: &[(String, String)]) -> Result<Aim, Error> {
    let owner = facts::of(kind, said).remove("owner_id").and_then(|owner| owner.as_str().map(str::to_owned));
    match kind {
        facts::Kind::Recording => Ok(Aim::Recording { owner }),
        facts::Kind::Voicemail => Aim::mailbox(app, call.account()?, call.param("mailbox")).await,
        facts::Kind::Fax => Ok(Aim::Fax { owner }),
    }
}

async fn file(app: Arc<App>, mut call: Call, kind: facts::Kind) -> Result<Reply, Fault> {
    let name = call.param("name").to_owned();
    let mut incoming = Incoming::open(&mut call, app.config.ingest.max_upload_size)?;
    let body::File { sent_as, said, bytes } = incoming.file().await?;
    // What stands beside the file in a form counts where the query is silent.
    let aim = aim(&app, &call, kind, &[&call.query, incoming.fields()].concat()).await?;
    let (account, query) = (call.account()?, call.query.clone());
    let sent = Sent {
        content_type: body::content_type(kind, &sent_as),
        file_name: Some(&name),
        limit: app.config.ingest.max_upload_size,
    };
    let sha256 = said.sha256;
    let (stream, watch) = said.watch(bytes);
    let rest = async move {
        let fields = incoming.finish().await?;
        watch.verdict()?;
        Ok::<_, Fault>(facts::of(kind, &[query, fields].concat()))
    };
    let parcel = Parcel { aim, name: &name, sent, sha256 };
    let (kept, sha256) = ingest::file(&app, account, parcel, stream, rest).await?;
    let data = json!({"id": kept.document.id.as_ref(), "name": name, "sha256": hex::encode(sha256), "new": kept.new});
    Ok(if kept.new { Reply::created(data) } else { Reply::ok(data) })
}

/// `POST|PUT /ingest/[{account}/]cdr`.
pub async fn cdr(app: Arc<App>, mut call: Call) -> Result<Reply, Fault> {
    let said = Said::of(&call.headers)?;
    let body = collect(&mut call).await?;
    said.compare(&body)?;
    let data = match ingest::accept(&app, call.account()?, &body).await? {
        Recorded::Kept(Kept { document, new }) => json!({"id": document.id.as_ref(), "new": new}),
        Recorded::Skipped(why) => json!({"skipped": why}),
        Recorded::Accepted => return Ok(accepted()),
    };
    Ok(Reply::ok(data))
}

/// The answer in a burst, which is always the same: its tag is worked out once.
fn accepted() -> Reply {
    static TAG: OnceLock<String> = OnceLock::new();
    let data = json!({"accepted": true});
    let tag = TAG.get_or_init(|| digest_of(&data));
    Reply::ok(data).revision(tag)
}

/// The whole body of a call record.
async fn collect(call: &mut Call) -> Result<Bytes, Fault> {
    let limit = ingest::LARGEST_RECORD;
    let announced = call.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let Some(upload) = call.upload.take() else { return Ok(Bytes::new()) };
    let mut stream = upload.stream.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if announced.is_some_and(|length| length > limit) {
        return Err(Error::TooLarge { limit }.into());
    }
    let (mut pieces, mut length) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Error::Interrupted(error.to_string()))?;
        length += chunk.len() as u64;
        if length > limit {
            return Err(Error::TooLarge { limit }.into());
        }
        pieces.push(chunk);
    }
    // A record of the usual length comes in one piece: then nothing is copied.
    Ok(if let [whole] = &mut pieces[..] { std::mem::take(whole) } else { pieces.concat().into() })
}
