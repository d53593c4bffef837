//! RRD files of metrics and summaries for gmetad, written natively
