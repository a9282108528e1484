//! A call as long as it exists: its dialog, its media, and how it ends.
//!
//! [`Line`] is what the agent keeps of a call; the party that answers it, or placed it, holds a [`Call`]. A line is over when the dialog says
//! so, or when it is older than any call may be; then nothing of it remains with the agent. A [`Call`] that is dropped hangs up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rsipstack::dialog::dialog::{DialogState, DialogStateReceiver, TerminatedReason};
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::transaction::key::TransactionRole;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::agent::Shared;
use crate::answerer::About;
use crate::rtp::Rtp;
use crate::sdp::{self, Local, Media, Menu, Refusal, Session};

/// Keys that were pressed and are not yet taken.
const KEYS: usize = 64;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The other party hung up.
    TheirHangup,
    /// We did.
    OurHangup,
    /// The other party gave up before it was answered.
    Cancelled,
    /// It was answered, but nobody ever acknowledged that.
    Unacknowledged,
    /// It was declined.
    Declined,
    /// It was older than any call may be.
    TooOld,
}

/// What the agent keeps of a call.
pub(crate) struct Line {
    pub(crate) dialog: InviteDialog,
    pub(crate) about: Arc<About>,
    pub(crate) end: watch::Sender<Option<End>>,
    pub(crate) acknowledged: watch::Sender<bool>,
    terms: Mutex<Option<Terms>>,
    keys: mpsc::Sender<char>,
    /// A place among the calls that may run at a time.
    _place: Option<OwnedSemaphorePermit>,
}

/// What the descriptions of a call come from.
struct Terms {
    menu: Menu,
    local: Local,
    rtp: Arc<Rtp>,
    media: watch::Sender<Media>,
}

impl Line {
    pub(crate) fn new(
        dialog: InviteDialog,
        about: Arc<About>,
        place: Option<OwnedSemaphorePermit>,
    ) -> (Arc<Self>, mpsc::Receiver<char>) {
        let (keys, pressed) = mpsc::channel(KEYS);
        let (end, acknowledged) = (watch::Sender::new(None), watch::Sender::new(false));
        (Arc::new(Self { dialog, about, end, acknowledged, terms: Mutex::default(), keys, _place: place }), pressed)
    }

    fn terms(&self) -> MutexGuard<'_, Option<Terms>> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with what was agreed on.
    pub(crate) fn begin(&self, menu: Menu, local: Local, rtp: Arc<Rtp>, media: Media) -> watch::Receiver<Media> {
        rtp.aim(media.remote, media.direction.sends());
        let (media, seen) = watch::channel(media);
        *self.terms() = Some(Terms { menu, local, rtp, media });
        seen
    }

    /// Answers an offer within the call, and goes by it.
    pub(crate) fn renegotiate(&self, offer: &Session) -> Result<String, Refusal> {
        let mut terms = self.terms();
        let Terms { menu, local, rtp, media } = terms.as_mut().ok_or(Refusal::Unfit)?;
        local.version += 1;
        let before = media.borrow().clone();
        let (text, agreed) = sdp::answer(offer, menu, local, Some(&before))?;
        rtp.aim(agreed.remote, agreed.direction.sends());
        media.send_replace(agreed);
        Ok(text)
    }

    /// An offer of ours within the call, for a party that asks for one. It names what runs.
    pub(crate) fn reoffer(&self) -> Option<String> {
        let mut terms = self.terms();
        let Terms { menu, local, media, .. } = terms.as_mut()?;
        local.version += 1;
        let media = media.borrow();
        let running = Menu { codecs: vec![media.voice.codec], ..menu.clone() };
        Some(sdp::offer(&running, local, media.protection.as_ref().map(|protection| &protection.ours)))
    }

    /// Goes by the answer to [`Line::reoffer`].
    pub(crate) fn resettle(&self, answer: &Session) -> Result<(), Refusal> {
        let terms = self.terms();
        let Terms { menu, rtp, media, .. } = terms.as_ref().ok_or(Refusal::Unfit)?;
        let key = media.borrow().protection.as_ref().map(|protection| protection.ours.clone());
        let agreed = sdp::settle(answer, menu, key.as_ref())?;
        rtp.aim(agreed.remote, agreed.direction.sends());
        media.send_replace(agreed);
        Ok(())
    }

    /// A key that came in a message of its own (INFO).
    pub(crate) fn press(&self, key: char) {
        // Nobody takes them, or far too many came: nothing is lost then.
        let _ = self.keys.try_send(key);
    }

    /// The call is over. What was said first counts.
    pub(crate) fn over(&self, end: End) {
        self.end.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(end);
            first
        });
    }
}

/// The lines of an agent, by the names of their dialogs.
#[derive(Default)]
pub(crate) struct Lines(Mutex<HashMap<String, Arc<Line>>>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Line>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, dialog: &str) -> Option<Arc<Line>> {
        self.lock().get(dialog).cloned()
    }

    pub(crate) fn insert(&self, dialog: String, line: Arc<Line>) {
        self.lock().insert(dialog, line);
    }

    fn remove(&self, dialog: &str) {
        self.lock().remove(dialog);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether this very request is being served on a line already, having come by another way.
    pub(crate) fn has_call(&self, call_id: &str, from_tag: &str) -> bool {
        let same = |line: &Arc<Line>| {
            let id = line.dialog.id();
            id.call_id == call_id && id.remote_tag == from_tag
        };
        self.lock().values().any(same)
    }
}

/// Follows the dialog of a line to its end and then forgets both.
pub(crate) async fn follow(shared: Arc<Shared>, line: Arc<Line>, mut states: DialogStateReceiver) {
    let too_old = tokio::time::sleep(shared.settings.max_age);
    tokio::pin!(too_old);
    let end = loop {
        tokio::select! {
            () = shared.stop.cancelled() => break End::OurHangup,
            state = states.recv() => match state {
                Some(DialogState::Confirmed(..)) => { line.acknowledged.send_replace(true); }
                Some(DialogState::Terminated(_, reason)) => break end(&reason, line.dialog.role()),
                Some(_) => {}
                None => break End::OurHangup,
            },
            () = &mut too_old => break End::TooOld,
        }
    };
    line.over(end);
    let id = line.dialog.id();
    if end == End::TooOld {
        tracing::warn!(call.id = %id.call_id, "a call was older than any may be and was ended");
        // It waits for an answer: half a minute at the most.
        let _ = line.dialog.bye().await;
    }
    shared.lines.remove(&id.to_string());
    shared.layer.remove_dialog(&id);
}

fn end(reason: &TerminatedReason, role: TransactionRole) -> End {
    match (reason, role) {
        (TerminatedReason::UacCancel, _) => End::Cancelled,
        (TerminatedReason::Timeout, _) => End::Unacknowledged,
        (TerminatedReason::UacBye, TransactionRole::Server) => End::TheirHangup,
        (TerminatedReason::UasBye, TransactionRole::Client) => End::TheirHangup,
        (TerminatedReason::UacBye | TerminatedReason::UasBye, _) => End::OurHangup,
        _ => End::Declined,
    }
}

/// A call that runs. Dropping it hangs up.
pub struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) line: Arc<Line>,
    pub(crate) rtp: Arc<Rtp>,
    pub(crate) media: watch::Receiver<Media>,
    pub(crate) pressed: tokio::sync::Mutex<mpsc::Receiver<char>>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("id", &self.line.about.call_id).finish_non_exhaustive()
    }
}

impl Call {
    /// What is known of it.
    #[must_use]
    pub fn about(&self) -> &Arc<About> {
        &self.line.about
    }

    /// The socket of its voice.
    #[must_use]
    pub fn rtp(&self) -> Arc<Rtp> {
        self.rtp.clone()
    }

    /// What was agreed on; changes when the other party changes its mind, as for a hold.
    #[must_use]
    pub fn media(&self) -> watch::Receiver<Media> {
        self.media.clone()
    }

    /// The next key that the other party sent as a message instead of in its media. Cancel-safe; for ever pending when the call is over.
    pub async fn key(&self) -> char {
        match self.pressed.lock().await.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }

    /// Waits until the other party acknowledged that we answered, or the call is over, but no longer than `most`.
    pub async fn acknowledged(&self, most: Duration) {
        let (mut acknowledged, mut end) = (self.line.acknowledged.subscribe(), self.line.end.subscribe());
        let _ = tokio::time::timeout(most, async {
            tokio::select! {
                _ = acknowledged.wait_for(|is| *is) => {}
                _ = end.wait_for(Option::is_some) => {}
            }
        })
        .await;
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        *self.line.end.borrow()
    }

    /// Waits until it is over. Cancel-safe.
    pub async fn ended(&self) -> End {
        let mut end = self.line.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.unwrap_or(End::OurHangup),
            Err(_) => End::OurHangup,
        }
    }

    /// Ends it and waits until the other party heard of it, or cannot be asked any more.
    pub async fn hang_up(self) {
        if self.end().is_none() {
            self.line.over(End::OurHangup);
            if let Err(error) = self.line.dialog.bye().await {
                tracing::debug!(call.id = %self.line.about.call_id, error = %crate::Error::from(error), "a BYE could not be sent");
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.end().is_some() {
            return;
        }
        self.line.over(End::OurHangup);
        let dialog = self.line.dialog.clone();
        self.shared.calls.spawn(async move {
            let _ = dialog.bye().await;
        });
    }
}
