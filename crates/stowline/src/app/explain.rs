//! What a plan says, for people: where something goes and who decided it, and what a document would change if it were saved.
//!
//! Nothing here writes, and nothing here shows a setting: handlers are named by id, kind and level.

use std::collections::BTreeSet;
use std::sync::Arc;

use plan::{AccountId, Database, Dataplan, DocType, Layer, Level, Route, StorageDocument};
use serde_json::{Map, Value, json};

use super::storage_documents::{self, Scope, Wish, entries};
use super::{App, Error, dataplans, retention};
use crate::time;

/// Types that are asked about whether a plan speaks of them or not.
const TYPES: [&str; 6] = ["call_recording", "cdr", "fax", "function", "mailbox_message", "media"];

/// A question: a database, a type, an owner.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The name of a database of the account, or one of the words `modb`, `yodb` and `account`; `modb` when it is absent.
    pub database: Option<String>,
    /// The type of the document.
    pub doc_type: Option<String>,
    /// Its owner.
    pub owner: Option<String>,
}

/// The route of what is asked about and, for every field of it, the level that decided it; and the handlers that a plan may refer to.
///
/// # Errors
/// [`Error::Invalid`] by the parameter that cannot be read, [`Error::Unavailable`].
pub async fn explain(app: &App, account: Option<&AccountId>, question: &Question) -> Result<Value, Error> {
    let database = database(account, question.database.as_deref())?;
    let doc_type = question.doc_type.as_deref().filter(|text| !text.is_empty());
    let doc_type = doc_type.map(str::parse::<DocType>).transpose();
    let doc_type = doc_type.map_err(|bad| Error::invalid("doc_type", "invalid", bad.to_string()))?;
    let plan = match account {
        Some(account) => {
            dataplans::of(app, account, question.owner.as_deref().filter(|owner| !owner.is_empty())).await?
        }
        None => dataplans::system(app).await?,
    };
    let explanation = plan.explain(&database, doc_type.as_ref());
    let mut shown =
        serde_json::to_value(&explanation).map_err(|error| Error::internal("writing an explanation", error))?;
    shown["owner"] = question.owner.clone().into();
    shown["layers"] = plan.layers().iter().map(|layer| layer.level.word()).collect::<Vec<_>>().into();
    shown["handlers"] = handlers(&plan);
    Ok(shown)
}

/// The handlers that may be referred to, by id; never a setting of them.
fn handlers(plan: &Dataplan) -> Value {
    let mut all: Vec<_> = plan.handlers().collect();
    all.sort_by_key(|(id, ..)| id.to_string());
    let row = |(id, config, level): &(&plan::HandlerId, &plan::HandlerConfig, Level)| json!({"id": id, "handler": config.handler, "name": config.name, "level": level});
    all.iter().map(row).collect()
}

fn database(account: Option<&AccountId>, named: Option<&str>) -> Result<Database, Error> {
    let named = named.filter(|name| !name.is_empty()).unwrap_or("modb");
    let month = time::month(time::now());
    let of_word = match (account, named, month) {
        (Some(account), "modb", Some(month)) => Some(Database::Modb(account.clone(), month)),
        (Some(account), "yodb", Some(month)) => Some(Database::Yodb(account.clone(), month.year())),
        (Some(account), "account", _) => Some(Database::Account(account.clone())),
        (None, "modb" | "yodb" | "account", _) => {
            return Err(Error::invalid("db", "required", "name a database of the system, such as faxes"));
        }
        _ => None,
    };
    let database = match of_word {
        Some(database) => database,
        None => Database::parse(named).map_err(|bad| Error::invalid("db", "invalid", bad.to_string()))?,
    };
    match (account, database.account()) {
        (Some(own), Some(of)) if own != of => {
            Err(Error::invalid("db", "forbidden", "this is another account's database"))
        }
        (None, Some(_)) => Err(Error::invalid("db", "forbidden", "ask the account whose database this is")),
        _ => Ok(database),
    }
}

/// What a document would change if it were saved: what is wrong with it, its routes before and after by class and type, and which entries would
/// be retired; of an account's, how many documents would be removed for their age. Nothing is written; nothing is tried unless `probe`.
///
/// # Errors
/// [`Error::Unavailable`], [`Error::Invalid`] when `data` is no object.
pub async fn dry_run(
    app: &App,
    scope: &Scope,
    data: Value,
    patch: bool,
    probe: bool,
    wish: &Wish,
) -> Result<Value, Error> {
    let proposal = storage_documents::propose(app, scope, data, patch, probe, wish).await?;
    let violations = &proposal.violations;
    let before = typed(proposal.before.clone());
    let after = typed(proposal.after.clone());
    let mut shown = json!({
        "valid": violations.is_empty(), "probed": proposal.probed, "violations": violations.to_json(),
        "creates": proposal.creates, "retired": leaving(&proposal.before, &proposal.after), "routes": [], "changed": 0,
    });
    if let Some(after) = after {
        let before = before.unwrap_or_default();
        let (old, new) = (laid(app, scope, before.clone()).await?, laid(app, scope, after.clone()).await?);
        let routes = routes(scope, &before, &after, &old, &new);
        shown["changed"] = routes.iter().filter(|row| row["changed"] == true).count().into();
        shown["routes"] = routes.into();
        if let Scope::Account(account) = scope
            && violations.is_empty()
        {
            shown["removes"] = json!(retention::foretell(app, account, &new).await?);
        }
    }
    Ok(shown)
}

fn typed(document: Map<String, Value>) -> Option<StorageDocument> {
    StorageDocument::from_json(&Value::Object(document)).ok()
}

/// The plan of the scope itself with this as its document.
async fn laid(app: &App, scope: &Scope, document: StorageDocument) -> Result<Dataplan, Error> {
    let above = dataplans::above(app, scope, &document).await?;
    Ok(above.with(&[Layer { level: dataplans::level(scope), document: Arc::new(document) }]))
}

fn leaving(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Value> {
    let gone = |(id, entry): (&String, &Value)| {
        let was = super::retirement::destination(id, entry)?;
        let still = after.get("attachments").and_then(|entries| entries.get(id));
        let now = still.and_then(|entry| super::retirement::destination(id, entry));
        (now.as_ref() != Some(&was)).then(|| Value::from(id.as_str()))
    };
    entries(before).filter_map(gone).collect()
}

/// A row for each class and type that either document speaks of, and for the types that everybody has.
fn routes(
    scope: &Scope,
    before: &StorageDocument,
    after: &StorageDocument,
    old: &Dataplan,
    new: &Dataplan,
) -> Vec<Value> {
    // Which account it is does not matter to what a class is routed by; a plan of the system has none.
    let nobody = AccountId::parse("00000000000000000000000000000000").ok();
    let Some((account, month)) = scope.account().cloned().or(nobody).zip(time::month(time::now())) else {
        return Vec::new();
    };
    let classes = [
        ("modb", Database::Modb(account.clone(), month)),
        ("yodb", Database::Yodb(account.clone(), month.year())),
        ("account", Database::Account(account)),
    ];
    let mut rows = Vec::new();
    for (class, database) in classes {
        let mut types: BTreeSet<String> = TYPES.iter().map(|of_type| (*of_type).to_owned()).collect();
        for document in [before, after] {
            let section = document.plan.of(class).unwrap_or_default();
            let said = section.get("types").and_then(Value::as_object);
            types.extend(said.into_iter().flatten().map(|(of_type, _)| of_type.clone()));
        }
        for of_type in types {
            let Ok(doc_type) = of_type.parse::<DocType>() else { continue };
            let (was, is) = (old.route(&database, Some(&doc_type)), new.route(&database, Some(&doc_type)));
            rows.push(json!({
                "class": class, "doc_type": of_type, "changed": was != is, "before": brief(was), "after": brief(is),
            }));
        }
    }
    rows
}

fn brief(route: &Route) -> Value {
    let mut row = json!({"connection": route.connection, "attachment": route.attachment, "dangling": route.dangling});
    if let Some(days) = route.retention_days {
        row["retention_days"] = days.get().into();
    }
    row
}
