//! Bytes of a fuzzer as decisions, and the little randomness that a run derives from them.

/// A fuzzer's bytes, read from the front as decisions. When there are no more, every decision is the first choice.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// A byte; 0 when none is left.
    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A number of two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// A number of four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// One of the first `n` numbers; `n` is at most 256 and not 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.u8()) % n
    }

    /// One of some things.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// The next `n` bytes, or as many as there are.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Bytes whose number comes first, in one byte.
    pub fn short(&mut self) -> &'a [u8] {
        let n = usize::from(self.u8());
        self.bytes(n)
    }

    /// Bytes whose number comes first, in two bytes.
    pub fn long(&mut self) -> &'a [u8] {
        let n = usize::from(self.u16());
        self.bytes(n)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.bytes(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }
}

/// Random numbers that are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of the first `n` numbers; `n` is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.number() % n as u64) as usize
    }
}

/// `bytes` in pieces as a network might deliver them. `how` chooses: 0 byte by byte, others by chance, small pieces
/// more often than large ones.
#[must_use]
pub fn pieces(bytes: &[u8], how: u16) -> Vec<&[u8]> {
    let mut rng = Rng::new(u64::from(how));
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let most = match how {
            0 => 1,
            _ => [1, 3, 12, 100, rest.len()][rng.below(5)].min(rest.len()),
        };
        let (piece, after) = rest.split_at(1 + rng.below(most));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// An input like these, by chance: what a fuzzer does, in small.
#[must_use]
pub fn changed(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let Some(first) = inputs.get(rng.below(inputs.len().max(1))) else { return Vec::new() };
    let mut bytes = first.clone();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let to = (at + rng.below(9)).min(bytes.len());
        match rng.below(6) {
            0 => drop(bytes.drain(at..to)),
            1 => bytes.insert(at, rng.number() as u8),
            2 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            3 => {
                let other = &inputs[rng.below(inputs.len())];
                let from = rng.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = match rng.below(3) {
                        0 => *byte ^ (1 << rng.below(8)),
                        1 => [0, 1, 0x7f, 0x80, 0xff, b'\r', b'\n', b' ', b':', b'0'][rng.below(10)],
                        _ => rng.number() as u8,
                    };
                }
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_pieces() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        for how in 0..50 {
            assert_eq!(pieces(&bytes, how).concat(), bytes);
        }
    }

    #[test]
    fn an_empty_input_is_the_first_choice() {
        let mut input = Input::new(&[7, 1]);
        assert_eq!((input.u8(), input.u16(), input.u8(), input.flag()), (7, 1, 0, false));
        assert_eq!((input.pick(&[3, 4]), input.long(), input.is_empty()), (3, &[][..], true));
    }
}
