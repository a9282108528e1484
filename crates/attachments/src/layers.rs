//! What every handler gets around it: each layer is a [`Handler`](crate::Handler) around a handler, and does one thing.
//!
//! From the inside out: [`Verify`] compares what comes back with what the receipt says, [`Deadline`] ends what stands still,
//! [`Observe`] counts and logs. None of them tries anything again.

mod deadline;
mod observe;
mod verify;

pub use deadline::Deadline;
pub use observe::Observe;
pub use verify::Verify;
