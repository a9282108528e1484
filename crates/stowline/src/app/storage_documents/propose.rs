//! A change that is only asked about.

use plan::Violations;
use serde_json::{Map, Value};

use super::{Scope, Wish, accept, find, patched, verify};
use crate::app::{App, Error, secrets};

/// What a document would become, and what is wrong with it.
pub(crate) struct Proposal {
    pub before: Map<String, Value>,
    pub after: Map<String, Value>,
    /// There is none yet.
    pub creates: bool,
    /// The entries that are not known to work were tried.
    pub probed: bool,
    pub violations: Violations,
}

/// What would become of the scope's document; its changed entries are tried only if asked, and nothing is written.
pub(crate) async fn propose(
    app: &App,
    scope: &Scope,
    data: Value,
    patch: bool,
    probe: bool,
    wish: &Wish,
) -> Result<Proposal, Error> {
    let stored = find(app, scope).await?;
    let data = match stored.as_ref().filter(|_| patch) {
        Some(stored) => patched(app, stored, &data)?,
        None => data,
    };
    let before = stored.as_ref().map(|stored| stored.public.clone()).unwrap_or_default();
    let mut after = match &data {
        Value::Object(fields) => fields.clone(),
        _ => return Err(Error::invalid("data", "type", "data must be an object")),
    };
    // Masked values stand for those in force; where they do not, that is among the violations.
    let _ = secrets::unmask(&mut after, &before);
    let mut proposal =
        Proposal { before, after, creates: stored.is_none(), probed: false, violations: Violations::default() };
    match accept::accept(app, scope, data, stored.as_ref(), wish.from_above).await {
        Ok(document) => {
            if probe {
                proposal.probed = true;
                let tried = verify::verify(app, scope, &document, stored.as_ref(), wish).await;
                proposal.violations = violations(tried.map(drop))?;
            }
            proposal.after = document;
        }
        Err(error) => proposal.violations = violations(Err(error))?,
    }
    Ok(proposal)
}

fn violations(outcome: Result<(), Error>) -> Result<Violations, Error> {
    match outcome {
        Ok(()) => Ok(Violations::default()),
        Err(Error::Invalid(violations)) => Ok(violations),
        Err(other) => Err(other),
    }
}
