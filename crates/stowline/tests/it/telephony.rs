//! Calls for mailboxes, by real user agents with real speech; what was said is compared with what was stored.

mod calls;
mod crash;
mod credentials;
mod greetings;
mod habits;
mod network;
mod phones;
mod storm;
