//! What was measured, as a table for people and as numbers for programs.

use anyhow::Context;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// What is promised of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// The ratio to the yardstick is at least this.
    AtLeast(f64),
    /// The ratio to the yardstick is at most this.
    AtMost(f64),
    /// The figure itself is at most this.
    FigureAtMost(f64),
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The unit of [`Figure::ours`].
    pub unit: String,
    /// The median over the rounds.
    pub ours: f64,
    /// What it stands beside, and that one's median.
    pub yardstick: Option<(String, f64)>,
    /// The median of the rounds' ratios.
    pub ratio: Option<f64>,
    /// What is promised.
    pub bar: Option<Bar>,
    /// The numbers behind it.
    pub raw: Value,
}

impl Figure {
    /// Whether the promise is kept; `None` where there is none.
    pub fn holds(&self) -> Option<bool> {
        Some(match self.bar? {
            Bar::AtLeast(least) => self.ratio? >= least,
            Bar::AtMost(most) => self.ratio? <= most,
            Bar::FigureAtMost(most) => self.ours <= most,
        })
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what, "unit": self.unit, "ours": self.ours,
            "yardstick": self.yardstick.as_ref().map(|(name, value)| json!({"what": name, "value": value})),
            "ratio": self.ratio, "bar": self.bar.map(Bar::words), "holds": self.holds(), "raw": self.raw,
        })
    }
}

impl Bar {
    fn words(self) -> String {
        match self {
            Bar::AtLeast(least) => format!("ratio ≥ {least}"),
            Bar::AtMost(most) => format!("ratio ≤ {most}"),
            Bar::FigureAtMost(most) => format!("≤ {most}"),
        }
    }
}

/// The rows as one Markdown table.
pub fn table<'a>(figures: impl IntoIterator<Item = &'a Value>) -> String {
    let mut text = String::from("| what | ours | beside it | ratio | promised | kept |\n|---|---|---|---|---|---|\n");
    for figure in figures {
        let yardstick = match &figure["yardstick"] {
            Value::Null => "–".to_owned(),
            known => format!("{} {}", number(&known["value"]), known["what"].as_str().unwrap_or_default()),
        };
        let kept = figure["holds"].as_bool().map_or("–", |holds| if holds { "yes" } else { "**no**" });
        let _ = writeln!(
            text,
            "| {} | {} {} | {yardstick} | {} | {} | {kept} |",
            figure["what"].as_str().unwrap_or_default(),
            number(&figure["ours"]),
            figure["unit"].as_str().unwrap_or_default(),
            figure["ratio"].as_f64().map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            figure["bar"].as_str().unwrap_or("–"),
        );
    }
    text
}

fn number(value: &Value) -> String {
    match value.as_f64().unwrap_or_default() {
        big if big >= 10_000.0 => {
            let digits = format!("{big:.0}");
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
            groups.join(",")
        }
        middle if middle >= 100.0 => format!("{middle:.0}"),
        small => format!("{small:.1}"),
    }
}

/// One benchmark's rows as they are kept.
pub fn entry(figures: &[Figure], machine: &Value, date: &str) -> Value {
    json!({"date": date, "machine": machine, "figures": figures.iter().map(Figure::json).collect::<Vec<_>>()})
}

/// Puts the entries into `performance.json` and writes `performance.md` from all that is there.
///
/// # Errors
/// The files cannot be read or written.
pub fn write(folder: &Path, entries: Map<String, Value>) -> anyhow::Result<()> {
    let file = folder.join("performance.json");
    let mut all: Map<String, Value> = match std::fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).context("performance.json")?,
        Err(_) => Map::new(),
    };
    all.extend(entries);
    std::fs::write(&file, format!("{:#}\n", Value::Object(all.clone())))?;
    std::fs::write(folder.join("performance.md"), page(&all))?;
    Ok(())
}

fn page(all: &Map<String, Value>) -> String {
    let pieces = super::NAMES.iter().flat_map(|name| super::pieces(name));
    let known: Vec<_> = pieces.filter_map(|piece| all.get(&piece).map(|entry| (piece, entry))).collect();
    let figures = known.iter().filter_map(|(_, entry)| entry["figures"].as_array()).flatten();
    let mut machines = String::new();
    for (name, entry) in &known {
        let machine = &entry["machine"];
        let _ = writeln!(
            machines,
            "- `{name}`: {}; {} ({} cores), {} MiB, Linux {}, {}; {:.0} % busy with other things before",
            entry["date"].as_str().unwrap_or_default(),
            machine["processor"].as_str().unwrap_or_default(),
            machine["cores"],
            machine["memory_mib"],
            machine["kernel"].as_str().unwrap_or_default(),
            machine["file_system"].as_str().unwrap_or_default(),
            machine["busy_before"].as_f64().unwrap_or_default() * 100.0,
        );
    }
    format!("{HEAD}\n{}\n## Where and when\n\n{machines}\n{METHOD}", table(figures))
}

const HEAD: &str = "# Performance

Written by `cargo bench-all`; the numbers of each round are in `performance.json`. Every figure stands beside a yardstick that was measured
in the same run, on the same cores and the same disk, with the load generator on those cores too: the ratio is what can be compared
between machines, the figures are this machine's.
";

const METHOD: &str = "## How

The real program, release build, default configuration except `[egress] allow` (the S3 server is on loopback), `[api] max_upload_size = \"1GiB\"`
and `[log] filter = \"error\"`. The data folder is on a disk; tmpfs is refused. Rounds of ours and of the yardstick alternate; figures are medians
over the rounds, ratios are medians of the rounds' ratios.

- **deposits**: voicemails of 100 KB by multipart PUT on 16 kept-alive connections, each a different file, answered 201 only when message and
  audio are durable. Once with the S3 server away, so that nothing else is at work, and once while what was deposited is delivered.
  Beside it: 16 threads that write the same bytes to a temporary file, fsync it, rename it and fsync the folder. Nothing is removed while it runs:
  an ext4 without a journal passes over every inode that was just deleted when it looks for a new one.
- **delivery**: 10,000 voicemails are accepted while the S3 server (s3s-fs, in the load generator's process) is away; it comes back, all are made
  due, and the clock runs until none is left unverified. Beside it: `rclone copy --transfers 16 --s3-no-check-bucket` with the same files to the
  same server, whose own folder is in memory where there is room. Then one deposit at a time, from its first byte until its object is verified.
- **handlers**: each handler alone, in its layers and without a queue, beside `rclone copy --transfers` with as many files at once to the same server: s3s-fs,
  azurite and fake-gcs-server (behind a proxy of ours), nginx, OpenSSH, pyftpdlib, a folder. rclone cannot write to a plain web server; there it is `curl --parallel`.
  For `google_drive`, `dropbox` and `onedrive`, which rclone cannot be told another address of, the server is a fake of ours, and beside us is the maker's own client for
  programmers, in Python and Node: slow peers, so to beat them says little. Only their work is counted, not how long they take to load. At Dropbox both sides compute its
  digest and compare it; the other two clients compare lengths where we compare digests, of which we have to compute OneDrive's.
  Both sides make as sure of what they wrote: rclone compares lengths, and digests where the server tells them, so `webdav` and `ftp` run with `read_back` off (over
  plain connections it is on unless it is said); `http` reads back what it wrote, and so does curl, with `diff`. Our syncs of `filesystem` and `sftp` have a `sync` of the file
  system after rclone beside them. Digests are known before, as they are of what was deposited. How many small files there are is found out first, and a
  load that has had ten seconds gets no further round: some of these servers are slow. First bytes: a message of 1 MB read through the program,
  and from the S3 server by a presigned URL, in turns, each on a connection that is kept; reader, program and S3 server are a process each, new ones
  in each of nine rounds, since where they come to lie on the cores moves both figures.
- **memory**: 64 connections upload 256 MiB each at the same time, then all are delivered. The peak is the kernel's (`VmHWM`), idle is two
  seconds after the start.
- **routes**: the plan of an account out of the cache of 100,000, then from database and document type to its handler; accounts in an order
  that jumps through memory. Beside it: `HashMap<String, u64>::get` of as many entries with the same keys in the same order.
- **ingest**: 100 connections PUT messages of 100 MB at the same time with an ingest key, then all are delivered. The peak as for memory; the S3
  server's folder is in memory where there is room.
- **tenants**: a thousand accounts with a storage document each; recordings of 20 KB for all of them at a steady rate, one of ten for three of them whose
  destinations, in every other round, never answer, refuse connections, and take three seconds for each request. Beside it: the rounds before and after, in
  which they do not; the ratio is the median over seven.
  Times are from the beginning of an upload until its object arrives at the S3 server, of the other accounts alone. Retries are faster than by default.
- **cdrs**: what `mod_json_cdr` posts (JSON of 12 KB, each a leg of a call of its own) on 64 kept-alive connections, each answered 200 only when it is
  durable. Between the rounds the server is left alone until all are documents, which is the second figure; all are counted afterwards. Beside it: an axum server in a process of its own that gives back the same bodies, on as many connections, three times as many of them: so both are watched for about as long.
- **calls**: 200 calls for one mailbox over UDP, 20 ms apart; once all have heard greeting and tone, all speak for 20 s (G.711, 50 packets a second,
  each caller something else) and hang up at once. What is stored is compared with what was said, sample by sample. An object counts as verified when
  its message is there and nothing of it waits (looked at every 50 ms). Processor time is the program's while all speak; beside it: a program that
  receives the same datagrams on as many sockets and writes what they carry into files. `[sip] listen` and `trusted_peers` are set, nothing else.
- **accounts**: 1,000,000 accounts in the store, 100,000 of them with a handler and a plan of their own, below 1,000 resellers; written by the store's own
  library while no server runs, in the form that the API gives them. Beside it: 1,000 accounts, 100 with plans, in the same rounds. A start counts until
  the program listens, a route is `GET …/storage/explain` on one connection, and before each change of the system's document every plan was asked for.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whether_its_promise_is_kept() {
        let figure = |bar, ratio| Figure {
            what: "deposits".into(),
            unit: "/s".into(),
            ours: 12_345.6,
            yardstick: Some(("plain".into(), 99.94)),
            ratio: Some(ratio),
            bar: Some(bar),
            raw: Value::Null,
        };
        assert_eq!(figure(Bar::AtLeast(0.4), 0.39).holds(), Some(false));
        assert_eq!(figure(Bar::AtMost(20.0), 20.0).holds(), Some(true));
        assert_eq!(figure(Bar::FigureAtMost(64.0), 0.0).holds(), Some(false));
        let rows = [figure(Bar::AtLeast(0.4), 0.5).json()];
        let last = table(&rows).lines().last().unwrap().to_owned();
        assert_eq!(last, "| deposits | 12,346 /s | 99.9 plain | 0.50 | ratio ≥ 0.4 | yes |");
    }
}
