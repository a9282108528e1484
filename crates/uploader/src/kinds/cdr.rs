//! CDRs that a switch could not post and left in its error folder: `{a_}{uuid}.cdr.json`, `{a_}{uuid}.cdr.xml`; or that it never posts and
//! writes into files, as a few lines of dialplan do on Asterisk: `{uniqueid}.form`.
//!
//! FreeSWITCH writes what it would have posted: JSON or XML, and with `encode` the same percent-encoded or in base64. It is undone here, so
//! that the endpoint sees one form of each. `name=value&…` goes as the form that it is.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;

use super::{address, ledger_key};
use crate::Settings;
use crate::about::About;
use crate::folder::{self, Entry, Item};
use crate::parcel::{self, Contents, Parcel, Trouble};

/// The largest seen are a few hundred KiB.
const LIMIT: u64 = 16 << 20;

pub(super) fn find(settings: &Settings, root: &Path, visit: &mut dyn FnMut(Item)) -> io::Result<usize> {
    let mut links = 0;
    folder::walk(root, settings.recursive, &mut |entry| match entry {
        Entry::File(main) => visit(Item { main, others: Vec::new() }),
        Entry::Link => links += 1,
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
    let text = parcel::read(root, &item.main, LIMIT)?;
    let (content_type, text) =
        plain_text(&text).ok_or_else(|| Trouble::Unfit("it is neither JSON nor XML nor a form".to_owned()))?;
    let mut about: About = settings.parameters.iter().cloned().collect();
    about.insert("uuid".to_owned(), uuid(item.name()));
    let url = address(&settings.to, &["cdr"], &about)?;
    Ok(Some(Parcel { method: Method::POST, url, content_type, contents: Contents::of(text), ledger_key }))
}

/// The file's name without its endings, as the switch itself names the leg in its requests.
fn uuid(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bare = [".json", ".xml", ".form"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    bare.strip_suffix(".cdr").unwrap_or(bare).to_owned()
}

/// The JSON, XML or form in a file, and its media type.
fn plain_text(text: &[u8]) -> Option<(&'static str, Bytes)> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"cdr=").unwrap_or(text);
    let decoded = match text.first()? {
        b'{' | b'<' => text.to_vec(),
        b'%' => percent_encoding::percent_decode(text).collect(),
        _ if is_form(text) => return Some(("application/x-www-form-urlencoded", Bytes::copy_from_slice(text))),
        _ => STANDARD.decode(text).ok()?,
    };
    let content_type = match decoded.trim_ascii_start().first()? {
        b'{' => "application/json",
        b'<' => "text/xml",
        _ => return None,
    };
    Some((content_type, decoded.into()))
}

/// Two pairs at least, the first with a name of letters. Base64 has its equals signs at the end, and no `&`.
fn is_form(text: &[u8]) -> bool {
    let name = text.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'_').count();
    name > 0 && text.get(name) == Some(&b'=') && text.contains(&b'&')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_in_which_freeswitch_leaves_them() {
        let (json, xml) = (r#"{"variables":{"x":"a+b"}}"#, "<?xml version=\"1.0\"?><cdr/>");
        let escape =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        for (text, kind) in [(json, "application/json"), (xml, "text/xml")] {
            for file in [text.to_owned(), format!("{text}\n"), escape(text), STANDARD.encode(text) + "\n"] {
                let (found, plain) = plain_text(file.as_bytes()).unwrap();
                assert_eq!((found, &plain[..]), (kind, text.as_bytes()), "{file}");
            }
        }
        let form = "uniqueid=1795442694.42&src=%2B1415&answer=";
        let wanted = ("application/x-www-form-urlencoded", Bytes::from_static(form.as_bytes()));
        assert_eq!(plain_text(format!("{form}\n").as_bytes()), Some(wanted));
        for other in ["", "\n", "not a cdr", "%zz", "aGVsbG8=", "a=b", "=&"] {
            assert_eq!(plain_text(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_leg_is_named_as_the_switch_names_it() {
        let names = ["x/a_1f.cdr.json", "1f.cdr.xml", "1f.json", "1.2.form", "1f"].map(|name| uuid(Path::new(name)));
        assert_eq!(names, ["a_1f", "1f", "1f", "1.2", "1f"]);
    }
}
