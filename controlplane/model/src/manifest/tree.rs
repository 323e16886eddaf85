//! YAML text as a tree of values that know where they were written.

use std::{fmt, sync::Arc};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Spanned, options};

use crate::problem::{Position, Problem, Source};

/// The most documents in one file.
pub const MAX_DOCUMENTS: usize = 10_000;
/// The most YAML nodes in one file.
pub const MAX_NODES: usize = 200_000;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value begins.
    pub at: Position,
    /// The value.
    pub value: Value,
}

/// What a YAML node can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order it was written. Keys are unique.
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub at: Position,
    /// The value.
    pub value: Node,
}

/// The documents of one file, empty ones left out.
///
/// # Errors
/// Text that is not YAML, repeats a key, or is over one of the bounds above: the one problem that
/// stopped the reading.
pub fn documents(file: &Arc<str>, text: &str) -> Result<Vec<Node>, Box<Problem>> {
    let options = options! {
        budget: serde_saphyr::budget! {
            max_documents: MAX_DOCUMENTS,
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
        },
        strict_booleans: true,
    };
    let documents: Vec<Located> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let at = error.location().map(position).unwrap_or_default();
            let mut problem = Problem::file(file, format!("not readable as YAML: {}", one_line(&error)));
            problem.source = Source { file: file.clone(), at };
            Box::new(problem)
        })?;
    Ok(documents.into_iter().map(|document| document.0).collect())
}

/// The first line of the parser's message, without the place, which a [`Problem`] shows itself.
fn one_line(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(", set DuplicateKeyPolicy").next().unwrap_or(line);
    line.to_owned()
}

fn position(location: serde_saphyr::Location) -> Position {
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Position { line: small(location.line()), column: small(location.column()) }
}

/// A [`Node`] as serde reads it.
struct Located(Node);

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Bare>::deserialize(deserializer)?;
        Ok(Self(Node { at: position(spanned.referenced), value: spanned.value.0 }))
    }
}

/// A [`Value`] as serde reads it.
struct Bare(Value);

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BareVisitor)
    }
}

struct BareVisitor;

impl<'de> Visitor<'de> for BareVisitor {
    type Value = Bare;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Bare, E> {
        Ok(Bare(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Bare, E> {
        Ok(Bare(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bare, D::Error> {
        Bare::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Bare, E> {
        Ok(Bare(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Bare, E> {
        Ok(Bare(Value::Integer(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Bare, E> {
        Ok(Bare(Value::Integer(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Bare, E> {
        Ok(Bare(Value::Integer(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Bare, E> {
        Ok(Bare(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Bare, E> {
        Ok(Bare(Value::Text(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Bare, E> {
        Ok(Bare(Value::Text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Bare, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Located>()? {
            list.push(item.0);
        }
        Ok(Bare(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Bare, A::Error> {
        let mut map: Vec<Entry> = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let value = entries.next_value::<Located>()?.0;
            if map.iter().any(|entry| entry.key == key.value) {
                return Err(de::Error::custom(format_args!("key {:?} is written twice", key.value)));
            }
            map.push(Entry { at: position(key.referenced), key: key.value, value });
        }
        Ok(Bare(Value::Map(map)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Node>, String> {
        documents(&"t.yaml".into(), text).map_err(|problem| problem.to_string())
    }

    #[test]
    fn values_know_where_they_stand() {
        let documents = read("# first\n---\na: 1\nb:\n  - x\n  - y: true\n---\n---\nc: ~\n").unwrap();
        assert_eq!(documents.len(), 2, "the empty document is left out");
        let Value::Map(entries) = &documents[0].value else { panic!("{documents:?}") };
        assert_eq!((entries[0].key.as_str(), entries[0].at.line), ("a", 3));
        assert_eq!(entries[0].value, Node { at: Position { line: 3, column: 4 }, value: Value::Integer(1) });
        let Value::List(items) = &entries[1].value.value else { panic!("{entries:?}") };
        assert_eq!(items[0], Node { at: Position { line: 5, column: 5 }, value: Value::Text("x".into()) });
        let Value::Map(inner) = &items[1].value else { panic!("{items:?}") };
        assert_eq!(inner[0].value, Node { at: Position { line: 6, column: 8 }, value: Value::Bool(true) });
        let Value::Map(entries) = &documents[1].value else { panic!("{documents:?}") };
        assert_eq!((entries[0].at.line, &entries[0].value.value), (9, &Value::Null));
    }

    #[test]
    fn text_stays_text() {
        let documents = read("a: \"80\"\nb: yes\nc: 1.5\nd: 0x10\n").unwrap();
        let Value::Map(entries) = &documents[0].value else { panic!() };
        let values: Vec<_> = entries.iter().map(|entry| entry.value.value.clone()).collect();
        assert_eq!(
            values,
            [Value::Text("80".into()), Value::Text("yes".into()), Value::Float(1.5), Value::Integer(16)]
        );
    }

    #[test]
    fn bad_text_is_one_problem_with_its_place() {
        for (text, line) in [("a: 1\nb: [1, 2\nc: 3\n", 3), ("a: 1\na: 2\n", 2), ("a:\n\t- b\n", 2)] {
            let problem = read(text).unwrap_err();
            assert!(problem.starts_with(&format!("t.yaml:{line}:")), "{text:?} gave {problem}");
            assert_eq!(problem.lines().count(), 1, "{problem}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let problem = read(&"[".repeat(MAX_DEPTH * 4)).unwrap_err();
        assert!(problem.contains("not readable as YAML"), "{problem}");
        let aliases = "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
        assert!(read(aliases).is_err(), "too many aliased nodes are refused");
    }
}
