//! Buckets without stored keys: roles that are taken on under an external id that we make, and the machine's role for the system alone.

use serde_json::{Value, json};
use testkit::{AmazonServer, Answer, S3Server, VOICEMAIL_WAV};

use super::super::fixture::{CONFIG, HANDLER, Platform, Tenant, bucket};

const ROLE: &str = "arn:aws:iam::123456789012:role/recordings";

struct Cloud {
    amazon: AmazonServer,
    bucket: S3Server,
    settings: Value,
}

impl Cloud {
    fn start() -> Self {
        let (bucket, mut settings) = bucket();
        for key in ["key", "secret"] {
            settings.as_object_mut().unwrap().remove(key);
        }
        Self { amazon: AmazonServer::start(bucket.access_key(), bucket.secret_key()), bucket, settings }
    }

    fn config(&self, machine: bool) -> String {
        let url = self.amazon.url();
        let ours = match machine {
            true => format!("instance_roles = true\nmetadata_url = \"{url}\"\n"),
            false => format!(
                "access_key_id = \"{}\"\nsecret_access_key = \"{}\"\nprincipal = \"arn:aws:iam::1:user/stowline\"\n",
                self.amazon.access_key(),
                self.amazon.secret_key()
            ),
        };
        format!("{CONFIG}\n[aws]\nsts_url = \"{url}\"\n{ours}")
    }

    fn document(&self, more: &Value) -> Value {
        let mut settings = self.settings.clone();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"data": {
            "attachments": {HANDLER: {"handler": "s3", "name": "bucket", "settings": settings}},
            "plan": {"modb": {"types": {"mailbox_message": {"attachments": {"handler": HANDLER}}}}},
        }})
    }
}

async fn external_id(tenant: &Tenant) -> String {
    let path = format!("/v2/accounts/{}/storage/external_id", tenant.id);
    let told = tenant.api.get(&path).await.expect_status(200).data();
    told["external_id"].as_str().unwrap().to_owned()
}

fn refused(answer: Answer, says: &str) {
    let errors = answer.expect_status(400).data().to_string();
    assert!(errors.contains(says), "{says}: {errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_taken_on_under_the_accounts_own_external_id() {
    let cloud = Cloud::start();
    let platform = Platform::with(&cloud.config(false)).await;
    let (own, others) = (external_id(&platform.tenant).await, external_id(&platform.master).await);
    assert_ne!(own, others);
    assert_eq!(own, external_id(&platform.tenant).await);
    let api = &platform.tenant.api;
    let role = cloud.document(&json!({"role_arn": ROLE}));

    // Another's role: its owner trusts another id, and the tenant cannot say that one.
    cloud.amazon.trust(ROLE, &others);
    refused(api.put(&platform.storage(), &role).await, "AccessDenied");
    refused(
        api.put(&platform.storage(), &cloud.document(&json!({"role_arn": ROLE, "external_id": others}))).await,
        "external_id",
    );
    let issued = json!({"role_arn": ROLE, "issued": {"external_id": others, "system": true}});
    refused(api.put(&platform.storage(), &cloud.document(&issued)).await, "issued");
    assert_eq!(cloud.amazon.taken(), []);

    // The account's own.
    cloud.amazon.trust(ROLE, &own);
    let stored = api.put(&platform.storage(), &role).await.expect_status(201).data();
    let shown = &stored["attachments"][HANDLER]["settings"];
    assert_eq!((&shown["role_arn"], shown.get("issued"), shown.get("key")), (&json!(ROLE), None, None));
    let mailbox = platform.mailbox().await;
    let message = platform.voicemail(&mailbox).await;
    platform.until_delivered().await;
    let raw = format!("{mailbox}/messages/{message}/raw");
    assert!(api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
    assert_eq!(cloud.amazon.taken(), [(ROLE.to_owned(), own.clone())], "once for all of it");
    let session = cloud.amazon.session_token();
    let seen = cloud.bucket.faults().seen();
    assert!(seen.iter().all(|seen| seen.headers["x-amz-security-token"] == session), "every request shows it");

    // Keys that have ended are renewed, once.
    let ended = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    cloud.bucket.faults().next([testkit::Fault::status(400).with_body(ended)]);
    assert!(api.get(&raw).await.expect_status(200).body == VOICEMAIL_WAV);
    assert_eq!(cloud.amazon.taken().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_access_of_ours_there_are_no_roles() {
    let cloud = Cloud::start();
    let platform = Platform::start().await;
    let path = platform.storage();
    for (more, says) in [
        (json!({"role_arn": ROLE}), "[aws]"),
        (json!({"instance_role": true}), "instance_roles"),
        (json!({}), "key"),
        (json!({"role_arn": ROLE, "key": "k", "secret": "hunter2"}), "one of them"),
    ] {
        refused(platform.tenant.api.put(&path, &cloud.document(&more)).await, says);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_role_is_for_the_system_alone() {
    let cloud = Cloud::start();
    let platform = Platform::with(&cloud.config(true)).await;
    let machine = cloud.document(&json!({"instance_role": true}));
    refused(platform.tenant.api.put(&platform.storage(), &machine).await, "instance_role");
    let own = format!("/v2/accounts/{}/storage", platform.master.id);
    refused(platform.master.api.put(&own, &machine).await, "instance_role");
    // The keys of the machine are asked for, and a bucket that does not know them says so.
    refused(platform.master.api.put("/v2/storage", &machine).await, "error_code");
    let asked: Vec<String> = cloud.amazon.faults().seen().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(asked.last().unwrap(), "/latest/meta-data/iam/security-credentials/platform-role");
    assert!(cloud.bucket.faults().seen().iter().any(|seen| seen.headers.contains_key("x-amz-security-token")));

    // With it roles are taken on as well.
    let role = cloud.document(&json!({"role_arn": ROLE}));
    cloud.amazon.trust(ROLE, &external_id(&platform.tenant).await);
    platform.tenant.api.put(&platform.storage(), &role).await.expect_status(201);
}
