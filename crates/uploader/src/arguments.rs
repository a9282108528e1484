//! The command line of the watcher.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use url::Url;

use crate::{After, Error, Key, Kind, Pattern, Schedule, Settings};

/// The environment variable that may hold the key.
const KEY_VARIABLE: &str = "STOWLINE_SPOOL_KEY";

const EXAMPLES: &str = "\
Examples:
  Recordings of FreeSWITCH, deleted once the store has them:
    stowline spool /var/spool/recordings --kind recordings \\
        --to https://store.example.com/v2/ingest/ACCOUNT --key-file /etc/stowline/ingest.key \\
        --name-pattern '{call_id}_{caller_id_number}_{callee_id_number}.wav'

  CDRs that FreeSWITCH could not post, in its error folder:
    stowline spool /var/log/freeswitch/json_cdr --kind cdr --recursive --to … --key-file …

  Asterisk's voicemail: read, never touched, each message sent once:
    stowline spool /var/spool/asterisk/voicemail --kind asterisk-voicemail --context default --to … --key-file …

  What lies there now, with a progress bar, kept in another folder afterwards:
    stowline spool /mnt/old-recordings --kind recordings --recursive --once --after move:/mnt/uploaded --to … --key-file …

What it is about: beside call.wav a file call.wav.json may say {\"call_id\": \"…\", \"caller_id_number\": \"…\", …}; write it first, or give
the audio its final name last. --name-pattern reads the same from file names.

What is uploaded: a file that did not change for --settle and that no other process has open for writing, where that can be told (run it as
the switch's user). Names that begin with a dot or end in .tmp or .part are never touched; symbolic links are not followed.

What happens to it: it is deleted or moved only after the store has answered that it is durable, and only if it is still what was sent.
What the store refuses for itself (400, 413, 415, 422) goes to DIR/.refused with a .reason beside it; to try again, move it back.
Everything else waits and is tried again, for ever: outages, 429, 5xx, a key that is not known (a new key in --key-file is noticed).

SIGTERM finishes what runs; a second one does not wait. With --once the exit status is 0 when nothing was left or refused, else 1.";

/// Uploads what a switch leaves in a folder.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The folder that is watched.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The account's ingest endpoint, https://HOST/v2/ingest/ACCOUNT.
    #[arg(long, value_name = "URL")]
    to: Url,
    /// A file that holds the ingest key. Or set STOWLINE_SPOOL_KEY. There is no option for the key itself: everybody sees a command line.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// What the files are.
    #[arg(long)]
    kind: Kind,
    /// Whose voicemail it is (--kind voicemail). Without it --recursive takes the name of the folder in which a file is.
    #[arg(long, value_name = "NUMBER")]
    mailbox: Option<String>,
    /// What happens to a file once the store has it: delete, move:DIR or keep. [default: delete; keep for asterisk-voicemail]
    #[arg(long, value_name = "WHAT", value_parser = parse_after)]
    after: Option<After>,
    /// How long a file must have stood still.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// The pause between two looks at the folder.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Watches the folders below, too.
    #[arg(long)]
    recursive: bool,
    /// Ends when everything that is there now is done.
    #[arg(long)]
    once: bool,
    /// How many files are sent at the same time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    concurrency: usize,
    /// Reads metadata from file names: '{call_id}_{caller_id_number}.wav', or a regular expression with named groups.
    #[arg(long, value_name = "PATTERN")]
    name_pattern: Option<String>,
    /// Leaves files alone whose names do not match the pattern.
    #[arg(long)]
    only_matching: bool,
    /// Waits for the sidecar of each file, FILE.json.
    #[arg(long)]
    require_sidecar: bool,
    /// Says this of every file. May be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_parameter)]
    param: Vec<(String, String)>,
    /// Watches this voicemail context only (--kind asterisk-voicemail). May be given several times.
    #[arg(long, value_name = "NAME")]
    context: Vec<String>,
    /// The folders of a mailbox that are watched (--kind asterisk-voicemail).
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "INBOX,Urgent,Old")]
    mailbox_folders: Vec<String>,
    /// Where --after keep remembers what was sent. [default: DIR/.stowline-spool]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The longest wait between two attempts; a store's Retry-After may ask for up to an hour.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    backoff_max: Duration,
    /// How long a transfer may stand still.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    stall_timeout: Duration,
    /// Certificate authorities to trust beside the system's, PEM.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Which log lines are written.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log_filter: String,
    /// How they look: text or json.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
}

impl Arguments {
    /// Whether it is a single run.
    #[must_use]
    pub fn once(&self) -> bool {
        self.once
    }

    /// Which log lines are written, and whether as JSON.
    #[must_use]
    pub fn log(&self) -> (&str, bool) {
        (&self.log_filter, self.log_format == "json")
    }

    /// What was asked for.
    ///
    /// # Errors
    /// [`Error::Key`] when there is none, [`Error::Unfit`] when the name pattern is none.
    pub fn into_settings(self) -> Result<Settings, Error> {
        let key = match (self.key_file, std::env::var(KEY_VARIABLE)) {
            (Some(file), _) => Key::File(file),
            (None, Ok(text)) => Key::Text(text),
            (None, Err(_)) => return Err(Error::Key("give --key-file FILE or set STOWLINE_SPOOL_KEY")),
        };
        let usual = Settings::new(self.folder, self.to, key, self.kind);
        let min = usual.backoff.min.min(self.backoff_max);
        Ok(Settings {
            mailbox: self.mailbox,
            after: self.after.unwrap_or(usual.after.clone()),
            settle: self.settle,
            interval: self.interval,
            recursive: self.recursive,
            once: self.once,
            concurrency: self.concurrency,
            pattern: self.name_pattern.as_deref().map(Pattern::parse).transpose()?,
            only_matching: self.only_matching,
            require_sidecar: self.require_sidecar,
            parameters: self.param,
            contexts: self.context,
            mailbox_folders: self.mailbox_folders,
            state: self.state,
            backoff: Schedule { min, max: self.backoff_max },
            stall: self.stall_timeout,
            certificates: self.ca_file,
            ..usual
        })
    }
}

fn parse_after(text: &str) -> Result<After, String> {
    match text.split_once(':') {
        Some(("move", folder)) if !folder.is_empty() => Ok(After::Move(folder.into())),
        None if text == "delete" => Ok(After::Delete),
        None if text == "keep" => Ok(After::Keep),
        _ => Err("write delete, keep or move:DIR".to_owned()),
    }
}

fn parse_parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if !crate::about::fit(name) {
        return Err(format!("`{name}` is no name of a parameter"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn settings(line: &str) -> Result<Settings, String> {
        let to = if line.contains("--to") { "" } else { "--to https://example.org/v2/ingest/a" };
        let line = format!("spool /tmp {to} {line}");
        let line = Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        let settings = line.arguments.into_settings().map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn what_is_not_said_is_usual() {
        let recordings = settings("--key-file k --kind recordings").unwrap();
        assert_eq!((recordings.after, recordings.settle), (After::Delete, Duration::from_secs(2)));
        let asterisk = settings("--key-file k --kind asterisk-voicemail").unwrap();
        assert_eq!((asterisk.after, asterisk.mailbox_folders.len()), (After::Keep, 3));
        let moved = settings("--key-file k --kind fax --after move:/done --param origin=pbx=1").unwrap();
        assert_eq!(moved.after, After::Move("/done".into()));
        assert_eq!(moved.parameters, [("origin".to_owned(), "pbx=1".to_owned())]);
    }

    #[test]
    fn mistakes_are_answered_in_words() {
        for (line, wanted) in [
            ("--kind recordings", "STOWLINE_SPOOL_KEY"),
            ("--key-file k --kind voicemail", "--mailbox"),
            ("--key-file k --kind fax --mailbox 1", "--mailbox"),
            ("--key-file k --kind fax --after burn", "move:DIR"),
            ("--key-file k --kind fax --after move:", "move:DIR"),
            ("--key-file k --kind fax --param token=1", "token"),
            ("--key-file k --kind fax --only-matching", "--name-pattern"),
            ("--key-file k --kind fax --settle soon", "--settle"),
            ("--key-file k --kind fax --concurrency 0", "--concurrency"),
            ("--key-file k --kind fax --to https://me:key@example.org/", "no key"),
            ("--key-file k --kind fax --to https://example.org/?token=key", "no key"),
            ("--key-file k --kind fax --to ftp://example.org/", "http"),
            ("--key-file k --kind fax --state /x", "--state"),
        ] {
            let error = settings(line).unwrap_err();
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }
}
