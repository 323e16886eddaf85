//! The OpenAPI document. The committed file is what is served; a test keeps it the same as what the code says.

use super::{Api, routes as paths};
use std::sync::Arc;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// `openapi/weft-admin.json`.
pub(super) const DOCUMENT: &str = include_str!("../../../openapi/weft-admin.json");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "weft admin API",
        description = "What a weft control plane tells about itself. Read-only. Served on the Unix socket `admin.sock` in the \
                       state directory to whoever may open it, and over HTTPS to whoever has the token in `admin.token` there.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "https://localhost:7443")),
    security(("token" = []), ()),
    tags(
        (name = "services", description = "Names that workloads are reached by."),
        (name = "workloads", description = "Processes that are in the mesh."),
        (name = "proxies", description = "Proxies connected to this control plane."),
        (name = "certificates", description = "The ledger of certificates issued."),
        (name = "control plane", description = "The control plane itself."),
    ),
    modifiers(&Token),
)]
struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some(
            "The contents of `admin.token` in the state directory. Not needed on the Unix socket.".into(),
        );
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// Every route and its part of the document.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(paths::list_services))
        .routes(routes!(paths::get_service))
        .routes(routes!(paths::list_workloads))
        .routes(routes!(paths::get_workload))
        .routes(routes!(paths::list_proxies))
        .routes(routes!(paths::get_proxy))
        .routes(routes!(paths::list_certificates))
        .routes(routes!(paths::get_certificate))
        .routes(routes!(paths::get_readiness))
        .routes(routes!(paths::get_version))
        .routes(routes!(paths::get_document))
}

/// The document as the code has it, as text with a line end; `openapi/weft-admin.json` should be the same.
pub fn document() -> Result<String, serde_json::Error> {
    let (_, document) = routes().split_for_parts();
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}
