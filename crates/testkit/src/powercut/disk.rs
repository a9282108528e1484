//! The disk, as far as a power cut is concerned: what was written, what of it is durable, and what a failed sync has lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Mode;
use super::acts::Act;

/// What the kernel writes at once.
const PAGE: usize = 4096;

type NodeId = usize;
type Names = BTreeMap<OsString, NodeId>;

/// Files and folders, each as written and as durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    nodes: Vec<Node>,
    syncs: HashMap<usize, Sync>,
}

#[derive(Debug, Clone)]
enum Node {
    File(File),
    Folder { names: Names, durable: Names },
}

#[derive(Debug, Clone, Default)]
struct File {
    written: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Pages that differ from the disk and that the kernel knows to differ.
    dirty: BTreeSet<usize>,
    /// Pages that differ from the disk and that the kernel takes for clean.
    lost: BTreeSet<usize>,
}

/// A sync under way: what it will have made durable.
#[derive(Debug, Clone)]
enum Sync {
    File { node: NodeId, written: Arc<Vec<u8>>, dirty: BTreeSet<usize> },
    Folder { node: NodeId, names: Names },
}

/// How to replay.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    /// Classes whose syncs do nothing.
    pub(super) ignore: &'a [String],
}

/// A folder's content at a moment: every folder and every file below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
}

impl Image {
    /// The bytes of a file; none when it is not there.
    pub fn file(&self, path: impl AsRef<Path>) -> Option<&[u8]> {
        self.files.get(path.as_ref()).map(|bytes| bytes.as_slice())
    }

    /// The paths of all files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// Makes `folder` hold exactly this: what was in it is removed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn lay(&self, folder: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(folder)?,
        }
        for path in &self.folders {
            std::fs::create_dir(folder.join(path))?;
        }
        for (path, bytes) in &self.files {
            std::fs::write(folder.join(path), bytes.as_slice())?;
        }
        Ok(())
    }
}

impl Disk {
    /// A folder as it is, all of it durable.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut disk =
            Self { nodes: vec![Node::Folder { names: Names::new(), durable: Names::new() }], syncs: HashMap::new() };
        disk.read_into(0, folder)?;
        Ok(disk)
    }

    fn read_into(&mut self, parent: NodeId, folder: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with("-shm") {
                continue;
            }
            let node = if entry.file_type()?.is_dir() {
                self.add(Node::Folder { names: Names::new(), durable: Names::new() })
            } else {
                let bytes = Arc::new(std::fs::read(entry.path())?);
                self.add(Node::File(File { written: bytes.clone(), durable: bytes, ..File::default() }))
            };
            if let Node::Folder { names, durable } = &mut self.nodes[parent] {
                names.insert(entry.file_name(), node);
                durable.insert(entry.file_name(), node);
            }
            if let Node::Folder { .. } = self.nodes[node] {
                self.read_into(node, &entry.path())?;
            }
        }
        Ok(())
    }

    /// Lets an act happen. Panics when it does not fit what happened before: then the recording is not whole.
    pub(super) fn apply(&mut self, act: &Act, rules: &Rules<'_>) {
        match act {
            Act::Told(_) => {}
            Act::Open { path, create, empty } => {
                if *create && self.find(path).is_none() {
                    let node = self.add(Node::File(File::default()));
                    self.name(path, node);
                }
                if *empty {
                    self.file(path).resize(0);
                }
            }
            Act::Write { path, at, bytes } => {
                let file = self.file(path);
                let at = at.map_or(file.written.len(), |at| usize::try_from(at).expect("a place in a file"));
                file.write(at, bytes);
            }
            Act::Truncate { path, length } => self.file(path).resize(usize::try_from(*length).expect("a length")),
            Act::Extend { path, length } => {
                let file = self.file(path);
                let length = usize::try_from(*length).expect("a length").max(file.written.len());
                file.resize(length);
            }
            Act::Rename { from, to } => {
                let node = self.unname(from);
                self.name(to, node);
            }
            Act::Link { from, to } => {
                let node = self.find(from).unwrap_or_else(|| panic!("{} was linked and is not there", from.display()));
                self.name(to, node);
            }
            Act::Unlink { path } | Act::RemoveFolder { path } => {
                self.unname(path);
            }
            Act::MakeFolder { path } => {
                let node = self.add(Node::Folder { names: Names::new(), durable: Names::new() });
                self.name(path, node);
            }
            Act::SyncBegins { call, path, class } => {
                if !rules.ignore.contains(class) {
                    self.sync_begins(*call, path);
                }
            }
            Act::SyncEnds { call, done, .. } => self.sync_ends(*call, *done),
        }
    }

    /// What a power cut now leaves.
    pub(super) fn image(&self, mode: Mode) -> Image {
        let mut image = Image::default();
        self.draw(0, Path::new(""), mode, &mut image);
        image
    }

    fn draw(&self, node: NodeId, path: &Path, mode: Mode, image: &mut Image) {
        match &self.nodes[node] {
            Node::File(file) => {
                image.files.insert(path.to_owned(), file.after(mode));
            }
            Node::Folder { names, durable } => {
                if !path.as_os_str().is_empty() {
                    image.folders.insert(path.to_owned());
                }
                for (name, &node) in if mode == Mode::Strict { durable } else { names } {
                    self.draw(node, &path.join(name), mode, image);
                }
            }
        }
    }

    fn sync_begins(&mut self, call: usize, path: &Path) {
        let node = self.find(path).unwrap_or_else(|| panic!("{} was synced and is not there", path.display()));
        let sync = match &mut self.nodes[node] {
            Node::File(file) => {
                Sync::File { node, written: file.written.clone(), dirty: std::mem::take(&mut file.dirty) }
            }
            Node::Folder { names, .. } => Sync::Folder { node, names: names.clone() },
        };
        self.syncs.insert(call, sync);
    }

    fn sync_ends(&mut self, call: usize, done: bool) {
        match self.syncs.remove(&call) {
            // Its class is ignored.
            None => {}
            Some(Sync::File { node, written, dirty }) => {
                let Node::File(file) = &mut self.nodes[node] else { return };
                if done {
                    file.persist(&written, &dirty);
                } else {
                    file.lost.extend(dirty.difference(&file.dirty));
                }
            }
            Some(Sync::Folder { node, names }) => {
                if let Node::Folder { durable, .. } = &mut self.nodes[node]
                    && done
                {
                    *durable = names;
                }
            }
        }
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn find(&self, path: &Path) -> Option<NodeId> {
        let mut node = 0;
        for part in path.components() {
            match &self.nodes[node] {
                Node::Folder { names, .. } => node = *names.get(part.as_os_str())?,
                Node::File(_) => return None,
            }
        }
        Some(node)
    }

    fn file(&mut self, path: &Path) -> &mut File {
        let node = self.find(path).unwrap_or_else(|| panic!("{} was written and is not there", path.display()));
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Folder { .. } => panic!("{} was written and is a folder", path.display()),
        }
    }

    fn folder_of(&mut self, path: &Path) -> (&mut Names, OsString) {
        let name = path.file_name().unwrap_or_else(|| panic!("{} has no name", path.display())).to_owned();
        let folder = path.parent().and_then(|folder| self.find(folder));
        match folder.map(|folder| &mut self.nodes[folder]) {
            Some(Node::Folder { names, .. }) => (names, name),
            _ => panic!("the folder of {} is not there", path.display()),
        }
    }

    fn name(&mut self, path: &Path, node: NodeId) {
        let (names, name) = self.folder_of(path);
        names.insert(name, node);
    }

    fn unname(&mut self, path: &Path) -> NodeId {
        let (names, name) = self.folder_of(path);
        names.remove(&name).unwrap_or_else(|| panic!("{} went and was not there", path.display()))
    }
}

impl File {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if end > self.written.len() {
            self.resize(end);
        }
        Arc::make_mut(&mut self.written)[at..end].copy_from_slice(bytes);
        self.touch(at, end);
    }

    fn resize(&mut self, length: usize) {
        let before = self.written.len();
        Arc::make_mut(&mut self.written).resize(length, 0);
        self.touch(before.min(length), before.max(length));
    }

    fn touch(&mut self, from: usize, to: usize) {
        for page in from / PAGE..to.div_ceil(PAGE) {
            self.dirty.insert(page);
            self.lost.remove(&page);
        }
    }

    fn persist(&mut self, written: &[u8], dirty: &BTreeSet<usize>) {
        let durable = Arc::make_mut(&mut self.durable);
        durable.resize(written.len(), 0);
        for page in dirty {
            let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(written.len()));
            if from < to {
                durable[from..to].copy_from_slice(&written[from..to]);
            }
        }
    }

    fn after(&self, mode: Mode) -> Arc<Vec<u8>> {
        match mode {
            Mode::Strict | Mode::Names => self.durable.clone(),
            Mode::Written if self.lost.is_empty() => self.written.clone(),
            Mode::Written => {
                let mut bytes = (*self.written).clone();
                for page in &self.lost {
                    let (from, to) = ((page * PAGE).min(bytes.len()), ((page + 1) * PAGE).min(bytes.len()));
                    let old = self.durable.iter().skip(from).copied().chain(std::iter::repeat(0));
                    bytes[from..to].iter_mut().zip(old).for_each(|(byte, old)| *byte = old);
                }
                Arc::new(bytes)
            }
        }
    }
}
