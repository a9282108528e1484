//! Redirects, followed one by one by the caller, because only the caller knows whether its body may be sent again.

use http::{HeaderMap, header};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::redact;

/// The way that one request has gone so far.
///
/// ```
/// # use outbound::Trail;
/// # let there = |location: &str| http::HeaderMap::from_iter([(http::header::LOCATION, location.parse().unwrap())]);
/// let mut trail = Trail::new("https://example.org/a/b".parse().unwrap());
/// assert_eq!(trail.follow(&there("../c")).unwrap().as_str(), "https://example.org/c");
/// assert!(trail.follow(&there("/a/b")).is_err(), "we came from there");
/// ```
#[derive(Clone)]
pub struct Trail {
    visited: Vec<Url>,
    current: Url,
}

impl Trail {
    /// How many redirects are followed.
    pub const LIMIT: usize = 10;

    /// A way that begins here.
    #[must_use]
    pub fn new(start: Url) -> Self {
        Self { visited: Vec::new(), current: start }
    }

    /// Where we are.
    #[must_use]
    pub fn current(&self) -> &Url {
        &self.current
    }

    /// Whether a redirect was followed.
    #[must_use]
    pub fn moved(&self) -> bool {
        !self.visited.is_empty()
    }

    /// Goes where the `Location` of an answer points, and says where that is. A relative one starts where we are; a user and
    /// password go along only within the same origin.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RedirectNoLocation`], [`ErrorKind::RedirectLoop`] or [`ErrorKind::TooManyRedirects`].
    pub fn follow(&mut self, headers: &HeaderMap) -> Result<&Url, Error> {
        let fail = |kind| Error::new(kind, redact(&self.current));
        let location = headers.get(header::LOCATION).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let location = location.map(str::trim).filter(|text| !text.is_empty());
        let location = location.ok_or_else(|| fail(ErrorKind::RedirectNoLocation))?;
        let mut next = self.current.join(location).map_err(|_| fail(ErrorKind::RedirectNoLocation))?;
        next.set_fragment(None);
        if next.origin() == self.current.origin() && next.username().is_empty() && next.password().is_none() {
            let _ = next.set_username(self.current.username());
            let _ = next.set_password(self.current.password());
        }
        if next == self.current || self.visited.contains(&next) {
            return Err(fail(ErrorKind::RedirectLoop));
        }
        if self.visited.len() >= Self::LIMIT {
            return Err(fail(ErrorKind::TooManyRedirects));
        }
        self.visited.push(std::mem::replace(&mut self.current, next));
        Ok(&self.current)
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.visited.iter().chain([&self.current]).map(redact)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(location: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::LOCATION, location.parse().unwrap())])
    }

    fn trail(start: &str) -> Trail {
        Trail::new(start.parse().unwrap())
    }

    #[test]
    fn ten_are_followed_and_no_more() {
        let mut trail = trail("http://h/0");
        for step in 1..=Trail::LIMIT {
            trail.follow(&there(&format!("/{step}"))).unwrap();
        }
        assert_eq!(trail.follow(&there("/11")).unwrap_err().kind(), ErrorKind::TooManyRedirects);
    }

    #[test]
    fn circles_and_blanks_are_noticed() {
        let mut circle = trail("http://h/a");
        assert_eq!(circle.follow(&there("/a")).unwrap_err().kind(), ErrorKind::RedirectLoop);
        circle.follow(&there("/b")).unwrap();
        assert_eq!(circle.follow(&there("http://h/a#again")).unwrap_err().kind(), ErrorKind::RedirectLoop);
        assert_eq!(trail("http://h/a").follow(&HeaderMap::new()).unwrap_err().kind(), ErrorKind::RedirectNoLocation);
        assert_eq!(trail("http://h/a").follow(&there("")).unwrap_err().kind(), ErrorKind::RedirectNoLocation);
    }

    #[test]
    fn a_password_stays_with_its_origin() {
        let mut trail = trail("http://me:secret@h/a");
        assert_eq!(trail.follow(&there("http://h/b")).unwrap().password(), Some("secret"));
        assert_eq!(trail.follow(&there("http://other/c")).unwrap().password(), None);
        assert!(!format!("{trail:?}").contains("secret"));
    }
}
