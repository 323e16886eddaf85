//! Applications with a script: clients that ask for what their requests say, servers that do it, and both look at
//! every byte.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::http::{
    ABORT, CHUNKED_REQUEST, CLOSE, EARLY, FLAKY, GRPC, Got, Http, INTERIM, LEAVE, Spec, TRAILERS,
    UNTIL_CLOSE, UPGRADE,
};
use crate::net::{Host, Net, Read, State};
use crate::rng::{Rng, pattern, patterned};

/// What the world has seen happen; what is wrong is written down and fails the seed.
#[derive(Default)]
pub(crate) struct Book {
    /// How often each request's head reached a server.
    pub(crate) seen: BTreeMap<u32, u32>,
    pub(crate) outcomes: BTreeMap<u32, Outcome>,
    pub(crate) wrong: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The whole response came, with this status, from the server or from the proxy.
    Whole { status: u16, by_proxy: bool, failed: bool },
    /// The client knows that something is missing.
    Told,
    /// The client went away by itself.
    Left,
}

impl Book {
    fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    fn ends(&mut self, id: u32, outcome: Outcome) {
        if let Some(before) = self.outcomes.insert(id, outcome) {
            self.wrong(format!("request {id} ended twice: {before:?}, {outcome:?}"));
        }
    }
}

/// How fast somebody reads: so many bytes, then a pause.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    bytes: usize,
    nanos: u64,
    next: u64,
}

impl Pace {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        match rng.below(5) {
            0 => Self { bytes: rng.between(200, 5_000), nanos: 1_000_000, next: 0 },
            1 => Self { bytes: 65_536, nanos: rng.below(4_000_000) as u64, next: 0 },
            _ => Self { bytes: 1 << 20, nanos: 0, next: 0 },
        }
    }

    fn turn(&mut self, now: u64) -> usize {
        if now < self.next {
            return 0;
        }
        self.next = now + self.nanos;
        self.bytes
    }
}

// --- servers

struct Answer {
    stream: u32,
    spec: Spec,
    received: usize,
    ended: bool,
    at: u64,
    interim: bool,
    head: bool,
    sent: usize,
}

enum Talk {
    Unknown(Vec<u8>),
    Http(Box<Http>),
    Raw(Raw),
}

/// Either end of a raw connection: after a line that says how much, patterned bytes both ways.
#[derive(Default)]
struct Raw {
    line: Vec<u8>,
    id: u32,
    to_come: usize,
    to_send: usize,
    received: usize,
    sent: usize,
    known: bool,
    ended: bool,
    finished: bool,
    /// The server waits for the client's end before it sends.
    polite: bool,
}

pub(crate) struct Server {
    pub(crate) sock: usize,
    talk: Talk,
    answers: Vec<Answer>,
    pace: Pace,
    output: VecDeque<u8>,
    close_after: bool,
    pub(crate) gone: bool,
    mesh: bool,
}

pub(crate) const BANNER: &[u8] = b"220 speaks first\n";

impl Server {
    pub(crate) fn new(sock: usize, to: SocketAddr, rng: &mut Rng) -> Self {
        let mut this = Self {
            sock,
            talk: Talk::Unknown(Vec::new()),
            answers: Vec::new(),
            pace: Pace::new(rng),
            output: VecDeque::new(),
            close_after: false,
            gone: false,
            mesh: to.ip().to_string().starts_with("10.1."),
        };
        if to.port() >= 9000 {
            this.talk = Talk::Raw(Raw::default());
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
        [answer, pace].into_iter().flatten().min()
    }

    pub(crate) fn step(&mut self, net: &mut Net, book: &mut Book) -> bool {
        if self.gone {
            return false;
        }
        let mut moved = false;
        let most = self.pace.turn(net.now);
        if most > 0 && net.readable(self.sock) {
            match net.read(self.sock, most) {
                Read::Data(bytes) => {
                    moved = true;
                    self.receive(net, book, &bytes);
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
                Got::Head { stream, path, client_id, .. } => {
                    let Some(spec) = Spec::parse(&path) else {
                        book.wrong(format!(
                            "a server got a path that nobody sent: {:?}",
                            String::from_utf8_lossy(&path)
                        ));
                        continue;
                    };
                    *book.seen.entry(spec.id).or_default() += 1;
                    if self.mesh && client_id.as_deref() != Some(crate::CLIENT) {
                        book.wrong(format!(
                            "request {}: the client's identity was given as {client_id:?}",
                            spec.id
                        ));
                    }
                    let at = net.now + spec.delay * 1_000_000;
                    let mut spec = spec;
                    if spec.has(FLAKY) && book.seen[&spec.id] <= 2 {
                        spec.status = 503;
                        spec.response /= 2;
                    }
                    self.answers.push(Answer {
                        stream,
                        spec,
                        received: 0,
                        ended: false,
                        at,
                        interim: false,
                        head: false,
                        sent: 0,
                    });
                }
                Got::Data { stream, bytes } => {
                    http.credit(stream, bytes.len());
                    let Some(a) = self.answers.iter_mut().find(|a| a.stream == stream) else { continue };
                    let id = a.spec.id;
                    if bytes.iter().enumerate().any(|(i, b)| *b != pattern(id, a.received + i)) {
                        book.wrong(format!("request {id}: content differs"));
                    }
                    a.received += bytes.len();
                    let most = if a.spec.has(UPGRADE) { usize::MAX } else { a.spec.request };
                    if a.received > most {
                        book.wrong(format!("request {id}: {} bytes of {}", a.received, a.spec.request));
                    }
                }
                Got::End { stream, .. } => {
                    if let Some(a) = self.answers.iter_mut().find(|a| a.stream == stream) {
                        a.ended = true;
                        if a.received != a.spec.request && !a.spec.has(UPGRADE) {
                            book.wrong(format!("request {}: ended after {} bytes", a.spec.id, a.received));
                        }
                    }
                }
                Got::Reset { stream } => self.answers.retain(|a| a.stream != stream),
                Got::Broken(e) => {
                    book.wrong(format!("the proxy broke the protocol towards a server: {e}"));
                }
                Got::GoAway | Got::Interim | Got::Upgraded => {}
            }
        }
    }

    fn end(&mut self, net: &mut Net, book: &mut Book) -> bool {
        match &mut self.talk {
            Talk::Raw(raw) if !raw.ended => {
                raw.ended = true;
                if raw.known && raw.received != raw.to_come {
                    book.wrong(format!(
                        "raw {}: a clean end after {} of {} bytes",
                        raw.id, raw.received, raw.to_come
                    ));
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
                self.output.extend(patterned(raw.id ^ 0x8000_0000, raw.sent, n));
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
        let mut moved = false;
        let mut cut = false;
        let mut done = Vec::new();
        for (i, a) in self.answers.iter_mut().enumerate() {
            let spec = a.spec;
            if a.at > now || !(a.ended || spec.has(EARLY) || spec.has(UPGRADE)) {
                continue;
            }
            if spec.has(INTERIM) && !a.interim {
                a.interim = true;
                moved = true;
                http.send_response(a.stream, &spec, true);
            }
            if !a.head {
                a.head = true;
                moved = true;
                http.send_response(a.stream, &spec, false);
            }
            let whole = spec.expected();
            if whole == 0 && http.is_h2() && !spec.has(TRAILERS | GRPC) {
                done.push(i);
                continue;
            }
            while a.sent < whole && http.output.len() < 100_000 {
                if spec.has(ABORT) && a.sent >= whole / 2 {
                    if http.is_h2() {
                        http.reset(a.stream);
                        done.push(i);
                    } else {
                        cut = true;
                    }
                    moved = true;
                    break;
                }
                let most = if spec.has(ABORT) { whole / 2 - a.sent } else { whole - a.sent };
                let n = most.clamp(1, 20_000);
                let piece = patterned(spec.id ^ 0x4000_0000, a.sent, n);
                let taken = http.send_data(a.stream, &piece, now);
                a.sent += taken;
                moved |= taken > 0;
                if taken < n {
                    break;
                }
            }
            if a.sent == whole && !done.contains(&i) && !cut {
                if spec.has(UPGRADE) {
                    if !a.ended && a.received < spec.request {
                        continue;
                    }
                    self.close_after = true;
                } else if spec.expected() > 0 || !http.is_h2() || spec.has(TRAILERS | GRPC) {
                    http.send_end(a.stream, spec.has(TRAILERS), spec.has(GRPC));
                }
                let bodyless = spec.method() == "HEAD" || matches!(spec.status, 204 | 304);
                let until_close = spec.has(UNTIL_CLOSE) && !bodyless;
                self.close_after |= !http.is_h2() && (spec.has(CLOSE) || until_close);
                done.push(i);
                moved = true;
            }
        }
        for i in done.into_iter().rev() {
            self.answers.remove(i);
        }
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
        if let Talk::Http(http) = &mut self.talk {
            let out = std::mem::take(&mut http.output);
            self.output.extend(out);
        }
        let mut moved = false;
        while !self.output.is_empty() {
            let bytes = self.output.make_contiguous().to_vec();
            match net.write(self.sock, &bytes) {
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
        if self.close_after {
            self.leave(net, false);
            return true;
        }
        moved
    }

    fn leave(&mut self, net: &mut Net, cut: bool) {
        if !std::mem::replace(&mut self.gone, true) {
            if cut { net.reset(self.sock) } else { net.close(self.sock) }
        }
    }
}

impl Raw {
    /// The line first, at a server; then content.
    fn receive(&mut self, bytes: &[u8], book: &mut Book, server: bool) {
        let mut rest = bytes;
        if server && !self.known {
            let end = rest.iter().position(|b| *b == b'\n');
            self.line.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            let Some(end) = end else { return };
            rest = &rest[end + 1..];
            let text = String::from_utf8_lossy(&self.line).into_owned();
            let n: Vec<usize> = text.split(' ').skip(1).filter_map(|p| p.parse().ok()).collect();
            let [id, up, down, polite] = n[..] else {
                return book.wrong(format!("a raw server got {text:?}"));
            };
            *book.seen.entry(id as u32).or_default() += 1;
            (self.id, self.to_come, self.to_send, self.polite, self.known) =
                (id as u32, up, down, polite == 1, true);
        }
        let id = if server { self.id } else { self.id ^ 0x8000_0000 };
        if rest.iter().enumerate().any(|(i, b)| *b != pattern(id, self.received + i)) {
            book.wrong(format!("raw {id}: content differs"));
        }
        self.received += rest.len();
        if self.received > self.to_come {
            book.wrong(format!("raw {id}: {} bytes of {}", self.received, self.to_come));
        }
    }
}

// --- clients

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Http1,
    Http10,
    Pipelined,
    Http2,
    Raw,
    /// The server speaks first.
    RawAfterBanner,
}

/// What a client does: its requests, one after the other or side by side.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) to: SocketAddr,
    pub(crate) start: u64,
    pub(crate) specs: Vec<Spec>,
}

struct Asking {
    stream: u32,
    spec: Spec,
    sent: usize,
    sent_end: bool,
    status: u16,
    by_proxy: bool,
    grpc_failed: bool,
    received: usize,
    upgraded: bool,
}

pub(crate) struct Client {
    plan: Plan,
    queue: VecDeque<Spec>,
    sock: Option<usize>,
    http: Option<Http>,
    raw: Raw,
    banner: usize,
    asking: Vec<Asking>,
    pace: Pace,
    output: VecDeque<u8>,
    half_closed: bool,
    connections: usize,
    pub(crate) done: bool,
}

impl Client {
    pub(crate) fn new(plan: Plan, rng: &mut Rng) -> Self {
        Self {
            queue: plan.specs.iter().copied().collect(),
            plan,
            sock: None,
            http: None,
            raw: Raw::default(),
            banner: 0,
            asking: Vec::new(),
            pace: Pace::new(rng),
            output: VecDeque::new(),
            half_closed: false,
            connections: 0,
            done: false,
        }
    }

    pub(crate) fn next_time(&self, net: &Net) -> Option<u64> {
        let now = net.now;
        if self.done {
            return None;
        }
        let start = (self.plan.start > now).then_some(self.plan.start);
        let waiting = self.pace.next > now && self.sock.is_some_and(|s| net.readable(s));
        let pace = waiting.then_some(self.pace.next);
        [start, pace].into_iter().flatten().min()
    }

    /// What it is in the middle of, for a world that has come to a stop.
    pub(crate) fn stuck(&self) -> String {
        let asking: Vec<_> =
            self.asking.iter().map(|a| (a.spec, a.sent, a.sent_end, a.status, a.received)).collect();
        format!(
            "{:?} to {} sock {:?}, asking {asking:?}, {} queued, raw {}/{} sent {}/{}",
            self.plan.kind,
            self.plan.to,
            self.sock,
            self.queue.len(),
            self.raw.received,
            self.raw.to_come,
            self.raw.sent,
            self.raw.to_send
        )
    }

    fn is_raw(&self) -> bool {
        matches!(self.plan.kind, Kind::Raw | Kind::RawAfterBanner)
    }

    pub(crate) fn step(&mut self, net: &mut Net, book: &mut Book) -> bool {
        if self.done || net.now < self.plan.start {
            return false;
        }
        let Some(sock) = self.sock else {
            if self.queue.is_empty() || self.connections > 40 {
                for spec in std::mem::take(&mut self.queue) {
                    book.ends(spec.id, Outcome::Told);
                }
                self.done = true;
                return true;
            }
            self.connections += 1;
            self.begin(net);
            return true;
        };
        match net.socks[sock].state {
            State::Connecting => return false,
            State::Refused => {
                self.lost(net, book, true);
                return true;
            }
            State::Open => {}
        }
        let mut moved = self.ask(net, book);
        let most = self.pace.turn(net.now);
        if self.sock.is_some() && most > 0 && net.readable(sock) {
            match net.read(sock, most) {
                Read::Data(bytes) => {
                    self.receive(net, book, &bytes);
                    moved = true;
                }
                Read::End => {
                    self.ended(net, book);
                    moved = true;
                }
                Read::Reset => {
                    self.lost(net, book, true);
                    return true;
                }
                Read::Nothing => {}
            }
        }
        if self.sock.is_some() {
            moved |= self.ask(net, book);
            moved |= self.flush(net, book);
        }
        moved
    }

    fn begin(&mut self, net: &mut Net) {
        // The simulation's redirection: whatever is not an application's own address goes to the outbound proxy.
        self.sock = Some(net.connect(Host::App, self.plan.to));
        self.output.clear();
        self.half_closed = false;
        self.banner = 0;
        match self.plan.kind {
            Kind::Http2 => self.http = Some(Http::h2(false, net.now)),
            Kind::Raw | Kind::RawAfterBanner => {
                let spec = self.queue[0];
                let polite = spec.has(EARLY);
                self.raw = Raw {
                    id: spec.id,
                    to_come: spec.response,
                    to_send: spec.request,
                    known: true,
                    ..Raw::default()
                };
                if self.plan.kind == Kind::Raw {
                    self.introduce(polite);
                }
            }
            _ => self.http = Some(Http::h1(false)),
        }
    }

    fn introduce(&mut self, polite: bool) {
        let line =
            format!("RAW {} {} {} {}\n", self.raw.id, self.raw.to_send, self.raw.to_come, u8::from(polite));
        self.output.extend(line.as_bytes());
    }

    /// Asks for more, and sends more of what is being asked.
    fn ask(&mut self, net: &mut Net, book: &mut Book) -> bool {
        let now = net.now;
        let mut moved = false;
        if self.is_raw() {
            if self.plan.kind == Kind::RawAfterBanner && self.banner < BANNER.len() {
                return false;
            }
            while self.raw.sent < self.raw.to_send && self.output.len() < 30_000 {
                let n = (self.raw.to_send - self.raw.sent).min(9_000);
                self.output.extend(patterned(self.raw.id, self.raw.sent, n));
                self.raw.sent += n;
                moved = true;
            }
            return moved;
        }
        let Some(http) = &mut self.http else { return false };
        let side_by_side = match self.plan.kind {
            Kind::Http2 => 20,
            Kind::Pipelined => 4,
            _ => 1,
        };
        let authority = self.plan.to.to_string();
        while self.asking.len() < side_by_side
            && let Some(spec) = self.queue.front().copied()
            // Only what ends with its head, and what is certainly answered with a length, is worth pipelining.
            && (self.asking.is_empty() || http.is_h2() || spec.request == 0 && spec.flags & (UPGRADE | LEAVE) == 0 && self.plan.kind == Kind::Pipelined)
            && !self.asking.iter().any(|a| (a.spec.has(UPGRADE | LEAVE) || !a.sent_end) && !http.is_h2())
        {
            let Some(stream) = http.send_request(&spec, &authority, self.plan.kind == Kind::Http10) else {
                break;
            };
            self.queue.pop_front();
            moved = true;
            self.asking.push(Asking {
                stream,
                spec,
                sent: 0,
                sent_end: spec.request == 0 && !spec.has(CHUNKED_REQUEST),
                status: 0,
                by_proxy: false,
                grpc_failed: false,
                received: 0,
                upgraded: false,
            });
        }
        for a in &mut self.asking {
            if a.sent_end || a.spec.has(UPGRADE) && !a.upgraded {
                continue;
            }
            while a.sent < a.spec.request && http.output.len() < 60_000 {
                let n = (a.spec.request - a.sent).min(15_000);
                let taken = http.send_data(a.stream, &patterned(a.spec.id, a.sent, n), now);
                a.sent += taken;
                moved |= taken > 0;
                if taken < n {
                    break;
                }
            }
            if a.sent == a.spec.request {
                a.sent_end = true;
                moved = true;
                if !a.upgraded {
                    http.send_end(a.stream, a.spec.has(TRAILERS) && a.spec.has(CHUNKED_REQUEST), false);
                }
            }
        }
        let _ = book;
        moved
    }

    fn receive(&mut self, net: &mut Net, book: &mut Book, bytes: &[u8]) {
        if self.is_raw() {
            let mut bytes = bytes;
            if self.plan.kind == Kind::RawAfterBanner && self.banner < BANNER.len() {
                let n = bytes.len().min(BANNER.len() - self.banner);
                if bytes[..n] != BANNER[self.banner..self.banner + n] {
                    book.wrong(format!("raw {}: the banner differs", self.raw.id));
                }
                self.banner += n;
                bytes = &bytes[n..];
                if self.banner == BANNER.len() {
                    self.introduce(self.queue[0].has(EARLY));
                }
            }
            return self.raw.receive(bytes, book, false);
        }
        let Some(http) = &mut self.http else { return };
        http.input.extend_from_slice(bytes);
        loop {
            // One response at a time: what kind of content it has depends on the request.
            let Some(http) = &mut self.http else { return };
            let before = http.input.len();
            if let crate::http::Wire::H1 { method, .. } = &mut http.wire
                && let Some(first) = self.asking.first()
            {
                *method = weft_http::head::Method::of(first.spec.method().as_bytes());
            }
            let all = http.next(net.now);
            let again = !all.is_empty() && http.input.len() < before && !http.input.is_empty();
            for got in all {
                self.got(net, book, got);
                if self.sock.is_none() {
                    return;
                }
            }
            if !again {
                return;
            }
        }
    }

    fn got(&mut self, net: &mut Net, book: &mut Book, got: Got) {
        let h2 = self.http.as_ref().is_some_and(Http::is_h2);
        let find = |asking: &[Asking], stream: u32| asking.iter().position(|a| !h2 || a.stream == stream);
        match got {
            Got::Head { stream, status, by_proxy, grpc_status, .. } => {
                if let Some(i) = find(&self.asking, stream) {
                    let a = &mut self.asking[i];
                    (a.status, a.by_proxy) = (status, by_proxy);
                    a.grpc_failed |= grpc_status.is_some_and(|s| s != 0);
                } else if !self.asking.is_empty() || !h2 {
                    book.wrong(format!("a response that nobody asked for: {status}"));
                }
            }
            Got::Interim => {}
            Got::Upgraded => {
                if let Some(a) = self.asking.first_mut() {
                    a.upgraded = true;
                    a.status = 101;
                }
            }
            Got::Data { stream, bytes } => {
                if let Some(http) = &mut self.http {
                    http.credit(stream, bytes.len());
                }
                let Some(i) = find(&self.asking, stream) else { return };
                let a = &mut self.asking[i];
                let id = a.spec.id;
                if a.by_proxy {
                    return;
                }
                if bytes.iter().enumerate().any(|(k, b)| *b != pattern(id ^ 0x4000_0000, a.received + k)) {
                    book.wrong(format!("response {id}: content differs"));
                }
                a.received += bytes.len();
                if a.spec.has(LEAVE) && a.received >= a.spec.response / 2 {
                    book.ends(id, Outcome::Left);
                    let stream = a.stream;
                    self.asking.remove(i);
                    match (&mut self.http, h2) {
                        (Some(http), true) => http.reset(stream),
                        _ => self.leave(net, book, true),
                    }
                }
            }
            Got::End { stream, grpc_status, trailers } => {
                let Some(i) = find(&self.asking, stream) else { return };
                let a = self.asking.remove(i);
                let (mut spec, failed) = (a.spec, a.grpc_failed || grpc_status.is_some_and(|s| s != 0));
                if spec.has(FLAKY) && a.status == 503 {
                    // A failure of the server's that was passed on; the world judges whether it had to be.
                    (spec.status, spec.response) = (503, spec.response / 2);
                }
                book.ends(spec.id, Outcome::Whole { status: a.status, by_proxy: a.by_proxy, failed });
                if !a.by_proxy && !failed {
                    if a.received != spec.expected() {
                        book.wrong(format!(
                            "response {}: a clean end after {} of {} bytes",
                            spec.id,
                            a.received,
                            spec.expected()
                        ));
                    }
                    if a.status != spec.status {
                        book.wrong(format!("response {}: status {}", spec.id, a.status));
                    }
                    if h2 && spec.has(GRPC) && !trailers {
                        book.wrong(format!("response {}: no trailers", spec.id));
                    }
                }
                if !h2 && !a.sent_end {
                    // The rest of the request is of no use to anybody.
                    self.leave(net, book, false);
                }
            }
            Got::Reset { stream } => {
                if let Some(i) = find(&self.asking, stream) {
                    let a = self.asking.remove(i);
                    book.ends(a.spec.id, Outcome::Told);
                }
            }
            Got::GoAway => {}
            Got::Broken(e) => {
                book.wrong(format!("the proxy broke the protocol: {e}"));
                self.leave(net, book, true);
            }
        }
    }

    /// The proxy has ended its stream.
    fn ended(&mut self, net: &mut Net, book: &mut Book) {
        if self.is_raw() {
            let whole = self.raw.received == self.raw.to_come;
            if !whole {
                let (id, received, all) = (self.raw.id, self.raw.received, self.raw.to_come);
                book.wrong(format!("raw {id}: a clean end after {received} of {all} bytes"));
            }
            return self.lost(net, book, !whole);
        }
        let whole = self.http.as_mut().is_some_and(Http::ended);
        if whole {
            self.got(net, book, Got::End { stream: 0, trailers: false, grpc_status: None });
        } else if let Some(a) = self.asking.first()
            && a.upgraded
        {
            let a = self.asking.remove(0);
            book.ends(a.spec.id, Outcome::Whole { status: a.spec.status, by_proxy: false, failed: false });
            if a.received != a.spec.response {
                book.wrong(format!("upgraded {}: a clean end after {} bytes", a.spec.id, a.received));
            }
        }
        if self.sock.is_some() {
            self.lost(net, book, false);
        }
    }

    /// The connection is over; what was asked is answered by that.
    fn lost(&mut self, net: &mut Net, book: &mut Book, cut: bool) {
        if self.is_raw() {
            let id = self.raw.id;
            let whole = !cut && self.raw.received == self.raw.to_come;
            let ok = Outcome::Whole { status: 200, by_proxy: false, failed: false };
            book.ends(id, if whole { ok } else { Outcome::Told });
            self.queue.pop_front();
        }
        self.leave(net, book, cut);
    }

    fn leave(&mut self, net: &mut Net, book: &mut Book, cut: bool) {
        for (i, a) in self.asking.drain(..).enumerate() {
            if i > 0 && a.status == 0 && self.plan.kind == Kind::Pipelined {
                // Never answered, so never begun: it may be asked again.
                self.queue.push_back(a.spec);
            } else {
                book.ends(a.spec.id, Outcome::Told);
            }
        }
        self.http = None;
        if let Some(sock) = self.sock.take() {
            if cut { net.reset(sock) } else { net.close(sock) }
        }
    }

    fn flush(&mut self, net: &mut Net, book: &mut Book) -> bool {
        let Some(sock) = self.sock else { return false };
        if let Some(http) = &mut self.http {
            let out = std::mem::take(&mut http.output);
            self.output.extend(out);
        }
        let mut moved = false;
        while !self.output.is_empty() {
            let bytes = self.output.make_contiguous().to_vec();
            match net.write(sock, &bytes) {
                None => {
                    // What it has sent before is still to be read: a reset will tell.
                    self.output.clear();
                    return moved;
                }
                Some(0) => return moved,
                Some(n) => {
                    self.output.drain(..n);
                    moved = true;
                }
            }
        }
        if self.is_raw() && self.raw.sent == self.raw.to_send && !self.half_closed {
            let spoken = self.plan.kind == Kind::Raw || self.banner == BANNER.len();
            if spoken {
                self.half_closed = true;
                net.shutdown(sock);
                moved = true;
            }
        }
        if !self.is_raw() && self.queue.is_empty() && self.asking.is_empty() {
            self.leave(net, book, false);
            self.done = true;
            moved = true;
        }
        moved
    }
}
