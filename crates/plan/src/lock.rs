//! Locks: what a level says of a key, and no lower level may change.
//!
//! A document lists them in `locks`, as dotted paths: `plan.modb.types.call_recording.attachments.handler`, `plan.modb.attachments`, `plan.modb`,
//! `plan`, or `plan_id`. A dot within a key is written `%2E`, as in the path of a fault.
//!
//! * What the levels down to the locking one say of the key is final, even where they say nothing: then the default is. What lower levels say of it
//!   is passed over, whether it was there before the lock or not.
//! * A lock of a class holds for every type of it: who locks `plan.modb.attachments.handler` locks it for faxes too.
//! * `range` and `regex` go before types. So whoever locks anything of a class fixes these two with it; lower levels may not add any.
//! * `plan_id`: which plan an account links to is changed only by who stands above the account.

use std::fmt;

use crate::tree::Field;
use crate::violations::dotted;

/// The classes of databases that a plan has sections for.
const CLASSES: [&str; 5] = ["account", "aggregate", "modb", "system", "yodb"];
/// The parts of a section that hold other places.
const PARTS: [&str; 3] = ["types", "range", "regex"];

/// A key that lower levels may not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Which plan an account links to.
    PlanId,
    /// A key of the plan: the keys that lead to it, the class first; all of the plan when there are none.
    Plan(Vec<String>),
}

impl Lock {
    /// Reads a lock.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "plan_id" {
            return Ok(Self::PlanId);
        }
        let mut keys = text.split('.').map(|key| key.replace("%2E", ".").replace("%2e", "."));
        if keys.next().as_deref() != Some("plan") {
            return Err("a lock is plan_id, plan, or a path that begins with plan");
        }
        let mut keys: Vec<String> = keys.collect();
        if keys.iter().any(String::is_empty) {
            return Err("a lock has no empty key");
        }
        if keys.first().is_some_and(|class| !CLASSES.contains(&class.as_str())) {
            return Err("after plan comes account, aggregate, modb, system or yodb");
        }
        // Parameters are one thing: which of them applies depends on all.
        if let Some(params) = keys.iter().position(|key| key == "params") {
            keys.truncate(params + 1);
        }
        Ok(Self::Plan(keys))
    }

    /// Whether it decides a field of a type (or of no type) in a class.
    pub(crate) fn decides(&self, class: &str, key: Option<&str>, field: Field) -> bool {
        let Self::Plan(keys) = self else { return false };
        let Some((own, rest)) = keys.split_first() else { return true };
        if own != class {
            return false;
        }
        match rest.first().map(String::as_str) {
            Some("types") => match rest.get(1) {
                Some(of_type) => key == Some(of_type) && leads_to(rest.get(2..).unwrap_or_default(), field.path()),
                None => key.is_some(),
            },
            Some("range" | "regex") => false,
            _ => leads_to(rest, field.path()),
        }
    }

    /// The only type of a class that it is about.
    pub(crate) fn of_type(&self, class: &str) -> Option<&str> {
        let Self::Plan(keys) = self else { return None };
        match keys.as_slice() {
            [own, part, of_type, ..] if own == class && part == "types" => Some(of_type),
            _ => None,
        }
    }

    /// Whether it fixes which months and databases of a class are exceptions.
    pub(crate) fn fixes_exceptions(&self, class: &str) -> bool {
        match self {
            Self::PlanId => false,
            Self::Plan(keys) => keys.first().is_none_or(|own| own == class),
        }
    }

    /// Whether a lower level may not say anything at this place of a plan; `path` leads there, the class first.
    pub(crate) fn covers(&self, path: &[&str]) -> bool {
        let Self::Plan(keys) = self else { return false };
        let Some((class, within)) = path.split_first() else { return keys.is_empty() };
        if !self.fixes_exceptions(class) {
            return false;
        }
        let rest = keys.get(1..).unwrap_or_default();
        let of_class = rest.first().is_none_or(|key| !PARTS.contains(&key.as_str()));
        match within {
            ["range" | "regex", ..] => true,
            ["types", _, of_type @ ..] if of_class => leads_to(rest, of_type),
            _ => leads_to(rest, within),
        }
    }
}

/// Whether `path` begins with `keys`.
fn leads_to(keys: &[String], path: &[&str]) -> bool {
    keys.len() <= path.len() && keys.iter().zip(path).all(|(key, at)| key == at)
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlanId => f.write_str("plan_id"),
            Self::Plan(keys) => f.write_str(&dotted(std::iter::once("plan").chain(keys.iter().map(String::as_str)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(text: &str) -> Lock {
        Lock::parse(text).unwrap()
    }

    #[test]
    fn a_lock_is_read_and_printed() {
        for text in
            ["plan_id", "plan", "plan.modb", "plan.modb.types.a%2Eb.attachments.handler", "plan.yodb.regex.^x%2E"]
        {
            assert_eq!(lock(text).to_string(), text);
        }
        assert_eq!(lock("plan.modb.attachments.params.folder_path").to_string(), "plan.modb.attachments.params");
        for bad in ["", "attachments", "plan.", "plan.months", "plan.modb..x", "planet", "plan_id.x"] {
            assert!(Lock::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lock_of_a_class_holds_for_its_types_and_exceptions() {
        let handler = lock("plan.modb.attachments.handler");
        for path in [
            &["modb", "attachments", "handler"][..],
            &["modb", "types", "fax", "attachments", "handler"],
            &["modb", "range", "202601-202612", "connection"],
            &["modb", "regex", "x", "attachments", "stub"],
        ] {
            assert!(handler.covers(path), "{path:?}");
        }
        for path in [
            &["modb", "attachments", "stub"][..],
            &["modb", "connection"],
            &["modb", "types", "fax", "connection"],
            &["yodb", "attachments", "handler"],
        ] {
            assert!(!handler.covers(path), "{path:?}");
        }
        assert!(handler.decides("modb", Some("fax"), Field::Handler) && handler.decides("modb", None, Field::Handler));
        assert!(!handler.decides("modb", Some("fax"), Field::Stub) && !handler.decides("yodb", None, Field::Handler));
    }

    #[test]
    fn a_lock_of_a_type_holds_for_that_type() {
        let fax = lock("plan.modb.types.fax.attachments");
        assert!(fax.covers(&["modb", "types", "fax", "attachments", "params", "folder_path"]));
        assert!(!fax.covers(&["modb", "types", "media", "attachments", "handler"]));
        assert!(!fax.covers(&["modb", "attachments", "handler"]), "it says nothing of faxes");
        assert!(fax.decides("modb", Some("fax"), Field::Params));
        assert!(!fax.decides("modb", Some("fax"), Field::Connection) && !fax.decides("modb", None, Field::Params));
        assert!(lock("plan").covers(&["yodb", "connection"]) && lock("plan").decides("yodb", None, Field::Connection));
        assert!(lock("plan.modb.types").covers(&["modb", "types", "fax", "connection"]));
        assert!(lock("plan.modb.types").decides("modb", Some("fax"), Field::Connection));
    }
}
