//! Which fields of an answer are said: those that the query names (`id,files(id,name)`), or a few.

use axum::body::Body;
use http::Response;
use serde_json::{Map, Value};

use crate::answers::said;
use crate::wire::Error;

/// What is said of a file that nobody asks more about.
const FEW: &str = "kind,id,name,mimeType";

/// The answer, as far as it was asked for.
pub(super) fn said_in(fields: &str, answer: Value) -> Result<Response<Body>, Error> {
    let usual = match answer["kind"].as_str() {
        Some("drive#file") => FEW.to_owned(),
        Some("drive#fileList") => format!("kind,incompleteSearch,nextPageToken,files({FEW})"),
        Some("drive#changeList") => {
            format!("kind,nextPageToken,newStartPageToken,changes(kind,changeType,time,fileId,removed,file({FEW}))")
        }
        _ => "*".to_owned(),
    };
    said(200, &only(&answer, if fields.is_empty() { &usual } else { fields }))
}

fn only(value: &Value, fields: &str) -> Value {
    match value {
        Value::Array(all) => all.iter().map(|one| only(one, fields)).collect(),
        Value::Object(all) => {
            let mut kept = Map::new();
            for field in parts(fields) {
                let (name, inner) = match field.find(['(', '/']) {
                    Some(at) => (&field[..at], field[at + 1..].trim_end_matches(')')),
                    None => (field, "*"),
                };
                if name == "*" {
                    return value.clone();
                }
                kept.extend(all.get(name).map(|value| (name.to_owned(), only(value, inner))));
            }
            kept.into()
        }
        other => other.clone(),
    }
}

/// What stands between the commas that are in no parentheses.
fn parts(fields: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, letter) in fields.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(fields[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(fields[begin..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_asked_for_is_said() {
        let list = json!({"kind": "k", "files": [{"id": "1", "name": "a", "size": "3", "more": {"x": 1, "y": 2}}]});
        assert_eq!(only(&list, "files(id, more/x)"), json!({"files": [{"id": "1", "more": {"x": 1}}]}));
        assert_eq!(only(&list, "kind,files(more(x,y))"), json!({"kind": "k", "files": [{"more": {"x": 1, "y": 2}}]}));
        assert_eq!(only(&list, "*"), list);
    }
}
