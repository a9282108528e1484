//! What the files are: how they are found, and what their upload looks like.
//!
//! Three families. [`plain`]: recordings, voicemail and faxes, one file each with a sidecar beside it. [`cdr`]: what a switch could not post.
//! [`asterisk`]: a message in several files, with a number that changes and an id that does not.

mod asterisk;
mod cdr;
mod plain;

use std::io;
use std::path::Path;

use clap::ValueEnum;
use url::Url;

pub(crate) use asterisk::Lock;

use crate::about::{self, About};
use crate::folder::Item;
use crate::ledger::Ledger;
use crate::parcel::{Parcel, Trouble};
use crate::{After, Settings};

/// What the files of a folder are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Call recordings.
    Recordings,
    /// Voicemail messages, one audio file each.
    Voicemail,
    /// Received faxes, TIFF or PDF.
    Fax,
    /// Call detail records: FreeSWITCH's error folders of mod_json_cdr, mod_xml_cdr and mod_format_cdr; forms that a dialplan wrote.
    Cdr,
    /// Asterisk's voicemail spool: CONTEXT/MAILBOX/INBOX/msgNNNN.wav with its .txt.
    AsteriskVoicemail,
}

impl Kind {
    /// Whether a ledger remembers what was sent: where files stay, and where files have an id that outlives their name.
    pub(crate) fn remembers(self, after: &After) -> bool {
        self == Self::AsteriskVoicemail || *after == After::Keep
    }
}

/// Visits what may be uploaded, complete or not. Gives the number of symbolic links that were passed by.
pub(crate) fn find(settings: &Settings, root: &Path, visit: &mut dyn FnMut(Item)) -> io::Result<usize> {
    match settings.kind {
        Kind::Recordings | Kind::Voicemail | Kind::Fax => plain::find(settings, root, visit),
        Kind::Cdr => cdr::find(settings, root, visit),
        Kind::AsteriskVoicemail => asterisk::find(settings, root, visit).map(|()| 0),
    }
}

/// Reads what is needed to upload the item. `None` when the ledger knows it. May block.
pub(crate) fn prepare(
    settings: &Settings,
    root: &Path,
    ledger: Option<&Ledger>,
    item: &Item,
) -> Result<Option<Parcel>, Trouble> {
    let knows = |key: &str| ledger.is_some_and(|ledger| ledger.knows(key));
    match settings.kind {
        Kind::Recordings | Kind::Voicemail | Kind::Fax => plain::prepare(settings, root, &knows, item),
        Kind::Cdr => cdr::prepare(settings, root, &knows, item),
        Kind::AsteriskVoicemail => asterisk::prepare(settings, root, &knows, item),
    }
}

/// What a ledger calls a file that has no better name: where it is, its size and its time.
fn ledger_key(item: &Item) -> String {
    let footprint = item.main.footprint;
    format!("{} {} {}", item.name().display(), footprint.size, footprint.modified)
}

/// An address below the account's ingest endpoint.
fn address(to: &Url, segments: &[&str], about: &About) -> Result<Url, Trouble> {
    let mut url = to.clone();
    url.path_segments_mut()
        .map_err(|()| Trouble::Unfit("the URL has no path".to_owned()))?
        .pop_if_empty()
        .extend(segments);
    let about = about.iter().filter(|(name, value)| about::fit(name) && !value.is_empty());
    url.query_pairs_mut().extend_pairs(about);
    if url.query() == Some("") {
        url.set_query(None);
    }
    Ok(url)
}

/// The media type by a name's extension.
fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "m4a" => "audio/mp4",
        "gsm" => "audio/x-gsm",
        "ulaw" | "ul" | "pcmu" | "au" => "audio/basic",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "tif" | "tiff" => "image/tiff",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_escaped_and_hold_nothing_empty() {
        let to = Url::parse("https://example.org/v2/ingest/acme/").unwrap();
        let about = About::from(
            [("caller_id_name", "Dana & Fox"), ("to", ""), ("token", "x")].map(|(n, v)| (n.into(), v.into())),
        );
        let url = address(&to, &["recordings", "a b/c?.wav"], &about).unwrap();
        let wanted = "https://example.org/v2/ingest/acme/recordings/a%20b%2Fc%3F.wav?caller_id_name=Dana+%26+Fox";
        assert_eq!(url.as_str(), wanted);
        let url = address(&to, &["cdr"], &About::new()).unwrap();
        assert_eq!(url.as_str(), "https://example.org/v2/ingest/acme/cdr");
    }

    #[test]
    fn media_types_go_by_the_last_extension() {
        let types = ["a.WAV", "a.b.mp3", "x.tiff", "x.pdf", "x", "x.log"].map(media_type);
        let wanted = ["audio/wav", "audio/mpeg", "image/tiff", "application/pdf"];
        assert_eq!(types[..4], wanted);
        assert_eq!(types[4..], ["application/octet-stream"; 2]);
    }
}
