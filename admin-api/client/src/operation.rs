//! What can be asked: one variant per operation of the OpenAPI document.

use http::Method;
use std::fmt::Write;

/// An operation of the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `list_services`
    ListServices,
    /// `get_service`
    GetService,
    /// `list_workloads`
    ListWorkloads,
    /// `get_workload`
    GetWorkload,
    /// `list_proxies`
    ListProxies,
    /// `get_proxy`
    GetProxy,
    /// `list_certificates`
    ListCertificates,
    /// `get_certificate`
    GetCertificate,
    /// `get_readiness`
    GetReadiness,
    /// `get_version`
    GetVersion,
    /// `get_document`
    GetDocument,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 11] = [
        Self::ListServices,
        Self::GetService,
        Self::ListWorkloads,
        Self::GetWorkload,
        Self::ListProxies,
        Self::GetProxy,
        Self::ListCertificates,
        Self::GetCertificate,
        Self::GetReadiness,
        Self::GetVersion,
        Self::GetDocument,
    ];

    /// The HTTP method.
    pub fn method(self) -> Method {
        Method::GET
    }

    /// The path, with the names of its parameters in braces as the document has it.
    pub fn template(self) -> &'static str {
        match self {
            Self::ListServices => "/v1/services",
            Self::GetService => "/v1/services/{namespace}/{name}",
            Self::ListWorkloads => "/v1/workloads",
            Self::GetWorkload => "/v1/workloads/{namespace}/{name}",
            Self::ListProxies => "/v1/proxies",
            Self::GetProxy => "/v1/proxies/{namespace}/{name}",
            Self::ListCertificates => "/v1/certificates",
            Self::GetCertificate => "/v1/certificates/{serial}",
            Self::GetReadiness => "/v1/readiness",
            Self::GetVersion => "/v1/version",
            Self::GetDocument => "/openapi.json",
        }
    }

    /// The path with `names` in place of its parameters, in order, and what is given of the query.
    pub(crate) fn path(self, names: &[&str], query: &[(&str, Option<&str>)]) -> String {
        let mut names = names.iter();
        let mut path = String::new();
        for segment in self.template().split('/').skip(1) {
            path.push('/');
            match segment.starts_with('{') {
                true => encode(&mut path, names.next().copied().unwrap_or_default()),
                false => path.push_str(segment),
            }
        }
        for (i, (name, value)) in query.iter().filter_map(|(name, value)| Some((name, (*value)?))).enumerate()
        {
            path.push(if i == 0 { '?' } else { '&' });
            path.push_str(name);
            path.push('=');
            encode(&mut path, value);
        }
        path
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986 section 2.3).
fn encode(path: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
}
