//! Endpoint choice: P2C with peak EWMA; every method takes now.
