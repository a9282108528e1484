//! `filesystem`: a folder of this machine, or of one that is mounted here, under a folder that the administrator allows.
//!
//! A put writes a temporary file beside the place, syncs it, and gives it its name by a link, which never replaces; then the folder is
//! synced. What is left of an attempt that died is overwritten by the next.
//!
//! A folder that is missing is not made: it may be a disk that is not mounted. Links are resolved before anything is opened, and what
//! leads out of the allowed folder is refused.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Map, Value};

use crate::Handler;
use crate::body::{Body, ByteRange};
use crate::error::{Error, ErrorKind, Operation};
use crate::location::Location;
use crate::payload::{Payload, PutKey};
use crate::receipt::{Assurance, Receipt};
use crate::settings::{Settings, wrong};
use crate::unfinished::{self, Place};
use crate::ways::Ways;

/// Opens a folder. Looks at nothing yet.
pub(crate) fn open(settings: &Map<String, Value>, ways: &Ways) -> Result<Arc<dyn Handler>, Error> {
    let root = PathBuf::from(Settings(settings).required("root")?);
    if !root.is_absolute() {
        return Err(wrong("root", "is no absolute path"));
    }
    let allowed = ways.client.policy().check_folder(&root).map_err(|error| {
        let what = "root lies in no folder that the administrator allows ([egress] folders in the configuration)";
        Error::new(Operation::Open, ErrorKind::Denied, what).caused(error)
    })?;
    let allowed = allowed.to_owned();
    Ok(Arc::new(Filesystem(Arc::new(Folder { root, allowed }))))
}

/// `file:///srv/recordings`.
pub(crate) fn destination(settings: &Map<String, Value>) -> String {
    let root = Settings(settings).required("root").unwrap_or_default();
    format!("file://{}", root.trim_end_matches('/'))
}

#[derive(Debug)]
struct Filesystem(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    /// The folder of the administrator that the root lies in.
    allowed: PathBuf,
}

#[async_trait]
impl Handler for Filesystem {
    async fn put(&self, location: &Location, payload: &Payload, _: &PutKey) -> Result<Receipt, Error> {
        let place = Place::of(location)?;
        // Who stops waiting for it ends it: the other thread holds no more than a look at this.
        let waiting = Arc::new(());
        let put = Put { folder: self.0.clone(), place, payload: payload.clone(), waiting: Arc::downgrade(&waiting) };
        let assurance = match blocking(move || put.run()).await? {
            Stored::Now => Assurance::Length,
            Stored::Before(path) => self.0.compare(&path, payload).await?,
        };
        drop(waiting);
        Ok(Receipt::of("filesystem", self.0.identity(), location, payload, assurance))
    }

    async fn fetch(&self, receipt: &Receipt, range: Option<ByteRange>, _: &Value) -> Result<Body, Error> {
        let place = Place::of(&receipt.location)?;
        let folder = self.0.clone();
        let found = blocking(move || folder.find(Operation::Fetch, &place)).await?;
        let (path, total) = found.ok_or_else(unfinished::gone)?;
        let outside = || Error::new(Operation::Fetch, ErrorKind::Invalid, "the range lies outside");
        let served = range.map(|range| range.within(total).ok_or_else(outside)).transpose()?;
        let part = served.map(|(first, last)| first..last + 1);
        Ok(Body {
            content_type: Some(receipt.content_type.clone()),
            total: Some(total),
            range: served,
            stream: self.0.read(&path, total).open(part).map_err(self.0.failed(Operation::Fetch)).boxed(),
        })
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Error> {
        let place = Place::of(&receipt.location)?;
        let folder = self.0.clone();
        blocking(move || {
            let Some((path, _)) = folder.find(Operation::Delete, &place)? else { return Ok(()) };
            match fs::remove_file(&path) {
                Err(error) if !is_absence(&error) => Err(folder.failed(Operation::Delete)(error)),
                _ => Ok(()),
            }
        })
        .await
    }
}

/// A put, on a thread that may block: all of it in one go, since it waits for nothing but the disk.
struct Put {
    folder: Arc<Folder>,
    place: Place,
    payload: Payload,
    waiting: Weak<()>,
}

/// Since when the payload, or something of its length, has had its name.
enum Stored {
    Now,
    Before(PathBuf),
}

impl Put {
    fn run(&self) -> Result<Stored, Error> {
        let parent = self.folder.make(Operation::Put, &self.place.folders)?;
        let (path, unfinished) =
            (parent.join(&self.place.name), parent.join(name_of(&self.place.unfinished(&self.payload))));
        match fs::symlink_metadata(&path) {
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(self.folder.failed(Operation::Put)(error)),
            Ok(_) => return Ok(Stored::Before(path)),
        }
        let written =
            self.write(&unfinished).and_then(|()| self.folder.finish(&unfinished, &path, self.payload.length));
        match written {
            Ok(true) => Ok(Stored::Now),
            other => {
                let _ = fs::remove_file(&unfinished);
                other.map(|_| Stored::Before(path))
            }
        }
    }

    /// Writes the payload under its temporary name and syncs it.
    fn write(&self, unfinished: &Path) -> Result<(), Error> {
        let failed = self.folder.failed(Operation::Put);
        // Not cut to nothing first: another attempt may be writing the same bytes to it.
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(unfinished);
        let mut file = file.map_err(&failed)?;
        self.payload.each(Error::unreadable, |piece| match self.waiting.strong_count() {
            0 => Err(Error::new(Operation::Put, ErrorKind::Interrupted, "nobody waits for it any more")),
            _ => file.write_all(piece).map_err(&failed),
        })?;
        file.sync_all().map_err(&failed)
    }
}

impl Folder {
    fn identity(&self) -> String {
        format!("file://{}", self.root.display().to_string().trim_end_matches('/'))
    }

    /// The root and the administrator's folder as they really are.
    fn real(&self, operation: Operation) -> Result<(PathBuf, PathBuf), Error> {
        let missing = |error: io::Error| match is_absence(&error) {
            true => {
                let what = "the folder of `root` is not there: create it, or mount its disk";
                Error::told(operation, ErrorKind::Unreachable, &self.identity(), None, what).caused(error)
            }
            false => self.failed(operation)(error),
        };
        let allowed = fs::canonicalize(&self.allowed).map_err(missing)?;
        let root = fs::canonicalize(&self.root).map_err(missing)?;
        match root.starts_with(&allowed) {
            true => Ok((root, allowed)),
            false => Err(self.leads_out(operation)),
        }
    }

    /// The last of these folders below the root, each made where it is missing.
    fn make(&self, operation: Operation, folders: &[String]) -> Result<PathBuf, Error> {
        let (mut path, allowed) = self.real(operation)?;
        for folder in folders {
            path.push(folder);
            match fs::create_dir(&path) {
                Ok(()) => {
                    let above = path.parent().map(fs::File::open);
                    above
                        .transpose()
                        .and_then(|above| above.map_or(Ok(()), |above| above.sync_all()))
                        .map_err(self.failed(operation))?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = fs::canonicalize(&path).map_err(self.failed(operation))?;
                    if !path.starts_with(&allowed) {
                        return Err(self.leads_out(operation));
                    }
                }
                Err(error) => return Err(self.failed(operation)(error)),
            }
        }
        Ok(path)
    }

    /// The real path of a file and its length, if it is there.
    fn find(&self, operation: Operation, place: &Place) -> Result<Option<(PathBuf, u64)>, Error> {
        let (root, allowed) = self.real(operation)?;
        let path = match fs::canonicalize(root.join(place.path().trim_start_matches('/'))) {
            Ok(path) if path.starts_with(&allowed) => path,
            Ok(_) => return Err(self.leads_out(operation)),
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(self.failed(operation)(error)),
        };
        match fs::metadata(&path) {
            Ok(about) if about.is_file() => Ok(Some((path, about.len()))),
            Ok(_) => Ok(None),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(self.failed(operation)(error)),
        }
    }

    /// That what has the name already is the payload. Something else there is a conflict.
    async fn compare(&self, path: &Path, payload: &Payload) -> Result<Assurance, Error> {
        let about = match tokio::fs::symlink_metadata(path).await {
            Err(error) if is_absence(&error) => return Err(unfinished::taken()),
            about => about.map_err(self.failed(Operation::Put))?,
        };
        if !about.is_file() || about.len() != payload.length {
            return Err(unfinished::taken());
        }
        let stream = self.read(path, about.len()).open(None).map_err(self.failed(Operation::Put));
        match unfinished::is(payload, stream.boxed()).await? {
            true => Ok(Assurance::ReadBack),
            false => Err(unfinished::taken()),
        }
    }

    /// Gives a complete file its name, for good. False when the name is taken.
    fn finish(&self, unfinished: &Path, path: &Path, length: u64) -> Result<bool, Error> {
        let failed = self.failed(Operation::Put);
        match fs::hard_link(unfinished, path) {
            Ok(()) => drop(fs::remove_file(unfinished)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            // Another attempt was first, and took the temporary name along.
            Err(error) if is_absence(&error) && path.exists() => return Ok(false),
            Err(error) if is_absence(&error) => return Err(failed(error)),
            // Not every disk knows links.
            Err(_) if path.symlink_metadata().is_ok() => return Ok(false),
            Err(_) => fs::rename(unfinished, path).map_err(&failed)?,
        }
        let parent = path.parent().map(fs::File::open).transpose().map_err(&failed)?;
        parent.map_or(Ok(()), |parent| parent.sync_all()).map_err(&failed)?;
        match fs::metadata(path).map_err(&failed)?.len() == length {
            true => Ok(true),
            false => Err(Error::mismatch("the file has another length than was written")),
        }
    }

    /// A file to be read in pieces.
    fn read(&self, path: &Path, length: u64) -> Payload {
        Payload::file(path, String::new(), length, [0; 32])
    }

    fn leads_out(&self, operation: Operation) -> Error {
        let what = "a link leads out of the folder that the administrator allows";
        Error::told(operation, ErrorKind::Denied, &self.identity(), None, what)
    }

    /// What a failure of the file system means.
    fn failed(&self, operation: Operation) -> impl Fn(io::Error) -> Error + Send + Sync + 'static {
        let url = self.identity();
        move |error| {
            use io::ErrorKind as Io;
            let (kind, what) = match error.kind() {
                Io::PermissionDenied => (
                    ErrorKind::Refused,
                    "the program may not do this below `root`: give its user the right to write there",
                ),
                Io::ReadOnlyFilesystem => (ErrorKind::Refused, "the disk below `root` is mounted read-only"),
                Io::StorageFull => (ErrorKind::Full, "the disk below `root` is full"),
                Io::QuotaExceeded => (ErrorKind::Full, "the quota below `root` is used up"),
                Io::NotFound => (ErrorKind::NotFound, "the file is not there"),
                Io::UnexpectedEof => (ErrorKind::Interrupted, "the file became shorter while it was read"),
                Io::InvalidFilename => {
                    (ErrorKind::Rejected, "the name is too long for the disk: shorten it with `field_list`")
                }
                Io::NotADirectory | Io::IsADirectory => (ErrorKind::Rejected, "a file and a folder want the same name"),
                Io::FileTooLarge => (ErrorKind::Rejected, "the disk takes no file of this size"),
                Io::StaleNetworkFileHandle => (ErrorKind::Unavailable, "the mounted disk was lost"),
                _ => (ErrorKind::Unavailable, "the disk failed"),
            };
            Error::told(operation, kind, &url, Some(format!("{:?}", error.kind())), what).caused(error)
        }
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::new(Operation::Open, ErrorKind::Interrupted, "a task was lost").caused(error))
    })
}
