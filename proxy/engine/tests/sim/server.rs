//! Applications that do what requests ask of them, and look at every byte.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::abuser::{fault, frame};
use crate::book::Book;
use crate::http::{Got, Http};
use crate::net::{Net, Read};
use crate::raw::{BANNER, OF_SERVER, Pace, Raw};
use crate::rng::{Rng, is_patterned, patterned};
use crate::services::client_of;
use crate::spec::{
    ABORT, AWAY, BREAK, CLOSE, EARLY, EXPECT, FAILS, FLAKY, GRPC, HALF_WAY, HOLD, INTERIM, NARROW, REFUSE,
    SLOW_FIRST, Spec, TOO_LONG, TRAILERS, UNTIL_CLOSE, UPGRADE,
};

const MS: u64 = 1_000_000;

struct Answer {
    stream: u32,
    spec: Spec,
    received: usize,
    ended: bool,
    at: u64,
    interim: bool,
    head: bool,
    waited: bool,
    sent: usize,
}

enum Talk {
    Unknown(Vec<u8>),
    Http(Box<Http>),
    Raw(Raw),
}

pub(crate) struct Server {
    pub(crate) sock: usize,
    talk: Talk,
    answers: Vec<Answer>,
    /// Requests on streams whose answer is written; not all of it may have arrived.
    written: Vec<u32>,
    pace: Pace,
    output: VecDeque<u8>,
    close_after: bool,
    /// Nothing is read until then, and then the connection is cut.
    held: Option<u64>,
    /// What it is to say, and when.
    says: VecDeque<(u64, Vec<u8>)>,
    /// It has broken HTTP/2, and answers nothing more.
    broken: Option<Broken>,
    /// No stream behind this one is served.
    last_stream: Option<u32>,
    /// It has said, the other way, that it takes no more.
    shut_down: bool,
    pub(crate) gone: bool,
    client: Option<&'static str>,
    /// There are clients that do not speak HTTP.
    strangers: bool,
    /// It has had a request.
    seen: bool,
}

/// How a connection ends that its server has broken.
#[derive(Clone, Copy)]
struct Broken {
    /// Reads nothing before it leaves.
    deaf: bool,
    leaves: u64,
    cut: bool,
}

impl Server {
    pub(crate) fn new(sock: usize, to: SocketAddr, strangers: bool, rng: &mut Rng) -> Self {
        let mut this = Self {
            sock,
            talk: Talk::Unknown(Vec::new()),
            answers: Vec::new(),
            written: Vec::new(),
            pace: Pace::new(rng),
            output: VecDeque::new(),
            close_after: false,
            held: None,
            says: VecDeque::new(),
            broken: None,
            last_stream: None,
            shut_down: false,
            gone: false,
            client: client_of(to.ip()),
            strangers,
            seen: false,
        };
        if to.port() >= 9000 {
            this.talk = Talk::Raw(Raw { expects_hello: to.port() == 9003, ..Raw::default() });
        }
        if to.port() == 9001 {
            this.output.extend(BANNER);
        }
        this
    }

    pub(crate) fn next_time(&self, net: &Net) -> Option<u64> {
        let now = net.now;
        let answer = self.answers.iter().filter(|a| a.at > now).map(|a| a.at).min();
        let pace = (self.pace.next > now && net.readable(self.sock)).then_some(self.pace.next);
        let pace = pace.filter(|_| !self.broken.is_some_and(|b| b.deaf));
        let says = self.says.front().map(|s| s.0);
        [answer, pace, self.held, says, self.broken.map(|b| b.leaves)].into_iter().flatten().min()
    }

    pub(crate) fn step(&mut self, net: &mut Net, book: &mut Book) -> bool {
        if self.gone {
            return false;
        }
        if let Some(until) = self.held {
            if net.now >= until || net.is_reset(self.sock) {
                self.leave(net, true);
                return true;
            }
            return false;
        }
        let mut moved = self.says_what_is_due(net.now);
        if let Some(broken) = self.broken {
            if net.is_reset(self.sock) || net.now >= broken.leaves {
                // What came is looked at, for the book.
                let mut buf = vec![0; 1 << 20];
                while let Read::Data(n) = net.read(self.sock, &mut buf) {
                    self.receive(net, book, &buf[..n]);
                }
                self.leave(net, broken.cut);
                return true;
            }
            if broken.deaf {
                return moved | self.flush(net);
            }
        }
        let most = self.pace.turn(net.now);
        if most > 0 && net.readable(self.sock) {
            let mut buf = vec![0; most];
            match net.read(self.sock, &mut buf) {
                Read::Data(n) => {
                    moved = true;
                    self.receive(net, book, &buf[..n]);
                }
                Read::End => moved |= self.end(net, book),
                Read::Reset => {
                    self.leave(net, true);
                    return true;
                }
                Read::Nothing => {}
            }
        }
        if self.gone {
            return true;
        }
        moved |= self.answer(net, book);
        moved |= self.flush(net);
        moved
    }

    fn receive(&mut self, net: &mut Net, book: &mut Book, bytes: &[u8]) {
        if let Talk::Unknown(seen) = &mut self.talk {
            seen.extend_from_slice(bytes);
            let preface = weft_http::h2::PREFACE;
            let n = seen.len().min(preface.len());
            if seen[..n] == preface[..n] && n < preface.len() {
                return;
            }
            let mut http = if seen.len() >= preface.len() && seen.starts_with(preface) {
                Http::h2(true, net.now)
            } else {
                Http::h1(true)
            };
            http.input = std::mem::take(seen);
            self.talk = Talk::Http(Box::new(http));
        } else {
            match &mut self.talk {
                Talk::Http(http) => http.input.extend_from_slice(bytes),
                Talk::Raw(raw) => raw.receive(bytes, book, true),
                Talk::Unknown(_) => {}
            }
        }
        self.understand(net, book);
    }

    fn understand(&mut self, net: &mut Net, book: &mut Book) {
        // What is left after one message may be the next, if that one is answered already.
        while let Talk::Http(http) = &self.talk {
            let before = http.input.len();
            self.understand_some(net, book);
            let Talk::Http(http) = &self.talk else { return };
            if http.input.is_empty() || http.input.len() == before || !self.answers.is_empty() {
                return;
            }
        }
    }

    fn understand_some(&mut self, net: &mut Net, book: &mut Book) {
        let Talk::Http(http) = &mut self.talk else { return };
        for got in http.next(net.now) {
            match got {
                Got::Head { stream, path, spec, client_id, .. } => {
                    let Some(spec) = spec.filter(|s| s.path().as_bytes() == path) else {
                        let path = String::from_utf8_lossy(&path);
                        book.wrong(format!("a server got a path that nobody sent: {path:?}, {spec:?}"));
                        continue;
                    };
                    self.begins(net.now, book, stream, spec, client_id.as_deref());
                    let Talk::Http(_) = &self.talk else { return };
                }
                Got::Data { stream, bytes } => self.content(book, stream, &bytes),
                Got::End { stream, .. } => {
                    if let Some(a) = self.answers.iter_mut().find(|a| a.stream == stream) {
                        // What comes after an upgrade is no content of the request.
                        a.ended = !a.spec.has(UPGRADE);
                        if a.received != a.spec.request && !a.spec.has(UPGRADE) {
                            book.wrong(format!("request {}: ended after {} bytes", a.spec.id, a.received));
                        }
                    }
                }
                Got::Reset { stream } => self.answers.retain(|a| a.stream != stream),
                // What is no HTTP is carried as it is, and so are resets: too many of them are the client's.
                Got::Broken(e) if self.strangers && (!self.seen || e.contains("resets")) => {
                    // Of other clients' requests there is only this connection.
                    book.broken += 1;
                    self.strikes(book);
                    return self.leave(net, true);
                }
                // It says how the server broke it.
                Got::Broken(_) | Got::GoAway if self.broken.is_some() => {}
                Got::Broken(e) => {
                    book.wrong(format!("the proxy broke the protocol towards a server: {e}"));
                }
                Got::GoAway | Got::Interim { .. } | Got::Upgraded => {}
            }
            let Talk::Http(_) = &self.talk else { return };
        }
    }

    fn begins(&mut self, now: u64, book: &mut Book, stream: u32, spec: Spec, client: Option<&str>) {
        let Talk::Http(http) = &mut self.talk else { return };
        let mut spec = spec;
        if self.broken.is_some() || self.last_stream.is_some_and(|last| stream > last) {
            if self.broken.is_none() {
                *book.unseen.entry(spec.id).or_default() += 1;
                return;
            }
            // It may have been seen.
            *book.struck.entry(spec.id).or_default() += 1;
            *book.seen.entry(spec.id).or_default() += 1;
            return;
        }
        if spec.has(AWAY) && http.is_h2() && !self.shut_down && book.away.insert(spec.id) {
            // Seen or not seen; or only announced (section 6.8).
            let last = [stream.saturating_sub(2), stream, 0x7fff_ffff][spec.id as usize % 3];
            let mut payload = last.to_be_bytes().to_vec();
            payload.extend_from_slice(&[0; 4]);
            frame(&mut http.output, 7, 0, 0, &payload);
            self.last_stream = Some(last);
            if stream > last {
                *book.unseen.entry(spec.id).or_default() += 1;
                return;
            }
        }
        if spec.has(NARROW) && http.is_h2() {
            let window = [0, 1, 1_000][spec.id as usize % 3];
            frame(&mut http.output, 4, 0, 0, &settings(window, 1));
            let limits = weft_http::limits::Limits::default().http2;
            let mut back = Vec::new();
            let (window, streams) = (limits.stream_window_bytes, limits.max_concurrent_streams);
            frame(&mut back, 4, 0, 0, &settings(window, streams));
            self.says.push_back((now + 60 * MS, back));
        }
        if spec.has(REFUSE) && http.is_h2() && !book.refused.contains_key(&spec.id) {
            *book.refused.entry(spec.id).or_default() += 1;
            return http.refuse(stream);
        }
        self.seen = true;
        let times = book.seen.entry(spec.id).or_default();
        *times += 1;
        let times = *times;
        // A stranger to the mesh may have sent it.
        if client != self.client && !(self.strangers && client.is_none()) {
            book.wrong(format!("request {}: the client's identity was given as {client:?}", spec.id));
        }
        if spec.has(FLAKY) && times <= 2 {
            spec.status = 503;
            spec.response /= 2;
        }
        if spec.has(BREAK) && http.is_h2() {
            return self.breaks(now, book, stream, &spec);
        }
        let mut wait = if spec.has(HALF_WAY) { 0 } else { spec.delay };
        if spec.has(SLOW_FIRST) && times == 1 {
            wait = TOO_LONG;
        }
        if spec.has(HOLD) && !http.is_h2() {
            // Half of them longer than a proxy bears with it.
            self.held = Some(now + if spec.id.is_multiple_of(2) { 20_000 } else { 400_000 } * MS);
        }
        if spec.has(EXPECT) {
            http.send_response(stream, &spec, Some(100));
        }
        self.answers.push(Answer {
            stream,
            spec,
            received: 0,
            ended: false,
            at: now + wait * MS,
            interim: false,
            head: false,
            waited: false,
            sent: 0,
        });
    }

    /// Breaks HTTP/2, at once or when what is on its way has piled up, and leaves later.
    fn breaks(&mut self, now: u64, book: &mut Book, stream: u32, spec: &Spec) {
        let id = spec.id;
        book.broken += 1;
        *book.struck.entry(id).or_default() += 1;
        self.strikes(book);
        let mut rng = Rng::new(u64::from(id) << 32 ^ spec.response as u64);
        self.says.clear();
        self.says.push_back((now + rng.pick(&[0, 2, 20]) * MS, fault(rng.next() as u32, stream)));
        let leaves = now + rng.pick(&[30, 200, 1_000, 9_000]) * MS;
        self.broken = Some(Broken { deaf: !rng.one_in(3), leaves, cut: rng.one_in(2) });
    }

    /// Notes whom the end of this connection takes down with it.
    fn strikes(&mut self, book: &mut Book) {
        let arriving = self.written.drain(..).filter(|id| !book.outcomes.contains_key(id));
        let ids: Vec<_> = self.answers.drain(..).map(|a| a.spec.id).chain(arriving).collect();
        for id in ids {
            *book.struck.entry(id).or_default() += 1;
        }
    }

    fn says_what_is_due(&mut self, now: u64) -> bool {
        let mut any = false;
        while let Some((_, bytes)) = self.says.pop_front_if(|(at, _)| *at <= now) {
            if let Talk::Http(http) = &mut self.talk {
                http.output.extend(bytes);
            }
            any = true;
        }
        any
    }

    fn content(&mut self, book: &mut Book, stream: u32, bytes: &[u8]) {
        let Talk::Http(http) = &mut self.talk else { return };
        let Some(a) = self.answers.iter_mut().find(|a| a.stream == stream) else {
            return http.credit(stream, bytes.len());
        };
        if !a.spec.has(HOLD) {
            http.credit(stream, bytes.len());
        }
        let id = a.spec.id;
        if !is_patterned(id, a.received, bytes) {
            book.wrong(format!("request {id}: content differs"));
        }
        a.received += bytes.len();
        if a.received > a.spec.request {
            book.wrong(format!("request {id}: {} bytes of {}", a.received, a.spec.request));
        }
    }

    fn end(&mut self, net: &mut Net, book: &mut Book) -> bool {
        match &mut self.talk {
            Talk::Raw(raw) if !raw.ended => {
                raw.ended = true;
                if raw.known && raw.received != raw.to_come {
                    let (id, received, all) = (raw.id, raw.received, raw.to_come);
                    book.wrong(format!("raw {id}: a clean end after {received} of {all} bytes"));
                } else if !raw.known {
                    // Nobody who had anything to say.
                    self.leave(net, false);
                }
                true
            }
            Talk::Raw(_) => false,
            _ if self.answers.iter().any(|a| a.spec.has(UPGRADE)) => false,
            _ => {
                self.leave(net, false);
                true
            }
        }
    }

    fn answer(&mut self, net: &mut Net, book: &mut Book) -> bool {
        let now = net.now;
        if let Talk::Raw(raw) = &mut self.talk {
            let ready = raw.known && (!raw.polite || raw.ended);
            let before = raw.sent;
            while ready && raw.sent < raw.to_send && self.output.len() < 30_000 {
                let n = (raw.to_send - raw.sent).min(10_000);
                self.output.extend(patterned(raw.id ^ OF_SERVER, raw.sent, n));
                raw.sent += n;
            }
            if ready && raw.sent == raw.to_send && raw.ended && self.output.is_empty() && !raw.finished {
                raw.finished = true;
                self.close_after = true;
                return true;
            }
            return raw.sent > before;
        }
        let Talk::Http(http) = &mut self.talk else { return false };
        let (mut moved, mut cut, mut close) = (false, false, false);
        let mut done = Vec::new();
        for (i, a) in self.answers.iter_mut().enumerate() {
            if a.at > now || !(a.ended || a.spec.has(EARLY) || a.spec.has(UPGRADE)) {
                continue;
            }
            let spec = a.spec;
            if spec.has(INTERIM) && !a.interim {
                a.interim = true;
                http.send_response(a.stream, &spec, Some(103));
            }
            if !a.head {
                a.head = true;
                moved = true;
                http.send_response(a.stream, &spec, None);
            }
            match a.content_of_response(http, now) {
                Progress::Waits(some) => {
                    moved |= some;
                    continue;
                }
                Progress::Cut if http.is_h2() => http.reset(a.stream),
                Progress::Cut => cut = true,
                Progress::Whole => {
                    if spec.has(UPGRADE) {
                        if !a.ended && a.received < spec.request {
                            continue;
                        }
                        close = true;
                    }
                    close |= spec.has(CLOSE) || spec.has(UNTIL_CLOSE) && !spec.is_bodyless() && !http.is_h2();
                }
            }
            moved = true;
            done.push(i);
        }
        for i in done.into_iter().rev() {
            let answer = self.answers.remove(i);
            if http.is_h2() {
                self.written.push(answer.spec.id);
            }
        }
        if close && http.is_h2() && self.last_stream.is_none() {
            self.shut_down = true;
            http.shut_down(now);
        }
        self.close_after |= close && !http.is_h2();
        let out = std::mem::take(&mut http.output);
        self.output.extend(out);
        if cut {
            self.flush(net);
            self.leave(net, true);
        } else if moved {
            self.understand(net, book);
        }
        moved
    }

    fn flush(&mut self, net: &mut Net) -> bool {
        let mut finished = false;
        if let Talk::Http(http) = &mut self.talk {
            let out = std::mem::take(&mut http.output);
            self.output.extend(out);
            // Whoever closes before the peer has, loses what is on its way (RFC 9113 6.8): the peer goes first.
            finished = http.is_finished() && net.has_ended(self.sock);
        }
        let mut moved = false;
        while !self.output.is_empty() && !self.gone {
            let bytes = self.output.make_contiguous();
            match net.write(self.sock, bytes) {
                None => {
                    self.leave(net, true);
                    return true;
                }
                Some(0) => return moved,
                Some(n) => {
                    self.output.drain(..n);
                    moved = true;
                }
            }
        }
        if self.close_after || finished {
            self.leave(net, false);
            return true;
        }
        moved
    }

    fn leave(&mut self, net: &mut Net, cut: bool) {
        if !std::mem::replace(&mut self.gone, true) {
            self.held = None;
            self.answers.clear();
            if cut { net.reset(self.sock) } else { net.close(self.sock) }
        }
    }
}

/// INITIAL_WINDOW_SIZE and MAX_CONCURRENT_STREAMS.
fn settings(window: u32, streams: u32) -> Vec<u8> {
    let mut payload = vec![0, 4];
    payload.extend_from_slice(&window.to_be_bytes());
    payload.extend_from_slice(&[0, 3]);
    payload.extend_from_slice(&streams.to_be_bytes());
    payload
}

enum Progress {
    /// For time, or for room; whether something was sent.
    Waits(bool),
    Whole,
    /// The rest is not sent.
    Cut,
}

impl Answer {
    fn content_of_response(&mut self, http: &mut Http, now: u64) -> Progress {
        let spec = self.spec;
        let whole = spec.expected();
        let half = whole / 2;
        let mut moved = false;
        if whole == 0 && http.is_h2() && !spec.has(TRAILERS | GRPC) {
            // The head was the end.
            return Progress::Whole;
        }
        while self.sent < whole {
            if self.sent >= half && spec.has(ABORT) {
                return Progress::Cut;
            }
            if self.sent >= half && spec.has(HALF_WAY) && !self.waited {
                self.waited = true;
                self.at = now + spec.delay * MS;
                return Progress::Waits(true);
            }
            if http.output.len() >= 100_000 {
                return Progress::Waits(moved);
            }
            let stop = spec.has(ABORT) || spec.has(HALF_WAY) && !self.waited;
            let most = if stop && self.sent < half { half - self.sent } else { whole - self.sent };
            let n = most.min(20_000);
            let taken = http.send_data(self.stream, &patterned(spec.id ^ 0x4000_0000, self.sent, n), now);
            self.sent += taken;
            moved |= taken > 0;
            if taken < n {
                return Progress::Waits(moved);
            }
        }
        if !spec.has(UPGRADE) {
            let grpc = spec.has(GRPC).then_some(if spec.has(FAILS) { 13 } else { 0 });
            http.send_end(self.stream, spec.has(TRAILERS), grpc);
        }
        Progress::Whole
    }
}
