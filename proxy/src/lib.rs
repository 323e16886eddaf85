//! The proxy: the workers' shell, the control plane's client, telemetry and the admin server.
//!
//! Owns everything a worker must not do: reading the environment ([`config`]), sockets and threads ([`runtime`]), answers to
//! the workers' questions from the control plane's streams ([`control`]), metrics and log ([`telemetry`], [`log`]), probes
//! ([`admin`]). Must not know: how bytes are parsed or forwarded (weft-engine), Kubernetes, the control plane's insides.
//!
//! Read first: [`run::run`], [`config::Config`], [`control::Shared`].
//!
//! ```text
//!  data thread 0..N      epoll loop ── weft_engine::Worker          (nothing shared, nothing awaited)
//!        │  questions (bounded queue)        ▲ answers (latest per subject)
//!        ▼                                   │
//!  control thread        tokio: streams, identity, admin server, signals
//! ```

pub mod admin;
pub mod config;
pub mod control;
pub mod log;
pub mod readiness;
pub mod run;
pub mod runtime;
pub mod telemetry;

/// An error and all its causes, as one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
