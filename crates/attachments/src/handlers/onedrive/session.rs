//! A large payload goes in pieces, in a session with an address of its own. The address is a credential by itself and is in no error.

use std::ops::Range;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode, header};
use outbound::{Body as Sent, Request};
use serde_json::Value;
use url::Url;

use super::{Look, OneDrive, beginning, refused};
use crate::asking::{Answer, Refusal, ask};
use crate::error::{Error, ErrorKind, Operation};
use crate::payload::Payload;
use crate::pieces::{self, At};
use crate::unfinished::Place;

/// The size of a piece: a multiple of 320 KiB.
const PIECE: u64 = 25 * (320 << 10);

impl OneDrive {
    pub(super) async fn put_in_pieces(&self, place: &Place, payload: &Payload, digest: &str) -> Result<Value, Error> {
        // One cheap question before hundreds of megabytes.
        match self.look(place, payload, digest).await? {
            Look::Same(stored) => return Ok(stored),
            Look::Other => return Err(Error::new(Operation::Put, ErrorKind::Conflict, "another file has this path")),
            Look::Absent => {}
        }
        let url = self.drive.at(place, "/createUploadSession")?;
        let request = || {
            let mut request = Request::new(Method::POST, url.clone());
            request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request.body = Sent::Bytes(beginning(place).to_string().into());
            request
        };
        let opened = self.ask(Operation::Put, &request).await?.json().await?;
        let address = opened["uploadUrl"].as_str().and_then(|address| Url::parse(address).ok());
        let nameless = || Error::new(Operation::Put, ErrorKind::Rejected, "a session without an address");
        let session = Session { drive: self, payload, shown: url.clone(), address: address.ok_or_else(nameless)? };
        let sent = pieces::send(&session, payload.length, PIECE).await;
        if sent.is_err() {
            // The drive would keep what was sent for days. Nobody is told if it does.
            let _ = session.ask(Request::new(Method::DELETE, session.address.clone())).await;
        }
        sent
    }
}

struct Session<'a> {
    drive: &'a OneDrive,
    payload: &'a Payload,
    address: Url,
    shown: Url,
}

#[async_trait]
impl pieces::Session for Session<'_> {
    type Stored = Value;

    async fn piece(&self, range: Range<u64>) -> Result<At<Value>, Error> {
        let mut request = Request::new(Method::PUT, self.address.clone());
        let (end, text) = (range.end, format!("bytes {}-{}/{}", range.start, range.end - 1, self.payload.length));
        request.headers.extend(HeaderValue::from_str(&text).ok().map(|range| (header::CONTENT_RANGE, range)));
        request.body = Sent::Stream { length: end - range.start, stream: self.payload.open(Some(range)) };
        let answer = self.ask(request).await?;
        let accepted = answer.response.status() == StatusCode::ACCEPTED;
        let told = answer.json().await?;
        Ok(if accepted { At::Byte(reached(&told).unwrap_or(end)) } else { At::Done(told) })
    }

    async fn progress(&self) -> Result<At<Value>, Error> {
        let told = self.ask(Request::new(Method::GET, self.address.clone())).await?.json().await?;
        Ok(At::Byte(reached(&told).unwrap_or_default()))
    }
}

impl Session<'_> {
    async fn ask(&self, request: Request) -> Result<Answer, Error> {
        // An error names where the session was opened: its own address would let anybody in.
        let asked = ask(&self.drive.bearer.client, Operation::Put, request).await;
        match asked.map_err(|error| error.at(&self.shown))? {
            Ok(answer) => Ok(Answer { url: self.shown.clone(), ..answer }),
            Err(refusal) => Err(refused(&Refusal { url: self.shown.clone(), ..refusal })),
        }
    }
}

/// Where the next byte belongs: `"nextExpectedRanges": ["26-"]`.
fn reached(told: &Value) -> Option<u64> {
    told["nextExpectedRanges"][0].as_str()?.split('-').next()?.parse().ok()
}
