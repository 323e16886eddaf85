//! A subscription as the messages of a call.

use std::sync::Arc;

use futures_util::stream;
use tokio::sync::watch;
use tonic::Status;
use weft_model::{Published, Subscription};

use super::reply::{Message, Messages};

/// Becomes true when the control plane stops.
pub type Stopping = watch::Receiver<bool>;

/// The messages of a call that follows a view: one for the view as it is, then one for the newest there is
/// whenever the transport has room for it. `render` says what is sent for a view; `None` sends nothing.
///
/// Ends when `render` fails, and with `UNAVAILABLE` when the control plane stops: the proxy asks again, and keeps
/// what it knows meanwhile.
pub fn follow<V>(
    subscription: Subscription<V>,
    stopping: Stopping,
    render: impl FnMut(&Arc<Published<V>>) -> Result<Option<Message>, Status> + Send + 'static,
) -> Messages
where
    V: Send + Sync + 'static,
{
    let state = State { subscription, stopping, render, begun: false, ended: false };
    Box::pin(stream::unfold(state, |mut state| async move {
        let message = state.next().await?;
        Some((message, state))
    }))
}

struct State<V, F> {
    subscription: Subscription<V>,
    stopping: Stopping,
    render: F,
    begun: bool,
    ended: bool,
}

impl<V, F> State<V, F>
where
    F: FnMut(&Arc<Published<V>>) -> Result<Option<Message>, Status>,
{
    async fn next(&mut self) -> Option<Result<Message, Status>> {
        while !self.ended {
            let published = if self.begun {
                tokio::select! {
                    published = self.subscription.changed() => published,
                    () = stopped(&mut self.stopping) => {
                        self.ended = true;
                        return Some(Err(Status::unavailable("the control plane is stopping")));
                    }
                }
            } else {
                self.begun = true;
                self.subscription.latest()
            };
            match (self.render)(&published) {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => {}
                Err(status) => {
                    self.ended = true;
                    return Some(Err(status));
                }
            }
        }
        None
    }
}

/// Resolves when the control plane stops.
pub async fn stopped(stopping: &mut Stopping) {
    // An error means that whoever would say so is gone, which is the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
