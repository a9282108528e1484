//! One fault that a schema finds, before it becomes a violation: what it is called, where it stands, and whether it can be mended.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::types::JsonType;
use serde_json::{Value, json};

use crate::violations::{Violations, dotted};

/// A fault of a value in a document.
pub(super) struct Fault {
    /// The keys that lead to the value, from the root.
    path: Vec<String>,
    code: &'static str,
    message: String,
    extra: Vec<(&'static str, Value)>,
    mending: Mending,
}

/// What can be done about a fault.
enum Mending {
    Nothing,
    /// The value at the path is this, written as a string.
    Convert(Value),
    /// It only sums up others, and goes when they go.
    WithTheOthers,
}

impl Fault {
    /// None of the schemas of an entry fits it.
    pub(super) fn coarse(at: &[&str], shown: Value) -> Self {
        Self {
            path: at.iter().map(|key| (*key).to_owned()).collect(),
            code: "not_one_schema_valid",
            message: "failed to validate".to_owned(),
            extra: vec![("value", shown)],
            mending: Mending::WithTheOthers,
        }
    }

    /// The entry `id` of `attachments` names a handler that nobody knows.
    pub(super) fn unknown_handler<'a>(id: &str, handler: &str, known: impl Iterator<Item = &'a String>) -> Self {
        Self {
            path: ["attachments", id, "handler"].map(str::to_owned).into(),
            code: "enum",
            message: "there is no such handler".to_owned(),
            extra: vec![("target", known.map(String::as_str).collect()), ("value", handler.into())],
            mending: Mending::Nothing,
        }
    }

    /// The faults that an error of the validator stands for. The value validated stands at `at` and is echoed as `shown`.
    pub(super) fn of(error: &ValidationError<'_>, shown: &Value, at: &[&str]) -> Vec<Self> {
        let inner = keys(error.instance_path().as_str());
        let value = inner.iter().try_fold(shown, step).cloned().unwrap_or_default();
        let path: Vec<String> = at.iter().map(|key| (*key).to_owned()).chain(inner).collect();
        if let Kind::AdditionalProperties { unexpected } = error.kind() {
            let fault = |key: &String| Self {
                path: path.iter().chain([key]).cloned().collect(),
                code: "additionalProperties",
                message: "there is no such field here".to_owned(),
                extra: vec![("value", value.get(key).cloned().unwrap_or_default())],
                mending: Mending::Nothing,
            };
            return unexpected.iter().map(fault).collect();
        }
        // Of several ways to be complete the first is the usual one: what it lacks is said.
        if let Kind::AnyOf { context } = error.kind()
            && let Some(usual) = context.first()
            && usual.iter().all(|lack| matches!(lack.kind(), Kind::Required { .. }))
        {
            return usual.iter().flat_map(|lack| Self::of(lack, shown, at)).collect();
        }
        let (code, message, mut extra) = described(error.kind());
        let mut fault = Self { path, code, message, extra: Vec::new(), mending: Mending::Nothing };
        match error.kind() {
            Kind::Required { property } => fault.path.extend(property.as_str().map(str::to_owned)),
            Kind::Type { kind } => {
                fault.mending = converted(error.instance(), kind).map_or(Mending::Nothing, Mending::Convert)
            }
            Kind::MinLength { .. } | Kind::MaxLength { .. } => extra.push(("cause", value.clone())),
            _ => {}
        }
        extra.push(("value", value));
        vec![Self { extra, ..fault }]
    }
}

/// Finds the faults of `document`; mends them when all can be mended and none comes of it; reports the rest.
pub(super) fn settle(document: &mut Value, faults: impl Fn(&Value) -> Vec<Fault>) -> Violations {
    let found = faults(document);
    let hopeless = found.iter().any(|fault| matches!(fault.mending, Mending::Nothing));
    if found.is_empty() || hopeless {
        return report(found);
    }
    let mut mended = document.clone();
    for fault in &found {
        let place = fault.path.iter().try_fold(&mut mended, step_mut);
        if let (Mending::Convert(value), Some(place)) = (&fault.mending, place) {
            *place = value.clone();
        }
    }
    let left = faults(&mended);
    if left.is_empty() {
        *document = mended;
    }
    report(left)
}

fn report(faults: Vec<Fault>) -> Violations {
    let mut violations = Violations::new();
    for fault in faults {
        let path = dotted(fault.path.iter().map(String::as_str));
        // The document as a whole is what a request has under this key.
        let path = if path.is_empty() { "data" } else { &path };
        violations.push(path, fault.code, fault.message, fault.extra);
    }
    violations
}

type Extra = Vec<(&'static str, Value)>;

/// A fault of a value beyond a limit.
fn limit(code: &'static str, target: impl Into<Value>, words: &str) -> (&'static str, String, Extra) {
    let target = target.into();
    (code, format!("{words} {target}"), vec![("target", target)])
}

/// Code, message and what stands beside it.
fn described(kind: &Kind) -> (&'static str, String, Extra) {
    let plain = |code, words: &str| (code, words.to_owned(), Vec::new());
    match kind {
        Kind::Required { .. } => plain("required", "Field is required but missing"),
        Kind::Type { kind } => {
            let types = types(kind).join(", ");
            ("type", format!("it must be of type {types}"), vec![("target", types.into())])
        }
        Kind::Enum { options } => {
            ("enum", "it is none of the values that are known".to_owned(), vec![("target", options.as_ref().clone())])
        }
        Kind::MinLength { limit: target } => limit("minLength", *target, "the fewest characters are"),
        Kind::MaxLength { limit: target } => limit("maxLength", *target, "the most characters are"),
        Kind::Minimum { limit: target } | Kind::ExclusiveMinimum { limit: target } => {
            limit("minimum", target.clone(), "the least is")
        }
        Kind::Maximum { limit: target } | Kind::ExclusiveMaximum { limit: target } => {
            limit("maximum", target.clone(), "the most is")
        }
        Kind::MinItems { limit: target } => limit("minItems", *target, "the fewest items are"),
        Kind::MaxItems { limit: target } => limit("maxItems", *target, "the most items are"),
        Kind::MinProperties { limit: target } => limit("minProperties", *target, "the fewest fields are"),
        Kind::MaxProperties { limit: target } => limit("maxProperties", *target, "the most fields are"),
        Kind::Pattern { pattern } => limit("pattern", pattern.as_str(), "it must match"),
        Kind::UniqueItems => plain("uniqueItems", "an item is there twice"),
        Kind::AdditionalItems { .. } => plain("additionalItems", "there are more items than may be"),
        Kind::Format { format } => {
            ("wrong_format", format!("it is no {format}"), vec![("format", format.as_str().into())])
        }
        Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. } | Kind::AnyOf { .. } => {
            plain("not_one_schema_valid", "failed to validate")
        }
        Kind::Not { .. } | Kind::FalseSchema => plain("forbidden", "it may not be so here"),
        other => ("schema", "it does not fit the schema".to_owned(), vec![("cause", other.keyword().into())]),
    }
}

fn types(kind: &TypeKind) -> Vec<&'static str> {
    match kind {
        TypeKind::Single(of) => vec![of.as_str()],
        TypeKind::Multiple(all) => all.iter().map(JsonType::as_str).collect(),
    }
}

/// What a text says, if it says what is asked for.
fn converted(value: &Value, kind: &TypeKind) -> Option<Value> {
    let text = value.as_str()?;
    types(kind).into_iter().find_map(|wanted| match wanted {
        "boolean" => text.parse::<bool>().ok().map(Value::Bool),
        "integer" => text.parse::<i64>().ok().map(|number| json!(number)),
        "number" => text.parse::<f64>().ok().and_then(|number| number.is_finite().then(|| json!(number))),
        _ => None,
    })
}

/// The keys of a JSON pointer.
fn keys(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).collect()
}

fn step<'a>(value: &'a Value, key: &String) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    }
}

fn step_mut<'a>(value: &'a mut Value, key: &String) -> Option<&'a mut Value> {
    match value {
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        other => other.get_mut(key),
    }
}
