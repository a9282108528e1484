//! Clients that know the API from its own document only, and mean it no good: schemathesis, for a short while, as everybody that there is. They find
//! no fault of ours.

use std::process::Command;

use serde_json::json;
use testkit::{Api, has_program};

use super::fixture::{CONFIG, Platform, login, user_of};

/// Nobody answers there: what is made up of hosts leads nowhere.
const NO_DNS: &str = "resolvers = [\"127.0.0.1:9\"]";
/// What ends the token would end the run. Uploads to made-up accounts have tests of their own.
const FINAL: &str = "(token_auth|/tokens|/api_key|/reseller)$";

/// With so many examples the forms of the answers are looked at too.
const MANY: u8 = 8;
const ALL: &str = "not_a_server_error,content_type_conformance,response_schema_conformance";

/// Somebody, and the account that they are at.
struct Fuzzer<'a> {
    name: &'static str,
    token: Option<String>,
    account: &'a str,
    /// Examples of each route.
    examples: u8,
    /// What would lock them out.
    not: &'static [&'static str],
}

/// The ids that are there.
struct Known {
    user: String,
    mailbox: String,
    message: String,
    faxbox: String,
}

fn run(platform: &Platform, fuzzer: &Fuzzer<'_>, known: &Known) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schemathesis.toml");
    let parameters = [
        ("account", fuzzer.account),
        ("user", &known.user),
        ("box", &known.mailbox),
        ("message", &known.message),
        ("faxbox", &known.faxbox),
        ("validate_settings", "false"),
    ];
    let parameters: String = parameters.iter().map(|(name, value)| format!("\"{name}\" = \"{value}\"\n")).collect();
    std::fs::write(&file, format!("[parameters]\n{parameters}")).unwrap();
    let mut command = Command::new("schemathesis");
    command.arg("--config-file").arg(&file).arg("run");
    command.arg(format!("{}/v2/api_docs/openapi.json", platform.program.url()));
    if let Some(token) = &fuzzer.token {
        command.args(["--header", &format!("X-Auth-Token: {token}")]);
    }
    command.args(["--exclude-path-regex", FINAL]);
    for name in fuzzer.not {
        command.args(["--exclude-name", name]);
    }
    command.args(["--checks", if fuzzer.examples >= MANY { ALL } else { "not_a_server_error" }]);
    command.args(["--phases", "fuzzing", "--seed", "7", "--no-shrink", "--no-color"]);
    command.args(["--max-examples", &fuzzer.examples.to_string()]);
    command.args(["--suppress-health-check", "all", "--warnings", "off", "--generation-database", "none"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}", fuzzer.name);
    assert!(said.contains("not_a_server_error") || said.contains("passed"), "{}: {said}", fuzzer.name);
}

async fn known(platform: &Platform) -> Known {
    let (api, account) = (&platform.tenant.api, &platform.tenant.id);
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    api.put(&platform.storage(), &json!({"data": {}})).await.expect_status(201);
    let fax = api.put(&format!("/v2/accounts/{account}/faxboxes"), &json!({"data": {"name": "F"}})).await.data();
    Known {
        user: user_of(api, account, "fuzzed", "user").await,
        mailbox: mailbox.rsplit('/').next().unwrap().to_owned(),
        message,
        faxbox: fax["id"].as_str().unwrap().to_owned(),
    }
}

/// A reseller with plans; its id and admin.
async fn reseller(master: &Api) -> (String, Api) {
    let made = master.put("/v2/accounts", &json!({"data": {"name": "Reseller"}})).await.expect_status(201).data();
    let id = made["id"].as_str().unwrap().to_owned();
    master.put(&format!("/v2/accounts/{id}/reseller"), &json!({"data": {}})).await.expect_status(201);
    user_of(master, &id, "admin", "admin").await;
    let api = login(master, "Reseller", "admin").await;
    let plan = json!({"data": {"id": "gold"}});
    api.put(&format!("/v2/accounts/{id}/storage/plans"), &plan).await.expect_status(201);
    (id, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_no_request_of_a_fuzzed_client_is_answered_with_a_fault_of_ours() {
    if !has_program("schemathesis", "the API fuzzed by its own document") {
        return;
    }
    let config = CONFIG.replace("[egress]", &format!("[egress]\n{NO_DNS}")).replace("debug,", "warn,");
    let platform = Platform::with(&format!("{config}\n[api]\ntoken_lifetime = \"1h\"\nanonymous_per_second = 0")).await;
    // Settings are saved without being tried: they would be tried on hosts that somebody may have.
    platform.program.sup(&["kzs_plan", "allow_validation_overrides"]);
    let api = &platform.tenant.api;
    let known = known(&platform).await;
    let user = login(api, "Acme", "fuzzed").await;
    let (reseller, resellers) = reseller(&platform.master.api).await;
    let key = json!({"data": {"api_key": platform.tenant.api_key}});
    let key = api.anonymous().put("/v2/api_auth", &key).await.expect_status(201).json();
    let token = |api: &Api| api.token().map(str::to_owned);
    let tenant = platform.tenant.id.as_str();
    // A password that is changed ends the token, and who stands above may close the account or delete it.
    let own = ["POST /v2/accounts/{account}/users/{user}", "PATCH /v2/accounts/{account}/users/{user}"].as_slice();
    let above =
        ["POST /v2/accounts/{account}", "PATCH /v2/accounts/{account}", "DELETE /v2/accounts/{account}"].as_slice();
    let fuzzers = [
        Fuzzer { name: "nobody", token: None, account: tenant, examples: 1, not: &[] },
        Fuzzer { name: "a user", token: token(&user), account: tenant, examples: 1, not: own },
        Fuzzer {
            name: "an API key",
            token: key["auth_token"].as_str().map(str::to_owned),
            account: tenant,
            examples: MANY,
            not: &[],
        },
        Fuzzer { name: "a reseller's admin", token: token(&resellers), account: &reseller, examples: 1, not: &[] },
        Fuzzer { name: "a super admin", token: token(&platform.master.api), account: tenant, examples: 1, not: above },
    ];
    for fuzzer in &fuzzers {
        run(&platform, fuzzer, &known);
        // They did not lock themselves out.
        if let Some(token) = &fuzzer.token {
            api.with_token(token).get("/v2/token_auth").await.expect_status(200);
        }
    }
    api.get(&format!("/v2/accounts/{tenant}")).await.expect_status(200);
}
