//! Whether a document may be saved: what was sent becomes one, or all that is wrong with it is said.

use plan::{Dataplan, Layer, Level, Lock, PlanId, StorageDocument, Violations, check, retention};
use serde_json::{Map, Value};

use super::{Scope, Stored};
use crate::app::{App, Error, accounts, dataplans, forms, oauth, secrets};

/// Makes a document of what was sent, or says all that is wrong with it.
pub(super) async fn accept(
    app: &App,
    scope: &Scope,
    data: Value,
    stored: Option<&Stored>,
    from_above: bool,
) -> Result<Map<String, Value>, Error> {
    let Value::Object(mut fields) = data else {
        return Err(Error::invalid("data", "type", "data must be an object"));
    };
    forms::strip_private(&mut fields);
    fields.remove("validate_settings");
    strip_entries(&mut fields);
    let nothing = Map::new();
    let unmasked = secrets::unmask(&mut fields, stored.map_or(&nothing, |stored| &stored.public));
    let mut document = Value::Object(fields);
    let mut violations = app.schemas.validate(&mut document);
    if let Err(Error::Invalid(masked)) = unmasked {
        violations.merge(masked);
    }
    if !violations.is_empty() {
        return Err(Error::Invalid(violations));
    }
    let typed = StorageDocument::from_json(&document).map_err(Error::Invalid)?;
    let before = stored.and_then(|stored| StorageDocument::from_json(&Value::Object(stored.public.clone())).ok());
    let inherited = dataplans::above(app, scope, &typed).await?;
    let mut violations = check::references(&typed, Some(&inherited));
    violations.merge(check::locks(&typed, before.as_ref(), &inherited));
    violations.merge(retention::check(&typed, matches!(scope, Scope::User(..))));
    let was = before.as_ref().and_then(|before| before.plan_id.as_ref());
    held(&inherited, was, typed.plan_id.as_ref(), from_above, &mut violations);
    link(app, scope, &typed, &mut violations).await?;
    let known = |id: &plan::HandlerId| before.as_ref().and_then(|before| before.attachments.get(id));
    let changed = typed.attachments.iter().filter(|(id, entry)| known(id) != Some(*entry));
    let changed = changed.map(|(id, entry)| (id, &**entry));
    oauth::check(app, scope, changed, &mut violations).await?;
    if !violations.is_empty() {
        return Err(Error::Invalid(violations));
    }
    match document {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::invalid("data", "type", "data must be an object")),
    }
}

/// Drops what a client may not say of an entry: private keys, such as a signature that it claims.
fn strip_entries(fields: &mut Map<String, Value>) {
    for section in ["attachments", "connections"] {
        let entries = fields.get_mut(section).and_then(Value::as_object_mut);
        for entry in entries.into_iter().flat_map(|entries| entries.values_mut()) {
            if let Value::Object(entry) = entry {
                entry.retain(|key, _| !key.starts_with('_') && !key.starts_with("pvt_"));
            }
        }
    }
}

/// Only an account links to a plan, and only to its own, its reseller's or the system's.
async fn link(app: &App, scope: &Scope, document: &StorageDocument, violations: &mut Violations) -> Result<(), Error> {
    let Some(id) = &document.plan_id else { return Ok(()) };
    let message = match scope {
        Scope::Account(account) => match accounts::find(app, account).await? {
            Some(account) if accounts_plan(app, &account, id).await? => return Ok(()),
            _ => format!("invalid reference '{id}' to plans"),
        },
        _ => "only the document of an account links to a plan".to_owned(),
    };
    violations.push("plan_id", "error", message, [("value", id.as_ref().into())]);
    Ok(())
}

async fn accounts_plan(app: &App, account: &accounts::Account, id: &plan::PlanId) -> Result<bool, Error> {
    Ok(super::plan_of(app, account, id).await?.is_some())
}

/// A document whose link to a plan is locked is not removed by its own account.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Unavailable`].
pub(super) async fn may_go(app: &App, scope: &Scope, stored: &Stored, from_above: bool) -> Result<(), Error> {
    let Ok(before) = StorageDocument::from_json(&Value::Object(stored.public.clone())) else { return Ok(()) };
    let mut violations = Violations::default();
    if before.plan_id.is_some() {
        let inherited = dataplans::above(app, scope, &before).await?;
        held(&inherited, before.plan_id.as_ref(), None, from_above, &mut violations);
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}

/// Where a level above has locked `plan_id`, it is changed from above the account only.
fn held(
    inherited: &Dataplan,
    before: Option<&PlanId>,
    after: Option<&PlanId>,
    from_above: bool,
    violations: &mut Violations,
) {
    let locks = |layer: &&Layer| layer.level < Level::Plan && layer.document.locks.contains(&Lock::PlanId);
    let Some(layer) = inherited.layers().iter().find(locks).filter(|_| !from_above && before != after) else { return };
    let level = layer.level.word();
    let message = format!("the {level} level has locked plan_id: it is changed by who stands above the account only");
    violations.push("plan_id", "locked", message, [("target", "plan_id".into()), ("cause", level.into())]);
}
