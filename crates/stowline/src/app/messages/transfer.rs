//! A message in another box: copied or moved, with its audio, which then goes where the plan of that box's owner says.
//!
//! The copy is a new message of the present month with an id of its own. A move is a copy and then the deletion of the original, in this
//! order: who is interrupted between the two has both, never none.

use std::sync::Arc;

use super::super::mailboxes::Mailbox;
use super::super::{App, Error, fetch, months};
use super::change::{Bulk, delete_copied};
use super::{Message, Sound, body, get, receive, refuse_past_retention, save};
use crate::app::accounts::Account;
use crate::time;

/// Copies a message into another box of the account.
///
/// # Errors
/// [`Error::Invalid`] (`date_range`) for a message past retention; [`Error::Destination`] when its audio cannot be read;
/// [`Error::Unavailable`].
pub async fn copy(app: &Arc<App>, account: &Account, message: &Message, mailbox: &Mailbox) -> Result<Message, Error> {
    refuse_past_retention(app, message).await?;
    let audio = match message.audio() {
        None => None,
        Some((name, _)) => {
            let served = fetch::fetch(app, &account.id, &message.document, &name, None).await?;
            let sound =
                Sound { content_type: &served.content_type, file_name: Some(name.as_ref()), limit: served.total };
            let received = receive(app, account, mailbox, sound, served.stream).await?;
            if received.length() != served.total {
                return Err(Error::Unavailable { what: "the audio's destination", source: None });
            }
            Some(received)
        }
    };
    let timestamp = time::now();
    let (database, id) = months::place(account, "timestamp", timestamp)?;
    let body = body::copied(account, mailbox, &id, timestamp, &message.document.body);
    save(app, mailbox, database, id, timestamp, body, audio).await
}

/// Moves a message into another box of the account. Answers it as it is there.
///
/// # Errors
/// As [`copy`].
pub async fn relocate(
    app: &Arc<App>,
    account: &Account,
    message: &Message,
    mailbox: &Mailbox,
) -> Result<Message, Error> {
    let copied = copy(app, account, message, mailbox).await?;
    delete_copied(app, account, message).await?;
    Ok(copied)
}

/// Moves messages of a box into another one; those that succeeded are named by their new ids.
pub async fn relocate_each(
    app: &Arc<App>,
    account: &Account,
    mailbox: &Mailbox,
    ids: Vec<String>,
    other: &Mailbox,
) -> Bulk {
    let mut done = Bulk::default();
    for id in ids {
        let moved = match get(app, account, mailbox, &id).await {
            Ok(message) => relocate(app, account, &message, other).await,
            Err(error) => Err(error),
        };
        done.note(id, moved);
    }
    done
}

/// Copies messages of a box into others; those that succeeded are named by their new ids.
pub async fn copy_each(
    app: &Arc<App>,
    account: &Account,
    mailbox: &Mailbox,
    ids: Vec<String>,
    others: &[Mailbox],
) -> Bulk {
    let mut done = Bulk::default();
    for id in ids {
        match get(app, account, mailbox, &id).await {
            Ok(message) => {
                for other in others {
                    done.note(id.clone(), copy(app, account, &message, other).await);
                }
            }
            Err(error) => done.note(id, Err(error)),
        }
    }
    done
}
