//! Recordings, voicemail, faxes: a file is a document, its sidecar and its name say what it is about.
//!
//! The sidecar of `call.wav` is `call.wav.json`. It is written before the audio, or before the audio gets its final name; otherwise
//! `--require-sidecar` waits for it.

use std::io;
use std::path::Path;

use http::Method;

use super::{address, ledger_key, media_type};
use crate::about::{self, About};
use crate::folder::{self, Entry, Item};
use crate::parcel::{self, Contents, Parcel, Trouble};
use crate::{Kind, Settings};

const SIDECAR: &str = ".json";
/// Far more than anybody says about a call.
const SIDECAR_LIMIT: u64 = 1 << 20;

pub(super) fn find(settings: &Settings, root: &Path, visit: &mut dyn FnMut(Item)) -> io::Result<usize> {
    let mut links = 0;
    folder::walk(root, settings.recursive, &mut |entry| {
        let main = match entry {
            Entry::File(found) => found,
            Entry::Link => return links += 1,
        };
        let name = file_name(&main.path);
        if name.ends_with(SIDECAR) {
            return;
        }
        let passed_by = settings.only_matching && settings.pattern.as_ref().is_none_or(|p| p.read(&name).is_none());
        if passed_by {
            return;
        }
        let mut sidecar = main.path.clone().into_os_string();
        sidecar.push(SIDECAR);
        let others: Vec<_> = folder::look(root, sidecar.into()).into_iter().collect();
        if settings.require_sidecar && others.is_empty() {
            return;
        }
        visit(Item { main, others });
    })?;
    Ok(links)
}

pub(super) fn prepare(
    settings: &Settings,
    root: &Path,
    knows: &dyn Fn(&str) -> bool,
    item: &Item,
) -> Result<Option<Parcel>, Trouble> {
    let ledger_key = ledger_key(item);
    if knows(&ledger_key) {
        return Ok(None);
    }
    let name = file_name(item.name());
    let mut about = about_file(settings, root, item, &name)?;
    let mailbox = mailbox(settings, item, &mut about);
    let segments = match settings.kind {
        Kind::Voicemail => {
            let mailbox =
                mailbox.as_deref().ok_or_else(|| Trouble::Unfit("it is not said whose mailbox it is".to_owned()))?;
            vec!["voicemail", mailbox, &name]
        }
        Kind::Fax => vec!["fax", &name],
        _ => vec!["recordings", &name],
    };
    let url = address(&settings.to, &segments, &about)?;
    let contents = Contents::open(root, &item.main)?;
    Ok(Some(Parcel { method: Method::PUT, url, content_type: media_type(&name), contents, ledger_key }))
}

fn about_file(settings: &Settings, root: &Path, item: &Item, name: &str) -> Result<About, Trouble> {
    let mut about: About = settings.parameters.iter().cloned().collect();
    about.extend(settings.pattern.as_ref().and_then(|pattern| pattern.read(name)).unwrap_or_default());
    if let Some(sidecar) = item.others.first() {
        let text = parcel::read(root, sidecar, SIDECAR_LIMIT)?;
        about.extend(about::sidecar(&text).map_err(Trouble::Unfit)?);
    }
    Ok(about)
}

/// Sidecar and name first, then `--mailbox`, then the name of the folder in which the file is.
fn mailbox(settings: &Settings, item: &Item, about: &mut About) -> Option<String> {
    if settings.kind != Kind::Voicemail {
        return None;
    }
    let folder = || Some(item.name().parent()?.file_name()?.to_string_lossy().into_owned());
    about.remove("mailbox").or_else(|| settings.mailbox.clone()).or_else(folder)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
