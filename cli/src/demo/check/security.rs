//! Who is who, who may what, and what the wire shows.

use super::scene::{Observed, Scene, until};
use crate::{
    demo::{metrics::Page, topology},
    load::client::{grpc, http, lines, websocket},
    workload::place::connect_in,
};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use std::{net::SocketAddr, time::Duration};

/// How long a manifest's change may take to reach a proxy.
const CHANGE: Duration = Duration::from_secs(10);
/// How long a renewal may be waited for: the certificates of the check last half a minute and the clocks' allowance.
const RENEWAL: Duration = Duration::from_secs(55);
/// Part of the connections of which not every byte may have been captured.
const MISSED: u64 = 20;

/// A workload that the manifest does not name.
const STRANGER: &str = "stranger";
const RENEWALS: &str = "control_identity_cert_refreshes_total";
const EXPIRES: &str = "control_identity_cert_expiration_timestamp_seconds";
const ANSWERED: &str = "answered";
const DENIED: &str = "inbound_http_authz_deny_total";
const ALLOWED: &str = "inbound_http_authz_allow_total";

/// A service of which one port is for those clients alone.
fn manifest(service: &str, port: u16, protocol: &str, clients: &[&str]) -> String {
    let clients = clients.join(", ");
    format!(
        "\
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: {service}, namespace: default}}
spec:
  podSelector: {{matchLabels: {{app: {service}}}}}
  port: {port}
  proxyProtocol: {protocol}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {service}-clients, namespace: default}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: {service}}}
  requiredAuthenticationRefs:
    - {{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: {service}-clients}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {{name: {service}-clients, namespace: default}}
spec:
  identities: [{clients}]
"
    )
}

pub(super) async fn identity(scene: &mut Scene) -> anyhow::Result<Observed> {
    let client = scene.mesh.pod(topology::CLIENT)?.answer.identity.clone();
    let server = scene.mesh.pod("shop-0")?.answer.identity.clone();
    let mut sender = scene.http1("shop").await?;
    // Whoever says who it is in a header is not believed.
    let request = ::http::Request::get("/whoami").header("host", scene.authority("shop")?);
    let request = request.header("l5d-client-id", "somebody.else").body(http::empty())?;
    let response = http::whole(sender.send(request).await?).await?;
    let whoami: serde_json::Value = serde_json::from_slice(response.body())?;
    let told = whoami.get("client").and_then(|client| client.as_str()).unwrap_or("nobody").to_owned();
    let page = scene.metrics(topology::CLIENT).await?;
    let verified = page.sum(
        "tcp_open_total",
        &[("direction", "outbound"), ("peer", "dst"), ("tls", "true"), ("server_id", &server)],
    );
    let ok = told == client && verified > 0;
    Ok(Observed::new(ok, format!("server told {told}; client verified {server} on {verified} connections")))
}

pub(super) async fn permission(scene: &mut Scene) -> anyhow::Result<Observed> {
    scene.add(&topology::client(STRANGER, topology::services())).await?;
    ensure!(
        ask(scene, STRANGER).await?.status().is_success(),
        "the stranger is refused before there is a policy"
    );
    let before = scene.metrics("shop-0").await?;
    let id = |pod| scene.mesh.pod(pod).map(|pod| pod.answer.identity.clone());
    let (client, shop) = (id(topology::CLIENT)?, id("shop-0")?);
    scene.mesh.apply("shop", &manifest("shop", 8080, "HTTP/1", &[&client]))?;
    scene.mesh.apply("prices", &manifest("prices", 50051, "gRPC", &[&client, &shop]))?;
    let (_, status) = until(CHANGE, async || {
        let status = ask(scene, STRANGER).await?.status().as_u16();
        Ok((status == 403, status))
    })
    .await?;
    // The application is told why in the field that gRPC has for it; over HTTP/1 proxies say it to each other only.
    let (_, told) = until(CHANGE, async || {
        let told = call(scene, STRANGER).await?;
        Ok((told.starts_with("grpc-status 7"), told))
    })
    .await?;
    let allowed = ask(scene, topology::CLIENT).await?.status().as_u16();
    let called = call(scene, topology::CLIENT).await?;
    let after = scene.metrics("shop-0").await?;
    let more = |name: &str, labels: &[(&str, &str)]| {
        after.sum(name, labels).saturating_sub(before.sum(name, labels))
    };
    let denied = more(DENIED, &[("srv_name", "shop")]);
    let permitted = more(ALLOWED, &[("srv_name", "shop"), ("authz_name", "shop-clients")]);
    scene.mesh.withdraw("shop")?;
    scene.mesh.withdraw("prices")?;
    let (open_again, _) = until(CHANGE, async || {
        let status = ask(scene, STRANGER).await?.status();
        let told = call(scene, STRANGER).await?;
        Ok((status.is_success() && told == ANSWERED, status))
    })
    .await?;
    scene.mesh.remove(STRANGER).await?;
    let refused = status == 403 && told.starts_with("grpc-status 7: ") && told.contains("unauthorized");
    let ok = refused && allowed == 200 && called == ANSWERED && denied > 0 && permitted > 0 && open_again;
    let again = if open_again { "passes" } else { "does not pass" };
    Ok(Observed::new(
        ok,
        format!(
            "stranger: HTTP {status}, {told}, {DENIED} +{denied}; client: HTTP {allowed}, gRPC {called}, \
             {ALLOWED} +{permitted}; without the manifests the stranger {again}"
        ),
    ))
}

/// One call of the price service on a connection of its own, in words.
async fn call(scene: &Scene, pod: &str) -> anyhow::Result<String> {
    let mut sender = http::Sender::http2(scene.connect_from(pod, "prices").await?).await?;
    let quote = grpc::quote(&mut sender, "prices:50051", "tea").await;
    Ok(quote.map_or_else(|failure| failure.reason, |_| ANSWERED.to_owned()))
}

/// One request to the shop on a connection of its own.
async fn ask(scene: &Scene, pod: &str) -> anyhow::Result<::http::Response<Bytes>> {
    let mut sender = http::Sender::http1(scene.connect_from(pod, "shop").await?).await?;
    Ok(http::get(&mut sender, "shop:8080", "/whoami").await?)
}

pub(super) async fn renewal(scene: &mut Scene) -> anyhow::Result<Observed> {
    let mut socket = scene.long_lived.take().context("no connection was opened at the start")?;
    let (both, seen) = until(RENEWAL, async || {
        let pages = [scene.metrics(topology::CLIENT).await?, scene.metrics("feed-0").await?];
        let renewals = pages.each_ref().map(renewals);
        Ok((renewals.iter().all(|count| *count > 1), (renewals, pages.map(|page| page.sum(EXPIRES, &[])))))
    })
    .await?;
    let open = websocket::echo(&mut socket, "after the renewal").await;
    let alive = open.is_ok();
    let ([client, server], [expires, _]) = seen;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let state = open.map_or_else(|e| e.to_string(), |()| "still open".into());
    Ok(Observed::new(
        both && alive && expires > now,
        format!(
            "client's proxy has had {client} certificates, the feed's {server}; a WebSocket opened before is {state}; \
             next expiry in {} s",
            expires.saturating_sub(now)
        ),
    ))
}

fn renewals(page: &Page) -> u64 {
    page.sum(RENEWALS, &[("result", "success")])
}

pub(super) async fn wire(scene: &mut Scene) -> anyhow::Result<Observed> {
    let marker = scene.marker.clone();
    // In a header and a body, in a message, in a line.
    let authority = scene.authority("shop")?;
    for mut sender in [scene.http1("shop").await?, scene.http2("shop").await?] {
        let request = ::http::Request::post(sender.uri(&authority, "/echo")?).header("host", &authority);
        let body = Full::new(Bytes::from(marker.clone())).boxed_unsync();
        let response = sender.send(request.header("x-marker", &marker).body(body)?).await?;
        ensure!(*http::whole(response).await?.body() == marker, "the marker did not come back");
    }
    let mut socket = websocket::open(scene.connect("feed").await?, &scene.authority("feed")?).await?;
    websocket::echo(&mut socket, &marker).await?;
    let mut stock = lines::Connection::new(scene.connect("stock").await?);
    lines::mention(&mut stock, &marker).await?;
    let capture = scene.capture.as_ref().context("there is no capture")?;
    let network = scene.mesh.site.network().context("there is no network")?;
    // And once without a proxy on the client's side, which must be seen.
    let shop = SocketAddr::from((scene.mesh.pod("shop-0")?.place.ip(), 8080));
    let mut plain = http::Sender::http1(connect_in(network.hub(), shop).await?).await?;
    let request = ::http::Request::get("/").header("host", "shop").header("x-marker", &marker);
    http::whole(plain.send(request.body(http::empty())?).await?).await?;
    let (seen, found) = until(Duration::from_secs(2), async || {
        let found = capture.findings();
        Ok((found.marker_elsewhere > 0, found))
    })
    .await?;
    let groups: Vec<_> = found.groups.iter().map(|(group, count)| format!("{group} {count}")).collect();
    let all = found.tls13 + found.silent + found.gaps >= found.connections;
    let ok = seen
        && all
        && found.wrong == 0
        && found.leaked == 0
        && found.tls13 > 0
        && found.gaps * MISSED <= found.connections;
    let told = if found.told.is_empty() { String::new() } else { format!("; {}", found.told.join("; ")) };
    Ok(Observed::new(
        ok,
        format!(
            "{} of {} connections TLS 1.3 ({}), {} without a byte, {} KiB encrypted, {} not TLS 1.3, marker leaked {} times, seen {} times in \
             plaintext outside the mesh, {} connections not seen whole{told}",
            found.tls13,
            found.connections,
            groups.join(", "),
            found.silent,
            found.encrypted / 1024,
            found.wrong,
            found.leaked,
            found.marker_elsewhere,
            found.gaps,
        ),
    ))
}
