//! What a schema cannot see: references to nothing, ids that belong to someone else, parameters that nobody may set.

use crate::dataplan::Dataplan;
use crate::document::StorageDocument;
use crate::violations::Violations;

/// Everything that is wrong with the references of `document`; `inherited` is the plan of the levels above it.
#[must_use]
pub fn references(_document: &StorageDocument, _inherited: Option<&Dataplan>) -> Violations {
    Violations::new()
}
