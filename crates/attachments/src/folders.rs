//! Folders that are known by ids: found or made once, also where many come for the same at once, and remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::error::Error;

/// How many are remembered. Beyond, all are forgotten and found anew.
const MOST: usize = 10_000;

type Known = HashMap<(String, String), Arc<OnceCell<String>>>;

/// The folders that a handler has met.
#[derive(Debug, Default)]
pub(crate) struct Folders(Mutex<Known>);

impl Folders {
    /// The id of the folder `name` in the folder `parent`; `found` finds or makes it, and is run by one of those who ask for it together.
    pub(crate) async fn get(
        &self,
        parent: &str,
        name: &str,
        found: impl Future<Output = Result<String, Error>>,
    ) -> Result<String, Error> {
        let cell = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MOST {
                known.clear();
            }
            known.entry((parent.to_owned(), name.to_owned())).or_default().clone()
        };
        cell.get_or_try_init(|| found).await.cloned()
    }

    /// Forgets all of them: one that we knew is no longer there.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::{ErrorKind, Operation};

    #[tokio::test]
    async fn many_who_need_a_folder_make_it_once() {
        let (folders, made) = (Folders::default(), AtomicUsize::new(0));
        let make = |works: bool| {
            let made = &made;
            async move {
                tokio::task::yield_now().await;
                let count = made.fetch_add(1, Ordering::Relaxed);
                let failed = || Error::new(Operation::Put, ErrorKind::Unavailable, "");
                works.then(|| format!("id-{count}")).ok_or_else(failed)
            }
        };
        folders.get("root", "a", make(false)).await.unwrap_err();
        let all = futures_util::future::join_all((0..20).map(|_| folders.get("root", "a", make(true)))).await;
        assert!(all.iter().all(|id| id.as_ref().unwrap() == "id-1"), "{all:?}");
        assert_eq!(folders.get("id-1", "a", make(true)).await.unwrap(), "id-2", "another parent, another folder");
        folders.forget();
        assert_eq!(folders.get("root", "a", make(true)).await.unwrap(), "id-3");
    }
}
