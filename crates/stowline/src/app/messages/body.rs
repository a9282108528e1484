//! What a message's document says: everything but where its audio is.

use plan::DocId;
use serde_json::{Map, Value, json};

use super::super::mailboxes::Mailbox;
use super::TYPE;
use crate::app::accounts::Account;
use crate::{id, time};

/// A caller who shows nothing.
const ANONYMOUS_NAME: &str = "anonymous";
const ANONYMOUS_NUMBER: &str = "0000000000";

/// The body of a new message, from what fits its schema.
pub(super) fn new(
    account: &Account,
    mailbox: &Mailbox,
    id: &DocId,
    timestamp: i64,
    said: &Map<String, Value>,
) -> Map<String, Value> {
    let text = |key: &str| said.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let number = text("caller_id_number").unwrap_or(ANONYMOUS_NUMBER);
    let from = address(text("from").unwrap_or(number), account);
    let to = address(text("to").unwrap_or(mailbox.number()), account);
    let metadata = json!({
        "media_id": id.as_ref(),
        "folder": text("folder").unwrap_or("new"),
        "timestamp": timestamp,
        "length": said.get("length").and_then(Value::as_u64).unwrap_or(1),
        "call_id": text("call_id").map_or_else(id::random, str::to_owned),
        "caller_id_name": text("caller_id_name").unwrap_or(ANONYMOUS_NAME),
        "caller_id_number": number,
        "from": from.whole, "from_user": from.user, "from_realm": from.realm,
        "to": to.whole, "to_user": to.user, "to_realm": to.realm,
    });
    let mut body = placed(account, mailbox, timestamp);
    body.insert("metadata".into(), metadata);
    body.insert("history".into(), json!([]));
    body
}

/// The body of a copy of a message for another box.
pub(super) fn copied(
    account: &Account,
    mailbox: &Mailbox,
    id: &DocId,
    timestamp: i64,
    original: &Map<String, Value>,
) -> Map<String, Value> {
    let mut metadata = original.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let to = address(mailbox.number(), account);
    metadata.insert("media_id".into(), id.as_ref().into());
    metadata.insert("folder".into(), "new".into());
    metadata.insert("timestamp".into(), timestamp.into());
    for (key, value) in [("to", to.whole), ("to_user", to.user), ("to_realm", to.realm)] {
        metadata.insert(key.into(), value.into());
    }
    let mut history = original.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    history.extend(original.get("source_id").cloned());
    let mut body = placed(account, mailbox, timestamp);
    body.insert("metadata".into(), metadata.into());
    body.insert("history".into(), history.into());
    if let Some(transcription) = original.get("transcription") {
        body.insert("transcription".into(), transcription.clone());
    }
    body
}

/// The fields by which a message belongs to its box.
fn placed(account: &Account, mailbox: &Mailbox, timestamp: i64) -> Map<String, Value> {
    let (shown, known) = time::local(timestamp, mailbox.timezone(account), "%Y-%m-%d %H:%M:%S");
    let zone = if known { "" } else { " UTC" };
    let mut body = Map::from_iter([
        ("name".to_owned(), Value::from(format!("mailbox {} message {shown}{zone}", mailbox.number()))),
        ("description".to_owned(), "a message for a voicemail box".into()),
        ("source_type".to_owned(), "voicemail".into()),
        ("source_id".to_owned(), mailbox.id.as_ref().into()),
        ("media_source".to_owned(), "recording".into()),
        ("utc_seconds".to_owned(), timestamp.into()),
        ("pvt_type".to_owned(), TYPE.into()),
        ("pvt_account_id".to_owned(), account.id.as_ref().into()),
        ("pvt_created".to_owned(), time::now().into()),
        ("pvt_modified".to_owned(), time::now().into()),
    ]);
    if let Some(owner) = mailbox.owner_id() {
        body.insert("owner_id".into(), owner.into());
    }
    body
}

/// The fields that tell of the audio.
pub(super) fn with_audio(name: &str) -> Map<String, Value> {
    Map::from_iter([("media_filename".to_owned(), Value::from(name)), ("streamable".to_owned(), Value::Bool(true))])
}

struct Address {
    whole: String,
    user: String,
    realm: String,
}

/// `user@realm`; a bare user is one of the account.
fn address(text: &str, account: &Account) -> Address {
    let whole = if text.contains('@') { text.to_owned() } else { format!("{text}@{}", account.realm()) };
    let bare = whole.strip_prefix("sips:").or_else(|| whole.strip_prefix("sip:")).unwrap_or(&whole);
    let (user, realm) = bare.split_once('@').unwrap_or((bare, ""));
    let (user, realm) = (user.to_owned(), realm.to_owned());
    Address { whole, user, realm }
}
