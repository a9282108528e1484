//! What a beginning is bound to: the session that it was begun in and, where a browser began, that browser.
//!
//! A session is what a token stands for: who revokes it, or changes the password or API key that it came from, ends what was begun with it as well.
//! That a token's hour runs out meanwhile ends nothing; a beginning has a time of its own.
//!
//! A browser that we send to the provider carries a secret along in a cookie, and whoever comes back without it ends nothing. An address that is
//! handed to another person can be bound to no browser, since nobody knows whose it will be; `[oauth] same_browser` allows none.

use plan::DocId;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use super::flow::redirect_uri;
use crate::app::auth::Caller;
use crate::app::{App, Error, tokens};
use connections::Document;

const SESSION: &str = "pvt_session";
const BROWSER: &str = "pvt_browser";

/// Binds a beginning to the session of who begins. `token` is what they showed, if it was one.
pub(super) async fn to_session(
    app: &App,
    caller: &Caller,
    token: Option<&str>,
    beginning: &mut Map<String, Value>,
) -> Result<(), Error> {
    beginning.insert(SESSION.into(), tokens::session(app, caller, token).await?);
    Ok(())
}

/// Binds a beginning to the browser that is answered with the cookie that this gives.
pub(super) fn to_browser(app: &App, id: &DocId, beginning: &mut Map<String, Value>) -> String {
    let secret = hex::encode(rand::random::<[u8; 32]>());
    beginning.insert(BROWSER.into(), digest(&secret).into());
    let back = redirect_uri(app);
    let path = Url::parse(&back).map_or_else(|_| "/".to_owned(), |url| url.path().to_owned());
    let secure = if back.starts_with("https:") { "; Secure" } else { "" };
    let seconds = app.config.oauth.consent_time.as_secs();
    format!("{}={secret}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", name(id))
}

/// Whether the session that a beginning is bound to still is one of who began.
pub(super) fn is_in_session(app: &App, caller: &Caller, beginning: &Document) -> bool {
    beginning.body.get(SESSION).is_none_or(|session| tokens::still_lasts(app, caller, session))
}

/// Whether this browser, which shows these cookies, may end a beginning.
pub(super) fn is_in_browser(beginning: &Document, cookies: &str) -> bool {
    let Some(bound) = beginning.text(BROWSER) else { return true };
    let name = name(&beginning.id);
    let mut shown = cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
    shown.any(|(named, secret)| named == name && digest(secret) == bound)
}

/// Each beginning has a cookie of its own, since several may be under way.
fn name(id: &DocId) -> String {
    format!("stowline_consent_{id}")
}

fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}
