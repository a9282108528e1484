//! What callers hear before they speak.

use std::path::Path;

use anyhow::Context;
use voice::{Clip, tone, wav};

/// «Please leave a message after the tone.»
const LEAVE_A_MESSAGE: &[u8] = include_bytes!("../../prompts/leave-a-message.wav");
/// Prompts are at a telephone's rate.
const RATE: u32 = 8_000;
/// The longest greeting that is played.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(60);

/// The prompts of a server, read once.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// For a mailbox without a greeting of its own.
    pub leave_a_message: Clip,
    /// The signal after which the recording begins.
    pub beep: Clip,
}

impl Prompts {
    /// The built-in ones, or `file` instead of the words.
    ///
    /// # Errors
    /// When the file is no WAV file that can be played, or too long.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let leave_a_message = if file.as_os_str().is_empty() {
            wav::read(LEAVE_A_MESSAGE).context("the built-in prompt")?
        } else {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read the prompt {}", file.display()))?;
            wav::read(&bytes).with_context(|| format!("cannot play the prompt {}", file.display()))?
        };
        if leave_a_message.duration() > LONGEST {
            anyhow::bail!("the prompt {} is longer than {} s", file.display(), LONGEST.as_secs());
        }
        Ok(Self {
            leave_a_message,
            beep: tone::pause(RATE, std::time::Duration::from_millis(60)).followed_by(&tone::beep(RATE)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_prompt_can_be_played() {
        let prompts = Prompts::open(Path::new("")).unwrap();
        let length = prompts.leave_a_message.duration().as_secs_f64();
        assert!((1.0..4.0).contains(&length), "{length} s");
        assert!(Prompts::open(Path::new("/nonexistent/prompt.wav")).is_err());
    }
}
