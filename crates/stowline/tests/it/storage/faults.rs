//! The bar: each row of sections 1.9, 2.2 and 2.3 of the contract and each fault of its section 8 has a test that is named after it.
//!
//! `bar.txt` says which. A test of that name must be there, named after its row, and no row may be left out: who renames or removes one is told here.

use std::collections::BTreeSet;
use std::path::Path;

use plan::{Database, DocType};
use serde_json::json;
use stowline::app::dataplans;
use testkit::S3Server;

use crate::levels::{Levels, entry};

const BAR: &str = include_str!("bar.txt");
const OWN: &str = "dddddddddddddddddddddddddddddddd";

/// The statuses of section 1.9, and those that were decided on beside them.
const STATUSES: [u16; 17] = [400, 401, 402, 403, 404, 405, 409, 410, 412, 413, 415, 416, 423, 429, 500, 502, 503];
const SCOPES: [&str; 4] = ["system", "reseller plans", "account", "user"];
const OPERATIONS: [&str; 10] = [
    "GET single",
    "PUT single",
    "POST / PATCH single",
    "DELETE single",
    "GET plans",
    "PUT plans",
    "GET/DELETE plans/{P}",
    "plan docs are linked",
    "account deletion",
    "maintenance verbs",
];
const FAULTS: usize = 23;

struct Row {
    section: &'static str,
    name: &'static str,
    file: &'static str,
    /// Why there is none, where there is no file.
    test: &'static str,
}

fn rows() -> Vec<Row> {
    let lines = BAR.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &'static str| {
        let mut parts = line.split(" | ");
        let mut part = || parts.next().unwrap();
        Row { section: part(), name: part(), file: part(), test: part() }
    };
    lines.map(row).collect()
}

impl Row {
    fn number(&self) -> &'static str {
        self.name.split(' ').next().unwrap()
    }

    /// The test of this program is named after its row. Those of the libraries have names of their own.
    fn fits(&self) -> bool {
        let numbers = || self.test.strip_prefix("fault_").into_iter().flat_map(|rest| rest.split('_'));
        match self.section {
            "1.9" => self.test.starts_with("row_") && self.test.contains(self.number()),
            "2.2" | "2.3" => self.test.starts_with("row_") || self.test.contains("_row_"),
            _ => numbers().take_while(|word| word.parse::<u8>().is_ok()).any(|word| word == self.number()),
        }
    }
}

#[test]
fn every_row_of_the_bar_has_its_test() {
    let rows = rows();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for row in rows.iter().filter(|row| row.file != "-") {
        let text =
            std::fs::read_to_string(crates.join(row.file)).unwrap_or_else(|error| panic!("{}: {error}", row.file));
        assert!(
            text.contains(&format!("fn {}()", row.test)),
            "{} {}: no {} in {}",
            row.section,
            row.name,
            row.test,
            row.file
        );
    }
    let of = |section: &str| -> Vec<&Row> { rows.iter().filter(|row| row.section == section).collect() };
    let statuses: BTreeSet<u16> = of("1.9").iter().map(|row| row.number().parse().unwrap()).collect();
    assert_eq!(statuses, BTreeSet::from(STATUSES));
    for (section, wanted) in [("2.2", &SCOPES[..]), ("2.3", &OPERATIONS[..])] {
        for name in wanted {
            assert!(of(section).iter().any(|row| row.name.starts_with(name)), "{section} {name}");
        }
    }
    for section in ["1.9", "2.2", "2.3"] {
        assert!(of(section).iter().all(|row| row.file == "-" || row.fits()), "each is named after its row: {section}");
    }
    // A fault of several parts may lean on tests of a library; one test of it has its number.
    for fault in 1..=FAULTS {
        let of_fault = |row: &&&Row| row.number() == fault.to_string();
        assert!(of("8").iter().filter(of_fault).any(|row| row.fits()), "fault {fault} has no test of its number");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_9_a_probe_leaves_nothing_at_its_destination_and_nothing_here() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    let own = Levels::storage(&levels.customer, "");
    let document = json!({"data": {"attachments": {OWN: entry(&server, "recordings")}}});
    levels.admin.api.put(&own, &document).await.expect_status(201);
    assert!(server.faults().seen().iter().any(|seen| seen.method == "PUT"), "it was tried");
    assert!(server.keys("recordings").is_empty());
    let usage = levels.admin.api.get(&format!("{own}/usage")).await.expect_status(200).data();
    assert_eq!(usage["total"]["attachments"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_18_a_conflict_and_a_stale_revision_are_answered_before_anything_is_tried() {
    let levels = Levels::start().await;
    let server = S3Server::start();
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

#[tokio::test(flavor = "multi_thread")]
async fn fault_21_a_yearly_database_goes_by_the_plan_of_its_owner() {
    let levels = Levels::start().await;
    let server = S3Server::start();
    let spoken = json!({"yodb": {"types": {"ledger": {"attachments": {"handler": OWN}}}}});
    let document = json!({"data": {"attachments": {OWN: entry(&server, "recordings")}, "plan": spoken}});
    levels.user.api.put(&levels.user_storage(&levels.user, ""), &document).await.expect_status(201);
    let account = Database::Account(levels.customer.id.clone()).name();
    let ledger: DocType = "ledger".parse().unwrap();
    for (owner, suffix, goes) in [
        (Some(&levels.user), "2026", true),
        (Some(&levels.user), "202611", false),
        (Some(&levels.other_user), "2026", false),
        (None, "2026", false),
    ] {
        let owner = owner.map(|person| person.id.as_str());
        let plan = dataplans::of(levels.app(), &levels.customer.id, owner).await.unwrap();
        let database: Database = format!("{account}-{suffix}").parse().unwrap();
        assert_eq!(plan.route(&database, Some(&ledger)).attachment.is_some(), goes, "{owner:?} {suffix}");
    }
}
