//! Content on its way through an exchange, either way: straight from what was read to what will be sent.
//!
//! What the receiving leg cannot take (its window, its full output, or because it is not there yet) stays in the flow's
//! buffer, and its source is held: an HTTP/1 connection is not read from, an HTTP/2 stream is given no window. So a flow
//! holds at most one read, or one stream window.

use weft_http::head::{Head, Outgoing};

use crate::buffers::{Buf, Spare};
use crate::exchange::{End, Exchange, HeadScratch, Leg, Saved};
use crate::io::Io;
use crate::slab::Key;
use crate::worker::Worker;

/// One direction of an exchange.
#[derive(Default)]
pub(crate) struct Flow {
    /// Content that the receiving leg has not taken.
    pub(crate) buf: Buf,
    /// How much of `buf`, from its front, is sent again: its source has had credit for it.
    repeated: usize,
    /// The source has ended: what is in `buf` is the rest.
    pub(crate) ended: bool,
    /// Fields after the content.
    pub(crate) trailers: Option<Box<Saved>>,
    /// The end is sent.
    pub(crate) sent: bool,
    /// Something has been delivered.
    pub(crate) begun: bool,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

impl Flow {
    /// Bytes that wait.
    pub(crate) fn held(&self) -> usize {
        self.buf.len()
    }

    /// All of it is to be sent again.
    pub(crate) fn restart(&mut self, content: &[u8], spare: &mut Spare) {
        let owed = self.buf.len() - self.repeated.min(self.buf.len());
        self.repeated = content.len().saturating_sub(owed);
        self.buf.clear(spare);
        self.buf.push(content, spare);
        self.sent = false;
    }

    /// Drops what nobody will take any more.
    pub(crate) fn clear(&mut self, spare: &mut Spare, heads: &mut HeadScratch) {
        self.buf.clear(spare);
        if let Some(saved) = self.trailers.take() {
            heads.give(saved);
        }
    }
}

impl Worker {
    /// Content has come for one direction; `end`: and that was all, without trailers.
    pub(crate) fn deliver(&mut self, io: &mut impl Io, ex: Key<Exchange>, way: Way, data: &[u8], end: bool) {
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.moved = now;
        let (source, sink) = x.legs(way);
        let flow = x.flow(way);
        flow.ended |= end;
        if way == Way::Request
            && let Some(replay) = &mut x.replay
        {
            replay.keep(data);
        }
        let kept = way == Way::Request && x.replay.is_some();
        let flow = x.flow(way);
        let first = !std::mem::replace(&mut flow.begun, true);
        let direct = flow.buf.is_empty() && !flow.sent;
        if first && way == Way::Response {
            self.response_begins(ex);
        }
        let mut taken = 0;
        if direct && let Some(sink) = sink {
            let (n, ended) = self.write_content(sink, data, end);
            taken = n;
            self.credit(source, taken);
            if ended {
                return self.flow_sent(io, ex, way);
            }
        }
        let rest = data.get(taken..).unwrap_or_default();
        if rest.is_empty() && !end {
            if kept {
                self.account_exchange(ex);
            }
            return;
        }
        if let Some(x) = self.exchanges.get_mut(ex) {
            let flow = match way {
                Way::Request => &mut x.request,
                Way::Response => &mut x.response,
            };
            flow.buf.push(rest, &mut self.spare);
        }
        self.account_exchange(ex);
        if !rest.is_empty() {
            self.hold(io, source);
        }
    }

    /// A direction has ended, perhaps with trailers.
    pub(crate) fn end_of(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        way: Way,
        trailers: Option<(&Head, &[u8])>,
    ) {
        if way == Way::Response {
            if let Some((head, bytes)) = trailers {
                self.see_grpc_status(ex, head, bytes);
            }
            if self.exchanges.get(ex).is_some_and(|x| !x.response.begun) {
                self.response_begins(ex);
            }
        }
        let trailers = trailers.filter(|(head, _)| !head.fields.is_empty());
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let direct = x.flow(way).buf.is_empty();
        x.flow(way).ended = true;
        x.flow(way).begun = true;
        if way == Way::Request
            && trailers.is_some()
            && let Some(replay) = &mut x.replay
        {
            replay.give_up();
        }
        let sink = x.legs(way).1;
        let leg = x.field_leg(way);
        match (trailers, sink) {
            (Some((head, bytes)), Some(sink)) if direct => {
                self.write_trailers(sink, Some(&Outgoing::new(head, bytes, leg)));
                self.flow_sent(io, ex, way);
            }
            (Some((head, bytes)), _) => {
                let saved = self.heads.save(head, bytes);
                if let Some(x) = self.exchanges.get_mut(ex) {
                    x.flow(way).trailers = Some(saved);
                }
            }
            (None, _) => self.pump(io, ex, way),
        }
    }

    /// Sends what the receiving leg takes of what waits in a flow.
    pub(crate) fn pump(&mut self, io: &mut impl Io, ex: Key<Exchange>, way: Way) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let (source, Some(sink)) = x.legs(way) else { return };
        let leg = x.field_leg(way);
        let flow = x.flow(way);
        if flow.sent {
            return;
        }
        let end = flow.ended && flow.trailers.is_none();
        let mut buf = std::mem::take(&mut flow.buf);
        let mut ended = false;
        if !buf.is_empty() || end {
            let (taken, all) = self.write_content(sink, buf.bytes(), end);
            ended = all;
            buf.consume(taken, &mut self.spare);
            let mut fresh = taken;
            if let Some(x) = self.exchanges.get_mut(ex) {
                let flow = x.flow(way);
                fresh -= flow.repeated.min(taken);
                flow.repeated -= flow.repeated.min(taken);
            }
            self.credit(source, fresh);
        }
        let empty = buf.is_empty();
        let Some(x) = self.exchanges.get_mut(ex) else { return buf.clear(&mut self.spare) };
        x.flow(way).buf = buf;
        let trailers = if empty { x.flow(way).trailers.take() } else { None };
        self.account_exchange(ex);
        if let Some(saved) = trailers {
            self.write_trailers(sink, Some(&Outgoing::new(&saved.head, &saved.bytes, leg)));
            self.heads.give(saved);
            ended = true;
        }
        if ended {
            self.flow_sent(io, ex, way);
        } else if empty && let Some(source) = source {
            self.resume(io, source.conn);
        }
    }

    /// One direction is complete on the receiving leg.
    pub(crate) fn flow_sent(&mut self, io: &mut impl Io, ex: Key<Exchange>, way: Way) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.flow(way).sent = true;
        match way {
            Way::Request => {
                self.request_sent(ex);
                // The response may have been complete before.
                if self.exchanges.get(ex).is_some_and(|x| x.response.sent) {
                    self.finish(io, ex, End::Whole);
                }
            }
            Way::Response => self.finish(io, ex, End::Whole),
        }
    }

    /// The leg that content comes from is not to bring more for now.
    fn hold(&mut self, io: &mut impl Io, source: Option<Leg>) {
        // HTTP/2 is held by its windows.
        if let Some(Leg { conn, stream: None }) = source {
            self.pause(io, conn);
        }
    }

    pub(crate) fn account_exchange(&mut self, ex: Key<Exchange>) {
        if let Some(x) = self.exchanges.get_mut(ex) {
            let held = x.held();
            self.buffered = self.buffered + held - x.accounted;
            x.accounted = held;
        }
    }
}
