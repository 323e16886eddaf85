//! Envoy: one worker, router filter only, HTTP/2 with mutual TLS 1.3 between the two over one connection per port.

use serde_json::{Value, json};
use std::{fs, net::Ipv4Addr, path::Path};

use crate::{
    backend::{GRPC, HTTP1, HTTP1_LARGE, PORTS, STREAM},
    pki,
    site::{inbound_port, outbound_port},
};

/// Writes both configurations and gives the arguments.
pub(super) fn configure(directory: &Path, server: Ipv4Addr) -> (Vec<String>, Vec<String>) {
    let outbound: Vec<_> = PORTS
        .map(|port| {
            let listen = ("127.0.0.1", outbound_port(port));
            let tls = transport("Upstream", "client", pki::SERVER, directory, port);
            (listener(listen, port, None), cluster(server, port, Some(tls), carries_http(port)))
        })
        .into();
    let inbound: Vec<_> = PORTS
        .map(|port| {
            let listen = ("0.0.0.0", inbound_port(port));
            let tls = transport("Downstream", "server", pki::CLIENT, directory, port);
            (listener(listen, port, Some(tls)), cluster(server, port, None, matches!(port, GRPC | STREAM)))
        })
        .into();
    let arguments = |side: &str, id: &str, parts: Vec<(Value, Value)>| {
        let (listeners, clusters): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let config = json!({
            "stats_config": {"stats_tags": []},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        });
        let path = directory.join(format!("{side}.json"));
        fs::write(&path, config.to_string()).expect("a file");
        let path = path.display().to_string();
        ["-c", &path, "--concurrency", "1", "--disable-hot-restart", "-l", "error", "--base-id", id]
            .map(str::to_owned)
            .to_vec()
    };
    (arguments("outbound", "0", outbound), arguments("inbound", "0", inbound))
}

fn carries_http(port: u16) -> bool {
    matches!(port, HTTP1 | HTTP1_LARGE | GRPC | STREAM)
}

fn address(ip: &str, port: u16) -> Value {
    json!({"socket_address": {"address": ip, "port_value": port}})
}

fn typed(kind: &str, mut value: Value) -> Value {
    value["@type"] = format!("type.googleapis.com/envoy.{kind}").into();
    value
}

fn listener((ip, port): (&str, u16), name: u16, tls: Option<Value>) -> Value {
    let cluster = format!("p{name}");
    let filter = if carries_http(name) {
        let router = typed("extensions.filters.http.router.v3.Router", json!({}));
        let config = json!({
            "stat_prefix": cluster,
            "codec_type": if tls.is_some() || matches!(name, GRPC | STREAM) { "HTTP2" } else { "HTTP1" },
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
            }]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
            "stream_idle_timeout": "0s",
        });
        let kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": typed(kind, config)})
    } else {
        let config = json!({"stat_prefix": cluster, "cluster": cluster, "idle_timeout": "0s"});
        let kind = "extensions.filters.network.tcp_proxy.v3.TcpProxy";
        json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": typed(kind, config)})
    };
    let mut chain = json!({"filters": [filter]});
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    json!({"name": cluster, "address": address(ip, port), "filter_chains": [chain]})
}

fn cluster(server: Ipv4Addr, port: u16, tls: Option<Value>, http2: bool) -> Value {
    let name = format!("p{port}");
    let endpoint = json!({"endpoint": {"address": address(&server.to_string(), port)}});
    let threshold =
        json!({"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000});
    let mut cluster = json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [threshold]},
    });
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls;
    }
    if http2 {
        let options = json!({"explicit_http_config": {"http2_protocol_options": {}}});
        let kind = "extensions.upstreams.http.v3.HttpProtocolOptions";
        cluster["typed_extension_protocol_options"] = json!({kind_name(): typed(kind, options)});
    }
    cluster
}

fn kind_name() -> &'static str {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
}

fn transport(side: &str, who: &str, peer: &str, directory: &Path, port: u16) -> Value {
    let file = |name: String| json!({"filename": directory.join(name).display().to_string()});
    let mut common = json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": ["X25519MLKEM768", "X25519"],
        },
        "tls_certificates": [{
            "certificate_chain": file(format!("{who}.crt")), "private_key": file(format!("{who}.key")),
        }],
        "validation_context": {
            "trusted_ca": file("root.pem".to_owned()),
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": peer}}],
        },
    });
    if carries_http(port) {
        common["alpn_protocols"] = json!(["h2"]);
    }
    let mut tls = json!({"common_tls_context": common});
    // As ours: every connection is a full handshake.
    match side {
        "Upstream" => {
            tls["sni"] = peer.into();
            tls["max_session_keys"] = 0.into();
        }
        _ => {
            tls["require_client_certificate"] = true.into();
            tls["disable_stateless_session_resumption"] = true.into();
        }
    }
    let kind = format!("extensions.transport_sockets.tls.v3.{side}TlsContext");
    json!({"name": "envoy.transport_sockets.tls", "typed_config": typed(&kind, tls)})
}
