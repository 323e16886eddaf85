//! Reading a [`Node`] field by field, collecting every problem on the way.
//!
//! A function that reads something returns `Option`: `None` means that it is absent or that a problem
//! has been recorded, and the caller goes on with the next field so that one reading finds all problems.
//! [`At::fields`] reports the fields nobody asked for, with the nearest name somebody did ask for.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    ops::RangeInclusive,
    sync::Arc,
};

use super::tree::{Entry, Node, Value};
use crate::problem::{MAX_PROBLEMS_PER_FILE, Position, Problem, Source, nearest, shown};

/// Collects the problems of one file.
#[derive(Debug)]
pub struct Reader {
    file: Arc<str>,
    problems: Vec<Problem>,
    beyond: usize,
}

impl Reader {
    /// A reader of `file`, which is the name shown to the user.
    #[must_use]
    pub fn new(file: Arc<str>) -> Self {
        Self { file, problems: Vec::new(), beyond: 0 }
    }

    /// The place `at` in this file.
    #[must_use]
    pub fn source(&self, at: Position) -> Source {
        Source { file: self.file.clone(), at }
    }

    /// Records a problem; over [`MAX_PROBLEMS_PER_FILE`] it is only counted.
    pub fn record(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS_PER_FILE {
            self.problems.push(problem);
        } else {
            self.beyond += 1;
        }
    }

    /// How many problems there are so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len() + self.beyond
    }

    /// All problems, in the order they were found.
    #[must_use]
    pub fn finish(mut self) -> Vec<Problem> {
        if self.beyond > 0 {
            self.problems.push(Problem::file(&self.file, format!("and {} more problems", self.beyond)));
        }
        self.problems
    }
}

/// A node and the path that leads to it.
#[derive(Clone, Debug)]
pub struct At<'a> {
    path: String,
    node: &'a Node,
}

impl<'a> At<'a> {
    /// The root of a document.
    #[must_use]
    pub fn root(node: &'a Node) -> Self {
        Self { path: String::new(), node }
    }

    /// Where the value begins.
    #[must_use]
    pub fn position(&self) -> Position {
        self.node.at
    }

    /// The path from the object's root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value itself.
    #[must_use]
    pub fn value(&self) -> &'a Value {
        &self.node.value
    }

    /// Records that this value is wrong.
    pub fn reject(&self, r: &mut Reader, message: impl Into<String>) {
        self.reject_with(r, message, None);
    }

    /// Records that this value is wrong and what was probably meant.
    pub fn reject_with(&self, r: &mut Reader, message: impl Into<String>, suggestion: Option<String>) {
        let value = match self.value() {
            Value::Null => Some("null".to_owned()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Integer(value) => Some(value.to_string()),
            Value::Float(value) => Some(value.to_string()),
            Value::Text(value) => Some(shown(value)),
            Value::List(_) | Value::Map(_) => None,
        };
        let source = r.source(self.position());
        r.record(Problem { source, path: self.path.clone(), value, message: message.into(), suggestion });
    }

    /// Reads a mapping. When `read` returns, the fields it did not ask for are problems.
    pub fn fields<T>(
        &self,
        r: &mut Reader,
        read: impl FnOnce(&Fields<'a>, &mut Reader) -> Option<T>,
    ) -> Option<T> {
        let Value::Map(entries) = self.value() else {
            self.reject(r, "expected a mapping");
            return None;
        };
        let fields = Fields { at: self.clone(), entries, asked: RefCell::default(), any: Cell::new(false) };
        let read = read(&fields, r);
        fields.report_unknown(r);
        read
    }

    /// The items of a list.
    pub fn list(&self, r: &mut Reader) -> Vec<At<'a>> {
        let Value::List(items) = self.value() else {
            self.reject(r, "expected a list");
            return Vec::new();
        };
        let item = |(index, node)| At { path: format!("{}[{index}]", self.path), node };
        items.iter().enumerate().map(item).collect()
    }

    /// The items of a list of at most `most`, each read by `read`. Bad items are left out.
    pub fn items<T>(
        &self,
        r: &mut Reader,
        most: usize,
        mut read: impl FnMut(&At<'a>, &mut Reader) -> Option<T>,
    ) -> Vec<T> {
        let items = self.list(r);
        if items.len() > most {
            self.reject(r, format!("expected at most {most} items, found {}", items.len()));
        }
        items.iter().take(most).filter_map(|item| read(item, r)).collect()
    }

    /// The entries of a mapping with free keys, such as labels.
    pub fn entries(&self, r: &mut Reader) -> Vec<(&'a str, At<'a>)> {
        let Value::Map(entries) = self.value() else {
            self.reject(r, "expected a mapping");
            return Vec::new();
        };
        entries.iter().map(|entry| (entry.key.as_str(), self.child(entry))).collect()
    }

    /// Text. A number or `true` is not text: quotes make it so.
    pub fn text(&self, r: &mut Reader) -> Option<&'a str> {
        match self.value() {
            Value::Text(text) => Some(text),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                self.reject(r, "expected text; put it in quotes");
                None
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.reject(r, "expected text");
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, r: &mut Reader) -> Option<bool> {
        if let Value::Bool(flag) = self.value() {
            return Some(*flag);
        }
        self.reject(r, "expected true or false");
        None
    }

    /// A whole number within `range`.
    pub fn integer<T: TryFrom<i128>>(&self, r: &mut Reader, range: RangeInclusive<i128>) -> Option<T> {
        let number = match self.value() {
            Value::Integer(number) if range.contains(number) => T::try_from(*number).ok(),
            _ => None,
        };
        if number.is_none() {
            self.reject(r, format!("expected a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A TCP port.
    pub fn port(&self, r: &mut Reader) -> Option<u16> {
        self.integer(r, 1..=65535)
    }

    /// A number, whole or not.
    pub fn number(&self, r: &mut Reader) -> Option<f64> {
        match self.value() {
            Value::Float(number) if number.is_finite() => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "ratios and weights; nobody counts to 2^53 here")]
            Value::Integer(number) => Some(*number as f64),
            _ => {
                self.reject(r, "expected a number");
                None
            }
        }
    }

    /// One of a closed set of words.
    pub fn choice<T: Clone>(&self, r: &mut Reader, table: &[(&str, T)]) -> Option<T> {
        if let Value::Text(text) = self.value()
            && let Some((_, value)) = table.iter().find(|(word, _)| word == text)
        {
            return Some(value.clone());
        }
        let words: Vec<&str> = table.iter().map(|(word, _)| *word).collect();
        let suggestion = match self.value() {
            Value::Text(text) => nearest(text, words.iter().copied()).map(str::to_owned),
            _ => None,
        };
        self.reject_with(r, format!("expected {}", alternatives(&words)), suggestion);
        None
    }

    /// Text that `parse` understands. Its error, if it says anything, is added to `expected`.
    pub fn parse<T, E: Display>(
        &self,
        r: &mut Reader,
        expected: &str,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.text(r)?) {
            Ok(value) => Some(value),
            Err(error) => {
                let why = error.to_string();
                let why = if why.is_empty() { why } else { format!(": {why}") };
                self.reject(r, format!("expected {expected}{why}"));
                None
            }
        }
    }

    fn child(&self, entry: &'a Entry) -> At<'a> {
        let path = if self.path.is_empty() {
            entry.key.clone()
        } else if entry.key.contains(['.', '/']) {
            format!("{}[{}]", self.path, entry.key)
        } else {
            format!("{}.{}", self.path, entry.key)
        };
        At { path, node: &entry.value }
    }
}

/// `A`, `A or B`, `one of A, B, C`.
fn alternatives(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [one, other] => format!("{one} or {other}"),
        many => format!("one of {}", many.join(", ")),
    }
}

/// The fields of a mapping. Every name that is asked for is remembered as a known one.
#[derive(Debug)]
pub struct Fields<'a> {
    at: At<'a>,
    entries: &'a [Entry],
    asked: RefCell<Vec<&'static str>>,
    any: Cell<bool>,
}

impl<'a> Fields<'a> {
    /// The mapping itself.
    #[must_use]
    pub fn here(&self) -> &At<'a> {
        &self.at
    }

    /// A field that may be absent. `null` counts as absent.
    pub fn get(&self, name: &'static str) -> Option<At<'a>> {
        self.asked.borrow_mut().push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        (entry.value.value != Value::Null).then(|| self.at.child(entry))
    }

    /// A field that must be there; `what` it should hold goes into the problem when it is not.
    pub fn need(&self, r: &mut Reader, name: &'static str, what: &str) -> Option<At<'a>> {
        let field = self.get(name);
        if field.is_none() {
            let path = if self.at.path.is_empty() { String::new() } else { self.at.path.clone() };
            let source = r.source(self.at.position());
            let message = format!("{name} is missing; expected {what}");
            r.record(Problem { source, path, value: None, message, suggestion: None });
        }
        field
    }

    /// Fields that are known and of no interest.
    pub fn ignore(&self, names: &[&'static str]) {
        self.asked.borrow_mut().extend_from_slice(names);
    }

    /// Whatever fields there are, they are not to be judged.
    pub fn ignore_rest(&self) {
        self.any.set(true);
    }

    fn report_unknown(&self, r: &mut Reader) {
        if self.any.get() {
            return;
        }
        let asked = self.asked.borrow();
        for entry in self.entries.iter().filter(|entry| !asked.contains(&entry.key.as_str())) {
            let suggestion = nearest(&entry.key, asked.iter().copied()).map(str::to_owned);
            let source = r.source(entry.at);
            let path = self.at.child(entry).path;
            r.record(Problem { source, path, value: None, message: "unknown field".to_owned(), suggestion });
        }
    }
}
