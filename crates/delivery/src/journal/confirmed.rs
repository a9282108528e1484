//! Jobs that were confirmed and are not written down as such yet: one lazy write takes all that have come by then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Their ids.
#[derive(Debug, Default)]
pub(super) struct Confirmed(Arc<Mutex<Vec<u64>>>);

/// The write of them. Given up without having run, it forgets them, as any lazy write is forgotten.
#[derive(Debug)]
pub(super) struct Confirming(Option<Arc<Mutex<Vec<u64>>>>);

impl Confirmed {
    /// Takes one more. For the first one somebody has to write.
    pub(super) fn push(&self, id: u64) -> Option<Confirming> {
        let mut ids = lock(&self.0);
        ids.push(id);
        (ids.len() == 1).then(|| Confirming(Some(self.0.clone())))
    }
}

impl Confirming {
    /// All that have come by now; the next one needs a write of its own.
    pub(super) fn take(mut self) -> Vec<u64> {
        self.0.take().map(|ids| std::mem::take(&mut *lock(&ids))).unwrap_or_default()
    }
}

impl Drop for Confirming {
    fn drop(&mut self) {
        if let Some(ids) = &self.0 {
            lock(ids).clear();
        }
    }
}

fn lock(ids: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    ids.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_write_takes_all_that_came_before_it() {
        let confirmed = Confirmed::default();
        let write = confirmed.push(1).unwrap();
        assert!(confirmed.push(2).is_none());
        assert_eq!(write.take(), [1, 2]);
        assert_eq!(confirmed.push(3).unwrap().take(), [3]);
    }

    #[test]
    fn a_write_that_is_given_up_stops_nobody() {
        let confirmed = Confirmed::default();
        drop(confirmed.push(1).unwrap());
        assert_eq!(confirmed.push(2).unwrap().take(), [2]);
    }
}
