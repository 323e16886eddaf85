//! The methods of the proxy API that are served.

/// The methods there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `Destination.Get`
    Get,
    /// `Destination.GetProfile`
    GetProfile,
    /// `OutboundPolicies.Get`
    GetOutbound,
    /// `OutboundPolicies.Watch`
    WatchOutbound,
    /// `InboundServerPolicies.GetPort`
    GetPort,
    /// `InboundServerPolicies.WatchPort`
    WatchPort,
    /// `Identity.Certify`
    Certify,
}

impl Method {
    /// Every method, in order of declaration.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::GetProfile,
        Self::GetOutbound,
        Self::WatchOutbound,
        Self::GetPort,
        Self::WatchPort,
        Self::Certify,
    ];

    /// The method with this path.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        Self::ALL.into_iter().find(|method| method.service() == service && method.name() == name)
    }

    /// The full name of the service it belongs to.
    #[must_use]
    pub fn service(self) -> &'static str {
        match self {
            Self::Get | Self::GetProfile => "io.linkerd.proxy.destination.Destination",
            Self::GetOutbound | Self::WatchOutbound => "io.linkerd.proxy.outbound.OutboundPolicies",
            Self::GetPort | Self::WatchPort => "io.linkerd.proxy.inbound.InboundServerPolicies",
            Self::Certify => "io.linkerd.proxy.identity.Identity",
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get | Self::GetOutbound => "Get",
            Self::GetProfile => "GetProfile",
            Self::WatchOutbound => "Watch",
            Self::GetPort => "GetPort",
            Self::WatchPort => "WatchPort",
            Self::Certify => "Certify",
        }
    }

    /// `unary` or `server_stream`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Get | Self::GetProfile | Self::WatchOutbound | Self::WatchPort => "server_stream",
            Self::GetOutbound | Self::GetPort | Self::Certify => "unary",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_methods() {
        for method in Method::ALL {
            assert_eq!(Method::of(&format!("/{}/{}", method.service(), method.name())), Some(method));
        }
        for path in [
            "",
            "/",
            "/io.linkerd.proxy.destination.Destination",
            "/x/Get",
            "io.linkerd.proxy.identity.Identity/Certify",
        ] {
            assert_eq!(Method::of(path), None, "{path}");
        }
    }
}
