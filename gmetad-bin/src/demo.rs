//! `gmetad --demo`: a synthetic grid, to see the daemon at work.

use gmetad_core::daemon::SourceState;
use gmetad_process::cli::Options;

use crate::Fallible;

pub(crate) fn run(_options: &Options) -> Fallible<()> {
    Ok(())
}

/// A line about a source, for the log.
pub(crate) fn source_line(source: &SourceState) -> String {
    format!(
        "[{}] {} good polls, {} failed, {} metrics",
        source.name, source.polls, source.failures, source.report.metrics
    )
}
