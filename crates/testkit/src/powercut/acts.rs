//! From system calls to acts: what happened in the folder, in terms of paths and bytes, in the order in which it took effect.
//!
//! Calls overlap. A change takes effect when its call returns; a sync covers what had taken effect when it *began*; a telling counts from
//! its beginning. Each is the choice that asks more of the program.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::strace::{Call, Returned, wrong};

/// Something that happened. Paths are relative to the folder; the empty path is the folder itself.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// A file was opened that may be created by it, and may be emptied.
    Open {
        path: PathBuf,
        create: bool,
        empty: bool,
    },
    /// Bytes were written, at a place or at the end.
    Write {
        path: PathBuf,
        at: Option<u64>,
        bytes: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        length: u64,
    },
    Extend {
        path: PathBuf,
        length: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeFolder {
        path: PathBuf,
    },
    RemoveFolder {
        path: PathBuf,
    },
    SyncBegins {
        call: usize,
        path: PathBuf,
        class: String,
    },
    SyncEnds {
        call: usize,
        path: PathBuf,
        done: bool,
    },
    Told(Vec<u8>),
}

impl Act {
    /// Gives a sync another number.
    pub(super) fn renumber(&mut self, number: impl Fn(usize) -> usize) {
        if let Self::SyncBegins { call, .. } | Self::SyncEnds { call, .. } = self {
            *call = number(*call);
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, create, empty } => write!(f, "open {} create={create} empty={empty}", path.display()),
            Self::Write { path, at, bytes } => write!(f, "write {} at {at:?}: {} bytes", path.display(), bytes.len()),
            Self::Truncate { path, length } => write!(f, "truncate {} to {length}", path.display()),
            Self::Extend { path, length } => write!(f, "extend {} to {length}", path.display()),
            Self::Rename { from, to } => write!(f, "rename {} to {}", from.display(), to.display()),
            Self::Link { from, to } => write!(f, "link {} as {}", from.display(), to.display()),
            Self::Unlink { path } => write!(f, "unlink {}", path.display()),
            Self::MakeFolder { path } => write!(f, "mkdir {}", path.display()),
            Self::RemoveFolder { path } => write!(f, "rmdir {}", path.display()),
            Self::SyncBegins { call, path, .. } => write!(f, "sync {call} of {} begins", path.display()),
            Self::SyncEnds { call, path, done } => write!(f, "sync {call} of {} ends, done={done}", path.display()),
            Self::Told(bytes) => write!(f, "told {:?}", String::from_utf8_lossy(bytes)),
        }
    }
}

/// Reads the acts in `folder` out of the calls of a program that began in the folder `current`.
pub(super) fn read(calls: &[Call], folder: &Path, current: PathBuf) -> io::Result<Vec<Act>> {
    let mut moments: Vec<(usize, &Call, bool)> = Vec::new();
    for call in calls {
        moments.push((call.began, call, true));
        if let Some((ended, _)) = call.ended {
            moments.push((ended, call, false));
        }
    }
    // A call on one line begins and ends there; the beginning was pushed first and sorting is stable.
    moments.sort_by_key(|&(line, _, _)| line);
    let mut reader = Reader { folder, current, places: HashMap::new(), acts: Vec::new() };
    for (line, call, begins) in moments {
        if begins { reader.begins(call, line)? } else { reader.ends(call)? }
    }
    Ok(reader.acts)
}

struct Reader<'a> {
    folder: &'a Path,
    current: PathBuf,
    /// Where the next plain write of a descriptor goes; none is the end of the file.
    places: HashMap<u64, Option<u64>>,
    acts: Vec<Act>,
}

impl Reader<'_> {
    fn begins(&mut self, call: &Call, line: usize) -> io::Result<()> {
        match call.name.as_str() {
            "fsync" | "fdatasync" => {
                if let Some(path) = self.inside(&described(call, 0)?) {
                    let class = class(&path, self.folder);
                    self.acts.push(Act::SyncBegins { call: line, path, class });
                }
            }
            "close" => {
                self.places.remove(&number(&call.arguments[0])?);
            }
            "write" | "writev" | "sendto" | "sendmsg" => {
                let target = descriptor(&call.arguments[0])?;
                let stdout = target.number == 1 && self.inside(Path::new(&target.path)).is_none();
                if stdout || target.path.starts_with("socket:") {
                    self.acts.push(Act::Told(texts(&call.arguments[1])?.concat()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn ends(&mut self, call: &Call) -> io::Result<()> {
        let Some((_, returned)) = call.ended else { return Ok(()) };
        if let "fsync" | "fdatasync" = call.name.as_str() {
            if let Some(path) = self.inside(&described(call, 0)?) {
                self.acts.push(Act::SyncEnds { call: call.began, path, done: returned != Returned::Failure });
            }
            return Ok(());
        }
        let Returned::Number(result) = returned else { return Ok(()) };
        let arguments = &call.arguments;
        match call.name.as_str() {
            "open" => self.open(&self.named(&arguments[0])?, &arguments[1], result),
            "creat" => self.open(&self.named(&arguments[0])?, "O_CREAT|O_TRUNC", result),
            "openat" | "openat2" => self.open(&at(arguments, 0)?, &arguments[2], result),
            "write" | "writev" => self.write(call, None, result),
            "pwrite64" | "pwritev" | "pwritev2" => self.write(call, Some(number(&arguments[3])?), result),
            "ftruncate" => self.resize(&described(call, 0)?, number(&arguments[1])?, true),
            "truncate" => self.resize(&self.named(&arguments[0])?, number(&arguments[1])?, true),
            "fallocate" => {
                let path = described(call, 0)?;
                match arguments[1].as_str() {
                    "0" => self.resize(&path, number(&arguments[2])? + number(&arguments[3])?, false),
                    "FALLOC_FL_KEEP_SIZE" => Ok(()),
                    _ => self.refuse(call, &path),
                }
            }
            "rename" => self.rename(self.named(&arguments[0])?, self.named(&arguments[1])?),
            "renameat" => self.rename(at(arguments, 0)?, at(arguments, 2)?),
            "renameat2" => match arguments[4].as_str() {
                "0" | "RENAME_NOREPLACE" => self.rename(at(arguments, 0)?, at(arguments, 2)?),
                _ => self.refuse(call, &at(arguments, 0)?),
            },
            "link" => self.link(self.named(&arguments[0])?, self.named(&arguments[1])?),
            "linkat" => self.link(at(arguments, 0)?, at(arguments, 2)?),
            "unlink" => self.gone(self.named(&arguments[0])?, false),
            "rmdir" => self.gone(self.named(&arguments[0])?, true),
            "unlinkat" => self.gone(at(arguments, 0)?, arguments[2].contains("AT_REMOVEDIR")),
            "mkdir" => self.made(self.named(&arguments[0])?),
            "mkdirat" => self.made(at(arguments, 0)?),
            "symlink" => self.refuse(call, &self.named(&arguments[1])?),
            "symlinkat" => self.refuse(call, &at(arguments, 1)?),
            "mknod" => self.refuse(call, &self.named(&arguments[0])?),
            "mknodat" => self.refuse(call, &at(arguments, 0)?),
            "copy_file_range" | "splice" => self.refuse(call, &described(call, 2)?),
            "sendfile" => self.refuse(call, &described(call, 0)?),
            "io_uring_setup" => Err(wrong("io_uring writes past the recorder", "")),
            "chdir" => {
                self.current = self.named(&arguments[0])?;
                Ok(())
            }
            "fchdir" => {
                self.current = described(call, 0)?;
                Ok(())
            }
            "lseek" => {
                if let Some(place @ Some(_)) = self.places.get_mut(&number(&arguments[0])?) {
                    *place = Some(result);
                }
                Ok(())
            }
            "dup" | "dup2" | "dup3" => self.duplicate(&arguments[0], result),
            "fcntl" if arguments[1].starts_with("F_DUPFD") => self.duplicate(&arguments[0], result),
            // `sync` and its kind promise more than can be relied on everywhere: they count for nothing.
            _ => Ok(()),
        }
    }

    fn open(&mut self, path: &Path, flags: &str, descriptor: u64) -> io::Result<()> {
        let has = |flag: &str| flags.split(['|', ' ', '{', '}', ',', '=']).any(|word| word == flag);
        self.places.insert(descriptor, if has("O_APPEND") { None } else { Some(0) });
        let Some(path) = self.inside(path) else { return Ok(()) };
        if has("O_TMPFILE") {
            return Err(wrong("a file without a name", flags));
        }
        self.acts.push(Act::Open { path, create: has("O_CREAT"), empty: has("O_TRUNC") });
        Ok(())
    }

    fn write(&mut self, call: &Call, at: Option<u64>, written: u64) -> io::Result<()> {
        let target = descriptor(&call.arguments[0])?;
        let path = self.inside(Path::new(&target.path)).filter(|_| !target.deleted);
        let place = match (at, self.places.get_mut(&target.number)) {
            (Some(at), _) => Some(at),
            (None, Some(Some(place))) => {
                let at = *place;
                *place += written;
                Some(at)
            }
            (None, Some(None)) => None,
            (None, None) if path.is_none() => return Ok(()),
            (None, None) => return Err(wrong("a write to a descriptor that was never opened", &target.path)),
        };
        let Some(path) = path else { return Ok(()) };
        let mut bytes = texts(&call.arguments[1])?.concat();
        bytes.truncate(usize::try_from(written).unwrap_or(usize::MAX));
        self.acts.push(Act::Write { path, at: place, bytes });
        Ok(())
    }

    fn resize(&mut self, path: &Path, length: u64, may_shrink: bool) -> io::Result<()> {
        if let Some(path) = self.inside(path) {
            self.acts.push(if may_shrink { Act::Truncate { path, length } } else { Act::Extend { path, length } });
        }
        Ok(())
    }

    fn rename(&mut self, from: PathBuf, to: PathBuf) -> io::Result<()> {
        match (self.inside(&from), self.inside(&to)) {
            (Some(from), Some(to)) => self.acts.push(Act::Rename { from, to }),
            (None, None) => {}
            _ => return Err(wrong("a rename over the folder's edge", &from.to_string_lossy())),
        }
        Ok(())
    }

    fn link(&mut self, from: PathBuf, to: PathBuf) -> io::Result<()> {
        match (self.inside(&from), self.inside(&to)) {
            (Some(from), Some(to)) => self.acts.push(Act::Link { from, to }),
            (_, None) => {}
            (None, Some(_)) => return Err(wrong("a link over the folder's edge", &from.to_string_lossy())),
        }
        Ok(())
    }

    fn gone(&mut self, path: PathBuf, folder: bool) -> io::Result<()> {
        if let Some(path) = self.inside(&path) {
            self.acts.push(if folder { Act::RemoveFolder { path } } else { Act::Unlink { path } });
        }
        Ok(())
    }

    fn made(&mut self, path: PathBuf) -> io::Result<()> {
        if let Some(path) = self.inside(&path) {
            self.acts.push(Act::MakeFolder { path });
        }
        Ok(())
    }

    /// A path that a call was given alone.
    fn named(&self, argument: &str) -> io::Result<PathBuf> {
        Ok(self.current.join(text(argument)?))
    }

    /// Two descriptors then share a place; here each keeps its own, which only plain writes through both would notice.
    fn duplicate(&mut self, from: &str, to: u64) -> io::Result<()> {
        match self.places.get(&number(from)?) {
            Some(&place) => self.places.insert(to, place),
            None => self.places.remove(&to),
        };
        Ok(())
    }

    fn refuse(&self, call: &Call, path: &Path) -> io::Result<()> {
        match self.inside(path) {
            Some(_) => Err(wrong("a call that cannot be replayed", &call.name)),
            None => Ok(()),
        }
    }

    /// The path below the folder, if it is there and counts.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let path = path.strip_prefix(self.folder).ok()?;
        let shared_memory = path.as_os_str().to_string_lossy().ends_with("-shm");
        (!shared_memory).then(|| path.to_owned())
    }
}

struct Descriptor {
    number: u64,
    path: String,
    deleted: bool,
}

/// `5<\x2f…>` or `5<\x2f…>(deleted)`.
fn descriptor(argument: &str) -> io::Result<Descriptor> {
    let bad = || wrong("a descriptor", argument);
    let (number, rest) = argument.split_once('<').unwrap_or((argument, ">"));
    let (path, tail) = rest.rsplit_once('>').ok_or_else(bad)?;
    let path = String::from_utf8_lossy(&unescape(path)?).into_owned();
    Ok(Descriptor { number: number.parse().map_err(|_| bad())?, path, deleted: tail.contains("deleted") })
}

/// The path of the descriptor among the arguments. A removed file has none that matters.
fn described(call: &Call, index: usize) -> io::Result<PathBuf> {
    let target = descriptor(&call.arguments[index])?;
    Ok(if target.deleted { PathBuf::new() } else { target.path.into() })
}

/// The path that a folder's descriptor and a name make.
fn at(arguments: &[String], index: usize) -> io::Result<PathBuf> {
    let name = text(&arguments[index + 1])?;
    let folder = match arguments[index].strip_prefix("AT_FDCWD") {
        Some(rest) => descriptor(&format!("0{rest}"))?.path,
        None => descriptor(&arguments[index])?.path,
    };
    Ok(Path::new(&folder).join(name))
}

fn number(argument: &str) -> io::Result<u64> {
    let digits: &str = argument.split('<').next().unwrap_or_default();
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| wrong("a number", argument)),
        None => digits.parse().map_err(|_| wrong("a number", argument)),
    }
}

fn text(argument: &str) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&texts(argument)?.concat()).into_owned())
}

/// All texts in an argument: its own, or those of a list of buffers.
fn texts(argument: &str) -> io::Result<Vec<Vec<u8>>> {
    if argument.contains("\"...") {
        return Err(wrong("a text that was cut", argument));
    }
    argument.split('"').skip(1).step_by(2).map(unescape).collect()
}

/// `\x2f\x74` to bytes.
fn unescape(text: &str) -> io::Result<Vec<u8>> {
    let bad = || wrong("a text", text);
    let pairs = text.split("\\x").skip(1);
    let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16)).collect::<Result<_, _>>().map_err(|_| bad())?;
    if bytes.len() * 4 == text.len() { Ok(bytes) } else { Err(bad()) }
}

/// What kind of file this is, apart from numbers and random names.
fn class(path: &Path, folder: &Path) -> String {
    let parts: Vec<String> = path.components().map(|part| plain(&part.as_os_str().to_string_lossy())).collect();
    let is_folder = folder.join(path).is_dir();
    match (parts.is_empty(), is_folder) {
        (true, _) => "./".into(),
        (false, true) => parts.join("/") + "/",
        (false, false) => parts.join("/"),
    }
}

/// Replaces words of digits, and words that mix digits and hexadecimal letters.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    let mut word = String::new();
    for letter in name.chars().chain(['\0']) {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
            continue;
        }
        let random =
            word.chars().any(|letter| letter.is_ascii_digit()) && word.chars().all(|letter| letter.is_ascii_hexdigit());
        plain.push_str(if random { "*" } else { &word });
        word.clear();
        if letter != '\0' {
            plain.push(letter);
        }
    }
    plain
}
