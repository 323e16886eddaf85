//! Proxies as processes on loopback, with a scripted control plane: nothing here needs privileges.

#![expect(clippy::unwrap_used, reason = "a test")]

mod abuse;
mod counters;
mod end;
mod matrix;
mod policy;
mod start;
mod tls;

use weft_tests::policy::Speaks;

/// Where the failure of a target that speaks so is counted.
fn tls_error(speaks: Speaks) -> &'static str {
    if speaks == Speaks::Opaque { "outbound_tcp_errors_total" } else { "outbound_http_errors_total" }
}
