//! Names of files as strangers send them: wishes, until they are made harmless.

use super::media_types;

/// The longest name, in characters.
const LONGEST: usize = 120;

/// A name that is safe in a path, a header and a log: the last part of the `wished` one, with an extension. Empty when nothing is left of it.
pub fn harmless(wished: &str, extension: &str) -> String {
    let name = sanitised(wished);
    match media_types::extension_in(&name) {
        None if !name.is_empty() && !extension.is_empty() => format!("{}.{extension}", name.trim_end_matches('.')),
        _ => name,
    }
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

/// `attachment; filename=…` with a name of any characters, as a header may say it.
pub fn disposition(kind: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '_' | '.');
    if name.chars().all(plain) {
        return format!("{kind}; filename={name}");
    }
    let ascii: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let exact = percent_encoding::utf8_percent_encode(name, UNSAFE);
    format!("{kind}; filename={ascii}; filename*=UTF-8''{exact}")
}

/// What may not stand in an extended parameter of a header as it is.
const UNSAFE: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_harmless_and_get_an_extension() {
        for (wished, wanted) in [
            ("hello.mp3", "hello.mp3"),
            ("hello", "hello.wav"),
            ("../../etc/passwd", "passwd.wav"),
            ("C:\\temp\\a b\"\r\n.wav", "a_b___.wav"),
            ("..", ""),
            ("", ""),
            ("größe.WAV", "größe.WAV"),
        ] {
            assert_eq!(harmless(wished, "wav"), wanted, "{wished:?}");
        }
        let long = harmless(&format!("{}.wav", "x".repeat(500)), "wav");
        assert!(long.ends_with("x.wav") && long.len() <= LONGEST, "{long}");
    }

    #[test]
    fn a_header_says_any_name() {
        assert_eq!(disposition("inline", "+49-30_1.wav"), "inline; filename=+49-30_1.wav");
        assert_eq!(
            disposition("attachment", "grüße \"x\".wav"),
            "attachment; filename=gr__e__x_.wav; filename*=UTF-8''gr%C3%BC%C3%9Fe%20%22x%22.wav"
        );
    }
}
