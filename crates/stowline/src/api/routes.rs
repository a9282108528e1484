//! The router: every verb and path of the API, who may, and what runs.
//!
//! One table, read from above: where two paths fit, the first one wins. Documentation, rights tests and the OpenAPI document are made from it.

use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use http::Method;

use super::error::Fault;
use super::{
    Call, Reply, account, audit, authentication, cdr, deliveries, fax, faxbox, handler_errors, ingest, ingest_key,
    recording, schemas, sip_credential, storage, user, vmbox,
};
use crate::app::App;
use crate::app::ingest_keys::Scope;

/// Who may use a route. The account is the one in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever has a token.
    Authenticated,
    /// Users of the account and of accounts above it.
    Member,
    /// Admins of the account and of accounts above it.
    Admin,
    /// The user in the path; admins of the account and of accounts above it.
    Own,
    /// Admins of accounts above it, super admins.
    Above,
    /// Admins, of whatever account.
    AnyAdmin,
    /// Super admins.
    SuperAdmin,
    /// Users of the account, its reseller's admins, super admins.
    StorageRead,
    /// Admins of the account, its reseller's, super admins.
    StorageChange,
    /// As [`Access::StorageRead`], of an account that is a reseller.
    PlansRead,
    /// As [`Access::StorageChange`], of an account that is a reseller.
    PlansChange,
    /// The user in the path, and those of [`Access::StorageChange`].
    UserStorage,
    /// Whoever has an ingest key of the account with this scope; admins of the account and of accounts above it.
    Ingest(Scope),
}

pub(super) type Endpoint = fn(Arc<App>, Call) -> BoxFuture<'static, Result<Reply, Fault>>;

/// A line of the router.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The verb.
    pub method: Verb,
    /// The path below `/v2/`; a segment in braces is a parameter.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// Takes bodies that are files.
    pub files: bool,
    pub(super) endpoint: Endpoint,
}

/// The verbs of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the verbs of HTTP")]
pub enum Verb {
    #[default]
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl Verb {
    /// The verb of a request; `HEAD` is a `GET` whose body is not sent.
    pub fn of(method: &Method) -> Option<Self> {
        match method.as_str() {
            "GET" | "HEAD" => Some(Self::Get),
            other => Self::named(other),
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The verb with this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Get, Self::Put, Self::Post, Self::Patch, Self::Delete];
        all.into_iter().find(|verb| verb.word().eq_ignore_ascii_case(name))
    }
}

macro_rules! routes {
    (@) => { false };
    (@ files) => { true };
    ($($method:ident $path:literal $access:ident $(($scope:ident))? $endpoint:path $(, $files:ident)?;)*) => {
        &[$(Route {
            method: Verb::$method,
            path: $path,
            access: Access::$access $((Scope::$scope))?,
            files: routes!(@ $($files)?),
            endpoint: |app, call| Box::pin($endpoint(app, call)),
        }),*]
    };
}

/// The router: verb, path, who may, what runs.
pub const ROUTES: &[Route] = routes! {
    Put    "user_auth" Open authentication::by_password;
    Get    "user_auth/{token}" Open authentication::told;
    Put    "api_auth" Open authentication::by_api_key;
    Get    "auth/tokeninfo" Open authentication::told;
    Post   "auth/tokeninfo" Open authentication::told;
    Get    "token_auth" Authenticated authentication::own;
    Delete "token_auth" Authenticated authentication::revoke;

    Get    "schemas" Open schemas::list;
    Get    "schemas/{schema}" Open schemas::read;
    Get    "api_docs/openapi.json" Open schemas::openapi;

    Put    "accounts" AnyAdmin account::create_below_own;
    Put    "accounts/{account}" Admin account::create;
    Get    "accounts/{account}" Member account::read;
    Post   "accounts/{account}" Admin account::replace;
    Patch  "accounts/{account}" Admin account::patch;
    Delete "accounts/{account}" Above account::remove;
    Get    "accounts/{account}/children" Admin account::children;
    Get    "accounts/{account}/descendants" Admin account::descendants;
    Get    "accounts/{account}/siblings" Above account::siblings;
    Get    "accounts/{account}/parents" Member account::parents;
    Get    "accounts/{account}/tree" Member account::parents;
    Get    "accounts/{account}/api_key" Admin account::api_key;
    Put    "accounts/{account}/api_key" Admin account::rotate_api_key;
    Put    "accounts/{account}/reseller" SuperAdmin account::promote;
    Delete "accounts/{account}/reseller" SuperAdmin account::demote;

    Get    "accounts/{account}/apps_store" Member account::apps_store;

    Get    "accounts/{account}/ingest_keys" Admin ingest_key::list;
    Put    "accounts/{account}/ingest_keys" Admin ingest_key::create;
    Get    "accounts/{account}/ingest_keys/{ingest_key}" Admin ingest_key::read;
    Delete "accounts/{account}/ingest_keys/{ingest_key}" Admin ingest_key::revoke;

    Get    "accounts/{account}/sip_credentials" StorageChange sip_credential::list;
    Put    "accounts/{account}/sip_credentials" StorageChange sip_credential::create;
    Get    "accounts/{account}/sip_credentials/{sip_credential}" StorageChange sip_credential::read;
    Delete "accounts/{account}/sip_credentials/{sip_credential}" StorageChange sip_credential::revoke;

    Get    "accounts/{account}/users" Member user::list;
    Put    "accounts/{account}/users" Admin user::create;
    Get    "accounts/{account}/users/{user}" Own user::read;
    Post   "accounts/{account}/users/{user}" Own user::replace;
    Patch  "accounts/{account}/users/{user}" Own user::patch;
    Delete "accounts/{account}/users/{user}" Admin user::remove;
    Delete "accounts/{account}/users/{user}/tokens" Own user::end_tokens;
    Put    "accounts/{account}/users/{user}/user_auth" SuperAdmin authentication::impersonate;

    Get    "accounts/{account}/storage" StorageRead storage::read;
    Put    "accounts/{account}/storage" StorageChange storage::create;
    Post   "accounts/{account}/storage" StorageChange storage::replace;
    Patch  "accounts/{account}/storage" StorageChange storage::patch;
    Delete "accounts/{account}/storage" StorageChange storage::remove;
    Get    "accounts/{account}/storage/deliveries" StorageChange deliveries::list;
    Post   "accounts/{account}/storage/deliveries" StorageChange deliveries::act;

    Get    "accounts/{account}/storage/health" StorageChange storage::health::read;
    Get    "accounts/{account}/storage/usage" StorageChange storage::usage;
    Get    "accounts/{account}/storage/audit" StorageChange audit::list;
    Get    "accounts/{account}/storage/explain" StorageRead storage::explain::explain;
    Post   "accounts/{account}/storage/dry_run" StorageChange storage::explain::dry_run;
    Get    "accounts/{account}/storage/external_id" StorageChange storage::external_id;
    Get    "accounts/{account}/storage/retired" StorageChange storage::retired::list;
    Delete "accounts/{account}/storage/retired/{retired}" StorageChange storage::retired::erase;
    Get    "accounts/{account}/storage/plans" PlansRead storage::list;
    Put    "accounts/{account}/storage/plans" PlansChange storage::create_plan;
    Get    "accounts/{account}/storage/plans/{plan}" PlansRead storage::read;
    Post   "accounts/{account}/storage/plans/{plan}/dry_run" PlansChange storage::explain::dry_run;
    Get    "accounts/{account}/storage/plans/{plan}/retired" PlansChange storage::retired::list;
    Delete "accounts/{account}/storage/plans/{plan}/retired/{retired}" PlansChange storage::retired::erase;
    Post   "accounts/{account}/storage/plans/{plan}" PlansChange storage::replace;
    Patch  "accounts/{account}/storage/plans/{plan}" PlansChange storage::patch;
    Delete "accounts/{account}/storage/plans/{plan}" PlansChange storage::remove;
    Get    "accounts/{account}/storage/oauth/apps" PlansChange storage::oauth::apps;
    Put    "accounts/{account}/storage/oauth/apps" PlansChange storage::oauth::create_app;
    Get    "accounts/{account}/storage/oauth/apps/{app}" PlansChange storage::oauth::read_app;
    Patch  "accounts/{account}/storage/oauth/apps/{app}" PlansChange storage::oauth::patch_app;
    Delete "accounts/{account}/storage/oauth/apps/{app}" PlansChange storage::oauth::remove_app;
    Get    "accounts/{account}/storage/oauth/consents" StorageChange storage::oauth::list;
    Put    "accounts/{account}/storage/oauth/consents" StorageChange storage::oauth::create;
    Get    "accounts/{account}/storage/oauth/consents/{consent}" StorageChange storage::oauth::read;
    Patch  "accounts/{account}/storage/oauth/consents/{consent}" StorageChange storage::oauth::patch;
    Delete "accounts/{account}/storage/oauth/consents/{consent}" StorageChange storage::oauth::remove;
    Get    "accounts/{account}/storage/oauth/{provider}/start" StorageChange storage::oauth::start;

    Get    "accounts/{account}/users/{user}/storage" UserStorage storage::read;
    Put    "accounts/{account}/users/{user}/storage" UserStorage storage::create;
    Post   "accounts/{account}/users/{user}/storage" UserStorage storage::replace;
    Patch  "accounts/{account}/users/{user}/storage" UserStorage storage::patch;
    Delete "accounts/{account}/users/{user}/storage" UserStorage storage::remove;
    Post   "accounts/{account}/users/{user}/storage/dry_run" UserStorage storage::explain::dry_run;
    Get    "accounts/{account}/users/{user}/storage/retired" UserStorage storage::retired::list;
    Delete "accounts/{account}/users/{user}/storage/retired/{retired}" UserStorage storage::retired::erase;
    Get    "accounts/{account}/users/{user}/storage/oauth/consents" UserStorage storage::oauth::list;
    Put    "accounts/{account}/users/{user}/storage/oauth/consents" UserStorage storage::oauth::create;
    Get    "accounts/{account}/users/{user}/storage/oauth/consents/{consent}" UserStorage storage::oauth::read;
    Patch  "accounts/{account}/users/{user}/storage/oauth/consents/{consent}" UserStorage storage::oauth::patch;
    Delete "accounts/{account}/users/{user}/storage/oauth/consents/{consent}" UserStorage storage::oauth::remove;
    Get    "accounts/{account}/users/{user}/storage/oauth/{provider}/start" UserStorage storage::oauth::start;

    Get    "storage" SuperAdmin storage::read;
    Put    "storage" SuperAdmin storage::create;
    Post   "storage" SuperAdmin storage::replace;
    Patch  "storage" SuperAdmin storage::patch;
    Delete "storage" SuperAdmin storage::remove;
    Get    "storage/audit" SuperAdmin audit::list;
    Get    "storage/explain" SuperAdmin storage::explain::explain;
    Post   "storage/dry_run" SuperAdmin storage::explain::dry_run;
    Get    "storage/retired" SuperAdmin storage::retired::list;
    Delete "storage/retired/{retired}" SuperAdmin storage::retired::erase;
    Get    "storage/plans" SuperAdmin storage::list;
    Put    "storage/plans" SuperAdmin storage::create_plan;
    Get    "storage/plans/{plan}" SuperAdmin storage::read;
    Post   "storage/plans/{plan}/dry_run" SuperAdmin storage::explain::dry_run;
    Get    "storage/plans/{plan}/retired" SuperAdmin storage::retired::list;
    Delete "storage/plans/{plan}/retired/{retired}" SuperAdmin storage::retired::erase;
    Post   "storage/plans/{plan}" SuperAdmin storage::replace;
    Patch  "storage/plans/{plan}" SuperAdmin storage::patch;
    Delete "storage/plans/{plan}" SuperAdmin storage::remove;
    Get    "storage/oauth/callback" Open storage::oauth::callback;
    Get    "storage/oauth/apps" SuperAdmin storage::oauth::apps;
    Put    "storage/oauth/apps" SuperAdmin storage::oauth::create_app;
    Get    "storage/oauth/apps/{app}" SuperAdmin storage::oauth::read_app;
    Patch  "storage/oauth/apps/{app}" SuperAdmin storage::oauth::patch_app;
    Delete "storage/oauth/apps/{app}" SuperAdmin storage::oauth::remove_app;
    Get    "storage/oauth/consents" SuperAdmin storage::oauth::list;
    Put    "storage/oauth/consents" SuperAdmin storage::oauth::create;
    Get    "storage/oauth/consents/{consent}" SuperAdmin storage::oauth::read;
    Patch  "storage/oauth/consents/{consent}" SuperAdmin storage::oauth::patch;
    Delete "storage/oauth/consents/{consent}" SuperAdmin storage::oauth::remove;
    Get    "storage/oauth/{provider}/start" SuperAdmin storage::oauth::start;

    Get    "accounts/{account}/att_handlers_errors" Admin handler_errors::list;
    Get    "accounts/{account}/att_handlers_errors/handler/{handler}" Admin handler_errors::of_handler;
    Get    "accounts/{account}/att_handlers_errors/{error}" Admin handler_errors::read;

    Get    "accounts/{account}/vmboxes" Member vmbox::list;
    Put    "accounts/{account}/vmboxes" Admin vmbox::create;
    Get    "accounts/{account}/vmboxes/messages" Member vmbox::messages::of_account;
    Get    "accounts/{account}/vmboxes/{box}" Member vmbox::read;
    Post   "accounts/{account}/vmboxes/{box}" Admin vmbox::replace;
    Patch  "accounts/{account}/vmboxes/{box}" Admin vmbox::patch;
    Delete "accounts/{account}/vmboxes/{box}" Admin vmbox::remove;
    Get    "accounts/{account}/vmboxes/{box}/greeting" Member vmbox::greeting::download;
    Put    "accounts/{account}/vmboxes/{box}/greeting" Member vmbox::greeting::upload, files;
    Delete "accounts/{account}/vmboxes/{box}/greeting" Member vmbox::greeting::remove;
    Get    "accounts/{account}/vmboxes/{box}/messages" Member vmbox::messages::list;
    Put    "accounts/{account}/vmboxes/{box}/messages" Member vmbox::messages::create, files;
    Post   "accounts/{account}/vmboxes/{box}/messages" Member vmbox::messages::change_many;
    Delete "accounts/{account}/vmboxes/{box}/messages" Member vmbox::messages::remove_many;
    Post   "accounts/{account}/vmboxes/{box}/messages/raw" Member vmbox::archive::download;
    Get    "accounts/{account}/vmboxes/{box}/messages/{message}" Member vmbox::messages::read;
    Post   "accounts/{account}/vmboxes/{box}/messages/{message}" Member vmbox::messages::change;
    Delete "accounts/{account}/vmboxes/{box}/messages/{message}" Member vmbox::messages::remove;
    Get    "accounts/{account}/vmboxes/{box}/messages/{message}/raw" Member vmbox::raw::download;
    Put    "accounts/{account}/vmboxes/{box}/messages/{message}/raw" Member vmbox::raw::upload, files;

    Get    "accounts/{account}/faxboxes" Member faxbox::list;
    Put    "accounts/{account}/faxboxes" Admin faxbox::create;
    Get    "accounts/{account}/faxboxes/{faxbox}" Member faxbox::read;
    Post   "accounts/{account}/faxboxes/{faxbox}" Admin faxbox::replace;
    Patch  "accounts/{account}/faxboxes/{faxbox}" Admin faxbox::patch;
    Delete "accounts/{account}/faxboxes/{faxbox}" Admin faxbox::remove;

    Get    "accounts/{account}/recordings" Member recording::list;
    Get    "accounts/{account}/recordings/{recording}" Member recording::read;
    Patch  "accounts/{account}/recordings/{recording}" Member recording::patch;
    Delete "accounts/{account}/recordings/{recording}" Member recording::remove;

    Get    "accounts/{account}/cdrs" Member cdr::list;
    Get    "accounts/{account}/cdrs/interaction" Member cdr::interactions;
    Get    "accounts/{account}/cdrs/summary" Member cdr::summary;
    Get    "accounts/{account}/cdrs/legs/{call}" Member cdr::legs;
    Get    "accounts/{account}/cdrs/{cdr}" Member cdr::read;

    Get    "accounts/{account}/faxes/inbox" Member fax::list;
    Get    "accounts/{account}/faxes/incoming" Member fax::list;
    Get    "accounts/{account}/faxes/inbox/{fax}" Member fax::read;
    Delete "accounts/{account}/faxes/inbox/{fax}" Member fax::remove;
    Get    "accounts/{account}/faxes/inbox/{fax}/attachment" Member fax::download;
    Delete "accounts/{account}/faxes/inbox/{fax}/attachment" Member fax::remove_pages;

    Get    "accounts/{account}/users/{user}/vmboxes" Member vmbox::list;
    Put    "accounts/{account}/users/{user}/vmboxes" Admin vmbox::create;
    Get    "accounts/{account}/users/{user}/vmboxes/messages" Member vmbox::messages::of_account;
    Get    "accounts/{account}/users/{user}/vmboxes/{box}" Member vmbox::read;
    Post   "accounts/{account}/users/{user}/vmboxes/{box}" Admin vmbox::replace;
    Patch  "accounts/{account}/users/{user}/vmboxes/{box}" Admin vmbox::patch;
    Delete "accounts/{account}/users/{user}/vmboxes/{box}" Admin vmbox::remove;
    Get    "accounts/{account}/users/{user}/vmboxes/{box}/greeting" Member vmbox::greeting::download;
    Put    "accounts/{account}/users/{user}/vmboxes/{box}/greeting" Member vmbox::greeting::upload, files;
    Delete "accounts/{account}/users/{user}/vmboxes/{box}/greeting" Member vmbox::greeting::remove;
    Get    "accounts/{account}/users/{user}/vmboxes/{box}/messages" Member vmbox::messages::list;
    Put    "accounts/{account}/users/{user}/vmboxes/{box}/messages" Member vmbox::messages::create, files;
    Post   "accounts/{account}/users/{user}/vmboxes/{box}/messages" Member vmbox::messages::change_many;
    Delete "accounts/{account}/users/{user}/vmboxes/{box}/messages" Member vmbox::messages::remove_many;
    Post   "accounts/{account}/users/{user}/vmboxes/{box}/messages/raw" Member vmbox::archive::download;
    Get    "accounts/{account}/users/{user}/vmboxes/{box}/messages/{message}" Member vmbox::messages::read;
    Post   "accounts/{account}/users/{user}/vmboxes/{box}/messages/{message}" Member vmbox::messages::change;
    Delete "accounts/{account}/users/{user}/vmboxes/{box}/messages/{message}" Member vmbox::messages::remove;
    Get    "accounts/{account}/users/{user}/vmboxes/{box}/messages/{message}/raw" Member vmbox::raw::download;
    Put    "accounts/{account}/users/{user}/vmboxes/{box}/messages/{message}/raw" Member vmbox::raw::upload, files;

    Get    "accounts/{account}/users/{user}/recordings" Member recording::list;
    Get    "accounts/{account}/users/{user}/recordings/{recording}" Member recording::read;
    Patch  "accounts/{account}/users/{user}/recordings/{recording}" Member recording::patch;
    Delete "accounts/{account}/users/{user}/recordings/{recording}" Member recording::remove;

    Get    "accounts/{account}/users/{user}/cdrs" Member cdr::list;
    Get    "accounts/{account}/users/{user}/cdrs/interaction" Member cdr::interactions;
    Get    "accounts/{account}/users/{user}/cdrs/summary" Member cdr::summary;
    Get    "accounts/{account}/users/{user}/cdrs/legs/{call}" Member cdr::legs;
    Get    "accounts/{account}/users/{user}/cdrs/{cdr}" Member cdr::read;

    Get    "accounts/{account}/users/{user}/faxes/inbox" Member fax::list;
    Get    "accounts/{account}/users/{user}/faxes/incoming" Member fax::list;
    Get    "accounts/{account}/users/{user}/faxes/inbox/{fax}" Member fax::read;
    Delete "accounts/{account}/users/{user}/faxes/inbox/{fax}" Member fax::remove;
    Get    "accounts/{account}/users/{user}/faxes/inbox/{fax}/attachment" Member fax::download;
    Delete "accounts/{account}/users/{user}/faxes/inbox/{fax}/attachment" Member fax::remove_pages;

    Put    "ingest/recordings/{name}" Ingest(Recordings) ingest::recording, files;
    Post   "ingest/recordings/{name}" Ingest(Recordings) ingest::recording, files;
    Put    "ingest/voicemail/{mailbox}/{name}" Ingest(Voicemail) ingest::voicemail, files;
    Post   "ingest/voicemail/{mailbox}/{name}" Ingest(Voicemail) ingest::voicemail, files;
    Put    "ingest/fax/{name}" Ingest(Fax) ingest::fax, files;
    Post   "ingest/fax/{name}" Ingest(Fax) ingest::fax, files;
    Put    "ingest/cdr" Ingest(Cdr) ingest::cdr, files;
    Post   "ingest/cdr" Ingest(Cdr) ingest::cdr, files;
    Put    "ingest/{account}/recordings/{name}" Ingest(Recordings) ingest::recording, files;
    Post   "ingest/{account}/recordings/{name}" Ingest(Recordings) ingest::recording, files;
    Put    "ingest/{account}/voicemail/{mailbox}/{name}" Ingest(Voicemail) ingest::voicemail, files;
    Post   "ingest/{account}/voicemail/{mailbox}/{name}" Ingest(Voicemail) ingest::voicemail, files;
    Put    "ingest/{account}/fax/{name}" Ingest(Fax) ingest::fax, files;
    Post   "ingest/{account}/fax/{name}" Ingest(Fax) ingest::fax, files;
    Put    "ingest/{account}/cdr" Ingest(Cdr) ingest::cdr, files;
    Post   "ingest/{account}/cdr" Ingest(Cdr) ingest::cdr, files;
};

/// The parameters in a path, by name.
pub(super) type Params = Vec<(&'static str, String)>;

/// A segment of a route's path.
#[derive(Debug, Clone, Copy)]
enum Part {
    Fixed(&'static str),
    /// A parameter of this name.
    Named(&'static str),
}

/// A route, and its path taken apart.
struct Line {
    route: &'static Route,
    parts: Vec<Part>,
}

/// The table by the number of segments: that alone rules most lines out.
static BY_LENGTH: LazyLock<Vec<Vec<Line>>> = LazyLock::new(|| {
    let mut by_length: Vec<Vec<Line>> = Vec::new();
    for route in ROUTES {
        let name = |part: &'static str| part.strip_prefix('{')?.strip_suffix('}');
        let part = |part| name(part).map_or(Part::Fixed(part), Part::Named);
        let parts: Vec<Part> = route.path.split('/').map(part).collect();
        by_length.resize_with(by_length.len().max(parts.len() + 1), Vec::new);
        by_length[parts.len()].push(Line { route, parts });
    }
    by_length
});

/// The route of a call. `account` alone is the account of the token.
pub(super) fn find(call: &Call) -> Result<(&'static Route, Params), Fault> {
    let mut known_path = false;
    for line in lines(&call.segments) {
        known_path = true;
        if line.route.method == call.method {
            return Ok((line.route, line.params(&call.segments)));
        }
    }
    Err(if known_path { Fault::method_not_allowed() } else { Fault::no_such_path() })
}

/// Those that a path fits, in the order of the table.
fn lines(segments: &[String]) -> impl Iterator<Item = &'static Line> {
    BY_LENGTH.get(segments.len()).into_iter().flatten().filter(move |line| line.fits(segments))
}

impl Line {
    fn fits(&self, segments: &[String]) -> bool {
        let fits = |(part, segment): (&Part, &String)| match part {
            Part::Fixed(word) => word == segment,
            Part::Named(_) => true,
        };
        self.parts.iter().zip(segments).all(fits)
    }

    fn params(&self, segments: &[String]) -> Params {
        let param = |(part, segment): (&Part, &String)| match part {
            Part::Fixed(_) => None,
            Part::Named(name) => Some((*name, segment.clone())),
        };
        self.parts.iter().zip(segments).filter_map(param).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_segment_wins_over_a_parameter() {
        let first = |path: &str| {
            let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
            lines(&segments).map(|line| line.route).find(|route| route.method == Verb::Get)
        };
        assert_eq!(first("accounts/a/vmboxes/messages").unwrap().path, "accounts/{account}/vmboxes/messages");
        assert_eq!(first("accounts/a/vmboxes/b").unwrap().path, "accounts/{account}/vmboxes/{box}");
        assert!(first("accounts/a/nothing").is_none());
    }

    #[test]
    fn every_route_below_an_account_declares_who_may() {
        for route in ROUTES.iter().filter(|route| route.path.starts_with("accounts/{account}")) {
            let of_nobody = matches!(route.access, Access::Open | Access::Authenticated | Access::AnyAdmin);
            assert!(!of_nobody, "{}", route.path);
            assert!(route.access != Access::Own || route.path.contains("{user}"), "{}", route.path);
        }
        for route in ROUTES {
            let for_switches = route.path.starts_with(ingest::PATH);
            assert_eq!(matches!(route.access, Access::Ingest(_)), for_switches, "{}", route.path);
        }
    }
}
