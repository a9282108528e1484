//! The article's walk: from an empty server to a voicemail in a bucket, each step checked.
//!
//! The order and the requests are the article's. What is added to them is said where it is added: the S3 settings name
//! host, port and scheme, because the bucket is on this machine and not at Amazon. A step that does not come out as the
//! article says is an error, and the walk ends there.

use crate::story::{Story, human, quoted};
use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testkit::{Answer, Api, Program, S3Server, VOICEMAIL_WAV};

mod telephone;

const BUCKET: &str = "my_kazoo_bucket_name";
const HANDLER: &str = "e3e26e06a4b1465599e6dc9e1516fd8b";
const S3_KEY: &str = "AKIADEMODEMODEMODEMO";
const S3_SECRET: &str = "demo/secret+of+the+demo+bucket/0123456789";

/// What differs from the defaults.
fn config(sip: SocketAddr) -> String {
    format!(
        "# The bucket is on this machine; handlers may not reach loopback addresses otherwise.\n[egress]\nallow = [\"127.0.0.0/8\"]\n\
         # Telephones on this machine may call, without a password.\n[sip]\nlisten = \"{sip}\"\ntrusted_peers = [\"127.0.0.0/8\", \"::1\"]\n"
    )
}

/// Account, realm, user and password of the two accounts.
const MASTER: [&str; 4] = ["demo", "demo.sip.example", "admin", "correct-horse"];
const CHILD: [&str; 4] = ["harbour", "harbour.sip.example", "dana", "battery-staple"];

/// Where the walk takes place.
#[derive(Debug)]
pub struct Stage {
    /// The `stowline` program.
    pub binary: PathBuf,
    /// An empty folder for data, objects and the sound file.
    pub folder: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where the S3 server listens.
    pub s3_listen: SocketAddr,
    /// Where calls are taken.
    pub sip_listen: SocketAddr,
}

/// The walk, with both servers running.
#[derive(Debug)]
pub struct Walk {
    story: Story,
    stage: Stage,
    s3: S3Server,
    program: Program,
    api: Api,
    account_id: String,
}

impl Walk {
    /// Starts the S3 server and the program.
    ///
    /// # Errors
    /// The folder is not empty, an address cannot be bound, or the program does not start.
    pub fn start(mut story: Story, stage: Stage) -> anyhow::Result<Self> {
        let objects = stage.folder.join("objects");
        std::fs::create_dir_all(&stage.folder).with_context(|| format!("cannot make {}", stage.folder.display()))?;
        ensure!(
            std::fs::read_dir(&stage.folder)?.next().is_none(),
            "{} is not empty: the walk starts from nothing, so choose another folder",
            stage.folder.display()
        );
        std::fs::create_dir(&objects)?;
        std::fs::write(stage.folder.join("voicemail.wav"), VOICEMAIL_WAV)?;

        story.step("Two servers start on this machine");
        let s3 = S3Server::builder()
            .listen(stage.s3_listen)
            .folder(&objects)
            .keys(S3_KEY, S3_SECRET)
            .start()
            .context("the S3 server")?;
        s3.bucket(BUCKET);
        story.say(&format!("An S3-compatible server (s3s-fs) at {}, with an empty bucket {BUCKET}.", s3.url()));
        let data = stage.folder.join("data");
        story.say("stowline itself, with this configuration:");
        let config = config(stage.sip_listen);
        story.say(&config.lines().map(|line| format!("    {line}\n")).collect::<String>());
        let program = Program::builder()
            .binary(&stage.binary)
            .config(&config)
            .data_dir(&data)
            .listen(&stage.listen.to_string())
            .start()?;
        story.command(&format!(
            "{} serve --config {} --data-dir {} --listen {}",
            stage.binary.display(),
            program.config_file().display(),
            data.display(),
            stage.listen
        ));
        story.good(&format!("the API is at {}", program.url()));
        let api = Api::new(&program.url());
        Ok(Walk { story, stage, s3, program, api, account_id: String::new() })
    }

    /// Walks the whole article.
    ///
    /// # Errors
    /// A step did not come out as the article says.
    pub async fn article(&mut self) -> anyhow::Result<()> {
        self.accounts()?;
        self.log_in().await?;
        self.storage_is_not_there().await?;
        self.create_storage().await?;
        self.add_s3().await?;
        self.add_plan().await?;
        let mailbox = self.create_mailbox().await?;
        let message = self.leave_voicemail(&mailbox).await?;
        self.nothing_waits().await?;
        self.read_back(&mailbox, &message).await?;
        self.leave_voicemail_by_telephone().await
    }

    fn accounts(&mut self) -> anyhow::Result<()> {
        self.story.step("An administrator creates two accounts and enables the storage endpoint");
        self.story.say("The first account is the master account: its admins may do everything. The second is an ordinary customer.");
        for account in [MASTER, CHILD] {
            self.sup(&["crossbar_maintenance", "create_account", account[0], account[1], account[2], account[3]])?;
        }
        self.story.say("The article's first command. The endpoint is on from the start here, so this changes nothing and succeeds.");
        self.sup(&["crossbar_maintenance", "start_module", "cb_storage"])
    }

    fn sup(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.story.command(&format!("{} {}", self.sup_command(), arguments.join(" ")));
        let output = self.program.sup_output(arguments);
        for text in [&output.stdout, &output.stderr] {
            if !text.is_empty() {
                self.story.say(String::from_utf8_lossy(text).trim_end());
            }
        }
        ensure!(output.status.success(), "sup {} ended with {}", arguments.join(" "), output.status);
        Ok(())
    }

    fn sup_command(&self) -> String {
        format!("{} sup --data-dir {}", self.stage.binary.display(), self.program.data_dir().display())
    }

    async fn log_in(&mut self) -> anyhow::Result<()> {
        self.story.step("The customer's admin logs in");
        let [account, _, user, password] = CHILD;
        self.story.say(&format!("`credentials` is the MD5 of `{user}:{password}`."));
        let body = json!({"data": {"credentials": Api::credentials(user, password), "account_name": account}});
        let answer = self.exchange(Method::PUT, "/v2/user_auth", Some(&body)).await?;
        expect(&answer, 201)?;
        let json = answer.json();
        let token = json["auth_token"].as_str().context("the answer has no auth_token")?;
        self.account_id = json["data"]["account_id"].as_str().context("the answer has no account_id")?.to_owned();
        self.api = self.api.with_token(token);
        self.story.variable("AUTH_TOKEN", token);
        let account_id = self.account_id.clone();
        self.story.variable("ACCOUNT_ID", &account_id);
        Ok(())
    }

    fn storage(&self) -> String {
        format!("/v2/accounts/{}/storage", self.account_id)
    }

    async fn storage_is_not_there(&mut self) -> anyhow::Result<()> {
        self.story.step("The storage of the account is asked for");
        self.story.say("It has not been configured yet, so of course it is not found.");
        let answer = self.exchange(Method::GET, &self.storage(), None).await?;
        expect(&answer, 404)?;
        ensure!(answer.json()["message"] == "bad_identifier", "the message is not bad_identifier");
        Ok(())
    }

    async fn create_storage(&mut self) -> anyhow::Result<()> {
        self.story.step("The initial storage document is created");
        let answer = self.exchange(Method::PUT, &self.storage(), Some(&json!({"data": {}}))).await?;
        expect(&answer, 201)?;
        ensure!(answer.data()["id"] == self.account_id.as_str(), "the id is not the account's");
        Ok(())
    }

    async fn add_s3(&mut self) -> anyhow::Result<()> {
        self.story.step("An S3 configuration is added");
        self.story.say(
            "The settings are the article's: bucket, key, secret. The demo adds `host`, `port` and `scheme`, and only those, because\n\
             this bucket is on the loopback address and not at Amazon. Before the document is saved, a small test object is written to\n\
             the bucket and read back: wrong credentials would be a 400 with the store's own words.",
        );
        let settings = json!({
            "bucket": BUCKET, "key": S3_KEY, "secret": S3_SECRET,
            "host": self.s3.address().ip().to_string(), "port": self.s3.port(), "scheme": "http",
        });
        let attachments = json!({HANDLER: {"handler": "s3", "name": "Kazoo S3", "settings": settings}});
        let answer =
            self.exchange(Method::PATCH, &self.storage(), Some(&json!({"data": {"attachments": attachments}}))).await?;
        expect(&answer, 200)?;
        let shown = &answer.data()["attachments"][HANDLER];
        ensure!(
            shown["settings"]["bucket"] == BUCKET && shown["handler"] == "s3",
            "the attachment is not in the answer"
        );
        Ok(())
    }

    async fn add_plan(&mut self) -> anyhow::Result<()> {
        self.story.step("The storage plan is added");
        self.story.say("Voicemails are «mailbox messages»; their audio goes to the handler of the step before.");
        let plan = json!({"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}});
        let answer = self.exchange(Method::PATCH, &self.storage(), Some(&json!({"data": {"plan": plan}}))).await?;
        expect(&answer, 200)?;
        ensure!(answer.data()["plan"] == plan, "the plan is not in the answer");
        ensure!(answer.data()["attachments"].get(HANDLER).is_some(), "the S3 configuration is gone");
        Ok(())
    }

    async fn create_mailbox(&mut self) -> anyhow::Result<String> {
        self.story.step("A mailbox is created");
        let body = json!({"data": {"name": "Dana's mailbox", "mailbox": "1001"}});
        let answer =
            self.exchange(Method::PUT, &format!("/v2/accounts/{}/vmboxes", self.account_id), Some(&body)).await?;
        expect(&answer, 201)?;
        let mailbox = answer.data()["id"].as_str().context("the mailbox has no id")?.to_owned();
        self.story.variable("VMBOX_ID", &mailbox);
        Ok(mailbox)
    }

    async fn leave_voicemail(&mut self, mailbox: &str) -> anyhow::Result<String> {
        self.story.step("A voicemail is left");
        self.story.say("Five seconds of real speech. The 201 comes when message and audio are durable on this machine; from then the clock runs.");
        let before = self.s3.keys(BUCKET);
        let path = format!("/v2/accounts/{}/vmboxes/{mailbox}/messages", self.account_id);
        let part = json!({"data": {"caller_id_name": "Dana Fox", "caller_id_number": "+14155550123", "length": 5225}});
        let file = self.stage.folder.join("voicemail.wav");
        self.story.curl(
            "PUT",
            &format!("{}{path}", self.api.url()),
            true,
            &format!("-F data={}';type=application/json' -F 'file=@{};type=audio/wav'", quoted(&part), file.display()),
        );
        let started = Instant::now();
        let answer = self.api.multipart(Method::PUT, &path, &part, "voicemail.wav", "audio/wav", VOICEMAIL_WAV).await;
        let accepted = Instant::now();
        // Looked for before anything is printed, so that the time is the store's and not the terminal's.
        let object = if answer.status == 201 { Some(self.object(&before).await) } else { None };
        let arrived = accepted.elapsed();
        self.story.answer(&answer, accepted - started);
        expect(&answer, 201)?;
        let message = answer.data()["id"]
            .as_str()
            .or(answer.data()["media_id"].as_str())
            .context("the message has no id")?
            .to_owned();
        self.story.variable("MESSAGE_ID", &message);

        self.story.step("The object is in the bucket");
        let (key, bytes) =
            object.context("no object")?.context("no object appeared in the bucket within two minutes")?;
        self.story.say(&format!("s3://{BUCKET}/{key}\n{} bytes, there {} after the 201.", bytes.len(), human(arrived)));
        ensure!(bytes == VOICEMAIL_WAV, "the object in the bucket is not what was left");
        self.story.good("byte for byte what was left");
        Ok(message)
    }

    /// The first object that was not there before.
    async fn object(&self, before: &[String]) -> Option<(String, bytes::Bytes)> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while Instant::now() < deadline {
            if let Some(key) = self.s3.keys(BUCKET).into_iter().find(|key| !before.contains(key)) {
                return self.s3.object(BUCKET, &key).map(|bytes| (key, bytes));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        None
    }

    async fn nothing_waits(&mut self) -> anyhow::Result<()> {
        self.story.step("Nothing waits to be delivered");
        let path = format!("{}/deliveries", self.storage());
        let deadline = Instant::now() + Duration::from_secs(10);
        // The object may be there a moment before its receipt is written down.
        while self.api.get(&path).await.data() != json!([]) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answer = self.exchange(Method::GET, &path, None).await?;
        expect(&answer, 200)?;
        ensure!(answer.data() == json!([]), "a delivery is left");
        Ok(())
    }

    async fn read_back(&mut self, mailbox: &str, message: &str) -> anyhow::Result<()> {
        self.story.step("The audio is read back through the API");
        let path = format!("/v2/accounts/{}/vmboxes/{mailbox}/messages/{message}/raw", self.account_id);
        self.story.curl("GET", &format!("{}{path}", self.api.url()), true, "-o back.wav");
        let reads = || self.s3.faults().seen().iter().filter(|seen| seen.method == "GET").count();
        let before = reads();
        let started = Instant::now();
        let answer = self.api.get(&path).await;
        self.story.answer(&answer, started.elapsed());
        expect(&answer, 200)?;
        ensure!(answer.body == VOICEMAIL_WAV, "what was read back is not what was left");
        ensure!(reads() > before, "the S3 server was not asked for the object");
        self.story.good("byte for byte what was left, and the S3 server was asked for it");
        Ok(())
    }

    /// Prints a request with a JSON body, sends it, prints the answer.
    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let rest =
            body.map(|body| format!("-H 'Content-Type: application/json' -d {}", quoted(body))).unwrap_or_default();
        self.story.curl(method.as_str(), &format!("{}{path}", self.api.url()), self.api.token().is_some(), &rest);
        let mut request = self.api.request(method, path);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let started = Instant::now();
        let answer = self.api.try_send(request).await?;
        self.story.answer(&answer, started.elapsed());
        Ok(answer)
    }

    /// Credentials and the next commands, while both servers stay up.
    pub fn what_next(&self, keeps_data: bool) {
        let [account, _, user, password] = CHILD;
        let story = &self.story;
        story.title("It stays up until Ctrl-C");
        story.say(&format!("API        {}   account {account}, user {user}, password {password}", self.api.url()));
        story.say(&format!(
            "           as super admin: account {}, user {}, password {}",
            MASTER[0], MASTER[2], MASTER[3]
        ));
        story.say(&format!("S3         {}   bucket {BUCKET}, key {S3_KEY}, secret {S3_SECRET}", self.s3.url()));
        let fate = if keeps_data { "stays" } else { "is removed at the end" };
        story.say(&format!("Folder     {}   ({fate})", self.stage.folder.display()));
        story.title("Next");
        story.say("Set AUTH_TOKEN, ACCOUNT_ID, VMBOX_ID and MESSAGE_ID in your shell as printed above (the token lives for an hour), then:");
        let base = format!("{}/v2/accounts/{}", self.api.url(), self.account_id);
        story.curl("GET", &format!("{base}/vmboxes/$VMBOX_ID/messages?pretty_print=true"), true, "");
        story.curl("GET", &format!("{base}/vmboxes/$VMBOX_ID/messages/$MESSAGE_ID/raw"), true, "-o back.wav");
        story.curl("GET", &format!("{base}/storage?pretty_print=true"), true, "");
        story.curl("GET", &format!("{base}/storage/deliveries?pretty_print=true"), true, "");
        story.command(&format!(
            "curl -s --aws-sigv4 aws:amz:us-east-1:s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --user '{S3_KEY}:{S3_SECRET}' \"{}/{BUCKET}?list-type=2\"",
            self.s3.url()
        ));
        story.say("A wrong secret is refused before it is saved:");
        let wrong = json!({"data": {"attachments": {HANDLER: {"settings": {"secret": "wrong"}}}}});
        story.curl("PATCH", &format!("{base}/storage"), true, &format!("-d {}", quoted(&wrong)));
        story.say("Anything that speaks SIP may call the mailbox: a softphone, sipp, or");
        if let Some(place) = self.calls() {
            story.command(&self.call_command(&place));
        }
        story.say("What else an administrator can do:");
        story.command(&format!("{} --help", self.sup_command()));
    }

    /// What the program logged: for the reader whose walk failed.
    pub fn show_log(&self) {
        let log = self.program.log();
        let lines: Vec<_> = log.lines().collect();
        eprintln!("\nThe last lines of stowline's log:");
        for line in &lines[lines.len().saturating_sub(30)..] {
            eprintln!("    {line}");
        }
    }

    /// Ends the program as an operator would.
    ///
    /// # Errors
    /// It did not end cleanly.
    pub fn end(&mut self) -> anyhow::Result<()> {
        let status = self.program.terminate();
        ensure!(status.success(), "stowline ended with {status}");
        Ok(())
    }
}

fn expect(answer: &Answer, status: u16) -> anyhow::Result<()> {
    ensure!(answer.status == status, "the status is {}, where the article has {status}", answer.status);
    Ok(())
}
