//! What stock switches send, read into our words. Pure: bytes in, documents' fields out.
//!
//! FreeSWITCH posts the record of a call's leg as JSON or XML, bare or wrapped in a form in three ways, under types that do not always say so;
//! Asterisk posts whatever fields its dialplan names; Kazoo has words of its own, which are ours. The steps are the same for all:
//!
//! ```text
//!   bytes ──wrapping──▶ text ──json, xml──▶ tree ──freeswitch, asterisk, normalised──▶ Leg
//!                                                       └── strike: no secret passes
//! ```
//!
//! [`read`] is the door for records, [`facts`] for what stands in the URL of a file, [`StoreToken`] for the URLs that Kazoo makes for its media.
//! The program calls them and knows nothing of switches itself; nothing here knows accounts, documents or HTTP.
//!
//! Everything comes from a network, and part of it from whoever dials: no bytes make this panic, and time and memory are bounded by the
//! length of the input.

mod asterisk;
mod error;
pub mod facts;
mod freeswitch;
mod json;
mod leg;
mod normalised;
mod store_token;
pub mod strike;
mod sure;
mod times;
mod wrapping;
mod xml;

pub use error::Error;
pub use leg::{FIELDS, Kind, LONGEST_ID, Leg, Part};
pub use store_token::StoreToken;
pub use sure::is_surely_a_record;

use wrapping::Text;

/// What a post of a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A leg to keep.
    Leg(Box<Leg>),
    /// A leg that nobody wants to see; why, in words.
    Skipped(&'static str),
}

/// Reads the record of a leg, whichever switch sent it and however it is wrapped.
///
/// # Errors
/// [`Error`] when it is nothing that a switch sends, or cannot be told from another leg.
pub fn read(body: &[u8]) -> Result<Record, Error> {
    match wrapping::unwrap(body)? {
        Text::Xml(text) => freeswitch::leg(&xml::report(&text)?),
        Text::Form(pairs) => asterisk::leg(&pairs),
        Text::Json(text) => {
            let tree = json::parse(&text)?;
            match freeswitch::Report::of(&tree) {
                Some(report) => freeswitch::leg(&report),
                None => fields(&tree),
            }
        }
    }
}

/// The record in an object that is no report of FreeSWITCH.
fn fields(tree: &json::Node) -> Result<Record, Error> {
    // An envelope as our API takes it everywhere else.
    let tree = tree.get("data").filter(|data| data.fields().is_some()).unwrap_or(tree);
    if normalised::fits(tree) {
        return normalised::leg(tree);
    }
    let pairs = tree.fields().ok_or(Error::NoRecord)?;
    let pairs: Vec<(String, String)> =
        pairs.iter().filter_map(|(name, value)| Some((name.clone(), value.text()?.into_owned()))).collect();
    asterisk::leg(&pairs)
}
