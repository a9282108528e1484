//! Asterisk's voicemail spool: `{context}/{mailbox}/{folder}/msgNNNN.txt` beside the audio, once for each format.
//!
//! Asterisk renumbers: when a message goes, those above move down. So the name says nothing and `msg_id` says all; audio and text belong
//! together only if both are still the files that were seen standing still. Asterisk guards a folder with a `.lock`, and so do we before we
//! take anything out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use http::Method;
use sha2::{Digest, Sha256};

use super::{address, media_type};
use crate::Settings;
use crate::about::About;
use crate::folder::{self, Found, Item};
use crate::parcel::{self, Contents, Parcel, Trouble};

/// Best first.
const FORMATS: [&str; 9] = ["wav", "WAV", "wav16", "gsm", "ulaw", "alaw", "g722", "sln16", "sln"];
const TEXT_LIMIT: u64 = 1 << 20;

pub(super) fn find(settings: &Settings, root: &Path, visit: &mut dyn FnMut(Item)) -> io::Result<()> {
    for context in folder::folders(root, Path::new(""))? {
        let watched = settings.contexts.is_empty() || settings.contexts.iter().any(|name| context == Path::new(name));
        if !watched {
            continue;
        }
        for mailbox in folder::folders(root, &context).unwrap_or_default() {
            for name in &settings.mailbox_folders {
                let found = messages(root, &mailbox.join(name), visit);
                if let Err(error) = found.or_else(absent) {
                    tracing::warn!(mailbox = %mailbox.display(), %error, "a mailbox cannot be read; its messages wait");
                }
            }
        }
    }
    Ok(())
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn messages(root: &Path, place: &Path, visit: &mut dyn FnMut(Item)) -> io::Result<()> {
    if !fs::symlink_metadata(root.join(place))?.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(root.join(place))? {
        let name = entry?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".txt")) else { continue };
        if stem.starts_with("msg")
            && let Some(item) = message(root, &place.join(stem))
        {
            visit(item);
        }
    }
    Ok(())
}

/// A message: the best audio first, its text next, then other formats.
fn message(root: &Path, stem: &Path) -> Option<Item> {
    let file = |extension: &str| folder::look(root, PathBuf::from(format!("{}.{extension}", stem.display())));
    let mut others = vec![file("txt")?];
    let mut audio = FORMATS.into_iter().filter_map(file);
    let main = audio.next()?;
    others.extend(audio);
    Some(Item { main, others })
}

pub(super) fn prepare(
    settings: &Settings,
    root: &Path,
    knows: &dyn Fn(&str) -> bool,
    item: &Item,
) -> Result<Option<Parcel>, Trouble> {
    let Some((context, mailbox, text)) = parts(item) else { return Err(Trouble::Gone) };
    // Both are opened before either is believed: whatever Asterisk renumbers meanwhile shows in a footprint.
    let written = parcel::read(root, text, TEXT_LIMIT)?;
    let written = String::from_utf8_lossy(&written);
    let id = id(&written);
    let ledger_key = format!("{context}/{mailbox}/{id}");
    if knows(&ledger_key) {
        return Ok(None);
    }
    let contents = Contents::open(root, &item.main)?;
    parcel::unchanged(root, text)?;
    let extension = item.name().extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = format!("{id}.{extension}");
    let mut about: About = settings.parameters.iter().cloned().collect();
    about.extend(about_message(&written));
    let url = address(&settings.to, &["voicemail", mailbox, &name], &about)?;
    Ok(Some(Parcel { method: Method::PUT, url, content_type: media_type(&name), contents, ledger_key }))
}

/// Context, mailbox and text file of a message.
fn parts(item: &Item) -> Option<(&str, &str, &Found)> {
    let mut names = item.name().components().map(|part| part.as_os_str().to_str());
    Some((names.next()??, names.next()??, item.others.first()?))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(key, value)| (key.trim(), value.trim()))
        .find(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, v)| v)
}

/// The message's own id. Asterisk before 11 wrote none: then what it wrote instead tells messages apart.
fn id(text: &str) -> String {
    let id =
        field(text, "msg_id").map(|id| id.replace(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c), "-"));
    id.unwrap_or_else(|| hex::encode(&Sha256::digest(text)[..16]))
}

fn about_message(text: &str) -> About {
    let mut about = About::new();
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            about.insert(name.to_owned(), value);
        }
    };
    let (name, number) = field(text, "callerid").map(caller).unwrap_or_default();
    say("caller_id_name", name);
    say("caller_id_number", number);
    let number = |name| field(text, name).and_then(|value| value.parse::<i64>().ok());
    say("timestamp", number("origtime").map(|time| time.to_string()));
    say("duration_ms", number("duration").map(|seconds| (seconds * 1000).to_string()));
    say("to", field(text, "exten").filter(|exten| exten.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned));
    about
}

/// `"Dana Fox" <+14155550123>`, `Dana Fox <1001>`, `<1001>`, `1001`, `Unknown`.
fn caller(text: &str) -> (Option<String>, Option<String>) {
    let known = |text: &str| {
        let text = text.trim().trim_matches('"').trim();
        (!text.is_empty() && !text.eq_ignore_ascii_case("unknown")).then(|| text.to_owned())
    };
    match text.rsplit_once('<') {
        Some((name, number)) => (known(name), known(number.trim_end().trim_end_matches('>'))),
        None if text.bytes().any(|b| b.is_ascii_alphabetic()) => (known(text), None),
        None => (None, known(text)),
    }
}

/// Asterisk's lock on a folder, as its `lockmode=lockfile` (the default) has it: a file `.lock`, made by a link so that one gets it.
#[derive(Debug)]
pub(crate) struct Lock(PathBuf);

impl Lock {
    /// Takes the lock. `None` when somebody has it.
    pub(crate) fn take(folder: &Path) -> io::Result<Option<Self>> {
        let own = folder.join(format!(".lock-{:08x}", rand::random::<u32>()));
        fs::OpenOptions::new().write(true).create_new(true).open(&own)?;
        let lock = folder.join(".lock");
        let linked = fs::hard_link(&own, &lock);
        fs::remove_file(&own)?;
        match linked {
            Ok(()) => Ok(Some(Self(lock))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::error!(lock = %self.0.display(), %error, "the lock on a mailbox folder cannot be released; delete it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_as_asterisk_writes_them() {
        let read = |text| {
            let (name, number) = caller(text);
            format!("{}|{}", name.unwrap_or_default(), number.unwrap_or_default())
        };
        assert_eq!(read("\"Dana Fox\" <+14155550123>"), "Dana Fox|+14155550123");
        assert_eq!(read("Dana <1001>"), "Dana|1001");
        assert_eq!(read("\"a <b\" <7>"), "a <b|7");
        assert_eq!(read("<1001>"), "|1001");
        assert_eq!(read("1001"), "|1001");
        assert_eq!(read("Dana"), "Dana|");
        assert_eq!(read("Unknown"), "|");
        assert_eq!(read("\"\" <Unknown>"), "|");
    }

    #[test]
    fn a_message_without_an_id_has_one_of_its_own() {
        let old = "[message]\norigmailbox=1001\norigtime=1700000000\nduration=5\n";
        assert_eq!(id(old), id(old));
        assert_ne!(id(old), id(&old.replace("1700000000", "1700000001")));
        assert_eq!(id("msg_id=1700000000-00000003\n"), "1700000000-00000003");
        assert_eq!(id("msg_id=../x\n"), "..-x");
    }

    #[test]
    fn one_gets_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        assert!(lock.is_some() && Lock::take(folder.path()).unwrap().is_none());
        drop(lock);
        assert!(Lock::take(folder.path()).unwrap().is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
