//! Placeholder until the first real code.
fn main() {}
