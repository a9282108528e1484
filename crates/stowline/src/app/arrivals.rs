//! What has come in already. Switches and uploaders send a file again when they did not hear the answer; the same file again makes no second
//! document.
//!
//! The same is: the same account, kind and name, and the same bytes. Document and memory of it are written in one transaction (a claim of the
//! document store), so that of twins that arrive at the same moment one makes a document. The memory lasts for `[ingest] remember`, also of a document
//! that was deleted since; then [`forget`] frees it. The same name with other bytes is another file.

use std::time::Duration;

use plan::AccountId;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{App, Error};
use crate::time;
use connections::{Claim, Document};

/// Space of claims.
const SPACE: &str = "arrival";
/// How often what has lasted long enough is freed.
const ROUND: Duration = Duration::from_secs(3600);

/// The claim of a file of this kind and name, with these bytes.
pub fn claim(app: &App, account: &AccountId, kind: &str, name: &str, sha256: &[u8; 32]) -> Claim {
    let mut hasher = Sha256::new();
    for part in [account.as_ref().as_bytes(), kind.as_bytes(), name.as_bytes(), sha256] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let lasting = i64::try_from(app.config.ingest.remember.as_secs()).unwrap_or(i64::MAX);
    Claim { space: SPACE, key: hex::encode(&hasher.finalize()[..16]), until: time::now().saturating_add(lasting) }
}

/// The document that the file became when it came for the first time.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn first(app: &App, claim: &Claim) -> Result<Option<Document>, Error> {
    Ok(app.documents.holder(SPACE, &claim.key).await?)
}

/// Frees what has lasted long enough, now and once an hour.
pub async fn forget(app: std::sync::Arc<App>, stopping: CancellationToken) {
    let mut rounds = tokio::time::interval(ROUND);
    while stopping.run_until_cancelled(rounds.tick()).await.is_some() {
        match app.documents.expire(SPACE, time::now()).await {
            Ok(0) => {}
            Ok(freed) => tracing::debug!(arrivals = freed, "forgot what came in long ago"),
            Err(error) => tracing::warn!(error = %error, "what came in long ago is not forgotten yet"),
        }
    }
}
