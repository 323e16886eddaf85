//! What every object has: `apiVersion`, `kind` and `metadata`.

use std::sync::Arc;

use super::reader::{At, Fields, Reader};
use crate::{
    fact::{Id, Labels},
    problem::Source,
};

/// The longest name Kubernetes allows for an object (DNS-1123 subdomain).
const MAX_NAME: usize = 253;
/// The longest label of a DNS name.
const MAX_LABEL: usize = 63;
/// The namespace of objects that name none.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// `metadata`, read.
#[derive(Clone, Debug)]
pub(super) struct Meta<'a> {
    /// Namespace and name.
    pub id: Id,
    /// `creationTimestamp`, as written: RFC 3339 in UTC, so that text order is time order.
    pub created: Option<Arc<str>>,
    /// `labels`
    pub labels: Labels,
    /// `annotations`; what they mean is up to the kind.
    pub annotations: Vec<(&'a str, At<'a>)>,
    /// Where the object stands.
    pub source: Source,
}

/// Reads `metadata` of an object. What is wrong with it is a problem recorded, and a name stands in for
/// one that is not there, so that the rest of the object is read all the same.
pub(super) fn read<'a>(object: &Fields<'a>, r: &mut Reader) -> Meta<'a> {
    let unknown = Meta {
        id: Id::new(DEFAULT_NAMESPACE, ""),
        created: None,
        labels: Labels::new(),
        annotations: Vec::new(),
        source: r.source(object.here().position()),
    };
    fields(object, r).unwrap_or(unknown)
}

fn fields<'a>(object: &Fields<'a>, r: &mut Reader) -> Option<Meta<'a>> {
    let source = r.source(object.here().position());
    object.need(r, "metadata", "the object's name")?.fields(r, |f, r| {
        f.ignore(&[
            "generateName",
            "uid",
            "resourceVersion",
            "generation",
            "managedFields",
            "finalizers",
            "ownerReferences",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
        ]);
        let namespace = match f.get("namespace") {
            Some(at) => at.parse(r, "a namespace", label),
            None => Some(DEFAULT_NAMESPACE.into()),
        };
        let name = f
            .need(r, "name", "the object's name")
            .and_then(|at| at.parse(r, "a name of lower-case letters, digits, `-` and `.`", subdomain));
        let created = f
            .get("creationTimestamp")
            .and_then(|at| at.parse(r, "a time such as 2026-01-31T12:00:00Z", timestamp));
        let labels = f.get("labels").map(|at| labels(&at, r)).unwrap_or_default();
        let annotations = f.get("annotations").map(|at| at.entries(r)).unwrap_or_default();
        let namespace = namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.into());
        let id = Id { namespace, name: name.unwrap_or_else(|| "".into()) };
        Some(Meta { id, created, labels, annotations, source })
    })
}

/// A mapping of text to text.
pub(super) fn labels(at: &At<'_>, r: &mut Reader) -> Labels {
    let entries = at.entries(r);
    entries.into_iter().filter_map(|(key, at)| Some((key.into(), at.text(r)?.into()))).collect()
}

/// A DNS-1123 label.
pub(super) fn label(text: &str) -> Result<Arc<str>, &'static str> {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let edge = |c: Option<&u8>| c.is_some_and(|c| *c != b'-');
    let bytes = text.as_bytes();
    if bytes.len() > MAX_LABEL {
        return Err("longer than 63 characters");
    }
    if bytes.iter().copied().all(inner) && edge(bytes.first()) && edge(bytes.last()) {
        Ok(text.into())
    } else {
        Err("")
    }
}

/// A DNS-1123 subdomain.
pub(super) fn subdomain(text: &str) -> Result<Arc<str>, &'static str> {
    if text.len() > MAX_NAME {
        return Err("longer than 253 characters");
    }
    match text.split('.').all(|part| label(part).is_ok()) {
        true => Ok(text.into()),
        false => Err(""),
    }
}

/// `2026-01-31T12:00:00Z`, with or without a fraction: compared as text, so only UTC.
fn timestamp(text: &str) -> Result<Arc<str>, &'static str> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let (head, tail) = text.split_at_checked(SHAPE.len()).ok_or("")?;
    let same = |(c, shape): (u8, &u8)| if *shape == b'0' { c.is_ascii_digit() } else { c == *shape };
    let fraction = tail.strip_suffix('Z').ok_or("must be in UTC, ending in Z")?;
    let digits = |fraction: &str| !fraction.is_empty() && fraction.bytes().all(|c| c.is_ascii_digit());
    if head.bytes().zip(SHAPE).all(same)
        && (fraction.is_empty() || fraction.strip_prefix('.').is_some_and(digits))
    {
        Ok(text.into())
    } else {
        Err("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names() {
        for (text, good) in [
            ("a", true),
            ("a-1", true),
            ("web.default.svc.cluster.local", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a..b", false),
            ("a_b", false),
        ] {
            assert_eq!(subdomain(text).is_ok(), good, "{text:?}");
        }
        assert!(label(&"a".repeat(63)).is_ok());
        assert!(label(&"a".repeat(64)).is_err());
        assert!(label("a.b").is_err());
    }

    #[test]
    fn timestamps_are_rfc_3339_in_utc() {
        for (text, good) in [
            ("2026-01-31T12:00:00Z", true),
            ("2026-01-31T12:00:00.123Z", true),
            ("2026-01-31T12:00:00.Z", false),
            ("2026-01-31T12:00:00+01:00", false),
            ("2026-01-31", false),
            ("é026-01-31T12:00:00Z", false),
        ] {
            assert_eq!(timestamp(text).is_ok(), good, "{text:?}");
        }
    }
}
