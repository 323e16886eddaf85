//! `weft-images`: see the library.

fn main() {}
