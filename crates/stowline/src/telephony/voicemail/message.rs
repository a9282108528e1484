//! The message that a call becomes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use sip::{About, Party};
use voice::wav;

use crate::app::{App, Error, messages};
use crate::telephony::conversation::Tape;
use crate::telephony::destination::Destination;

/// Names and numbers of callers are kept up to this length.
const LONGEST_CALLER: usize = 35;
const LONGEST_ADDRESS: usize = 253;
const LONGEST_CALL_ID: usize = 255;

/// A message that is being spoken.
pub(super) struct Message {
    app: Arc<App>,
    destination: Destination,
    about: Value,
    call_id: String,
    rate: u32,
    samples: Vec<i16>,
}

impl Message {
    /// A message for this mailbox, of which nothing has been said yet.
    pub(super) async fn begin(app: &Arc<App>, destination: Destination, about: &About) -> Result<Self, Error> {
        app.spool.has_room().map_err(|error| Error::unavailable("spool", error))?;
        let call_id = about.call_id.clone();
        Ok(Self { app: app.clone(), destination, about: told(about), call_id, rate: 8_000, samples: Vec::new() })
    }

    /// What is said comes in so many samples a second.
    pub(super) fn at_rate(&mut self, rate: u32) {
        self.rate = rate;
    }

    /// Saves what was said, when it is worth it.
    pub(super) async fn save(self, length: Duration) {
        if self.samples.is_empty() || length < self.app.config.voicemail.min_length {
            tracing::info!(call.id = %self.call_id, "nothing was said, or too little to be kept");
            return;
        }
        match self.deposit(length).await {
            Ok(id) => tracing::info!(call.id = %self.call_id, message.id = %id, "a message was left"),
            Err(error) => {
                tracing::error!(call.id = %self.call_id, error = %crate::api::error::chain(&error), "a message could not be saved");
            }
        }
    }

    async fn deposit(&self, length: Duration) -> Result<String, Error> {
        let Destination { account, mailbox } = &self.destination;
        let file = Bytes::from(wav::file(self.rate, &self.samples));
        let sound = messages::Sound { content_type: "audio/wav", file_name: None, limit: file.len() as u64 };
        let stream = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(file)]);
        let audio = messages::receive(&self.app, account, mailbox, sound, stream).await?;
        let mut about = self.about.clone();
        about["length"] = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).into();
        let message = messages::create(&self.app, account, mailbox, about, Some(audio)).await?;
        Ok(message.id.to_string())
    }
}

#[async_trait]
impl Tape for Message {
    async fn take(&mut self, samples: &[i16]) {
        self.samples.extend_from_slice(samples);
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
