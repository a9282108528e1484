//! Why a body is no record.

/// A body that cannot be read as the record of a leg.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither JSON, nor XML, nor a form that we know.
    #[error("this is no call record: neither JSON nor XML, and no form with cdr=… or uniqueid=…")]
    NoRecord,
    /// It begins like JSON and is none.
    #[error("the record is not JSON")]
    Json(#[source] serde_json::Error),
    /// It begins like XML and is none, or is nested more deeply than a record ever is.
    #[error("the record is not the XML of a call record: {0}")]
    Xml(&'static str),
    /// `cdr=` is followed by something that is neither a form's text nor base64.
    #[error("what follows cdr= is neither text nor base64")]
    Wrapping,
    /// Nothing in it tells which leg it is of.
    #[error("the record names no leg: call_id, sip_call_id, uuid or uniqueid is missing")]
    NoCallId,
}
