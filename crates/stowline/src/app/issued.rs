//! What we say of storage documents and their writers cannot: whose external id goes with a role at Amazon, and that a document is the system's.
//!
//! The external id is an account's, for ever, and follows from its id: nobody chooses it. An entry gets that of the account whose document
//! it stands in, so a tenant that names another's role is refused by that other's trust.

use std::sync::Arc;

use attachments::Issued;
use plan::{HandlerConfig, StorageDocument};

use super::storage_documents::Scope;
use super::{App, Error, accounts};

/// What is said of the documents of a scope.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn of(app: &App, scope: &Scope) -> Result<Issued, Error> {
    let account = match scope {
        Scope::System | Scope::SystemPlan(_) => accounts::master(app).await?.map(|master| master.id),
        Scope::Account(account) | Scope::ResellerPlan(account, _) | Scope::User(account, _) => Some(account.clone()),
    };
    let external_id = format!("stowline-{}", account.as_ref().map_or("system", |account| account.as_ref()));
    Ok(Issued { external_id, system: matches!(scope, Scope::System) })
}

/// An entry with what is said of its document.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn entry(app: &App, scope: &Scope, mut entry: HandlerConfig) -> Result<HandlerConfig, Error> {
    if asks(&entry) {
        of(app, scope).await?.give(&entry.handler, &mut entry.settings);
    }
    Ok(entry)
}

/// A document with what is said of it in its entries.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn document(
    app: &App,
    scope: &Scope,
    mut document: Arc<StorageDocument>,
) -> Result<Arc<StorageDocument>, Error> {
    if document.attachments.values().any(|entry| asks(entry)) {
        let issued = of(app, scope).await?;
        let own = Arc::make_mut(&mut document);
        own.attachments.values_mut().for_each(|entry| {
            let entry = Arc::make_mut(entry);
            issued.give(&entry.handler, &mut entry.settings);
        });
    }
    Ok(document)
}

/// Whether an entry has anything that only we may say, or says it itself.
fn asks(entry: &HandlerConfig) -> bool {
    ["role_arn", "instance_role", "issued"].iter().any(|name| entry.settings.contains_key(*name))
}
