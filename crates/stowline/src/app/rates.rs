//! How often somebody may do something: a bucket of tokens for each of them, in memory.
//!
//! Who takes a token more than there are is told when the next one comes. Buckets that are full again are forgotten, and when too many are left,
//! those that are fullest: a flood of names or addresses costs a fixed room and frees nobody who is being held back.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plan::AccountId;

use super::Error;
use super::attempts::network;
use crate::config::Api;

/// How many seconds' worth may come at once.
const BURST: f64 = 10.0;

/// What a request took of how many its sender may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Spent {
    /// How many it counts for.
    pub consumed: u64,
    /// How many more may come at once.
    pub remaining: u64,
}

impl Spent {
    /// Of a request that was one too many.
    pub const NOTHING: Self = Self { consumed: 0, remaining: 0 };
}

/// How many requests anybody may make.
#[derive(Debug)]
pub struct Limits {
    addresses: Rates,
    accounts: Rates,
}

impl Limits {
    /// As configured.
    pub fn new(config: &Api) -> Self {
        let rates = |per_second: u32| Rates::new(f64::from(per_second) * BURST, Duration::from_secs_f64(BURST));
        Self { addresses: rates(config.anonymous_per_second), accounts: rates(config.account_per_second) }
    }

    /// Counts a request from this address without a token that holds. None where there is no limit.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn anonymous(&self, address: IpAddr) -> Result<Option<Spent>, Error> {
        count(&self.addresses, &network(address))
    }

    /// Counts a request with a token of this account. None where there is no limit.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn account(&self, account: &AccountId) -> Result<Option<Spent>, Error> {
        count(&self.accounts, account.as_ref())
    }
}

fn count(rates: &Rates, who: &str) -> Result<Option<Spent>, Error> {
    let left = rates.take(who, Instant::now()).map_err(|wait| Error::TooMany { wait })?;
    Ok(left.map(|remaining| Spent { consumed: 1, remaining }))
}

/// The most buckets that are kept.
const KEPT: usize = 100_000;

/// Buckets of one size.
#[derive(Debug)]
pub struct Rates {
    /// Tokens that a full bucket holds; 0 for no limit.
    size: f64,
    per_second: f64,
    names: RandomState,
    buckets: Mutex<HashMap<u64, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// `count` at once, and as many within each `window` after that. No limit when either is nothing.
    pub fn new(count: f64, window: Duration) -> Self {
        let limited = count > 0.0 && !window.is_zero();
        let (size, per_second) = if limited { (count, count / window.as_secs_f64()) } else { (0.0, 0.0) };
        Self { size, per_second, names: RandomState::new(), buckets: Mutex::default() }
    }

    /// Takes a token for `who`, at `now`. Answers how many whole ones are left; none where there is no limit.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub fn take(&self, who: &str, now: Instant) -> Result<Option<u64>, Duration> {
        if self.size <= 0.0 {
            return Ok(None);
        }
        let name = self.names.hash_one(who);
        let mut buckets = self.buckets();
        if buckets.len() >= KEPT && !buckets.contains_key(&name) {
            self.forget(&mut buckets, now);
        }
        let bucket = buckets.entry(name).or_insert(Bucket { tokens: self.size, at: now });
        let tokens = self.filled(*bucket, now);
        if tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - tokens) / self.per_second));
        }
        let left = tokens - 1.0;
        *bucket = Bucket { tokens: left, at: now };
        Ok(Some(whole(left)))
    }

    /// Gives a token back that was taken for what does not count.
    pub fn give_back(&self, who: &str) {
        if let Some(bucket) = self.buckets().get_mut(&self.names.hash_one(who)) {
            bucket.tokens = (bucket.tokens + 1.0).min(self.size);
        }
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + passed * self.per_second).min(self.size)
    }

    fn forget(&self, buckets: &mut HashMap<u64, Bucket>, now: Instant) {
        buckets.retain(|_, bucket| self.filled(*bucket, now) < self.size);
        if buckets.len() < KEPT {
            return;
        }
        let mut levels: Vec<f64> = buckets.values().map(|bucket| self.filled(*bucket, now)).collect();
        let middle = levels.len() / 2;
        let (_, level, _) = levels.select_nth_unstable_by(middle, f64::total_cmp);
        let level = *level;
        let mut spare = KEPT / 2;
        buckets.retain(|_, bucket| {
            let filled = self.filled(*bucket, now);
            let keep = filled < level || (filled <= level && spare > 0);
            spare = spare.saturating_sub(usize::from(keep));
            keep
        });
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<u64, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole tokens of a bucket.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bucket holds some thousands, and never less than nothing"
)]
fn whole(tokens: f64) -> u64 {
    tokens as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let rates = Rates::new(3.0, Duration::from_secs(30));
        let start = Instant::now();
        for left in (0..3).rev() {
            assert_eq!(rates.take("a", start), Ok(Some(left)));
        }
        assert_eq!(rates.take("a", start), Err(Duration::from_secs(10)));
        rates.take("b", start).unwrap();
        let later = start + Duration::from_secs(11);
        rates.take("a", later).unwrap();
        assert!(rates.take("a", later).is_err());
        rates.give_back("a");
        rates.take("a", later).unwrap();
        let much_later = start + Duration::from_secs(3600);
        for _ in 0..3 {
            rates.take("a", much_later).unwrap();
        }
        assert!(rates.take("a", much_later).is_err(), "never more than a bucket holds");
    }

    #[test]
    fn nothing_is_no_limit() {
        let now = Instant::now();
        for rates in [Rates::new(0.0, Duration::from_secs(1)), Rates::new(5.0, Duration::ZERO)] {
            for _ in 0..1000 {
                assert_eq!(rates.take("a", now), Ok(None));
            }
        }
    }

    #[test]
    fn a_flood_of_names_takes_a_fixed_room_and_frees_nobody() {
        let rates = Rates::new(2.0, Duration::from_secs(3600));
        let now = Instant::now();
        while rates.take("guesser", now).is_ok() {}
        for name in 0..KEPT * 2 {
            rates.take(&name.to_string(), now).unwrap();
            assert!(rates.buckets().len() <= KEPT);
        }
        assert!(rates.take("guesser", now).is_err());
    }
}
