//! The fakes of drives are true to their makers: each maker's own client for programmers does its work with one, and is surprised by nothing.
//!
//! The clients (`tests/makers/`) look at whatever they are given back. What goes wrong on the way is told here, and looked after here: that a
//! client came again after a 429 or a 503, and how often.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};
use testkit::{Dropbox, Fault, Faults, GoogleDrive, OAuthServer, OneDrive, Seen, has_program};

/// Runs a client to its end, which must be a good one.
fn content(program: &str, script: &str, url: &str, tokens: &OAuthServer) {
    let expired = tokens.access_token();
    tokens.expire();
    let given = json!({
        "url": url, "token": tokens.access_token(), "expired": expired, "refresh": tokens.consent(), "token_url": tokens.token_url(),
        "client_id": tokens.client_id(), "client_secret": tokens.client_secret(),
    });
    let script = format!("{}/tests/makers/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut client = Command::new(program)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts");
    client.stdin.take().expect("its input").write_all(given.to_string().as_bytes()).expect("it listens");
    let output = client.wait_with_output().expect("the client ends");
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim() == "content", "{}\n{said}\n{wrong}", output.status);
}

/// What goes wrong once: a request that fits is answered so, the next like it is served.
struct Once(fn(&Seen) -> bool, Fault);

fn go_wrong(faults: &Faults, troubles: Vec<Once>) {
    let troubles = Mutex::new(troubles);
    faults.rule(move |seen| {
        let mut troubles = troubles.lock().expect("the list of troubles");
        let at = troubles.iter().position(|Once(fits, _)| fits(seen))?;
        Some(troubles.remove(at).1)
    });
}

/// How many requests fit.
fn asked(faults: &Faults, fits: impl Fn(&Seen) -> bool) -> usize {
    faults.seen().iter().filter(|seen| fits(seen)).count()
}

fn json_fault(status: u16, retry_after: &str, body: &Value) -> Fault {
    let fault = Fault::status(status).with_header("content-type", "application/json");
    fault.with_header("retry-after", retry_after).with_body(&body.to_string())
}

#[test]
fn googles_own_client_is_content_with_the_drive() {
    if !has_program("makers-python", "the fake of Google Drive under Google's own client") {
        return;
    }
    let drive = GoogleDrive::start();
    let busy = json!({"error": {
        "code": 429, "message": "Rate Limit Exceeded",
        "errors": [{"domain": "usageLimits", "reason": "rateLimitExceeded", "message": "Rate Limit Exceeded"}],
    }});
    let second_piece = |seen: &Seen| {
        let range = seen.headers.get("content-range").and_then(|range| range.to_str().ok());
        range.is_some_and(|range| range.starts_with("bytes 2097152-"))
    };
    let patient = |seen: &Seen| seen.query.contains("quotaUser=patient");
    go_wrong(
        drive.faults(),
        vec![
            Once(second_piece, Fault::unavailable()),
            Once(patient, json_fault(429, "1", &busy)),
            Once(|seen| seen.query.contains("quotaUser=impatient"), json_fault(429, "7", &busy)),
        ],
    );
    content("makers-python", "google_drive.py", &drive.url(), drive.tokens());
    assert_eq!((asked(drive.faults(), second_piece), asked(drive.faults(), patient)), (2, 2));
    assert_eq!(drive.tokens().granted(), ["refresh_token"]);
}

#[test]
fn dropboxs_own_client_is_content_with_the_dropbox() {
    if !has_program("makers-python", "the fake of Dropbox under Dropbox's own client") {
        return;
    }
    let dropbox = Dropbox::start();
    let busy = json!({"error_summary": "too_many_requests/..", "error": {"reason": {".tag": "too_many_requests"}, "retry_after": 1}});
    fn agent(seen: &Seen, name: &str) -> bool {
        let agent = seen.headers.get("user-agent").and_then(|agent| agent.to_str().ok());
        agent.is_some_and(|agent| agent.starts_with(name))
    }
    let patient = |seen: &Seen| agent(seen, "patient");
    go_wrong(
        dropbox.faults(),
        vec![
            Once(patient, json_fault(429, "1", &busy)),
            Once(|seen| agent(seen, "impatient"), json_fault(429, "1", &busy)),
        ],
    );
    content("makers-python", "dropbox.py", &dropbox.url(), dropbox.tokens());
    assert_eq!(asked(dropbox.faults(), patient), 2);
    assert_eq!(dropbox.tokens().granted(), ["refresh_token"]);
}

#[test]
fn microsofts_own_client_is_content_with_the_drive() {
    if !has_program("makers-node", "the fake of OneDrive under Microsoft's own client") {
        return;
    }
    let drive = OneDrive::start();
    let busy = json!({"error": {"code": "activityLimitReached", "message": "The app or user has been throttled."}});
    let late = |seen: &Seen| seen.method == "GET" && seen.path.ends_with("/late.wav");
    go_wrong(drive.faults(), vec![Once(late, json_fault(429, "1", &busy))]);
    content("makers-node", "onedrive.js", &drive.url(), drive.tokens());
    assert_eq!(asked(drive.faults(), late), 2);
    assert_eq!(drive.sessions(), 0);
}
