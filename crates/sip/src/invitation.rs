//! A call that waits for an answer.

use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{Header, HeadersExt, Request, Response, StatusCode};
use rsipstack::transaction::transaction::{TransactionEvent, TransactionEventSender};
use tokio::sync::mpsc;

use crate::agent::Shared;
use crate::answerer::About;
use crate::error::{Error, ErrorKind};
use crate::line::{Call, End, Line};
use crate::rtp::Rtp;
use crate::sdp::{self, Local, Menu, Refusal, Session};
use crate::{ALLOWED, SDP};

/// A call that waits for an answer. Dropping it declines.
pub struct Invitation {
    pub(crate) shared: Arc<Shared>,
    pub(crate) line: Arc<Line>,
    pub(crate) offer: Option<Session>,
    pub(crate) pressed: Option<mpsc::Receiver<char>>,
    /// The request, and the way by which its transaction takes answers.
    pub(crate) request: Request,
    pub(crate) transaction: TransactionEventSender,
    pub(crate) decided: bool,
}

/// Why a call is declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Nobody has this number.
    NotFound,
    /// The caller may not call here.
    Forbidden,
    /// Who is called takes no calls.
    Unavailable,
    /// The voice is of no kind that we know.
    NotAcceptable,
    /// We cannot now; worth another try after so long.
    Busy(Duration),
    /// It is our fault.
    Failed,
}

impl Rejection {
    fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NotFound,
            Self::Forbidden => StatusCode::Forbidden,
            Self::Unavailable => StatusCode::TemporarilyUnavailable,
            Self::NotAcceptable => StatusCode::NotAcceptableHere,
            Self::Busy(_) => StatusCode::ServiceUnavailable,
            Self::Failed => StatusCode::ServerInternalError,
        }
    }

    pub(crate) fn headers(self) -> Vec<Header> {
        match self {
            Self::Busy(after) => vec![Header::RetryAfter(after.as_secs().max(1).to_string().into())],
            _ => Vec::new(),
        }
    }
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invitation").field("about", &self.line.about).finish_non_exhaustive()
    }
}

impl Invitation {
    /// What is known of the call.
    #[must_use]
    pub fn about(&self) -> &Arc<About> {
        &self.line.about
    }

    /// Declines.
    pub fn reject(mut self, rejection: Rejection) {
        self.decline(rejection);
    }

    fn decline(&mut self, rejection: Rejection) {
        self.decided = true;
        let status = rejection.status();
        // The dialog's own refusal has no room for header fields: ours goes first, its own is then of no effect but to end the dialog.
        // Both are lost only on a transaction that is over, as when the caller gave up.
        let _ = self.transaction.send(TransactionEvent::Respond(self.response(status.clone(), rejection.headers())));
        let _ = self.line.dialog.reject(Some(status), None);
    }

    fn response(&self, status: StatusCode, headers: Vec<Header>) -> Response {
        let mut response = self.shared.endpoint.make_response(&self.request, status, None);
        if let Ok(to) = self.request.to_header() {
            let to = to.clone().with_tag(self.line.dialog.id().local_tag.into());
            response.headers.unique_push(to.into());
        }
        response.headers.extend(headers);
        response
    }

    /// Answers, with what this menu and the offer have in common. A caller that offered nothing is made an offer, and this waits for what
    /// it says.
    ///
    /// # Errors
    /// [`ErrorKind::Media`] when they have nothing in common, [`ErrorKind::NoPort`], [`ErrorKind::Ended`] when the caller gave up. The call
    /// has been declined then, or ended.
    pub async fn accept(mut self, menu: &Menu) -> Result<Call, Error> {
        if self.line.end.borrow().is_some() {
            return Err(Error::new(ErrorKind::Ended));
        }
        let (rtp, local) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                self.decline(Rejection::Busy(Duration::from_secs(5)));
                return Err(error);
            }
        };
        let (text, media) = match self.offer.take() {
            Some(offer) => match sdp::answer(&offer, menu, &local, None) {
                Ok((text, media)) => (text, Some(media)),
                Err(refusal) => {
                    self.decline(Rejection::NotAcceptable);
                    return Err(refusal.into());
                }
            },
            None => (sdp::offer(menu, &local, None), None),
        };
        // In force before the caller knows: its first packet may be faster than we are.
        let media = media.map(|media| self.line.begin(menu.clone(), local.clone(), rtp.clone(), media));
        self.decided = true;
        let headers = vec![Header::ContentType(SDP.to_owned().into()), Header::Allow(ALLOWED.join(", ").into())];
        self.line.dialog.accept(Some(headers), Some(text.into_bytes())).map_err(|_| Error::new(ErrorKind::Ended))?;
        let media = match media {
            Some(media) => media,
            None => self.late(menu, local, &rtp).await?,
        };
        let pressed = self.pressed.take().unwrap_or_else(|| mpsc::channel(1).1);
        Ok(Call { shared: self.shared.clone(), line: self.line.clone(), rtp, media, pressed: pressed.into() })
    }

    /// A socket for the voice, and our end of the description.
    fn prepare(&self) -> Result<(Arc<Rtp>, Local), Error> {
        let peer = self.line.about.source.ip();
        let rtp = self.shared.voice_socket(peer)?;
        let port = rtp.port().map_err(|error| Error::caused(ErrorKind::NoPort, error))?;
        let address = self.shared.address_for(peer)?;
        Ok((rtp, Local { address, port, session: rand::random::<u64>() >> 2, version: 1 }))
    }

    /// Waits for the answer to our offer, which comes with the acknowledgement.
    async fn late(
        &self,
        menu: &Menu,
        local: Local,
        rtp: &Arc<Rtp>,
    ) -> Result<tokio::sync::watch::Receiver<sdp::Media>, Error> {
        let mut end = self.line.end.subscribe();
        let mut acknowledged = self.line.acknowledged.subscribe();
        tokio::select! {
            _ = acknowledged.wait_for(|is| *is) => {}
            _ = end.wait_for(Option::is_some) => return Err(Error::new(ErrorKind::Ended)),
        }
        let body = self.line.dialog.last_remote_ack().map(|ack| ack.body).unwrap_or_default();
        let answer = Session::parse(&body).map_err(|_| Refusal::Unfit);
        match answer.and_then(|answer| sdp::settle(&answer, menu, None)) {
            Ok(media) => Ok(self.line.begin(menu.clone(), local, rtp.clone(), media)),
            Err(refusal) => {
                self.line.over(End::OurHangup);
                let dialog = self.line.dialog.clone();
                self.shared.calls.spawn(async move {
                    let _ = dialog.bye().await;
                });
                Err(refusal.into())
            }
        }
    }
}

impl Drop for Invitation {
    fn drop(&mut self) {
        if !self.decided {
            self.decline(Rejection::Failed);
        }
    }
}
