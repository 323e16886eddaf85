//! haproxy: one thread, mutual TLS 1.3 with full handshakes, connections to the other side pooled.

use std::{fmt::Write as _, fs, net::Ipv4Addr, path::Path};

use crate::{
    backend::{GRPC, HTTP1, HTTP1_LARGE, PORTS, STREAM},
    pki,
    site::{inbound_port, outbound_port},
};

/// Writes both configurations and gives the arguments.
pub(super) fn configure(directory: &Path, server: Ipv4Addr) -> (Vec<String>, Vec<String>) {
    let (mut outbound, mut inbound) = (head(directory, "client"), head(directory, "server"));
    let d = directory.display();
    for port in PORTS {
        let (mode, alpn, plain, listen) = match port {
            HTTP1 | HTTP1_LARGE => ("mode http\n  http-reuse always", "alpn http/1.1", "", ""),
            GRPC | STREAM => ("mode http\n  http-reuse always", "alpn h2", "proto h2", "proto h2"),
            _ => ("mode tcp", "", "", ""),
        };
        let client_tls = format!(
            "ssl crt {d}/client.pem ca-file {d}/root.pem verify required verifyhost {name} sni str({name}) no-ssl-reuse {alpn}",
            name = pki::SERVER
        );
        let server_tls =
            format!("ssl crt {d}/server.pem ca-file {d}/root.pem verify required no-tls-tickets {alpn}");
        let _ = write!(
            outbound,
            "listen p{port}\n  {mode}\n  bind 127.0.0.1:{} {listen}\n  server s {server}:{port} {client_tls}\n",
            outbound_port(port)
        );
        let _ = write!(
            inbound,
            "listen p{port}\n  {mode}\n  bind 0.0.0.0:{} {server_tls}\n  server s {server}:{port} {plain}\n",
            inbound_port(port)
        );
    }
    let arguments = |side: &str, text: &str| {
        let path = directory.join(format!("{side}.cfg"));
        fs::write(&path, text).expect("a file");
        vec!["-db".to_owned(), "-f".to_owned(), path.display().to_string()]
    };
    (arguments("outbound", &outbound), arguments("inbound", &inbound))
}

fn head(directory: &Path, side: &str) -> String {
    // OpenSSL 3.0 has no X25519MLKEM768: its key exchange is the cheaper X25519.
    format!(
        "# {side} of {}\nglobal\n  nbthread 1\n  maxconn 8000\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n  \
         ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256\n  ssl-default-server-options ssl-min-ver TLSv1.3\n  \
         ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256\n\
         defaults\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  timeout http-keep-alive 1h\n  \
         maxconn 8000\n",
        directory.display()
    )
}
