//! What the load generator is to do.

use serde::{Deserialize, Serialize};

/// Everything one load generator does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// At the same time.
    pub targets: Vec<Target>,
}

/// Requests to one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// What reports call it.
    pub name: String,
    /// A name or address, and a port.
    pub address: String,
    /// What is asked, and how.
    #[serde(flatten)]
    pub protocol: Protocol,
    /// Requests per second, of all connections together.
    pub rate: f64,
    /// Connections that take turns.
    pub connections: u32,
    /// How many requests to send; none means until told to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
}

/// What one request is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "protocol", rename_all = "camelCase")]
pub enum Protocol {
    /// A GET over HTTP/1.1, on a connection that is kept.
    Http1 {
        /// What to get.
        path: String,
    },
    /// A GET over HTTP/2 with prior knowledge, on a connection that is kept.
    Http2 {
        /// What to get.
        path: String,
    },
    /// A unary gRPC call, on a connection that is kept.
    Unary,
    /// A gRPC stream with messages both ways, one after the other, and a look at its trailers.
    Stream {
        /// How many messages each way.
        messages: u32,
    },
    /// A message and its echo, on a WebSocket that is kept.
    WebSocket,
    /// A line and its answer, on a TCP connection that is kept.
    Stock,
    /// A TCP connection whose answer comes after our end of file.
    HalfClose,
    /// A TCP connection on which the server speaks first.
    Greeter,
}

impl Target {
    /// Until told to stop, on one connection.
    pub fn new(name: &str, address: impl Into<String>, protocol: Protocol, rate: f64) -> Self {
        Self { name: name.into(), address: address.into(), protocol, rate, connections: 1, requests: None }
    }

    /// With so many connections.
    #[must_use]
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// With so many requests in all.
    #[must_use]
    pub fn requests(mut self, requests: u64) -> Self {
        self.requests = Some(requests);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_one_line_of_json() {
        let plan = Plan {
            targets: vec![
                Target::new("shop", "shop:8080", Protocol::Http1 { path: "/price/tea".into() }, 50.0)
                    .connections(4),
                Target::new("feed", "feed:8081", Protocol::WebSocket, 10.0).requests(7),
            ],
        };
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"targets":[{"name":"shop","address":"shop:8080","protocol":"http1","path":"/price/tea","rate":50.0,"connections":4},"#,
                r#"{"name":"feed","address":"feed:8081","protocol":"webSocket","rate":10.0,"connections":1,"requests":7}]}"#
            )
        );
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }
}
