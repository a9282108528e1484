//! Call records: one document for each leg of a call, in the account's month.
//!
//! The time at which the *call* began decides the month of all its legs and so how their ids begin: `YYYYMM-{call id}`. The legs of a call share
//! an `interaction_id`, `{Gregorian seconds of the beginning}-{short key}`; which call a leg belongs to is settled in `cdrs/interaction.rs`. A leg
//! that is recorded again is the same leg: nothing is written, and that is a success.
//!
//! Lists are by the time at which a leg began; those of an owner ask for theirs alone. A leg that began in another month than its call stands at the edge of the call's month.

use std::borrow::Cow;
use std::sync::Arc;

use plan::{AccountId, Database, DocId, Month};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{App, Error, forms, months};
use crate::app::accounts::Account;
use crate::time;
use connections::{Document, Draft, Stored};

mod find;
mod interaction;
mod row;
mod summary;

pub use find::{get, interactions, legs_of, page};
pub use interaction::time_of;
pub use row::{COLUMNS, RESELLER_COLUMNS, row};
pub use summary::summary;

/// The type of its document.
pub const TYPE: &str = "cdr";
/// Space of unique keys: the first recorded leg of a call holds the call's.
const CALL: &str = "call";

/// The record of a leg.
#[derive(Debug, Clone)]
pub struct Leg {
    /// Its id.
    pub id: DocId,
    /// Its document.
    pub document: Document,
}

/// What became of a leg that was to be recorded.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// It, as it is stored.
    pub leg: Leg,
    /// False when it was there already.
    pub new: bool,
}

impl Leg {
    fn read(document: Document) -> Option<Self> {
        let id = document.id.clone();
        (document.doc_type == TYPE && !document.deleted).then_some(Self { id, document })
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.document.body.get(key).and_then(Value::as_i64)
    }

    /// When it began, in Gregorian seconds.
    pub fn start(&self) -> i64 {
        start(&self.document.body).unwrap_or_default()
    }

    /// Where it stands in a list: when it began, at the edge of its month when that was in another one.
    pub fn at(&self) -> i64 {
        self.id.month().map_or_else(|| self.start(), |month| within(month, self.start()))
    }

    /// When it was last written, in Gregorian seconds.
    pub fn modified(&self) -> i64 {
        self.number("pvt_modified").unwrap_or_default()
    }

    /// The user whose leg it is.
    pub fn owner_id(&self) -> Option<&str> {
        owner(&self.document.body)
    }

    /// What the legs of its call have in common.
    pub fn interaction_id(&self) -> &str {
        self.document.text("interaction_id").unwrap_or_default()
    }
}

/// The user whose leg it is, by its body.
fn owner(body: &Map<String, Value>) -> Option<&str> {
    let vars = body.get("custom_channel_vars").and_then(|vars| vars.get("owner_id"));
    [vars, body.get("owner_id")].into_iter().flatten().filter_map(Value::as_str).find(|owner| !owner.is_empty())
}

/// The time at which a leg began, by its body: hangup less duration.
fn start(body: &Map<String, Value>) -> Option<i64> {
    let number = |key: &str| body.get(key).and_then(Value::as_i64);
    Some(number("timestamp")?.saturating_sub(number("duration_seconds").unwrap_or_default()))
}

fn within(month: Month, at: i64) -> i64 {
    let bounds = months::bounds(month);
    at.clamp(bounds.from, bounds.to)
}

/// The longest call id that stands in a document's id as it is.
const LONGEST: usize = 200;

/// The id of a leg of a call that began in `month`. A call id that is too long for an id, or holds what none may hold, stands there cut and with a
/// digest.
///
/// # Errors
/// None in truth: what comes out is an id.
pub fn id_of(month: Month, call_id: &str) -> Result<DocId, Error> {
    let fits = call_id.chars().nth(LONGEST).is_none() && !call_id.chars().any(char::is_control);
    let name: Cow<'_, str> = if fits {
        call_id.into()
    } else {
        let begin: String = call_id.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        format!("{begin}~{}", hex::encode(&Sha256::digest(call_id)[..16])).into()
    };
    DocId::parse(&format!("{month}-{name}")).map_err(|error| Error::internal("making an id", error))
}

/// Records a leg, once. `leg` holds at least `call_id`; `timestamp` (the hangup) is now when it is left out, and which call it belongs to is
/// found out when it does not say.
///
/// # Errors
/// [`Error::Invalid`] by the schema, [`Error::Unavailable`].
pub async fn record(app: &Arc<App>, account: &Account, leg: Map<String, Value>) -> Result<Recorded, Error> {
    let mut body = app.forms.check(&forms::CDR, Value::Object(leg))?;
    body.entry("timestamp").or_insert_with(|| time::now().into());
    let call_id = body.get("call_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let account = account.id.clone();
    let (timestamp, named) = (body.get("timestamp").cloned(), call_id.clone());
    let decide = move |stored: &Stored<'_>| {
        let interaction = interaction::of(stored, &account, &call_id, &body)?;
        let month = months::of("interaction_time", interaction.time)?;
        let (database, id) = (Database::Modb(account.clone(), month), id_of(month, &call_id)?);
        Ok::<_, Error>((database, id, draft(&account, &interaction, month, body)))
    };
    let (document, new) = app.documents.find_or_create(decide).await?;
    if !new && document.body.get("timestamp") != timestamp.as_ref() {
        tracing::info!(document.id = %document.id, call.id = %named, "a leg with this call id is recorded already, hung up at another time");
    }
    let id = document.id.to_string();
    Ok(Recorded { leg: Leg::read(document).ok_or(Error::NotFound(id))?, new })
}

fn draft(
    account: &AccountId,
    interaction: &interaction::Interaction,
    month: Month,
    mut body: Map<String, Value>,
) -> Draft {
    let began = start(&body).unwrap_or(interaction.time);
    let owner = owner(&body).map(str::to_owned);
    body.extend([
        ("interaction_id".to_owned(), Value::from(interaction.id())),
        ("interaction_key".to_owned(), interaction.key.as_str().into()),
        ("interaction_time".to_owned(), interaction.time.into()),
        ("pvt_type".to_owned(), TYPE.into()),
        ("pvt_account_id".to_owned(), account.as_ref().into()),
        ("pvt_created".to_owned(), time::now().into()),
        ("pvt_modified".to_owned(), time::now().into()),
    ]);
    Draft {
        doc_type: TYPE.into(),
        parent: Some(interaction.id()),
        owner,
        at: within(month, began),
        keys: interaction.claims.iter().map(|key| (CALL, key.clone())).collect(),
        body,
        ..Draft::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_call_id_makes_an_id() {
        let month = Month::parse("202611").unwrap();
        let id = |call_id: &str| id_of(month, call_id).unwrap().to_string();
        for plain in ["f3b1@sbc.example", "a/b?c#d%41 \"e\"", "..", "ü", &"x".repeat(LONGEST)] {
            assert_eq!(id(plain), format!("202611-{plain}"));
        }
        let long = "x".repeat(LONGEST + 1);
        for odd in [long.as_str(), "a\nb", "\0", &"ü".repeat(4096)] {
            let made = id(odd);
            assert!(made.starts_with("202611-") && made.contains('~') && made.chars().count() <= 255, "{made}");
            assert_eq!(made, id(odd));
        }
        assert_ne!(id(&format!("{long}a")), id(&format!("{long}b")));
        assert_ne!(id("a\nb"), id("ab"));
    }
}
