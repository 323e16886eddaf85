//! Lists: what may be asked in the query, and cutting a list into pages.
//!
//! A cursor is the list's name and the key of the last item given, so a page stays right while items come and go.

use super::problem::{ProblemResponse, bad_request};
use crate::types::{DEFAULT_LIMIT, Fault, MAX_LIMIT, Page};
use axum::extract::Query;
use http::Uri;
use utoipa::IntoParams;

/// Longest value of a query parameter that is told back in an error, in bytes.
const MAX_FOUND: usize = 100;

/// What lists of named objects take.
#[derive(Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ByName {
    /// Most items of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub(super) limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    pub(super) cursor: Option<String>,
    /// Only objects of this namespace.
    pub(super) namespace: Option<String>,
}

/// What the list of certificates takes.
#[derive(Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ByIdentity {
    /// Most items of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub(super) limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    pub(super) cursor: Option<String>,
    /// Only certificates of this identity.
    pub(super) identity: Option<String>,
}

/// A namespace and a name, which is also the order of lists.
pub(super) type Key = (String, String);

impl ByName {
    /// Reads the query; every fault at once.
    pub(super) fn read(uri: &Uri) -> Result<Self, ProblemResponse> {
        let mut query = Fields::read(uri, &["limit", "cursor", "namespace"]);
        let limit = query.limit();
        let cursor = query.take("cursor");
        let namespace = query.take("namespace");
        query.finish(uri)?;
        Ok(Self { limit, cursor, namespace })
    }

    /// Cuts the page out of a whole list.
    pub(super) fn page<P: Page>(
        &self,
        uri: &Uri,
        list: &str,
        mut items: Vec<P::Item>,
        key: impl Fn(&P::Item) -> Key,
    ) -> Result<P, ProblemResponse> {
        let after = match &self.cursor {
            None => None,
            Some(cursor) => Some(parse_key(cursor, list).ok_or_else(|| bad_cursor(uri, cursor))?),
        };
        items.retain(|item| {
            let key = key(item);
            self.namespace.as_ref().is_none_or(|namespace| *namespace == key.0)
                && after.as_ref().is_none_or(|after| key > *after)
        });
        items.sort_by_cached_key(&key);
        let limit = usize::try_from(self.limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| {
            let (namespace, name) = key(last);
            format!("{list}:{namespace}/{name}")
        });
        Ok(P::from_parts(items, next))
    }
}

impl ByIdentity {
    /// Reads the query; every fault at once.
    pub(super) fn read(uri: &Uri) -> Result<Self, ProblemResponse> {
        let mut query = Fields::read(uri, &["limit", "cursor", "identity"]);
        let limit = query.limit();
        let cursor = query.take("cursor");
        let identity = query.take("identity");
        query.finish(uri)?;
        Ok(Self { limit, cursor, identity })
    }

    /// The place in the ledger to go on before.
    pub(super) fn before(&self, uri: &Uri) -> Result<Option<i64>, ProblemResponse> {
        self.cursor
            .as_ref()
            .map(|cursor| {
                let place = cursor.strip_prefix(CERTIFICATES).and_then(|place| place.parse().ok());
                place.ok_or_else(|| bad_cursor(uri, cursor))
            })
            .transpose()
    }
}

const CERTIFICATES: &str = "certificates:";

/// The cursor after the ledger's row at this place.
pub(super) fn ledger_cursor(seq: i64) -> String {
    format!("{CERTIFICATES}{seq}")
}

fn parse_key(cursor: &str, list: &str) -> Option<Key> {
    let (namespace, name) = cursor.strip_prefix(list)?.strip_prefix(':')?.split_once('/')?;
    Some((namespace.to_owned(), name.to_owned()))
}

fn bad_cursor(uri: &Uri, cursor: &str) -> ProblemResponse {
    let expected = "`next` of an earlier page of this list, or no cursor to begin at the start";
    bad_request(uri, vec![fault("query.cursor", cursor, expected)])
}

/// The fields of a query, taken out one by one.
struct Fields {
    fields: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl Fields {
    fn read(uri: &Uri, known: &[&str]) -> Self {
        let Ok(Query(fields)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            let found = uri.query().unwrap_or_default();
            let faults = vec![fault("query", found, "name=value pairs, percent-encoded")];
            return Self { fields: Vec::new(), faults };
        };
        let mut faults = Vec::new();
        for (i, (name, _)) in fields.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                faults.push(fault("query", name, &format!("one of {}", known.join(", "))));
            } else if fields.iter().take(i).any(|(earlier, _)| earlier == name) {
                faults.push(fault(&format!("query.{name}"), "given twice", "one value"));
            }
        }
        Self { fields, faults }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let value = self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())?;
        if value.is_empty() {
            self.faults.push(fault(&format!("query.{name}"), "", "a value, or leave it out"));
            return None;
        }
        Some(value)
    }

    fn limit(&mut self) -> Option<u32> {
        let text = self.take("limit")?;
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        if limit.is_none() {
            self.faults.push(fault("query.limit", &text, &format!("a whole number from 1 to {MAX_LIMIT}")));
        }
        limit
    }

    fn finish(self, uri: &Uri) -> Result<(), ProblemResponse> {
        if self.faults.is_empty() { Ok(()) } else { Err(bad_request(uri, self.faults)) }
    }
}

fn fault(location: &str, found: &str, expected: &str) -> Fault {
    let mut found = found.to_owned();
    if found.len() > MAX_FOUND {
        found.truncate(found.floor_char_boundary(MAX_FOUND));
        found.push_str("...");
    }
    Fault { location: location.to_owned(), found: Some(found), expected: expected.to_owned() }
}
