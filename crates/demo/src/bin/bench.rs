//! `cargo bench-all`: measures the product beside its yardsticks and writes `docs/performance.md`.

use anyhow::Context;
use clap::Parser;
use serde_json::{Map, json};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use stowline_demo::bench::{Bench, NAMES, echo, machine, pieces, receiver, report, store};
use stowline_demo::binary;

/// Measures deposits, delivery, handlers, memory, routes, ingest, call records, calls, tenants in trouble and a million accounts, each beside a yardstick in the same run, and writes docs/performance.md
/// and docs/performance.json. Takes some minutes and about 40 GiB of disk; nothing else should run meanwhile.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-all --")]
struct Options {
    /// Only this one: deposits, delivery, handlers, memory, routes, ingest, cdrs, calls, api, tenants or accounts (may be given several times);
    /// of handlers one alone: handlers:s3, :azure, :google_storage, :filesystem, :webdav, :sftp, :ftp, :http, :google_drive, :dropbox, :onedrive or :reading
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Small and short, to see that everything works: prints the table and writes no file
    #[arg(long)]
    quick: bool,
    /// Where everything is written: on a disk, never on tmpfs (default: target/bench)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Be the yardstick of call records, which runs in a process of its own
    #[arg(long, hide = true)]
    echo: bool,
    /// Be the yardstick of calls, with so many sockets, writing into the data folder
    #[arg(long, hide = true, value_name = "SOCKETS", requires = "data_dir")]
    receive: Option<usize>,
    /// Be the store whose first byte is waited for, over the data folder
    #[arg(long, hide = true, requires = "data_dir")]
    store: bool,
}

/// As the program has it: the echo server is to be of the same stack.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "--") {
        arguments.remove(1);
    }
    let options = Options::parse_from(arguments);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if options.echo {
        return match runtime.block_on(echo::serve()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if let (Some(sockets), Some(folder)) = (options.receive, &options.data_dir) {
        return match runtime.block_on(receiver::receive(sockets, folder)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if let (true, Some(folder)) = (options.store, &options.data_dir) {
        return match store::serve(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    match runtime.block_on(run(options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nThe benchmarks stop here: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when every promise was kept.
async fn run(options: Options) -> anyhow::Result<bool> {
    let wanted = |name: &str, piece: &str| {
        options.only.is_empty() || options.only.iter().any(|only| only == name || only == piece)
    };
    let all: Vec<_> = NAMES.iter().map(|name| (*name, pieces(name))).collect();
    let known = |only: &str| all.iter().any(|(name, pieces)| *name == only || pieces.iter().any(|piece| piece == only));
    if let Some(unknown) = options.only.iter().find(|only| !known(only)) {
        anyhow::bail!("there is no benchmark {unknown}; there are {}", NAMES.join(", "));
    }
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let folder = options.data_dir.unwrap_or_else(|| root.join("target/bench"));
    std::fs::create_dir_all(&folder)?;
    // The handler `filesystem` takes no path that climbs.
    let folder = folder.canonicalize()?;
    machine::refuse_tmpfs(&folder)?;
    let bench = Bench { binary: binary::build()?, folder: folder.clone(), quick: options.quick };
    let mut machine = machine::describe(&folder);
    let busy = machine::busy_share();
    machine["busy_before"] = json!(busy);
    if busy > 0.1 {
        eprintln!(
            "Something else keeps {:.0} % of this machine busy: the figures will be worse than they are.",
            busy * 100.0
        );
    }
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().context("the date")?;
    let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();

    let (mut rows, mut broken, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for (name, pieces) in &all {
        for piece in pieces.iter().filter(|piece| wanted(name, piece)) {
            let outcome = bench.run(piece).await.with_context(|| format!("in {piece}"))?;
            missing.extend(outcome.missing);
            if outcome.figures.is_empty() {
                continue;
            }
            let entry = report::entry(&outcome.figures, &machine, &date);
            rows.extend(entry["figures"].as_array().cloned().unwrap_or_default());
            broken.extend(outcome.figures.into_iter().filter(|figure| figure.holds() == Some(false)));
            // At once: what was measured stays when the rest is stopped.
            if !options.quick {
                report::write(&root.join("docs"), Map::from_iter([(piece.clone(), entry)]))?;
            }
        }
    }

    println!("\n{}", report::table(&rows));
    for line in &missing {
        println!("Not measured: {line}");
    }
    if options.quick {
        println!("A quick run: these are no measurements, and nothing was written.");
        return Ok(missing.is_empty());
    }
    println!("Written: docs/performance.md, docs/performance.json");
    for figure in &broken {
        println!("Promise not kept: {}", figure.what);
    }
    Ok(broken.is_empty() && missing.is_empty())
}
