//! The other end: `stowline call` places a call without a telephone, says what a file holds, and tells what happens.
//!
//! It knows nothing of the server that it calls, which need not be ours. It waits for the signal after which one may speak, as a person would.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sip::sdp::{Direction, Menu};
use sip::{Agent, Call, Dial, ErrorKind, Listen, Nobody, Password, Progress, Settings, Transport};
use tokio::sync::mpsc;
use voice::{Clip, Codec, Key, wav};

mod arguments;
mod signal;
mod speaking;

pub use arguments::Arguments;
use speaking::Speaker;

/// Packets of 20 ms.
const PTIME: u16 = 20;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whom to call.
    pub to: String,
    /// What to say: a WAV file.
    pub play: PathBuf,
    /// When to begin.
    pub speak: Speak,
    /// Keys to press after it.
    pub press: String,
    /// Where to keep what is heard: a WAV file.
    pub record: Option<PathBuf>,
    /// Who calls.
    pub from: String,
    /// A name and a password, should they be asked for.
    pub credentials: Option<(String, String)>,
    /// How, instead of what the address says.
    pub transport: Option<Transport>,
    /// In which codecs, the dearest first.
    pub codecs: Vec<Codec>,
    /// Whether the voice is protected (SRTP).
    pub protected: bool,
    /// Authorities to believe over TLS (PEM).
    pub authorities: Option<PathBuf>,
}

/// When to begin to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speak {
    /// After the signal, or when there was none for half a minute.
    AfterTheTone,
    /// So long after the answer.
    After(Duration),
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was said, and the call ended as it should.
    Well,
    /// Nobody answered, or the call ended too early.
    Badly,
}

/// Places the call. `say` is told what happens, a line at a time.
///
/// # Errors
/// What is wrong with the order: a file that cannot be played, an address that is none.
pub async fn place(order: &Order, say: &mut (dyn FnMut(&str) + Send)) -> anyhow::Result<Outcome> {
    let bytes = std::fs::read(&order.play).with_context(|| format!("cannot read {}", order.play.display()))?;
    let clip = wav::read(&bytes).with_context(|| format!("cannot play {}", order.play.display()))?;
    let keys = keys(&order.press)?;
    let agent = agent().await?;
    say(&format!("calling {}", order.to));
    let Some(call) = answered(&agent, order, say).await? else { return Ok(Outcome::Badly) };
    let outcome = speak(call, order, &clip, &keys, say).await;
    agent.stop(Duration::from_secs(5)).await;
    outcome
}

fn keys(text: &str) -> anyhow::Result<Vec<Key>> {
    text.chars().map(|key| Key::from_char(key).with_context(|| format!("`{key}` is no key of a telephone"))).collect()
}

/// An agent that answers nobody.
async fn agent() -> anyhow::Result<Agent> {
    let anywhere = Listen { transport: Transport::Udp, address: ([0, 0, 0, 0], 0).into() };
    let user_agent = concat!("stowline/", env!("CARGO_PKG_VERSION")).to_owned();
    let settings = Settings { listen: vec![anywhere], user_agent, ..Settings::default() };
    Agent::start(settings, Arc::new(Nobody)).await.map_err(crate::described)
}

async fn answered(agent: &Agent, order: &Order, say: &mut (dyn FnMut(&str) + Send)) -> anyhow::Result<Option<Call>> {
    let tls = match &order.authorities {
        Some(file) => {
            let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            Some(sip::tls_client(&text).with_context(|| format!("cannot use {}", file.display()))?)
        }
        None => None,
    };
    let dial = Dial {
        to: order.to.clone(),
        from: order.from.clone(),
        proxy: None,
        transport: order.transport,
        credentials: order.credentials.clone().map(|(name, password)| (name, Password::new(password))),
        tls,
        protected: order.protected,
    };
    let menu = Menu { codecs: order.codecs.clone(), ptime: PTIME, direction: Direction::Both };
    let (progress, mut seen) = mpsc::unbounded_channel();
    let dialling = agent.dial(&dial, &menu, progress);
    tokio::pin!(dialling);
    let answer = loop {
        tokio::select! {
            biased;
            Some(progress) = seen.recv() => match progress {
                Progress::Calling | Progress::Provisional(100) => {}
                Progress::Provisional(status) => say(&format!("it rings ({status})")),
            },
            answer = &mut dialling => break answer,
        }
    };
    match answer {
        Ok(call) => {
            let media = call.media().borrow().clone();
            let sealed = if media.protection.is_some() { ", protected" } else { "" };
            say(&format!("answered: {}{sealed}", media.voice.codec.name()));
            Ok(Some(call))
        }
        Err(error) if matches!(error.kind(), ErrorKind::Address(_)) => bail!("{error}"),
        Err(error) => {
            say(&error.to_string());
            Ok(None)
        }
    }
}

async fn speak(
    call: Call,
    order: &Order,
    clip: &Clip,
    keys: &[Key],
    say: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<Outcome> {
    let mut speaker = Speaker::new(&call);
    let said = speaker.speak(&call, order.speak, clip, keys, say).await;
    let ended = call.end();
    call.hang_up().await;
    let outcome = match (said, ended) {
        (true, None) => {
            say("all was said; hung up");
            Outcome::Well
        }
        (true, Some(_)) => {
            say("all was said; the other party hung up");
            Outcome::Well
        }
        (false, _) => {
            say("the other party hung up before all was said");
            Outcome::Badly
        }
    };
    if let Some(file) = &order.record {
        let (rate, samples) = speaker.heard();
        std::fs::write(file, wav::file(rate, &samples)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(outcome)
}
