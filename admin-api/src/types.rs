//! Every type on the wire. Admin types are never domain types: they change only on purpose.

mod certificate;
mod page;
mod problem;
mod proxy;
mod readiness;
mod service;
mod workload;

pub use self::{
    certificate::{Certificate, CertificatePage, CertificateState},
    page::{DEFAULT_LIMIT, MAX_LIMIT, Page},
    problem::{Fault, Problem},
    proxy::{Proxy, ProxyCertificate, ProxyPage},
    readiness::{Check, CheckState, ManifestProblem, Readiness, Version},
    service::{Port, Protocol, Service, ServicePage},
    workload::{Workload, WorkloadPage},
};
