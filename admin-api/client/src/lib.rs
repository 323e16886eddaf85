//! The typed client of the admin API: what the command line and tests ask a control plane with.
//!
//! Owns how to reach one (Unix socket or HTTPS), following pages, and turning refusals into errors a person can act on.
//! The types are the server's own (`weft_admin_api::types`), so they cannot drift; that every operation is in the
//! OpenAPI document, and the other way round, is a test.
//!
//! Must not know: the server's routes, the store, the terminal.
//!
//! Read first: [`Client`], [`ClientError`], [`Operation`].
//!
//! ```no_run
//! # async fn f() -> Result<(), weft_admin_client::ClientError> {
//! use weft_admin_client::{Client, Filter};
//!
//! let client = Client::unix("/var/lib/weft/admin.sock");
//! for workload in client.workloads(&Filter::default()).await? {
//!     println!("{}/{} {}", workload.namespace, workload.name, workload.identity);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Bounds: [`TIMEOUT`] per request, [`MAX_BODY`] per answer, [`MAX_PAGES`] per list.

mod connect;
mod error;
mod operation;

#[cfg(test)]
mod tests;

pub use self::{connect::Https, error::ClientError, operation::Operation};
pub use weft_admin_api::{Problem, types};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::{path::PathBuf, time::Duration};
use types::{
    Certificate, CertificatePage, MAX_LIMIT, Page, Proxy, ProxyPage, Readiness, Service, ServicePage,
    Version, Workload, WorkloadPage,
};

/// From connecting to the last byte of the answer: 10 s.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer in bytes: 8 MiB. A full page has about 500 KiB.
pub const MAX_BODY: usize = 8 * 1024 * 1024;

/// Most pages of one list: 1,000 (of [`MAX_LIMIT`] items).
pub const MAX_PAGES: u32 = 1_000;

/// Asks one control plane. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    target: connect::Target,
}

/// Which objects to list; all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only objects of this namespace; not for certificates.
    pub namespace: Option<String>,
    /// Only certificates of this identity; for certificates alone.
    pub identity: Option<String>,
    /// At most so many objects.
    pub limit: Option<u32>,
}

impl Client {
    /// Asks over the Unix socket of a control plane on this machine (`admin.sock` in its state directory).
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { target: connect::Target::Unix(path.into()) }
    }

    /// Asks over HTTPS.
    pub fn https(https: Https) -> Result<Self, ClientError> {
        https.into_target().map(|target| Self { target })
    }

    /// Services, by namespace and name.
    pub async fn services(&self, filter: &Filter) -> Result<Vec<Service>, ClientError> {
        self.list::<ServicePage>(Operation::ListServices, filter).await
    }

    /// One service.
    pub async fn service(&self, namespace: &str, name: &str) -> Result<Service, ClientError> {
        self.get(Operation::GetService, &[namespace, name], &[]).await
    }

    /// Workloads, by namespace and name.
    pub async fn workloads(&self, filter: &Filter) -> Result<Vec<Workload>, ClientError> {
        self.list::<WorkloadPage>(Operation::ListWorkloads, filter).await
    }

    /// One workload.
    pub async fn workload(&self, namespace: &str, name: &str) -> Result<Workload, ClientError> {
        self.get(Operation::GetWorkload, &[namespace, name], &[]).await
    }

    /// Proxies that are connected, by namespace and name.
    pub async fn proxies(&self, filter: &Filter) -> Result<Vec<Proxy>, ClientError> {
        self.list::<ProxyPage>(Operation::ListProxies, filter).await
    }

    /// One proxy.
    pub async fn proxy(&self, namespace: &str, name: &str) -> Result<Proxy, ClientError> {
        self.get(Operation::GetProxy, &[namespace, name], &[]).await
    }

    /// Certificates, newest first. Without a limit this reads the whole ledger.
    pub async fn certificates(&self, filter: &Filter) -> Result<Vec<Certificate>, ClientError> {
        self.list::<CertificatePage>(Operation::ListCertificates, filter).await
    }

    /// One certificate, by its serial number.
    pub async fn certificate(&self, serial: &str) -> Result<Certificate, ClientError> {
        self.get(Operation::GetCertificate, &[serial], &[]).await
    }

    /// Whether the control plane does its work. One that is not ready is an answer, not an error.
    pub async fn readiness(&self) -> Result<Readiness, ClientError> {
        self.get(Operation::GetReadiness, &[], &[]).await
    }

    /// What is running.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get(Operation::GetVersion, &[], &[]).await
    }

    /// The OpenAPI document.
    pub async fn document(&self) -> Result<serde_json::Value, ClientError> {
        self.get(Operation::GetDocument, &[], &[]).await
    }

    /// Follows the pages of a list.
    async fn list<P: Page + DeserializeOwned>(
        &self,
        operation: Operation,
        filter: &Filter,
    ) -> Result<Vec<P::Item>, ClientError> {
        let wanted = filter.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let missing = u32::try_from(wanted.saturating_sub(items.len())).unwrap_or(u32::MAX);
            let limit = missing.min(MAX_LIMIT).to_string();
            if missing == 0 {
                return Ok(items);
            }
            let query = [
                ("limit", Some(limit.as_str())),
                ("cursor", cursor.as_deref()),
                ("namespace", filter.namespace.as_deref()),
                ("identity", filter.identity.as_deref()),
            ];
            let page: P = self.get(operation, &[], &query).await?;
            let (page, next) = page.into_parts();
            items.extend(page);
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(items),
            }
        }
        Err(ClientError::TooManyPages)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        operation: Operation,
        names: &[&str],
        query: &[(&str, Option<&str>)],
    ) -> Result<T, ClientError> {
        let path = operation.path(names, query);
        let (status, body) = tokio::time::timeout(TIMEOUT, self.send(operation, &path))
            .await
            .map_err(|_| ClientError::Timeout { target: self.target.to_string() })??;
        // A control plane that is not ready says so with 503 and the same contents.
        if status.is_success()
            || (operation == Operation::GetReadiness && status == StatusCode::SERVICE_UNAVAILABLE)
        {
            return serde_json::from_slice(&body).map_err(|source| ClientError::Contents { path, source });
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(ClientError::Status { path, status }),
        }
    }

    async fn send(&self, operation: Operation, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let mut request = Request::builder()
            .method(operation.method())
            .uri(path)
            .header(header::HOST, self.target.host())
            .header(header::ACCEPT, "application/json, application/problem+json")
            .header(header::USER_AGENT, concat!("weft/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = self.target.token() {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(ClientError::Request)?;

        let mut sender = self.target.connect().await?;
        let exchange = |source| ClientError::Exchange { target: self.target.to_string(), source };
        let response = sender.send_request(request).await.map_err(exchange)?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| match error
                .downcast::<hyper::Error>(
            ) {
                Ok(source) => exchange(*source),
                Err(error) if error.is::<LengthLimitError>() => {
                    ClientError::TooLong { path: path.to_owned() }
                }
                Err(error) => ClientError::Body(error),
            })?;
        Ok((status, body.to_bytes()))
    }
}
