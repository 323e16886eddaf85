//! Random numbers that depend on the seed only (SplitMix64), and what the content of messages looks like.

use std::sync::OnceLock;

#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 if `n` is.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// From `a` to `b`, both included.
    pub(crate) fn between(&mut self, a: usize, b: usize) -> usize {
        a + self.below(b - a + 1)
    }

    /// One time out of `n`.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Small numbers most of the time, sometimes large ones.
    pub(crate) fn size(&mut self, most: usize) -> usize {
        match self.below(6) {
            0 => 0,
            1 | 2 => self.below(64),
            3 | 4 => self.below(most / 16 + 1),
            _ => self.below(most + 1),
        }
    }
}

/// A prime, so that no two places of a message look alike.
const PERIOD: usize = 65_521;

fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut rng = Rng::new(7);
        (0..PERIOD).map(|_| rng.next() as u8).collect()
    })
}

/// The bytes of message `id` from `from` on: different for each message, so that nothing can be mixed up.
fn pieces(id: u32, from: usize, len: usize) -> impl Iterator<Item = &'static [u8]> {
    let (mut at, mut left) = ((id as usize * 7_919 + from) % PERIOD, len);
    std::iter::from_fn(move || {
        let n = left.min(PERIOD - at);
        let piece = &table()[at..at + n];
        (at, left) = (0, left - n);
        (n > 0).then_some(piece)
    })
}

pub(crate) fn patterned(id: u32, from: usize, len: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(len);
    pieces(id, from, len).for_each(|p| all.extend_from_slice(p));
    all
}

/// Whether `bytes` are those of message `id` from `from` on.
pub(crate) fn is_patterned(id: u32, from: usize, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    pieces(id, from, bytes.len()).all(|piece| {
        let (this, after) = rest.split_at(piece.len());
        rest = after;
        this == piece
    })
}
