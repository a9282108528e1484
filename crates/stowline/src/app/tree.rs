//! The tree of accounts: who is above and below an account, and who is its reseller.
//!
//! What reaches several accounts is undertaken: first a note of it, durable, then the steps, each of which may be done twice, then the note goes. A
//! start finishes what its notes name. The tree changes one step after the other; whoever makes, promotes or deletes an account takes a turn.

use connections::{Draft, ErrorKind, Query};
use plan::{AccountId, Database, DocId};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, MutexGuard};

use super::accounts::{self, Account};
use super::storage_documents::Scope;
use super::{App, Error};

const NOTE: &str = "undertaking";

/// Lets one change of the tree happen at a time.
#[derive(Debug, Default)]
pub struct Tree {
    turn: Mutex<()>,
}

/// The right to change the tree, until it is dropped.
pub type Turn<'a> = MutexGuard<'a, ()>;

impl Tree {
    /// Waits for a turn.
    pub async fn turn(&self) -> Turn<'_> {
        self.turn.lock().await
    }
}

/// What reaches several accounts or documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undertaking {
    /// An account is deleted, with what belongs to it.
    Remove,
    /// An account becomes a reseller, and the accounts below it learn that.
    Promote,
    /// It is none any more.
    Demote,
}

impl Undertaking {
    const ALL: [Self; 3] = [Self::Remove, Self::Promote, Self::Demote];

    fn word(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Promote => "promote",
            Self::Demote => "demote",
        }
    }

    fn note(self, account: &AccountId) -> Result<DocId, Error> {
        DocId::parse(&format!("{}-{account}", self.word())).map_err(|error| Error::internal("making a note", error))
    }

    async fn carry_out(self, app: &App, account: &AccountId) -> Result<(), Error> {
        match self {
            Self::Remove => accounts::erase(app, account).await,
            Self::Promote => hand_down(app, account, true).await,
            Self::Demote => hand_down(app, account, false).await,
        }
    }
}

fn notes() -> Database {
    Database::Named("undertakings".into())
}

/// Does it, and has it finished by the next start should this one end before.
pub(super) async fn finishing(app: &App, _: &Turn<'_>, what: Undertaking, account: &AccountId) -> Result<(), Error> {
    let note = what.note(account)?;
    let body =
        Map::from_iter([("account_id".to_owned(), account.as_ref().into()), ("what".into(), what.word().into())]);
    match app.documents.create(&notes(), &note, Draft { doc_type: NOTE.into(), body, ..Draft::default() }).await {
        Err(error) if error.kind() != ErrorKind::Conflict => return Err(error.into()),
        _ => what.carry_out(app, account).await?,
    }
    Ok(app.documents.remove(&notes(), &note, None).await?)
}

/// Finishes what an earlier run undertook.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn finish(app: &App) -> Result<(), Error> {
    let turn = app.tree.turn().await;
    let page = app.documents.list(Query::new(notes(), NOTE)).await?;
    for (_, note) in page.documents {
        let what = Undertaking::ALL.into_iter().find(|what| note.text("what") == Some(what.word()));
        let account = note.text("account_id").and_then(|id| AccountId::parse(id).ok());
        let (Some(what), Some(account)) = (what, account) else { continue };
        tracing::info!(account.id = %account, what = what.word(), "finishing what was begun before the stop");
        finishing(app, &turn, what, &account).await?;
    }
    Ok(())
}

/// Makes an account a reseller, or no reseller any more. The accounts below it belong to the nearest reseller above them.
///
/// # Errors
/// [`Error::Invalid`] for the master, which always is one; [`Error::Unavailable`].
pub async fn set_reseller(app: &App, account: &Account, reseller: bool) -> Result<Account, Error> {
    if account.is_master() {
        return Err(Error::invalid("account", "forbidden", "the master account is a reseller and stays one"));
    }
    let turn = app.tree.turn().await;
    let what = if reseller { Undertaking::Promote } else { Undertaking::Demote };
    finishing(app, &turn, what, &account.id).await?;
    accounts::get(app, &account.id).await
}

/// Makes an account a reseller or none, and tells the accounts below whom they belong to.
async fn hand_down(app: &App, id: &AccountId, reseller: bool) -> Result<(), Error> {
    if accounts::find(app, id).await?.is_none() {
        return Ok(());
    }
    let marks = Map::from_iter([("pvt_reseller".to_owned(), Value::Bool(reseller))]);
    let mut above = vec![accounts::mark(app, id, marks).await?];
    while let Some(account) = above.pop() {
        let Some(reseller) = account.reseller_of_children() else { continue };
        for child in accounts::children(app, &account.id).await? {
            if child.reseller_id().as_ref() == Some(&reseller) && !child.is_reseller() {
                above.push(child);
                continue;
            }
            let marks = Map::from_iter([("pvt_reseller_id".to_owned(), Value::from(reseller.as_ref()))]);
            let child = accounts::mark(app, &child.id, marks).await?;
            // Below another reseller nothing changes.
            if !child.is_reseller() {
                above.push(child);
            }
        }
    }
    // What they inherit has changed, from here on for everybody.
    app.dataplans.forget(&Scope::System);
    Ok(())
}

/// All accounts below one, in no order.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn descendants(app: &App, account: &AccountId) -> Result<Vec<Account>, Error> {
    let mut found = accounts::children(app, account).await?;
    let mut next = 0;
    while let Some(id) = found.get(next).map(|account| account.id.clone()) {
        found.extend(accounts::children(app, &id).await?);
        next += 1;
    }
    Ok(found)
}

/// The accounts above one, the highest first, beginning with `from`: who is further up is nobody's business there.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn ancestors(app: &App, account: &Account, from: &AccountId) -> Result<Vec<Account>, Error> {
    let mut found = Vec::new();
    for id in account.ancestors().iter().skip_while(|id| *id != from) {
        found.extend(accounts::find(app, id).await?);
    }
    Ok(found)
}

/// The accounts beside one, itself included: those below the same account.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn siblings(app: &App, account: &Account) -> Result<Vec<Account>, Error> {
    match account.ancestors().last() {
        Some(parent) => accounts::children(app, parent).await,
        None => Ok(vec![account.clone()]),
    }
}
