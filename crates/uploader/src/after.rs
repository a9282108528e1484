//! What happens to a file once its fate is known: it is deleted, moved or set aside.
//!
//! A file that somebody replaced or wrote to in the last moment must not go. So it is first renamed into the watcher's own folder
//! (`.stowline-spool/leaving`), looked at once more where nobody else reaches it by name, and only then removed; a file that turns out to be
//! another is put back. After a crash whatever is found there is put back, too, and sent again.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags};

use crate::folder::{Found, Item, OWN, REFUSED};
use crate::footprint::Footprint;

/// Whether the item left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It is gone from where it was.
    Yes,
    /// It is no longer what was sent: it stays.
    Changed,
}

/// Deletes the files of the item.
pub(crate) fn delete(root: &Path, item: &Item) -> io::Result<Left> {
    take_all(root, item, |taken, _| fs::remove_file(taken))
}

/// Moves the files of the item below `target`, under their own names where these are free.
pub(crate) fn move_to(root: &Path, item: &Item, target: &Path) -> io::Result<Left> {
    let mut number = 1;
    take_all(root, item, |taken, path| {
        number = place(taken, &target.join(path), number)?.1;
        Ok(())
    })
}

/// Sets the files of the item aside, with the reason in a file beside them.
pub(crate) fn refuse(root: &Path, item: &Item, reason: &str) -> io::Result<Left> {
    let mut number = 1;
    take_all(root, item, |taken, path| {
        let (placed, its_number) = place(taken, &root.join(REFUSED).join(path), number)?;
        number = its_number;
        if path != item.name() {
            return Ok(());
        }
        let mut note = placed.into_os_string();
        note.push(".reason");
        let at = humantime::format_rfc3339_seconds(SystemTime::now());
        fs::write(note, format!("{at} {reason}\nTo try again, move the file back.\n"))
    })
}

/// Puts back what a crash left on its way out.
pub(crate) fn restore(root: &Path) -> io::Result<usize> {
    let leaving = root.join(OWN).join("leaving");
    let mut found = Vec::new();
    collect(&leaving, Path::new(""), &mut found)?;
    for path in &found {
        place(&leaving.join(path), &root.join(path), 1)?;
    }
    Ok(found.len())
}

fn collect(leaving: &Path, below: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(leaving.join(below)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(leaving, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// Takes the main file, then the others, and lets each go by `finish`. Nothing is taken unless the main file is what was sent.
fn take_all(root: &Path, item: &Item, mut finish: impl FnMut(&Path, &Path) -> io::Result<()>) -> io::Result<Left> {
    let Some(main) = take(root, &item.main)? else { return Ok(Left::Changed) };
    let mut taken = vec![(main, item.name())];
    for other in &item.others {
        // What belongs to the file and changed meanwhile says something new about what is gone: it stays for people to see.
        match take(root, other) {
            Ok(Some(place)) => taken.push((place, &other.path)),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                put_back(root, &taken)?;
                return Err(error);
            }
        }
    }
    for index in 0..taken.len() {
        let (place, path) = &taken[index];
        if let Err(error) = finish(place, path) {
            put_back(root, &taken[index..])?;
            return Err(error);
        }
    }
    Ok(Left::Yes)
}

/// Renames a file out of everybody's reach. `None` when it is not the one that was found; then it is where it was.
fn take(root: &Path, found: &Found) -> io::Result<Option<PathBuf>> {
    let path = root.join(&found.path);
    let same = |place: &Path| fs::symlink_metadata(place).map(|metadata| Footprint::of(&metadata));
    if same(&path)? != found.footprint {
        return Ok(None);
    }
    let (taken, _) = place(&path, &root.join(OWN).join("leaving").join(&found.path), 1)?;
    if same(&taken)?.same_content(&found.footprint) {
        return Ok(Some(taken));
    }
    place(&taken, &path, 1)?;
    Ok(None)
}

fn put_back(root: &Path, taken: &[(PathBuf, &Path)]) -> io::Result<()> {
    for (place_now, path) in taken {
        if place_now.exists() {
            place(place_now, &root.join(path), 1)?;
        }
    }
    Ok(())
}

/// Moves a file to a place, or to one with a number from `number` on where that is taken. Nothing is ever overwritten. Gives where it came
/// to lie, and the number: what belongs together gets the same.
fn place(from: &Path, to: &Path, number: u32) -> io::Result<(PathBuf, u32)> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    for number in number.. {
        let to = numbered(to, number);
        match rename_unless_taken(from, &to) {
            Ok(()) => return Ok((to, number)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return carry(from, &to, number),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("all names are taken"))
}

/// `call.wav`, `call~2.wav`, `call~3.wav` …, and so `call~2.wav.json`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let name = path.file_name().unwrap_or_default().as_bytes();
    let (stem, endings) = name.split_at(name.iter().position(|&byte| byte == b'.').unwrap_or(name.len()));
    path.with_file_name(OsStr::from_bytes(&[stem, format!("~{number}").as_bytes(), endings].concat()))
}

fn rename_unless_taken(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system that cannot do it in one step.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        Err(error) => Err(error.into()),
    }
}

/// Moves a file to another file system: the copy is on its disk before the original goes.
fn carry(from: &Path, to: &Path, number: u32) -> io::Result<(PathBuf, u32)> {
    let parent = to.parent().unwrap_or(Path::new("/"));
    let half = parent.join(format!(".{:016x}.part", rand::random::<u64>()));
    fs::copy(from, &half)?;
    File::open(&half)?.sync_all()?;
    let placed = place(&half, to, number)?;
    File::open(parent)?.sync_all()?;
    fs::remove_file(from)?;
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::look;

    struct Spool(tempfile::TempDir);

    impl Spool {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn root(&self) -> &Path {
            self.0.path()
        }

        fn write(&self, name: &str, text: &str) -> Found {
            let path = self.root().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            look(self.root(), name.into()).unwrap()
        }

        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.root().join(name)).ok()
        }
    }

    #[test]
    fn a_file_and_its_sidecar_go_together() {
        let spool = Spool::new();
        let item = || Item { main: spool.write("x/a.wav", "speech"), others: vec![spool.write("x/a.wav.json", "{}")] };
        assert_eq!(delete(spool.root(), &item()).unwrap(), Left::Yes);
        assert_eq!((spool.read("x/a.wav"), spool.read("x/a.wav.json")), (None, None));
        let target = spool.root().join("done");
        for _ in 0..2 {
            assert_eq!(move_to(spool.root(), &item(), &target).unwrap(), Left::Yes);
        }
        for name in ["done/x/a.wav", "done/x/a.wav.json", "done/x/a~2.wav", "done/x/a~2.wav.json"] {
            assert!(spool.read(name).is_some(), "{name}");
        }
        assert_eq!(restore(spool.root()).unwrap(), 0);
    }

    #[test]
    fn what_changed_stays() {
        let spool = Spool::new();
        let item = Item { main: spool.write("a.wav", "speech"), others: vec![] };
        spool.write("a.wav", "speech that goes on");
        assert_eq!(delete(spool.root(), &item).unwrap(), Left::Changed);
        assert_eq!(spool.read("a.wav").unwrap(), "speech that goes on");
        fs::remove_file(spool.root().join("a.wav")).unwrap();
        spool.write("a.wav", "speech");
        assert_eq!(move_to(spool.root(), &item, &spool.root().join("done")).unwrap(), Left::Changed);
        assert_eq!(spool.read("a.wav").unwrap(), "speech", "another file with the same words");
        fs::remove_file(spool.root().join("a.wav")).unwrap();
        assert_eq!(delete(spool.root(), &item).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_refused_lies_aside_with_its_reason() {
        let spool = Spool::new();
        let item = Item { main: spool.write("a.wav", "noise"), others: vec![] };
        assert_eq!(refuse(spool.root(), &item, "415 Unsupported Media Type").unwrap(), Left::Yes);
        assert_eq!(spool.read(".refused/a.wav").unwrap(), "noise");
        assert!(spool.read(".refused/a.wav.reason").unwrap().contains("415 Unsupported"));
    }

    #[test]
    fn a_crash_on_the_way_out_loses_nothing() {
        let spool = Spool::new();
        spool.write(".stowline-spool/leaving/x/a.wav", "old");
        spool.write(".stowline-spool/leaving/x/b.wav", "speech");
        spool.write("x/a.wav", "new");
        assert_eq!(restore(spool.root()).unwrap(), 2);
        let read = ["x/a.wav", "x/a~2.wav", "x/b.wav"].map(|name| spool.read(name).unwrap());
        assert_eq!(read, ["new", "old", "speech"]);
    }

    #[test]
    fn what_cannot_be_finished_is_put_back() {
        let spool = Spool::new();
        let item = Item { main: spool.write("a.wav", "speech"), others: vec![spool.write("a.wav.json", "{}")] };
        let failed = take_all(spool.root(), &item, |_, _| Err(io::Error::other("disk full")));
        assert!(failed.is_err());
        assert_eq!((spool.read("a.wav").unwrap(), spool.read("a.wav.json").unwrap()), ("speech".into(), "{}".into()));
    }

    #[test]
    fn another_file_system_gets_a_copy_first() {
        let (spool, elsewhere) = (Spool::new(), tempfile::tempdir().unwrap());
        let found = spool.write("a.wav", "speech");
        let target = elsewhere.path().join("a.wav");
        fs::write(&target, "other").unwrap();
        let (placed, _) = carry(&spool.root().join(&found.path), &target, 1).unwrap();
        assert_eq!(fs::read_to_string(&placed).unwrap(), "speech");
        assert_eq!(fs::read_to_string(&target).unwrap(), "other");
        assert_eq!(spool.read("a.wav"), None);
    }
}
