//! The calls that need `unsafe`, each behind a safe function that states why it is sound.

#![allow(unsafe_code)] // fork, _exit, localtime_r and closing foreign descriptors have no safe form; nothing else may need it

use std::io;
use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::libc;

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    /// The process that called; the pid is the child's.
    Parent(nix::unistd::Pid),
    /// The new process.
    Child,
}

/// Forks a process that has one thread; the caller has made sure of that ([`threads`]).
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: with one thread no lock can be held by somebody who does not exist in the child, which is the only hazard.
    Ok(match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Fork::Parent(child),
        nix::unistd::ForkResult::Child => Fork::Child,
    })
}

/// Number of threads of this process; 1 where the system does not tell.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// Ends the process at once: no destructors, no flushing of buffers the parent will flush again.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Closes every descriptor but these, the standard ones included: for a forked process that uses nothing else and ends
/// with [`exit_now`].
pub(crate) fn close_all_but(mut kept: [libc::c_int; 2]) {
    kept.sort_unstable();
    let mut first = 0;
    for next in kept.into_iter().chain([libc::c_int::MAX]) {
        if first < next {
            // SAFETY: the objects that own these descriptors are copies of another process's, never used or dropped here.
            // (As a system call: the C library has it since 2.34 only. Without it, Linux < 5.9, nothing is closed.)
            unsafe { libc::syscall(libc::SYS_close_range, first, next - 1, 0) };
        }
        first = next.saturating_add(1);
    }
}

/// Closes descriptors from 3 up that were inherited from whoever started us (a shell's lock file, a pipe of cron):
/// those are the ones without close-on-exec, which everything opened by Rust has.
pub(crate) fn close_inherited() {
    let Ok(list) = std::fs::read_dir("/proc/self/fd") else { return };
    let open = list.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<libc::c_int>().ok());
    for fd in open.filter(|&fd| fd > 2).collect::<Vec<_>>() {
        // SAFETY: F_GETFD only reads a flag. A descriptor without close-on-exec is owned by no object of ours, so nobody
        // uses or closes it later.
        unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFD);
            if flags != -1 && flags & libc::FD_CLOEXEC == 0 {
                libc::close(fd);
            }
        }
    }
}

/// Broken-down local time. All fields count as a calendar prints them, except `month` and `weekday` (0 = January, Sunday).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalTime {
    pub(crate) year: i32,
    pub(crate) month: usize,
    pub(crate) day: i32,
    pub(crate) weekday: usize,
    pub(crate) hour: i32,
    pub(crate) minute: i32,
    pub(crate) second: i32,
}

/// `time` in the time zone of the system. Before 1970 and where the C library fails: 1970.
pub(crate) fn local_time(time: SystemTime) -> LocalTime {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = libc::time_t::try_from(seconds).unwrap_or(0);
    let mut broken = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call; all-zero is a valid `tm` (its zone pointer may be null), so reading
    // it is sound even if localtime_r failed. It reads TZ; this crate never changes the environment.
    let tm = unsafe {
        libc::localtime_r(&raw const seconds, broken.as_mut_ptr());
        broken.assume_init()
    };
    LocalTime {
        year: tm.tm_year + 1900,
        month: usize::try_from(tm.tm_mon).unwrap_or(0),
        day: tm.tm_mday,
        weekday: usize::try_from(tm.tm_wday).unwrap_or(0),
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
    }
}
