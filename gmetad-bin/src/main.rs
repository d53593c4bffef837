//! gmetad.
fn main() {}
