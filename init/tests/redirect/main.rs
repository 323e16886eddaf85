//! Redirection in network namespaces.
fn main() {}
