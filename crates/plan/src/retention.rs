//! How long things are kept: `retention_days` of a class, a type, a range of months or a pattern, below `modb`.
//!
//! What is older is removed (by the program's sweeper, which asks [`Route::retention_days`](crate::Route::retention_days)). Unless somebody says a number
//! of days everything is kept for good; 0 says so where a wider place of the plan, or a level above, says a number. It is merged, locked and explained as
//! any other key.
//!
//! It concerns what lies in months and is of the [`TYPES`]. Elsewhere it would promise what nobody keeps, and is refused. So it is in the document of a
//! user: how long an account keeps its records is not for those to say whom the records are about.

use serde_json::Value;

use crate::document::StorageDocument;
use crate::violations::{Violations, dotted};

/// The types that are removed when they are older than that.
pub const TYPES: [&str; 4] = ["call_recording", "cdr", "fax", "mailbox_message"];

/// The key.
pub(crate) const KEY: &str = "retention_days";
/// The class of the databases that they lie in.
pub(crate) const CLASS: &str = "modb";
/// The most days; the schemas say so too.
const MOST: u64 = 36_500;

/// The number of days that is said. What is none is as if nothing were said.
pub(crate) fn days(said: &Value) -> Option<u32> {
    u32::try_from(said.as_u64().filter(|days| *days <= MOST)?).ok()
}

/// Every place of `document` that says how long things are kept and may not.
#[must_use]
pub fn check(document: &StorageDocument, of_user: bool) -> Violations {
    let mut violations = Violations::new();
    for (class, section) in &document.plan.to_json() {
        let mut places = vec![(vec!["plan", class], section)];
        for part in ["types", "range", "regex"] {
            let entries = section.get(part).and_then(Value::as_object).into_iter().flatten();
            places.extend(entries.map(|(key, place)| (vec!["plan", class, part, key], place)));
        }
        for (path, place) in places {
            if place.get(KEY).is_none_or(Value::is_null) {
                continue;
            }
            let Some((code, message)) = fault(class, &path, of_user) else { continue };
            violations.push(&dotted(path.into_iter().chain([KEY])), code, message, []);
        }
    }
    violations
}

fn fault(class: &str, path: &[&str], of_user: bool) -> Option<(&'static str, String)> {
    if of_user {
        return Some(("forbidden", "how long things are kept is not a user's to say, but the account's".to_owned()));
    }
    if class != CLASS {
        return Some(("error", format!("only what lies in months is removed by its age: say it below plan.{CLASS}")));
    }
    match path {
        [_, _, "types", of_type] if !TYPES.contains(of_type) => {
            Some(("error", format!("only these types are removed by their age: {}", TYPES.join(", "))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_user_may_not_say_how_long_things_are_kept() {
        let document = json!({"plan": {"modb": {"retention_days": 0, "types": {"fax": {"retention_days": 1, "connection": "local"}}, "regex": {"a.b": {"retention_days": 1}}}}});
        let document = StorageDocument::from_json(&document).unwrap();
        assert!(check(&document, false).is_empty());
        let refused = check(&document, true);
        for path in
            ["plan.modb.retention_days", "plan.modb.types.fax.retention_days", "plan.modb.regex.a%2Eb.retention_days"]
        {
            assert!(refused.get(path, "forbidden").is_some(), "{path}: {refused:?}");
        }
        assert_eq!(refused.len(), 3);
    }

    #[test]
    fn days_are_a_number_of_days() {
        for (said, expected) in [
            (json!(0), Some(0)),
            (json!(36_500), Some(36_500)),
            (json!(36_501), None),
            (json!(-1), None),
            (json!("1"), None),
            (json!(1.5), None),
        ] {
            assert_eq!(days(&said), expected, "{said}");
        }
    }
}
