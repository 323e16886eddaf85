//! Ciphertext of one connection that waits to be written.

use std::cell::RefCell;
use std::io::{self, Write};

/// Longest buffer kept for the thread's next connection: what [`super::MAX_PENDING_CIPHERTEXT`] of plaintext becomes.
const MAX_SPARE: usize = super::MAX_PENDING_CIPHERTEXT + 1024;

thread_local! {
    /// Lent to the one connection that is being flushed. Its bytes mean nothing; they are there so that none need be
    /// set before the library overwrites them.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes to be written. While there are none, no memory is held.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Written up to `start`, meaningless from `end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// At least `len` bytes to write into, after those that wait; then [`Outgoing::filled`] says how many were.
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = SPARE.with(RefCell::take);
        }
        if self.bytes.len() < self.end + len {
            self.bytes.resize(self.end + len, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes of the room have become ciphertext.
    pub(super) fn filled(&mut self, len: usize) {
        self.end = (self.end + len).min(self.bytes.len());
    }

    /// Writes with one call; what was not taken stays.
    pub(super) fn write_to(&mut self, sink: &mut dyn Write) -> io::Result<usize> {
        let waiting = self.bytes.get(self.start..self.end).unwrap_or_default();
        let written = sink.write(waiting)?;
        self.start = (self.start + written).min(self.end);
        self.give_back();
        Ok(written)
    }

    /// The large buffer goes back to the thread; what still waits, if it is not much, is kept in one of its own size.
    pub(super) fn give_back(&mut self) {
        if self.len() * 2 > self.bytes.len() {
            return;
        }
        let rest = self.bytes.get(self.start..self.end).unwrap_or_default().to_vec();
        let spare = std::mem::replace(&mut self.bytes, rest);
        (self.start, self.end) = (0, self.bytes.len());
        SPARE.with_borrow_mut(|kept| {
            if spare.len() > kept.len() && spare.len() <= MAX_SPARE {
                *kept = spare;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes at a time.
    struct Slow(usize, Vec<u8>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.get(..self.0).unwrap_or(bytes);
            self.1.extend_from_slice(taken);
            Ok(taken.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn add(outgoing: &mut Outgoing, bytes: &[u8]) {
        outgoing.room(bytes.len()).get_mut(..bytes.len()).unwrap().copy_from_slice(bytes);
        outgoing.filled(bytes.len());
    }

    #[test]
    fn everything_is_written_in_order_and_nothing_is_held_then() {
        let mut outgoing = Outgoing::default();
        let mut sink = Slow(3, Vec::new());
        add(&mut outgoing, b"first ");
        assert_eq!(outgoing.write_to(&mut sink).unwrap(), 3);
        add(&mut outgoing, b"second");
        assert_eq!(outgoing.len(), 9);
        while !outgoing.is_empty() {
            assert!(outgoing.write_to(&mut sink).unwrap() > 0);
        }
        assert_eq!(sink.1, b"first second");
        assert_eq!(outgoing.bytes.capacity(), 0);
    }

    /// A sink that takes less than is added does not make it grow for ever.
    #[test]
    fn what_was_written_is_not_kept() {
        let mut outgoing = Outgoing::default();
        let mut sink = Slow(900, Vec::new());
        for _ in 0..1_000 {
            while outgoing.len() < 10_000 {
                add(&mut outgoing, &[1; 1_000]);
            }
            outgoing.write_to(&mut sink).unwrap();
            assert!(outgoing.bytes.len() <= 24_000, "{}", outgoing.bytes.len());
        }
    }

    /// A peer that takes nothing holds no more than what waits for it.
    #[test]
    fn what_waits_is_kept_in_a_buffer_of_its_size() {
        let mut outgoing = Outgoing::default();
        outgoing.room(60_000);
        outgoing.filled(500);
        outgoing.write_to(&mut Slow(100, Vec::new())).unwrap();
        assert_eq!((outgoing.len(), outgoing.bytes.capacity()), (400, 400));
        let mut other = Outgoing::default();
        assert!(other.room(1).len() >= 60_000, "the thread's buffer is free again");
    }
}
