//! Every bound of the library in one place: its default, the reason for it, and what happens when it is hit.
//!
//! A bound is there so that a broken or hostile peer costs its own data and nobody else's (invariant 4). None of them
//! is near anything a real site sends; each one that is hit is counted in [`crate::stats::Stats`] or named in the
//! error of the poll.

use std::time::Duration;

/// Bytes of one document after inflating. 10,000 hosts × 33 metrics are 105 MB; [`SERIES_PER_SOURCE`] are 640 MB. It is read as it
/// comes and never held. Over it: the poll fails.
pub const DOCUMENT_BYTES: u64 = 1 << 30;
/// Bytes of one tag, attributes included. gmond's longest are a few kB. Over it: the poll fails, since without the
/// end of a tag nothing behind it can be read.
pub const TAG_BYTES: usize = 4 << 20;
/// Bytes of all VALs that a poll brings for one host. 500 metrics are 5 kB. Over it: further metrics are skipped.
pub const HOST_BYTES: usize = 32 << 20;
/// Bytes of one attribute value. The C daemon stops at 1571 for a whole element. Over it: that element is skipped.
pub const FIELD_BYTES: usize = 64 << 10;
/// `EXTRA_ELEMENT`s kept for one metric, as in C. Over it: the rest of them is dropped.
pub const EXTRA_ELEMENTS: usize = 32;
/// Distinct `EXTRA_ELEMENT`s kept for one metric of a summary. Over it: the rest of them is dropped.
pub const SUMMARY_EXTRA_ELEMENTS: usize = 32;
/// Hosts of one data source, with those it no longer reports. Over it: further new hosts are skipped.
pub const HOSTS_PER_SOURCE: usize = 200_000;
/// Series (metrics of hosts) of one data source, with those it no longer reports. Over it: further new metrics are skipped.
pub const SERIES_PER_SOURCE: usize = 2_000_000;
/// Clusters and grids of one data source. Over it: further new ones are skipped.
pub const CLUSTERS_PER_SOURCE: usize = 10_000;
/// Names of summary metrics of one grid or cluster. Over it: further new ones are skipped.
pub const SUMMARY_METRICS: usize = 100_000;
/// Definitions of metrics of one data source that are looked for among those of all others, to be kept once. A gmond has some
/// dozens, some hundreds with modules. Over it: the source keeps further ones for itself.
pub const COMMON_DEFINITIONS: usize = 4096;
/// Bytes of metrics of hosts in GRIDs that a source's reader keeps to know them again; over it they are understood anew.
/// And of new definitions that it holds to the end of a poll in case they come again; over it they may be made anew.
pub const GRID_METRICS_BYTES: usize = 8 << 20;
/// Skipped elements described one by one in a poll's report; the rest is only counted.
pub const SKIPS_DESCRIBED: usize = 8;

/// Time to connect to one address of a source.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without a byte from a source, as in C.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a whole poll, from the first connect to the last byte. C has none: a source that sends a byte every
/// nine seconds is read for ever.
pub const POLL_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to resolve a host name, on a helper thread.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Name look-ups under way at once; a hanging resolver can hold no more threads than this.
pub const RESOLVER_THREADS: usize = 16;

/// Bytes of a request line on the interactive port, as in C.
pub const REQUEST_BYTES: usize = 2047;
/// Bytes of a request line and the headers that come with it; headers beyond do not count.
pub const REQUEST_HEAD: usize = 4 << 10;
/// Bytes a client may send after its request (headers nobody reads); over it the connection is closed.
pub const DISCARDED_BYTES: usize = 64 << 10;
/// Connections of all ports together; over it the one that has been idle longest is closed.
pub const CONNECTIONS: usize = 12_000;
/// Time a client has for its request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a client must take at least one byte of its answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a whole answer; a client that takes one byte at a time ends here.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes of an answer made ahead of what a client has taken.
pub const ANSWER_CHUNK: usize = 64 << 10;
/// Bytes of an answer that the kernel takes before it can send them (Linux). A reader that stops costs about twice that of
/// its memory; without a bound it is 4 MB.
pub const UNSENT_BYTES: u32 = 128 << 10;
/// Bytes that are compressed in the query loop; what is longer goes on in a dump worker. Answers about a host or a summary
/// are about as long.
pub const GZIP_FIRST: usize = 16 << 10;
/// Bytes that are compressed at a time afterwards. They become a fraction of that; values that are noise may keep their size,
/// so a reader is never sent more than this and [`ANSWER_CHUNK`] ahead.
pub const GZIP_PIECE: usize = 128 << 10;
/// Pages shorter than this are not compressed.
pub const GZIP_MIN: usize = 1 << 10;
/// Answers longer than this leave the query loop for a dump worker.
pub const SMALL_ANSWER: usize = 256 << 10;
/// Threads that write long answers.
pub const DUMP_WORKERS: usize = 2;

/// Time between two saves of the tree.
pub const STATE_INTERVAL: Duration = Duration::from_secs(300);
/// Time at the start in which the ports wait for the saved tree: 330,000 series take 0.1 s. Over it: they show what is there.
pub const STATE_START: Duration = Duration::from_secs(1);
/// Time for the save at a stop; sources it does not get to keep the file of the save before.
pub const STATE_STOP: Duration = Duration::from_secs(4);
/// Age of a saved tree, counted from the poll, beyond which it is not shown any more.
pub const STATE_AGE: Duration = Duration::from_secs(24 * 3600);
/// Time without a byte from a saved tree's disk, after which the source is polled without it.
pub const STATE_IDLE: Duration = Duration::from_secs(10);

/// Bytes of new definitions that changers may make before those that nobody uses are looked for.
pub const EDITED_BYTES: usize = 16 << 20;
/// Bytes of snapshots that wait for the plugin chain; over it the oldest of the same cluster goes.
pub const CHAIN_BYTES: usize = 1 << 30;
/// How long transactions may wait for changers; when they have waited longer, the slowest changers are passed over until those that
/// remain would take no longer than this for all that wait.
pub const CHAIN_WAIT: Duration = Duration::from_secs(5);
/// The least pause of a changer that is too slow for what comes; else it is four times what its last call took. At the stop: time
/// that changers may take for all that wait.
pub const CHANGER_TIME: Duration = Duration::from_secs(1);
/// Series that changers inject into one cluster (and into all of them ten times as many), as long as they are remembered: an
/// hour.
pub const INJECTED_SERIES: usize = 100_000;
/// Clusters whose newest transaction waits for one sink.
pub const SINK_QUEUE: usize = 100_000;
/// Failures of a plugin, one after the other, after which it rests.
pub const PLUGIN_FAILURES: u32 = 3;
/// How long it rests first; each further failure doubles it, up to [`PLUGIN_LONGEST_REST`].
pub const PLUGIN_REST: Duration = Duration::from_secs(1);
/// How long it rests at most.
pub const PLUGIN_LONGEST_REST: Duration = Duration::from_secs(300);
/// Changes that one plugin makes to one transaction, at most.
pub const CHANGES: usize = 1_000_000;
