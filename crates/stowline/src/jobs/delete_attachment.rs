//! An object that nobody refers to is removed from its destination.

use delivery::Outcome;

use super::{DeleteAttachment, OUT_OF_ORDER, failed, park, postpone};
use crate::app::{App, Error, dataplans};

pub(super) async fn run(app: &App, delete: DeleteAttachment) -> Outcome {
    match attempt(app, &delete).await {
        Ok(outcome) => outcome,
        Err(Error::Destination(error)) => failed(&error),
        Err(error) => postpone(OUT_OF_ORDER, error.to_string()),
    }
}

async fn attempt(app: &App, delete: &DeleteAttachment) -> Result<Outcome, Error> {
    let DeleteAttachment { account, owner, handler_id, receipt, holder: _ } = delete;
    let settings = dataplans::settings(app, account, owner.as_deref(), handler_id, &receipt.destination).await?;
    let Some(settings) = settings else {
        return Ok(park(
            "handler_gone",
            "the handler that holds the object is gone: put it back, or remove the object by hand",
        ));
    };
    let handler = settings.open(app).await?;
    handler.delete(receipt).await?;
    Ok(Outcome::Done)
}
