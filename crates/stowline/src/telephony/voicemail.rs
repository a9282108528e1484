//! Voicemail over the telephone: a call for a mailbox becomes a message.
//!
//! ```text
//! Invitation ─▶ destination ─▶ begin ─▶ answer ─▶ conversation (greeting, beep, listen) ─▶ hang up
//!              404, 403, 480    503                        │ samples                         │
//!                                                          ▼                                 ▼
//!                                             a growing file, synced each second ────▶ the message
//! ```
//!
//! What is said is safe while it is said (`app/spoken.rs`); the caller is hung up on while the message is made of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sip::sdp::{Direction, Menu};
use sip::{About, Answerer, Invitation, Known, Rejection, Unavailable};
use tokio_util::sync::CancellationToken;
use voice::{Codec, Keys, Settings, SilenceLimits};

use super::conversation::{self, Heard, Over};
use super::destination::{self, Destination, Nowhere};
use super::prompts::Prompts;
use crate::app::{App, greetings, messages, sip_credentials};

mod message;

use message::Message;

/// So long a caller is asked to wait when we are full.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// A greeting that lies at a destination is waited for no longer: the caller hears nothing meanwhile.
const GREETING: Duration = Duration::from_secs(3);
/// Packets of 20 ms, as everybody has them.
const PTIME: u16 = 20;

/// Answers calls for mailboxes.
pub struct Desk {
    app: Arc<App>,
    prompts: Prompts,
    leaving: CancellationToken,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk that ends its calls when it is told that we are leaving.
    ///
    /// # Errors
    /// When the configured prompt cannot be read.
    pub async fn new(app: Arc<App>, leaving: CancellationToken) -> anyhow::Result<Self> {
        let prompts = Prompts::open(&app.config.voicemail.prompt)?;
        Ok(Self { app, prompts, leaving })
    }

    /// What is played to who calls this mailbox: its own greeting, as far as it can be had soon, else the general words.
    async fn greeting(&self, destination: &Destination) -> voice::Clip {
        let Destination { account, mailbox } = destination;
        let found = tokio::time::timeout(GREETING, greetings::clip(&self.app, account, mailbox)).await;
        match found {
            Ok(Ok(Some(own))) => return own,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::warn!(account.id = %account.id, mailbox.id = %mailbox.id, error = %crate::api::error::chain(&error), "a box's greeting cannot be played");
            }
            Err(_) => {
                tracing::warn!(account.id = %account.id, mailbox.id = %mailbox.id, "a box's greeting did not come soon enough to be played");
            }
        }
        self.prompts.leave_a_message.clone()
    }

    fn settings(&self, rate: u32) -> Settings {
        let config = &self.app.config.voicemail;
        let never = |limit: Duration| if limit.is_zero() { Duration::MAX } else { limit };
        let silence = SilenceLimits {
            after_speech: never(config.max_pause),
            before_speech: never(config.max_wait),
            ..SilenceLimits::default()
        };
        Settings {
            rate,
            silence: Some(silence),
            longest: Some(config.max_length),
            end_keys: Keys::HASH,
            ..Settings::default()
        }
    }

    /// Whether a mailbox holds as many messages as it may. When that cannot be said it does not: one too many is better than one that is lost.
    async fn is_full(&self, destination: &Destination) -> bool {
        let Destination { account, mailbox } = destination;
        let most = u64::from(self.app.config.voicemail.max_messages);
        if most == 0 {
            return false;
        }
        match messages::count(&self.app, account, mailbox).await {
            Ok(held) => held.new + held.saved >= most,
            Err(error) => {
                tracing::warn!(account.id = %account.id, mailbox.id = %mailbox.id, error = %crate::api::error::chain(&error), "how full a box is cannot be said");
                false
            }
        }
    }

    async fn answer(&self, invitation: Invitation) {
        let about = invitation.about().clone();
        let found = destination::find(&self.app, &about.target.user, &about.target.host, &about.caller).await;
        let destination = match found {
            Ok(destination) => destination,
            Err(nowhere) => return decline(invitation, nowhere),
        };
        if self.is_full(&destination).await {
            return decline(invitation, Nowhere::Full);
        }
        let spoken = match Message::begin(&self.app, &destination, &about).await {
            Ok(spoken) => spoken,
            Err(error) => {
                tracing::warn!(call.id = %about.call_id, error = %crate::api::error::chain(&error), "a call was declined: no message can be taken now");
                return invitation.reject(Rejection::Busy(RETRY_AFTER));
            }
        };
        let greeting = self.greeting(&destination).await;
        let menu = Menu { codecs: Codec::ALL.to_vec(), ptime: PTIME, direction: Direction::Both };
        let call = match invitation.accept(&menu).await {
            Ok(call) => call,
            Err(error) => {
                tracing::info!(call.id = %about.call_id, error = %error, "a call came to nothing");
                // Removes it: nothing was said.
                spoken.finish(&self.app, &self.leaving).await;
                return;
            }
        };
        let rate = call.media().borrow().voice.codec.sample_rate();
        let mut message = Message::open(spoken, rate);
        let leaving = self.leaving.cancelled();
        let heard =
            conversation::hold(&call, self.settings(rate), &greeting, &self.prompts.beep, leaving, &mut message).await;
        // The caller hears the end while the message is saved.
        drop(call);
        told(&about, &heard);
        match message.finish(&self.app, &self.leaving).await {
            Some(message) => tracing::info!(call.id = %about.call_id, message.id = %message.id, "a message was left"),
            None => tracing::info!(call.id = %about.call_id, "no message was left"),
        }
    }
}

fn decline(invitation: Invitation, nowhere: Nowhere) {
    let about = invitation.about().clone();
    let rejection = match &nowhere {
        Nowhere::Unknown => Rejection::NotFound,
        Nowhere::Disabled | Nowhere::Forbidden => Rejection::Forbidden,
        Nowhere::Full => Rejection::Unavailable,
        Nowhere::Failed(error) => {
            tracing::warn!(call.id = %about.call_id, error = %crate::api::error::chain(error), "a call was declined: its mailbox cannot be looked up");
            Rejection::Busy(RETRY_AFTER)
        }
    };
    tracing::info!(call.id = %about.call_id, peer = %about.source, status = ?rejection, "a call was declined");
    metrics::counter!("stowline_calls_total", "outcome" => "declined").increment(1);
    invitation.reject(rejection);
}

fn told(about: &About, heard: &Heard) {
    let outcome = match heard.over {
        Over::Call(_) => "hung_up",
        Over::Recording(voice::Ending::Key(_)) => "key",
        Over::Recording(voice::Ending::Silence) => "silence",
        Over::Recording(voice::Ending::Longest) => "longest",
        Over::Held => "held",
        Over::Leaving => "leaving",
        Over::Full => "full",
    };
    metrics::counter!("stowline_calls_total", "outcome" => outcome).increment(1);
    tracing::info!(
        call.id = %about.call_id, peer = %about.source, outcome,
        length_ms = u64::try_from(heard.length.as_millis()).unwrap_or(u64::MAX),
        packets.lost = heard.statistics.stream.lost, samples.concealed = heard.statistics.concealed,
        "a call for a mailbox is over"
    );
}

#[async_trait]
impl Answerer for Desk {
    fn trusts(&self, source: IpAddr) -> bool {
        self.app.config.sip.trusted_peers.iter().any(|network| network.contains(&source))
    }

    async fn knows_anybody(&self) -> bool {
        // While it cannot be said, who has a password should not hear that nobody has.
        sip_credentials::any(&self.app).await.unwrap_or(true)
    }

    async fn identify(&self, realm: &str, username: &str) -> Result<Option<Known>, Unavailable> {
        match sip_credentials::identify(&self.app, realm, username).await {
            Ok(found) => Ok(found.map(|(account, password)| Known { who: account.to_string(), password })),
            Err(error) => {
                tracing::warn!(error = %crate::api::error::chain(&error), "a SIP caller cannot be identified now");
                Err(Unavailable)
            }
        }
    }

    async fn take(&self, invitation: Invitation) {
        self.answer(invitation).await;
    }
}
