//! The Rust client of the admin API.
