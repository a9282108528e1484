//! Presigned URLs: of an object itself, letting in whoever has one, for a short while. What the makers' ways of signing have in common.

use std::time::{Duration, SystemTime};

use percent_encoding::utf8_percent_encode;
use url::Url;

use crate::location::PART;

/// How long one is good for: long enough to be followed at once, on a slow line too.
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(60);

/// A query whose names and values are encoded as signers want them: a space is `%20`.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, PART).to_string();
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.join("&")
}

/// A moment of UTC, as `1994-11-06T08:49:37Z`: the same that headers write as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn moment(at: SystemTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = httpdate::fmt_http_date(at);
    let mut words = text.split(' ').skip(1);
    let (day, month) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (year, time) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let month = MONTHS.iter().position(|name| *name == month).unwrap_or_default() + 1;
    format!("{year}-{month:02}-{day}T{time}Z")
}

/// The same without what stands between its numbers, as `19941106T084937Z`; the day are its first eight.
pub(crate) fn stamp(at: SystemTime) -> String {
    moment(at).replace(['-', ':'], "")
}

/// The host of a URL as a client writes it, with a port that is not the usual one.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_out() {
        for (seconds, text) in [(0, "1970-01-01T00:00:00Z"), (784_111_777, "1994-11-06T08:49:37Z")] {
            assert_eq!(moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
