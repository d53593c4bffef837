//! A small HTTP server's logic without I/O, and gmetad's status pages
