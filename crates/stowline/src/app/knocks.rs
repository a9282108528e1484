//! Who asks for storage without a token that holds: noted in the audit trail of the account that they name, and never so that they notice it.
//!
//! An answer must not tell whether an account exists, not by its time either. So what is noted is looked up and written after the answer, by a task of
//! its own. And nobody who has no account may make the store grow: of all that knocks at one account within ten minutes the first is noted, whoever
//! it was. What was noted is remembered in a table of fixed size; who is crowded out of it is looked up in vain, and finds the same entry there.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use plan::AccountId;

use super::{App, audit};
use crate::time;

/// Of these many seconds the first is noted.
pub(super) const SPAN: i64 = 600;
/// How many are remembered.
const PLACES: usize = 4096;

/// A request that was answered 401.
#[derive(Debug, Clone)]
pub struct Knock {
    /// The verb.
    pub verb: &'static str,
    /// The path below `/v2/`.
    pub path: String,
    /// The account in it, whether there is one or not; none for the system.
    pub account: Option<AccountId>,
    /// Where it comes from.
    pub from: IpAddr,
    /// Names the request.
    pub request_id: String,
}

/// What was noted lately.
#[derive(Debug)]
pub struct Knocks {
    names: RandomState,
    /// At the place of each account: which one, and its span of time.
    noted: Mutex<Vec<(u64, i64)>>,
}

impl Default for Knocks {
    fn default() -> Self {
        Self { names: RandomState::new(), noted: Mutex::new(vec![(0, i64::MIN); PLACES]) }
    }
}

impl Knocks {
    /// True unless one at the same account within the same span was just noted.
    fn first(&self, account: Option<&AccountId>, span: i64) -> bool {
        let name = self.names.hash_one(account.map(AsRef::<str>::as_ref));
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let at = usize::try_from(name % PLACES as u64).unwrap_or_default();
        noted.get_mut(at).is_some_and(|place| std::mem::replace(place, (name, span)) != (name, span))
    }
}

/// The verb of a request and what of storage it is about: the account in its path, or the system. Nothing when it is about something else.
pub fn about_storage(method: &Method, path: &str) -> Option<(&'static str, String, Option<AccountId>)> {
    let path = path.trim_matches('/').strip_prefix("v2/")?;
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let account = match segments.next()? {
        "storage" => None,
        "accounts" => {
            let account = AccountId::parse(segments.next()?).ok()?;
            segments.any(|segment| segment == "storage").then_some(Some(account))?
        }
        _ => return None,
    };
    let verb = crate::api::Verb::of(method)?.word();
    Some((verb, path.to_owned(), account))
}

/// Notes it, soon.
pub fn note(app: &Arc<App>, knock: Knock) {
    let span = time::now().div_euclid(SPAN);
    if app.knocks.first(knock.account.as_ref(), span) {
        let app = app.clone();
        tokio::spawn(async move { audit::knocked(&app, &knock, span).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_span_is_noted_and_a_flood_of_names_silences_nobody() {
        let knocks = Knocks::default();
        let account = |n: u32| AccountId::parse(&format!("{n:032x}")).unwrap();
        let one = account(1);
        assert!(knocks.first(Some(&one), 7) && !knocks.first(Some(&one), 7));
        assert!(knocks.first(None, 7) && !knocks.first(None, 7));
        assert!(knocks.first(Some(&one), 8));
        for n in 2..100_000 {
            knocks.first(Some(&account(n)), 8);
        }
        assert!(knocks.first(Some(&account(200_000)), 8));
        assert!(knocks.first(Some(&one), 8), "noted once more rather than not at all: the entry is the same");
    }

    #[test]
    fn storage_is_known_by_its_path() {
        let id = "0".repeat(32);
        let about = |path: &str| about_storage(&Method::GET, path).map(|(_, _, account)| account.is_some());
        assert_eq!(about(&format!("/v2/accounts/{id}/storage")), Some(true));
        assert_eq!(about(&format!("/v2/accounts/{id}/users/{id}/storage/dry_run")), Some(true));
        assert_eq!(about("/v2/storage/plans"), Some(false));
        for other in ["/v2/accounts/short/storage", "/v2/storages", "/healthz", "/v2/accounts"] {
            assert_eq!(about(other), None, "{other}");
        }
        assert_eq!(about(&format!("/v2/accounts/{id}/users")), None);
    }
}
