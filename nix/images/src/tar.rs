//! Tar archives whose bytes depend on nothing but what is put in: POSIX ustar, with pax records where ustar has no room.
//!
//! No clock, no user names, no device numbers: every time is 0 (1970-01-01), owners are numbers that the caller gives.

use std::fmt;

/// Tar's unit: everything is padded to it.
const BLOCK: usize = 512;
/// ustar's room for a name and for a link's target (POSIX.1-2017 `pax`, "ustar Interchange Format").
const NAME: usize = 100;
/// ustar's room for the directories before a name.
const PREFIX: usize = 155;

/// Where a header keeps what.
mod at {
    use std::ops::Range;
    pub(super) const NAME: Range<usize> = 0..100;
    pub(super) const MODE: Range<usize> = 100..108;
    pub(super) const UID: Range<usize> = 108..116;
    pub(super) const GID: Range<usize> = 116..124;
    pub(super) const SIZE: Range<usize> = 124..136;
    pub(super) const TIME: Range<usize> = 136..148;
    pub(super) const SUM: Range<usize> = 148..156;
    pub(super) const KIND: Range<usize> = 156..157;
    pub(super) const LINK: Range<usize> = 157..257;
    pub(super) const MAGIC: Range<usize> = 257..265;
    pub(super) const PREFIX: Range<usize> = 345..500;
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// A directory.
    Directory,
    /// A file with its bytes.
    File(&'a [u8]),
    /// A symbolic link with its target.
    Link(&'a str),
}

/// What goes with an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits.
    pub mode: u32,
    /// The user it belongs to.
    pub uid: u32,
    /// The group it belongs to.
    pub gid: u32,
    /// Further pax records, such as `SCHILY.xattr.security.capability`; values are bytes.
    pub records: Vec<(String, Vec<u8>)>,
}

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

/// An archive that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It ends in the middle.
    #[error("the archive ends in the middle of {0}")]
    Cut(String),
    /// A header's sum is wrong.
    #[error("the header at byte {0} is damaged")]
    Damaged(usize),
    /// Something that the writer never writes.
    #[error("{path}: entries of type {kind:?} are not known here")]
    Kind {
        /// Which entry.
        path: String,
        /// Its type.
        kind: char,
    },
}

impl Writer {
    /// Adds an entry. Paths are relative and without `./`; a directory's ends without a slash.
    pub fn put(&mut self, path: &str, meta: &Meta, node: Node<'_>) {
        let path = match node {
            Node::Directory => format!("{path}/"),
            _ => path.to_owned(),
        };
        let link = if let Node::Link(target) = node { target } else { "" };
        let mut records = meta.records.clone();
        let (prefix, name) = match split(&path) {
            Some(parts) => parts,
            None => {
                records.push(("path".to_owned(), path.clone().into_bytes()));
                ("", cut(&path))
            }
        };
        if link.len() > NAME {
            records.push(("linkpath".to_owned(), link.as_bytes().to_vec()));
        }
        if !records.is_empty() {
            let text: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let header =
                Header { name: "pax", mode: 0o644, size: text.len(), kind: b'x', ..Header::default() };
            self.block(&header);
            self.padded(&text);
        }
        let (kind, bytes): (u8, &[u8]) = match node {
            Node::Directory => (b'5', &[]),
            Node::File(bytes) => (b'0', bytes),
            Node::Link(_) => (b'2', &[]),
        };
        self.block(&Header {
            prefix,
            name,
            link: cut(link),
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            size: bytes.len(),
            kind,
        });
        self.padded(bytes);
    }

    /// The archive's bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    fn block(&mut self, header: &Header<'_>) {
        self.0.extend_from_slice(&header.bytes());
    }
}

#[derive(Default)]
struct Header<'a> {
    prefix: &'a str,
    name: &'a str,
    link: &'a str,
    mode: u32,
    uid: u32,
    gid: u32,
    size: usize,
    kind: u8,
}

impl Header<'_> {
    fn bytes(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |range: std::ops::Range<usize>, bytes: &[u8]| {
            for (to, from) in block.iter_mut().skip(range.start).take(range.len()).zip(bytes) {
                *to = *from;
            }
        };
        put(at::NAME, self.name.as_bytes());
        put(at::MODE, octal(u64::from(self.mode), 7).as_bytes());
        put(at::UID, octal(u64::from(self.uid), 7).as_bytes());
        put(at::GID, octal(u64::from(self.gid), 7).as_bytes());
        put(at::SIZE, octal(self.size as u64, 11).as_bytes());
        put(at::TIME, octal(0, 11).as_bytes());
        put(at::SUM, b"        ");
        put(at::KIND, &[self.kind]);
        put(at::LINK, self.link.as_bytes());
        put(at::MAGIC, b"ustar\x0000");
        put(at::PREFIX, self.prefix.as_bytes());
        let sum = sum(&block);
        let text = format!("{sum:06o}\0 ");
        for (to, from) in block.iter_mut().skip(at::SUM.start).zip(text.bytes()) {
            *to = from;
        }
        block
    }
}

fn sum(block: &[u8]) -> u32 {
    block.iter().map(|byte| u32::from(*byte)).sum()
}

fn octal(value: u64, digits: usize) -> String {
    format!("{value:0digits$o}")
}

/// The directories and the name of a path as ustar has room for them.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME {
        return Some(("", path));
    }
    // The last slash of a directory belongs to its name.
    let body = path.strip_suffix('/').unwrap_or(path);
    body.match_indices('/').find_map(|(slash, _)| {
        let (prefix, name) = (path.get(..slash)?, path.get(slash + 1..)?);
        (prefix.len() <= PREFIX && name.len() <= NAME).then_some((prefix, name))
    })
}

/// As much of a text as a name has room for.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// One pax record: its length in decimal, which counts itself, then `key=value`.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut out = format!("{length} {key}=").into_bytes();
    out.extend_from_slice(value);
    out.push(b'\n');
    out
}

/// An entry of an archive that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its path as written, a directory's with its slash.
    pub path: String,
    /// What goes with it.
    pub meta: Meta,
    /// What it is: `0` a file, `5` a directory, `2` a link.
    pub kind: char,
    /// A link's target.
    pub link: String,
    /// A file's bytes.
    pub bytes: &'a [u8],
}

/// Reads what [`Writer`] writes.
///
/// # Errors
/// See [`ReadError`].
pub fn read(archive: &[u8]) -> Result<Vec<Found<'_>>, ReadError> {
    let mut found = Vec::new();
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    let mut position = 0;
    while let Some(header) = archive.get(position..position + BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            return Ok(found);
        }
        let entry = parse(header).ok_or(ReadError::Damaged(position))?;
        let start = position + BLOCK;
        let end = start.saturating_add(entry.size);
        let bytes = archive.get(start..end).ok_or_else(|| ReadError::Cut(entry.path.clone()))?;
        position = start.saturating_add(entry.size.next_multiple_of(BLOCK));
        if entry.kind == b'x' {
            records = pax(bytes).ok_or(ReadError::Damaged(start))?;
            continue;
        }
        if !matches!(entry.kind, b'0' | b'2' | b'5') {
            return Err(ReadError::Kind { path: entry.path, kind: char::from(entry.kind) });
        }
        let mut item = Found {
            path: entry.path,
            meta: Meta { mode: entry.mode, uid: entry.uid, gid: entry.gid, records: Vec::new() },
            kind: char::from(entry.kind),
            link: entry.link,
            bytes,
        };
        for (key, value) in std::mem::take(&mut records) {
            match key.as_str() {
                "path" => item.path = String::from_utf8_lossy(&value).into_owned(),
                "linkpath" => item.link = String::from_utf8_lossy(&value).into_owned(),
                _ => item.meta.records.push((key, value)),
            }
        }
        found.push(item);
    }
    Err(ReadError::Cut("its end".to_owned()))
}

struct Parsed {
    path: String,
    mode: u32,
    uid: u32,
    gid: u32,
    size: usize,
    kind: u8,
    link: String,
}

fn parse(header: &[u8]) -> Option<Parsed> {
    let text = |range: std::ops::Range<usize>| {
        let field = header.get(range)?;
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        String::from_utf8(field.get(..end)?.to_vec()).ok()
    };
    let number = |range| u64::from_str_radix(text(range)?.trim(), 8).ok();
    let small = |range| number(range).and_then(|value| u32::try_from(value).ok());
    let mut blank = header.to_vec();
    blank.get_mut(at::SUM)?.fill(b' ');
    if u64::from(sum(&blank)) != number(at::SUM)? || header.get(at::MAGIC)? != b"ustar\x0000" {
        return None;
    }
    let (prefix, name) = (text(at::PREFIX)?, text(at::NAME)?);
    Some(Parsed {
        path: if prefix.is_empty() { name } else { format!("{prefix}/{name}") },
        mode: small(at::MODE)?,
        uid: small(at::UID)?,
        gid: small(at::GID)?,
        size: usize::try_from(number(at::SIZE)?).ok()?,
        kind: *header.get(at::KIND)?.first()?,
        link: text(at::LINK)?,
    })
}

fn pax(mut text: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut records = Vec::new();
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(text.get(..space)?).ok()?.parse().ok()?;
        let body = text.get(space + 1..length.checked_sub(1)?)?;
        let equals = body.iter().position(|byte| *byte == b'=')?;
        let key = String::from_utf8(body.get(..equals)?.to_vec()).ok()?;
        records.push((key, body.get(equals + 1..)?.to_vec()));
        text = text.get(length..)?;
    }
    Some(records)
}

impl fmt::Display for Found<'_> {
    /// One line, as `tar -tv` would have it: for people who compare two archives.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meta { mode, uid, gid, .. } = self.meta;
        write!(f, "{} {mode:04o} {uid}:{gid} {} {}", self.kind, self.bytes.len(), self.path)?;
        if self.link.is_empty() { Ok(()) } else { write!(f, " -> {}", self.link) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta(mode: u32) -> Meta {
        Meta { mode, ..Meta::default() }
    }

    #[test]
    fn what_is_written_is_read() {
        let long = format!("{}/{}", "d".repeat(150), "n".repeat(90));
        let longer = "x".repeat(300);
        let mut writer = Writer::default();
        writer.put("etc", &meta(0o755), Node::Directory);
        writer.put("etc/passwd", &Meta { uid: 2102, gid: 2103, ..meta(0o644) }, Node::File(b"root\n"));
        writer.put("bin/sh", &meta(0o777), Node::Link("busybox"));
        writer.put(&long, &meta(0o600), Node::File(&[7; 513]));
        let capability =
            Meta { records: vec![("SCHILY.xattr.k".into(), vec![0, b'\n', b'=', 255])], ..meta(0o755) };
        writer.put(&longer, &capability, Node::Link(&longer));
        let archive = writer.finish();
        assert_eq!(archive.len() % BLOCK, 0);
        let found = read(&archive).unwrap();
        let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "5 0755 0:0 0 etc/".to_owned(),
                "0 0644 2102:2103 5 etc/passwd".to_owned(),
                "2 0777 0:0 0 bin/sh -> busybox".to_owned(),
                format!("0 0600 0:0 513 {long}"),
                format!("2 0755 0:0 0 {longer} -> {longer}"),
            ]
        );
        assert_eq!(found[4].meta, capability);
    }

    /// Debian's tar is the judge of whether this is tar.
    #[test]
    fn tar_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.tar");
        let long = format!("{}/{}", "d".repeat(150), "n".repeat(150));
        let mut writer = Writer::default();
        writer.put("a", &meta(0o750), Node::Directory);
        writer.put("a/b", &Meta { uid: 1, gid: 2, ..meta(0o640) }, Node::File(b"hello"));
        writer.put(&long, &meta(0o777), Node::Link("../b"));
        std::fs::write(&file, writer.finish()).unwrap();
        let output = std::process::Command::new("tar")
            .args(["--utc", "--numeric-owner", "-tvf"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "drwxr-x--- 0/0 0 1970-01-01 00:00 a/".to_owned(),
                "-rw-r----- 1/2 5 1970-01-01 00:00 a/b".to_owned(),
                format!("lrwxrwxrwx 0/0 0 1970-01-01 00:00 {long} -> ../b"),
            ]
        );
    }

    #[test]
    fn damage_is_noticed() {
        let mut writer = Writer::default();
        writer.put("a", &meta(0o644), Node::File(b"hello"));
        let archive = writer.finish();
        assert_eq!(read(&archive[..515]), Err(ReadError::Cut("a".to_owned())));
        assert_eq!(read(&archive[..1024]), Err(ReadError::Cut("its end".to_owned())));
        let mut other = archive;
        other[3] ^= 1;
        assert_eq!(read(&other), Err(ReadError::Damaged(0)));
    }

    proptest! {
        /// Whatever the bytes, reading ends, and does not panic.
        #[test]
        fn anything_may_be_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..2048), flip in any::<bool>()) {
            if flip {
                let mut writer = Writer::default();
                writer.put(&"n".repeat(120), &meta(0o644), Node::File(&bytes));
                let mut archive = writer.finish();
                for (to, from) in archive.iter_mut().skip(512).zip(&bytes) {
                    *to ^= from & 1;
                }
                bytes = archive;
            }
            let _ = read(&bytes);
        }
    }
}
