//! `POST …/vmboxes/{box}/messages/raw`: the audio of several messages as one ZIP, written while it is read.
//!
//! Sound does not get smaller: the files are stored as they are. What a destination holds is fetched as the client takes it, so that a large archive
//! takes no more room here than a small one. Where something fails after the first byte, the archive breaks off: without its end no program opens it.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::sync::mpsc::{self, Sender};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::in_path;
use super::messages::required_ids;
use super::raw::file_name;
use crate::api::error::Fault;
use crate::api::{Call, Reply, accept};
use crate::app::accounts::Account;
use crate::app::fetch;
use crate::app::messages::{self, Message};
use crate::app::{App, Error};
use plan::AttachmentName;

const TYPE: &str = "application/zip";
/// As what it can be had.
const FORMS: [(&str, ()); 3] = [(TYPE, ()), ("application/x-zip-compressed", ()), ("application/octet-stream", ())];
/// Pieces that wait for the client.
const AHEAD: usize = 4;

/// `POST …/messages/raw`: the audio of `messages`. Those that are not there, or have none, are left out.
pub async fn download(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let mailbox = in_path(&app, &call).await?;
    if accept::best(&call, &FORMS).is_none() {
        return Err(Fault::not_acceptable(&[TYPE.to_owned()]));
    }
    let (account, ids) = (call.account()?.clone(), required_ids(&call)?);
    let (mut files, mut names) = (Vec::new(), HashSet::new());
    for id in &ids {
        let message = match messages::get(&app, &account, &mailbox, id).await {
            Err(Error::NotFound(_)) => continue,
            found => found?,
        };
        let Some((attachment, _)) = message.audio() else { continue };
        let name = unlike(&mut names, &file_name(&message, mailbox.timezone(&account), attachment.as_ref()));
        files.push(File { message, attachment, name });
    }
    if files.is_empty() {
        return Err(Error::NotFound(ids.into_iter().next().unwrap_or_default()).into());
    }
    let (pieces, written) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        if let Err(error) = write(&app, &account, files, &pieces).await {
            tracing::info!(account.id = %account.id, error = %error, "an archive of messages breaks off");
            // The client may be gone already.
            let _ = pieces.send(Err(io::Error::other(error))).await;
        }
    });
    let body = stream::unfold(written, async |mut written| Some((written.recv().await?, written)));
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TYPE));
    let disposition = format!("attachment; filename={}.zip", call.request_id);
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(Reply::Raw(response))
}

/// The audio of a message on its way into the archive.
struct File {
    message: Message,
    attachment: AttachmentName,
    name: String,
}

/// A name that no other file of the archive has.
fn unlike(names: &mut HashSet<String>, wished: &str) -> String {
    let (stem, extension) =
        wished.rsplit_once('.').map_or((wished, String::new()), |(stem, end)| (stem, format!(".{end}")));
    let others = (2_u32..).map(|number| format!("{stem}_{number}{extension}"));
    let free = std::iter::once(wished.to_owned()).chain(others).find(|name| !names.contains(name));
    let name = free.unwrap_or_else(|| wished.to_owned());
    names.insert(name.clone());
    name
}

type Pieces = Sender<io::Result<Bytes>>;

async fn write(app: &App, account: &Account, files: Vec<File>, pieces: &Pieces) -> Result<(), Error> {
    let paper = Paper::default();
    let mut archive = ZipWriter::new_stream(paper.clone());
    for File { message, attachment, name } in files {
        let mut served = fetch::fetch(app, &account.id, &message.document, &attachment, None).await?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(served.total > u64::from(u32::MAX));
        archive.start_file(name, options).map_err(unwritten)?;
        while let Some(bytes) = served.stream.next().await {
            let bytes = bytes.map_err(|error| Error::unavailable("the audio's destination", error))?;
            archive.write_all(&bytes).map_err(unwritten)?;
            if !hand_over(&paper, pieces).await {
                return Ok(());
            }
        }
    }
    archive.finish().map_err(unwritten)?;
    hand_over(&paper, pieces).await;
    Ok(())
}

/// Hands what is written to the client; false when it is gone.
async fn hand_over(paper: &Paper, pieces: &Pieces) -> bool {
    let written = std::mem::take(&mut *paper.0.lock().unwrap_or_else(PoisonError::into_inner));
    written.is_empty() || pieces.send(Ok(written.into())).await.is_ok()
}

fn unwritten(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("writing an archive", error)
}

/// What is written and not handed over yet.
#[derive(Debug, Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_files_have_one_name() {
        let mut names = HashSet::new();
        let given: Vec<String> = ["a.wav", "a.wav", "a_2.wav", "a.wav", "b", "b", ".wav"]
            .iter()
            .map(|name| unlike(&mut names, name))
            .collect();
        assert_eq!(given, ["a.wav", "a_2.wav", "a_2_2.wav", "a_3.wav", "b", "b_2", ".wav"]);
    }
}
