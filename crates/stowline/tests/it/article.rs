//! The article, command by command: every code block runs, after the repairs that are written down here and no others.

use std::process::Command;

use serde_json::Value;
use testkit::{Program, S3Server};

use super::fixture::{CONFIG, HANDLER};

const ARTICLE: &str = include_str!("../article/commands.md");

/// What is wrong with the article as printed, and what stands in for it. Placeholders are filled apart.
const REPAIRS: &[(&str, &str)] = &[
    // A stray backslash before a URL.
    ("\\ \"http://", "\"http://"),
    // A line's end without its backslash, in the middle of a command.
    ("-d '{\"data\":{}}'\n", "-d '{\"data\":{}}' \\\n"),
    // An answer without its closing quote.
    ("\"auth_token\": \"{AUTH_TOKEN}\n", "\"auth_token\": \"{AUTH_TOKEN}\"\n"),
    // A site that makes ids, and the id that it made.
    ("curl https://www.uuidgenerator.net/api/version4/1", "cat /proc/sys/kernel/random/uuid"),
    ("\ne3e26e06a4b1465599e6dc9e1516fd8b\n", "\n"),
];

struct Block {
    kind: &'static str,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut rest = ARTICLE;
    let mut found = Vec::new();
    while let Some(start) = rest.find("```") {
        let body = &rest[start + 3..];
        let (kind, body) = body.split_once('\n').unwrap();
        let end = body.find("```").unwrap();
        let repaired = REPAIRS.iter().fold(body[..end].to_owned(), |text, (fault, repair)| text.replace(fault, repair));
        found.push(Block { kind, text: repaired });
        rest = &body[end + 3..];
    }
    found
}

/// Everything that `printed` says must be in `actual`; more may be there.
fn agrees(printed: &Value, actual: &Value, path: &str) {
    match printed {
        Value::Object(fields) => {
            for (key, printed) in fields {
                match key.as_str() {
                    // Whatever the reference counted: ours has the form, and rises (checked by the caller).
                    "revision" => {
                        assert!(actual[key].as_str().is_some_and(|revision| revision.contains('-')), "{path}.{key}")
                    }
                    _ => agrees(printed, &actual[key], &format!("{path}.{key}")),
                }
            }
        }
        other => assert_eq!(other, actual, "{path}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_block_of_the_article_runs() {
    let server = S3Server::start();
    server.bucket("my_kazoo_bucket_name");
    let program = Program::start(CONFIG);
    let made = program.sup(&["crossbar_maintenance", "create_account", "Acme", "acme.example", "admin", "sesame-open"]);
    let account = made["account_id"].as_str().unwrap();
    let (api, _) = testkit::Api::new(&program.url()).login("Acme", "admin", "sesame-open").await;
    let token = api.token().unwrap().to_owned();

    // `sup` as operators type it: a link to the binary on PATH, on the data folder that the environment names.
    let tools = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(program.binary(), tools.path().join("sup")).unwrap();
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());

    let host = format!("\"host\": \"127.0.0.1\", \"port\": {}, \"scheme\": \"http\", \"bucket\"", server.port());
    let fill = |text: &str| {
        text.replace("{UUID}", HANDLER)
            .replace("{ACCOUNT_ID}", account)
            .replace("{AUTH_TOKEN}", &token)
            .replace("{S3_BUCKET}", "my_kazoo_bucket_name")
            .replace("{AWS_ACCESS_KEY}", server.access_key())
            .replace("{AWS_SECRET_KEY}", server.secret_key())
            .replace("http://localhost:8000", &program.url())
            // The only addition: where our bucket is.
            .replace("\"bucket\"", &host)
    };
    let mut last: Option<Value> = None;
    let mut revisions = Vec::new();
    let mut compared = 0;
    for block in blocks() {
        let text = fill(&block.text);
        if block.kind == "sh" {
            let run = Command::new("sh")
                .args(["-e", "-c", &text])
                .env("PATH", &path)
                .env("AUTH_TOKEN", &token)
                .env("ACCOUNT_ID", account)
                .env("STOWLINE_SERVER__DATA_DIR", program.data_dir())
                .output()
                .unwrap();
            let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
            assert!(run.status.success(), "{text}\nended with {}\n{out}\n{err}", run.status);
            last = serde_json::from_str(&out).ok();
            revisions.extend(last.as_ref().and_then(|answer| answer["revision"].as_str()).map(str::to_owned));
            continue;
        }
        let mut printed: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        // Blocks without a status are bodies of requests to come.
        if printed.get("status").is_none() {
            continue;
        }
        let answer = last.as_ref().expect("an answer follows its command");
        assert!(answer["request_id"].as_str().is_some_and(|id| !id.is_empty()));
        printed.as_object_mut().unwrap().remove("request_id");
        agrees(&printed, answer, "answer");
        compared += 1;
    }
    assert_eq!(compared, 4, "the article prints four answers");
    let count = |revision: &String| revision.split('-').next().unwrap().parse::<u64>().unwrap();
    let counts: Vec<u64> = revisions.iter().map(count).collect();
    assert_eq!(counts, [1, 2, 3], "revisions rise");
    assert!(!last.unwrap().to_string().contains("_sig"), "a probe's signature is private");
}
