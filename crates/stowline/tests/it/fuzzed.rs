//! A client that knows the API from its own document only, and means it no good: schemathesis, for a short while. It finds no fault of ours.

use std::process::Command;

use serde_json::json;
use testkit::has_program;

use super::fixture::{CONFIG, Platform, login, user_of};

/// Nobody answers there: what is made up of hosts leads nowhere.
const NO_DNS: &str = "resolvers = [\"127.0.0.1:9\"]";

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
    let account = &platform.tenant.id;
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    let other = user_of(api, account, "fuzzed", "user").await;
    login(api, "Acme", "fuzzed").await;
    api.put(&platform.storage(), &json!({"data": {}})).await.expect_status(201);
    let fax = api.put(&format!("/v2/accounts/{account}/faxboxes"), &json!({"data": {"name": "F"}})).await.data();
    let key = json!({"data": {"api_key": platform.tenant.api_key}});
    let token = api.anonymous().put("/v2/api_auth", &key).await.expect_status(201).json();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schemathesis.toml");
    let known = [
        ("account", account.as_str()),
        ("user", &other),
        ("box", mailbox.rsplit('/').next().unwrap()),
        ("message", &message),
        ("faxbox", fax["id"].as_str().unwrap()),
        ("validate_settings", "false"),
    ];
    let parameters: String = known.iter().map(|(name, value)| format!("\"{name}\" = \"{value}\"\n")).collect();
    std::fs::write(&file, format!("[parameters]\n{parameters}")).unwrap();
    let mut command = Command::new("schemathesis");
    command.arg("--config-file").arg(&file).arg("run");
    command.arg(format!("{}/v2/api_docs/openapi.json", platform.program.url()));
    command.args(["--header", &format!("X-Auth-Token: {}", token["auth_token"].as_str().unwrap())]);
    // What ends the token or the account would end the test; uploads to made-up accounts have tests of their own.
    command.args(["--exclude-path-regex", "(token_auth|/tokens|/api_key|/reseller)$"]);
    command.args(["--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"]);
    command.args(["--phases", "fuzzing", "--max-examples", "12", "--seed", "7", "--no-shrink", "--no-color"]);
    command.args(["--suppress-health-check", "all", "--warnings", "off", "--generation-database", "none"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("not_a_server_error") || said.contains("passed"), "{said}");
    platform.tenant.api.get(&format!("/v2/accounts/{account}")).await.expect_status(200);
}
