//! Where the key comes from: a file that is made at the first start, or somebody else who keeps it.
//!
//! What is given by the environment or printed by a command is taken as it is, with every start. Nothing is made, written or kept of it then, and
//! who gives none is refused. Several keys may stand there, the one that seals first: that is how a key is changed for another.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use zeroize::Zeroizing;

use crate::config::Secret;

pub(super) type Root = Zeroizing<[u8; 32]>;

/// Where the key comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file beside the data folder.
    File(PathBuf),
    /// The configuration itself, which is to say the environment.
    Given(Secret),
    /// What a program prints.
    Command(Vec<String>),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "the key at {}", file.display()),
            Self::Given(_) => f.write_str("the key in [keys] key"),
            // Its arguments may hold what is nobody's business.
            Self::Command(command) => {
                write!(f, "the key that {} prints", command.first().map_or("", String::as_str))
            }
        }
    }
}

impl Source {
    /// The keys that are there, the one that seals first; none where a file is yet to be made.
    pub(super) fn read(&self) -> anyhow::Result<Vec<Root>> {
        let text = match self {
            Self::File(file) => match read_file(file)? {
                Some(text) => text,
                None => return Ok(Vec::new()),
            },
            Self::Given(secret) => Zeroizing::new(secret.expose().to_owned()),
            Self::Command(command) => printed(command)?,
        };
        let read = |digits: &str| {
            let bytes = Zeroizing::new(hex::decode(digits).unwrap_or_default());
            let root: [u8; 32] =
                bytes.as_slice().try_into().map_err(|_| anyhow::anyhow!("{self} is not 64 hexadecimal digits"))?;
            Ok(Zeroizing::new(root))
        };
        let parts = text.split(|c: char| c.is_whitespace() || c == ',').filter(|part| !part.is_empty());
        let roots: Vec<Root> = parts.map(read).collect::<anyhow::Result<_>>()?;
        if roots.is_empty() {
            bail!("{self} is empty");
        }
        Ok(roots)
    }

    /// A new key in the file. Nobody else is given one.
    pub(super) fn make(&self) -> anyhow::Result<Root> {
        let Self::File(file) = self else { bail!("{self} is missing") };
        let root = Zeroizing::new(rand::random::<[u8; 32]>());
        write_keys(file, &[&root])?;
        tracing::info!(file = %file.display(), "made the key that seals secrets; back it up, apart from the data folder");
        Ok(root)
    }
}

fn read_file(file: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
    let mut opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot open the key {}", file.display())),
    };
    let mode = opened.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("the key {} can be read by others (mode {:o}): chmod 600 it", file.display(), mode & 0o777);
    }
    let mut text = Zeroizing::new(String::new());
    opened.read_to_string(&mut text).with_context(|| format!("cannot read the key {}", file.display()))?;
    Ok(Some(text))
}

/// What a program prints on its standard output. What it says on the other one goes where ours goes.
fn printed(command: &[String]) -> anyhow::Result<Zeroizing<String>> {
    let (program, arguments) = command.split_first().context("[keys] command names no program")?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {program}, which [keys] command names"))?;
    let text = Zeroizing::new(output.stdout);
    if !output.status.success() {
        bail!("{program}, which is to print the key, ended with {}", output.status);
    }
    let text = std::str::from_utf8(&text).map_err(|_| anyhow::anyhow!("what {program} prints is no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Writes keys to the file, one a line, readable by its owner only.
pub(super) fn write_keys(file: &Path, roots: &[&[u8; 32]]) -> anyhow::Result<()> {
    let mut text = Zeroizing::new(String::new());
    for root in roots {
        text.push_str(&hex::encode(root));
        text.push('\n');
    }
    write_durably(file, text.as_bytes(), 0o600)
}

/// Writes a small file so that it is whole and on disk when this returns, or not there at all.
pub(super) fn write_durably(file: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let context = || format!("cannot write {}", file.display());
    // A half-written one of an earlier start is worthless: it never got its name.
    let _ = fs::remove_file(&name);
    let mut new = OpenOptions::new().write(true).create_new(true).mode(mode).open(&name).with_context(context)?;
    new.write_all(bytes).and_then(|()| new.sync_all()).with_context(context)?;
    fs::rename(&name, file).with_context(context)?;
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> Source {
        Source::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[test]
    fn a_command_prints_the_keys_or_nothing_starts() {
        let key = "5a".repeat(32);
        let read = command(&format!("echo {key}; echo {}", "6b".repeat(32))).read().unwrap();
        assert_eq!((read.len(), *read[0], *read[1]), (2, [0x5a; 32], [0x6b; 32]));
        for (script, wanted) in [
            (format!("echo {key}; exit 3"), "ended with"),
            ("true".to_owned(), "is empty"),
            ("echo 1234".to_owned(), "64 hexadecimal digits"),
            (format!("echo {key}{key}"), "64 hexadecimal digits"),
        ] {
            let error = command(&script).read().unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains(&key), "{script}: {error}");
        }
        let nobody = Source::Command(vec!["/nowhere/at/all".into()]);
        assert!(nobody.read().unwrap_err().to_string().contains("cannot run /nowhere/at/all"));
        assert!(Source::Command(Vec::new()).read().is_err());
        assert!(command("true").make().is_err(), "nobody else is given a key");
    }

    #[test]
    fn nothing_of_it_prints_the_key() {
        let key = "5a".repeat(32);
        let given = Source::Given(serde_json::from_value(key.as_str().into()).unwrap());
        assert_eq!(*given.read().unwrap()[0], [0x5a; 32]);
        assert!(!format!("{given:?} {given}").contains(&key));
    }
}
