//! A head on its way out: what was received, what this hop changes, and the one place that says which fields go on.

use super::{Field, Head, Method, Range, Section, Target};
use crate::fields::{Indexing, Kind, Leg, SHORT_SECRET};

/// A field as a codec writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// The name. In the letter case it came in if it came over HTTP/1.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// What the name means.
    pub kind: Kind,
    never_indexed: bool,
}

impl FieldRef<'_> {
    /// How HPACK may write it, the value and the wish of the hop before considered.
    #[inline]
    pub fn indexing(&self) -> Indexing {
        match self.kind.meaning().indexing {
            _ if self.never_indexed => Indexing::Never,
            Indexing::NeverIfShort if self.value.len() < SHORT_SECRET => Indexing::Never,
            Indexing::NeverIfShort => Indexing::Index,
            indexing => indexing,
        }
    }
}

/// Fields that this hop adds, in bytes of their own. Reused for every message.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

impl Extra {
    /// No added fields.
    pub const NONE: &'static Self = &Self { bytes: Vec::new(), fields: Vec::new() };

    /// Empties it. Capacity stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }

    /// Adds a field of a known name.
    pub fn add(&mut self, kind: Kind, value: &[u8]) {
        self.push(kind.name().as_bytes(), value, kind);
    }

    /// Adds a field of any name; it is sent in lower case.
    pub fn add_named(&mut self, name: &[u8], value: &[u8]) {
        self.push(name, value, Kind::of(name));
    }

    fn push(&mut self, name: &[u8], value: &[u8], kind: Kind) {
        let start = self.bytes.len();
        self.bytes.extend(name.iter().map(u8::to_ascii_lowercase));
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.fields.push(Field {
            name: Range::new(start, middle),
            value: Range::new(middle, self.bytes.len()),
            kind,
            never_indexed: false,
        });
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.fields.iter().map(|f| field_ref(&self.bytes, f))
    }
}

#[inline]
fn field_ref<'a>(bytes: &'a [u8], field: &Field) -> FieldRef<'a> {
    FieldRef {
        name: field.name.of(bytes),
        value: field.value.of(bytes),
        kind: field.kind,
        never_indexed: field.never_indexed,
    }
}

/// A head to be written: the received one, and the changes of this hop.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The received head.
    pub head: &'a Head,
    /// The buffer that its ranges are of.
    pub bytes: &'a [u8],
    /// Which way it goes: decides the fields that end here.
    pub leg: Leg,
    /// Fields added by this hop; they are written whatever the table says of their names.
    pub extra: &'a Extra,
    /// Instead of the received path.
    pub path: Option<&'a [u8]>,
    /// Instead of the received authority.
    pub authority: Option<&'a [u8]>,
}

impl<'a> Outgoing<'a> {
    /// A head passed on without changes.
    pub fn new(head: &'a Head, bytes: &'a [u8], leg: Leg) -> Self {
        Self { head, bytes, leg, extra: Extra::NONE, path: None, authority: None }
    }

    /// The same with added fields.
    pub fn with(self, extra: &'a Extra) -> Self {
        Self { extra, ..self }
    }

    /// The method's name.
    pub fn method(&self) -> &'a [u8] {
        self.head.method_name.of(self.bytes)
    }

    /// Path and query. Of an absolute target without a path: `/`, or `*` for OPTIONS (RFC 9112 3.2.4).
    pub fn path(&self) -> &'a [u8] {
        match self.path.unwrap_or_else(|| self.head.path.of(self.bytes)) {
            b"" if self.head.method == Method::Options && self.head.target == Target::Absolute => b"*",
            b"" => b"/",
            path => path,
        }
    }

    /// Host and port; empty if nothing named one.
    pub fn authority(&self) -> &'a [u8] {
        self.authority.unwrap_or_else(|| self.head.authority.of(self.bytes))
    }

    /// The scheme; `http` if nothing named one.
    pub fn scheme(&self) -> &'a [u8] {
        let scheme = self.head.scheme.of(self.bytes);
        if scheme.is_empty() { b"http" } else { scheme }
    }

    /// The fields that go on, and the added ones after them.
    ///
    /// Without those that end here, without `host` (the authority says it, each codec in its way), with
    /// `te: trailers` if that was said. `content-length` is among them: the HTTP/1 writer leaves it out where the
    /// framing says otherwise. Trailer sections carry only what may be a trailer.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = FieldRef<'a>> + use<'a> {
        let Self { head, bytes, leg, extra, .. } = *self;
        let trailers = head.section == Section::Trailers;
        // Of a response without content no length is said (RFC 9110 8.6), whatever its sender says.
        let no_length = head.section == Section::Response && (head.status < 200 || head.status == 204);
        let te = FieldRef { name: b"te", value: b"trailers", kind: Kind::Te, never_indexed: false };
        head.fields
            .iter()
            .filter(move |f| {
                let meaning = f.kind.meaning();
                meaning.forwarded(leg)
                    && f.kind != Kind::Host
                    && (!trailers || meaning.in_trailers)
                    && !(no_length && f.kind == Kind::ContentLength)
            })
            .map(move |f| field_ref(bytes, f))
            .chain(head.facts.te_trailers.then_some(te))
            .chain(extra.iter())
    }
}
