//! `cargo demo`: the article's walk on this machine, step by step, against the real program and a real S3 server.

use anyhow::Context;
use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use stowline_demo::story::Story;
use stowline_demo::walk::{Stage, Walk};
use stowline_demo::{binary, ports};

/// Walks the article «Alternative Storage Options for Kazoo»: the server and an S3-compatible store start on the loopback
/// address, storage and a plan are configured, a voicemail of real speech is left by the API and one by telephone, and their objects
/// are shown in the bucket.
#[derive(Debug, Parser)]
#[command(name = "cargo demo --")]
struct Options {
    /// Where the API listens (default 127.0.0.1:8000 as in the article; a free port with --exit)
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Where the S3 server listens (default 127.0.0.1:9000; a free port with --exit)
    #[arg(long, value_name = "IP:PORT")]
    s3_listen: Option<SocketAddr>,
    /// Where calls are taken, over UDP and TCP (default 127.0.0.1:5060; a free port with --exit)
    #[arg(long, value_name = "IP:PORT")]
    sip_listen: Option<SocketAddr>,
    /// Leave when the walk is done; the exit status is not zero when a step failed
    #[arg(long)]
    exit: bool,
    /// Keep data and objects here (default: a temporary folder, removed at the end)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    // `cargo demo -- --exit` hands the program a `--` of its own: the alias ends in one already.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "--") {
        arguments.remove(1);
    }
    let options = Options::parse_from(arguments);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match runtime.block_on(run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo stops here: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let choose = |given: Option<SocketAddr>, usual: u16| {
        given.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], if options.exit { 0 } else { usual })))
    };
    let listen = choose(options.listen, 8000);
    let s3_listen = choose(options.s3_listen, 9000);
    ports::check(listen, "the API", "--listen")?;
    ports::check(s3_listen, "the S3 server", "--s3-listen")?;
    let sip_listen = choose(options.sip_listen, 5060);
    ports::check(sip_listen, "the telephony", "--sip-listen")?;
    ports::check_udp(sip_listen, "the telephony", "--sip-listen")?;
    let binary = binary::build()?;
    let temporary = match &options.data_dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("no temporary folder")?),
    };
    let folder = match (&options.data_dir, &temporary) {
        (Some(folder), _) => std::path::absolute(folder)?,
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => anyhow::bail!("no folder"),
    };

    let mut walk = Walk::start(Story::default(), Stage { binary, folder, listen, s3_listen, sip_listen })?;
    if let Err(error) = walk.article().await {
        walk.show_log();
        return Err(error);
    }
    if options.exit {
        walk.end()?;
        println!("\nEvery step went as the article says.");
        return Ok(());
    }
    walk.what_next(temporary.is_none());
    tokio::signal::ctrl_c().await.context("Ctrl-C cannot be waited for")?;
    walk.end()?;
    match options.data_dir {
        Some(folder) => println!("\nStopped. Data and objects stay in {}.", folder.display()),
        None => println!("\nStopped. Nothing is left behind."),
    }
    Ok(())
}
