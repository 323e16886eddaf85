//! The control plane's side: what it answers, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_engine::io::{Answer, DiscoverError, Question, Subject};

use crate::rng::Rng;
use crate::services::{FIXED_PORTS, endpoints, policy, port_policy};

const MS: u64 = 1_000_000;

pub(crate) struct Control {
    pub(crate) rng: Rng,
    pub(crate) answers: BTreeMap<(u64, u64), (usize, Answer)>,
    seq: u64,
    /// Nothing is answered before.
    pub(crate) silent_until: u64,
    /// Discoveries fail until then.
    pub(crate) fails_until: u64,
    /// Which of the endpoints of each path are there.
    mask: u8,
    variant: bool,
    denied: bool,
    /// What the workers want to hear of.
    subscribed: BTreeSet<(usize, String)>,
    questions: Vec<(usize, Question)>,
}

impl Control {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            answers: BTreeMap::new(),
            seq: 0,
            silent_until: 0,
            fails_until: 0,
            mask: 0x7f,
            variant: false,
            denied: false,
            subscribed: BTreeSet::new(),
            questions: Vec::new(),
        }
    }

    pub(crate) fn asked(&mut self, me: usize, question: Question, now: u64) {
        if let Question::Forget(subject) = question {
            self.subscribed.remove(&(me, name(&subject)));
            self.questions.retain(|(w, q)| (*w, subject_of(q)) != (me, Some(subject.clone())));
            return;
        }
        let Some(subject) = subject_of(&question) else { return };
        self.subscribed.insert((me, name(&subject)));
        self.answer(me, &question, now);
        self.questions.push((me, question));
    }

    fn answer(&mut self, me: usize, question: &Question, now: u64) {
        let mut at = (now + self.rng.below(20) as u64 * MS).max(self.silent_until);
        if now == 0 {
            // Workers start when what is fixed is known.
            at = 0;
        }
        let answer = match question {
            Question::Discover { target } => {
                let found = policy(*target, self.variant).filter(|_| at >= self.fails_until);
                if found.is_none() {
                    // The answer is the last one.
                    self.subscribed.remove(&(me, name(&Subject::Target(*target))));
                }
                let policy = found.ok_or_else(|| DiscoverError { reason: "not known".into() });
                Answer::Discovered { target: *target, policy }
            }
            Question::Resolve { path } => {
                Answer::Endpoints { path: Arc::clone(path), endpoints: endpoints(path, self.mask) }
            }
            Question::Port { port } => {
                Answer::Port { port: *port, policy: port_policy(*port, self.denied && *port == 8080) }
            }
            Question::Forget(_) => return,
        };
        self.seq += 1;
        self.answers.insert((at, self.seq), (me, answer));
    }

    /// Something has changed: everybody is told again.
    fn tell(&mut self, now: u64, which: impl Fn(&Question) -> bool) {
        let subscribed = self.subscribed.clone();
        let questions = std::mem::take(&mut self.questions);
        let wanted =
            |w: usize, q: &Question| subject_of(q).is_some_and(|s| subscribed.contains(&(w, name(&s))));
        for (me, question) in questions.iter().filter(|q| which(&q.1) && wanted(q.0, &q.1)) {
            self.answer(*me, question, now);
        }
        self.questions = questions;
    }

    pub(crate) fn endpoints_change(&mut self, mask: u8, now: u64) {
        self.mask = mask;
        self.tell(now, |q| matches!(q, Question::Resolve { .. }));
    }

    pub(crate) fn policies_change(&mut self, now: u64) {
        self.variant = !self.variant;
        self.tell(now, |q| matches!(q, Question::Discover { .. }));
    }

    pub(crate) fn deny(&mut self, denied: bool, now: u64) {
        self.denied = denied;
        self.tell(now, |q| matches!(q, Question::Port { .. }));
    }

    /// The next answer that is due.
    pub(crate) fn due(&mut self, now: u64) -> Option<(usize, Answer)> {
        let first = self.answers.first_entry().filter(|e| e.key().0 <= now)?;
        Some(first.remove())
    }

    pub(crate) fn next_time(&self) -> Option<u64> {
        self.answers.keys().next().map(|k| k.0)
    }

    /// What a worker has not said to have forgotten, but for inbound ports that it keeps for ever.
    pub(crate) fn remembered(&self, me: usize) -> Vec<&str> {
        let fixed: Vec<_> = FIXED_PORTS.iter().map(|p| name(&Subject::Port(*p))).collect();
        self.subscribed
            .iter()
            .filter(|(w, n)| *w == me && !fixed.contains(n))
            .map(|(_, name)| name.as_str())
            .collect()
    }
}

fn subject_of(question: &Question) -> Option<Subject> {
    match question {
        Question::Discover { target } => Some(Subject::Target(*target)),
        Question::Resolve { path } => Some(Subject::Path(Arc::clone(path))),
        Question::Port { port } => Some(Subject::Port(*port)),
        Question::Forget(_) => None,
    }
}

fn name(subject: &Subject) -> String {
    format!("{subject:?}")
}
