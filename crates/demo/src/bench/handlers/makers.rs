//! The drives of persons, whose servers are fakes of ours, and beside them each maker's own client for programmers, which puts the same files
//! into the same fake.
//!
//! rclone cannot be told another address for them. The clients are those that the fakes are held against in the tests (`testkit/tests/makers.rs`), in
//! Python and Node: slow ones. So only their work is counted, not how long it takes to load them. Of what they put they look at the length, and at
//! Dropbox's own digest too, which both sides compute there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use attachments::{Grants, TokenError};
use outbound::Secret;
use outbound::oauth::Token;
use serde_json::{Value, json};
use testkit::{Dropbox, GoogleDrive, OAuthServer, OneDrive, has_program};

use super::peers::{Made, Rival};

/// The handlers of drives.
pub(super) const NAMES: [&str; 3] = ["google_drive", "dropbox", "onedrive"];

/// A maker's client, and what it is told each time.
pub(super) struct Maker {
    pub(super) title: &'static str,
    program: &'static str,
    script: PathBuf,
    told: Value,
}

/// The fake of a drive and its maker's client; none where that is not installed.
pub(super) fn start(name: &str, room: &Path) -> anyhow::Result<Option<Made>> {
    let (program, script, text, title) = match name {
        "google_drive" => {
            ("makers-python", "put.py", include_str!("makers/google_drive.py"), "Google's own client (Python)")
        }
        "dropbox" => {
            let title = "Dropbox's own client (Python), with its content hash";
            ("makers-python", "put.py", include_str!("makers/dropbox.py"), title)
        }
        "onedrive" => ("makers-node", "put.js", include_str!("makers/onedrive.js"), "Microsoft's own client (Node)"),
        other => bail!("{other} is no drive"),
    };
    if !has_program(program, "the benchmark of handlers") {
        return Ok(None);
    }
    // A name that no package has, in a folder of its own: Python looks for packages there first.
    let folder = room.join("maker");
    std::fs::create_dir_all(&folder)?;
    let script = folder.join(script);
    std::fs::write(&script, text)?;
    let made = |url: String, tokens: &OAuthServer| {
        let token = tokens.access_token();
        let maker = Maker { title, program, script, told: json!({"url": url, "token": token}) };
        let grants: Arc<dyn Grants> = Arc::new(OneToken(token));
        (json!({"oauth_doc_id": "bench", "base_url": url}), Rival::Maker(maker), Some(grants))
    };
    let ((settings, rival, grants), server): (_, Box<dyn std::any::Any + Send + Sync>) = match name {
        "google_drive" => {
            let drive = GoogleDrive::start();
            drive.faults().stop_log();
            (made(drive.url(), drive.tokens()), Box::new(drive))
        }
        "dropbox" => {
            let drive = Dropbox::start();
            drive.faults().stop_log();
            (made(drive.url(), drive.tokens()), Box::new(drive))
        }
        _ => {
            let drive = OneDrive::start();
            drive.faults().stop_log();
            (made(drive.url(), drive.tokens()), Box::new(drive))
        }
    };
    Ok(Some(Made { settings, rival, folders: None, grants, server }))
}

impl Maker {
    /// Puts all files of a folder, so many at once; the seconds that it took.
    pub(super) fn put(&self, from: &Path, to: &str, lanes: usize) -> anyhow::Result<f64> {
        let mut told = self.told.clone();
        told["from"] = from.display().to_string().into();
        told["to"] = to.into();
        told["lanes"] = lanes.into();
        let mut command = Command::new(self.program);
        command.arg(&self.script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().with_context(|| format!("{} could not be run", self.program))?;
        client.stdin.take().context("no stdin")?.write_all(told.to_string().as_bytes())?;
        let output = client.wait_with_output()?;
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{}: {}", self.title, wrong.trim().lines().last().unwrap_or_default());
        said.trim().parse().with_context(|| format!("{} said {said:?}", self.title))
    }
}

/// A consent whose access token lasts as long as a benchmark.
#[derive(Debug)]
struct OneToken(String);

#[async_trait]
impl Grants for OneToken {
    async fn token(&self, _: &str, _: &str, _: Option<&Token>) -> Result<Token, TokenError> {
        Ok(Token::new(Secret::new(&self.0), Duration::from_secs(3600)))
    }
}
