//! What goes out: heads, content, trailers, resets, credit.

use std::time::Duration;

use super::flood::Counted;
use super::settings::MAX_WINDOW;
use super::streams::{Stream, StreamKey};
use super::{Closed, Code, Connection, OpenError, Phase, Role, flow, frame, timers};
use crate::fields::{Indexing, Kind};
use crate::head::{Method, Outgoing, Section};

/// The largest DATA frame that is sent, whatever the peer allows: another stream's turn comes after it.
const DATA_FRAME: usize = 16 * 1024;

/// The DATA frame that was written last, while nothing was written after it: more content of its stream is added to
/// it. A peer is spared frames that way when content comes in small pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    stream: u32,
    /// Where in the output it begins, and ends.
    at: usize,
    end: usize,
}

impl Connection {
    /// Whether [`Connection::open`] would succeed now.
    ///
    /// # Errors
    /// Why not.
    pub fn can_open(&self) -> Result<(), OpenError> {
        let over = matches!(self.phase, Phase::Over(_)) || !matches!(self.shutdown, timers::Shutdown::No);
        if over || self.goaway_received || self.role == Role::Server || self.next_id > MAX_WINDOW {
            return Err(OpenError::Ending);
        }
        let allowed = self.peer.max_concurrent_streams.min(self.config.limits.outgoing_streams);
        if self.streams.len() >= allowed {
            return Err(OpenError::Full);
        }
        Ok(())
    }

    /// Opens a stream with a request (client). `end`: there is neither content nor trailers.
    ///
    /// An extended CONNECT may be sent only where [`PeerSettings::connect_protocol`](super::PeerSettings) says so.
    ///
    /// # Errors
    /// No stream can be opened; nothing was written.
    pub fn open(
        &mut self,
        owner: u32,
        request: &Outgoing<'_>,
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<StreamKey, OpenError> {
        self.tail = None;
        self.can_open()?;
        let id = self.next_id;
        self.next_id += 2;
        let mut s = Stream::new(owner, self.peer.initial_window_size as i32, self.stream_window() as i32);
        s.head_sent = true;
        s.end_sent = end;
        s.no_content = request.head.method == Method::Head;
        s.tunnel = request.head.method == Method::Connect;
        let stream = self.streams.insert(id, s);
        self.write_block(id, request, end, out);
        Ok(stream)
    }

    /// Sends a response (server). One with a status below 200 is interim: another follows, and `end` must be false.
    ///
    /// # Errors
    /// The stream is closed, or a final response has been sent: nothing was written.
    pub fn send_head(
        &mut self,
        stream: StreamKey,
        response: &Outgoing<'_>,
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Closed> {
        self.tail = None;
        let s = self.streams.get_mut(stream).filter(|s| !s.head_sent).ok_or(Closed)?;
        s.head_sent = response.head.status >= 200;
        s.end_sent = end && s.head_sent;
        let end = s.end_sent;
        self.write_block(stream.id(), response, end, out);
        self.close_if_ended(stream, out);
        Ok(())
    }

    /// Sends as much content as the windows of stream and connection allow, and says how much that was. When it was
    /// less than all, [`Event::Writable`](super::Event) tells when there is room again. The end goes with the last
    /// octet; `end` alone with no content always goes.
    ///
    /// # Errors
    /// The stream is closed, or this side has ended it.
    pub fn send_data(
        &mut self,
        stream: StreamKey,
        data: &[u8],
        end: bool,
        out: &mut Vec<u8>,
        now: Duration,
    ) -> Result<usize, Closed> {
        let s = self.streams.get_mut(stream).filter(|s| s.head_sent && !s.end_sent).ok_or(Closed)?;
        let most = DATA_FRAME.min(self.peer.max_frame_size as usize);
        let mut tail = self.tail.take().filter(|t| t.stream == stream.id() && t.end == out.len());
        let (mut rest, mut frames) = (data, 0);
        loop {
            let window = s.send_window.min(self.send_window).max(0) as usize;
            let room = tail.map_or(0, |t| most.saturating_sub(t.end - t.at - frame::HEADER_LEN));
            let n = rest.len().min(window).min(if room > 0 { room } else { most });
            let (chunk, after) = rest.split_at_checked(n).unwrap_or_default();
            let last = end && after.is_empty();
            if n == 0 && !last {
                break;
            }
            let at = match tail {
                Some(t) if room > 0 => {
                    frame::extend_data(out, t.at, chunk, last);
                    t.at
                }
                _ => {
                    let at = out.len();
                    frame::write_data(out, stream.id(), chunk, last);
                    at
                }
            };
            tail = Some(Tail { stream: stream.id(), at, end: out.len() });
            s.send_window -= n as i32;
            self.send_window -= n as i32;
            rest = after;
            frames += 1;
            if last {
                s.end_sent = true;
                break;
            }
        }
        self.tail = tail;
        self.floods.give_back(Counted::WindowUpdates, 2 * frames, &self.config.limits);
        let blocked = !rest.is_empty();
        if blocked && (frames > 0 || !s.blocked) {
            s.blocked_since = now.as_nanos() as u64;
        }
        s.blocked = blocked;
        if blocked && s.send_window > 0 {
            self.streams.enqueue(stream);
        }
        self.close_if_ended(stream, out);
        Ok(data.len() - rest.len())
    }

    /// How much content [`Connection::send_data`] would take now.
    #[must_use]
    pub fn send_capacity(&self, stream: StreamKey) -> usize {
        let s = self.streams.get(stream).filter(|s| s.head_sent && !s.end_sent);
        s.map_or(0, |s| s.send_window.min(self.send_window).max(0) as usize)
    }

    /// Sends trailers, which end this side of the stream. All content must have been taken before.
    ///
    /// # Errors
    /// The stream is closed, or this side has ended it.
    pub fn send_trailers(
        &mut self,
        stream: StreamKey,
        trailers: &Outgoing<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Closed> {
        self.tail = None;
        let s = self.streams.get_mut(stream).filter(|s| s.head_sent && !s.end_sent).ok_or(Closed)?;
        s.end_sent = true;
        s.blocked = false;
        if trailers.fields().next().is_none() {
            // All of them were for the last hop: an empty field block would say no more than this.
            frame::write_data(out, stream.id(), &[], true);
        } else {
            self.write_block(stream.id(), trailers, true, out);
        }
        self.close_if_ended(stream, out);
        Ok(())
    }

    /// Ends a stream at once (RST_STREAM). A stream that is closed is left alone. After a whole response a server says
    /// [`Code::NO_ERROR`] to a client that is still sending (section 8.1).
    pub fn reset(&mut self, stream: StreamKey, code: Code, out: &mut Vec<u8>) {
        if self.streams.get(stream).is_none() {
            return;
        }
        self.tail = None;
        frame::write_reset(out, stream.id(), code.0);
        self.remember_stream(stream);
        self.remove(stream, out);
    }

    /// Lets the peer send `octets` more on the stream and the connection: they have been passed on, or thrown away. Every
    /// octet of [`Event::Data`](super::Event) is to be credited once; what is not when its stream closes,
    /// the connection is credited with then.
    pub fn credit(&mut self, stream: StreamKey, octets: usize, out: &mut Vec<u8>) {
        self.tail = None;
        let Some(s) = self.streams.get_mut(stream) else { return };
        debug_assert!(octets <= s.unclaimed as usize, "credit for more than was received");
        let octets = s.unclaimed.min(u32::try_from(octets).unwrap_or(u32::MAX));
        s.unclaimed -= octets;
        s.unannounced += octets;
        self.announce(stream, out);
        self.receive_window.credit(octets, out);
    }

    /// Tells the peer of credit on a stream when it is worth a frame.
    pub(super) fn announce(&mut self, stream: StreamKey, out: &mut Vec<u8>) {
        let worth = flow::threshold(self.config.limits.stream_window_bytes);
        if let Some(s) = self.streams.get_mut(stream)
            && s.unannounced >= worth
            && !s.end_received
        {
            frame::write_window_update(out, stream.id(), s.unannounced);
            s.recv_window += s.unannounced as i32;
            s.unannounced = 0;
        }
    }

    /// Sends a PING; [`Event::Pong`](super::Event) tells of its acknowledgement.
    pub fn send_ping(&mut self, payload: [u8; 8], out: &mut Vec<u8>) {
        self.tail = None;
        frame::write_ping(out, payload, false);
    }

    /// Keeps in mind that frames for a stream may still come: the peer does not know yet that it is reset.
    pub(super) fn remember_stream(&mut self, stream: StreamKey) {
        if let Some(s) = self.streams.get(stream)
            && !s.end_received
        {
            let window = s.recv_window;
            self.remember(stream.id(), window);
        }
    }

    pub(super) fn remember(&mut self, id: u32, window: i32) {
        self.remembered.insert(id, window, self.config.limits.remembered_resets as usize);
    }

    fn write_block(&mut self, id: u32, message: &Outgoing<'_>, end: bool, out: &mut Vec<u8>) {
        let at = frame::begin_headers(out);
        self.encoder.begin(out);
        let mut pseudo = |kind, value| self.encoder.field(out, kind, &[], value, Indexing::Index);
        let head = message.head;
        match head.section {
            Section::Request => {
                let protocol = head.protocol.of(message.bytes);
                pseudo(Kind::PseudoMethod, message.method());
                if head.method != Method::Connect || !protocol.is_empty() {
                    pseudo(Kind::PseudoScheme, message.scheme());
                    pseudo(Kind::PseudoPath, message.path());
                }
                if !message.authority().is_empty() {
                    pseudo(Kind::PseudoAuthority, message.authority());
                }
                if !protocol.is_empty() {
                    pseudo(Kind::PseudoProtocol, protocol);
                }
            }
            Section::Response => pseudo(Kind::PseudoStatus, &digits(head.status)),
            Section::Trailers => {}
        }
        for field in message.fields() {
            self.encoder.field(out, field.kind, field.name, field.value, field.indexing());
        }
        frame::finish_headers(out, at, id, end, self.peer.max_frame_size as usize);
    }
}

fn digits(status: u16) -> [u8; 3] {
    [100, 10, 1].map(|place| b'0' + (status / place % 10) as u8)
}
