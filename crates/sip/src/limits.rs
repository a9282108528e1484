//! How much one stranger may ask: a bucket of requests for each source address.
//!
//! Asked before anything is parsed. What is above the limit is dropped without a word, as an answer would only help who floods. Peers that
//! are trusted are not counted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sources that are remembered at a time. When there are more, all of them share one bucket.
const REMEMBERED: usize = 20_000;

/// Buckets by source.
#[derive(Debug)]
pub(crate) struct Limits {
    rate: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    buckets: HashMap<IpAddr, Bucket>,
    /// When full buckets were last thrown away: that takes a while.
    swept: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Limits {
    /// So many messages a second from one source, on the average; for a moment four times as many.
    pub(crate) fn new(per_second: u32) -> Self {
        let rate = f64::from(per_second.max(1));
        let state = State { buckets: HashMap::new(), swept: Instant::now() };
        Self { rate, burst: rate * 4.0, state: Mutex::new(state) }
    }

    /// Whether one more message of this source is taken.
    pub(crate) fn take(&self, source: IpAddr) -> bool {
        self.take_at(source, Instant::now())
    }

    fn take_at(&self, source: IpAddr, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { buckets, swept } = &mut *state;
        let mut key = block(source);
        if buckets.len() >= REMEMBERED && !buckets.contains_key(&key) {
            if now.saturating_duration_since(*swept) > Duration::from_secs(1) {
                let full = Duration::from_secs_f64(self.burst / self.rate);
                buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < full);
                *swept = now;
            }
            if buckets.len() >= REMEMBERED {
                key = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { left: self.burst, at: now });
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate;
        bucket.left = (bucket.left + gained).min(self.burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

/// An IPv6 customer has a whole /64 to send from.
fn block(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.into(),
            None => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let limits = Limits::new(10);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = Instant::now();
        let passed = (0..100).filter(|_| limits.take_at(one, now)).count();
        assert_eq!(passed, 40);
        assert!(limits.take_at(other, now), "another source has its own bucket");
        let later = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| limits.take_at(one, later)).count(), 10);
    }

    #[test]
    fn a_whole_network_of_ipv6_is_one_source() {
        let limits = Limits::new(1);
        let now = Instant::now();
        let passed =
            (0..100_u16).filter(|n| limits.take_at(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, *n]), now)).count();
        assert_eq!(passed, 4);
    }

    #[test]
    fn memory_is_bounded() {
        let limits = Limits::new(1);
        let now = Instant::now();
        for n in 0..50_000_u32 {
            limits.take_at(IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(limits.state.lock().unwrap().buckets.len(), REMEMBERED);
        assert!(limits.take_at(IpAddr::from([198, 51, 100, 1]), now + Duration::from_secs(9)));
        assert_eq!(limits.state.lock().unwrap().buckets.len(), 1, "who was silent is forgotten");
    }
}
