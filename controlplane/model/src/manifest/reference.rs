//! References from one object to another: `{group, kind, name, namespace}`.

use std::sync::Arc;

use super::{
    meta,
    reader::{At, Reader},
};

/// A reference, read.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    /// API group; empty is core.
    pub group: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
    /// Namespace, when written.
    pub namespace: Option<Arc<str>>,
    /// Name.
    pub name: Arc<str>,
}

/// Reads a reference; `default_group` is the group when none is written.
pub(super) fn read(at: &At<'_>, r: &mut Reader, default_group: &str) -> Option<Reference> {
    at.fields(r, |f, r| {
        let group = match f.get("group") {
            Some(at) => at.text(r).map(Arc::from),
            None => Some(default_group.into()),
        };
        let kind = f.need(r, "kind", "the kind of the object meant").and_then(|at| at.text(r).map(Arc::from));
        let namespace = f.get("namespace").map(|at| at.parse(r, "a namespace", meta::label));
        let name = f
            .need(r, "name", "the name of the object meant")
            .and_then(|at| at.parse(r, "an object's name", meta::subdomain));
        let namespace = match namespace {
            Some(None) => return None,
            Some(some) => some,
            None => None,
        };
        Some(Reference { group: group?, kind: kind?, namespace, name: name? })
    })
}

/// A group and kind for messages: `policy.linkerd.io Server`, `core Service`. Whatever was written there, on one line.
#[must_use]
pub(super) fn show(group: &str, kind: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    format!("{} {}", group.escape_debug(), kind.escape_debug())
}
