//! The command line of `stowline call`.

use std::path::PathBuf;

use clap::Args;

use super::{Order, Speak};

const EXAMPLES: &str = "\
Examples:
  A voicemail for box 1001 of a server on this machine:
    stowline call sip:1001@127.0.0.1:5060 --play hello.wav

  The same by a name and a password of the account's (PUT /v2/accounts/{id}/sip_credentials), over TLS:
    STOWLINE_SIP_PASSWORD=… stowline call sip:1001@acme.example --transport tls --ca ca.pem --srtp --user sbc-4f2a --play hello.wav

Exits 0 when the call was answered and all was said, 1 when not.";

/// Calls a mailbox, or any telephone, and says what a file holds.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Whom to call, such as sip:1001@acme.example or sip:1001@192.0.2.1:5060.
    to: String,
    /// What to say: a WAV file of 8 or 16 bits, of any rate.
    #[arg(long, value_name = "FILE")]
    play: PathBuf,
    /// When to speak: after the tone, or so long after the answer (such as 2s).
    #[arg(long, value_name = "tone|TIME", default_value = "tone")]
    speak: String,
    /// Keys to press when all was said, such as #.
    #[arg(long, value_name = "KEYS", default_value = "")]
    press: String,
    /// Keeps what is heard in a WAV file.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Who calls, such as sip:+14155550123@carrier.example, with a name before it if there is one.
    #[arg(long, value_name = "ADDRESS", default_value = "\"stowline call\" <sip:stowline@localhost>")]
    from: String,
    /// The name of a SIP credential, should one be asked for.
    #[arg(long, value_name = "NAME", requires = "password")]
    user: Option<String>,
    /// Its password.
    #[arg(long, value_name = "PASSWORD", env = "STOWLINE_SIP_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// How to call, instead of what the address says.
    #[arg(long, value_name = "udp|tcp|tls")]
    transport: Option<sip::Transport>,
    /// In which codec; more than one is offered in this order.
    #[arg(long, value_name = "CODEC", value_delimiter = ',', default_value = "pcmu,pcma,opus", value_parser = codec)]
    codec: Vec<voice::Codec>,
    /// Protects the voice (SRTP).
    #[arg(long)]
    srtp: bool,
    /// A PEM file with the authorities to believe when calling over TLS.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Arguments {
    /// What is to be done.
    ///
    /// # Errors
    /// When the time of `--speak` is none.
    pub fn order(self) -> anyhow::Result<Order> {
        let speak = match self.speak.as_str() {
            "tone" => Speak::AfterTheTone,
            text => Speak::After(
                humantime::parse_duration(text)
                    .map_err(|_| anyhow::anyhow!("--speak takes `tone` or a time such as 2s, not `{text}`"))?,
            ),
        };
        Ok(Order {
            to: self.to,
            play: self.play,
            speak,
            press: self.press,
            record: self.record,
            from: self.from,
            credentials: self.user.zip(self.password),
            transport: self.transport,
            codecs: self.codec,
            protected: self.srtp,
            authorities: self.ca,
        })
    }
}

fn codec(text: &str) -> Result<voice::Codec, String> {
    let known = voice::Codec::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(text));
    known.ok_or_else(|| "known are pcmu, pcma and opus".to_owned())
}
