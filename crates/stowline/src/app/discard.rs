//! Bytes that nobody refers to any more: objects at a destination whose receipt came too late, and files of replaced attachments.

use attachments::Receipt;
use plan::{AccountId, HandlerId};

use super::attachment::{Attachment, Place};
use super::{App, Error};
use crate::jobs;

/// Sees to it that an object is removed from its destination, however long that takes.
///
/// # Errors
/// [`Error::Unavailable`] when the journal cannot take the job.
pub async fn object(
    app: &App,
    account: &AccountId,
    owner: Option<&str>,
    handler_id: &HandlerId,
    receipt: Receipt,
) -> Result<(), Error> {
    let job = jobs::DeleteAttachment {
        account: account.clone(),
        owner: owner.map(str::to_owned),
        handler_id: handler_id.clone(),
        receipt,
        holder: None,
    }
    .job()?;
    app.journal.enqueue(job).await.map_err(Error::journal)?;
    Ok(())
}

/// Removes the local file of an attachment that was replaced. What lies at a destination stays there: it is the customer's.
pub fn replaced(app: &App, attachment: &Attachment) {
    match &attachment.place {
        Place::Local { file } | Place::Stored { file: Some(file), .. } => app.kept.remove(file),
        Place::Pending { .. } | Place::Stored { file: None, .. } => {}
    }
}
