//! Small payloads: records of a log instead of files of their own.
//!
//! The head of a record is the payload's id, and after it what its depositor has noted: durable with the payload, and given back at the next opening. Which of those that an earlier process left are still wanted, the journal knows; until it was asked
//! ([`sweep`](super::Spool::sweep)) all are kept.
//!
//! A payload that stays for weeks, because its destination is away for so long, would hold a whole segment. When little else is left in one, what is
//! left moves into files ([`tidy`](super::Spool::tidy)): first the file, durable, then the record is let go. A payload that is found in both places is the file's.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use appendlog::{AppendLog, Options, Place};
use bytes::Bytes;

use super::{FileId, Noted};
use crate::Error;

#[derive(Debug)]
pub(super) struct Small {
    log: AppendLog,
    places: Mutex<HashMap<FileId, Place>>,
}

impl Small {
    /// Opens the log in `dir`, which exists; answers the notes that are `wanted` too. `is_file` tells which payloads are files.
    pub(super) fn open(
        dir: &Path,
        options: Options,
        is_file: impl Fn(&FileId) -> bool,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<(Self, Vec<Noted>), Error> {
        let (mut places, mut notes, mut stale) = (HashMap::new(), Vec::new(), Vec::new());
        let log = AppendLog::open_each(dir, options, |record| {
            let head = record.head.split_first_chunk().map(|(id, note)| (FileId::from_bytes(*id), note));
            match head.filter(|(file, _)| !is_file(file)) {
                Some((file, note)) => {
                    if !note.is_empty() && wanted(note) {
                        notes.push(Noted { file: file.clone(), note: note.to_vec() });
                    }
                    // Nothing is written twice under one id.
                    stale.extend(places.insert(file, record.place));
                }
                None => stale.push(record.place),
            }
        })?;
        stale.iter().for_each(|place| log.release(place));
        Ok((Self { log, places: Mutex::new(places) }, notes))
    }

    /// Writes a payload down, and what is noted of it. Durable when this returns.
    pub(super) async fn publish(&self, file: &FileId, note: &[u8], pieces: Vec<Bytes>) -> Result<(), Error> {
        let place = self.log.append([file.as_bytes(), note].concat(), pieces).await?;
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
