//! What the control thread has to say to a worker: the latest answer about each subject.
//!
//! A worker that is slow to look gets fewer answers, never a longer queue: the mailbox holds at most one answer for each
//! subject that the worker has asked about, its identity, and a flag or two.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use weft_engine::io::{Answer, Subject};

pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    /// Readable while there is mail.
    wake: OwnedFd,
}

/// What was in a mailbox.
#[derive(Default)]
pub(super) struct Mail {
    /// In order of the first answer about each.
    order: Vec<Key>,
    latest: HashMap<Key, Answer>,
    /// Accepting shall begin.
    pub(super) accept: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    About(Subject),
    Identity,
    Drain,
}

impl Key {
    fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Discovered { target, .. } => Self::About(Subject::Target(*target)),
            Answer::Endpoints { path, .. } => Self::About(Subject::Path(path.clone())),
            Answer::Port { port, .. } => Self::About(Subject::Port(*port)),
            Answer::Identity(_) => Self::Identity,
            Answer::Drain => Self::Drain,
        }
    }
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { mail: Mutex::default(), wake })
    }

    pub(super) fn post(&self, answer: Answer) {
        self.put(|mail| {
            let key = Key::of(&answer);
            if mail.latest.insert(key.clone(), answer).is_none() {
                mail.order.push(key);
            }
        });
    }

    pub(super) fn accept(&self) {
        self.put(|mail| mail.accept = true);
    }

    /// Everything there is. To be called when the descriptor is readable.
    pub(super) fn take(&self) -> Mail {
        // First the descriptor: what is posted in between is taken now, and at worst wakes the worker for nothing.
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
        std::mem::take(&mut self.mail())
    }

    fn put(&self, put: impl FnOnce(&mut Mail)) {
        let mut mail = self.mail();
        let was_empty = mail.is_empty();
        put(&mut mail);
        drop(mail);
        if was_empty {
            // Cannot fail: the counter is far from its end.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.order.is_empty() && !self.accept
    }

    pub(super) fn answers(self) -> impl Iterator<Item = Answer> {
        let Self { order, mut latest, .. } = self;
        order.into_iter().filter_map(move |key| latest.remove(&key))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weft_engine::io::DiscoverError;

    use super::*;

    fn failed(port: u16, reason: &str) -> Answer {
        let target = ([10, 0, 0, 1], port).into();
        Answer::Discovered { target, policy: Err(DiscoverError { reason: reason.into() }) }
    }

    fn shown(answer: &Answer) -> String {
        match answer {
            Answer::Discovered { target, policy: Err(error) } => {
                format!("{}:{}", target.port(), error.reason)
            }
            Answer::Drain => "drain".to_owned(),
            other => panic!("{other:?}"),
        }
    }

    fn readable(mailbox: &Mailbox) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut fds = [PollFd::new(mailbox, PollFlags::IN)];
        poll(&mut fds, Some(&rustix::event::Timespec::default())).unwrap() == 1
    }

    #[test]
    fn only_the_latest_of_each_subject_is_kept() {
        let mailbox = Mailbox::new().unwrap();
        assert!(!readable(&mailbox));
        for round in 0..1000 {
            mailbox.post(failed(1, &format!("{round}")));
            mailbox.post(failed(2, "b"));
        }
        mailbox.post(Answer::Drain);
        assert!(readable(&mailbox));
        assert_eq!(mailbox.mail().latest.len(), 3);
        let mail = mailbox.take();
        assert!(!mail.accept && !readable(&mailbox));
        assert_eq!(
            mail.answers().map(|answer| shown(&answer)).collect::<Vec<_>>(),
            ["1:999", "2:b", "drain"]
        );
        assert!(mailbox.take().is_empty());

        mailbox.accept();
        assert!(readable(&mailbox) && mailbox.take().accept && !readable(&mailbox));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        let poster = Arc::clone(&mailbox);
        let thread = std::thread::spawn(move || {
            for round in 0..10_000 {
                poster.post(failed(round % 7, &format!("{round}")));
            }
            poster.post(Answer::Drain);
        });
        let mut last = vec![String::new(); 7];
        'all: loop {
            while !readable(&mailbox) {
                std::thread::yield_now();
            }
            for answer in mailbox.take().answers() {
                if matches!(answer, Answer::Drain) {
                    break 'all;
                }
                let shown = shown(&answer);
                let (port, round) = shown.split_once(':').unwrap();
                last[port.parse::<usize>().unwrap()] = round.to_owned();
            }
        }
        thread.join().unwrap();
        for (port, round) in last.iter().enumerate() {
            let latest = (0..10_000).rev().find(|round| round % 7 == port).unwrap();
            assert_eq!(*round, latest.to_string());
        }
    }
}
