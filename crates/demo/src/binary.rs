//! The `stowline` binary of this source tree, built when it is missing or older than its sources.

use anyhow::{Context, ensure};
use std::path::PathBuf;
use std::process::Command;

/// Builds the program in the profile of the caller and gives its path. `STOWLINE_BIN` names another one, which is then
/// taken as it is. Cargo's progress goes to stderr.
///
/// # Errors
/// The build failed.
pub fn build() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("STOWLINE_BIN") {
        return Ok(named.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Both packages, so that the features of shared dependencies are those that the demo was built with and nothing is built twice.
    command.args(["build", "--package", "stowline", "--package", "stowline-demo", "--bin", "stowline"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    let status = command.status().context("cargo could not be run")?;
    ensure!(status.success(), "stowline could not be built");
    testkit::find_binary().context("stowline was built, but not beside this program: name it in STOWLINE_BIN")
}
