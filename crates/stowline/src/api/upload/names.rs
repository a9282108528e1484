//! Names of uploaded files: what a client sends is a wish.

use crate::app::{file_names, media_types};
use crate::time;

/// A name that is safe in a path, a header and a log, with an extension: of the `wished` one, or made up.
pub(super) fn of(wished: Option<&str>, content_type: &str) -> String {
    let extension = media_types::extension_of(content_type).unwrap_or_default();
    let name = wished.map(|wished| file_names::harmless(wished, extension)).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| file_names::harmless(&format!("uploaded_file_{}", time::now()), extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_was_wished_or_made_up() {
        assert_eq!(of(Some("hello"), "audio/wav"), "hello.wav");
        for nothing in [None, Some(".."), Some("")] {
            let name = of(nothing, "audio/mpeg");
            assert!(name.starts_with("uploaded_file_6") && name.ends_with(".mp3"), "{name}");
        }
        assert!(of(None, "application/octet-stream").starts_with("uploaded_file_6"));
    }
}
