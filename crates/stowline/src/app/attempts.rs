//! Logins that fail are counted, so that nobody guesses for long.
//!
//! Three counts stand side by side: an address at one account, an address at all accounts, an account from all addresses. The first is what
//! an operator configures; the other two are ten times as large, so that one bad neighbour behind a shared address, or somebody who wishes an
//! account to be locked out, needs some effort. A login counts before it is tried, and no more once it succeeded: what runs side by side counts.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Error;
use super::rates::Rates;
use crate::config::Login;

/// How much larger the counts over everything are.
const ROOMIER: f64 = 10.0;

/// The counts.
#[derive(Debug)]
pub struct Attempts {
    pairs: Rates,
    addresses: Rates,
    accounts: Rates,
}

/// A login that is being tried: it counts unless it is forgiven.
#[derive(Debug)]
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    pair: String,
    address: String,
    account: String,
}

impl Attempts {
    /// As configured.
    pub fn new(config: &Login) -> Self {
        let attempts = f64::from(config.attempts);
        let wide = || Rates::new(attempts * ROOMIER, config.window);
        Self { pairs: Rates::new(attempts, config.window), addresses: wide(), accounts: wide() }
    }

    /// Counts a login from `address` at the account of this name.
    ///
    /// # Errors
    /// [`Error::TooMany`] when there were too many.
    pub fn begin(&self, address: IpAddr, account: &str) -> Result<Attempt<'_>, Error> {
        let now = Instant::now();
        let (address, account) = (network(address), account.to_owned());
        let attempt = Attempt { attempts: self, pair: format!("{address} {account}"), address, account };
        let mut wait = Duration::ZERO;
        for (rates, who) in attempt.counts() {
            if let Err(longer) = rates.take(who, now) {
                wait = wait.max(longer);
            }
        }
        if wait.is_zero() { Ok(attempt) } else { Err(Error::TooMany { wait }) }
    }
}

impl Attempt<'_> {
    fn counts(&self) -> [(&Rates, &str); 3] {
        [
            (&self.attempts.pairs, &self.pair),
            (&self.attempts.addresses, &self.address),
            (&self.attempts.accounts, &self.account),
        ]
    }

    /// It does not count: the login succeeded, or failed for a reason of ours.
    pub fn forgive(self) {
        for (rates, who) in self.counts() {
            rates.give_back(who);
        }
    }
}

/// Who counts as one: an IPv4 address, or the network of an IPv6 address, of which everybody has a whole one.
pub fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => hex::encode(&address.octets()[..8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_by_address_and_account_and_success_is_forgiven() {
        let attempts = Attempts::new(&Login { attempts: 2, window: Duration::from_secs(3600), digests: true });
        let from = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..50 {
            attempts.begin(from("192.0.2.1"), "acme").unwrap().forgive();
        }
        attempts.begin(from("192.0.2.1"), "acme").unwrap();
        attempts.begin(from("::ffff:192.0.2.1"), "acme").unwrap();
        assert!(matches!(attempts.begin(from("192.0.2.1"), "acme"), Err(Error::TooMany { .. })));
        attempts.begin(from("192.0.2.1"), "other").unwrap();
        attempts.begin(from("192.0.2.2"), "acme").unwrap();
        let mut tried = 0;
        while attempts.begin(from(&format!("2001:db8:{tried:x}::1")), "acme").is_ok() {
            tried += 1;
        }
        assert!((10..20).contains(&tried), "one account from everywhere: {tried}");
        assert_eq!(network(from("2001:db8::1")), network(from("2001:db8::2:3:4:5")));
    }
}
