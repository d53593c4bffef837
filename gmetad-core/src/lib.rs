//! The Ganglia grid daemon as a library: poll gmond, keep the tree, summarise, serve XML

pub mod conf;
