//! Secrets at rest: one key, kept beside the data folder and never inside it, or by somebody else ([`Source`]).
//!
//! From the key three are derived: one seals (XChaCha20-Poly1305), one signs tokens, one makes the keyed digests under which
//! logins and API keys are looked up. Who copies the data folder alone has none of them. Every sealed value is bound to the place where it
//! stands, so that it cannot be moved to another document.
//!
//! A data folder remembers the fingerprint of its key: when the key is missing or another, [`Keys::open`] refuses and never makes a new one.
//!
//! A key can be changed for another ([`rotation`]). While that is under way there are both, the new one first: it seals, both open. The
//! keyed digests cannot be made anew, because what they digest is not here; so the key of the digests is carried over, sealed, in the data folder.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

const FIELD: &str = "$sealed";
/// Beside it: the place that the value is bound to. No secret; by it a value is sealed anew without knowing what it is.
const PLACE: &str = "for";
const VERSION: &str = "v1";
/// In the data folder: the fingerprint of the key that its secrets are sealed with.
const FINGERPRINT: &str = "key.id";
/// In the data folder, after a rotation: the key of the digests, sealed.
const LOOKUP: &str = "key.lookup";

pub mod rotation;
mod source;

pub use source::Source;
use source::write_durably;

/// The keys of one installation. Prints as its fingerprint only.
pub struct Keys {
    /// The first one seals.
    ring: Vec<Sealer>,
    lookup: Zeroizing<[u8; 32]>,
    tokens: Zeroizing<[u8; 32]>,
}

/// What one key seals and opens.
struct Sealer {
    cipher: XChaCha20Poly1305,
    fingerprint: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

/// A sealed value that does not open: another key, another place, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("a sealed value cannot be opened: it was sealed with another key or for another place, or is damaged")]
pub struct Unsealable;

impl Keys {
    /// Opens the key from `source`, making one (mode 0600) when it is to be in a file and neither that nor sealed data exist.
    ///
    /// # Errors
    /// When the data folder was sealed with a key that is not there, or with another one; when the file is readable by others, or unfit.
    pub fn open(source: &Source, data_dir: &Path) -> anyhow::Result<Self> {
        let remembered = match fs::read_to_string(data_dir.join(FINGERPRINT)) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).context("cannot read the key's fingerprint in the data folder"),
        };
        let mut roots = source.read()?;
        if roots.is_empty() {
            match &remembered {
                Some(needed) => bail!(
                    "the secrets in {} are sealed with a key ({needed}) that is not there, {source}: put the key back, or say in [keys] where it \
                     comes from (a new one could not open them)",
                    data_dir.display(),
                ),
                None => roots.push(source.make()?),
            }
        }
        let ring: Vec<Sealer> = roots.iter().map(|root| Sealer::of(root)).collect();
        let own = match &remembered {
            None => 0,
            Some(remembered) => {
                ring.iter().position(|sealer| sealer.fingerprint == *remembered).with_context(|| {
                    format!(
                        "{source} is not the one that the secrets in {} are sealed with (they need {remembered})",
                        data_dir.display()
                    )
                })?
            }
        };
        let (Some(first), Some(original)) = (roots.first(), roots.get(own)) else { bail!("there is no key") };
        let mut keys =
            Self { ring, lookup: part(original, "stowline lookup v1"), tokens: part(first, "stowline tokens v1") };
        if let Some(carried) = keys.carried(data_dir)? {
            keys.lookup = carried;
        }
        if remembered.is_none() {
            write_durably(&data_dir.join(FINGERPRINT), format!("{}\n", keys.fingerprint()).as_bytes(), 0o644)?;
        }
        if roots.len() > 1 {
            tracing::warn!(
                "there is an old key beside the one that seals: `stowline keys rotate` seals all with the first, and then the old one can go"
            );
        }
        Ok(keys)
    }

    /// The key of the digests, where a rotation left it.
    fn carried(&self, data_dir: &Path) -> anyhow::Result<Option<Zeroizing<[u8; 32]>>> {
        let file = data_dir.join(LOOKUP);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let context = || format!("{} cannot be opened with the key", file.display());
        let opened =
            self.open_sealed(LOOKUP, &serde_json::from_slice(&text).with_context(context)?).with_context(context)?;
        let bytes = Zeroizing::new(hex::decode(opened.as_str().unwrap_or_default()).with_context(context)?);
        let lookup: [u8; 32] = bytes.as_slice().try_into().with_context(context)?;
        Ok(Some(Zeroizing::new(lookup)))
    }

    fn fingerprint(&self) -> &str {
        self.ring.first().map_or("", |sealer| sealer.fingerprint.as_str())
    }

    /// The key that signs tokens.
    pub fn token_key(&self) -> &[u8] {
        &*self.tokens
    }

    /// The key of the log of call records, which lie there as they came, with whatever secrets they hold. It outlives a rotation.
    pub fn intake_key(&self) -> Zeroizing<[u8; 32]> {
        part(&self.lookup, "stowline intake v1")
    }

    /// A keyed digest of `parts`, in hex: the same parts give the same digest, and without the key nobody can compute or reverse it.
    pub fn digest(&self, parts: &[&str]) -> String {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        hex::encode(digest(&self.lookup, &parts))
    }

    /// Seals `value` for `place`.
    ///
    /// # Errors
    /// Never for values of a sensible size; the cipher's own limit is 256 GiB.
    pub fn seal(&self, place: &str, value: &Value) -> Result<Value, Unsealable> {
        let nonce: [u8; 24] = rand::random();
        let text = Zeroizing::new(value.to_string());
        let sealer = self.ring.first().ok_or(Unsealable)?;
        let sealed = sealer
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: text.as_bytes(), aad: place.as_bytes() })
            .map_err(|_| Unsealable)?;
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        let text = format!("{VERSION}:{}:{}", sealer.fingerprint, STANDARD_NO_PAD.encode(bytes));
        Ok(json!({ FIELD: text, PLACE: place }))
    }

    /// Opens what [`seal`](Self::seal) made for `place`. A value that was never sealed is answered as it is.
    ///
    /// # Errors
    /// [`Unsealable`].
    pub fn open_sealed(&self, place: &str, value: &Value) -> Result<Value, Unsealable> {
        let Some(text) = value.get(FIELD).and_then(Value::as_str) else { return Ok(value.clone()) };
        let mut parts = text.rsplit(':');
        let (encoded, fingerprint) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let sealer = self.ring.iter().find(|sealer| sealer.fingerprint == fingerprint).ok_or(Unsealable)?;
        let bytes = STANDARD_NO_PAD.decode(encoded).map_err(|_| Unsealable)?;
        let (nonce, sealed) = bytes.split_at_checked(24).ok_or(Unsealable)?;
        let nonce: [u8; 24] = nonce.try_into().map_err(|_| Unsealable)?;
        let opened = sealer
            .cipher
            .decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: place.as_bytes() })
            .map_err(|_| Unsealable)?;
        serde_json::from_slice(&Zeroizing::new(opened)).map_err(|_| Unsealable)
    }
}

impl Sealer {
    fn of(root: &[u8; 32]) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new((&*part(root, "stowline seal v1")).into()),
            fingerprint: hex::encode(&part(root, "stowline fingerprint v1")[..8]),
        }
    }
}

/// What is derived from the key in the file for one purpose.
fn part(root: &[u8; 32], purpose: &str) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(digest(root, &[purpose.as_bytes()]))
}

/// HMAC-SHA256 over the parts, each with its length before it, so that no two lists of parts look alike.
fn digest(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads a short key with zeros to the block; doing so here leaves nothing that could fail.
    let mut block = Zeroizing::new([0_u8; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new((&*block).into());
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let key = folder.path().join("data.key");
        (folder, data, key)
    }

    fn opened(key: &Path, data: &Path) -> anyhow::Result<Keys> {
        Keys::open(&Source::File(key.to_owned()), data)
    }

    #[test]
    fn a_key_that_somebody_else_keeps_is_needed_with_every_start_and_never_written() {
        let (folder, data, key) = folder();
        let given = |digits: &str| Source::Given(serde_json::from_value(digits.repeat(32).into()).unwrap());
        let sealed = Keys::open(&given("5a"), &data).unwrap().seal("a", &json!("s3cr3t")).unwrap();
        assert_eq!(Keys::open(&given("5a"), &data).unwrap().open_sealed("a", &sealed).unwrap(), "s3cr3t");
        // Another one, none, and a file where it is not: refused, and none is made.
        let error = Keys::open(&given("6b"), &data).unwrap_err().to_string();
        assert!(error.contains("is not the one"), "{error}");
        assert!(Keys::open(&given(""), &data).unwrap_err().to_string().contains("is empty"));
        let error = opened(&key, &data).unwrap_err().to_string();
        assert!(error.contains("put the key back") && !key.exists(), "{error}");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["data"]);
    }

    #[test]
    fn a_sealed_value_opens_at_its_place_with_its_key_only() {
        let (_folder, data, key) = folder();
        let keys = opened(&key, &data).unwrap();
        let value = json!({"secret": "s3cr3t", "port": 9000});
        let sealed = keys.seal("account/a", &value).unwrap();
        assert!(!sealed.to_string().contains("s3cr3t"));
        assert_eq!(keys.open_sealed("account/a", &sealed).unwrap(), value);
        assert!(keys.open_sealed("account/b", &sealed).is_err());
        let again = opened(&key, &data).unwrap();
        assert_eq!(again.open_sealed("account/a", &sealed).unwrap(), value);
        assert_eq!(again.digest(&["a", "bc"]), keys.digest(&["a", "bc"]));
        assert_ne!(keys.digest(&["a", "bc"]), keys.digest(&["ab", "c"]));
    }

    #[test]
    fn sealed_data_without_its_key_refuses_and_makes_no_new_one() {
        let (_folder, data, key) = folder();
        opened(&key, &data).unwrap();
        fs::remove_file(&key).unwrap();
        let error = opened(&key, &data).unwrap_err().to_string();
        assert!(error.contains("put the key back") && !key.exists(), "{error}");
        fs::write(&key, "00".repeat(32)).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(opened(&key, &data).unwrap_err().to_string().contains("is not the one"));
    }

    #[test]
    fn the_key_is_readable_by_its_owner_only() {
        let (_folder, data, key) = folder();
        opened(&key, &data).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(opened(&key, &data).unwrap_err().to_string().contains("chmod 600"));
    }
}
