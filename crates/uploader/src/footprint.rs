//! How a file is recognised: by where its inode is, how large it is and when it was touched.
//!
//! Everything that decides about a file compares footprints: whether it still grows, whether what was sent is what is there now, whether a
//! file that stays was seen before.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// What a file looked like at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds since 1970: when the content changed.
    pub(crate) modified: i128,
    /// When anything about it changed. Renaming counts, so does resetting `modified`.
    changed: i128,
}

impl Footprint {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether it is the same file with the same content, wherever it was moved meanwhile.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        Self { changed: 0, ..*self } == Self { changed: 0, ..*other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_keeps_the_content_and_a_write_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = (folder.path().join("a"), folder.path().join("b"));
        let look = |path| Footprint::of(&std::fs::symlink_metadata(path).unwrap());
        std::fs::write(&before, "speech").unwrap();
        let first = look(&before);
        std::fs::rename(&before, &after).unwrap();
        assert!(look(&after).same_content(&first));
        std::fs::write(&after, "speeches").unwrap();
        assert!(!look(&after).same_content(&first));
        std::fs::write(&before, "speech").unwrap();
        assert!(!look(&before).same_content(&first), "another file of the same size");
    }
}
