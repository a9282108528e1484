//! Uploads in a session of the destination's, in pieces or in one. When the way breaks in the middle, or the destination cannot go on for the moment, the
//! session is asked how far it got and goes on from there, as long as it gets further each time.

use std::ops::Range;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Operation};

/// How far a session is.
pub(crate) enum At<T> {
    /// It waits for the byte at this offset.
    Byte(u64),
    /// It is at its end, and this is what the destination says of what it has.
    Done(T),
}

/// A session that is open.
#[async_trait]
pub(crate) trait Session: Sync {
    /// What the destination says at the end.
    type Stored: Send;

    /// Sends these bytes of the payload.
    async fn piece(&self, range: Range<u64>) -> Result<At<Self::Stored>, Error>;

    /// Asks how far it is.
    async fn progress(&self) -> Result<At<Self::Stored>, Error>;
}

/// Sends a payload of this length, in pieces of this size.
pub(crate) async fn send<S: Session>(session: &S, length: u64, size: u64) -> Result<S::Stored, Error> {
    let mut at = 0;
    loop {
        let next = match session.piece(at..length.min(at.saturating_add(size))).await {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Unavailable) => {
                match session.progress().await {
                    // Further than before: what was broken was the way, and it goes on.
                    Ok(At::Byte(reached)) if reached > at => At::Byte(reached),
                    Ok(done @ At::Done(_)) => done,
                    _ => return Err(error),
                }
            }
            sent => sent?,
        };
        match next {
            At::Done(stored) => return Ok(stored),
            At::Byte(reached) if reached > at && reached < length => at = reached,
            At::Byte(_) => {
                return Err(Error::new(Operation::Put, ErrorKind::Interrupted, "the session does not get further"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Answers what it was told to, and keeps what it was sent.
    struct Scripted {
        answers: Mutex<Vec<Result<At<()>, ErrorKind>>>,
        progress: u64,
        sent: Mutex<Vec<(u64, u64)>>,
    }

    #[async_trait]
    impl Session for Scripted {
        type Stored = ();

        async fn piece(&self, range: Range<u64>) -> Result<At<()>, Error> {
            self.sent.lock().unwrap().push((range.start, range.end));
            self.answers.lock().unwrap().remove(0).map_err(|kind| Error::new(Operation::Put, kind, ""))
        }

        async fn progress(&self) -> Result<At<()>, Error> {
            Ok(At::Byte(self.progress))
        }
    }

    async fn run(progress: u64, answers: Vec<Result<At<()>, ErrorKind>>) -> (Vec<(u64, u64)>, Option<ErrorKind>) {
        run_in(10, progress, answers).await
    }

    async fn run_in(
        size: u64,
        progress: u64,
        answers: Vec<Result<At<()>, ErrorKind>>,
    ) -> (Vec<(u64, u64)>, Option<ErrorKind>) {
        let session = Scripted { answers: Mutex::new(answers), progress, sent: Mutex::default() };
        let failed = send(&session, 25, size).await.err().map(|error| error.kind());
        (session.sent.into_inner().unwrap(), failed)
    }

    #[tokio::test]
    async fn it_goes_on_from_where_the_session_is() {
        let all = vec![Ok(At::Byte(10)), Ok(At::Byte(20)), Ok(At::Done(()))];
        assert_eq!(run(0, all).await, (vec![(0, 10), (10, 20), (20, 25)], None));
        let broken = vec![Err(ErrorKind::Interrupted), Ok(At::Byte(14)), Ok(At::Byte(24)), Ok(At::Done(()))];
        assert_eq!(run(4, broken).await, (vec![(0, 10), (4, 14), (14, 24), (24, 25)], None));
        let whole = vec![Err(ErrorKind::Unavailable), Ok(At::Done(()))];
        assert_eq!(run_in(25, 14, whole).await, (vec![(0, 25), (14, 25)], None));
    }

    #[tokio::test]
    async fn it_ends_where_it_gets_no_further() {
        let stuck = ErrorKind::Interrupted;
        assert_eq!(run(0, vec![Err(stuck)]).await, (vec![(0, 10)], Some(stuck)));
        assert_eq!(run(9, vec![Err(ErrorKind::Refused)]).await, (vec![(0, 10)], Some(ErrorKind::Refused)));
        for reached in [0, 25, 26] {
            assert_eq!(run(9, vec![Ok(At::Byte(reached))]).await, (vec![(0, 10)], Some(stuck)), "{reached}");
        }
    }
}
