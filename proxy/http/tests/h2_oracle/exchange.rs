//! Random exchanges, and fields as both sides compare them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use weft_http::fields::Kind;
use weft_http::head::{Field, Head, Range};

/// A generator of which every run with a seed is the same (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Small bodies through tiny windows and pipes, or large ones through larger: either way some hundred round trips.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    bodies: &'static [usize],
    /// Stream windows, of either side.
    pub(crate) windows: &'static [u32],
    /// What the pipe between the two holds.
    pub(crate) pipes: &'static [usize],
}

pub(crate) fn scale(random: &mut Random) -> Scale {
    if random.one_in(2) {
        Scale { bodies: &[1, 100, 1000], windows: &[1, 10, 300, 65_535], pipes: &[10, 100, 1000] }
    } else {
        Scale { bodies: &[1, 20_000, 200_000], windows: &[3000, 65_535, 1 << 20], pipes: &[5000, 100_000] }
    }
}

/// How values begin that are sent never indexed.
pub(crate) const SECRET: &[u8] = b"secret-";

/// Name, value, never indexed.
pub(crate) type Fields = Vec<(String, Vec<u8>, bool)>;

/// What a client sends; the server's answer is an echo of it, or a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) path: String,
    pub(crate) fields: Fields,
    pub(crate) body: Bytes,
    pub(crate) trailers: Fields,
    /// The server resets with this code after the head.
    pub(crate) reset: Option<u32>,
    /// The client resets when it has sent half of the body.
    pub(crate) cancel: bool,
}

pub(crate) fn exchanges(random: &mut Random, scale: Scale, n: usize, resets: bool) -> Vec<Exchange> {
    (0..n)
        .map(|i| {
            let reset = (resets && random.one_in(5)).then(|| random.pick(&[2, 7, 8, 13]));
            let cancel = resets && reset.is_none() && random.one_in(6);
            let most = random.pick(scale.bodies);
            let body = random.below(most) + usize::from(cancel) * 100;
            Exchange {
                path: random
                    .pick(&["/", "/index.html", "/grpc.Service/Method", "/\u{e4}?q=1&r=%20"])
                    .to_owned()
                    + &if random.one_in(3) { format!("{i}") } else { String::new() },
                fields: fields(random, &NAMES),
                body: (0..body).map(|k| (k ^ i) as u8).collect(),
                trailers: if random.one_in(2) { fields(random, &NAMES[3..]) } else { Vec::new() },
                reset,
                cancel,
            }
        })
        .collect()
}

/// From the fourth on, such as may be trailers.
const NAMES: [&str; 7] = [
    "user-agent",
    "accept",
    "cookie",
    "etag",
    "x-very-long-name-that-somebody-made-up",
    "x-a",
    "grpc-status",
];

fn fields(random: &mut Random, names: &[&'static str]) -> Fields {
    let mut all: Fields = Vec::new();
    for _ in 0..random.below(7) {
        let name = random.pick(names);
        let length = random.pick(&[0, 1, 7, 40, 300, 3000]);
        let value: Vec<u8> = match random.below(4) {
            0 => vec![b'a'; length],
            1 => (0..length).map(|_| random.pick(b"abcdefghijklmnopqrstuvwxyz0123456789-_./;=")).collect(),
            2 => (0..length).map(|_| random.pick(&[0x80, 0xff, b'~', b'\\', b'{', 0xc3, b'a'])).collect(),
            _ => b"the same every time".to_vec(),
        };
        match random.one_in(6) {
            true => all.push((name.to_owned(), [SECRET, &value].concat(), true)),
            false => all.push((name.to_owned(), value, false)),
        }
    }
    // A map of fields has them by name; so that lists can be compared.
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

pub(crate) fn to_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value, never) in fields {
        let mut value = HeaderValue::from_bytes(value).unwrap();
        value.set_sensitive(*never);
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    map
}

pub(crate) fn from_map(map: &HeaderMap) -> Fields {
    let all = map.iter().map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().to_vec(), v.is_sensitive()));
    let mut all: Fields = all.collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

pub(crate) fn from_head(head: &Head, bytes: &[u8]) -> Fields {
    let text = |r: Range| String::from_utf8(r.of(bytes).to_vec()).unwrap();
    let all = head.fields.iter().map(|f| (text(f.name), f.value.of(bytes).to_vec(), f.never_indexed));
    let mut all: Fields = all.collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Appends fields to a head of our own making.
pub(crate) fn add_fields(head: &mut Head, bytes: &mut Vec<u8>, fields: &Fields) {
    for (name, value, never_indexed) in fields {
        let mut put = |octets: &[u8]| {
            bytes.extend_from_slice(octets);
            Range::new(bytes.len() - octets.len(), bytes.len())
        };
        let (range, value) = (put(name.as_bytes()), put(value));
        let kind = Kind::of(name.as_bytes());
        head.fields.push(Field { name: range, value, kind, never_indexed: *never_indexed });
    }
}

/// Compares lists; whether something was never indexed is lost within h2.
pub(crate) fn assert_same(what: &str, sent: &Fields, received: &Fields) {
    let plain = |fields: &Fields| {
        fields.iter().map(|f| format!("{}: {}", f.0, f.1.escape_ascii())).collect::<Vec<_>>()
    };
    assert_eq!(plain(sent), plain(received), "{what}");
}
