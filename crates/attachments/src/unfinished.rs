//! What handlers share that write under a temporary name and rename: the name, and the comparison with what is there already.
//!
//! The temporary name is made of what is stored and where, so an attempt that died is overwritten by the next one, with the same bytes,
//! and no attempt leaves a file of its own behind. Two attempts at once write the same bytes to the same places.

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::Payload;

/// Folders and name of a location, for places that have folders: no empty ones, and no slash at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Whether the location begins at the top of the destination, and not where it lets us in.
    pub(crate) absolute: bool,
    /// The folders, outermost first.
    pub(crate) folders: Vec<String>,
    /// The name in the last of them.
    pub(crate) name: String,
}

impl Place {
    pub(crate) fn of(location: &Location) -> Result<Self, Error> {
        let invalid = |what: &str| Error::new(Operation::Locate, ErrorKind::Invalid, what);
        let text = location.as_str();
        let mut folders: Vec<String> = text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if folders.iter().any(|part| matches!(part.as_str(), "." | "..")) || text.contains('\0') {
            return Err(invalid("the location climbs"));
        }
        let name =
            folders.pop().filter(|_| !text.ends_with('/')).ok_or_else(|| invalid("the location names no file"))?;
        Ok(Self { absolute: text.starts_with('/'), folders, name })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> String {
        self.with(&self.name)
    }

    /// The path under which a payload is written before it is complete.
    pub(crate) fn unfinished(&self, payload: &Payload) -> String {
        let mut digest = Sha256::new();
        digest.update(self.path());
        digest.update([0]);
        digest.update(payload.sha256);
        self.with(&format!(".stowline-{}.part", &hex::encode(digest.finalize())[..24]))
    }

    /// The paths of the folders, outermost first.
    pub(crate) fn folder_paths(&self) -> impl Iterator<Item = String> + '_ {
        let root = if self.absolute { "/" } else { "" };
        (1..=self.folders.len()).map(move |depth| format!("{root}{}", self.folders[..depth].join("/")))
    }

    fn with(&self, name: &str) -> String {
        let root = if self.absolute { "/" } else { "" };
        let mut parts = self.folders.clone();
        parts.push(name.to_owned());
        format!("{root}{}", parts.join("/"))
    }
}

/// Whether these bytes are the payload's.
pub(crate) async fn is(
    payload: &Payload,
    mut stream: BoxStream<'static, Result<bytes::Bytes, Error>>,
) -> Result<bool, Error> {
    let (mut digest, mut length) = (Sha256::new(), 0);
    while let Some(piece) = stream.try_next().await? {
        length += piece.len() as u64;
        if length > payload.length {
            return Ok(false);
        }
        digest.update(&piece);
    }
    Ok(digest.finalize()[..] == payload.sha256)
}

/// The name is taken by something else.
pub(crate) fn taken() -> Error {
    Error::new(Operation::Put, ErrorKind::Conflict, "another file has this name")
}

/// There is no object where the receipt says.
pub(crate) fn gone() -> Error {
    Error::new(Operation::Fetch, ErrorKind::NotFound, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place, ErrorKind> {
        let location: Location = serde_json::from_value(text.into()).unwrap();
        Place::of(&location).map_err(|error| error.kind())
    }

    #[test]
    fn a_place_has_folders_and_a_name() {
        let found = place("a//b%2Fc/d.wav").unwrap();
        assert_eq!((found.path().as_str(), found.absolute), ("a/b%2Fc/d.wav", false));
        assert_eq!(found.folder_paths().collect::<Vec<_>>(), ["a", "a/b%2Fc"]);
        let found = place("/a/d").unwrap();
        assert_eq!((found.path().as_str(), found.absolute), ("/a/d", true));
        assert_eq!(found.folder_paths().collect::<Vec<_>>(), ["/a"]);
        assert_eq!(place("d").unwrap().folder_paths().count(), 0);
        for nowhere in ["", "/", "a/", "../a", "a/./b"] {
            assert_eq!(place(nowhere), Err(ErrorKind::Invalid), "{nowhere}");
        }
    }

    #[test]
    fn the_temporary_name_is_short_hidden_and_the_same_again() {
        let long = place(&format!("a/{}", "n".repeat(250))).unwrap();
        let payload = Payload::bytes(&b"abc"[..], "audio/wav");
        let name = long.unfinished(&payload);
        assert_eq!(name, long.unfinished(&payload));
        assert!(name.starts_with("a/.stowline-") && name.len() < 60, "{name}");
        assert_ne!(name, long.unfinished(&Payload::bytes(&b"abd"[..], "audio/wav")));
        assert_ne!(name, place("a/other").unwrap().unfinished(&payload));
    }
}
