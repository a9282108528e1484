//! Another key for an installation: everything that was sealed is sealed anew, and the old key is retired.
//!
//! `stowline keys rotate` does it, while no server runs. A crash at any moment leaves an installation that starts, and a rotation that is taken up
//! where it stopped:
//!
//! ```text
//! key file    new and old key: both open, the new one seals
//! key.lookup  the key of the digests, sealed with the new key: digests stay what they are
//! documents   every sealed value anew; then the files are rewritten, so that nothing sealed with the old key is left in them
//! key.id      the new key's fingerprint
//! key file    the new key alone; the old one in a file beside it, for backups that were made before
//! ```
//!
//! A key that somebody else keeps is not written here. Who keeps it puts a new one before it, has it rotated, and takes the old one away.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use super::source::{Root, write_keys};
use super::{FIELD, FINGERPRINT, Keys, LOOKUP, PLACE, Source, write_durably};

/// The steps of a rotation, each durable before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "told above, in this order")]
pub enum Step {
    BothKeys,
    Lookup,
    Documents,
    Fingerprint,
    OldKey,
    NewKeyAlone,
}

/// What came of a rotation.
#[derive(Debug)]
pub struct Rotated {
    /// The fingerprint of the key that seals from now on.
    pub fingerprint: String,
    /// Where the old key is; none when it is still where it comes from.
    pub retired: Option<PathBuf>,
}

/// Changes the key from `source` for another. `documents` seals anew what there is, with [`again`]; `after` is told of each step.
///
/// # Errors
/// What keeps it from being finished; it can be called again then. A key that somebody else keeps, while they give no new one.
pub async fn rotate<F>(
    source: &Source,
    data_dir: &Path,
    documents: impl FnOnce(Keys) -> F,
    mut after: impl FnMut(Step) -> anyhow::Result<()>,
) -> anyhow::Result<Rotated>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let roots = two_keys(source, data_dir)?;
    after(Step::BothKeys)?;
    let keys = Keys::open(source, data_dir)?;
    let fingerprint = keys.fingerprint().to_owned();
    let lookup = keys.seal(LOOKUP, &hex::encode(*keys.lookup).into())?;
    write_durably(&data_dir.join(LOOKUP), lookup.to_string().as_bytes(), 0o600)?;
    after(Step::Lookup)?;
    documents(keys).await.context("cannot seal the documents anew: nothing is lost, call it again")?;
    after(Step::Documents)?;
    write_durably(&data_dir.join(FINGERPRINT), format!("{fingerprint}\n").as_bytes(), 0o644)?;
    after(Step::Fingerprint)?;
    let Source::File(file) = source else { return Ok(Rotated { fingerprint, retired: None }) };
    let mut retired = None;
    for old in roots.get(1..).unwrap_or_default() {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".retired-{}", super::Sealer::of(old).fingerprint));
        write_keys(Path::new(&name), &[old])?;
        retired = Some(name.into());
    }
    after(Step::OldKey)?;
    if let Some(new) = roots.first() {
        write_keys(file, &[new])?;
    }
    after(Step::NewKeyAlone)?;
    Ok(Rotated { fingerprint, retired })
}

/// The new key and those before it. In a file it is made; who keeps the key elsewhere has to put one there.
fn two_keys(source: &Source, data_dir: &Path) -> anyhow::Result<Vec<Root>> {
    let mut roots = source.read()?;
    match (source, roots.len()) {
        (_, 0) => bail!("there is no key, {source}: nothing is sealed yet"),
        (_, 2..) => return Ok(roots),
        (Source::File(file), _) => {
            // Refuses a key that is not this folder's before anything is written.
            Keys::open(source, data_dir)?;
            roots.insert(0, zeroize::Zeroizing::new(rand::random()));
            write_keys(file, &roots.iter().map(|root| &**root).collect::<Vec<_>>())?;
        }
        (Source::Given(_) | Source::Command(_), _) => {
            Keys::open(source, data_dir)?;
            bail!(
                "{source} is kept where nothing can be written: put a new one before it (64 hexadecimal digits, as `openssl rand -hex 32` makes \
                 them, then a space and the one that is there now), call this again, and take the old one away afterwards"
            );
        }
    }
    Ok(roots)
}

/// Seals anew whatever in `value` is sealed with another key than the one that seals. Answers whether there was anything.
///
/// # Errors
/// When a value cannot be opened, or does not say what place it is for.
pub fn again(keys: &Keys, value: &mut Value) -> anyhow::Result<bool> {
    if let Some(text) = value.get(FIELD).and_then(Value::as_str) {
        if text.split(':').nth(1) == Some(keys.fingerprint()) {
            return Ok(false);
        }
        let place = value.get(PLACE).and_then(Value::as_str).context("a sealed value does not say what it is for")?;
        *value = keys.seal(place, &keys.open_sealed(place, value)?)?;
        return Ok(true);
    }
    let mut found = false;
    match value {
        Value::Object(fields) => {
            for value in fields.values_mut() {
                found |= again(keys, value)?;
            }
        }
        Value::Array(items) => {
            for value in items {
                found |= again(keys, value)?;
            }
        }
        _ => {}
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    /// Everything that a data folder holds that is sealed, in this test: a file of JSON.
    async fn seal_file_anew(keys: Keys, file: PathBuf) -> anyhow::Result<()> {
        let mut value: Value = serde_json::from_slice(&fs::read(&file)?)?;
        again(&keys, &mut value)?;
        Ok(fs::write(&file, value.to_string())?)
    }

    #[tokio::test]
    async fn a_rotation_that_stops_at_any_step_leaves_all_open_and_can_be_finished() {
        use Step::{BothKeys, Documents, Fingerprint, Lookup, NewKeyAlone, OldKey};
        for stop in [BothKeys, Lookup, Documents, Fingerprint, OldKey, NewKeyAlone] {
            let folder = tempfile::tempdir().unwrap();
            let (data, key) = (folder.path().join("data"), folder.path().join("data.key"));
            fs::create_dir(&data).unwrap();
            let source = Source::File(key.clone());
            let before = Keys::open(&source, &data).unwrap();
            let old = before.fingerprint().to_owned();
            let place = "storage x attachments y";
            let value = json!({"deep": [before.seal(place, &json!("s3cr3t")).unwrap()], "plain": 1});
            let documents = data.join("documents");
            fs::write(&documents, value.to_string()).unwrap();
            let opens = || {
                let keys = Keys::open(&source, &data).unwrap();
                let value: Value = serde_json::from_slice(&fs::read(&documents).unwrap()).unwrap();
                assert_eq!(keys.open_sealed(place, &value["deep"][0]).unwrap(), json!("s3cr3t"), "{stop:?}");
                assert_eq!(keys.digest(&["login"]), before.digest(&["login"]), "{stop:?}");
                keys
            };
            let run = async |stop: Option<Step>| {
                let after = |step| if Some(step) == stop { Err(anyhow::anyhow!("stopped")) } else { Ok(()) };
                rotate(&source, &data, |keys| seal_file_anew(keys, documents.clone()), after).await
            };
            assert!(run(Some(stop)).await.is_err());
            opens();
            // What is sealed in between, by a server that was started, counts too. At the last step it was done already: this is another rotation.
            let rotated = run(None).await.unwrap();
            let keys = opens();
            assert_eq!(keys.fingerprint(), rotated.fingerprint);
            assert_ne!(rotated.fingerprint, old);
            assert_ne!(keys.token_key(), before.token_key(), "tokens end");
            assert_eq!(fs::read_to_string(&key).unwrap().lines().count(), 1);
            let text = fs::read_to_string(&documents).unwrap();
            assert!(!text.contains(&old), "{text}");
            assert!(before.open_sealed(place, &serde_json::from_str::<Value>(&text).unwrap()["deep"][0]).is_err());
            // The old key opens what it had sealed, for a backup, and nothing of today.
            let retired = folder.path().join(format!("data.key.retired-{old}"));
            assert!(retired.exists());
            fs::rename(&retired, &key).unwrap();
            assert!(Keys::open(&source, &data).unwrap_err().to_string().contains("is not the one"));
        }
    }

    #[tokio::test]
    async fn a_key_that_somebody_else_keeps_is_rotated_once_they_give_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let (old, new) = ("5a".repeat(32), "6b".repeat(32));
        let given = |keys: &str| Source::Given(serde_json::from_value(keys.into()).unwrap());
        let before = Keys::open(&given(&old), &data).unwrap();
        let documents = data.join("documents");
        fs::write(&documents, before.seal("x", &json!("s3cr3t")).unwrap().to_string()).unwrap();
        let run = async |keys: &str| {
            rotate(&given(keys), &data, |keys| seal_file_anew(keys, documents.clone()), |_| Ok(())).await
        };
        let told = run(&old).await.unwrap_err().to_string();
        assert!(told.contains("put a new one before it") && !told.contains(&old), "{told}");
        let rotated = run(&format!("{new} {old}")).await.unwrap();
        assert_eq!(rotated.retired, None);
        let keys = Keys::open(&given(&new), &data).unwrap();
        assert_eq!(keys.fingerprint(), rotated.fingerprint);
        let text: Value = serde_json::from_slice(&fs::read(&documents).unwrap()).unwrap();
        assert_eq!(keys.open_sealed("x", &text).unwrap(), "s3cr3t");
        assert_eq!(keys.digest(&["login"]), before.digest(&["login"]));
        assert!(Keys::open(&given(&old), &data).is_err());
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["data"], "it is written nowhere");
    }
}
