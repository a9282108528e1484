//! The walk's last step, which the article only talks of: somebody calls the mailbox.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::{BUCKET, CHILD, Walk};
use crate::story::human;

impl Walk {
    /// Where calls are taken, as the program says it.
    pub(super) fn calls(&self) -> Option<String> {
        let log = self.program.log();
        log.lines().find_map(|line| line.strip_prefix("sip listening on udp://").map(str::to_owned))
    }

    pub(super) fn call_command(&self, place: &str) -> String {
        format!(
            "{} call sip:1001@{place} --play {}",
            self.stage.binary.display(),
            self.stage.folder.join("voicemail.wav").display()
        )
    }

    /// A call, and the object that comes of it.
    pub(super) async fn leave_voicemail_by_telephone(&mut self) -> anyhow::Result<()> {
        self.story.step("A voicemail is left by telephone");
        self.story.say(&format!(
            "Whoever calls sip:1001@{} reaches the mailbox. `stowline call` is a telephone for the command line: it waits for the tone\n\
             and says what a file holds. (It calls the address of the server; a mailbox 1001 exists in one account only.)",
            CHILD[1]
        ));
        let place = self.calls().context("the program does not say where it takes calls")?;
        self.story.command(&self.call_command(&place));
        let before = self.s3.keys(BUCKET);
        let mut command = Command::new(&self.stage.binary);
        command.arg("call").arg(format!("sip:1001@{place}")).arg("--play").arg(self.stage.folder.join("voicemail.wav"));
        let called = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output()).await??;
        self.story.say(String::from_utf8_lossy(&called.stdout).trim_end());
        ensure!(called.status.success(), "the call ended with {}", called.status);
        let hung_up = std::time::Instant::now();
        let (key, object) = self.object(&before).await.context("no object came of the call")?;
        let length = (object.len() as f64 - 44.0) / 16_000.0;
        self.story.good(&format!(
            "{key} is in the bucket {} after hanging up: {} bytes, {length:.2} s of sound",
            human(hung_up.elapsed()),
            object.len()
        ));
        // What was said, in whole packets of 20 ms.
        ensure!(object.starts_with(b"RIFF") && (5.2..5.3).contains(&length), "that is not what was said");
        Ok(())
    }
}
