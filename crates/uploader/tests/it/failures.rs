//! Outages, refusals and lies: what waits, what is set aside, what goes on.

use std::fs;
use std::time::Duration;

use testkit::{Fault, Seen};
use uploader::{Kind, Settings};

use super::fixture::{Spool, Watcher, until};

/// A refusal in the store's own words.
fn refusal(status: u16) -> Fault {
    Fault::status(status).with_body(r#"{"status": "error", "message": "not this one", "data": {}}"#)
}

fn only(name: &'static str, fault: Fault) -> impl Fn(&Seen) -> Option<Fault> {
    move |seen| seen.path.ends_with(name).then(|| fault.clone())
}

#[tokio::test]
async fn an_outage_delays_and_loses_nothing() {
    let spool = Spool::new();
    spool.store.stop();
    for number in 0..20 {
        spool.put(&format!("{number}.wav"), number.to_string());
    }
    let watcher = Watcher::start(spool.settings(Kind::Recordings));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(spool.names().len(), 20);
    spool.store.restart();
    spool.put("late.wav", "late");
    spool.until_left(&[]).await;
    assert_eq!(spool.store.documents().len(), 21);
    watcher.stop().await;
}

#[tokio::test]
async fn every_fault_of_the_way_is_waited_out_and_the_file_arrives_once() {
    let redirect = Fault::redirect(307, "http://127.0.0.1:9/elsewhere");
    let faults = [
        Fault::unavailable(),
        Fault::status(500),
        Fault::throttled(0),
        Fault::Reset,
        Fault::ResetDuringUpload { after: 100_000 },
        Fault::LoseAnswer,
        Fault::Truncate { after: 10 },
        Fault::CorruptUpload,
        Fault::CorruptAnswer,
        Fault::BlackHole,
        Fault::swallow(),
        Fault::swallow().with_body("<html>Welcome</html>"),
        redirect,
        Fault::status(404),
    ];
    for fault in faults {
        // How long silence is waited for depends on what may lie in buffers: for a large file that is minutes.
        let sizes = if fault == Fault::BlackHole { &[10][..] } else { &[10, 3 << 20] };
        for &size in sizes {
            let spool = Spool::new();
            spool.put("a.wav", vec![7; size]);
            spool.store.faults().next([fault.clone(), fault.clone()]);
            let settings = Settings { stall: Duration::from_millis(500), ..spool.settings(Kind::Recordings) };
            let watcher = Watcher::start(settings);
            until(&format!("it arrived through {fault:?}"), || spool.names().is_empty()).await;
            assert_eq!(spool.document("recordings/a.wav").size, size, "{fault:?}");
            assert!(spool.store.faults().seen().len() >= 3, "{fault:?}");
            watcher.stop().await;
        }
    }
}

#[tokio::test]
async fn one_bad_file_never_holds_up_the_others() {
    let page = Fault::status(413).with_body("<html>too large</html>");
    for fault in [Fault::Reset, Fault::status(500), Fault::status(404), page, refusal(409), Fault::swallow()] {
        let spool = Spool::new();
        spool.store.faults().rule(only("bad.wav", fault.clone()));
        spool.put("bad.wav", "bad");
        let watcher = Watcher::start(Settings { concurrency: 1, ..spool.settings(Kind::Recordings) });
        spool.requests(1).await;
        for number in 0..10 {
            spool.put(&format!("{number}.wav"), "good");
        }
        spool.until_left(&["bad.wav"]).await;
        assert_eq!(spool.store.documents().len(), 10, "{fault:?}");
        spool.store.faults().heal();
        spool.until_left(&[]).await;
        watcher.stop().await;
    }
}

#[tokio::test]
async fn what_the_store_refuses_is_set_aside_with_its_words() {
    for status in [400, 413, 415, 422] {
        let spool = Spool::new();
        spool.store.faults().rule(only("bad.wav", refusal(status)));
        spool.put("bad.wav", "noise");
        spool.put("good.wav", "speech");
        let watcher = Watcher::start(spool.settings(Kind::Recordings));
        spool.until_left(&[".refused/bad.wav", ".refused/bad.wav.reason"]).await;
        assert_eq!(spool.store.names(), ["recordings/good.wav"]);
        let reason = spool.read(".refused/bad.wav.reason").unwrap();
        assert!(reason.contains(&status.to_string()) && reason.contains("not this one"), "{reason}");
        // Moving it back tries again.
        spool.store.faults().heal();
        fs::rename(spool.folder().join(".refused/bad.wav"), spool.folder().join("bad.wav")).unwrap();
        spool.until_left(&[".refused/bad.wav.reason"]).await;
        assert_eq!(watcher.stop().await.refused, 1);
    }
}

#[tokio::test]
async fn a_key_that_is_not_known_stops_all_until_it_is_replaced() {
    let spool = Spool::new();
    spool.store.set_key("open");
    for number in 0..5 {
        spool.put(&format!("{number}.wav"), "speech");
    }
    let watcher = Watcher::start(spool.settings(Kind::Recordings));
    spool.requests(4).await;
    assert_eq!((spool.names().len(), spool.store.documents().len()), (5, 0));
    fs::write(spool.beside("key"), "acme:open\n").unwrap();
    spool.until_left(&[]).await;
    assert_eq!(spool.store.documents().len(), 5);
    watcher.stop().await;
}

#[tokio::test]
async fn an_outage_is_probed_by_one_file_at_a_time() {
    let spool = Spool::new();
    spool.store.faults().always(Fault::unavailable());
    for number in 0..50 {
        spool.put(&format!("{number}.wav"), "speech");
    }
    let watcher = Watcher::start(Settings { concurrency: 4, ..spool.settings(Kind::Recordings) });
    spool.requests(4).await;
    // Those that were out when it began have come back; from here on a slow answer has no company.
    until("the first are back", || spool.store.faults().seen().len() >= 4).await;
    let (slow, before) = (Fault::Delay(Duration::from_millis(300)), spool.store.faults().seen().len());
    spool.store.faults().heal();
    spool.store.faults().next([slow]);
    spool.store.faults().wait_for(before + 1, Duration::from_secs(60)).await;
    assert_eq!(spool.store.documents().len(), 0);
    spool.until_left(&[]).await;
    assert_eq!(spool.store.documents().len(), 50);
    watcher.stop().await;
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_runs() {
    let spool = Spool::new();
    spool.store.faults().always(Fault::Delay(Duration::from_millis(300)));
    for number in 0..10 {
        spool.put(&format!("{number}.wav"), "speech");
    }
    let watcher = Watcher::start(Settings { concurrency: 2, ..spool.settings(Kind::Recordings) });
    spool.store.faults().wait_for(2, Duration::from_secs(60)).await;
    let tally = watcher.stop().await;
    assert_eq!(tally.uploaded as usize, spool.store.documents().len());
    assert_eq!(spool.names().len(), 10 - spool.store.documents().len(), "what was sent is deleted, nothing else");
    assert!(spool.names().len() >= 6, "and nothing new was begun");
}

#[tokio::test]
async fn what_was_sent_and_cannot_be_deleted_is_not_sent_again() {
    let spool = Spool::new();
    spool.put("x/a.wav", "speech");
    // A file lies where the folder for what leaves would have to be.
    let watcher = Watcher::start(Settings { recursive: true, ..spool.settings(Kind::Recordings) });
    let obstacle = spool.folder().join(".stowline-spool/leaving");
    until("the watcher is there", || obstacle.parent().unwrap().is_dir()).await;
    fs::write(&obstacle, "").unwrap();
    spool.until_uploaded(&["recordings/x/a.wav".replace("x/", "").as_str()]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(spool.names(), ["x/a.wav"]);
    fs::remove_file(&obstacle).unwrap();
    spool.until_left(&[]).await;
    assert_eq!(spool.document("recordings/a.wav").arrivals, 1);
    watcher.stop().await;
}
