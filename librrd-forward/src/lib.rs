//! Forwards the C symbols that the rrd crate links against to a librrd opened at run time
