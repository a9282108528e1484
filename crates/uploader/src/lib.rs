//! The folder watcher that runs beside a switch: `stowline spool DIR`.
//!
//! A switch leaves files in a folder: recordings, faxes, CDRs that it could not post, Asterisk's voicemail. The watcher uploads each of
//! them to an ingest endpoint and then deletes it, moves it or leaves it, as it was told. It promises:
//!
//! * **Nothing goes before it is safe.** A file is deleted or moved only after a 2xx whose body says that the store took it, and only when
//!   the file is still the one whose bytes were sent: same inode, size and times (`after`).
//! * **Nothing is sent half.** A file is taken when it has stood still for a while and nobody has it open for writing
//!   (`settling`, `writers`); what changes while it is sent is cut off before its last byte (`parcel`).
//! * **Nothing is given up.** Outages, restarts and revoked keys only delay (`pace`). A file that the store refuses for itself is set
//!   aside with its reason, so that it stands in nobody's way.
//!
//! An upload happens at least once: a watcher that is killed between the answer and the deletion sends the file again. The store makes that
//! once, by name and digest.
//!
//! Where files stay, a `ledger` remembers what was sent. Otherwise the folder itself is all the state there is.
//!
//! Start reading at `rounds`. This crate knows the ingest endpoint from its wire only and uses nothing else of the workspace: it is the
//! other end of the connection.

mod about;
mod after;
mod answer;
mod arguments;
mod attention;
mod errand;
mod error;
mod folder;
mod footprint;
mod key;
mod kinds;
mod ledger;
mod pace;
mod parcel;
mod pattern;
mod report;
mod rounds;
mod sender;
mod settings;
mod settling;
mod writers;

pub use arguments::Arguments;
pub use error::Error;
pub use key::Key;
pub use kinds::Kind;
pub use pace::Schedule;
pub use pattern::Pattern;
pub use report::Tally;
pub use rounds::run;
pub use settings::{After, Settings};
