//! Telephony: calls over SIP, and what becomes of them.
//!
//! [`Telephony::start`] listens where `[sip] listen` says and gives every call to [`voicemail`]; [`calling`] is the other end, `stowline call`.
//! Signalling is crate `sip`, sound is crate `voice`; here the two meet accounts and mailboxes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sip::{Agent, Listen, Settings, Transport};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Sip;

mod beat;
pub mod calling;
pub mod conversation;
pub mod destination;
pub mod prompts;
pub mod voicemail;

/// Longer than any message may be, with its greeting, a hold or two and its end: should a call be forgotten, it is ended then.
const BEYOND_A_MESSAGE: Duration = Duration::from_secs(20 * 60);

/// The telephones of a server.
#[derive(Debug)]
pub struct Telephony {
    agent: Arc<Agent>,
    leaving: CancellationToken,
}

impl Telephony {
    /// Begins to answer; none when no place to listen is configured.
    ///
    /// # Errors
    /// When a socket, a certificate or a prompt cannot be had.
    pub async fn start(app: &Arc<App>) -> anyhow::Result<Option<Self>> {
        let config = &app.config.sip;
        if config.listen.is_empty() {
            return Ok(None);
        }
        let leaving = CancellationToken::new();
        let desk = voicemail::Desk::new(app.clone(), leaving.clone()).await?;
        let settings = Settings {
            listen: config.listen.clone(),
            tls: tls(config)?,
            public_address: config.public_address,
            user_agent: concat!("stowline/", env!("CARGO_PKG_VERSION")).to_owned(),
            rtp_ports: config.rtp_ports.clone(),
            max_calls: config.max_calls,
            max_age: app.config.voicemail.max_length + BEYOND_A_MESSAGE,
            messages_per_second: config.messages_per_second,
            ..Settings::default()
        };
        let agent = Arc::new(Agent::start(settings, Arc::new(desk)).await.map_err(crate::described)?);
        for listen in agent.listens() {
            tracing::info!(address = %listen.address, transport = %listen.transport, "the telephones answer");
        }
        tokio::spawn(count(agent.clone(), leaving.clone()));
        Ok(Some(Self { agent, leaving }))
    }

    /// Where it listens.
    pub fn listens(&self) -> &[Listen] {
        self.agent.listens()
    }

    /// Takes no more calls, ends those that run politely, keeps what was said so far, and stops.
    pub async fn stop(self, patience: Duration) {
        self.agent.drain();
        self.leaving.cancel();
        self.agent.stop(patience).await;
    }
}

/// Tells every second what calls hold; all of it is 0 when nobody calls.
async fn count(agent: Arc<Agent>, leaving: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while leaving.run_until_cancelled(ticks.tick()).await.is_some() {
        let census = agent.census();
        for (name, held) in [
            ("stowline_sip_calls", census.calls),
            ("stowline_sip_dialogs", census.dialogs),
            ("stowline_sip_ports", census.ports),
            ("stowline_sip_tasks", census.tasks),
        ] {
            metrics::gauge!(name).set(u32::try_from(held).unwrap_or(u32::MAX));
        }
    }
}

fn tls(config: &Sip) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    if config.listen.iter().all(|listen| listen.transport != Transport::Tls) {
        return Ok(None);
    }
    let read = |file: &std::path::Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let (chain, key) = (&config.tls_certificate, &config.tls_key);
    if chain.as_os_str().is_empty() || key.as_os_str().is_empty() {
        anyhow::bail!(
            "sip.listen names a tls:// address: sip.tls_certificate and sip.tls_key must name its certificate and key"
        );
    }
    let config = sip::tls_server(&read(chain)?, &read(key)?);
    Ok(Some(
        config.with_context(|| {
            format!("cannot use the certificate {} with the key {}", chain.display(), key.display())
        })?,
    ))
}
