//! When certificates are renewed, and the loop that does it.

use jiff::{SignedDuration, Timestamp};
use std::{error::Error, future::Future, time::Duration};

/// Certificates are renewed after this part of their remaining lifetime, as proxies do.
const AFTER_PERCENT: i32 = 70;

/// Never sooner than this after the last try, so that a failing renewal does not spin.
const AT_LEAST: SignedDuration = SignedDuration::from_secs(1);

/// The loop looks at the clock this often, because clocks jump.
const CHECK: Duration = Duration::from_secs(60);

/// Something with certificates of its own.
pub trait Renew: Sync {
    /// Why it could not be renewed.
    type Error: Error + Send;

    /// What is renewed, for the log.
    const WHAT: &'static str;

    /// Until when what is in use is valid.
    fn not_after(&self) -> Timestamp;

    /// When to renew it.
    fn renew_at(&self) -> Timestamp;

    /// Replaces what is in use; connections that are open keep what they have. On failure the old one stays in use.
    fn renew(&self, now: Timestamp) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// When certificates that are valid until `not_after` should be renewed, asked at `now`.
pub fn renew_at(now: Timestamp, not_after: Timestamp) -> Timestamp {
    let wait = (not_after.duration_since(now) / 100) * AFTER_PERCENT;
    now.saturating_add(wait.max(AT_LEAST)).unwrap_or(Timestamp::MAX)
}

/// Renews for as long as it is polled: run it as a task of its own.
pub async fn keep_renewed<R: Renew>(renewed: &R) {
    let mut not_before = Timestamp::MIN;
    loop {
        let now = Timestamp::now();
        let due = renewed.renew_at().max(not_before);
        if now < due {
            let wait = Duration::try_from(due.duration_since(now)).unwrap_or(CHECK);
            tokio::time::sleep(wait.min(CHECK)).await;
            continue;
        }
        if let Err(error) = renewed.renew(now).await {
            let not_after = renewed.not_after();
            let source = error.source().map(ToString::to_string);
            tracing::error!(%error, source, %not_after, what = R::WHAT, "certificates were not renewed");
            not_before = renew_at(now, not_after);
        }
    }
}
