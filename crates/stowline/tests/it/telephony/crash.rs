//! A call in progress, and what becomes of what was said when the server dies, or is told to stop.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use testkit::VOICEMAIL_WAV;
use voice::{Codec, wav};

use super::phones::{Exchange, heard_of};
use crate::fixture::{bucket, until};

/// Somebody who speaks for a quarter of a minute.
struct Talker {
    child: Child,
    samples: Vec<i16>,
}

impl Talker {
    async fn call(exchange: &Exchange) -> Self {
        let samples = wav::read(VOICEMAIL_WAV).unwrap().samples().repeat(3);
        let file = exchange.folder.path().join("long.wav");
        std::fs::write(&file, wav::file(8_000, &samples)).unwrap();
        let mut command = Command::new(exchange.platform.program.binary());
        command.arg("call").arg(format!("sip:1001@{}", exchange.sip("udp").await)).arg("--play").arg(&file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, samples }
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn growing(exchange: &Exchange) -> Vec<PathBuf> {
    let spool = exchange.platform.program.data_dir().join("spool");
    let files = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "grow" || end == "about")).collect()
}

fn size(exchange: &Exchange) -> u64 {
    let files = growing(exchange).into_iter().filter(|path| path.extension().is_some_and(|end| end == "grow"));
    files.filter_map(|path| path.metadata().ok()).map(|about| about.len()).max().unwrap_or(0)
}

/// Waits until two seconds of speech are on disk; how many bytes there are.
async fn until_spoken(exchange: &Exchange) -> u64 {
    until("somebody has spoken for a while", async || size(exchange) > 44 + 32_000).await;
    size(exchange)
}

/// The one message holds the beginning of what was said, at least these bytes of a file.
async fn assert_kept(exchange: &Exchange, talker: &Talker, least: u64) {
    let message = exchange.until_left(1).await.remove(0);
    let audio = exchange.audio(&message).await;
    let said = heard_of(&talker.samples, Codec::Pcmu);
    let stored = wav::read(&audio).unwrap();
    assert!(audio.len() as u64 >= least, "{} of {least} bytes", audio.len());
    assert!(said.starts_with(stored.samples()), "what is stored was not said");
    // The header is true.
    let format = wav::inspect(&audio[..44], audio.len() as u64).unwrap();
    assert_eq!((format.length, format.rate), (audio.len() as u64 - 44, 8_000));
    assert_eq!(message["length"], stored.samples().len() / 8);
    assert_eq!(message["caller_id_name"], "stowline call");
}

#[tokio::test]
async fn a_call_in_progress_survives_a_kill_and_is_in_the_bucket_once() {
    let mut exchange = Exchange::open().await;
    let (server, settings) = bucket();
    exchange.platform.route_voicemail_to(settings).await;
    let talker = Talker::call(&exchange).await;
    let least = until_spoken(&exchange).await;
    exchange.platform.program.kill9();
    exchange.restart().await;
    assert_kept(&exchange, &talker, least).await;
    exchange.platform.until_delivered().await;
    until("nothing grows any more", async || growing(&exchange).is_empty()).await;
    assert_eq!(server.keys("recordings").len(), 1);
    exchange.platform.program.kill9();
    exchange.restart().await;
    exchange.until_left(1).await;
}

#[tokio::test]
async fn a_server_that_died_before_it_forgot_a_call_makes_no_second_message() {
    let mut exchange = Exchange::open().await;
    let talker = Talker::call(&exchange).await;
    until_spoken(&exchange).await;
    exchange.platform.program.kill9();
    let kept: Vec<(PathBuf, Vec<u8>)> =
        growing(&exchange).into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    drop(talker);
    for _ in 0..2 {
        exchange.restart().await;
        exchange.until_left(1).await;
        until("nothing grows any more", async || growing(&exchange).is_empty()).await;
        exchange.platform.program.kill9();
        kept.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    }
    exchange.restart().await;
    until("nothing grows any more", async || growing(&exchange).is_empty()).await;
    exchange.until_left(1).await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_calls_politely_and_keeps_what_was_said() {
    let mut exchange = Exchange::open().await;
    let mut talker = Talker::call(&exchange).await;
    let least = until_spoken(&exchange).await;
    assert!(exchange.platform.program.terminate().success());
    assert!(growing(&exchange).is_empty(), "{:?}", growing(&exchange));
    let status = talker.child.wait().unwrap();
    assert_eq!(status.code(), Some(1), "the caller was hung up on before all was said");
    exchange.restart().await;
    assert_kept(&exchange, &talker, least).await;
}

#[tokio::test]
async fn what_nobody_spoke_into_leaves_nothing() {
    let mut exchange = Exchange::open().await;
    let talker = Talker::call(&exchange).await;
    // Its bytes have a file before what it is about has one.
    until("a call is known to be growing", async || growing(&exchange).len() == 2).await;
    exchange.platform.program.kill9();
    drop(talker);
    broken(&exchange.platform.program.data_dir().join("spool"));
    exchange.restart().await;
    until("what was said is settled", async || growing(&exchange).len() == 2).await;
    exchange.until_left(0).await;
    let log = exchange.platform.program.log();
    assert!(log.contains("cannot be made a message"), "who looks after the server is told of a broken file");
}

/// A growing file that is no WAV file, as after a fault of the disk.
fn broken(spool: &Path) {
    let mut files = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    let about = files.find(|path| path.extension().is_some_and(|end| end == "about")).unwrap();
    let id = "01900000000070008000000000000000";
    std::fs::copy(about, spool.join(format!("{id}.about"))).unwrap();
    std::fs::write(spool.join(format!("{id}.grow")), [7; 4_000]).unwrap();
}
