//! Harness and end-to-end tests, by what they need.
