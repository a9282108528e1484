//! Calls over SIP: answered and placed.
//!
//! ```text
//!   sockets ──▶ door ──▶ gate ──▶ the stack ──▶ requests ──▶ Answerer::take(Invitation)
//!   (UDP, TCP,  limits   is it    transactions,  admission,     │ accept(Menu)      reject(Rejection)
//!    TLS)                SIP?     dialogs        dialogs        ▼
//!                                                              Call: rtp(), media(), key(), ended(), hang_up()
//! ```
//!
//! This crate knows calls, not whom they are for: a program implements [`Answerer`]. It knows where sound goes and in which form ([`sdp`],
//! [`Rtp`]), not what it is: packets go in and out as bytes. Transactions and dialogs are those of a library (rsipstack), which nobody outside
//! of this crate sees; the sockets, the limits, who may call, the media descriptions and the end of everything are ours.
//!
//! What it promises: nothing that a peer sends is fatal, or keeps a port, a dialog or a task for longer than a call may last ([`Census`] tells);
//! and what comes from strangers is answered without a word on who or what exists here.

mod agent;
mod answerer;
mod dial;
mod digest;
mod door;
mod error;
mod gate;
mod invitation;
mod limits;
mod line;
mod party;
mod ports;
mod quoted;
mod requests;
mod rtp;
pub mod sdp;
mod transport;

pub use agent::{Agent, Census, Settings};
pub use answerer::{About, Answerer, Caller, Known, Nobody, Password, Unavailable};
pub use dial::{Dial, Progress};
pub use error::{Error, ErrorKind};
pub use invitation::{Invitation, Rejection};
pub use line::{Call, End};
pub use party::Party;
pub use rtp::Rtp;
pub use transport::{Listen, Transport, UnknownTransport, tls_client, tls_server};

/// The media type of descriptions.
const SDP: &str = "application/sdp";

/// What is answered with more than a refusal.
const ALLOWED: [&str; 8] = ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "UPDATE", "REGISTER"];
