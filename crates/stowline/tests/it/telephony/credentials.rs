//! Names and passwords for telephones: who makes them, what they open, and where the password is not.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use testkit::{VOICEMAIL_WAV, has_program};
use voice::{Codec, wav};

use super::phones::{Exchange, as_heard, until_idle};
use crate::fixture::{Platform, plain_user, until};

fn path(platform: &Platform) -> String {
    format!("/v2/accounts/{}/sip_credentials", platform.tenant.id)
}

/// A name and a password of the tenant's.
async fn made(platform: &Platform) -> (String, String, Value) {
    let body = json!({"data": {"name": "Dana's telephone"}});
    let made = platform.tenant.api.put(&path(platform), &body).await.expect_status(201).data();
    (made["username"].as_str().unwrap().to_owned(), made["password"].as_str().unwrap().to_owned(), made)
}

/// A call with a name and a password; whether it was answered, and what was told.
async fn call(exchange: &Exchange, host: &str, credentials: Option<(&str, &str)>) -> (bool, String) {
    let at = exchange.sip("udp").await;
    let mut command = Command::new(exchange.platform.program.binary());
    command.arg("call").arg(host.replace("HERE", &at)).arg("--play").arg(exchange.speech()).args(["--speak", "10ms"]);
    if let Some((name, password)) = credentials {
        command.args(["--user", name]).env("STOWLINE_SIP_PASSWORD", password);
    }
    let output = command.stdin(Stdio::null()).output();
    let output = tokio::task::spawn_blocking(move || output).await.unwrap().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(told).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_until_it_is_revoked_and_nothing_else_does() {
    let exchange = Exchange::guarded().await;
    let (here, platform) = ("sip:1001@HERE", &exchange.platform);
    let (answered, told) = call(&exchange, here, None).await;
    assert!(!answered && told.contains("403"), "as long as nobody has a password, nobody is asked for one: {told}");
    let (name, password, about) = made(platform).await;
    let (answered, told) = call(&exchange, here, None).await;
    assert!(!answered && told.contains("401"), "{told}");
    for (name, password) in [(name.as_str(), "sesame"), ("nobody", password.as_str())] {
        let (answered, told) = call(&exchange, here, Some((name, password))).await;
        assert!(!answered && told.contains("403"), "{told}");
    }
    let (answered, told) = call(&exchange, here, Some((&name, &password))).await;
    assert!(answered, "{told}");
    exchange.until_left(1).await;
    // An account that is switched off has no telephones.
    let account = format!("/v2/accounts/{}", platform.tenant.id);
    platform.master.api.patch(&account, &json!({"data": {"enabled": false}})).await.expect_status(200);
    let (answered, told) = call(&exchange, here, Some((&name, &password))).await;
    assert!(!answered && told.contains("403"), "{told}");
    platform.master.api.patch(&account, &json!({"data": {"enabled": true}})).await.expect_status(200);
    let one = format!("{}/{}", path(platform), about["id"].as_str().unwrap());
    platform.tenant.api.delete(&one).await.expect_status(200);
    platform.tenant.api.get(&one).await.expect_status(404);
    let (answered, told) = call(&exchange, here, Some((&name, &password))).await;
    assert!(!answered && told.contains("403"), "{told}");
    until_idle(&exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_of_one_account_and_calls_no_other() {
    let exchange = Exchange::guarded().await;
    let platform = &exchange.platform;
    let boxes = format!("/v2/accounts/{}/vmboxes", platform.master.id);
    let other = json!({"data": {"name": "Other", "mailbox": "1001"}});
    platform.master.api.put(&boxes, &other).await.expect_status(201);
    let (name, password, _) = made(platform).await;
    // Two accounts have this box. Who proves to be of one means its own.
    let (answered, told) = call(&exchange, "sip:1001@HERE", Some((&name, &password))).await;
    assert!(answered, "{told}");
    exchange.until_left(1).await;
    // With the account its credentials go.
    let account = format!("/v2/accounts/{}", platform.tenant.id);
    platform.master.api.delete(&account).await.expect_status(200);
    let (answered, told) = call(&exchange, "sip:1001@HERE", Some((&name, &password))).await;
    assert!(!answered && told.contains("403"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_made_and_seen_by_admins_only() {
    let platform = Platform::start().await;
    let path = path(&platform);
    let body = json!({"data": {"name": "sbc"}});
    let (pat, _) = plain_user(&platform).await;
    for call in [pat.put(&path, &body).await, pat.get(&path).await] {
        call.expect_status(403);
    }
    pat.anonymous().put(&path, &body).await.expect_status(401);
    let other = platform.master.api.put("/v2/accounts", &json!({"data": {"name": "Other"}})).await.expect_status(201);
    let other = format!("/v2/accounts/{}/sip_credentials", other.data()["id"].as_str().unwrap());
    platform.tenant.api.put(&other, &body).await.expect_status(403);
    let (name, password, about) = made(&platform).await;
    assert_eq!(about["realm"], "acme.example");
    assert!(password.len() >= 20, "{} letters", password.len());
    let by_reseller = platform.master.api.put(&path, &json!({"data": {}})).await.expect_status(201).data();
    assert_ne!((&by_reseller["username"], &by_reseller["password"]), (&json!(name), &json!(password)));
    let listed = platform.tenant.api.get(&path).await.expect_status(200).data();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let id = about["id"].as_str().unwrap();
    let read = platform.tenant.api.get(&format!("{path}/{id}")).await.expect_status(200).data();
    assert_eq!(read, json!({"id": id, "name": "Dana's telephone", "username": name, "created": about["created"]}));
    // What is of another account is none of this one.
    platform.master.api.get(&format!("{other}/{id}")).await.expect_status(404);
    platform.master.api.delete(&format!("{other}/{id}")).await.expect_status(404);
    // Nobody chooses a password: what is sent of one is passed over.
    let chosen = json!({"data": {"name": "x", "username": "dana", "password": "sesame", "pvt_password": "sesame"}});
    let chosen = platform.tenant.api.put(&path, &chosen).await.expect_status(201).data();
    assert!(chosen["username"] != "dana" && chosen["password"] != "sesame", "{chosen}");
    let refused = platform.tenant.api.put(&path, &json!({"data": {"name": 7}})).await.expect_status(400);
    assert!(refused.data().get("name").is_some(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sipp_is_asked_for_a_password_and_is_heard_and_may_register() {
    if !has_program("sipp", "calls of sipp with a password") {
        return;
    }
    let exchange = Exchange::guarded().await;
    let (name, password, _) = made(&exchange.platform).await;
    exchange.speech_as_ulaw();
    exchange.sipp("register.xml", &["-m", "1", "-au", &name, "-ap", &password]).await;
    exchange.sipp("known.xml", &["-m", "1", "-au", &name, "-ap", &password]).await;
    let message = exchange.until_left(1).await.remove(0);
    let (said, stored) = (as_heard(Codec::Pcmu), exchange.samples(&message).await);
    assert!(stored.len() > 8_000, "{} samples", stored.len());
    assert!(said.windows(stored.len()).any(|part| part == stored), "what is stored was not said");
    for scenario in ["register.xml", "known.xml"] {
        let (output, _) = exchange.try_sipp(scenario, &["-m", "1", "-au", &name, "-ap", "sesame"]).await;
        assert_eq!(output.status.code(), Some(1), "{scenario} with a wrong password");
    }
    exchange.until_left(1).await;
    until_idle(&exchange).await;
}

/// A softphone: it registers, calls, and says what its file holds. It looks for an address of its own and takes no loopback one.
#[tokio::test(flavor = "multi_thread")]
async fn baresip_registers_with_its_password_calls_and_is_heard() {
    if !has_program("baresip", "calls of baresip") || !has_an_address() {
        return;
    }
    let exchange = Exchange::guarded().await;
    let (name, password, _) = made(&exchange.platform).await;
    let folder = exchange.folder.path().join("baresip");
    let proxy = exchange.sip("udp").await;
    softphone(
        &folder,
        &format!(
            "\"Dana Fox\" <sip:{name}@acme.example>;auth_user={name};auth_pass={password};outbound=\"sip:{proxy}\";regint=60"
        ),
    );
    let told = std::fs::File::create(folder.join("told")).unwrap();
    let mut command = Command::new("baresip");
    command.arg("-f").arg(&folder).args(["-e", "/dial sip:1001@acme.example", "-t", "100"]);
    let phone = command.stdin(Stdio::null()).stdout(told.try_clone().unwrap()).stderr(told).spawn();
    let phone = Ended(phone.unwrap());
    let message = exchange.until_left(1).await.remove(0);
    drop(phone);
    let told = std::fs::read(folder.join("told")).unwrap();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("200 OK () [1 binding]") && told.contains("Call established"), "{told}");
    assert_eq!(message["caller_id_name"], "Dana Fox");
    assert_eq!(message["from"], format!("{name}@acme.example"));
    let (said, stored) = (as_heard(Codec::Pcmu), exchange.samples(&message).await);
    let (found, loud) = recognised(&said, &stored);
    assert!(found * 2 > loud, "{found} of {loud} pieces of what was said are in the {} samples stored", stored.len());
    until_idle(&exchange).await;
}

/// A process that goes when nobody needs it any more.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has_an_address() -> bool {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: the kernel says from which address it would be.
    let own = socket.connect("192.0.2.77:9").and_then(|()| socket.local_addr());
    own.is_ok_and(|own| !own.ip().is_loopback() && !own.ip().is_unspecified())
}

/// The folder of a baresip without sound card or keyboard. It speaks as soon as it is answered: silence first, until the tone is over.
fn softphone(folder: &Path, account: &str) {
    std::fs::create_dir(folder).unwrap();
    let speech = [vec![0; 3 * 8_000], wav::read(VOICEMAIL_WAV).unwrap().samples().to_vec()].concat();
    let file = folder.join("speech.wav");
    std::fs::write(&file, wav::file(8_000, &speech)).unwrap();
    let modules = ["g711.so", "aufile.so", "ausine.so"].map(|module| format!("module {module}\n")).concat();
    let config = format!(
        "sip_listen 127.0.0.1:0\naudio_player aufile,{0}/heard.wav\naudio_source aufile,{1}\naudio_alert ausine,400\n\
         module_path /usr/lib/baresip/modules\n{modules}module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\n",
        folder.display(),
        file.display()
    );
    for (name, text) in [("config", config), ("accounts", format!("{account}\n")), ("contacts", String::new())] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// How many loud pieces of 20 ms `said` has, and how many of them are heard somewhere in `stored`. Encoders of G.711 differ by a step here and there.
fn recognised(said: &[i16], stored: &[i16]) -> (usize, usize) {
    let loud = |piece: &&[i16]| piece.iter().filter(|sample| sample.unsigned_abs() > 1_000).count() > piece.len() / 2;
    let pieces: Vec<&[i16]> = said.chunks_exact(160).filter(loud).collect();
    let alike = |a: &[i16], b: &[i16]| {
        let differ = a.iter().zip(b).filter(|(a, b)| a.abs_diff(**b) > 64 + (a.unsigned_abs() >> 4));
        differ.take(9).count() < 9
    };
    let found = pieces.iter().filter(|piece| stored.windows(piece.len()).any(|window| alike(piece, window)));
    (found.count(), pieces.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_in_one_answer_and_nowhere_else() {
    let mut exchange = Exchange::guarded().await;
    let (name, password, about) = made(&exchange.platform).await;
    let (answered, told) = call(&exchange, "sip:1001@HERE", Some((&name, &password))).await;
    assert!(answered, "{told}");
    let (refused, _) = call(&exchange, "sip:1001@HERE", Some((&name, "sesame"))).await;
    assert!(!refused);
    let platform = &exchange.platform;
    let mut answers = String::new();
    let one = format!("{}/{}", path(platform), about["id"].as_str().unwrap());
    for path in [&path(platform), &one, &format!("/v2/accounts/{}", platform.tenant.id), "/metrics"] {
        answers.push_str(&String::from_utf8_lossy(&platform.tenant.api.get(path).await.body));
    }
    answers.push_str(&json!(exchange.messages().await).to_string());
    answers.push_str(&String::from_utf8_lossy(&platform.tenant.api.delete(&one).await.body));
    assert!(answers.contains(&name), "{answers}");
    until("the caller's name is in the log", async || {
        exchange.platform.program.log().contains("a SIP credential was revoked")
    })
    .await;
    exchange.platform.program.terminate();
    let files = holding(exchange.platform.program.data_dir(), &password);
    assert!(files.is_empty(), "{files:?}");
    for (place, text) in [("answers", &answers), ("log", &exchange.platform.program.log()), ("caller's log", &told)] {
        assert!(!text.contains(&password), "the password is in the {place}");
    }
}

/// Files below `folder` that hold `secret`.
fn holding(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, secret));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}
