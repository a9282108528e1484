//! The bytes on their way back.

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, future};
use http::{HeaderMap, HeaderValue, header};

use crate::error::{Error, ErrorKind, Operation};

/// A part of an object, as clients ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From this offset to the end.
    From(u64),
    /// From this offset to that one, both included; what lies beyond the end is left out.
    FromTo(u64, u64),
    /// The last so many bytes, or all when there are fewer.
    Last(u64),
}

impl ByteRange {
    /// First and last offset within `total` bytes; `None` when there are no such bytes.
    #[must_use]
    pub fn within(self, total: u64) -> Option<(u64, u64)> {
        let end = total.checked_sub(1)?;
        let (first, last) = match self {
            Self::From(first) => (first, end),
            Self::FromTo(first, last) => (first, last.min(end)),
            Self::Last(0) => return None,
            Self::Last(count) => (total.saturating_sub(count), end),
        };
        (first <= last).then_some((first, last))
    }

    /// The same part of `total` bytes by its first and last offset, for places that do not count from the end.
    pub(crate) fn counted(self, total: u64) -> Result<Self, Error> {
        let outside = || Error::new(Operation::Fetch, ErrorKind::Invalid, "the range lies outside");
        self.within(total).map(|(first, last)| Self::FromTo(first, last)).ok_or_else(outside)
    }

    /// Asks for this part in the headers of a request.
    pub(crate) fn ask(self, headers: &mut HeaderMap) {
        let text = match self {
            Self::From(first) => format!("bytes={first}-"),
            Self::FromTo(first, last) => format!("bytes={first}-{last}"),
            Self::Last(count) => format!("bytes=-{count}"),
        };
        headers.extend(HeaderValue::from_str(&text).ok().map(|value| (header::RANGE, value)));
    }
}

/// `Content-Range: bytes 3-5/10` as first and last offset and the total, which may be unknown (`*`).
pub(crate) fn content_range(text: &str) -> Option<((u64, u64), Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some(((first.parse().ok()?, last.parse().ok()?), total.parse().ok()))
}

/// An object, or a part of it, as it arrives.
pub struct Body {
    /// Media type, as the destination says it.
    pub content_type: Option<String>,
    /// Bytes of the whole object, where known.
    pub total: Option<u64>,
    /// First and last offset of what is served, where it is not the whole.
    pub range: Option<(u64, u64)>,
    /// The bytes. An error ends the stream; what came before it must not be taken for the object.
    pub stream: BoxStream<'static, Result<Bytes, Error>>,
}

impl Body {
    /// All of it in memory.
    ///
    /// # Errors
    ///
    /// The stream's error, and [`ErrorKind::Invalid`] above `limit` bytes.
    pub async fn read(mut self, limit: usize) -> Result<Bytes, Error> {
        let mut read = BytesMut::new();
        while let Some(piece) = self.stream.try_next().await? {
            if read.len() + piece.len() > limit {
                return Err(Error::new(Operation::Fetch, ErrorKind::Invalid, "larger than expected"));
            }
            read.extend_from_slice(&piece);
        }
        Ok(read.freeze())
    }

    /// The part of a whole body, for destinations that do not serve parts.
    pub(crate) fn cut(self, range: ByteRange, total: u64) -> Result<Self, Error> {
        let outside = || Error::new(Operation::Fetch, ErrorKind::Invalid, "the range lies outside");
        let (first, last) = range.within(total).ok_or_else(outside)?;
        let stream = slice(self.stream, first, last - first + 1);
        Ok(Self { content_type: self.content_type, total: Some(total), range: Some((first, last)), stream })
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("content_type", &self.content_type)
            .field("total", &self.total)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// `count` bytes after the first `skip`. The rest of the source is not read.
fn slice(
    source: BoxStream<'static, Result<Bytes, Error>>,
    skip: u64,
    count: u64,
) -> BoxStream<'static, Result<Bytes, Error>> {
    let cut =
        |piece: &mut Bytes, at: u64| piece.split_to(usize::try_from(at).map_or(piece.len(), |at| at.min(piece.len())));
    source
        .scan((skip, count), move |(skip, left), piece| {
            if *left == 0 {
                return future::ready(None);
            }
            future::ready(Some(piece.map(|mut piece| {
                let skipped = cut(&mut piece, *skip);
                *skip -= skipped.len() as u64;
                let part = cut(&mut piece, *left);
                *left -= part.len() as u64;
                part
            })))
        })
        .try_filter(|piece| future::ready(!piece.is_empty()))
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use proptest::prelude::*;

    fn body(pieces: Vec<Vec<u8>>) -> Body {
        let stream = stream::iter(pieces.into_iter().map(|piece| Ok(Bytes::from(piece)))).boxed();
        Body { content_type: None, total: None, range: None, stream }
    }

    proptest! {
        #[test]
        fn a_cut_is_the_same_whatever_the_pieces(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
            first in 0_u64..40,
            length in 0_u64..40,
        ) {
            let whole = pieces.concat();
            let range = ByteRange::FromTo(first, first + length);
            let total = whole.len() as u64;
            let cut = body(pieces).cut(range, total);
            match range.within(total) {
                None => prop_assert_eq!(cut.unwrap_err().kind(), ErrorKind::Invalid),
                Some((first, last)) => {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let read = runtime.block_on(cut.unwrap().read(1000)).unwrap();
                    prop_assert_eq!(&read[..], &whole[first as usize..=last as usize]);
                }
            }
        }
    }

    #[test]
    fn ranges_stay_within() {
        assert_eq!(ByteRange::From(3).within(10), Some((3, 9)));
        assert_eq!(ByteRange::FromTo(3, 99).within(10), Some((3, 9)));
        assert_eq!(ByteRange::Last(4).within(10), Some((6, 9)));
        assert_eq!(ByteRange::Last(40).within(10), Some((0, 9)));
        for none in [ByteRange::From(10), ByteRange::FromTo(5, 4), ByteRange::Last(0)] {
            assert_eq!(none.within(10), None, "{none:?}");
        }
        assert_eq!(ByteRange::From(0).within(0), None);
    }

    #[test]
    fn a_content_range_is_read() {
        assert_eq!(content_range("bytes 3-5/10"), Some(((3, 5), Some(10))));
        assert_eq!(content_range("bytes 3-5/*"), Some(((3, 5), None)));
        assert_eq!(content_range("bytes */10"), None);
    }
}
