//! Who calls, proved by a password that is not sent (HTTP digest, RFC 7616 as SIP uses it, RFC 8760).
//!
//! [`answer`] is for who is asked. [`Gatekeeper`] makes challenges and checks what comes back. A nonce is ours (it carries a keyed digest of its time, so that nothing need be
//! remembered of a challenge), lives for a minute or two, and may be used again only with a rising count: a request that somebody wrote down
//! and sends again is asked anew. Only `qop=auth` is taken. We ask in MD5.
//!
//! Nothing here prints, and comparing takes the same time whatever is wrong.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::answerer::Password;
use crate::quoted::unquote;

/// How long a nonce is taken. Softphones keep one for as long as it works.
const LIFETIME: Duration = Duration::from_secs(120);
/// Nonces in use whose count is remembered; above it the oldest are asked anew.
const REMEMBERED: usize = 10_000;

/// Makes challenges and checks answers to them.
pub(crate) struct Gatekeeper {
    key: Zeroizing<[u8; 32]>,
    counts: Mutex<HashMap<String, Use>>,
}

#[derive(Clone, Copy)]
struct Use {
    until: u64,
    count: u32,
}

/// How a digest is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Old, and all that many telephones know.
    Md5,
    /// Better.
    Sha256,
}

impl Algorithm {
    /// Those that we can compute.
    const KNOWN: [Self; 2] = [Self::Sha256, Self::Md5];
    /// Those that we ask for. Many telephones know MD5 only, and some give up on a challenge in anything else, though one in MD5 stands beside it.
    /// Passwords are generated and too long to be guessed: nothing is gained by a better digest of them.
    const ASKED_FOR: [Self; 1] = [Self::Md5];

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// By its name; MD5 where there is none.
    fn parse(name: Option<&str>) -> Option<Self> {
        let name = name.unwrap_or("MD5");
        Self::KNOWN.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    fn hex(self, parts: &[&str]) -> Zeroizing<String> {
        let text = Zeroizing::new(parts.join(":"));
        Zeroizing::new(match self {
            Self::Md5 => hex::encode(Md5::digest(text.as_bytes())),
            Self::Sha256 => hex::encode(Sha256::digest(text.as_bytes())),
        })
    }
}

/// What a caller says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) username: String,
    pub(crate) realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    cnonce: String,
    nc: String,
}

/// Whether a nonce is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nonce {
    /// Ours, and young.
    Good,
    /// Ours once: ask again, the password may well be right.
    Stale,
    /// Not ours, or not for this realm.
    Foreign,
}

impl Gatekeeper {
    pub(crate) fn new() -> Self {
        Self { key: Zeroizing::new(rand::random()), counts: Mutex::default() }
    }

    /// The values of the `WWW-Authenticate` headers that ask for a password of this realm.
    pub(crate) fn challenges(&self, realm: &str, stale: bool) -> Vec<String> {
        let nonce = self.nonce(realm, seconds(SystemTime::now()));
        let stale = if stale { ", stale=true" } else { "" };
        let realm = quoted(realm);
        Algorithm::ASKED_FOR
            .into_iter()
            .map(|algorithm| {
                let name = algorithm.name();
                format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={name}, qop=\"auth\"{stale}")
            })
            .collect()
    }

    fn nonce(&self, realm: &str, now: u64) -> String {
        let body = format!("{now:x}.{:x}", rand::random::<u64>());
        let seal = self.seal(realm, &body);
        format!("{body}.{seal}")
    }

    fn seal(&self, realm: &str, body: &str) -> String {
        let mut mac = match Hmac::<Sha256>::new_from_slice(&*self.key) {
            Ok(mac) => mac,
            // A key of any length is taken; without one nothing would be ours.
            Err(_) => return String::new(),
        };
        mac.update(body.as_bytes());
        mac.update(b"\0");
        mac.update(realm.as_bytes());
        hex::encode(&mac.finalize().into_bytes()[..16])
    }

    /// Whether the nonce of a claim is one of ours for `realm`.
    pub(crate) fn nonce_of(&self, claim: &Claim, realm: &str) -> Nonce {
        self.nonce_at(claim, realm, seconds(SystemTime::now()))
    }

    fn nonce_at(&self, claim: &Claim, realm: &str, now: u64) -> Nonce {
        let Some((body, seal)) = claim.nonce.rsplit_once('.') else { return Nonce::Foreign };
        let ours = self.seal(realm, body);
        if ours.is_empty() || !bool::from(ours.as_bytes().ct_eq(seal.as_bytes())) || claim.realm != realm {
            return Nonce::Foreign;
        }
        let made = body.split('.').next().and_then(|made| u64::from_str_radix(made, 16).ok()).unwrap_or(0);
        if now.saturating_sub(made) > LIFETIME.as_secs() { Nonce::Stale } else { Nonce::Good }
    }

    /// Whether the claim was made by who knows the password. With a good password and a count that was used before it is stale: nobody
    /// may send it again.
    pub(crate) fn check(&self, claim: &Claim, method: &str, password: &Password) -> Result<(), Nonce> {
        let expected = claim.expected(method, password);
        if !bool::from(expected.as_bytes().ct_eq(claim.response.to_ascii_lowercase().as_bytes())) {
            return Err(Nonce::Foreign);
        }
        let count = u32::from_str_radix(&claim.nc, 16).map_err(|_| Nonce::Foreign)?;
        self.count(&claim.nonce, count, seconds(SystemTime::now()))
    }

    fn count(&self, nonce: &str, count: u32, now: u64) -> Result<(), Nonce> {
        let mut counts = lock(&self.counts);
        if counts.len() >= REMEMBERED {
            counts.retain(|_, used| used.until > now);
        }
        if let Some(used) = counts.get_mut(nonce) {
            let fresh = count > used.count;
            used.count = used.count.max(count);
            return if fresh { Ok(()) } else { Err(Nonce::Stale) };
        }
        if counts.len() >= REMEMBERED {
            return Err(Nonce::Stale);
        }
        counts.insert(nonce.to_owned(), Use { until: now + LIFETIME.as_secs() + 1, count });
        Ok(())
    }
}

impl Claim {
    /// Reads the value of an `Authorization` header; none when it is no digest that we take.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(|c: char| c.is_ascii_whitespace())?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let fields = fields(rest)?;
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let algorithm = Algorithm::parse(field("algorithm").as_deref())?;
        if !field("qop")?.eq_ignore_ascii_case("auth") {
            return None;
        }
        Some(Self {
            username: field("username")?,
            realm: field("realm")?,
            nonce: field("nonce")?,
            uri: field("uri")?,
            response: field("response")?,
            algorithm,
            cnonce: field("cnonce")?,
            nc: field("nc")?,
        })
    }

    fn expected(&self, method: &str, password: &Password) -> Zeroizing<String> {
        let hash = |parts: &[&str]| self.algorithm.hex(parts);
        let who = hash(&[&self.username, &self.realm, password.text()]);
        let what = hash(&[method, &self.uri]);
        hash(&[&who, &self.nonce, &self.nc, &self.cnonce, "auth", &what])
    }
}

/// The value of an `Authorization` header that answers the best of these challenges; none when there is none that we know.
pub(crate) fn answer(
    challenges: &[&str],
    method: &str,
    uri: &str,
    username: &str,
    password: &Password,
) -> Option<String> {
    let read = challenges.iter().filter_map(|challenge| Challenge::parse(challenge));
    let Challenge { realm, nonce, opaque, algorithm } =
        read.max_by_key(|challenge| challenge.algorithm == Algorithm::Sha256)?;
    let cnonce = format!("{:032x}", rand::random::<u128>());
    let (response, nc) = (String::new(), "00000001".to_owned());
    let (username, uri) = (username.to_owned(), uri.to_owned());
    let claim = Claim { username, realm, nonce, uri, response, algorithm, cnonce, nc };
    let response = claim.expected(method, password);
    let Claim { username, realm, nonce, uri, cnonce, nc, .. } = &claim;
    let [username, realm] = [username, realm].map(|text| quoted(text));
    let opaque = opaque.map(|opaque| format!(", opaque=\"{}\"", quoted(&opaque))).unwrap_or_default();
    Some(format!(
        "Digest username=\"{username}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{}\", \
         algorithm={}, cnonce=\"{cnonce}\", qop=auth, nc={nc}{opaque}",
        *response,
        algorithm.name(),
    ))
}

struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
}

impl Challenge {
    fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(|c: char| c.is_ascii_whitespace())?;
        let fields = fields(rest).filter(|_| scheme.eq_ignore_ascii_case("Digest"))?;
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let algorithm = Algorithm::parse(field("algorithm").as_deref())?;
        field("qop")?.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth")).then_some(())?;
        Some(Self { realm: field("realm")?, nonce: field("nonce")?, opaque: field("opaque"), algorithm })
    }
}

/// `name="value", name=value, …`: names in lower case, values without their quotes. None when it is not that.
fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(inner) => unquote(inner)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        fields.push((name.trim().to_ascii_lowercase(), value));
        rest = left.trim_start().strip_prefix(',').unwrap_or(left.trim_start()).trim_start();
        if fields.len() > 32 {
            return None;
        }
    }
    Some(fields)
}

fn quoted(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '"' | '\\') && !c.is_control()).collect()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(gate: &Gatekeeper, password: &str, nc: &str) -> Claim {
        let nonce = gate.nonce("acme.example", seconds(SystemTime::now()));
        let mut claim = Claim::parse(&format!(
            "Digest username=\"sbc\", realm=\"acme.example\", nonce=\"{nonce}\", uri=\"sip:1001@acme.example\", \
             response=\"\", algorithm=SHA-256, cnonce=\"0a4f\", qop=auth, nc={nc}"
        ))
        .unwrap();
        claim.response = claim.expected("INVITE", &Password::new(password)).to_string();
        claim
    }

    #[test]
    fn a_right_password_passes_and_a_wrong_one_does_not() {
        let gate = Gatekeeper::new();
        let claim = answered(&gate, "sesame", "00000001");
        assert_eq!(gate.nonce_of(&claim, "acme.example"), Nonce::Good);
        assert_eq!(gate.check(&claim, "INVITE", &Password::new("other")), Err(Nonce::Foreign));
        assert_eq!(gate.check(&claim, "REGISTER", &Password::new("sesame")), Err(Nonce::Foreign));
        assert_eq!(gate.check(&claim, "INVITE", &Password::new("sesame")), Ok(()));
    }

    #[test]
    fn what_was_sent_once_cannot_be_sent_again() {
        let gate = Gatekeeper::new();
        let claim = answered(&gate, "sesame", "00000001");
        assert_eq!(gate.check(&claim, "INVITE", &Password::new("sesame")), Ok(()));
        assert_eq!(gate.check(&claim, "INVITE", &Password::new("sesame")), Err(Nonce::Stale));
    }

    #[test]
    fn a_nonce_is_ours_for_one_realm_and_a_time() {
        let gate = Gatekeeper::new();
        let claim = answered(&gate, "sesame", "00000001");
        let now = seconds(SystemTime::now());
        assert_eq!(gate.nonce_at(&claim, "acme.example", now + 121), Nonce::Stale);
        assert_eq!(gate.nonce_at(&claim, "other.example", now), Nonce::Foreign);
        assert_eq!(Gatekeeper::new().nonce_of(&claim, "acme.example"), Nonce::Foreign);
    }

    #[test]
    fn an_answer_satisfies_who_asked() {
        let gate = Gatekeeper::new();
        let challenges = gate.challenges("acme.example", false);
        assert!(challenges.len() == 1 && challenges[0].contains("algorithm=MD5,"), "{challenges:?}");
        let ours = challenges[0].as_str();
        let better = ours.replace("algorithm=MD5", "algorithm=SHA-256");
        for (asked, algorithm) in [(vec![ours, &better], Algorithm::Sha256), (vec![ours], Algorithm::Md5)] {
            let given = answer(&asked, "INVITE", "sip:1001@acme.example", "s \"b", &Password::new("sesame")).unwrap();
            let claim = Claim::parse(&given).unwrap();
            assert_eq!((claim.algorithm, claim.username.as_str()), (algorithm, "s b"));
            assert_eq!(gate.nonce_of(&claim, "acme.example"), Nonce::Good);
        }
        let given = answer(&[ours], "INVITE", "sip:1001@acme.example", "sbc", &Password::new("sesame")).unwrap();
        assert_eq!(gate.check(&Claim::parse(&given).unwrap(), "INVITE", &Password::new("sesame")), Ok(()));
        assert_eq!(answer(&["Basic realm=\"x\""], "INVITE", "sip:a@b", "c", &Password::new("d")), None);
    }

    /// The example of RFC 7616, 3.9.1.
    #[test]
    fn digests_are_those_of_the_standard() {
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let claim = Claim::parse(&format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
                 algorithm={algorithm}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
                 cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\""
            ))
            .unwrap();
            assert_eq!(*claim.expected("GET", &Password::new("Circle of Life")), response);
        }
    }

    #[test]
    fn what_is_no_digest_is_none() {
        for bad in [
            "",
            "Basic YTpi",
            "Digest",
            "Digest username",
            "Digest username=\"a",
            "Digest username=\"a\", realm=\"b\", nonce=\"c\", uri=\"d\", response=\"e\"",
            "Digest username=\"a\", realm=\"b\", nonce=\"c\", uri=\"d\", response=\"e\", qop=auth-int, cnonce=\"f\", nc=1",
            "Digest username=\"a\", realm=\"b\", nonce=\"c\", uri=\"d\", response=\"e\", qop=auth, cnonce=\"f\", nc=1, algorithm=MD5-sess",
        ] {
            assert_eq!(Claim::parse(bad), None, "{bad}");
        }
    }
}
