//! What is heard on a call.
//!
//! A call's media are packets of RTP that come late, twice, in another order or not at all. This crate makes of them what was said, and the
//! keys that were pressed; and it makes packets of what we say. It is pure: no socket, no clock, no async, no randomness. Whoever has a
//! socket hands in datagrams with the time at which they came, and sends what comes out when it is due.
//!
//! What comes in, step by step:
//!
//! 1. [`srtp`] opens a packet, where the call is encrypted;
//! 2. [`rtp`] reads it, believing no length in it;
//! 3. [`jitter`] puts it in its place, and knows what is missing;
//! 4. [`codec`] makes samples of it, and [`conceal`] what is played where nothing came;
//! 5. [`dtmf`] makes keys of the packets between;
//! 6. [`level`] hears when nothing is said any more;
//! 7. [`recorder`] is all of that in one: datagrams in, samples and keys out;
//! 8. [`wav`] is how it is stored.
//!
//! What goes out is a [`Clip`] from a [`wav`] or a [`tone`], played by a [`Player`].
//!
//! ```
//! use std::time::Duration;
//! use voice::{Clip, Codec, Ending, Key, Origin, Payloads, Player, Recorder, Settings, Voice, tone};
//!
//! // A caller who plays a tone and presses #.
//! let voice = Voice { codec: Codec::Pcmu, payload_type: 0, telephone_event: Some((101, 8_000)) };
//! let mut caller = Player::new(voice, Origin { ssrc: 7, sequence: 65_530, timestamp: 4_294_967_000 });
//! caller.play(&tone::sine(8_000, 440.0, -20.0, Duration::from_secs(1)));
//! caller.press(Key::HASH, Duration::from_millis(100));
//!
//! // We record it.
//! let payloads = Payloads { audio: vec![(0, Codec::Pcmu)], telephone_event: vec![(101, 8_000)] };
//! let mut recorder = Recorder::new(Settings::default(), payloads);
//! recorder.begin(Duration::ZERO);
//! let mut now = Duration::ZERO;
//! let mut datagram = Vec::new();
//! while recorder.ended().is_none() {
//!     datagram.clear();
//!     if caller.next(&mut datagram) {
//!         recorder.feed(&datagram, now);
//!     }
//!     now += voice::player::INTERVAL;
//!     recorder.tick(now);
//! }
//! recorder.drain(now);
//! assert_eq!(recorder.ended(), Some(Ending::Key(Key::HASH)));
//! let mut samples = Vec::new();
//! recorder.take_samples(&mut samples);
//! assert_eq!(samples.len(), 8_000);
//! assert!((tone::frequency(8_000, &samples) - 440.0).abs() < 1.0);
//! ```

mod clip;
pub mod codec;
pub mod conceal;
pub mod dtmf;
mod error;
pub mod jitter;
pub mod level;
pub mod player;
pub mod recorder;
pub mod rtp;
pub mod srtp;
pub mod tone;
pub mod wav;

pub use clip::Clip;
pub use codec::{Codec, Decoder, Encoder};
pub use dtmf::{Key, KeyEvent, Keys};
pub use error::{Error, Protection};
pub use level::SilenceLimits;
pub use player::{Origin, Player, Voice};
pub use recorder::{Ending, Payloads, Recorder, Settings, Statistics};
