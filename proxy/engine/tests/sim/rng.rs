//! Random numbers that depend on the seed only (SplitMix64).

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
        match self.below(4) {
            0 => 0,
            1 => self.below(64),
            2 => self.below(most / 16 + 1),
            _ => self.below(most + 1),
        }
    }
}

/// What byte `i` of a message is: different for each message, so that nothing can be mixed up.
pub(crate) fn pattern(id: u32, i: usize) -> u8 {
    let z = (u64::from(id) << 32 | i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (z >> 56) as u8 ^ (z >> 24) as u8
}

pub(crate) fn patterned(id: u32, from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|i| pattern(id, i)).collect()
}
