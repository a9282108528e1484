//! What the watcher minds, from one look at the folder to the next.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::folder::Item;
use crate::footprint::Footprint;
use crate::pace::Pace;
use crate::settling::{Settling, Standing};
use crate::{Settings, kinds, writers};

/// What is minded of the files.
#[derive(Debug)]
pub(crate) struct Attention {
    settings: Arc<Settings>,
    root: PathBuf,
    /// How failures are waited out.
    pub(crate) pace: Pace,
    settling: Settling,
    /// Ready or on their way.
    taken: HashSet<PathBuf>,
    /// Done, and still there on purpose.
    finished: HashMap<PathBuf, Vec<Footprint>>,
    /// Done, and still there against our will.
    arrived: HashMap<PathBuf, Vec<Footprint>>,
    /// Nothing more is tried with them in this run.
    given_up: HashSet<PathBuf>,
}

/// What a look at the folder found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// What stands still and may be sent, oldest first.
    pub(crate) still: Vec<Item>,
    /// So many items are there with which something is still to be done.
    pub(crate) pending: usize,
    /// So many symbolic links were passed by.
    pub(crate) links: usize,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Attention {
    pub(crate) fn new(settings: Arc<Settings>, root: PathBuf) -> Self {
        Self {
            pace: Pace::new(settings.backoff),
            settings,
            root,
            settling: Settling::default(),
            taken: HashSet::new(),
            finished: HashMap::new(),
            arrived: HashMap::new(),
            given_up: HashSet::new(),
        }
    }

    /// Looks at the whole folder; gives at most `room` items. May block.
    pub(crate) fn look(&mut self, room: usize) -> io::Result<Look> {
        let now = Instant::now();
        let mut look = Look::default();
        let mut met = HashSet::new();
        self.settling.begin();
        let (settings, root) = (self.settings.clone(), self.root.clone());
        look.links = kinds::find(&settings, &root, &mut |item| self.meet(item, now, &mut look, &mut met))?;
        self.settling.end();
        self.finished.retain(|name, _| met.contains(name));
        self.arrived.retain(|name, _| met.contains(name));
        self.pace.tidy(now);
        self.drop_written(&mut look, now);
        look.still.sort_by_key(|item| item.main.footprint.modified);
        look.still.truncate(room);
        self.taken.extend(look.still.iter().map(|item| item.name().to_owned()));
        look.took = now.elapsed();
        Ok(look)
    }

    fn meet(&mut self, item: Item, now: Instant, look: &mut Look, met: &mut HashSet<PathBuf>) {
        let name = item.name();
        if let Some(footprints) = self.finished.get(name) {
            met.insert(name.to_owned());
            if *footprints == item.footprints() {
                return;
            }
        }
        if self.arrived.contains_key(name) {
            met.insert(name.to_owned());
        }
        if self.given_up.contains(name) {
            return;
        }
        look.pending += 1;
        if self.taken.contains(name) || self.pace.waits(name, now) {
            return;
        }
        match self.settling.look(&item, now, self.settings.settle) {
            Standing::Still => look.still.push(item),
            Standing::Changed if self.settings.once => self.pass_by(name, look),
            Standing::Changed | Standing::New | Standing::Later => {}
        }
    }

    /// A file that is still written to has nothing to do with a single run.
    fn pass_by(&mut self, name: &Path, look: &mut Look) {
        tracing::warn!(file = %name.display(), "is still written to: the next run takes it");
        self.given_up.insert(name.to_owned());
        look.pending -= 1;
    }

    /// What is open for writing does not stand still, whatever it looks like.
    fn drop_written(&mut self, look: &mut Look, now: Instant) {
        let file = |footprint: &Footprint| (footprint.device, footprint.inode);
        let asked: HashSet<_> = look.still.iter().flat_map(|item| item.footprints()).map(|f| file(&f)).collect();
        let written = writers::written_to(&self.root, &asked);
        if written.is_empty() {
            return;
        }
        let (busy, still): (Vec<_>, Vec<_>) = std::mem::take(&mut look.still)
            .into_iter()
            .partition(|item| item.files().any(|found| written.contains(&file(&found.footprint))));
        look.still = still;
        for item in busy {
            self.settling.restart(item.name(), now);
            if self.settings.once {
                self.pass_by(item.name(), look);
            }
        }
    }

    /// The item's upload has ended: it may be met again.
    pub(crate) fn release(&mut self, name: &Path) {
        self.taken.remove(name);
        self.settling.forget(name);
    }

    /// Nothing more is to be done with the item. `stays` when it is still there.
    pub(crate) fn finish(&mut self, item: &Item, stays: bool) {
        self.arrived.remove(item.name());
        if stays {
            self.finished.insert(item.name().to_owned(), item.footprints());
        }
    }

    /// The store has it, but it is still here.
    pub(crate) fn arrive(&mut self, item: &Item) {
        self.arrived.insert(item.name().to_owned(), item.footprints());
    }

    /// Whether the store has exactly this.
    pub(crate) fn has_arrived(&self, item: &Item) -> bool {
        self.arrived.get(item.name()).is_some_and(|footprints| *footprints == item.footprints())
    }

    /// Nothing more is tried with it in this run.
    pub(crate) fn give_up(&mut self, name: &Path) {
        self.given_up.insert(name.to_owned());
    }

    /// With how many nothing more is tried.
    pub(crate) fn given_up(&self) -> usize {
        self.given_up.len()
    }
}
