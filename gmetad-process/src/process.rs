//! Whether a process is alive.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::unistd::Pid;

/// A process, known by its id and by when it began: ids are used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    id: u32,
    began: u64,
}

/// What the system says of a process.
struct Stat {
    is_alive: bool,
    group: u32,
    began: u64,
}

impl Process {
    /// The one that has that id now; `None`: nobody, or it is dead.
    pub fn of(id: u32) -> Option<Self> {
        stat(id).filter(|stat| stat.is_alive).map(|stat| Self { id, began: stat.began })
    }

    /// All of a process group that are alive.
    pub(crate) fn of_group(group: u32) -> Vec<Self> {
        // Nearly always nobody is left, and there is no need to look at all there are.
        if killpg(Pid::from_raw(group as i32), None) == Err(Errno::ESRCH) {
            return Vec::new();
        }
        let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
        let ids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let of_it = |id| {
            let stat = stat(id).filter(|stat| stat.is_alive && stat.group == group)?;
            Some(Self { id, began: stat.began })
        };
        ids.filter_map(of_it).collect()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether it still runs, or hangs.
    pub fn is_alive(&self) -> bool {
        stat(self.id).is_some_and(|stat| stat.is_alive && stat.began == self.began)
    }
}

fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Its name, in brackets, may have anything in it. State, parent, group, …, and as the twentieth when it began.
    let mut words = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let is_alive = !matches!(words.next()?, "Z" | "X" | "x");
    let group = words.nth(1)?.parse().ok()?;
    let began = words.nth(16)?.parse().ok()?;
    Some(Stat { is_alive, group, began })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::*;

    #[test]
    fn alive_dead_and_another_of_that_id() {
        let mut child = Command::new("/bin/sleep").arg("300").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_alive());
        assert!(!Process { began: process.began + 1, ..process }.is_alive(), "the id is used again");
        let ours = stat(std::process::id()).unwrap().group;
        assert!(Process::of_group(ours).contains(&process));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive() && Process::of(process.id()).is_none());
    }
}
