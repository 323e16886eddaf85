//! Durable state: certificate ledger, registry, join tokens, trust.
