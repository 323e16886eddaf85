//! The proxy: configuration, runtime, control streams, telemetry, admin.
