//! How many files and sockets the process may have open, and in how many places it keeps memory.

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

/// Lets glibc keep as many arenas of memory as there are cores; on its own it takes up to eight for each, and each keeps
/// what a poll needs for a moment. To be called before any thread starts. `MALLOC_ARENA_MAX` and `GLIBC_TUNABLES` in the
/// environment come first; other C libraries have nothing like it.
pub fn share_arenas() {
    if ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"].iter().all(|name| std::env::var_os(name).is_none()) {
        crate::sys::limit_arenas(std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)));
    }
}
