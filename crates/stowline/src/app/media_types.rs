//! Media types and the extensions of files that go with them.
//!
//! The API takes uploads of the types of a [`Group`]; the names of attachments get their extensions from here.

/// What a sender says who does not know.
pub const UNKNOWN: &str = "application/octet-stream";

/// Types and their extension. The first type of an extension is the one that the extension alone stands for.
const KNOWN: &[(&str, &str)] = &[
    ("audio/wav", "wav"),
    ("audio/x-wav", "wav"),
    ("audio/wave", "wav"),
    ("audio/vnd.wave", "wav"),
    ("audio/mpeg", "mp3"),
    ("audio/mp3", "mp3"),
    ("audio/mpeg3", "mp3"),
    ("audio/ogg", "ogg"),
    ("application/ogg", "ogg"),
    ("video/mp4", "mp4"),
    ("audio/mp4", "mp4"),
    ("video/mpeg", "mpeg"),
    ("video/quicktime", "mov"),
    ("video/webm", "webm"),
    ("video/x-flv", "flv"),
    ("video/h264", "h264"),
    ("image/tiff", "tiff"),
    ("image/tiff", "tif"),
    ("application/pdf", "pdf"),
];

/// The types that a place takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Sound, also in video files, and [`UNKNOWN`].
    Sound,
}

impl Group {
    /// True when a type belongs to the group.
    pub fn takes(self, content_type: &str) -> bool {
        let essence = essence(content_type);
        let known = || KNOWN.iter().any(|(known, _)| *known == essence);
        match self {
            Self::Sound => {
                essence == UNKNOWN || ((essence.starts_with("audio/") || essence.starts_with("video/")) && known())
            }
        }
    }
}

/// A type without its parameters, in lower case.
pub fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The extension of a type, without its dot.
pub fn extension_of(content_type: &str) -> Option<&'static str> {
    let essence = essence(content_type);
    KNOWN.iter().find(|(known, _)| *known == essence).map(|(_, extension)| *extension)
}

/// The type of an extension.
pub fn type_of(extension: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(_, known)| known.eq_ignore_ascii_case(extension)).map(|(content_type, _)| *content_type)
}

/// The names under which a client may ask for a type: itself, and those that mean the same.
pub fn names_of(content_type: &str) -> Vec<String> {
    let essence = essence(content_type);
    let same = extension_of(&essence).into_iter().flat_map(|extension| {
        KNOWN.iter().filter(move |(_, known)| *known == extension).map(|(known, _)| (*known).to_owned())
    });
    let others: Vec<String> = same.filter(|name| *name != essence).collect();
    [vec![essence], others].concat()
}

/// The extension that a file name ends with, in lower case: up to eight letters and digits after its last dot.
pub fn extension_in(file_name: &str) -> Option<String> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    let fit =
        !stem.is_empty() && (1..=8).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    fit.then(|| extension.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_taken_and_pictures_are_not() {
        for taken in ["audio/wav", "Audio/X-WAV; rate=8000", "audio/mpeg", "video/mp4", "application/octet-stream"] {
            assert!(Group::Sound.takes(taken), "{taken}");
        }
        for refused in ["", "audio", "audio/", "image/tiff", "application/pdf", "text/html", "application/json"] {
            assert!(!Group::Sound.takes(refused), "{refused}");
        }
    }

    #[test]
    fn an_extension_stands_for_its_first_type() {
        assert_eq!(type_of("WAV"), Some("audio/wav"));
        assert_eq!(extension_of("audio/mp3;x=y"), Some("mp3"));
        assert_eq!(type_of("exe"), None);
        assert_eq!(names_of("audio/mp3; x=y"), ["audio/mp3", "audio/mpeg", "audio/mpeg3"]);
        assert_eq!(names_of("audio/amr"), ["audio/amr"]);
        assert_eq!(extension_in("a.tar.GZ").as_deref(), Some("gz"));
        for none in ["", "a", ".wav", "a.", "a.b c", "a.much-too-long", "a.ümlaut"] {
            assert_eq!(extension_in(none), None, "{none:?}");
        }
    }
}
