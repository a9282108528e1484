//! The faults of section 8 of the contract: for each that concerns storage, the tests that show that we do better, by name.
//!
//! A fault is a row, a row names tests, and a test of that name must be there: who renames one is told here.

/// (fault, file below `tests/it`, test).
const ROWS: &[(&str, &str, &str)] = &[
    ("1 cross-tenant access", "storage/scopes.rs", "an_id_of_another_owner_or_type_is_never_readable"),
    (
        "2 declared authorization ignored",
        "storage/matrix.rs",
        "row_user_by_themselves_and_by_admins_never_by_another_user",
    ),
    ("3 GET and DELETE of plans", "storage/scopes.rs", "plans_are_made_listed_read_changed_and_deleted"),
    ("4 plans unusable", "storage/in_force.rs", "an_account_links_to_its_own_its_resellers_or_the_systems_plans_only"),
    ("5 secrets in plaintext", "secrets.rs", "secrets_are_in_no_file_no_log_and_no_metric"),
    (
        "5 secrets in the error log",
        "storage/trail.rs",
        "att_handlers_errors_in_three_forms_and_usage_by_handler_and_type",
    ),
    (
        "6 pointers embed credentials",
        "storage/retirement.rs",
        "a_retired_entry_still_serves_and_an_erased_one_parks_its_jobs_and_leaves_its_objects_out_of_reach",
    ),
    (
        "7 wrong-host merge",
        "storage/retirement.rs",
        "a_retired_entry_still_serves_and_an_erased_one_parks_its_jobs_and_leaves_its_objects_out_of_reach",
    ),
    ("11 no retry", "storage/trail.rs", "att_handlers_errors_in_three_forms_and_usage_by_handler_and_type"),
    ("14 dangling ids", "storage.rs", "faults_are_all_named_by_their_dotted_paths"),
    ("15 eventual cache", "storage/in_force.rs", "a_change_at_each_level_is_in_force_before_it_is_answered"),
    (
        "16 a forged mark skips the probe",
        "storage.rs",
        "a_probe_runs_for_changed_entries_only_and_no_client_can_forge_its_mark",
    ),
    ("17 SSRF", "storage.rs", "private_addresses_are_out_of_reach_unless_allowed"),
    (
        "18 the probe comes before 412",
        "storage/faults.rs",
        "fault_18_a_conflict_and_a_stale_revision_are_answered_before_anything_is_tried",
    ),
    ("19 opaque schema errors", "storage/catalogue.rs", "row_400_validation_error"),
    ("20 status quirks", "storage/catalogue.rs", "row_413_too_large_names_the_limit"),
    ("20 existence before authentication", "storage/matrix.rs", "any_other_scope_is_none"),
    (
        "22 hard delete while attachments point there",
        "storage/retirement.rs",
        "what_went_by_a_plan_is_read_after_the_account_left_it",
    ),
    (
        "22 an account's plans stay",
        "storage/scopes.rs",
        "deleting_an_account_takes_its_documents_those_of_its_users_its_plans_and_what_was_retired",
    ),
    ("23 no audit", "storage/trail.rs", "audit_tells_every_change_and_every_refusal_and_no_value"),
    (
        "23 no test of a connection",
        "storage/explain.rs",
        "dry_run_answers_what_a_document_would_change_and_writes_and_tries_nothing",
    ),
];

#[test]
fn every_fault_that_concerns_storage_has_its_test() {
    for (fault, file, test) in ROWS {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("fn {test}()")), "{fault}: there is no {test} in {file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_18_a_conflict_and_a_stale_revision_are_answered_before_anything_is_tried() {
    use serde_json::json;

    use crate::levels::{Levels, entry};
    const OWN: &str = "dddddddddddddddddddddddddddddddd";
    let levels = Levels::start().await;
    let server = testkit::S3Server::start();
    let (api, own) = (&levels.admin.api, Levels::storage(&levels.customer, ""));
    api.put(&own, &json!({"data": {}})).await.expect_status(201);
    let document = json!({"data": {"attachments": {OWN: entry(&server, "recordings")}}});
    api.put(&own, &document).await.expect_status(409);
    let stale = api.request(reqwest::Method::POST, &own).header("if-match", "\"1-0\"").body(document.to_string());
    api.send(stale).await.expect_status(412);
    api.upload(reqwest::Method::POST, &own, "image/png", document.to_string()).await.expect_status(415);
    levels.user.api.post(&own, &document).await.expect_status(403);
    assert!(server.faults().seen().is_empty(), "nothing was tried");
}
