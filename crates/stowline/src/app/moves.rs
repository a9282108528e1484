//! What is stored already goes where today's plan says: recordings, faxes and messages of a span of time, one job for each attachment that is elsewhere.
//!
//! The jobs are seen among the account's deliveries. One that finds nothing to do any more does nothing, so asking twice does no harm.

use connections::{Document, Query};
use futures_util::future::try_join_all;
use plan::{AttachmentName, Database, DocType};

use super::attachment::{Attachment, Place, attachments_of};
use super::deposit::{Aim, Deposit, Target};
use super::months::{self, Span};
use super::{App, Error, faxes, messages, recordings};
use crate::app::accounts::Account;
use crate::jobs::MoveAttachment;
use connections::Order;

/// The types of document that lie in months.
pub const TYPES: [&str; 3] = [recordings::TYPE, faxes::TYPE, messages::TYPE];

/// Has what is elsewhere moved, of one type or of all. Answers how many attachments that are.
///
/// # Errors
/// [`Error::Unavailable`]; what was handed in until then is moved.
pub async fn begin(app: &App, account: &Account, span: Span, of_type: Option<&str>) -> Result<usize, Error> {
    let mut begun = 0;
    for database in months::databases(account, span, Order::Ascending) {
        for doc_type in TYPES.into_iter().filter(|known| of_type.is_none_or(|asked| asked == *known)) {
            let mut query =
                Query { from: Some(span.from), to: Some(span.to), ..Query::new(database.clone(), doc_type) };
            loop {
                let page = app.documents.list(query.clone()).await?;
                let documents = page.documents.iter().map(|(_, document)| document);
                let elsewhere = documents.map(|document| elsewhere(app, account, &database, doc_type, document));
                let jobs: Vec<MoveAttachment> = try_join_all(elsewhere).await?.into_iter().flatten().collect();
                let handed_in = jobs
                    .iter()
                    .map(|moving| async { app.journal.enqueue(moving.job()?).await.map_err(Error::journal) });
                begun += try_join_all(handed_in).await?.len();
                match page.next {
                    Some(next) => query.start = Some(next),
                    None => break,
                }
            }
        }
    }
    Ok(begun)
}

/// The attachments of a document that are not where the plan says.
async fn elsewhere(
    app: &App,
    account: &Account,
    database: &Database,
    doc_type: &str,
    document: &Document,
) -> Result<Vec<MoveAttachment>, Error> {
    let doc_type = DocType::parse(doc_type).map_err(|error| Error::internal("naming a type", error))?;
    let mut found = Vec::new();
    for (name, attachment) in attachments_of(document) {
        let owner = owner(document, &attachment);
        let target = Target {
            account: account.id.clone(),
            owner: owner.clone(),
            database: database.clone(),
            id: document.id.clone(),
            doc_type: doc_type.clone(),
        };
        let aim = Deposit::plan(app, target).await?.aim(&name, document.public())?;
        if !is_there(&attachment.place, aim.as_ref()) {
            found.push(moving(account, document, &doc_type, name, attachment, owner));
        }
    }
    Ok(found)
}

/// Whose plan counts: that by which it was sent, or that of the document's owner.
fn owner(document: &Document, attachment: &Attachment) -> Option<String> {
    match &attachment.place {
        Place::Stored { owner, .. } => owner.clone(),
        Place::Local { .. } | Place::Pending { .. } => document.text("owner_id").map(str::to_owned),
    }
}

fn moving(
    account: &Account,
    document: &Document,
    doc_type: &DocType,
    attachment: AttachmentName,
    known: Attachment,
    owner: Option<String>,
) -> MoveAttachment {
    MoveAttachment {
        account: account.id.clone(),
        owner,
        database: document.database.name(),
        document: document.id.clone(),
        doc_type: doc_type.clone(),
        attachment,
        generation: known.generation,
        length: known.length,
        from: match known.place {
            Place::Stored { handler_id, .. } => Some(handler_id),
            Place::Local { .. } | Place::Pending { .. } => None,
        },
        reserved: None,
    }
}

/// Whether bytes are where they are meant to be. What is still on its way is no move's: it is rerouted.
pub(crate) fn is_there(place: &Place, aim: Option<&Aim>) -> bool {
    match (place, aim) {
        (Place::Pending { .. }, _) | (Place::Local { .. }, None) => true,
        (Place::Stored { receipt, handler_id, .. }, Some(aim)) => {
            *handler_id == aim.handler_id && receipt.destination == aim.destination && receipt.location == aim.location
        }
        _ => false,
    }
}
