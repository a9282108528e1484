//! `stowline keys rotate`: another key, while no server runs.
//!
//! It opens the data folder as a server would, lock and all, and seals every document anew that holds something sealed, whoever wrote it: a sealed
//! value says what place it is for, so nobody has to know them all. In what order, and why a crash does no harm: `seal::rotation`.

use std::path::Path;

use connections::Embedded;
use serde_json::{Map, Value};

use crate::config::Config;
use crate::described;
use crate::seal::{Keys, rotation};

/// Changes the key. Answers what to tell the operator.
///
/// # Errors
/// When a server runs, the key is missing or another one, or a file cannot be written.
pub async fn rotate(config: &Config) -> anyhow::Result<String> {
    let folder = &config.server.data_dir;
    if !folder.is_dir() {
        anyhow::bail!("there is no data folder at {}", folder.display());
    }
    let _lock = crate::lock(folder)?;
    let source = config.key_source();
    let rotated =
        rotation::rotate(&source, folder, |keys| seal_anew(keys, folder.join("documents.db")), |_| Ok(())).await?;
    let old = match &rotated.retired {
        Some(file) => format!("the old key is at {}", file.display()),
        None => "take the old key away from where it comes from, and keep it somewhere".to_owned(),
    };
    Ok(format!(
        "everything is sealed with a new key now ({}), {source}\n\
         {old}: backups that were made before need it; delete it with them\n\
         tokens that were issued before are no longer valid\n",
        rotated.fingerprint,
    ))
}

async fn seal_anew(keys: Keys, file: impl AsRef<Path>) -> anyhow::Result<()> {
    let documents = Embedded::open(file.as_ref()).map_err(described)?;
    let keys = std::sync::Arc::new(keys);
    let anew = move |body: &mut Map<String, Value>| {
        let mut changed = false;
        for value in body.values_mut() {
            changed |= rotation::again(&keys, value)?;
        }
        anyhow::Ok(changed)
    };
    documents.rewrite("\"$sealed\"", anew).await.map_err(described)??;
    documents.close().await;
    // What was overwritten may lie in pages that are free now.
    Embedded::compact(file.as_ref()).map_err(described)
}
