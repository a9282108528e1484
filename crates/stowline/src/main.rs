//! The program: `stowline serve`, `stowline sup`, and `stowline spool` for the other end of the line.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stowline::config::{Config, Flags, Log, LogFormat};
use stowline::telephony::calling::{self, Outcome};
use stowline::{Server, sup, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Voicemail, recordings and faxes, kept where your customers want them.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Start a server with `stowline serve`, then make the first account with \
    `stowline sup crossbar_maintenance create_account NAME REALM USER PASS`."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server. With no configuration it keeps everything in an embedded store in the data folder.
    #[command(
        after_help = "Flags win over the environment (STOWLINE_<SECTION>__<KEY>), that over the file, that over the defaults.\n\
        `stowline config` prints all options with their defaults."
    )]
    Serve {
        /// A TOML file with what differs from the defaults.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where the API listens; port 0 takes a free one. [default: 127.0.0.1:8000]
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
        /// Where everything is kept. [default: $XDG_DATA_HOME/stowline, as root /var/lib/stowline]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Calls a maintenance function of the running server, as Kazoo's `sup` does.
    Sup(SupArguments),
    /// Runs beside a switch: uploads the files of a folder, each exactly when it is complete, and deletes none before it is safe.
    Spool(Box<uploader::Arguments>),
    /// Calls a mailbox, or any telephone, and says what a file holds. Exits 0 when it was answered and all was said, 1 when not.
    Call(Box<calling::Arguments>),
    /// The key that seals secrets.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Prints every option with its default and what it does: a file to begin your own with.
    Config,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Seals everything with a new key and retires the old one. No server may run. What was interrupted is taken up again.
    Rotate {
        /// The data folder. [default: as `serve`]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// A TOML file that names data folder and key, as `serve` takes.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Parser)]
#[command(after_help = sup::usage())]
struct SupArguments {
    /// The data folder of the server. [default: as `serve`]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A TOML file that names the data folder, as `serve` takes.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Such as crossbar_maintenance.
    module: String,
    /// Such as create_account.
    function: String,
    /// What the function takes.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Buffers of a file's size are taken on one thread and given back on another, all the time: that is what the C library's allocator is slow at
/// (ADR 0011).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A link to the binary with the name `sup` is `stowline sup`.
    let called_sup =
        std::env::args_os().next().is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == "sup"));
    if called_sup {
        return maintain(SupArguments::parse());
    }
    match Arguments::parse().command {
        Command::Serve { config, listen, data_dir } => serve(config.as_deref(), &Flags { listen, data_dir }),
        Command::Sup(arguments) => maintain(arguments),
        Command::Keys(KeysCommand::Rotate { data_dir, config }) => rotate(config.as_deref(), data_dir),
        Command::Spool(arguments) => spool(*arguments),
        Command::Call(arguments) => call(*arguments),
        Command::Config => say(&mut std::io::stdout(), stowline::config::DEFAULTS),
    }
}

fn say(to: &mut dyn Write, text: &str) -> ExitCode {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    say(&mut std::io::stderr(), &format!("stowline: {error:#}\n"));
    ExitCode::FAILURE
}

fn load(file: Option<&Path>, flags: &Flags) -> anyhow::Result<Config> {
    Config::load(file, std::env::vars(), flags)
}

fn serve(file: Option<&Path>, flags: &Flags) -> ExitCode {
    let run = || -> anyhow::Result<()> {
        let config = load(file, flags)?;
        telemetry::log(&config.log)?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        if config.server.threads > 0 {
            runtime.worker_threads(config.server.threads);
        }
        runtime.enable_all().build()?.block_on(run_until_told(config))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run_until_told(config: Config) -> anyhow::Result<()> {
    let mut told = told()?;
    let server = Server::start(config).await?;
    say(&mut std::io::stdout(), &format!("listening on http://{}\n", server.address()));
    for listen in server.sip_addresses() {
        say(&mut std::io::stdout(), &format!("sip listening on {listen}\n"));
    }
    told.next().await;
    server.stop().await;
    Ok(())
}

/// The signals by which somebody tells a program to end.
struct Told {
    terminate: Signal,
    interrupt: Signal,
}

fn told() -> std::io::Result<Told> {
    Ok(Told { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
}

impl Told {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn spool(arguments: uploader::Arguments) -> ExitCode {
    let run = || -> anyhow::Result<ExitCode> {
        let once = arguments.once();
        let progress = once && std::io::stderr().is_terminal();
        let (filter, json) = arguments.log();
        // Where a bar is drawn, lines about what goes well would tear it.
        let filter = if progress && filter == "info" { "warn" } else { filter };
        let format = if json { LogFormat::Json } else { LogFormat::Text };
        telemetry::log(&Log { filter: filter.to_owned(), format })?;
        let settings = uploader::Settings { progress, ..arguments.into_settings()? };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let tally = runtime.block_on(watch(settings))?;
        Ok(if once { say_tally(tally) } else { ExitCode::SUCCESS })
    };
    run().unwrap_or_else(|error| fail(&error))
}

/// The first signal lets what runs be finished, the second does not.
async fn watch(settings: uploader::Settings) -> anyhow::Result<uploader::Tally> {
    let mut told = told()?;
    let stopping = CancellationToken::new();
    let watcher = uploader::run(settings, stopping.clone());
    tokio::pin!(watcher);
    let first = tokio::select! {
        ended = &mut watcher => return Ok(ended?),
        () = told.next() => stopping,
    };
    first.cancel();
    tokio::select! {
        ended = watcher => Ok(ended?),
        () = told.next() => anyhow::bail!("told to stop a second time"),
    }
}

fn say_tally(tally: uploader::Tally) -> ExitCode {
    let uploader::Tally { uploaded, bytes, known, refused, left } = tally;
    let text = format!(
        "{uploaded} uploaded ({bytes} bytes), {known} uploaded earlier, {refused} refused, {left} left for another run\n"
    );
    let said = say(&mut std::io::stdout(), &text);
    if refused > 0 || left > 0 { ExitCode::FAILURE } else { said }
}

fn maintain(arguments: SupArguments) -> ExitCode {
    let flags = Flags { data_dir: arguments.data_dir, ..Flags::default() };
    let config = match load(arguments.config.as_deref(), &flags) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let SupArguments { module, function, arguments, .. } = arguments;
    match runtime.block_on(sup::call(&config.server.data_dir, &module, &function, arguments)) {
        sup::Outcome::Done(text) => say(&mut std::io::stdout(), &text),
        sup::Outcome::Failed(text) => {
            say(&mut std::io::stderr(), &text);
            ExitCode::from(1)
        }
        sup::Outcome::Unknown(text) => {
            say(&mut std::io::stderr(), &text);
            ExitCode::from(2)
        }
    }
}

fn rotate(file: Option<&Path>, data_dir: Option<PathBuf>) -> ExitCode {
    let run = || -> anyhow::Result<String> {
        let config = load(file, &Flags { data_dir, ..Flags::default() })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(stowline::rotation::rotate(&config))
    };
    match run() {
        Ok(text) => say(&mut std::io::stdout(), &text),
        Err(error) => fail(&error),
    }
}

fn call(arguments: calling::Arguments) -> ExitCode {
    let run = || -> anyhow::Result<Outcome> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut tell = |line: &str| {
            say(&mut std::io::stdout(), &format!("{line}\n"));
        };
        runtime.block_on(calling::place(&arguments.order()?, &mut tell))
    };
    match run() {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Badly) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        SupArguments::command().debug_assert();
    }
}
