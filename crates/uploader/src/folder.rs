//! The folder: which files in it count, and how they are reached.
//!
//! Symbolic links do not count and are not followed, so that nobody who may write here makes the watcher read or delete elsewhere. What
//! begins with a dot or ends in `.tmp` or `.part` is somebody's work in progress, or the watcher's own.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::footprint::Footprint;

/// The watcher's own folder within the folder.
pub(crate) const OWN: &str = ".stowline-spool";
/// Where files are put that the store refused.
pub(crate) const REFUSED: &str = ".refused";
/// Deeper than any switch files things, and shallow enough for the stack.
const DEEPEST: usize = 32;

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Below the folder.
    pub(crate) path: PathBuf,
    pub(crate) footprint: Footprint,
}

/// What is uploaded and leaves together: one file of bytes and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The file whose bytes are sent.
    pub(crate) main: Found,
    /// Its sidecar; a message's text file and other formats.
    pub(crate) others: Vec<Found>,
}

impl Item {
    pub(crate) fn name(&self) -> &Path {
        &self.main.path
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &Found> {
        std::iter::once(&self.main).chain(&self.others)
    }

    pub(crate) fn footprints(&self) -> Vec<Footprint> {
        self.files().map(|found| found.footprint).collect()
    }
}

/// Whether a name says that the file or folder is not for us.
pub(crate) fn hidden(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".") || name.ends_with(b".tmp") || name.ends_with(b".part")
}

/// The regular file at this place, if there is one.
pub(crate) fn look(root: &Path, path: PathBuf) -> Option<Found> {
    let metadata = fs::symlink_metadata(root.join(&path)).ok()?;
    metadata.is_file().then(|| Found { path, footprint: Footprint::of(&metadata) })
}

/// What a walk came across.
pub(crate) enum Entry {
    File(Found),
    /// A symbolic link, which was not followed.
    Link,
}

/// Visits the files of the folder; with `recursive` also those of the folders below.
///
/// # Errors
/// When the folder itself cannot be read. A folder below that cannot be read is logged and passed by.
pub(crate) fn walk(root: &Path, recursive: bool, visit: &mut dyn FnMut(Entry)) -> io::Result<()> {
    descend(root, Path::new(""), if recursive { DEEPEST } else { 0 }, visit)
}

fn descend(root: &Path, below: &Path, depth: usize, visit: &mut dyn FnMut(Entry)) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        if hidden(&entry.file_name()) {
            continue;
        }
        let path = below.join(entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_symlink() {
            visit(Entry::Link);
        } else if kind.is_file() {
            if let Some(found) = look(root, path) {
                visit(Entry::File(found));
            }
        } else if kind.is_dir()
            && depth > 0
            && let Err(error) = descend(root, &path, depth - 1, visit)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %path.display(), %error, "a folder cannot be read; its files wait");
        }
    }
    Ok(())
}

/// The folders directly below, without hidden ones and links.
pub(crate) fn folders(root: &Path, below: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        if !hidden(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(below.join(entry.file_name()));
        }
    }
    Ok(folders)
}

/// Opens a file of the folder for reading, without following a link anywhere below it and without waiting for a pipe's other end.
pub(crate) fn open(root: &Path, path: &Path) -> io::Result<File> {
    let parent = path.parent().unwrap_or(Path::new(""));
    if fs::canonicalize(root.join(parent))? != root.join(parent).components().collect::<PathBuf>() {
        return Err(io::Error::other("it lies behind a symbolic link"));
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, recursive: bool) -> (Vec<String>, usize) {
        let (mut names, mut links) = (Vec::new(), 0);
        walk(root, recursive, &mut |entry| match entry {
            Entry::File(found) => names.push(found.path.display().to_string()),
            Entry::Link => links += 1,
        })
        .unwrap();
        names.sort();
        (names, links)
    }

    #[test]
    fn what_is_hidden_half_written_or_elsewhere_does_not_count() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret.wav"), "x").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["a.wav", ".b.wav", "c.wav.tmp", "d.wav.part", "below/e.wav", ".below/f.wav"] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink(outside.path(), root.join("away")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret.wav"), root.join("g.wav")).unwrap();
        assert_eq!(names(&root, false), (vec!["a.wav".into()], 2));
        assert_eq!(names(&root, true), (vec!["a.wav".into(), "below/e.wav".into()], 2));
        assert!(open(&root, Path::new("below/e.wav")).is_ok());
        assert!(open(&root, Path::new("away/secret.wav")).is_err());
        assert!(open(&root, Path::new("g.wav")).is_err());
    }

    #[test]
    fn a_pipe_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let made = std::process::Command::new("mkfifo").arg(root.join("pipe.wav")).status();
        assert!(made.is_ok_and(|status| status.success()));
        assert_eq!(names(&root, true), (vec![], 0));
        assert!(open(&root, Path::new("pipe.wav")).is_ok(), "it opens at once; its footprint is another matter");
    }
}
