//! A platform that takes calls, and those who call it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use testkit::{Api, VOICEMAIL_WAV};
use voice::{Codec, Decoder, Encoder, wav};

use crate::fixture::{CONFIG, Platform, until};

const PATIENT: &str = "max_pause = \"0s\"\nmax_wait = \"0s\"";
const LOOPBACK: &str = "[\"127.0.0.0/8\"]";

/// A platform that takes calls of everybody on this machine, with a box 1001.
pub struct Exchange {
    pub platform: Platform,
    pub mailbox: String,
    pub folder: tempfile::TempDir,
}

impl Exchange {
    pub async fn open() -> Self {
        Self::with("").await
    }

    /// Takes calls of nobody without a password.
    pub async fn guarded() -> Self {
        Self::set_up(PATIENT, "[]", "").await
    }

    /// With more in `[sip]` or after it. The prompt is short; nobody is hung up on for a silence.
    pub async fn with(more: &str) -> Self {
        Self::set_up(PATIENT, LOOPBACK, more).await
    }

    /// Hangs up on who says nothing for five seconds.
    pub async fn impatient() -> Self {
        Self::set_up("max_pause = \"5s\"\nmax_wait = \"20s\"", LOOPBACK, "").await
    }

    /// Its boxes hold two messages.
    pub async fn of_small_boxes() -> Self {
        Self::set_up(&format!("{PATIENT}\nmax_messages = 2"), LOOPBACK, "").await
    }

    async fn set_up(limits: &str, trusted: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prompt = folder.path().join("prompt.wav");
        let speech = wav::read(VOICEMAIL_WAV).unwrap();
        std::fs::write(&prompt, wav::file(8_000, &speech.samples()[..1_600])).unwrap();
        let config = format!(
            "{CONFIG}\n[voicemail]\nprompt = {prompt:?}\n{limits}\n\
             [sip]\nlisten = \"127.0.0.1:0\"\ntrusted_peers = {trusted}\n{more}"
        );
        let platform = Platform::with(&config).await;
        let mailbox = platform.mailbox().await;
        Self { platform, mailbox, folder }
    }

    /// Where it listens, such as `127.0.0.1:40123`.
    pub async fn sip(&self, transport: &str) -> String {
        let start = format!("sip listening on {transport}://");
        let mut found = None;
        until("the program says where it takes calls", async || {
            let log = self.platform.program.log();
            found = log.lines().rev().find_map(|line| line.strip_prefix(&start).map(str::to_owned));
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Starts the program again, and logs in anew where the API is now.
    pub async fn restart(&mut self) {
        self.platform.program.restart();
        let (api, _) = Api::new(&self.platform.program.url()).login("Acme", "admin", "sesame-open").await;
        self.platform.tenant.api = api;
    }

    /// `stowline call` to box 1001, saying this file.
    pub async fn call(&self, file: &Path, options: &[&str]) -> Output {
        let transport = if options.contains(&"tcp") { "tcp" } else { "udp" };
        let to = format!("sip:1001@{}", self.sip(transport).await);
        let binary = self.platform.program.binary().to_owned();
        let mut command = Command::new(binary);
        command.arg("call").arg(to).arg("--play").arg(file).args(options).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// sipp with a scenario of this folder. Panics unless it exits well.
    pub async fn sipp(&self, scenario: &str, options: &[&str]) -> Output {
        let (output, errors) = self.try_sipp(scenario, options).await;
        assert!(
            output.status.success(),
            "sipp: {}\n{errors}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        );
        output
    }

    /// As [`Exchange::sipp`], however it exits; with what it says of errors.
    pub async fn try_sipp(&self, scenario: &str, options: &[&str]) -> (Output, String) {
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/telephony").join(scenario);
        let mut command = Command::new("sipp");
        command.arg(self.sip("udp").await).arg("-sf").arg(scenario).args(["-s", "1001", "-i", "127.0.0.1"]);
        command.args(["-mi", "127.0.0.1", "-nostdin", "-trace_err", "-error_file", "sipp-errors.log"]);
        command.args(options).current_dir(self.folder.path()).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let errors = std::fs::read_to_string(self.folder.path().join("sipp-errors.log")).unwrap_or_default();
        (output, errors)
    }

    /// What lies in box 1001, the newest first.
    pub async fn messages(&self) -> Vec<Value> {
        let answer =
            self.platform.tenant.api.get(&format!("{}/messages?paginate=false", self.mailbox)).await.expect_status(200);
        answer.data().as_array().unwrap().clone()
    }

    /// Waits until so many messages are there.
    pub async fn until_left(&self, count: usize) -> Vec<Value> {
        until("the messages are there", async || self.messages().await.len() >= count).await;
        let messages = self.messages().await;
        assert_eq!(messages.len(), count);
        messages
    }

    /// The bytes of a message's audio.
    pub async fn audio(&self, message: &Value) -> Vec<u8> {
        let path = format!("{}/messages/{}/raw", self.mailbox, message["media_id"].as_str().unwrap());
        self.platform.tenant.api.get(&path).await.expect_status(200).body.to_vec()
    }

    /// The samples of a message's audio.
    pub async fn samples(&self, message: &Value) -> Vec<i16> {
        wav::read(&self.audio(message).await).unwrap().samples().to_vec()
    }

    /// A file of speech to be said.
    pub fn speech(&self) -> std::path::PathBuf {
        let file = self.folder.path().join("speech.wav");
        std::fs::write(&file, VOICEMAIL_WAV).unwrap();
        file
    }

    /// The same as G.711 μ-law, for sipp.
    pub fn speech_as_ulaw(&self) {
        std::fs::write(self.folder.path().join("speech.ul"), encoded(Codec::Pcmu)).unwrap();
    }
}

/// What is heard of these samples at the other end of a call without losses.
pub fn heard_of(samples: &[i16], codec: Codec) -> Vec<i16> {
    let (mut bytes, mut heard) = (Vec::new(), Vec::new());
    Encoder::new(codec).encode(samples, &mut bytes).unwrap();
    Decoder::new(codec).decode(&bytes, &mut heard).unwrap();
    heard
}

/// The speech, filled up with silence to whole packets, in a codec of G.711.
pub fn encoded(codec: Codec) -> Vec<u8> {
    let mut samples = wav::read(VOICEMAIL_WAV).unwrap().samples().to_vec();
    samples.resize(samples.len().next_multiple_of(160), 0);
    let mut bytes = Vec::new();
    Encoder::new(codec).encode(&samples, &mut bytes).unwrap();
    bytes
}

/// What is heard of the speech at the other end of a call without losses.
pub fn as_heard(codec: Codec) -> Vec<i16> {
    let mut samples = Vec::new();
    Decoder::new(codec).decode(&encoded(codec), &mut samples).unwrap();
    samples
}

/// Whether the program has let go of everything that calls had.
pub async fn until_idle(exchange: &Exchange) {
    let url = format!("{}/metrics", exchange.platform.program.url());
    until("no call is left", async || {
        let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
        let gauges = ["stowline_sip_calls", "stowline_sip_dialogs", "stowline_sip_ports", "stowline_sip_tasks"];
        gauges.iter().all(|gauge| text.lines().any(|line| line == format!("{gauge} 0")))
    })
    .await;
}

/// Whether `stored` is a part of `said` without a gap.
pub fn part_of(stored: &[i16], said: &[i16]) -> bool {
    !stored.is_empty() && said.windows(stored.len()).any(|part| part == stored)
}
