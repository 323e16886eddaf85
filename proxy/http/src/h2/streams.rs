//! The streams of a connection that are open: a slab, a map from stream identifiers, and the queue of streams
//! that wait to send.

/// No slot; end of a list.
const NIL: u32 = u32::MAX;

/// When no stream is left, storage beyond this many slots is given back.
const KEPT_SLOTS: usize = 64;

/// Names a stream of one connection. Stays unambiguous when the stream is gone: nothing is found then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    id: u32,
    slot: u32,
}

impl StreamKey {
    /// The stream identifier on the wire.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.id
    }
}

/// How far content must still go, by `content-length`.
pub(super) const ANY_LENGTH: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Stream {
    /// 0 while the slot is free.
    id: u32,
    /// What the user of the connection knows the stream by.
    pub(super) owner: u32,
    /// Octets that may be sent; negative after the peer lowered its initial window.
    pub(super) send_window: i32,
    /// Octets that the peer may send.
    pub(super) recv_window: i32,
    /// Octets received that the user has not given credit for.
    pub(super) unclaimed: u32,
    /// Credit given that the peer has not been told of.
    pub(super) unannounced: u32,
    /// Octets of content to come, or `ANY_LENGTH`.
    pub(super) remaining: u64,
    /// When sending came to a stop for want of window, in nanoseconds.
    pub(super) blocked_since: u64,
    pub(super) interim_heads: u16,
    /// A final head has been received.
    pub(super) head_received: bool,
    /// END_STREAM has been received.
    pub(super) end_received: bool,
    /// A final head has been sent.
    pub(super) head_sent: bool,
    /// END_STREAM has been sent.
    pub(super) end_sent: bool,
    /// It is the answer to HEAD, so there is no content whatever its head says.
    pub(super) no_content: bool,
    /// It asked for a tunnel (CONNECT, extended or not): a 2xx response has no length.
    pub(super) tunnel: bool,
    /// `send_data` took less than it was given.
    pub(super) blocked: bool,
    queued: bool,
    /// Neighbours in the queue; `next` also links free slots.
    prev: u32,
    next: u32,
}

impl Stream {
    pub(super) fn new(owner: u32, send_window: i32, recv_window: i32) -> Self {
        Stream {
            id: 0,
            owner,
            send_window,
            recv_window,
            unclaimed: 0,
            unannounced: 0,
            remaining: ANY_LENGTH,
            blocked_since: 0,
            interim_heads: 0,
            head_received: false,
            end_received: false,
            head_sent: false,
            end_sent: false,
            no_content: false,
            tunnel: false,
            blocked: false,
            queued: false,
            prev: NIL,
            next: NIL,
        }
    }
}

#[derive(Debug)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    free: u32,
    len: u32,
    map: IdMap,
    /// The queue of streams that have something to send and window of their own: first and last.
    first: u32,
    last: u32,
}

impl Streams {
    pub(super) fn new() -> Self {
        Streams { slots: Vec::new(), free: NIL, len: 0, map: IdMap::default(), first: NIL, last: NIL }
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn insert(&mut self, id: u32, mut stream: Stream) -> StreamKey {
        stream.id = id;
        let slot = self.free;
        let slot = match self.slots.get_mut(slot as usize) {
            Some(place) => {
                self.free = place.next;
                *place = stream;
                slot
            }
            None => {
                self.slots.push(stream);
                self.slots.len() as u32 - 1
            }
        };
        self.map.insert(id, slot);
        self.len += 1;
        StreamKey { id, slot }
    }

    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<StreamKey> {
        self.map.get(id).map(|slot| StreamKey { id, slot })
    }

    #[inline]
    pub(super) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.slots.get(key.slot as usize).filter(|s| s.id == key.id)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots.get_mut(key.slot as usize).filter(|s| s.id == key.id)
    }

    /// Removes a stream and returns what it was.
    pub(super) fn remove(&mut self, key: StreamKey) -> Option<Stream> {
        self.get(key)?;
        self.dequeue(key);
        let place = self.slots.get_mut(key.slot as usize)?;
        let mut free = Stream::new(0, 0, 0);
        free.next = self.free;
        self.free = key.slot;
        let stream = std::mem::replace(place, free);
        self.map.remove(key.id);
        self.len -= 1;
        if self.len == 0 && self.slots.len() > KEPT_SLOTS {
            *self = Streams::new();
        }
        Some(stream)
    }

    /// The first stream at or after `slot`, to walk over all of them while some are removed.
    pub(super) fn at_or_after(&self, slot: u32) -> Option<(StreamKey, u32)> {
        let rest = self.slots.get(slot as usize..)?;
        let at = rest.iter().position(|s| s.id != 0)? as u32 + slot;
        let id = self.slots.get(at as usize)?.id;
        Some((StreamKey { id, slot: at }, at + 1))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamKey, &Stream)> {
        let live = self.slots.iter().enumerate().filter(|(_, s)| s.id != 0);
        live.map(|(slot, s)| (StreamKey { id: s.id, slot: slot as u32 }, s))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().filter(|s| s.id != 0)
    }

    // --- the queue of those that wait to send

    pub(super) fn enqueue(&mut self, key: StreamKey) {
        let last = self.last;
        let Some(stream) = self.get_mut(key).filter(|s| !s.queued) else { return };
        stream.queued = true;
        stream.prev = last;
        stream.next = NIL;
        match self.slots.get_mut(last as usize) {
            Some(before) => before.next = key.slot,
            None => self.first = key.slot,
        }
        self.last = key.slot;
    }

    pub(super) fn dequeue(&mut self, key: StreamKey) {
        let Some(stream) = self.get_mut(key).filter(|s| s.queued) else { return };
        stream.queued = false;
        let (prev, next) = (stream.prev, stream.next);
        match self.slots.get_mut(prev as usize) {
            Some(before) => before.next = next,
            None => self.first = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(after) => after.prev = prev,
            None => self.last = prev,
        }
    }

    #[inline]
    pub(super) fn has_queued(&self) -> bool {
        self.first != NIL
    }

    pub(super) fn pop_queued(&mut self) -> Option<StreamKey> {
        let slot = self.first;
        let key = StreamKey { id: self.slots.get(slot as usize)?.id, slot };
        self.dequeue(key);
        Some(key)
    }
}

/// Stream identifiers to slots: open addressing with linear probing. Identifiers are odd and handed out one after
/// another, so half of the identifier is its place: neighbours never collide. A peer that leaves gaps to make
/// them collide makes a probe as long as the number of its streams, which is bounded.
#[derive(Debug, Default)]
struct IdMap {
    /// Identifier and slot; identifier 0 is an empty place. A power of two, at most half full.
    places: Vec<(u32, u32)>,
    len: usize,
}

impl IdMap {
    #[inline]
    fn mask(&self) -> usize {
        self.places.len().wrapping_sub(1)
    }

    #[inline]
    fn get(&self, id: u32) -> Option<u32> {
        let mask = self.mask();
        let mut at = (id >> 1) as usize & mask;
        loop {
            match *self.places.get(at)? {
                (0, _) => return None,
                (found, slot) if found == id => return Some(slot),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn insert(&mut self, id: u32, slot: u32) {
        if self.len * 2 >= self.places.len() {
            let bigger = (self.places.len() * 2).max(16);
            let old = std::mem::replace(&mut self.places, vec![(0, 0); bigger]);
            for (id, slot) in old.into_iter().filter(|p| p.0 != 0) {
                self.put(id, slot);
            }
        }
        self.put(id, slot);
        self.len += 1;
    }

    fn put(&mut self, id: u32, slot: u32) {
        let mask = self.mask();
        let mut at = (id >> 1) as usize & mask;
        while let Some(place) = self.places.get_mut(at) {
            if place.0 == 0 {
                *place = (id, slot);
                return;
            }
            at = (at + 1) & mask;
        }
    }

    fn remove(&mut self, id: u32) {
        let mask = self.mask();
        let mut hole = (id >> 1) as usize & mask;
        loop {
            match self.places.get(hole) {
                None | Some((0, _)) => return,
                Some((found, _)) if *found == id => break,
                Some(_) => hole = (hole + 1) & mask,
            }
        }
        self.len -= 1;
        // Those after the hole move up, unless that would put them before their own place.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(&(other, slot)) = self.places.get(at).filter(|p| p.0 != 0) else { break };
            let home = (other >> 1) as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                if let Some(place) = self.places.get_mut(hole) {
                    *place = (other, slot);
                }
                hole = at;
            }
        }
        if let Some(place) = self.places.get_mut(hole) {
            *place = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u32),
        Remove(usize),
        Enqueue(usize),
        Dequeue(usize),
        Pop,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => prop_oneof![4 => 0u32..40, 1 => (0u32..40).prop_map(|k| k * 64), 1 => 0u32..(1 << 30)].prop_map(|k| Op::Insert(2 * k + 1)),
            3 => any::<usize>().prop_map(Op::Remove),
            2 => any::<usize>().prop_map(Op::Enqueue),
            1 => any::<usize>().prop_map(Op::Dequeue),
            1 => Just(Op::Pop),
        ]
    }

    proptest! {
        /// Against a map and a list.
        #[test]
        fn like_a_map_and_a_queue(ops in proptest::collection::vec(op(), 1..400)) {
            let mut streams = Streams::new();
            let mut model: BTreeMap<u32, StreamKey> = BTreeMap::new();
            let mut queue: VecDeque<u32> = VecDeque::new();
            let nth = |m: &BTreeMap<u32, StreamKey>, n: usize| m.values().nth(n % m.len().max(1)).copied();
            let mut gone = Vec::new();
            for op in ops {
                match op {
                    Op::Insert(id) if !model.contains_key(&id) => {
                        let key = streams.insert(id, Stream::new(id, 0, 0));
                        model.insert(id, key);
                    }
                    Op::Insert(_) => {}
                    Op::Remove(n) => if let Some(key) = nth(&model, n) {
                        prop_assert_eq!(streams.remove(key).map(|s| s.owner), Some(key.id));
                        model.remove(&key.id);
                        queue.retain(|id| *id != key.id);
                        gone.push(key);
                    },
                    Op::Enqueue(n) => if let Some(key) = nth(&model, n) {
                        streams.enqueue(key);
                        if !queue.contains(&key.id) {
                            queue.push_back(key.id);
                        }
                    },
                    Op::Dequeue(n) => if let Some(key) = nth(&model, n) {
                        streams.dequeue(key);
                        queue.retain(|id| *id != key.id);
                    },
                    Op::Pop => prop_assert_eq!(streams.pop_queued().map(StreamKey::id), queue.pop_front()),
                }
                prop_assert_eq!(streams.len() as usize, model.len());
                prop_assert_eq!(streams.find(0), None);
                prop_assert_eq!(streams.has_queued(), !queue.is_empty());
                for (id, key) in &model {
                    prop_assert_eq!(streams.find(*id), Some(*key));
                    prop_assert_eq!(streams.get(*key).map(|s| s.owner), Some(*id));
                }
                for key in gone.iter().filter(|k| model.get(&k.id) != Some(k)) {
                    prop_assert!(streams.get(*key).is_none() && streams.remove(*key).is_none());
                }
                let mut walked = 0;
                let mut at = 0;
                while let Some((_, next)) = streams.at_or_after(at) {
                    walked += 1;
                    at = next;
                }
                prop_assert_eq!(walked, model.len());
            }
        }
    }
}
