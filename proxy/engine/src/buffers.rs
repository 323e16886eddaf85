//! Byte queues that hold memory only while they hold bytes.
//!
//! A worker has one [`Spare`] list. A [`Buf`] takes a vector from it when the first byte comes and gives it back when the
//! last one goes, so an idle connection holds none, and in the steady state nothing is allocated.

/// A vector larger than this goes back to the allocator: it was made for a burst.
const KEPT_CAPACITY: usize = 256 * 1024;

/// Vectors waiting to be used again.
pub(crate) struct Spare {
    vecs: Vec<Vec<u8>>,
    limit: usize,
}

impl Spare {
    /// Keeps up to `limit` vectors.
    pub(crate) fn new(limit: usize) -> Self {
        Self { vecs: Vec::new(), limit }
    }

    /// An empty vector, most likely with capacity.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.vecs.pop().unwrap_or_default()
    }

    /// Takes back a vector.
    pub(crate) fn give(&mut self, mut vec: Vec<u8>) {
        if vec.capacity() > 0 && vec.capacity() <= KEPT_CAPACITY && self.vecs.len() < self.limit {
            vec.clear();
            self.vecs.push(vec);
        }
    }

    /// How many it keeps now.
    pub(crate) fn len(&self) -> usize {
        self.vecs.len()
    }
}

/// A queue of bytes: written at the end, taken from the front.
#[derive(Default)]
pub(crate) struct Buf {
    vec: Vec<u8>,
    /// How much of the front is taken.
    taken: usize,
}

impl Buf {
    /// The bytes in it.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.vec.get(self.taken..).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.vec.len() - self.taken
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where to append. Whatever appends must leave what is there alone.
    #[inline]
    pub(crate) fn writer(&mut self, spare: &mut Spare) -> &mut Vec<u8> {
        if self.vec.capacity() == 0 {
            self.vec = spare.take();
        }
        &mut self.vec
    }

    /// Appends.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8], spare: &mut Spare) {
        if !bytes.is_empty() {
            self.writer(spare).extend_from_slice(bytes);
        }
    }

    /// Takes `n` bytes from the front; when the last goes, so does the memory.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize, spare: &mut Spare) {
        self.taken = (self.taken + n).min(self.vec.len());
        if self.taken == self.vec.len() {
            self.clear(spare);
        } else if self.taken >= self.vec.len() / 2 {
            // At most as many bytes move as were taken since the last move.
            self.vec.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Gives the memory back if nothing was written after all.
    #[inline]
    pub(crate) fn release_if_empty(&mut self, spare: &mut Spare) {
        if self.is_empty() && self.vec.capacity() > 0 {
            self.clear(spare);
        }
    }

    /// Empties it.
    pub(crate) fn clear(&mut self, spare: &mut Spare) {
        spare.give(std::mem::take(&mut self.vec));
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_with_the_first_byte_and_goes_with_the_last() {
        let mut spare = Spare::new(1);
        spare.give(Vec::with_capacity(100));
        let mut buf = Buf::default();
        buf.push(b"", &mut spare);
        assert_eq!(spare.len(), 1);
        buf.push(b"hello", &mut spare);
        assert_eq!((buf.bytes(), spare.len()), (&b"hello"[..], 0));
        buf.consume(1, &mut spare);
        buf.push(b"!", &mut spare);
        assert_eq!(buf.bytes(), b"ello!");
        buf.consume(3, &mut spare);
        assert_eq!(buf.bytes(), b"o!");
        buf.consume(2, &mut spare);
        assert_eq!((buf.len(), spare.len()), (0, 1));
    }

    #[test]
    fn spare_buffers_limit() {
        let mut spare = Spare::new(2);
        for _ in 0..3 {
            spare.give(Vec::with_capacity(10));
        }
        spare.give(Vec::with_capacity(KEPT_CAPACITY + 1));
        assert_eq!(spare.len(), 2);
    }
}
