//! The list of kinds: one line a member. What else the program knows of a kind, it asks here.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use crate::Handler;
use crate::error::Error;
use crate::handlers::{
    azure, dropbox, filesystem, ftp, google_drive, google_storage, http, onedrive, s3, sftp, webdav,
};
use crate::location::{Arg, Field};
use crate::ways::Ways;

/// How a handler is opened: with settings, and the ways by which it goes out.
pub type Open = fn(&Map<String, Value>, &Ways) -> Result<Arc<dyn Handler>, Error>;

/// A kind of handler.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The word in `handler`.
    pub name: &'static str,
    /// The JSON schema, draft 4, of what `settings` hold beside what all kinds have.
    pub schema: &'static str,
    /// Opens a handler. Asks nobody: settings that cannot work are found, those that do not work show later.
    pub open: Open,
    /// Which destination the settings mean, without credentials: while it is the same, a receipt still holds.
    pub destination: fn(&Map<String, Value>) -> String,
    /// What a location is made of where the settings do not say.
    pub default_fields: fn() -> Vec<Field>,
    /// The names of settings that are credentials.
    pub secrets: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind {
        name: "s3",
        schema: include_str!("../schemas/storage.attachment.aws.json"),
        open: s3::open,
        destination: s3::destination,
        default_fields: database_then_id_and_attachment,
        secrets: &["key", "secret", "session_token"],
    },
    Kind {
        name: "http",
        schema: include_str!("../schemas/storage.attachment.http.json"),
        open: http::open,
        destination: http::destination,
        default_fields: account_owner_id_attachment,
        // Its one setting that may hold a credential, the URL, does so in its user and query only.
        secrets: &[],
    },
    Kind {
        name: "filesystem",
        schema: include_str!("../schemas/storage.attachment.filesystem.json"),
        open: filesystem::open,
        destination: filesystem::destination,
        default_fields: account_owner_id_attachment,
        secrets: &[],
    },
    Kind {
        name: "webdav",
        schema: include_str!("../schemas/storage.attachment.webdav.json"),
        open: webdav::open,
        destination: webdav::destination,
        default_fields: account_owner_id_attachment,
        secrets: &["password"],
    },
    Kind {
        name: "sftp",
        schema: include_str!("../schemas/storage.attachment.sftp.json"),
        open: sftp::open,
        destination: sftp::destination,
        default_fields: account_owner_id_attachment,
        secrets: &["password", "private_key", "passphrase"],
    },
    Kind {
        name: "ftp",
        schema: include_str!("../schemas/storage.attachment.ftp.json"),
        open: ftp::open,
        destination: ftp::destination,
        default_fields: account_owner_id_attachment,
        secrets: &["password"],
    },
    Kind {
        name: "azure",
        schema: include_str!("../schemas/storage.attachment.azure.json"),
        open: azure::open,
        destination: azure::destination,
        default_fields: id_and_attachment,
        secrets: &["key", "sas_token"],
    },
    Kind {
        name: "google_storage",
        schema: include_str!("../schemas/storage.attachment.google_storage.json"),
        open: google_storage::open,
        destination: google_storage::destination,
        default_fields: id_and_attachment,
        secrets: &["service_account"],
    },
    Kind {
        name: "google_drive",
        schema: include_str!("../schemas/storage.attachment.google_drive.json"),
        open: google_drive::open,
        destination: google_drive::destination,
        default_fields: id_and_attachment,
        // What lets us into a person's drive is no setting: it is the consent that a setting names.
        secrets: &[],
    },
    Kind {
        name: "dropbox",
        schema: include_str!("../schemas/storage.attachment.dropbox.json"),
        open: dropbox::open,
        destination: dropbox::destination,
        default_fields: id_and_attachment,
        secrets: &[],
    },
    Kind {
        name: "onedrive",
        schema: include_str!("../schemas/storage.attachment.onedrive.json"),
        open: onedrive::open,
        destination: onedrive::destination,
        default_fields: id_and_attachment,
        secrets: &[],
    },
];

/// All kinds.
#[must_use]
pub fn kinds() -> &'static [Kind] {
    KINDS
}

/// The kind of this name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    kinds().iter().find(|kind| kind.name == name)
}

/// The name and the settings' schema of each kind.
#[must_use]
pub fn schemas() -> &'static [(&'static str, Value)] {
    static SCHEMAS: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| {
        let parsed = |kind: &Kind| (kind.name, serde_json::from_str(kind.schema).unwrap_or(Value::Null));
        kinds().iter().map(parsed).collect()
    });
    &SCHEMAS
}

fn database_then_id_and_attachment() -> Vec<Field> {
    [vec![Field::Arg(Arg::Db)], id_and_attachment()].concat()
}

fn id_and_attachment() -> Vec<Field> {
    vec![Field::Group(vec![Field::Arg(Arg::Id), Field::Const(Cow::Borrowed("_")), Field::Arg(Arg::Attachment)])]
}

fn account_owner_id_attachment() -> Vec<Field> {
    let owner = Field::Public(Cow::Borrowed("owner_id"));
    vec![Field::Arg(Arg::AccountId), owner, Field::Arg(Arg::Id), Field::Arg(Arg::Attachment)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_schema_is_json_and_marks_the_secrets() {
        for ((name, schema), kind) in schemas().iter().zip(kinds()) {
            assert_eq!(*name, kind.name);
            let properties = schema["properties"].as_object().unwrap();
            let marked: Vec<&str> =
                properties.iter().filter(|(_, of)| of["x-secret"] == true).map(|(name, _)| name.as_str()).collect();
            assert_eq!(marked, kind.secrets, "{name}");
            assert!(schema["_id"].as_str().unwrap().starts_with("storage.attachment."));
        }
    }

    #[test]
    fn the_schemas_say_what_settings_may_be() {
        let schemas = plan::schema::Schemas::new(schemas().iter().map(|(name, schema)| (*name, schema))).unwrap();
        let faults = |handler: &str, settings: Value| {
            let id = "e3e26e06a4b1465599e6dc9e1516fd8b";
            let mut document = json!({"attachments": {id: {"handler": handler, "settings": settings}}});
            let violations = schemas.validate(&mut document);
            violations
                .iter()
                .map(|(path, code, _)| format!("{} {code}", path.rsplit('.').next().unwrap_or(path)))
                .collect::<Vec<_>>()
        };
        let s3 = json!({"bucket": "my_kazoo_bucket_name", "key": "AKIA", "secret": "s/+"});
        assert_eq!(faults("s3", s3), [""; 0]);
        let s3 = json!({"bucket": "recordings", "key": "AKIA", "secret": "s", "host": "127.0.0.1", "port": "9000", "scheme": "http",
            "region": "eu-west-1", "bucket_access_method": "auto", "bucket_after_host": "false", "upload_timeout": 5,
            "field_list": [{"arg": "id"}, {"group": [{"const": "_"}]}], "folder_base_path": "x"});
        assert_eq!(faults("s3", s3), [""; 0]);
        for (handler, settings, fault) in [
            ("s3", json!({"bucket": "short", "key": "k", "secret": "s"}), "bucket minLength"),
            ("s3", json!({"bucket": "with blank", "key": "k", "secret": "s"}), "bucket pattern"),
            ("s3", json!({"bucket": "recordings", "secret": "s"}), "key required"),
            ("s3", json!({"bucket": "recordings", "key": "k"}), "secret required"),
            ("s3", json!({"bucket": "recordings", "role_arn": "admin"}), "role_arn pattern"),
            (
                "s3",
                json!({"bucket": "recordings", "key": "k", "secret": "s", "object_lock_mode": "SOFT"}),
                "object_lock_mode enum",
            ),
            ("s3", json!({"bucket": "recordings", "key": "k", "secret": "s", "scheme": "ftp"}), "scheme enum"),
            ("s3", json!({"bucket": "recordings", "key": "k", "secret": "s", "port": 0}), "port minimum"),
            ("google_drive", json!({"folder_id": "x"}), "oauth_doc_id required"),
            ("dropbox", json!({}), "oauth_doc_id required"),
            ("onedrive", json!({"oauth_doc_id": ""}), "oauth_doc_id minLength"),
            ("google_storage", json!({"bucket": "calls"}), "settings not_one_schema_valid"),
            (
                "google_storage",
                json!({"bucket": "calls", "oauth_doc_id": "a", "oauth_app_id": "b"}),
                "settings not_one_schema_valid",
            ),
            ("azure", json!({"account": "acct", "container": "calls"}), "settings not_one_schema_valid"),
            (
                "azure",
                json!({"account": "acct", "container": "calls", "key": "k", "sas_token": "s"}),
                "settings not_one_schema_valid",
            ),
            ("azure", json!({"account": "evil.example/", "container": "calls", "key": "k"}), "account pattern"),
            ("http", json!({"url": "ftp://example.org"}), "url pattern"),
            ("http", json!({}), "url required"),
            ("http", json!({"url": "http://h/", "verb": "patch"}), "verb enum"),
            ("filesystem", json!({}), "root required"),
            ("filesystem", json!({"root": "srv/recordings"}), "root pattern"),
            ("ftp", json!({"url": "http://h/"}), "url pattern"),
            ("ftp", json!({"url": "ftp://h/", "certificate": "abc"}), "certificate pattern"),
            ("sftp", json!({"host": "h"}), "username required"),
            ("sftp", json!({"host": "h", "username": "u", "host_key": "aa:bb"}), "host_key pattern"),
            ("webdav", json!({"url": "http://h/?a=b"}), "url pattern"),
            ("webdav", json!({"url": "http://h/", "read_back": "perhaps"}), "read_back type"),
        ] {
            let found = faults(handler, settings.clone());
            assert!(found.iter().any(|found| found == fault), "{settings}: {found:?}");
        }
        assert_eq!(
            faults("http", json!({"url": "https://me:pw@h/i.cgi?x=", "verb": "POST", "send_multipart": true})),
            [""; 0]
        );
    }
}
