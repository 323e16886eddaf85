//! What a policy, route, backend or authorization came from.

use crate::port::Port;
use std::{fmt, str::FromStr, sync::Arc};
use thiserror::Error;

/// Where a piece of configuration comes from: an object somebody wrote, or a default with a name.
///
/// Printed as `default/<name>` or as [`ResourceRef`]. Source: `meta.Metadata`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Meta {
    /// Made up by a control plane or a proxy in the absence of an object.
    Default {
        /// Which default, such as `all-unauthenticated`.
        name: Arc<str>,
    },
    /// An object.
    Resource(ResourceRef),
}

/// A reference to an object: `<group>/<kind>/<namespace>/<name>[:<port>][#<section>]`.
///
/// Any part may be empty. Parts are kept as given: the peer that names them decides what they mean.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceRef {
    /// API group; `core` for Kubernetes' own kinds.
    pub group: Arc<str>,
    /// Kind, in the case the peer writes it.
    pub kind: Arc<str>,
    /// Namespace; empty where the peer does not say.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// A named section of the object (a rule, a listener).
    pub section: Option<Arc<str>>,
    /// A port of the object.
    pub port: Option<Port>,
}

/// Why some text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a reference: default/NAME or GROUP/KIND/NAMESPACE/NAME[:PORT][#SECTION] was expected")]
pub struct InvalidMeta(String);

// === impl Meta ===

impl Meta {
    /// The kind of every default.
    pub const DEFAULT_KIND: &'static str = "default";

    /// A default of this name.
    pub fn default_named(name: impl Into<Arc<str>>) -> Self {
        Self::Default { name: name.into() }
    }

    /// The object, if it is one.
    pub fn resource(&self) -> Option<&ResourceRef> {
        match self {
            Self::Default { .. } => None,
            Self::Resource(resource) => Some(resource),
        }
    }

    /// The API group; empty for defaults.
    pub fn group(&self) -> &str {
        self.resource().map_or("", |r| &r.group)
    }

    /// The kind; `default` for defaults.
    pub fn kind(&self) -> &str {
        self.resource().map_or(Self::DEFAULT_KIND, |r| &r.kind)
    }

    /// The namespace; empty for defaults.
    pub fn namespace(&self) -> &str {
        self.resource().map_or("", |r| &r.namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Self::Default { name } => name,
            Self::Resource(resource) => &resource.name,
        }
    }

    /// The section; empty if there is none.
    pub fn section(&self) -> &str {
        self.resource().and_then(|r| r.section.as_deref()).unwrap_or("")
    }

    /// The port, if one is named.
    pub fn port(&self) -> Option<Port> {
        self.resource().and_then(|r| r.port)
    }
}

impl From<ResourceRef> for Meta {
    fn from(resource: ResourceRef) -> Self {
        Self::Resource(resource)
    }
}

impl FromStr for Meta {
    type Err = InvalidMeta;

    fn from_str(s: &str) -> Result<Self, InvalidMeta> {
        match s.strip_prefix("default/") {
            Some(name) if !name.contains('/') => Ok(Self::default_named(name)),
            _ => s.parse().map(Self::Resource),
        }
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default { name } => write!(f, "default/{name}"),
            Self::Resource(resource) => resource.fmt(f),
        }
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meta({self})")
    }
}

// === impl ResourceRef ===

impl ResourceRef {
    /// A reference without section and port.
    pub fn new(
        group: impl Into<Arc<str>>,
        kind: impl Into<Arc<str>>,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            section: None,
            port: None,
        }
    }

    /// The same object, at a port.
    #[must_use]
    pub fn with_port(mut self, port: Port) -> Self {
        self.port = Some(port);
        self
    }

    /// The same object, at a section.
    #[must_use]
    pub fn with_section(mut self, section: impl Into<Arc<str>>) -> Self {
        self.section = Some(section.into());
        self
    }
}

impl FromStr for ResourceRef {
    type Err = InvalidMeta;

    fn from_str(s: &str) -> Result<Self, InvalidMeta> {
        let invalid = || InvalidMeta(s.to_owned());
        let (rest, section) = match s.split_once('#') {
            Some((rest, section)) => (rest, Some(Arc::from(section))),
            None => (s, None),
        };
        let (rest, port) = match rest.rsplit_once(':') {
            Some((rest, port)) => (rest, Some(port.parse().map_err(|_| invalid())?)),
            None => (rest, None),
        };
        let mut parts = rest.split('/');
        let mut part = || parts.next().ok_or_else(invalid);
        let (group, kind, namespace, name) = (part()?, part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(invalid());
        }
        Ok(Self { section, port, ..Self::new(group, kind, namespace, name) })
    }
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.group, self.kind, self.namespace, self.name)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if let Some(section) = &self.section {
            write!(f, "#{section}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceRef({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn defaults() {
        let meta = Meta::default_named("all-unauthenticated");
        assert_eq!((meta.group(), meta.kind(), meta.name()), ("", "default", "all-unauthenticated"));
        assert_eq!((meta.namespace(), meta.section(), meta.port()), ("", "", None));
        assert_eq!(meta.to_string(), "default/all-unauthenticated");
    }

    #[test]
    fn resources() {
        let meta: Meta = "core/Service/shop/web:8080#main".parse().unwrap();
        assert_eq!(
            (meta.group(), meta.kind(), meta.namespace(), meta.name()),
            ("core", "Service", "shop", "web")
        );
        assert_eq!((meta.section(), meta.port().map(Port::get)), ("main", Some(8080)));
        for text in ["", "a", "a/b/c", "a/b/c/d/e", "a/b/c/d:x", "default/a/b"] {
            assert!(text.parse::<Meta>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn parts_may_be_empty() {
        let meta: Meta = "/server//web".parse().unwrap();
        assert_eq!((meta.group(), meta.kind(), meta.namespace(), meta.name()), ("", "server", "", "web"));
    }

    proptest! {
        #[test]
        fn display_round_trips(
            text in "default/[a-z-]{0,9}|[a-z.]{0,9}/[A-Za-z]{1,9}/[a-z-]{0,9}/[a-z.-]{0,9}(:[1-9][0-9]{0,3})?(#[a-z]{1,5})?"
        ) {
            let meta: Meta = text.parse().unwrap();
            prop_assert_eq!(meta.to_string(), text);
        }
    }
}
