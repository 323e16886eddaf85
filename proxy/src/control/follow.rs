//! A server stream kept alive: opened, read, and opened again when it ends.

use super::schedule::Attempts;
use crate::config::Backoff;
use std::{future::Future, sync::atomic::AtomicU64, sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Response, Status, Streaming};

/// Bounds in time of one stream; a stream that meets one is ended and opened again.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimits {
    /// Wait for the first message.
    pub initial: Option<Duration>,
    /// Longest silence.
    pub idle: Option<Duration>,
    /// Longest life.
    pub lifetime: Option<Duration>,
    /// Between attempts.
    pub backoff: Backoff,
}

/// What happens on a stream.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// A message; `first` on the stream it came by, so that what was known before is replaced.
    Message {
        /// The message.
        message: T,
        /// Whether it is the stream's first.
        first: bool,
    },
    /// The stream could not be opened or broke; it is opened again after a wait, unless told otherwise.
    Failed(Status),
}

/// What to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on; after a failure, try again.
    Continue,
    /// No more of this.
    Stop,
}

/// Streams of one kind, for the metrics page.
#[derive(Debug, Default)]
pub(super) struct StreamCounts {
    /// Opened.
    pub opened: AtomicU64,
    /// Failed to open, or broken.
    pub failed: AtomicU64,
    /// Messages received.
    pub messages: AtomicU64,
}

/// Follows a stream until `on` says to stop.
pub(super) async fn follow<T, F>(
    limits: StreamLimits,
    counts: &StreamCounts,
    mut open: impl FnMut() -> F,
    mut on: impl FnMut(Event<T>) -> Next,
) where
    F: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    let mut attempts = Attempts::new(limits.backoff);
    loop {
        let failure = match one_stream(limits, counts, &mut open, &mut attempts, &mut on).await {
            Ended::Stop => return,
            // The time to open it again: nothing is wrong.
            Ended::Renew => continue,
            Ended::Failed(status) => status,
        };
        counts.failed.fetch_add(1, Relaxed);
        if on(Event::Failed(failure)) == Next::Stop {
            return;
        }
        tokio::time::sleep(attempts.failed(rand::random())).await;
    }
}

enum Ended {
    Stop,
    Renew,
    Failed(Status),
}

async fn one_stream<T, F>(
    limits: StreamLimits,
    counts: &StreamCounts,
    open: &mut impl FnMut() -> F,
    attempts: &mut Attempts,
    on: &mut impl FnMut(Event<T>) -> Next,
) -> Ended
where
    F: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    let end_of_life = limits.lifetime.map(|lifetime| Instant::now() + lifetime);
    let mut stream = match within(limits.initial, open()).await {
        Some(Ok(response)) => response.into_inner(),
        Some(Err(status)) => return Ended::Failed(status),
        None => return Ended::Failed(Status::new(Code::DeadlineExceeded, "the stream did not open in time")),
    };
    counts.opened.fetch_add(1, Relaxed);
    let mut first = true;
    loop {
        let silence = if first { limits.initial } else { limits.idle };
        let next = within(silence, stream.message());
        let next = match end_of_life {
            Some(end) => match timeout_at(end, next).await {
                Ok(next) => next,
                Err(_) => return Ended::Renew,
            },
            None => next.await,
        };
        match next {
            Some(Ok(Some(message))) => {
                attempts.succeeded();
                counts.messages.fetch_add(1, Relaxed);
                if on(Event::Message { message, first }) == Next::Stop {
                    return Ended::Stop;
                }
                first = false;
            }
            Some(Ok(None)) => return Ended::Failed(Status::new(Code::Unavailable, "the stream ended")),
            Some(Err(status)) => return Ended::Failed(status),
            None if first => {
                return Ended::Failed(Status::new(Code::DeadlineExceeded, "no first message in time"));
            }
            None => return Ended::Renew,
        }
    }
}

async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}
