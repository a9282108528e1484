//! The message that a call becomes: what the call says of it, and the writer that keeps what is said as it is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sip::{About, Party};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use voice::wav;

use crate::app::spoken::Spoken;
use crate::app::{App, Error, messages};
use crate::telephony::conversation::Tape;
use crate::telephony::destination::Destination;

/// Names and numbers of callers are kept up to this length.
const LONGEST_CALLER: usize = 35;
const LONGEST_ADDRESS: usize = 253;
const LONGEST_CALL_ID: usize = 255;
/// How often what is said is made durable.
const SYNC: Duration = Duration::from_secs(1);

/// A message that is being spoken. What is taken waits for no disk: a task of its own writes it down.
pub(super) struct Message {
    said: mpsc::UnboundedSender<Vec<u8>>,
    writer: JoinHandle<Spoken>,
    full: Arc<AtomicBool>,
}

impl Message {
    /// A message for this mailbox, of which nothing has been said yet, but what is known of the call is durable.
    pub(super) async fn begin(app: &App, destination: &Destination, about: &About) -> Result<Spoken, Error> {
        Spoken::begin(app, &destination.account, &destination.mailbox, told(about)).await
    }

    /// The caller is on the line; what it says comes with so many samples a second.
    pub(super) fn open(mut spoken: Spoken, rate: u32) -> Self {
        spoken.at_rate(rate);
        let (said, heard) = mpsc::unbounded_channel();
        let full = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(write(spoken, heard, full.clone()));
        Self { said, writer, full }
    }

    /// Makes a message of what was said.
    pub(super) async fn finish(self, app: &Arc<App>, stopping: &CancellationToken) -> Option<messages::Message> {
        drop(self.said);
        match self.writer.await {
            Ok(spoken) => spoken.finish(app, stopping).await,
            Err(error) => {
                tracing::error!(%error, "what a caller said is left to the next start");
                None
            }
        }
    }
}

/// Writes until nobody says anything more.
async fn write(mut spoken: Spoken, mut heard: mpsc::UnboundedReceiver<Vec<u8>>, full: Arc<AtomicBool>) -> Spoken {
    let mut beats = tokio::time::interval(SYNC);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            bytes = heard.recv() => match bytes {
                Some(bytes) => spoken.append(&bytes),
                None => return spoken,
            },
            _ = beats.tick() => {
                if !full.load(Ordering::Relaxed) && let Err(error) = spoken.sync().await {
                    tracing::error!(error = %crate::api::error::chain(&error), "what is said on a call cannot be kept any more");
                    full.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}

#[async_trait]
impl Tape for Message {
    async fn take(&mut self, samples: &[i16]) {
        let mut bytes = Vec::with_capacity(samples.len() * 2);
        wav::write_samples(samples, &mut bytes);
        // The writer ends only with us.
        let _ = self.said.send(bytes);
    }

    fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}

/// What the message says of the call.
fn told(about: &About) -> Value {
    let caller = about.asserted.as_ref().unwrap_or(&about.from);
    let mut said = json!({
        "from": address(caller),
        "to": address(&about.to),
        "call_id": cut(&about.call_id, LONGEST_CALL_ID),
    });
    let name = caller.name.as_deref().or(about.from.name.as_deref()).filter(|name| !name.is_empty());
    if let Some(name) = name {
        said["caller_id_name"] = cut(name, LONGEST_CALLER).into();
    }
    if !caller.user.is_empty() {
        said["caller_id_number"] = cut(&caller.user, LONGEST_CALLER).into();
    }
    said
}

fn address(party: &Party) -> String {
    cut(&party.to_string(), LONGEST_ADDRESS)
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use sip::{Caller, Transport};

    use super::*;

    #[test]
    fn a_message_says_who_called_and_whom() {
        let party = |name: Option<&str>, user: &str, host: &str| Party {
            name: name.map(str::to_owned),
            user: user.into(),
            host: host.into(),
        };
        let mut about = About {
            call_id: "a84b4c76e66710@192.0.2.9".into(),
            from: party(Some("Dana Fox"), "dana", "carrier.example"),
            to: party(None, "204", "acme.example"),
            target: party(None, "204", "acme.example"),
            asserted: None,
            user_agent: None,
            source: "192.0.2.9:5060".parse().unwrap(),
            transport: Transport::Udp,
            caller: Caller::Trusted,
        };
        let said = told(&about);
        assert_eq!(said["from"], "dana@carrier.example");
        assert_eq!(said["to"], "204@acme.example");
        assert_eq!((&said["caller_id_name"], &said["caller_id_number"]), (&json!("Dana Fox"), &json!("dana")));
        about.asserted = Some(party(None, "+14155550123", "carrier.example"));
        let said = told(&about);
        assert_eq!((&said["caller_id_name"], &said["caller_id_number"]), (&json!("Dana Fox"), &json!("+14155550123")));
        about.asserted = Some(party(Some(&"x".repeat(99)), &"1".repeat(99), "carrier.example"));
        let said = told(&about);
        assert_eq!(said["caller_id_name"].as_str().unwrap().len(), 35);
        assert_eq!(said["caller_id_number"].as_str().unwrap().len(), 35);
    }
}
