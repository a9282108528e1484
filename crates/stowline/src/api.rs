//! Kazoo's API on the wire: `/v2/…`.
//!
//! Every request walks the same steps, in this order: body and query are read → the token is checked → the route is found (404, 405) → the
//! account in the path is loaded (404) → the rights that the *route declares* are enforced (403) → the endpoint runs → the answer is wrapped.
//! Who has no valid token is answered 401 before anything is looked up, so an anonymous caller learns nothing.
//!
//! An endpoint is a function in `api/x.rs` and a line in [`ROUTES`] (`api/routes.rs`). It gets a [`Call`], calls `app`, and answers a [`Reply`].

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode};
use metrics::Histogram;

use crate::app::knocks::{self, Knock};
use crate::app::{App, Error, accounts, audit as trail};
use plan::AccountId;

pub mod accept;
pub mod account;
pub mod audit;
pub mod authentication;
pub mod call;
pub mod cdr;
pub mod deliveries;
pub mod download;
pub mod drain;
pub mod envelope;
pub mod error;
pub mod fax;
pub mod faxbox;
pub mod handler_errors;
pub mod health;
pub mod ingest;
pub mod ingest_key;
pub mod list;
pub mod proof;
pub mod recording;
pub mod routes;
pub mod schemas;
pub mod sip_credential;
pub mod storage;
pub mod store_proxy;
mod unbroken;
pub mod upload;
pub mod user;
pub mod vmbox;
pub mod whose;

pub use call::Call;
pub use envelope::Reply;
use error::Fault;
pub use routes::{Access, ROUTES, Route, Verb};
use routes::{Params, find};
use unbroken::unbroken;

/// Answers a request.
pub async fn answer(app: Arc<App>, request: Request) -> Response {
    let head = request.method() == Method::HEAD;
    let mut response = match unbroken(request, |request| serve(app, request)).await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(panic, "a request ended in a panic");
            Fault::unspecified().bare().into_response()
        }
    };
    if head {
        *response.body_mut() = Body::empty();
    }
    response
}

async fn serve(app: Arc<App>, request: Request) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), loggable(request.uri().path()).to_owned());
    if let Some(response) = health::answer(&app, &method, &path).await {
        return response;
    }
    if method == Method::OPTIONS {
        return envelope::preflight();
    }
    let (about, outcome) = handle(app, request).await;
    let response = envelope::wrap(&about, outcome);
    let duration = started.elapsed();
    times(known(&method), response.status()).record(duration.as_secs_f64());
    tracing::debug!(
        request.id = %about.request_id, http.method = %method, http.path = %path, http.status = response.status().as_u16(),
        duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), "answered"
    );
    response
}

/// The times of answers with this verb and status. Whose they are is found out once for each: that takes longer than to note one.
fn times(verb: &'static str, status: StatusCode) -> Histogram {
    static KNOWN: RwLock<Vec<(&'static str, StatusCode, Histogram)>> = RwLock::new(Vec::new());
    let fits = |(known, of, _): &&(&'static str, StatusCode, Histogram)| *known == verb && *of == status;
    if let Some((.., times)) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter().find(fits) {
        return times.clone();
    }
    let times =
        metrics::histogram!("stowline_http_request_seconds", "method" => verb, "status" => status.as_u16().to_string());
    KNOWN.write().unwrap_or_else(PoisonError::into_inner).push((verb, status, times.clone()));
    times
}

/// The path for logs: without the token that may stand in it.
fn loggable(path: &str) -> &str {
    const LOGIN: &str = "/v2/user_auth/";
    if path.starts_with(LOGIN) { LOGIN } else { path }
}

/// A verb for a label: one that we know, since a client may send any word.
fn known(method: &Method) -> &'static str {
    Verb::of(method).map_or("other", Verb::word)
}

async fn handle(app: Arc<App>, request: Request) -> (envelope::About, Result<Reply, Fault>) {
    let mut about = envelope::About::of(&app, &request);
    let from = call::address(&app, &request);
    let asked = knocks::about_storage(request.method(), request.uri().path());
    let mut outcome = handle_read(&app, request, &mut about).await;
    if !about.authenticated
        && let Err(error) = about.count(app.limits.anonymous(from))
    {
        outcome = Err(error.into());
    }
    if let (Some((verb, path, account)), Err(fault)) = (asked, &outcome)
        && fault.status == StatusCode::UNAUTHORIZED
    {
        knocks::note(&app, Knock { verb, path, account, from, request_id: about.request_id.clone() });
    }
    (about, outcome)
}

async fn handle_read(app: &Arc<App>, request: Request, about: &mut envelope::About) -> Result<Reply, Fault> {
    let mut call = call::read(app, request, &about.request_id).await?;
    about.learn(&call);
    run(app.clone(), about, &mut call).await
}

async fn run(app: Arc<App>, about: &mut envelope::About, call: &mut Call) -> Result<Reply, Fault> {
    let matched = find(call);
    if call.is_from_switch() {
        return run_for_switch(app, about, call, matched).await;
    }
    let open = matched.as_ref().is_ok_and(|(route, _)| route.access == Access::Open);
    if !open {
        let caller = match call.caller.take() {
            Some(caller) => caller,
            None => proof::caller(&app, call).await?,
        };
        if call.account_header.as_ref().is_some_and(|named| named != caller.account.id.as_ref()) {
            return Err(Error::Unauthenticated.into());
        }
        about.authenticated = true;
        about.count(app.limits.account(&caller.account.id))?;
        call.caller = Some(caller);
    }
    let (route, params) = matched?;
    call.params = params;
    if let Some(id) = call.params.iter().find(|(name, _)| *name == "account").map(|(_, id)| id.clone()) {
        let id = AccountId::parse(&id).map_err(|_| Fault::malformed_account(&id))?;
        call.account = Some(accounts::get(&app, &id).await?);
    }
    let deed = audit::deed(route, call);
    if let Err(refused) = permit(route.access, call) {
        if let (Some(deed), Some(caller)) = (&deed, &call.caller) {
            trail::refuse(&app, deed, caller, audit::end(&Err(Error::Forbidden.into()))).await;
        }
        return Err(refused.into());
    }
    let begun = match (deed.filter(|_| audit::changes(route)), &call.caller) {
        (Some(deed), Some(caller)) => Some(trail::begin(&app, &deed, caller).await?),
        _ => None,
    };
    let outcome = serve_route(app.clone(), route, std::mem::take(call)).await;
    if let Some(begun) = begun {
        trail::end(&app, begun, audit::end(&outcome)).await;
    }
    outcome
}

async fn serve_route(app: Arc<App>, route: &Route, call: Call) -> Result<Reply, Fault> {
    if let Some(upload) = call.upload.as_ref().filter(|_| !route.files) {
        return Err(Fault::unsupported_media_type(&upload.content_type));
    }
    (route.endpoint)(app, call).await
}

/// The same steps for what a switch sends, whose proof is another.
async fn run_for_switch(
    app: Arc<App>,
    about: &mut envelope::About,
    call: &mut Call,
    matched: Result<(&'static Route, Params), Fault>,
) -> Result<Reply, Fault> {
    let sender = ingest::Sender::of(&app, call).await?;
    about.authenticated = true;
    let (route, params) = matched?;
    call.params = params;
    let id = match call.param("account") {
        "" => sender.account().clone(),
        named => AccountId::parse(named).map_err(|_| Fault::malformed_account(named))?,
    };
    call.account = Some(ingest::admit(&app, sender, route.access, &id).await?);
    (route.endpoint)(app, std::mem::take(call)).await
}

/// What can be said without an account.
fn permit_anywhere(access: Access, call: &Call) -> Result<(), Error> {
    let may = match (access, &call.caller) {
        (Access::Open, _) | (Access::Authenticated, Some(_)) => true,
        (Access::AnyAdmin, Some(caller)) => caller.is_admin(),
        (Access::SuperAdmin, Some(caller)) => caller.is_super_admin(),
        // The rest is asked of an account.
        _ => false,
    };
    if may { Ok(()) } else { Err(Error::Forbidden) }
}

fn permit(access: Access, call: &Call) -> Result<(), Error> {
    let Some(account) = &call.account else { return permit_anywhere(access, call) };
    let Some(caller) = &call.caller else { return Err(Error::Unauthenticated) };
    let may = match access {
        Access::Member => caller.reaches(account),
        Access::Own => caller.administers(account) || caller.is_user(account, call.param("user")),
        Access::Above => caller.stands_above(account),
        Access::Admin => caller.administers(account),
        Access::StorageRead => caller.reads_storage(account),
        Access::StorageChange => caller.administers_storage(account),
        Access::PlansRead => account.is_reseller() && caller.reads_storage(account),
        Access::PlansChange => account.is_reseller() && caller.administers_storage(account),
        Access::UserStorage => caller.administers_storage(account) || caller.is_user(account, call.param("user")),
        // An ingest key is asked of a switch, never of a caller.
        Access::Open | Access::Authenticated | Access::AnyAdmin | Access::SuperAdmin | Access::Ingest(_) => {
            return permit_anywhere(access, call);
        }
    };
    if may { Ok(()) } else { Err(Error::Forbidden) }
}

/// An answer in plain text, outside of the envelope.
pub(crate) fn plain(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
