//! How many files and sockets the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to `wanted`, or as far as the hard limit allows, and returns what is in
/// force. Never lowers it.
///
/// ```
/// let limit = gmetad_process::limits::raise_descriptors(256).expect("raising a soft limit is always allowed");
/// assert!(limit >= 1);
/// ```
pub fn raise_descriptors(wanted: u64) -> std::io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let target = wanted.min(hard);
    if target <= soft {
        return Ok(soft);
    }
    setrlimit(Resource::RLIMIT_NOFILE, target, hard)?;
    Ok(target)
}
