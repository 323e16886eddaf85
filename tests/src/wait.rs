//! Waiting for values, with a deadline.

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

/// How long anything may take that should happen soon. Long enough for a machine that does other work besides.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const STEP: Duration = Duration::from_millis(5);

/// Looks until there is a value. Fails the test after [`PATIENCE`], saying what was waited for.
///
/// # Panics
/// When the deadline has passed.
pub async fn until<T>(what: impl Debug, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what:?}");
        tokio::time::sleep(STEP).await;
    }
}

/// The same without a runtime.
///
/// # Panics
/// When the deadline has passed.
pub fn until_blocking<T>(what: impl Debug, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what:?}");
        std::thread::sleep(STEP);
    }
}

/// A future that must come to its end within [`PATIENCE`].
///
/// # Panics
/// When it does not.
pub async fn soon<T>(what: impl Debug, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what:?}"),
    }
}
