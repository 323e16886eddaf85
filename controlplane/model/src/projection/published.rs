//! A view as it is published.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::view::Absent;

/// A view, immutable, with its generation and what it looks like on the wire.
///
/// The model does not know any wire format. It gives those who do a place to keep what they made of a
/// view, so that it is made once and not once per subscriber.
#[derive(Debug)]
pub struct Published<V> {
    /// The generation that made the view different from the one before.
    pub generation: u64,
    /// The view, or why there is none.
    pub view: Result<V, Absent>,
    whole: OnceLock<Bytes>,
    step: OnceLock<(u64, Bytes)>,
}

impl<V> Published<V> {
    pub(super) fn new(generation: u64, view: Result<V, Absent>) -> Self {
        Self { generation, view, whole: OnceLock::new(), step: OnceLock::new() }
    }

    /// The view encoded; `encode` runs for the first subscriber only.
    pub fn whole(&self, encode: impl FnOnce() -> Bytes) -> Bytes {
        self.whole.get_or_init(encode).clone()
    }

    /// The step from the view of generation `from` to this one, encoded. It is kept for the first `from`
    /// that is asked for, which is the one most subscribers have; for others `encode` runs each time.
    pub fn step(&self, from: u64, encode: impl FnOnce() -> Bytes) -> Bytes {
        match self.step.get() {
            Some((kept, step)) if *kept == from => step.clone(),
            Some(_) => encode(),
            None => {
                let step = encode();
                // A race is lost to an equal value.
                let _ = self.step.set((from, step.clone()));
                step
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_made_once() {
        let published = Published::new(3, Ok(()));
        let mut made = 0;
        for _ in 0..3 {
            published.whole(|| {
                made += 1;
                Bytes::from_static(b"1")
            });
        }
        assert_eq!(made, 1);
        let mut made = 0;
        for from in [2, 2, 1, 2] {
            let step = published.step(from, || {
                made += 1;
                Bytes::copy_from_slice(&[u8::try_from(from).unwrap()])
            });
            assert_eq!(u64::from(step[0]), from);
        }
        assert_eq!(made, 2, "once for 2, which is kept, and once for 1, which is not");
    }
}
