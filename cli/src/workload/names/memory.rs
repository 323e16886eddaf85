//! What to do with questions and answers: passed on while the server answers, answered from memory when it does not.
//! Pure: messages and the time go in, messages come out.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long the server may take before memory answers.
const PATIENCE: Duration = Duration::from_millis(800);
/// Questions that wait for the server; a further one is not heard.
const MAX_WAITING: usize = 256;
/// Answers remembered; the oldest makes room.
const MAX_REMEMBERED: usize = 1_024;

/// The head of a message (RFC 1035 section 4.1.1).
const HEAD: usize = 12;
const RESPONSE: u8 = 0x80;
const CODE: u8 = 0x0f;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// To the server.
    Ask(Vec<u8>),
    /// To a client.
    Tell(Vec<u8>, SocketAddr),
}

/// Questions that wait, and answers of before.
#[derive(Debug, Default)]
pub(super) struct Memory {
    waiting: HashMap<u16, Waiting>,
    /// In the order they were asked, which is the order they expire in.
    order: VecDeque<(Instant, u16)>,
    next: u16,
    answers: HashMap<Vec<u8>, Vec<u8>>,
    oldest: VecDeque<Vec<u8>>,
    /// The server did not answer lately: memory answers at once, and the server is asked all the same.
    away: bool,
}

#[derive(Debug)]
struct Waiting {
    question: Vec<u8>,
    client: SocketAddr,
    until: Instant,
    /// Its client has its answer.
    told: bool,
}

impl Memory {
    /// A client asks.
    pub(super) fn asked(&mut self, message: &[u8], client: SocketAddr, now: Instant) -> Vec<Action> {
        let Some(key) = key(message).filter(|_| !is_response(message)) else { return Vec::new() };
        let told = self.away && self.answers.contains_key(&key);
        let mut waiting = Waiting { question: message.to_vec(), client, until: now + PATIENCE, told: false };
        let mut actions: Vec<_> =
            if told { self.remembered(&waiting).into_iter().collect() } else { Vec::new() };
        if self.waiting.len() >= MAX_WAITING {
            return actions;
        }
        while self.waiting.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        waiting.told = told;
        self.order.push_back((waiting.until, number));
        self.waiting.insert(number, waiting);
        actions.push(Action::Ask(with_number(message, number)));
        actions
    }

    /// The server answers.
    pub(super) fn answered(&mut self, message: &[u8]) -> Option<Action> {
        let waiting = self.waiting.get(&number(message)?)?;
        let key = key(message)?;
        // An answer to something else is no answer.
        if !is_response(message) || key != self::key(&waiting.question)? {
            return None;
        }
        let waiting = self.waiting.remove(&number(message)?)?;
        self.away = false;
        let code = message.get(3).map_or(SERVER_FAILURE, |flags| flags & CODE);
        if code == 0 || code == NO_SUCH_NAME {
            self.remember(key, message.to_vec());
        }
        if waiting.told {
            return None;
        }
        Some(Action::Tell(with_number(message, number(&waiting.question)?), waiting.client))
    }

    /// Nobody listens where the server should be.
    pub(super) fn refused(&mut self) -> Vec<Action> {
        self.away = true;
        self.order.clear();
        let all: Vec<_> = self.waiting.drain().map(|(_, waiting)| waiting).collect();
        all.iter().filter(|waiting| !waiting.told).filter_map(|waiting| self.remembered(waiting)).collect()
    }

    /// Time has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((until, number)) = self.order.front().copied() {
            if until > now {
                break;
            }
            self.order.pop_front();
            // Answered meanwhile, and the number perhaps given again.
            if self.waiting.get(&number).is_some_and(|waiting| waiting.until == until)
                && let Some(waiting) = self.waiting.remove(&number)
            {
                self.away = true;
                if !waiting.told {
                    actions.extend(self.remembered(&waiting));
                }
            }
        }
        actions
    }

    /// When [`Memory::expired`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    fn remember(&mut self, key: Vec<u8>, answer: Vec<u8>) {
        if self.answers.insert(key.clone(), answer).is_none() {
            self.oldest.push_back(key);
        }
        if self.answers.len() > MAX_REMEMBERED
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }

    /// What was answered before; where nothing was, that there is no answer now.
    fn remembered(&self, waiting: &Waiting) -> Option<Action> {
        let question = &waiting.question;
        let key = key(question)?;
        let answer = match self.answers.get(&key) {
            Some(answer) => {
                let mut answer = with_number(answer, number(question)?);
                // Spelt as it was asked this time.
                let name = HEAD..HEAD + key.len();
                answer.get_mut(name.clone())?.copy_from_slice(question.get(name)?);
                answer
            }
            None => {
                let mut failure = question.get(..HEAD + key.len())?.to_vec();
                failure.get_mut(2).map(|flags| *flags |= RESPONSE)?;
                failure.get_mut(3).map(|flags| *flags = (*flags & !CODE) | SERVER_FAILURE)?;
                // Nothing follows the question.
                failure.get_mut(6..HEAD)?.fill(0);
                failure
            }
        };
        Some(Action::Tell(answer, waiting.client))
    }
}

fn number(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(..2)?.try_into().ok()?))
}

fn with_number(message: &[u8], number: u16) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    message
}

fn is_response(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & RESPONSE != 0)
}

/// The question, in lower case: name, type and class. None if there is not exactly one.
fn key(message: &[u8]) -> Option<Vec<u8>> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEAD;
    loop {
        match usize::from(*message.get(at)?) {
            0 => break,
            // A question does not point elsewhere (RFC 1035 section 4.1.4: to prior occurrences, and there are none).
            64.. => return None,
            label => at += 1 + label,
        }
    }
    Some(message.get(HEAD..at + 5)?.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u16, flags: [u8; 2], name: &str, rest: &[u8]) -> Vec<u8> {
        let mut message = number.to_be_bytes().to_vec();
        message.extend_from_slice(&flags);
        message.extend_from_slice(&[0, 1, 0, u8::from(!rest.is_empty()), 0, 0, 0, 0]);
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.extend_from_slice(&[0, 0, 1, 0, 1]);
        message.extend_from_slice(rest);
        message
    }

    fn question(number: u16, name: &str) -> Vec<u8> {
        message(number, [1, 0], name, b"")
    }

    const CLIENT: &str = "127.0.0.1:1000";

    fn ask(memory: &mut Memory, question: &[u8], now: Instant) -> Vec<u8> {
        match &memory.asked(question, CLIENT.parse().unwrap(), now)[..] {
            [Action::Ask(asked)] => asked.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn told(action: Option<Action>) -> Vec<u8> {
        match action {
            Some(Action::Tell(message, client)) if client.to_string() == CLIENT => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_pass_under_the_number_that_was_asked_with() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let first = ask(&mut memory, &question(7, "shop.default"), now);
        let second = ask(&mut memory, &question(7, "feed.default"), now);
        assert_ne!(number(&first), number(&second));
        let answer = message(number(&second).unwrap(), [0x81, 0x80], "feed.default", b"address");
        assert_eq!(told(memory.answered(&answer)), message(7, [0x81, 0x80], "feed.default", b"address"));
        assert_eq!(memory.answered(&answer), None, "once");
        let other = message(number(&first).unwrap(), [0x81, 0x80], "evil.default", b"address");
        assert_eq!(memory.answered(&other), None, "to another question");
        assert_eq!(memory.waiting.len(), 1);
    }

    #[test]
    fn memory_answers_when_the_server_does_not() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let asked = ask(&mut memory, &question(1, "shop.default"), now);
        told(memory.answered(&message(number(&asked).unwrap(), [0x81, 0x80], "shop.default", b"address")));
        // Nobody there: at once.
        ask(&mut memory, &question(2, "ShOp.default"), now);
        let answer = told(memory.refused().pop());
        assert_eq!(answer, message(2, [0x81, 0x80], "ShOp.default", b"address"));
    }

    #[test]
    fn a_server_that_is_away_is_waited_for_once() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let client = CLIENT.parse().unwrap();
        let asked = ask(&mut memory, &question(1, "shop.default"), now);
        told(memory.answered(&message(number(&asked).unwrap(), [0x81, 0x80], "shop.default", b"address")));
        ask(&mut memory, &question(3, "shop.default"), now);
        assert_eq!(memory.expired(now), []);
        assert_eq!(memory.next_deadline(), Some(now + PATIENCE));
        let answer = told(memory.expired(now + PATIENCE).pop());
        assert_eq!(answer, message(3, [0x81, 0x80], "shop.default", b"address"));
        assert_eq!(memory.next_deadline(), None);
        // From now on at once; and the server is asked, whose answer ends that.
        let mut actions = memory.asked(&question(4, "shop.default"), client, now);
        let Some(Action::Ask(asked)) = actions.pop() else { panic!("{actions:?}") };
        assert_eq!(told(actions.pop()), message(4, [0x81, 0x80], "shop.default", b"address"));
        let again = message(number(&asked).unwrap(), [0x81, 0x80], "shop.default", b"another");
        assert_eq!(memory.answered(&again), None, "the client has its answer");
        let asked = ask(&mut memory, &question(5, "shop.default"), now);
        let answer = message(number(&asked).unwrap(), [0x81, 0x80], "shop.default", b"another");
        assert_eq!(told(memory.answered(&answer)), message(5, [0x81, 0x80], "shop.default", b"another"));
    }

    #[test]
    fn what_was_never_answered_fails() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let asked = ask(&mut memory, &question(1, "shop.default"), now);
        // A server's failure is passed on and not remembered.
        told(memory.answered(&message(number(&asked).unwrap(), [0x81, 0x82], "shop.default", b"")));
        ask(&mut memory, &question(9, "shop.default"), now);
        let answer = told(memory.refused().pop());
        assert_eq!(answer, message(9, [0x81, 0x02], "shop.default", b""));
    }

    #[test]
    fn bounds() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for number in 0..2 * MAX_REMEMBERED {
            let name = format!("name-{number}");
            let asked = ask(&mut memory, &question(1, &name), now);
            told(memory.answered(&message(super::number(&asked).unwrap(), [0x81, 0x80], &name, b"a")));
        }
        assert_eq!((memory.answers.len(), memory.oldest.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        for _ in 0..MAX_WAITING {
            ask(&mut memory, &question(1, "a"), now);
        }
        assert_eq!(memory.asked(&question(1, "a"), CLIENT.parse().unwrap(), now), []);
        assert_eq!(memory.expired(now + PATIENCE).len(), MAX_WAITING);
        assert!(memory.order.is_empty() && memory.waiting.is_empty());
    }

    #[test]
    fn what_is_no_question_is_not_passed_on() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let whole = question(1, "shop.default");
        for end in 0..whole.len() {
            assert_eq!(memory.asked(&whole[..end], CLIENT.parse().unwrap(), now), [], "{end}");
        }
        let response = message(1, [0x81, 0x80], "shop.default", b"");
        assert_eq!(memory.asked(&response, CLIENT.parse().unwrap(), now), []);
        let mut pointer = whole;
        pointer[HEAD] = 0xc0;
        assert_eq!(memory.asked(&pointer, CLIENT.parse().unwrap(), now), []);
    }
}
