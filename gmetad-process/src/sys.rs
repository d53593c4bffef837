//! The calls that need `unsafe`, each behind a safe function that states why it is sound.

#![allow(unsafe_code)] // fork, _exit, localtime_r, pre_exec, pidfd and closing foreign descriptors have no safe form, nor has mallopt; nothing else may need it

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

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

/// The number of arenas that malloc may have, where it has some.
pub(crate) fn limit_arenas(number: usize) {
    // SAFETY: a parameter of malloc, which checks it.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, number.try_into().unwrap_or(libc::c_int::MAX));
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = number;
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

/// What a program is to have before it begins.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BeforeExec {
    /// Hard and soft limits; never above the hard limit that is there. That of the processor is a second above the soft one.
    pub(crate) limits: [Option<(Resource, u64)>; 3],
    /// SIGKILL when the thread that started it ends.
    pub(crate) dies_with_thread: bool,
}

/// Lets `command` do this between fork and exec, after the change of user: nothing above 2 stays open, limits, and who dies with
/// whom.
pub(crate) fn before_exec(command: &mut Command, setup: BeforeExec) {
    let prepare = move || {
        close_on_exec();
        if setup.dies_with_thread {
            // SAFETY: a system call that only sets a number of this process.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        }
        for (resource, wanted) in setup.limits.into_iter().flatten() {
            let (_, hard) = getrlimit(resource)?;
            let limit = wanted.min(hard);
            // At the hard limit of the processor there is SIGKILL, as from anybody; at the soft one SIGXCPU, which says why.
            let last = if resource == Resource::RLIMIT_CPU { limit.saturating_add(1).min(hard) } else { limit };
            setrlimit(resource, limit, last)?;
        }
        Ok(())
    };
    // SAFETY: the closure runs in a forked copy of a process with many threads, where only async-signal-safe functions are
    // allowed: it makes system calls (close_range, fcntl, prctl, getrlimit, setrlimit) on numbers it owns; it neither takes
    // a lock nor allocates, an error being an errno.
    unsafe { command.pre_exec(prepare) };
}

/// Sets close-on-exec for everything from 3 up: what a foreign library opened may lack it. Async-signal-safe.
fn close_on_exec() {
    // SAFETY: sets a flag of descriptors, whoever owns them; in a process that is about to exec nobody minds.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) == 0 {
            return;
        }
        // Linux < 5.11.
        let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft.min(65_536));
        for fd in 3..most as libc::c_int {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

/// A descriptor that becomes readable when the process ends; `None` before Linux 5.3. It must not have been reaped.
pub(crate) fn pidfd(pid: u32) -> Option<OwnedFd> {
    // SAFETY: returns a new descriptor (with close-on-exec) that nobody else knows, or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    let fd = libc::c_int::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: see above.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Broken-down local time. All fields count as a calendar prints them, except `month` and `weekday` (0 = January, Sunday).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// As 2026.
    pub year: i32,
    /// 0 to 11.
    pub month: usize,
    /// 1 to 31.
    pub day: i32,
    /// 0 to 6; 0 is Sunday.
    pub weekday: usize,
    /// 0 to 23.
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 60.
    pub second: i32,
}

/// `time` in the time zone of the system. Before 1970 and where the C library fails: 1970.
pub fn local_time(time: SystemTime) -> LocalTime {
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
