//! The way back: what a server answers, from its head to what the client is sent. Content and the end follow by
//! [`crate::content`]. What the proxy answers itself is in [`crate::respond`].

use weft_http::fields::Kind;
use weft_http::head::{Head, Method, Outgoing, Version};
use weft_http::orig_proto::OrigProto;
use weft_policy::FailureKind;

use crate::content::Way;
use crate::exchange::Exchange;
use crate::io::{Io, Side};
use crate::slab::Key;
use crate::worker::Worker;

impl Worker {
    /// An interim response (1xx other than 101): for clients that know such a thing.
    pub(crate) fn interim(&mut self, ex: Key<Exchange>, head: &Head, bytes: &[u8]) {
        let Some(x) = self.exchanges.get(ex) else { return };
        if x.head_sent || x.version == Version::Http10 {
            return;
        }
        let (down, leg) = (x.down, x.field_leg(Way::Response));
        let _ = self.write_response(down, ex, &Outgoing::new(head, bytes, leg), false);
    }

    /// The response's head has come. `ended`: it was the whole response.
    pub(crate) fn respond(
        &mut self,
        io: &mut impl Io,
        ex: Key<Exchange>,
        head: &mut Head,
        bytes: &[u8],
        ended: bool,
    ) {
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.moved = self.now;
        x.status = head.status;
        self.see_grpc_status(ex, head, bytes);
        if self.calls_for_retry(ex) && self.try_again(io, ex) {
            return;
        }
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let saved = x.parked.take();
        let mut extra = std::mem::take(&mut self.heads.extra);
        extra.clear();
        if x.carried {
            match x.side {
                Side::Outbound => drop(OrigProto::restore(head)),
                Side::Inbound => {
                    if let Some(orig) = OrigProto::of(head) {
                        extra.add(Kind::OrigProto, orig.value());
                    }
                }
            }
        }
        if x.down.stream.is_some() && !head.facts.date {
            extra.add(Kind::Date, &self.date);
        }
        if x.method == Method::Connect && (200..300).contains(&head.status) {
            // What follows is a tunnel, and has no length (RFC 9110 8.6).
            head.remove(Kind::ContentLength);
        }
        x.chosen.edit_response(head, bytes, &mut extra);
        let down = x.down.conn;
        if let Some(why) = head.value(bytes, Kind::ProxyError)
            && self.peer_is_proxy(ex)
            && self.may_tell(down)
        {
            extra.add(Kind::ProxyError, why);
        }
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        if x.side == Side::Outbound && head.facts.l5d_close && !x.chosen.balanced {
            // The peer's application is gone, and only a new connection would find another.
            self.close_after_response(ex);
        }
        if let Some(saved) = saved {
            self.heads.give(saved);
            self.account_exchange(ex);
        }
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        x.head_sent = true;
        x.response.ended = ended;
        let (down, leg) = (x.down, x.field_leg(Way::Response));
        let written = self.write_response(down, ex, &Outgoing::new(head, bytes, leg).with(&extra), ended);
        extra.clear();
        self.heads.extra = extra;
        if written.is_err() {
            // Nothing of it went out.
            if let Some(x) = self.exchanges.get_mut(ex) {
                x.head_sent = false;
            }
            return self.fail(io, ex, FailureKind::Io, Some("the response cannot be written"));
        }
        if ended {
            self.response_begins(ex);
            self.flow_sent(io, ex, Way::Response);
        }
    }

    /// Whether it went to a proxy that has proved who it is: what such a one says went wrong, the client may believe.
    /// What an application says under that name, its own proxy has dropped. (Linkerd's outbound proxy drops both, which
    /// leaves the client with a bare status.)
    fn peer_is_proxy(&self, ex: Key<Exchange>) -> bool {
        let Some(x) = self.exchanges.get(ex).filter(|x| x.side == Side::Outbound) else { return false };
        let endpoint = x.endpoint.and_then(|e| self.endpoints.get(e)).and_then(|e| e.policy.as_ref());
        endpoint.is_some_and(|e| e.tls.is_some())
    }

    /// The first byte after the head, or the end: what latency is measured to.
    pub(crate) fn response_begins(&mut self, ex: Key<Exchange>) {
        let now = self.now;
        let Some(x) = self.exchanges.get_mut(ex) else { return };
        let took = now - x.sent_at.unwrap_or(x.started);
        let failed = x.status >= 500 || x.status == 429;
        if let Some(mut pick) = x.pick {
            self.pick_responded(&mut pick, failed);
            if let Some(x) = self.exchanges.get_mut(ex) {
                x.pick = Some(pick);
            }
        }
        self.count_latency(ex, took);
    }

    /// What a gRPC call came to, from the response's head or from its trailers: it is counted by that.
    pub(crate) fn see_grpc_status(&mut self, ex: Key<Exchange>, head: &Head, bytes: &[u8]) {
        if let Some(value) = head.value(bytes, Kind::GrpcStatus)
            && let Some(x) = self.exchanges.get_mut(ex)
            && (x.grpc || x.version == Version::Http2)
        {
            x.grpc_status = std::str::from_utf8(value).ok().and_then(|s| s.parse().ok());
        }
    }
}
