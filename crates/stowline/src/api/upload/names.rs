//! Names of uploaded files: what a client sends is a wish.

use crate::app::media_types;
use crate::time;

/// The longest name, in characters.
const LONGEST: usize = 120;

/// A name that is safe in a path, a header and a log: the last part of the `wished` one, with an extension.
pub(super) fn of(wished: Option<&str>, content_type: &str) -> String {
    let name = wished.map(sanitised).filter(|name| !name.is_empty());
    let mut name = name.unwrap_or_else(|| format!("uploaded_file_{}", time::now()));
    if media_types::extension_in(&name).is_none()
        && let Some(extension) = media_types::extension_of(content_type)
    {
        name = format!("{}.{extension}", name.trim_end_matches('.'));
    }
    name
}

fn sanitised(wished: &str) -> String {
    let last = wished.rsplit(['/', '\\']).next().unwrap_or_default();
    let fit = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let name: String = last.chars().map(fit).collect();
    let name = name.trim_matches(|c| matches!(c, '.' | '_'));
    // The end is what tells the type.
    let surplus = name.chars().count().saturating_sub(LONGEST);
    name.chars().skip(surplus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_harmless_and_get_an_extension() {
        for (wished, content_type, wanted) in [
            ("hello.mp3", "audio/wav", "hello.mp3"),
            ("hello", "audio/wav", "hello.wav"),
            ("../../etc/passwd", "audio/mpeg", "passwd.mp3"),
            ("C:\\temp\\a b\"\r\n.wav", "audio/wav", "a_b___.wav"),
            ("..", "audio/wav", "uploaded_file_"),
            ("größe.WAV", "audio/wav", "größe.WAV"),
        ] {
            assert!(
                of(Some(wished), content_type).starts_with(wanted),
                "{wished:?}: {}",
                of(Some(wished), content_type)
            );
        }
        assert!(of(None, "application/octet-stream").starts_with("uploaded_file_6"));
        let long = format!("{}.wav", "x".repeat(500));
        assert!(of(Some(&long), "audio/wav").ends_with("x.wav"));
        assert!(of(Some(&long), "audio/wav").len() <= LONGEST);
    }
}
