//! One function per path.

use super::{
    Api,
    document::DOCUMENT,
    list::{ByIdentity, ByName, Key, ledger_cursor},
    problem::{self, ProblemResponse, bad_request, not_found},
};
use crate::types::{
    Certificate, CertificatePage, CertificateState, DEFAULT_LIMIT, Fault, Problem, Proxy, ProxyCertificate,
    ProxyPage, Readiness, Service, ServicePage, Version, Workload, WorkloadPage,
};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{StatusCode, Uri, header};
use jiff::Timestamp;
use std::{collections::BTreeMap, sync::Arc};
use weft_store::{CertificateQuery, CertificateRow, SCHEMA_VERSION};

type Answer<T> = Result<Json<T>, ProblemResponse>;
type Names = Result<Path<(String, String)>, PathRejection>;

const SERVICES: &str = "services";
const WORKLOADS: &str = "workloads";
const PROXIES: &str = "proxies";

/// Lists services, by namespace and name.
#[utoipa::path(get, path = "/v1/services", tag = "services", params(ByName), responses(
    (status = 200, description = "One page.", body = ServicePage),
    (status = "4XX", description = "The request is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_services(State(api): State<Arc<Api>>, uri: Uri) -> Answer<ServicePage> {
    ByName::read(&uri)?.page(&uri, SERVICES, api.views.services(), service_key).map(Json)
}

/// Reads one service.
#[utoipa::path(get, path = "/v1/services/{namespace}/{name}", tag = "services",
    params(("namespace" = String, Path, description = "Its namespace."), ("name" = String, Path, description = "Its name.")),
    responses(
        (status = 200, description = "The service.", body = Service),
        (status = "4XX", description = "There is none, or the request is wrong.", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(super) async fn get_service(State(api): State<Arc<Api>>, uri: Uri, names: Names) -> Answer<Service> {
    find(&uri, names, "service", api.views.services(), service_key)
}

/// Lists workloads, by namespace and name.
#[utoipa::path(get, path = "/v1/workloads", tag = "workloads", params(ByName), responses(
    (status = 200, description = "One page.", body = WorkloadPage),
    (status = "4XX", description = "The request is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_workloads(State(api): State<Arc<Api>>, uri: Uri) -> Answer<WorkloadPage> {
    ByName::read(&uri)?.page(&uri, WORKLOADS, api.views.workloads(), workload_key).map(Json)
}

/// Reads one workload.
#[utoipa::path(get, path = "/v1/workloads/{namespace}/{name}", tag = "workloads",
    params(("namespace" = String, Path, description = "Its namespace."), ("name" = String, Path, description = "Its name.")),
    responses(
        (status = 200, description = "The workload.", body = Workload),
        (status = "4XX", description = "There is none, or the request is wrong.", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(super) async fn get_workload(State(api): State<Arc<Api>>, uri: Uri, names: Names) -> Answer<Workload> {
    find(&uri, names, "workload", api.views.workloads(), workload_key)
}

/// Lists the proxies that are connected, by namespace and name.
#[utoipa::path(get, path = "/v1/proxies", tag = "proxies", params(ByName), responses(
    (status = 200, description = "One page.", body = ProxyPage),
    (status = "4XX", description = "The request is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "The state cannot be read.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_proxies(State(api): State<Arc<Api>>, uri: Uri) -> Answer<ProxyPage> {
    let mut page: ProxyPage = ByName::read(&uri)?.page(&uri, PROXIES, api.views.proxies(), proxy_key)?;
    api.add_certificates(&uri, &mut page.items).await?;
    Ok(Json(page))
}

/// Reads one proxy.
#[utoipa::path(get, path = "/v1/proxies/{namespace}/{name}", tag = "proxies",
    params(("namespace" = String, Path, description = "Its workload's namespace."),
           ("name" = String, Path, description = "Its workload's name.")),
    responses(
        (status = 200, description = "The proxy.", body = Proxy),
        (status = "4XX", description = "There is none connected, or the request is wrong.", body = Problem,
         content_type = "application/problem+json"),
        (status = "5XX", description = "The state cannot be read.", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(super) async fn get_proxy(State(api): State<Arc<Api>>, uri: Uri, names: Names) -> Answer<Proxy> {
    let Json(mut proxy) = find(&uri, names, "proxy connected for workload", api.views.proxies(), proxy_key)?;
    api.add_certificates(&uri, std::slice::from_mut(&mut proxy)).await?;
    Ok(Json(proxy))
}

/// Lists certificates that were issued, newest first.
#[utoipa::path(get, path = "/v1/certificates", tag = "certificates", params(ByIdentity), responses(
    (status = 200, description = "One page.", body = CertificatePage),
    (status = "4XX", description = "The request is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "The state cannot be read.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_certificates(State(api): State<Arc<Api>>, uri: Uri) -> Answer<CertificatePage> {
    let query = ByIdentity::read(&uri)?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let before = query.before(&uri)?;
    let query = CertificateQuery { identity: query.identity, before, limit };
    let rows = api.store.certificates(&query).await.map_err(|error| problem::store(&uri, &error))?;
    // A full page may be the last one: then the next is empty.
    let full = u32::try_from(rows.len()).is_ok_and(|rows| rows == limit);
    let next = rows.last().filter(|_| full).map(|row| ledger_cursor(row.seq));
    let now = Timestamp::now();
    let items = rows.into_iter().map(|row| certificate(row, now)).collect();
    Ok(Json(CertificatePage { items, next }))
}

/// Reads one certificate's row of the ledger.
#[utoipa::path(get, path = "/v1/certificates/{serial}", tag = "certificates",
    params(("serial" = String, Path, description = "Its serial number, 32 hex digits.")),
    responses(
        (status = 200, description = "The certificate.", body = Certificate),
        (status = "4XX", description = "There is none, or the request is wrong.", body = Problem,
         content_type = "application/problem+json"),
        (status = "5XX", description = "The state cannot be read.", body = Problem,
         content_type = "application/problem+json"),
    ))]
pub(super) async fn get_certificate(
    State(api): State<Arc<Api>>,
    uri: Uri,
    serial: Result<Path<String>, PathRejection>,
) -> Answer<Certificate> {
    let Path(serial) = serial.map_err(|_| bad_path(&uri))?;
    let serial = serial.to_ascii_lowercase();
    if serial.len() != 32 || !serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let fault =
            Fault { location: "path.serial".into(), found: Some(serial), expected: "32 hex digits".into() };
        return Err(bad_request(&uri, vec![fault]));
    }
    let row = api.store.certificate(&serial).await.map_err(|error| problem::store(&uri, &error))?;
    let row = row.ok_or_else(|| not_found(&uri, &format!("certificate with serial number {serial}")))?;
    Ok(Json(certificate(row, Timestamp::now())))
}

/// Says whether the control plane does its work, part by part.
#[utoipa::path(get, path = "/v1/readiness", tag = "control plane", responses(
    (status = 200, description = "It is ready; parts may be degraded.", body = Readiness),
    (status = 503, description = "It is not ready.", body = Readiness),
    (status = "4XX", description = "The request is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get_readiness(State(api): State<Arc<Api>>) -> Response {
    let readiness = api.views.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Says what is running.
#[utoipa::path(get, path = "/v1/version", tag = "control plane", responses(
    (status = 200, description = "What is running.", body = Version),
    (status = "4XX", description = "The request is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get_version(State(api): State<Arc<Api>>) -> Json<Version> {
    Json(Version {
        product: "weft".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        api: "v1".into(),
        schema: SCHEMA_VERSION,
        trust_domain: api.views.trust_domain(),
    })
}

/// The OpenAPI document of this API.
#[utoipa::path(get, path = "/openapi.json", tag = "control plane", responses(
    (status = 200, description = "An OpenAPI 3.1 document.", body = serde_json::Value),
))]
pub(super) async fn get_document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

impl Api {
    /// Fills in the certificate last issued to each proxy's identity; one look per identity.
    async fn add_certificates(&self, uri: &Uri, proxies: &mut [Proxy]) -> Result<(), ProblemResponse> {
        let mut known: BTreeMap<String, Option<ProxyCertificate>> = BTreeMap::new();
        for proxy in proxies.iter_mut().filter(|proxy| proxy.certificate.is_none()) {
            let Some(identity) = &proxy.identity else { continue };
            if !known.contains_key(identity) {
                let query = CertificateQuery { identity: Some(identity.clone()), before: None, limit: 1 };
                let rows =
                    self.store.certificates(&query).await.map_err(|error| problem::store(uri, &error))?;
                let newest = rows.into_iter().next().map(|row| ProxyCertificate {
                    serial: row.certificate.serial,
                    not_after: row.certificate.not_after,
                });
                known.insert(identity.clone(), newest);
            }
            proxy.certificate = known.get(identity).cloned().flatten();
        }
        Ok(())
    }
}

fn find<T>(uri: &Uri, names: Names, what: &str, items: Vec<T>, key: impl Fn(&T) -> Key) -> Answer<T> {
    let Path(wanted) = names.map_err(|_| bad_path(uri))?;
    let (namespace, name) = &wanted;
    items
        .into_iter()
        .find(|item| key(item) == wanted)
        .map(Json)
        .ok_or_else(|| not_found(uri, &format!("{what} {namespace}/{name}")))
}

fn bad_path(uri: &Uri) -> ProblemResponse {
    let fault = Fault {
        location: "path".into(),
        found: Some(uri.path().to_owned()),
        expected: "percent-encoded UTF-8".into(),
    };
    bad_request(uri, vec![fault])
}

fn certificate(row: CertificateRow, now: Timestamp) -> Certificate {
    let CertificateRow { certificate, issued_at, .. } = row;
    Certificate {
        state: CertificateState::at(now, certificate.not_before, certificate.not_after),
        serial: certificate.serial,
        identity: certificate.identity,
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        issued_at,
        issuer_generation: certificate.issuer_generation,
        requester: certificate.requester,
        token_id: certificate.token_id,
        fingerprint: certificate.fingerprint,
    }
}

fn service_key(service: &Service) -> Key {
    (service.namespace.clone(), service.name.clone())
}

fn workload_key(workload: &Workload) -> Key {
    (workload.namespace.clone(), workload.name.clone())
}

fn proxy_key(proxy: &Proxy) -> Key {
    (proxy.namespace.clone(), proxy.name.clone())
}
