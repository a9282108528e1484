//! Small payloads: records of a log instead of files of their own.
//!
//! The head of a record is the payload's id. Which of those that an earlier process left are still wanted, the journal knows; until it was asked
//! ([`sweep`](super::Spool::sweep)) all are kept.
//!
//! A payload that stays for weeks, because its destination is away for so long, would hold a whole segment. When little else is left in one, what is
//! left moves into files ([`tidy`](super::Spool::tidy)): first the file, durable, then the record is let go. A payload that is found in both places is the file's.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use appendlog::{AppendLog, Place};
use bytes::Bytes;

use super::FileId;
use crate::Error;

#[derive(Debug)]
pub(super) struct Small {
    log: AppendLog,
    places: Mutex<HashMap<FileId, Place>>,
}

impl Small {
    /// Opens the log in `dir`, which exists. `is_file` tells which payloads are files.
    pub(super) fn open(dir: &Path, writers: usize, is_file: impl Fn(&FileId) -> bool) -> Result<Self, Error> {
        let (log, found) = AppendLog::open_with(dir, writers)?;
        let mut places = HashMap::new();
        for record in found {
            let file = <[u8; 16]>::try_from(record.head.as_slice()).ok().map(FileId::from_bytes);
            match file.filter(|file| !is_file(file)) {
                // Nothing is written twice under one id.
                Some(file) => places.insert(file, record.place).iter().for_each(|twin| log.release(twin)),
                None => log.release(&record.place),
            }
        }
        Ok(Self { log, places: Mutex::new(places) })
    }

    /// Writes a payload down. Durable when this returns.
    pub(super) async fn publish(&self, file: &FileId, pieces: Vec<Bytes>) -> Result<(), Error> {
        let place = self.log.append(file.as_bytes().to_vec(), pieces).await?;
        self.places().insert(file.clone(), place);
        Ok(())
    }

    /// Its bytes; none when it is not here. Blocks for one read.
    pub(super) fn read(&self, file: &FileId) -> io::Result<Option<Bytes>> {
        let Some(place) = self.place(file) else { return Ok(None) };
        match self.log.read(&place) {
            // It has moved, or was removed, since.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.place(file).is_none() => Ok(None),
            read => read.map(Some),
        }
    }

    /// Lets a payload go. False when it is not here.
    pub(super) fn remove(&self, file: &FileId) -> bool {
        let place = self.places().remove(file);
        place.iter().for_each(|place| self.log.release(place));
        place.is_some()
    }

    /// All that are here.
    pub(super) fn files(&self) -> Vec<FileId> {
        self.places().keys().cloned().collect()
    }

    /// Those for whose sake alone a segment is kept.
    pub(super) fn stragglers(&self) -> Vec<FileId> {
        let sparse: HashSet<u64> = self.log.sparse().into_iter().collect();
        let places = self.places();
        places.iter().filter(|(_, place)| sparse.contains(&place.segment())).map(|(file, _)| file.clone()).collect()
    }

    fn place(&self, file: &FileId) -> Option<Place> {
        self.places().get(file).copied()
    }

    fn places(&self) -> MutexGuard<'_, HashMap<FileId, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
