//! Asterisk's voicemail spool: messages that are renumbered, moved and heard while they are read.

use std::fs;

use uploader::{After, Kind, Settings, Tally};

use super::fixture::{Spool, Watcher, once, query, until};

/// A message as Asterisk leaves it.
fn leave(spool: &Spool, place: &str, id: &str) {
    let text = format!(
        ";\n; Message Information file\n;\n[message]\norigmailbox=1001\ncontext=from-sip\nexten=1001\nrdnis=unknown\n\
         priority=2\ncallerchan=PJSIP/dana-00000003\ncallerid=\"Dana Fox\" <+14155550123>\n\
         origdate=Tue Nov 24 11:03:00 AM UTC 2026\norigtime=1795518180\ncategory=\nmsg_id={id}\nflag=\nduration=5\n"
    );
    spool.put(&format!("{place}.wav"), format!("speech {id}"));
    spool.put(&format!("{place}.gsm"), "the same, smaller");
    spool.put(&format!("{place}.txt"), text);
}

fn rename(spool: &Spool, from: &str, to: &str) {
    fs::create_dir_all(spool.folder().join(to).parent().unwrap()).unwrap();
    for extension in ["wav", "gsm", "txt"] {
        let path = |name: &str| spool.folder().join(format!("{name}.{extension}"));
        fs::rename(path(from), path(to)).unwrap();
    }
}

#[tokio::test]
async fn a_message_is_uploaded_once_with_what_asterisk_knows_and_stays() {
    let spool = Spool::new();
    leave(&spool, "default/1001/INBOX/msg0000", "1795518180-00000001");
    spool.put("default/1001/unavail.wav", "greeting");
    spool.put("default/1001/tmp/x7Fg.wav", "half");
    let tally = once(spool.settings(Kind::AsteriskVoicemail)).await.unwrap();
    assert_eq!(tally.uploaded, 1);
    let document = spool.document("voicemail/1001/1795518180-00000001.wav");
    assert_eq!(&document.body[..], b"speech 1795518180-00000001");
    let wanted = [
        ("caller_id_name", "Dana Fox"),
        ("caller_id_number", "+14155550123"),
        ("duration_ms", "5000"),
        ("timestamp", "1795518180"),
        ("to", "1001"),
    ];
    assert_eq!(document.query, query(wanted));
    assert_eq!(spool.names().len(), 5, "nothing of Asterisk's was touched");
    // Renumbered and heard: it is still the same message.
    rename(&spool, "default/1001/INBOX/msg0000", "default/1001/Old/msg0007");
    leave(&spool, "default/1001/INBOX/msg0000", "1795518180-00000002");
    let tally = once(spool.settings(Kind::AsteriskVoicemail)).await.unwrap();
    assert_eq!(tally, Tally { uploaded: 1, known: 1, bytes: 26, ..Tally::default() });
    assert!(spool.store.documents().iter().all(|document| document.arrivals == 1));
}

#[tokio::test]
async fn renumbering_while_it_watches_confuses_nothing() {
    let spool = Spool::new();
    let watcher = Watcher::start(spool.settings(Kind::AsteriskVoicemail));
    for round in 0..10 {
        for number in 0..5 {
            leave(&spool, &format!("default/1001/INBOX/msg{number:04}"), &format!("{round}-{number}"));
        }
        // Messages go and the others move down, as when a box is closed, at any moment of the watcher's.
        until("some of it is taken", || spool.store.documents().len() >= round * 4).await;
        for number in 1..5 {
            let (from, to) =
                (format!("default/1001/INBOX/msg{number:04}"), format!("default/1001/INBOX/msg{:04}", number - 1));
            rename(&spool, &from, &to);
        }
        let first = round * 5;
        for number in 0..4 {
            rename(
                &spool,
                &format!("default/1001/INBOX/msg{number:04}"),
                &format!("default/1001/Old/msg{:04}", first + number),
            );
        }
    }
    until("what is left is taken", || spool.store.documents().len() >= 40).await;
    for document in spool.store.documents() {
        let id = document.name.trim_start_matches("voicemail/1001/").trim_end_matches(".wav");
        assert_eq!(document.body, format!("speech {id}"), "the audio of another message");
        assert_eq!(document.arrivals, 1);
    }
    watcher.stop().await;
}

#[tokio::test]
async fn other_contexts_and_folders_are_left_alone_where_so_asked() {
    let spool = Spool::new();
    leave(&spool, "default/1001/INBOX/msg0000", "1-a");
    leave(&spool, "default/1001/Work/msg0000", "1-b");
    leave(&spool, "acme/1001/INBOX/msg0000", "1-c");
    leave(&spool, "acme/1001/Urgent/msg0000", "1-d");
    let settings = Settings { contexts: vec!["acme".into()], ..spool.settings(Kind::AsteriskVoicemail) };
    once(settings).await.unwrap();
    assert_eq!(spool.store.names(), ["voicemail/1001/1-c.wav", "voicemail/1001/1-d.wav"]);
    let settings = Settings { mailbox_folders: vec!["Work".into()], ..spool.settings(Kind::AsteriskVoicemail) };
    once(settings).await.unwrap();
    assert!(spool.store.names().contains(&"voicemail/1001/1-b.wav".to_owned()));
}

#[tokio::test]
async fn where_asterisk_is_to_lose_them_its_lock_is_respected() {
    let spool = Spool::new();
    leave(&spool, "default/1001/INBOX/msg0000", "1-a");
    let lock = spool.folder().join("default/1001/INBOX/.lock");
    fs::write(&lock, "").unwrap();
    let settings = Settings { after: After::Delete, ..spool.settings(Kind::AsteriskVoicemail) };
    let watcher = Watcher::start(settings);
    spool.until_uploaded(&["voicemail/1001/1-a.wav"]).await;
    spool.put("default/1002/INBOX/nothing", "");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(spool.read("default/1001/INBOX/msg0000.wav").is_some(), "Asterisk is at work there");
    fs::remove_file(&lock).unwrap();
    spool.until_left(&["default/1002/INBOX/nothing"]).await;
    assert_eq!(spool.document("voicemail/1001/1-a.wav").arrivals, 1);
    watcher.stop().await;
}
