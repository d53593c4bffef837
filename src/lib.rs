//! Owner of the `examples/` and `benches/` of the workspace; it has no code of its own.
