//! The operator's door: `stowline sup MODULE FUNCTION [ARGS…]`, as on Kazoo.
//!
//! The running server listens on a Unix socket in its data folder that only its own user can open; a call is one line of JSON each way.
//! What can be called stands in `FUNCTIONS`, one line each.

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::app::App;

mod commands;

const SOCKET: &str = "sup.sock";
/// The longest line that is read.
const LINE: u64 = 1 << 20;

type Command = fn(Arc<App>, Vec<String>) -> BoxFuture<'static, anyhow::Result<Value>>;

struct Function {
    module: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
    about: &'static str,
    run: Command,
}

macro_rules! functions {
    ($($module:ident $name:ident [$($argument:ident)*] $about:literal $run:path;)*) => {
        &[$(Function {
            module: stringify!($module),
            name: stringify!($name),
            arguments: &[$(stringify!($argument)),*],
            about: $about,
            run: |app, arguments| Box::pin($run(app, arguments)),
        }),*]
    };
}

static FUNCTIONS: &[Function] = functions! {
    crossbar_maintenance create_account [NAME REALM USER PASS] "an account with an admin; the first one is the master" commands::create_account;
    crossbar_maintenance start_module [MODULE] "turns an endpoint on, such as cb_storage" commands::start_module;
    crossbar_maintenance stop_module [MODULE] "turns it off" commands::stop_module;
    kzs_plan allow_validation_overrides [] "storage may be saved untried with validate_settings=false" commands::allow_validation_overrides;
    kzs_plan disallow_validation_overrides [] "it may not" commands::disallow_validation_overrides;
    kzs_plan flush [] "merged plans are forgotten and read anew" commands::flush;
    kzs_plan reload [] "the same" commands::flush;
    kzs_plan reset_system_dataplan [] "the system's storage document is removed: the built-in one holds" commands::reset_system_dataplan;
};

/// What can be called, for people.
pub fn usage() -> String {
    let mut text = String::from("MODULE FUNCTION [ARGS…], one of:\n");
    for function in FUNCTIONS {
        let call = [&[function.module, function.name], function.arguments].concat().join(" ");
        text.push_str(&format!("  {call:<66} {}\n", function.about));
    }
    text
}

#[derive(Serialize, Deserialize)]
struct Call {
    module: String,
    function: String,
    arguments: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Value),
    Unknown(String),
    Failed(String),
}

/// How a call ended.
#[derive(Debug)]
pub enum Outcome {
    /// Printed on stdout; exit 0.
    Done(String),
    /// No such function, or not so many arguments: printed on stderr; exit 2.
    Unknown(String),
    /// Printed on stderr; exit 1.
    Failed(String),
}

/// The path of the socket through the folder's descriptor: a socket's name must be short, a data folder's need not.
fn socket(folder: &Path) -> std::io::Result<(std::fs::File, PathBuf)> {
    let folder = std::fs::File::open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Answers calls until the server stops.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(app: Arc<App>, stopping: CancellationToken) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let (folder, path) = socket(&app.config.server.data_dir).context("cannot open the data folder")?;
    // The lock of the data folder is ours: a socket that is still there is of a server that is gone.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).context("cannot make the socket for sup")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(async move {
        let _folder = folder;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopping.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let app = app.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(app, stream).await {
                            tracing::info!(error = %error, "a call of sup was not finished");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "sup cannot take calls for a moment");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
        let _ = std::fs::remove_file(&path);
    })
}

async fn answer(app: Arc<App>, mut stream: UnixStream) -> anyhow::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(tokio::io::AsyncReadExt::take(read, LINE)).read_line(&mut line).await?;
    let answer = run(app, serde_json::from_str(&line)?).await;
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    Ok(write.write_all(text.as_bytes()).await?)
}

async fn run(app: Arc<App>, call: Call) -> Answer {
    let named = FUNCTIONS.iter().find(|function| function.module == call.module && function.name == call.function);
    let Some(function) = named else {
        return Answer::Unknown(format!("unknown function {} {}\n{}", call.module, call.function, usage()));
    };
    if call.arguments.len() != function.arguments.len() {
        let wanted = if function.arguments.is_empty() { "no arguments".into() } else { function.arguments.join(" ") };
        return Answer::Unknown(format!("{} {} takes {wanted}\n{}", function.module, function.name, usage()));
    }
    tracing::info!(module = function.module, function = function.name, "called by sup");
    match (function.run)(app, call.arguments).await {
        Ok(value) => Answer::Done(value),
        Err(error) => Answer::Failed(format!("{error:#}\n")),
    }
}

/// Calls a function of the server that runs on a data folder.
pub async fn call(data_dir: &Path, module: &str, function: &str, arguments: Vec<String>) -> Outcome {
    match ask(data_dir, module, function, arguments).await {
        Ok(Answer::Done(Value::Null)) => Outcome::Done(String::new()),
        Ok(Answer::Done(Value::String(text))) => Outcome::Done(format!("{text}\n")),
        Ok(Answer::Done(value)) => Outcome::Done(format!("{value}\n")),
        Ok(Answer::Unknown(text)) => Outcome::Unknown(text),
        Ok(Answer::Failed(text)) => Outcome::Failed(text),
        Err(error) => Outcome::Failed(format!("{error:#}\n")),
    }
}

async fn ask(data_dir: &Path, module: &str, function: &str, arguments: Vec<String>) -> anyhow::Result<Answer> {
    let absent = || {
        format!(
            "no server runs on {}: start it with `stowline serve`, or name its folder with --data-dir",
            data_dir.display()
        )
    };
    let (_folder, path) = socket(data_dir).with_context(absent)?;
    let mut stream = UnixStream::connect(&path).await.with_context(absent)?;
    let call = Call { module: module.to_owned(), function: function.to_owned(), arguments };
    let mut text = serde_json::to_string(&call)?;
    text.push('\n');
    stream.write_all(text.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    serde_json::from_str(&line).context("the server did not answer")
}
