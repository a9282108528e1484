//! What can be wrong with bytes that a stranger sent. Nothing here is worth more than counting the packet and going on.

/// What is wrong, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not an RTP packet.
    #[error("not an RTP packet: {0}")]
    Packet(&'static str),
    /// Not a payload of its codec, or not audio that the codec takes.
    #[error("not a payload of {codec}: {reason}")]
    Payload {
        /// The codec's name.
        codec: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// Not a WAV file, or none that we can play.
    #[error("not a WAV file that can be played: {0}")]
    Wav(&'static str),
    /// An SRTP packet that cannot be opened: see the kind.
    #[error("this SRTP packet cannot be opened: {0}")]
    Protection(#[from] Protection),
    /// A key, or an `a=crypto` line, that cannot be used. Never says what stood there.
    #[error("these SRTP parameters cannot be used: {0}")]
    Keying(&'static str),
}

/// Why a protected packet was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Protection {
    /// Shorter than a header and a tag.
    #[error("it is too short")]
    Short,
    /// The tag is not the one that the key gives: another key, a forgery, or damage on the way.
    #[error("it is not authentic")]
    Forged,
    /// It was seen before.
    #[error("it was seen before")]
    Replayed,
    /// So old that nobody can say whether it was seen before.
    #[error("it is too old")]
    Old,
    /// More streams than one call has.
    #[error("there are too many streams")]
    Streams,
}
