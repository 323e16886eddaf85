//! Applications that ask: what their plan says, one after the other or side by side, looking at every byte.

use std::collections::VecDeque;

use crate::book::{Book, Outcome};
use crate::http::{Got, Http};
use crate::net::{Host, Net, Read, State};
use crate::pki::pki;
use crate::raw::{BANNER, Pace, Raw};
use crate::rng::{Rng, is_patterned, patterned};
use crate::services::Service;
use crate::spec::{
    CHUNKED_REQUEST, EXPECT, FLAKY, GRPC, Kind, LEAVE, LEAVE_EARLY, MISER, POLITE, Spec, TRAILERS, UPGRADE,
};

const MS: u64 = 1_000_000;
/// Content of responses is of another id than that of requests.
const OF_RESPONSE: u32 = 0x4000_0000;

/// What a client does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) to: &'static Service,
    pub(crate) start: u64,
    pub(crate) specs: Vec<Spec>,
}

struct Asking {
    stream: u32,
    spec: Spec,
    sent: usize,
    sent_end: bool,
    /// May send content.
    invited: bool,
    status: u16,
    by_proxy: bool,
    grpc: Option<u8>,
    received: usize,
    withheld: usize,
    upgraded: bool,
    last: bool,
}

pub(crate) struct Client {
    pub(crate) plan: Plan,
    queue: VecDeque<Spec>,
    pub(crate) sock: Option<usize>,
    http: Option<Http>,
    raw: Raw,
    banner: usize,
    asking: Vec<Asking>,
    pace: Pace,
    output: VecDeque<u8>,
    half_closed: bool,
    /// The last response of this connection has come: those behind it are asked for again.
    last: bool,
    connections: usize,
    /// Reads nothing until then, and goes.
    miser: Option<u64>,
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
            last: false,
            connections: 0,
            miser: None,
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
        [start, pace, self.miser].into_iter().flatten().min()
    }

    /// What it is in the middle of, for a world that has come to a stop.
    pub(crate) fn stuck(&self) -> String {
        let asking: Vec<_> =
            self.asking.iter().map(|a| (a.spec, a.sent, a.sent_end, a.status, a.received)).collect();
        let Raw { received, to_come, sent, to_send, .. } = &self.raw;
        format!(
            "{:?} to {} sock {:?}, asking {asking:?}, {} queued, raw {received}/{to_come} sent {sent}/{to_send}",
            self.plan.kind,
            self.plan.to.name,
            self.sock,
            self.queue.len(),
        )
    }

    fn is_raw(&self) -> bool {
        self.plan.kind.is_raw()
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
        if let Some(until) = self.miser {
            if net.is_reset(sock) {
                self.lost(net, book, true);
            } else if net.now >= until {
                self.miser_leaves(net, book);
            } else if !self.http.as_ref().is_some_and(Http::is_h2) {
                return false;
            }
            if self.sock.is_none() {
                return true;
            }
        }
        let mut moved = self.ask(net, book);
        let most = self.pace.turn(net.now);
        if most > 0 && net.readable(sock) {
            let mut buf = vec![0; most];
            match net.read(sock, &mut buf) {
                Read::Data(n) => {
                    self.receive(net, book, &buf[..n]);
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
        self.sock = Some(net.connect(Host::App, self.plan.to.addr()));
        self.output.clear();
        (self.half_closed, self.last) = (false, false);
        self.banner = 0;
        self.miser = None;
        match self.plan.kind {
            Kind::Http2 => self.http = Some(Http::h2(false, net.now)),
            kind if kind.is_raw() => {
                let spec = self.queue[0];
                self.raw = Raw {
                    id: spec.id,
                    to_come: spec.response,
                    to_send: spec.request,
                    polite: spec.has(POLITE),
                    known: true,
                    ..Raw::default()
                };
                match kind {
                    Kind::Tls => self.output.extend(&pki().hellos[0]),
                    Kind::TlsUnknown => self.output.extend(&pki().hellos[1]),
                    _ => {}
                }
                if kind != Kind::Banner {
                    self.output.extend(self.raw.introduction().as_bytes());
                }
            }
            _ => self.http = Some(Http::h1(false)),
        }
    }

    /// Asks for more, and sends more of what is being asked.
    fn ask(&mut self, net: &Net, book: &mut Book) -> bool {
        let now = net.now;
        let mut moved = false;
        if self.is_raw() {
            if self.plan.kind == Kind::Banner && self.banner < BANNER.len() {
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
        while self.asking.len() < side_by_side
            && let Some(spec) = self.queue.front().copied()
            // Only what ends with its head, and what is certainly answered with a length, is worth pipelining.
            && (self.asking.is_empty() || http.is_h2() || !spec.has_content() && !spec.has(LEAVE | MISER) && self.plan.kind == Kind::Pipelined)
            && !self.asking.iter().any(|a| (a.spec.has(UPGRADE | LEAVE | MISER) || !a.sent_end) && !http.is_h2())
        {
            let http10 = self.plan.kind == Kind::Http10;
            let Some(stream) = http.send_request(&spec, self.plan.to.at, http10) else { break };
            self.queue.pop_front();
            moved = true;
            *book.asked.entry(spec.id).or_default() += 1;
            self.asking.push(Asking {
                stream,
                spec,
                sent: 0,
                sent_end: !spec.has_content(),
                invited: !spec.has(EXPECT) && !spec.is_tunnel(),
                status: 0,
                by_proxy: false,
                grpc: None,
                received: 0,
                withheld: 0,
                upgraded: false,
                last: false,
            });
        }
        for a in &mut self.asking {
            if a.sent_end || !a.invited {
                continue;
            }
            while a.sent < a.spec.request && http.output.len() < 60_000 {
                let n = (a.spec.request - a.sent).min(15_000);
                let taken = http.send_data(a.stream, &patterned(a.spec.id, a.sent, n), now);
                a.sent += taken;
                moved |= taken > 0;
                if taken < n || a.spec.has(LEAVE_EARLY) {
                    break;
                }
            }
            if a.sent == a.spec.request && !a.spec.has(LEAVE_EARLY) {
                a.sent_end = true;
                moved = true;
                if !a.upgraded {
                    http.send_end(a.stream, a.spec.has(TRAILERS) && a.spec.has(CHUNKED_REQUEST), None);
                }
            }
        }
        moved
    }

    fn receive(&mut self, net: &mut Net, book: &mut Book, bytes: &[u8]) {
        if self.is_raw() {
            let mut bytes = bytes;
            if self.plan.kind == Kind::Banner && self.banner < BANNER.len() {
                let n = bytes.len().min(BANNER.len() - self.banner);
                if bytes[..n] != BANNER[self.banner..self.banner + n] {
                    book.wrong(format!("raw {}: the banner differs", self.raw.id));
                }
                self.banner += n;
                bytes = &bytes[n..];
                if self.banner == BANNER.len() {
                    self.output.extend(self.raw.introduction().as_bytes());
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
            Got::Head { stream, status, by_proxy, grpc_status, last, .. } => {
                let Some(i) = find(&self.asking, stream) else {
                    if !self.asking.is_empty() || !h2 {
                        book.wrong(format!("a response that nobody asked for: {status}"));
                    }
                    return;
                };
                let a = &mut self.asking[i];
                (a.status, a.by_proxy, a.last) = (status, by_proxy, last);
                a.grpc = a.grpc.or(grpc_status);
                if a.spec.has(MISER) && !by_proxy {
                    let wait = if a.spec.id.is_multiple_of(2) { 20_000 } else { 400_000 };
                    self.miser = Some(net.now + wait * MS);
                }
            }
            Got::Interim { stream, status } => {
                if let Some(i) = find(&self.asking, stream)
                    && status == 100
                {
                    self.asking[i].invited = true;
                }
            }
            Got::Upgraded => {
                if let Some(a) = self.asking.first_mut() {
                    (a.upgraded, a.invited, a.status) = (true, true, 101);
                }
            }
            Got::Data { stream, bytes } => {
                self.content(net, book, h2, find(&self.asking, stream), stream, &bytes)
            }
            Got::End { stream, grpc_status, trailers } => {
                let Some(i) = find(&self.asking, stream) else { return };
                let mut a = self.asking.remove(i);
                a.grpc = a.grpc.or(grpc_status);
                self.whole(book, &a, h2, trailers);
                if !a.sent_end {
                    // The rest of the request is of no use to anybody.
                    match (&mut self.http, h2) {
                        (Some(http), true) => http.reset(stream),
                        _ => self.leave(net, book, false),
                    }
                } else if a.last {
                    self.last = true;
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

    fn content(
        &mut self,
        net: &mut Net,
        book: &mut Book,
        h2: bool,
        i: Option<usize>,
        stream: u32,
        bytes: &[u8],
    ) {
        let Some(a) = i.and_then(|i| self.asking.get_mut(i)) else {
            if let Some(http) = &mut self.http {
                http.credit(stream, bytes.len());
            }
            return;
        };
        if a.spec.has(MISER) && !a.by_proxy {
            a.withheld += bytes.len();
        } else if let Some(http) = &mut self.http {
            http.credit(stream, bytes.len());
        }
        if a.by_proxy {
            return;
        }
        let id = a.spec.id;
        if !is_patterned(id ^ OF_RESPONSE, a.received, bytes) {
            book.wrong(format!("response {id}: content differs"));
        }
        a.received += bytes.len();
        if a.spec.has(LEAVE) && a.received >= a.spec.response / 2 {
            self.goes(net, book, h2, i.unwrap_or_default());
        }
    }

    /// Gives up one exchange.
    fn goes(&mut self, net: &mut Net, book: &mut Book, h2: bool, i: usize) {
        let a = self.asking.remove(i);
        book.ends(a.spec.id, Outcome::Left);
        match (&mut self.http, h2) {
            (Some(http), true) => {
                http.credit(a.stream, a.withheld);
                http.reset(a.stream);
            }
            _ => self.leave(net, book, true),
        }
    }

    fn miser_leaves(&mut self, net: &mut Net, book: &mut Book) {
        self.miser = None;
        let h2 = self.http.as_ref().is_some_and(Http::is_h2);
        while let Some(i) = self.asking.iter().position(|a| a.spec.has(MISER)) {
            self.goes(net, book, h2, i);
        }
    }

    /// A response has ended as one should.
    fn whole(&mut self, book: &mut Book, a: &Asking, h2: bool, trailers: bool) {
        let mut spec = a.spec;
        if spec.has(FLAKY) && a.status == 503 {
            // A failure of the server's that was passed on; the world judges whether it had to be.
            (spec.status, spec.response) = (503, spec.response / 2);
        }
        // A call that a proxy ends says so in its trailers.
        let cut = a.grpc.is_some_and(|s| s != 0 && s != 13);
        let by_proxy = a.by_proxy || cut;
        book.ends(spec.id, Outcome::Whole { status: a.status, grpc: a.grpc, by_proxy });
        if by_proxy {
            return;
        }
        let id = spec.id;
        if a.received != spec.expected() {
            book.wrong(format!(
                "response {id}: a clean end after {} of {} bytes",
                a.received,
                spec.expected()
            ));
        }
        if a.status != spec.status {
            book.wrong(format!("response {id}: status {}", a.status));
        }
        if h2 && spec.has(GRPC) && !trailers {
            book.wrong(format!("response {id}: no trailers"));
        }
    }

    /// The proxy has ended its stream.
    fn ended(&mut self, net: &mut Net, book: &mut Book) {
        if self.is_raw() {
            let whole = self.raw.received == self.raw.to_come;
            if !whole && self.raw.received > 0 {
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
            book.ends(a.spec.id, Outcome::served(a.spec.status));
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
            let whole = !cut && self.raw.received == self.raw.to_come && self.half_closed;
            book.ends(self.raw.id, if whole { Outcome::served(200) } else { Outcome::Told });
            self.queue.pop_front();
        }
        self.leave(net, book, cut);
    }

    fn leave(&mut self, net: &mut Net, book: &mut Book, cut: bool) {
        self.miser = None;
        for (i, a) in self.asking.drain(..).enumerate() {
            if (i > 0 || self.last) && a.status == 0 && self.plan.kind == Kind::Pipelined {
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
            let bytes = self.output.make_contiguous();
            match net.write(sock, bytes) {
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
            let spoken = self.plan.kind != Kind::Banner || self.banner == BANNER.len();
            if spoken {
                self.half_closed = true;
                net.shutdown(sock);
                moved = true;
            }
        }
        let h2 = self.http.as_ref().is_some_and(Http::is_h2);
        let leaves_early =
            |a: &Asking| a.spec.has(LEAVE_EARLY) && !a.sent_end && a.sent >= a.spec.request / 2 && a.sent > 0;
        if let Some(i) = self.asking.iter().position(leaves_early) {
            self.goes(net, book, h2, i);
            moved = true;
        }
        if !self.is_raw() && self.queue.is_empty() && self.asking.is_empty() {
            self.leave(net, book, false);
            self.done = true;
            moved = true;
        }
        moved
    }
}
