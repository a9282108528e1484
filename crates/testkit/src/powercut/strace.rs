//! Running `strace` and reading what it wrote: lines become calls, each with the place where it began and where it ended.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// Everything that can change a folder or tell something. A `?` stands before what not every machine has.
const CALLS: &str = "?open,openat,?openat2,?creat,write,pwrite64,writev,pwritev,?pwritev2,ftruncate,?truncate,fallocate,\
    ?rename,?renameat,renameat2,?link,linkat,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,?symlink,symlinkat,?mknod,mknodat,\
    fsync,fdatasync,?sync_file_range,?syncfs,?sync,close,chdir,fchdir,dup,?dup2,dup3,fcntl,lseek,sendto,sendmsg,\
    ?copy_file_range,sendfile,splice,?io_uring_setup";

/// A system call of a thread, with the lines of the log on which it began and ended.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    /// Its arguments as strace prints them, split at the commas.
    pub(super) arguments: Vec<String>,
    pub(super) began: usize,
    /// Where it ended and what it returned; a call that death cut short has none.
    pub(super) ended: Option<(usize, Returned)>,
}

/// What a call returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returned {
    Number(u64),
    Failure,
}

pub(super) fn start(command: &Command, log: &Path, faults: &[String]) -> io::Result<Child> {
    let mut strace = Command::new("strace");
    if !faults.iter().any(|fault| fault.contains("signal=")) {
        // Faster, but a signal would come too late.
        strace.arg("--seccomp-bpf");
    }
    strace.args(["-f", "-y", "-xx", "-s", "67108864", "-e", "signal=none", "-e"]);
    strace.arg(format!("trace={CALLS}"));
    for fault in faults {
        strace.arg("-e").arg(format!("inject={fault}"));
    }
    strace.arg("-o").arg(log).arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// The program that this strace runs.
pub(super) fn tracee(strace: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Reads streams that nobody took, so that the program never waits for a reader.
pub(super) fn swallow(child: &mut Child) -> Vec<JoinHandle<()>> {
    fn swallow(mut stream: impl Read + Send + 'static) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let _ = io::copy(&mut stream, &mut io::sink());
        })
    }
    child.stdout.take().map(swallow).into_iter().chain(child.stderr.take().map(swallow)).collect()
}

/// Reads the log. The calls come in the order in which they began.
pub(super) fn calls(log: &[u8]) -> io::Result<Vec<Call>> {
    let text = std::str::from_utf8(log).map_err(|_| wrong("it is not text", ""))?;
    let mut calls: Vec<Call> = Vec::new();
    // By thread: the call that has begun, with the text of its beginning.
    let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            let (name, _) = head.split_once('(').ok_or_else(|| wrong("a call without arguments", line))?;
            begun.insert(thread, (calls.len(), head.trim_end()));
            calls.push(Call { name: name.to_owned(), arguments: arguments(head), began: number, ended: None });
        } else if rest.starts_with("<... ") {
            let (_, tail) = rest.split_once(" resumed>").ok_or_else(|| wrong("a resumed call", line))?;
            let (index, head) = begun.remove(thread).ok_or_else(|| wrong("a call resumed that never began", line))?;
            let (inside, returned) = ending(tail).ok_or_else(|| wrong("a call without an end", line))?;
            calls[index].arguments = arguments(&format!("{head}{inside}"));
            calls[index].ended = returned.map(|returned| (number, returned));
        } else {
            let (name, _) = rest.split_once('(').ok_or_else(|| wrong("neither call nor event", line))?;
            let (inside, returned) = ending(rest).ok_or_else(|| wrong("a call without an end", line))?;
            let ended = returned.map(|returned| (number, returned));
            calls.push(Call { name: name.to_owned(), arguments: arguments(inside), began: number, ended });
        }
    }
    Ok(calls)
}

/// Splits `…) = result` into what stands before it and the result; none in place of `?`.
fn ending(text: &str) -> Option<(&str, Option<Returned>)> {
    // Texts are in hexadecimal: no argument holds an equals sign with spaces around it.
    let (inside, result) = text.rsplit_once(" = ")?;
    let inside = inside.trim_end().strip_suffix(')')?;
    let word = result.split([' ', '<']).next()?;
    let returned = match word {
        "?" => None,
        "-1" => Some(Returned::Failure),
        word => Some(Returned::Number(match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok()?,
            None => word.parse().ok()?,
        })),
    };
    Some((inside, returned))
}

/// `name(a, b, [c, d]` to `a`, `b`, `[c, d]`.
fn arguments(call: &str) -> Vec<String> {
    let inside = call.split_once('(').map_or("", |(_, inside)| inside);
    let (mut arguments, mut depth, mut from) = (Vec::new(), 0_u32, 0);
    for (at, letter) in inside.char_indices() {
        match letter {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                arguments.push(inside[from..at].trim().to_owned());
                from = at + 1;
            }
            _ => {}
        }
    }
    arguments.push(inside[from..].trim().to_owned());
    arguments
}

pub(super) fn wrong(what: &str, line: &str) -> io::Error {
    let line: String = line.chars().take(300).collect();
    io::Error::other(format!("the recording cannot be read: {what}: {line}"))
}
