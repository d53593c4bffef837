//! The library held against slow, obvious oracles, with documents nobody thought of.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking and is nobody's library"
)]

mod cuts;
mod damage;
mod document;
mod oracle;
mod parser;
mod summaries;
mod threads;
mod writer;
