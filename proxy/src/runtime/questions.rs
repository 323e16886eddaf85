//! The queue of questions from the workers to the control thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use weft_engine::io::{Question, Refused};

/// How many questions of all workers may wait. One more is refused, and what it was asked for fails as load that is shed.
///
/// [`Question::Forget`] is always taken: there is at most one for each subscription, of which the workers have bounds,
/// and losing one would leave a stream open for ever.
pub const MAX_QUESTIONS: usize = 4096;

/// Takes the questions; for the control thread.
pub struct Questions(Arc<Shared>);

/// Asks; one for each worker.
#[derive(Clone)]
pub(super) struct Asker(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<(u32, Question)>>,
    asked: Notify,
}

pub(super) fn channel() -> (Asker, Questions) {
    let shared = Arc::<Shared>::default();
    (Asker(Arc::clone(&shared)), Questions(shared))
}

impl Asker {
    pub(super) fn ask(&self, worker: u32, question: Question) -> Result<(), Refused> {
        let mut queue = self.0.queue();
        if queue.len() >= MAX_QUESTIONS && !matches!(question, Question::Forget(_)) {
            return Err(Refused);
        }
        queue.push_back((worker, question));
        let first = queue.len() == 1;
        drop(queue);
        if first {
            self.0.asked.notify_one();
        }
        Ok(())
    }
}

impl Questions {
    /// The next question, and the number of the worker that asks. Waits for ever if none comes. Safe to cancel.
    pub async fn next(&mut self) -> (u32, Question) {
        loop {
            let next = self.0.queue().pop_front();
            match next {
                Some(asked) => return asked,
                // A question that comes before this is polled leaves a permit.
                None => self.0.asked.notified().await,
            }
        }
    }

    /// How many wait.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a gauge")]
    pub fn len(&self) -> usize {
        self.0.queue().len()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, VecDeque<(u32, Question)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use weft_engine::io::Subject;

    use super::*;

    #[tokio::test]
    async fn questions_come_in_order_and_are_bounded() {
        let (asker, mut questions) = channel();
        for port in 0..MAX_QUESTIONS {
            let port = u16::try_from(port).unwrap();
            asker.ask(1, Question::Port { port }).unwrap();
        }
        assert_eq!(asker.ask(1, Question::Port { port: 9999 }), Err(Refused));
        asker.ask(1, Question::Forget(Subject::Port(0))).unwrap();
        assert_eq!(questions.len(), MAX_QUESTIONS + 1);
        for port in 0..MAX_QUESTIONS {
            let port = u16::try_from(port).unwrap();
            assert_eq!(questions.next().await, (1, Question::Port { port }));
        }
        assert_eq!(questions.next().await, (1, Question::Forget(Subject::Port(0))));
        asker.ask(2, Question::Port { port: 1 }).unwrap();
        assert_eq!(questions.next().await, (2, Question::Port { port: 1 }));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let (asker, mut questions) = channel();
        let waiting = tokio::spawn(async move { questions.next().await });
        std::thread::spawn(move || asker.ask(0, Question::Port { port: 7 })).join().unwrap().unwrap();
        assert_eq!(waiting.await.unwrap(), (0, Question::Port { port: 7 }));
    }
}
