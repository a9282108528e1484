//! The benchmarks: each figure beside a yardstick that was measured in the same run, on the same cores and disk.
//!
//! A figure alone says little about a machine that nobody knows. So each benchmark alternates rounds of ours and of a
//! plain way to do the same: writing files with fsync, rclone against the same S3 server, a look-up in a hash map, a server that
//! only gives back what it is sent, one that only writes down what it receives. The ratio of the two is what is promised; it is the median over the rounds.
//!
//! Everything runs through the real program (release build) and its HTTP interface with its default configuration, but
//! for what `docs/performance.md` names; only routes are measured in process, because nobody would see them over HTTP.

pub mod accounts;
pub mod api;
pub mod calls;
pub mod cdrs;
pub mod delivery;
pub mod deposits;
pub mod echo;
pub mod handlers;
pub mod ingest;
pub mod load;
pub mod machine;
pub mod memory;
pub mod receiver;
pub mod report;
pub mod routes;
pub mod server;
pub mod store;
pub mod tenants;
pub mod yardstick;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use report::Figure;
use std::path::PathBuf;
use std::time::Duration;

/// The benchmarks by name, in the order in which they run.
pub const NAMES: [&str; 11] =
    ["deposits", "delivery", "handlers", "memory", "routes", "ingest", "cdrs", "calls", "api", "tenants", "accounts"];

/// Where and how the benchmarks run.
#[derive(Debug)]
pub struct Bench {
    /// The program, a release build.
    pub binary: PathBuf,
    /// The folder for everything that is written. Never on tmpfs.
    pub folder: PathBuf,
    /// Small and short: a check that the benchmarks work, no measurement.
    pub quick: bool,
}

/// What a benchmark hands back.
#[derive(Debug)]
pub struct Outcome {
    /// The rows of the table.
    pub figures: Vec<Figure>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// What of a benchmark can be run alone and is written down alone, in the order in which it runs: `handlers:s3`. All of it where nothing can.
pub fn pieces(name: &str) -> Vec<String> {
    match name {
        "handlers" => handlers::PIECES.iter().map(|piece| format!("{name}:{piece}")).collect(),
        whole => vec![whole.to_owned()],
    }
}

impl Bench {
    /// Runs one piece of a benchmark.
    ///
    /// # Errors
    /// The name is unknown, the machine lacks what is needed, or something answered what it should not have.
    pub async fn run(&self, name: &str) -> anyhow::Result<Outcome> {
        let room = self.folder.join(name.replace(':', "-"));
        if room.exists() {
            std::fs::remove_dir_all(&room).context("the folder of an earlier run")?;
        }
        std::fs::create_dir_all(&room)?;
        let (benchmark, piece) = name.split_once(':').unwrap_or((name, ""));
        let outcome = match benchmark {
            "deposits" => deposits::run(self, &room).await,
            "delivery" => delivery::run(self, &room).await,
            "handlers" => handlers::run(self, &room, piece).await,
            "memory" => memory::run(self, &room).await,
            "routes" => routes::run(self),
            "accounts" => accounts::run(self, &room).await,
            "api" => api::run(self, &room).await,
            "ingest" => ingest::run(self, &room).await,
            "cdrs" => cdrs::run(self, &room).await,
            "tenants" => tenants::run(self, &room).await,
            "calls" => calls::run(self, &room).await,
            other => anyhow::bail!("there is no benchmark {other}; there are {}", NAMES.join(", ")),
        };
        std::fs::remove_dir_all(&room).context("cleaning up")?;
        outcome
    }
}

/// A progress bar of so many steps; a spinner when the number is 0.
pub fn progress(what: &'static str, steps: u64) -> ProgressBar {
    let (bar, template) = match steps {
        0 => (ProgressBar::new_spinner(), "{spinner} {prefix} {msg}"),
        steps => (ProgressBar::new(steps), "{prefix:36} {bar:30} {pos}/{len} {elapsed} {msg}"),
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is fixed"));
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The median; the mean of the middle two for an even count. 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => (sorted[even / 2 - 1] + sorted[even / 2]) / 2.0,
    }
}

/// The value below which this share of the values lies.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.95), 95.0);
        assert_eq!(percentile(&[7.0], 0.5), 7.0);
    }
}
