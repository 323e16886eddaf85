//! Whether a program can be put into an image: static, for the right machine, silent about the machine that built it.

use thiserror::Error;

/// `e_ident` of 64-bit little-endian ELF (System V ABI, "ELF Identification").
const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
/// A segment that names the dynamic loader.
const PT_INTERP: u32 = 3;

/// What an image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// As OCI calls it.
    pub architecture: &'static str,
    /// As rustc does.
    pub target: &'static str,
    /// As ELF does: `e_machine`.
    elf: u16,
}

/// The machines there are images for.
pub const MACHINES: [Machine; 2] = [
    Machine { architecture: "amd64", target: "x86_64-unknown-linux-gnu", elf: 62 },
    Machine { architecture: "arm64", target: "aarch64-unknown-linux-gnu", elf: 183 },
];

/// Why a program does not go into an image.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    /// Not a program of Linux' kind.
    #[error("not a 64-bit little-endian ELF file")]
    Format,
    /// For another machine.
    #[error("for ELF machine {found}, expected {expected}")]
    Machine {
        /// Which.
        found: u16,
        /// Which was expected.
        expected: u16,
    },
    /// It needs a loader and libraries that the image does not have.
    #[error("dynamic: it wants a loader and libraries, which the image does not have")]
    Dynamic,
    /// It tells where it was built.
    #[error("it contains {0:?}: other bytes on another machine")]
    Path(String),
}

impl Machine {
    /// The machine of a target of rustc's.
    #[must_use]
    pub fn of_target(target: &str) -> Option<Self> {
        MACHINES.into_iter().find(|machine| machine.target == target)
    }

    /// The machine of an architecture of OCI's.
    #[must_use]
    pub fn of_architecture(architecture: &str) -> Option<Self> {
        MACHINES.into_iter().find(|machine| machine.architecture == architecture)
    }

    /// Looks at a program. `foreign` are texts that must not be in it: paths of the machine that built it.
    ///
    /// # Errors
    /// See [`ElfError`].
    pub fn check(&self, program: &[u8], foreign: &[String]) -> Result<(), ElfError> {
        let machine = u16_at(program, 18).ok_or(ElfError::Format)?;
        if !program.starts_with(&MAGIC) {
            return Err(ElfError::Format);
        }
        if machine != self.elf {
            return Err(ElfError::Machine { found: machine, expected: self.elf });
        }
        // e_phoff, e_phentsize, e_phnum
        let table = program.get(32..40).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let (Some(table), Some(size), Some(count)) = (table, u16_at(program, 54), u16_at(program, 56)) else {
            return Err(ElfError::Format);
        };
        for number in 0..u64::from(count) {
            let at = table.saturating_add(number.saturating_mul(u64::from(size)));
            let at = usize::try_from(at).map_err(|_| ElfError::Format)?;
            let kind = program.get(at..at.saturating_add(4)).and_then(|b| b.try_into().ok());
            match kind.map(u32::from_le_bytes) {
                Some(PT_INTERP) => return Err(ElfError::Dynamic),
                Some(_) => {}
                None => return Err(ElfError::Format),
            }
        }
        let found = foreign.iter().find(|text| !text.is_empty() && contains(program, text.as_bytes()));
        found.map_or(Ok(()), |text| Err(ElfError::Path(text.clone())))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let Some(first) = text.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with(text) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The smallest program that passes: a header, one segment, and whatever is behind it.
    pub(crate) fn program(machine: u16, segment: u32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(&MAGIC);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1u16.to_le_bytes());
        bytes.extend(segment.to_le_bytes());
        bytes.extend([0; 52]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn what_goes_into_an_image() {
        let machine = Machine::of_architecture("amd64").unwrap();
        let foreign = ["/home/me/weft".to_owned()];
        assert_eq!(machine.check(&program(62, 1, b"//home/me/wef"), &foreign), Ok(()));
        let dynamic = machine.check(&program(62, PT_INTERP, b""), &[]);
        assert_eq!(dynamic, Err(ElfError::Dynamic));
        let path = machine.check(&program(62, 1, b"x//home/me/weft/src"), &foreign);
        assert_eq!(path, Err(ElfError::Path(foreign[0].clone())));
        let other = machine.check(&program(183, 1, b""), &[]);
        assert_eq!(other, Err(ElfError::Machine { found: 183, expected: 62 }));
        for bytes in [b"#!/bin/sh\n# a script, as long as a header\n".as_slice(), b"", &MAGIC] {
            assert_eq!(machine.check(bytes, &[]), Err(ElfError::Format));
        }
    }

    /// This test is a dynamic program.
    #[test]
    fn a_real_program_that_is_dynamic() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let own_machine =
            Machine::of_target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH)).unwrap();
        assert_eq!(own_machine.check(&own, &[]), Err(ElfError::Dynamic));
    }

    proptest! {
        #[test]
        fn anything_may_be_looked_at(rest in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..64, byte: u8) {
            let mut bytes = program(62, 1, &rest);
            bytes[at] = byte;
            let _ = MACHINES[0].check(&bytes, &["x".to_owned()]);
        }
    }
}
