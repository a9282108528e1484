//! Who may knock: every message asks here first, by its source address alone.

use std::net::IpAddr;
use std::sync::Arc;

use crate::answerer::Answerer;
use crate::limits::Limits;

/// Trusted peers pass; others as often as they may.
pub(crate) struct Door {
    answerer: Arc<dyn Answerer>,
    limits: Limits,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    pub(crate) fn new(answerer: Arc<dyn Answerer>, per_second: u32) -> Self {
        Self { answerer, limits: Limits::new(per_second) }
    }

    /// Whether a message of this source is heard at all.
    pub(crate) fn admits(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.answerer.trusts(source) || self.limits.take(source)
    }
}
