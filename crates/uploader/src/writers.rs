//! Whether somebody has a file open for writing.
//!
//! A switch may hold a recording open for minutes without a byte (a caller on hold): the file stands still and is not complete. Linux tells
//! which process has which file open, for processes of the same user, and for all to root. What cannot be asked counts as closed; then only
//! `--settle` protects.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Of these files, by device and inode, the ones that some process may write to. `root` is the folder in which they are.
pub(crate) fn written_to(root: &Path, files: &HashSet<(u64, u64)>) -> HashSet<(u64, u64)> {
    let mut written = HashSet::new();
    if files.is_empty() {
        return written;
    }
    let Ok(processes) = fs::read_dir("/proc") else { return written };
    for process in processes.flatten() {
        let named_by_number = process.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        if named_by_number {
            look_into(&process.path(), root, files, &mut written);
        }
    }
    written
}

fn look_into(process: &Path, root: &Path, files: &HashSet<(u64, u64)>, written: &mut HashSet<(u64, u64)>) {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return };
    let same_names = sees_the_same_names(process);
    for descriptor in descriptors.flatten() {
        // The link's text is cheap and sorts out nearly all; a process that sees the folder under another name is asked about every file.
        let Ok(target) = fs::read_link(descriptor.path()) else { continue };
        if !target.is_absolute() || target.starts_with("/dev") || (same_names && !target.starts_with(root)) {
            continue;
        }
        let Ok(metadata) = fs::metadata(descriptor.path()) else { continue };
        let file = (metadata.dev(), metadata.ino());
        if files.contains(&file) && may_write(process, &descriptor.file_name().to_string_lossy()) {
            written.insert(file);
        }
    }
}

/// Whether the process sees the same file system as we do.
fn sees_the_same_names(process: &Path) -> bool {
    fs::read_link(process.join("root")).is_ok_and(|root| root == Path::new("/"))
}

/// The lowest two bits of a descriptor's flags say how it was opened; 0 is for reading.
fn may_write(process: &Path, descriptor: &str) -> bool {
    let Ok(about) = fs::read_to_string(process.join("fdinfo").join(descriptor)) else { return false };
    let flags = about.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & 3 != 0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::footprint::Footprint;

    #[test]
    fn a_file_is_written_to_while_it_is_open_for_writing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let path = root.join("a.wav");
        let writer = fs::File::create(&path).unwrap();
        let footprint = Footprint::of(&writer.metadata().unwrap());
        let file = (footprint.device, footprint.inode);
        let asked = HashSet::from([file]);
        assert_eq!(written_to(&root, &asked), asked);
        drop(writer);
        let _reader = fs::File::open(&path).unwrap();
        assert_eq!(written_to(&root, &asked), HashSet::new());
    }
}
