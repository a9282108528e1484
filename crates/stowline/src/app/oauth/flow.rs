//! A person's way to the provider and back.
//!
//! Whoever may change the storage of an account begins: an address at the provider is made, with a *state* that names the beginning. The provider
//! sends the person's browser back with the state and a code, to an address where anybody may knock; so the state alone is believed. It is random, is
//! kept as a digest, is good once and for a few minutes, and stands for all that was decided at the beginning: whose consent it will be, for which
//! application, by whom. Who began must still be allowed to when it ends, and the session in which they did must still last; where their browser
//! began, it must be the same one that comes back (`binding`). The code is worthless without the verifier (PKCE), which never left.

use outbound::Secret;
use outbound::oauth::{Pkce, Proof, Refusal, ask};
use plan::{AccountId, DocId, UserId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::consents::{self, Consent, Given};
use super::providers::{Asking, Provider, listed as scopes_of};
use super::{OWNER, Owner, apps, binding, get, of, owner_of, system_auth};
use crate::app::audit::{self, Deed, End};
use crate::app::auth::{Behind, Caller};
use crate::app::users::{self, User};
use crate::app::{App, Error, accounts};
use crate::time;
use connections::{Document, Draft, ErrorKind, Query};

pub(super) const TYPE: &str = "oauth_beginning";
const VERIFIER: &str = "pvt_verifier";
/// Where people come back to, below the address of the API.
pub const CALLBACK: &str = "/v2/storage/oauth/callback";
/// Beginnings that were never ended and are cleared away with each new one.
const CLEARED: usize = 200;

/// What somebody wants a consent for.
#[derive(Debug)]
pub struct Wish {
    /// Whose drives.
    pub provider: Provider,
    /// For which kind of handler.
    pub handler: Option<String>,
    /// For which application; the nearest one without.
    pub app_id: Option<String>,
    /// The consent that is to be given again; a new one without.
    pub oauth_doc_id: Option<String>,
    /// What a new one is called.
    pub name: Option<String>,
    /// The token that was shown, if it was one.
    pub token: Option<String>,
    /// Whether a browser asks, which is to be sent to the provider and to be the one that comes back.
    pub browser: bool,
}

/// A consent that is under way.
#[derive(Debug)]
pub struct Begun {
    /// What the person has to open.
    pub url: String,
    /// As it was registered with the provider.
    pub redirect_uri: String,
    /// The application.
    pub app_id: DocId,
    /// What access is asked for.
    pub scopes: Vec<String>,
    /// How long that is good for, in seconds.
    pub expires_in: u64,
    /// What a browser is to show when it comes back.
    pub cookie: Option<String>,
}

/// Why nothing came of it. None of it repeats what was sent.
#[derive(Debug)]
pub enum Failed {
    /// Nobody began this, or it was ended before.
    Unknown,
    /// It took too long.
    Expired,
    /// Who began it may not any more.
    Forbidden,
    /// Who began it has ended their session since.
    LoggedOut,
    /// It was begun in another browser.
    OtherBrowser,
    /// The person said no.
    Declined(Provider),
    /// The provider refused, with this word.
    Refused(Provider, Option<String>),
    /// The provider could not be reached.
    Lost(Provider),
    /// Less was given than is needed.
    Withheld(Provider, Vec<String>),
    /// No refresh token came.
    NotForLong(Provider),
    /// The consent that was to be given again was removed meanwhile.
    Gone,
    /// A fault on our side.
    Ours(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// Where providers send people back to.
pub fn redirect_uri(app: &App) -> String {
    format!("{}{CALLBACK}", app.config.api.public_url.trim_end_matches('/'))
}

fn named(state: &str) -> Result<DocId, Error> {
    let digest = hex::encode(&Sha256::digest(state)[..16]);
    DocId::parse(&digest).map_err(|error| Error::internal("making an id", error))
}

fn place(id: &DocId) -> String {
    format!("oauth_beginning {id} verifier")
}

/// Begins.
///
/// # Errors
/// [`Error::Invalid`] when there is no such application, [`Error::NotFound`] for a consent that the owner has not, [`Error::Unavailable`].
pub async fn begin(app: &App, owner: &Owner, caller: &Caller, wish: Wish) -> Result<Begun, Error> {
    let again = match &wish.oauth_doc_id {
        None => None,
        Some(id) => Some(get::<Consent>(app, owner, id).await?),
    };
    if again.as_ref().is_some_and(|again| again.provider != wish.provider) {
        return Err(Error::invalid("oauth_doc_id", "invalid", "this consent is for another provider"));
    }
    if app.config.oauth.same_browser && !wish.browser {
        let message = "a consent is given here in the browser that begins: open this address in it, with redirect=true";
        return Err(Error::invalid("redirect", "required", message));
    }
    let Some(usual) = wish.provider.scopes(wish.handler.as_deref()) else {
        return Err(Error::invalid("handler", "invalid", format!("{} has no such handler", wish.provider.title())));
    };
    let application = choose(app, owner, &wish, again.as_ref()).await?;
    let scopes = Some(application.scopes()).filter(|scopes| !scopes.is_empty());
    let scopes = scopes.unwrap_or_else(|| usual.iter().map(|scope| (*scope).to_owned()).collect());
    let state = hex::encode(rand::random::<[u8; 32]>());
    let pkce = Pkce::new().map_err(|error| Error::internal("making a secret", error))?;
    let redirect_uri = redirect_uri(app);
    let url = wish.provider.consent_url(
        &app.config.oauth,
        &Asking {
            client_id: application.client_id(),
            tenant: application.tenant(),
            redirect_uri: &redirect_uri,
            scopes: &scopes,
            state: &state,
            pkce: &pkce,
        },
    );
    let url = url.map_err(|error| Error::internal("making an address to consent at", error))?;
    clear(app).await?;
    let id = named(&state)?;
    let body = json!({
        "app_id": application.id.as_ref(), "scopes": scopes, "redirect_uri": redirect_uri, "name": wish.name,
        "oauth_doc_id": again.map(|again| again.id.to_string()), "by": consents::by(caller),
        VERIFIER: app.keys.seal(&place(&id), &pkce.verifier.reveal().into())?, OWNER: owner.place(),
        "pvt_created": time::now(),
    });
    let Value::Object(mut body) = body else { return Err(Error::NotFound(id.to_string())) };
    binding::to_session(app, caller, wish.token.as_deref(), &mut body).await?;
    let cookie = wish.browser.then(|| binding::to_browser(app, &id, &mut body));
    let parent = Some(owner.shelf());
    let draft = Draft { doc_type: TYPE.into(), parent, at: time::now(), body, ..Draft::default() };
    app.documents.create(&system_auth(), &id, draft).await?;
    tracing::info!(oauth_app.id = %application.id, owner = %owner.place(), provider = wish.provider.word(), "a consent is asked for");
    let expires_in = app.config.oauth.consent_time.as_secs();
    Ok(Begun { url: url.into(), redirect_uri, app_id: application.id, scopes, expires_in, cookie })
}

/// The application that is meant.
async fn choose(app: &App, owner: &Owner, wish: &Wish, again: Option<&Consent>) -> Result<apps::Application, Error> {
    let provider = wish.provider;
    if let Some(id) = wish.app_id.as_deref().or(again.map(Consent::app_id)) {
        let found = consents::offered(app, owner, id).await?;
        if found.provider != provider {
            let message = format!("this application is registered with {}", found.provider.title());
            return Err(Error::invalid("app_id", "invalid", message));
        }
        return Ok(found);
    }
    let mut offered = apps::offered(app, owner).await?;
    offered.retain(|found| found.provider == provider);
    let Some(nearest) = offered.first().map(|first| first.owner.clone()) else {
        let message =
            format!("no application is registered with {}: an operator does, see docs/oauth.md", provider.title());
        return Err(Error::invalid("app_id", "required", message));
    };
    offered.retain(|found| found.owner == nearest);
    match (offered.pop(), offered.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(Error::invalid("app_id", "required", "there are several applications: say which one")),
    }
}

/// Clears beginnings away that nobody ended in time.
async fn clear(app: &App) -> Result<(), Error> {
    let latest = time::now().saturating_sub_unsigned(app.config.oauth.consent_time.as_secs() * 2);
    let query = Query { to: Some(latest), limit: CLEARED, ..Query::new(system_auth(), TYPE) };
    for (_, document) in app.documents.list(query).await?.documents {
        match app.documents.remove(&system_auth(), &document.id, None).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// What a browser comes back with.
#[derive(Debug)]
pub struct Return<'a> {
    /// What names the beginning.
    pub state: &'a str,
    /// The code that the provider sent along, or the word with which it refused.
    pub code: Result<Secret, &'a str>,
    /// The browser's cookies.
    pub cookies: &'a str,
    /// The request's id.
    pub request_id: &'a str,
}

/// Ends what was begun.
///
/// # Errors
/// [`Failed`].
pub async fn finish(app: &App, back: Return<'_>) -> Result<Consent, Failed> {
    let id = named(back.state)?;
    let found = app.documents.get(&system_auth(), &id).await.map_err(Error::from)?;
    let beginning = found.filter(|found| found.doc_type == TYPE).ok_or(Failed::Unknown)?;
    // Whoever takes it away is the one who ends it: a second one finds nothing.
    match app.documents.remove(&system_auth(), &id, Some(&beginning.revision)).await {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => return Err(Failed::Unknown),
        Err(error) => return Err(Failed::Ours(error.into())),
    }
    if !binding::is_in_browser(&beginning, back.cookies) {
        return Err(Failed::OtherBrowser);
    }
    let begun = Beginning::read(app, &beginning).await?;
    let caller = begun.caller(app).await?;
    if !binding::is_in_session(app, &caller, &beginning) {
        return Err(Failed::LoggedOut);
    }
    let deed = Deed {
        verb: "GET",
        path: CALLBACK.trim_start_matches("/v2/").to_owned(),
        account: begun.owner.account().cloned(),
        request_id: back.request_id.to_owned(),
        paths: begun.again.iter().map(|id| format!("oauth_doc_id.{id}")).collect(),
    };
    let entry = audit::begin(app, &deed, &caller).await?;
    let outcome = begun.finish(app, back.code, &caller).await;
    let (status, message, revision) = match &outcome {
        Ok(consent) => (200, None, Some(consent.document.revision.to_string())),
        Err(_) => (400, Some("consent_failed"), None),
    };
    audit::end(app, entry, End { status, message, faults: Value::Null, revision, note: None }).await;
    outcome
}

/// What was decided at the beginning.
struct Beginning {
    owner: Owner,
    app: apps::Application,
    again: Option<String>,
    name: Option<String>,
    scopes: Vec<String>,
    redirect_uri: String,
    verifier: Secret,
    by: Value,
}

impl Beginning {
    async fn read(app: &App, document: &Document) -> Result<Self, Failed> {
        let text = |name: &str| document.text(name).map(str::to_owned);
        let owner = owner_of(document).ok_or(Failed::Unknown)?;
        let sealed = document.body.get(VERIFIER).cloned().unwrap_or_default();
        let verifier = app.keys.open_sealed(&place(&document.id), &sealed).map_err(Error::from)?;
        let since = document.body.get("pvt_created").and_then(Value::as_i64).unwrap_or_default();
        let longest = i64::try_from(app.config.oauth.consent_time.as_secs()).unwrap_or(i64::MAX);
        if time::now().saturating_sub(since) > longest {
            return Err(Failed::Expired);
        }
        let app_id = text("app_id").unwrap_or_default();
        let offered = apps::offered(app, &owner).await?;
        let application = offered.into_iter().find(|found| found.id.as_ref() == app_id).ok_or(Failed::Unknown)?;
        Ok(Self {
            owner,
            app: application,
            again: text("oauth_doc_id"),
            name: text("name"),
            scopes: scopes_of(document.body.get("scopes")),
            redirect_uri: text("redirect_uri").unwrap_or_default(),
            verifier: Secret::new(verifier.as_str().unwrap_or_default()),
            by: document.body.get("by").cloned().unwrap_or_default(),
        })
    }

    /// Who began, as they are now: they must still be allowed to.
    async fn caller(&self, app: &App) -> Result<Caller, Failed> {
        let text = |name: &str| self.by.get(name).and_then(Value::as_str);
        let account = text("account_id").and_then(|id| AccountId::parse(id).ok()).ok_or(Failed::Forbidden)?;
        let account = accounts::find(app, &account).await?.filter(accounts::Account::enabled);
        let account = account.ok_or(Failed::Forbidden)?;
        let user = match text("user_id") {
            None => None,
            Some(id) => {
                let id = UserId::parse(id).map_err(|_| Failed::Forbidden)?;
                let user = users::find(app, &account.id, &id).await?.filter(User::enabled);
                Some(user.ok_or(Failed::Forbidden)?)
            }
        };
        let caller = Caller { account, user, behind: self.behind() };
        let may = match &self.owner {
            Owner::System => caller.is_super_admin(),
            Owner::Account(id) | Owner::User(id, _) => {
                let account = accounts::find(app, id).await?.ok_or(Failed::Forbidden)?;
                let own = matches!(&self.owner, Owner::User(_, user) if caller.is_user(&account, user.as_ref()));
                own || caller.administers_storage(&account)
            }
        };
        if may { Ok(caller) } else { Err(Failed::Forbidden) }
    }

    /// Who acted for them at the beginning.
    fn behind(&self) -> Option<Box<Behind>> {
        let behind = self.by.get("behind")?;
        let text = |name: &str| behind.get(name).and_then(Value::as_str);
        let account = AccountId::parse(text("account_id")?).ok()?;
        Some(Box::new(Behind { account, user: text("user_id").and_then(|id| UserId::parse(id).ok()) }))
    }

    async fn finish(self, app: &App, code: Result<Secret, &str>, caller: &Caller) -> Result<Consent, Failed> {
        let provider = self.app.provider;
        let again = match &self.again {
            None => None,
            Some(id) => Some(of::<Consent>(app, &self.owner, id).await?.ok_or(Failed::Gone)?),
        };
        let code = code.map_err(|word| match word {
            "access_denied" | "consent_required" => Failed::Declined(provider),
            word => Failed::Refused(provider, Some(word.to_owned()).filter(|word| is_word(word))),
        })?;
        let endpoint = self.app.endpoint(&app.keys, &app.config.oauth)?;
        let proof = Proof::Code { code: &code, verifier: &self.verifier, redirect_uri: &self.redirect_uri };
        let answered = ask(app.grants.client(), &endpoint, proof).await.map_err(|error| {
            tracing::warn!(provider = provider.word(), error = %crate::api::error::chain(&error), "a code could not be exchanged");
            Failed::Lost(provider)
        })?;
        let granted = answered.map_err(|refusal| refused(provider, &refusal))?;
        let withheld = provider.withheld(&self.scopes, granted.scope.as_deref());
        if !withheld.is_empty() {
            return Err(Failed::Withheld(provider, withheld));
        }
        let refresh_token = granted.refresh_token.ok_or(Failed::NotForLong(provider))?;
        let name = self.name.or_else(|| again.as_ref()?.document.text("name").map(str::to_owned));
        let by = consents::by(caller);
        let given = Given { app: self.app, refresh_token, scopes: self.scopes, name, by };
        Ok(match again {
            Some(consent) => consents::renew(app, &consent, given).await?,
            None => consents::add(app, &self.owner, given).await?,
        })
    }
}

fn refused(provider: Provider, refusal: &Refusal) -> Failed {
    let code = refusal.code.clone().filter(|word| is_word(word));
    tracing::warn!(
        provider = provider.word(),
        http.status = refusal.status.as_u16(),
        error.code = code,
        "a code was refused"
    );
    Failed::Refused(provider, code)
}

/// What may be shown of a provider's word for a failure.
fn is_word(word: &str) -> bool {
    !word.is_empty() && word.len() <= 60 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
