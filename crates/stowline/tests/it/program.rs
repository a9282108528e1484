//! The fixed face: command line, first line, signals, `sup`, health, metrics, configuration.

use std::process::Command;

use serde_json::json;
use testkit::{Api, Program};

use super::fixture::{CONFIG, Platform};

#[tokio::test(flavor = "multi_thread")]
async fn with_no_configuration_it_starts_and_is_healthy() {
    let program = Program::start("");
    let health = Api::new(&program.url()).get("/healthz").await;
    assert_eq!((health.status, String::from_utf8_lossy(&health.body).into_owned()), (200, "ok\n".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_and_exits_zero_and_accounts_outlive_it() {
    let mut platform = Platform::start().await;
    assert!(platform.program.terminate().success());
    platform.program.restart();
    let (api, _) = Api::new(&platform.program.url()).login("Acme", "admin", "sesame-open").await;
    api.get(&format!("/v2/accounts/{}", platform.tenant.id)).await.expect_status(200);
}

#[test]
fn sup_says_what_it_knows() {
    let program = Program::start(CONFIG);
    for wrong in
        [&["nothing", "at_all"][..], &["kzs_plan", "flush", "too", "much"], &["crossbar_maintenance", "create_account"]]
    {
        let run = program.sup_output(wrong);
        assert_eq!(run.status.code(), Some(2), "{wrong:?}");
        let text = String::from_utf8_lossy(&run.stderr);
        assert!(text.contains("create_account NAME REALM USER PASS") && run.stdout.is_empty(), "{text}");
    }
    let failed = program.sup_output(&["crossbar_maintenance", "start_module", "cb_nothing"]);
    assert_eq!(failed.status.code(), Some(1));
    let twice = || program.sup_output(&["crossbar_maintenance", "start_module", "cb_storage"]).status.code();
    assert_eq!((twice(), twice()), (Some(0), Some(0)));
    let short = ["crossbar_maintenance", "create_account", "Acme", "acme.example", "admin", "short"];
    let refused = program.sup_output(&short);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("password"));
    let again =
        program.sup(&["crossbar_maintenance", "create_account", "Acme", "acme.example", "admin", "sesame-open"]);
    assert!(again["account_id"].as_str().is_some_and(|id| id.len() == 32), "a refused account leaves its name free");
}

#[tokio::test(flavor = "multi_thread")]
async fn sup_without_a_server_and_a_second_server_are_told_so() {
    let mut platform = Platform::start().await;
    let second = Command::new(platform.program.binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(platform.program.data_dir())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another stowline runs"));
    let address = platform.program.url().replace("http://", "");
    let other = tempfile::tempdir().unwrap();
    let mut taken = Command::new(platform.program.binary());
    taken.args(["serve", "--listen", &address, "--data-dir"]).arg(other.path().join("data"));
    let taken = taken.output().unwrap();
    assert_eq!(taken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&taken.stderr).contains("cannot listen on"));
    platform.program.terminate();
    let absent = platform.program.sup_output(&["kzs_plan", "flush"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("stowline serve"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_module_turns_the_endpoint_off() {
    let platform = Platform::start().await;
    platform.program.sup(&["crossbar_maintenance", "stop_module", "cb_storage"]);
    let answer = platform.tenant.api.get(&platform.storage()).await.expect_status(404).json();
    assert_eq!(answer["message"], "not_found");
    platform.program.sup(&["crossbar_maintenance", "start_module", "cb_storage"]);
    let answer = platform.tenant.api.get(&platform.storage()).await.expect_status(404).json();
    assert_eq!(answer["message"], "bad_identifier");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_prometheus_text_without_tenants() {
    let platform = Platform::start().await;
    platform.tenant.api.put(&platform.storage(), &json!({"data": {}})).await.expect_status(201);
    let answer = Api::new(&platform.program.url()).get("/metrics").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        text.contains("stowline_http_request_seconds_bucket{") && text.contains("stowline_store_healthy 1"),
        "{text}"
    );
    assert!(!text.contains(&platform.tenant.id));
}

#[test]
fn help_teaches_and_config_prints_the_defaults() {
    let binary = testkit::find_binary().unwrap();
    let output = |arguments: &[&str]| {
        let run = Command::new(&binary).args(arguments).output().unwrap();
        assert!(run.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    assert!(output(&["--help"]).contains("stowline serve"));
    assert!(output(&["serve", "--help"]).contains("STOWLINE_<SECTION>__<KEY>"));
    assert!(output(&["sup", "--help"]).contains("allow_validation_overrides"));
    assert!(output(&["config"]).contains("backoff_max"));
}
