//! The kernel's texts to numbers. What is missing is 0: other systems and old kernels have less.

use super::{Load, Memory, Process};

/// Ticks since the machine's start, of all processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpus: u32,
    pub(crate) user: u64,
    pub(crate) nice: u64,
    pub(crate) system: u64,
    pub(crate) idle: u64,
    pub(crate) wio: u64,
    pub(crate) intr: u64,
    pub(crate) sintr: u64,
    pub(crate) steal: u64,
}

impl Usage {
    pub(super) fn total(&self) -> u64 {
        self.user + self.nice + self.system + self.idle + self.wio + self.intr + self.sintr + self.steal
    }
}

/// What the interfaces moved since they came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) bytes_in: u64,
    pub(crate) pkts_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) pkts_out: u64,
}

/// `/proc/stat`: processor time, and when the machine started (seconds since the epoch).
pub(super) fn stat(text: &str) -> (Usage, u64) {
    let (mut usage, mut boottime) = (Usage::default(), 0);
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("cpu") => {
                let ticks: Vec<u64> = words.map(|word| word.parse().unwrap_or(0)).collect();
                let tick = |n: usize| ticks.get(n).copied().unwrap_or(0);
                usage.user = tick(0);
                usage.nice = tick(1);
                usage.system = tick(2);
                usage.idle = tick(3);
                usage.wio = tick(4);
                usage.intr = tick(5);
                usage.sintr = tick(6);
                usage.steal = tick(7);
            }
            Some(name) if name.starts_with("cpu") => usage.cpus += 1,
            Some("btime") => boottime = number(words.next()),
            _ => {}
        }
    }
    (usage, boottime)
}

/// `/proc/loadavg`: three averages, then `running/all`.
pub(super) fn loadavg(text: &str) -> (Load, Process) {
    let mut words = text.split_ascii_whitespace();
    let mut average = || words.next().and_then(|word| word.parse().ok()).filter(|v: &f64| v.is_finite()).unwrap_or(0.0);
    let load = Load { load_one: average(), load_five: average(), load_fifteen: average() };
    let (run, total) = words.next().and_then(|word| word.split_once('/')).unwrap_or(("0", "0"));
    (load, Process { proc_run: number(Some(run)) as u32, proc_total: number(Some(total)) as u32 })
}

/// `/proc/meminfo`.
pub(super) fn meminfo(text: &str) -> Memory {
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        number(line.and_then(|rest| rest.split_ascii_whitespace().next())) as f64
    };
    Memory {
        mem_total: kilobytes("MemTotal"),
        swap_total: kilobytes("SwapTotal"),
        mem_free: kilobytes("MemFree"),
        mem_shared: kilobytes("Shmem"),
        mem_buffers: kilobytes("Buffers"),
        mem_cached: kilobytes("Cached"),
        swap_free: kilobytes("SwapFree"),
        mem_sreclaimable: kilobytes("SReclaimable"),
    }
}

/// `/proc/net/dev`, without loopback and without bonds, whose members are counted.
pub(super) fn traffic(text: &str) -> Traffic {
    let mut sum = Traffic::default();
    for line in text.lines() {
        let Some((name, counters)) = line.split_once(':') else { continue };
        let name = name.trim();
        if name == "lo" || name.starts_with("bond") {
            continue;
        }
        let counters: Vec<u64> = counters.split_ascii_whitespace().map(|word| number(Some(word))).collect();
        let counter = |n: usize| counters.get(n).copied().unwrap_or(0);
        sum.bytes_in = sum.bytes_in.saturating_add(counter(0));
        sum.pkts_in = sum.pkts_in.saturating_add(counter(1));
        sum.bytes_out = sum.bytes_out.saturating_add(counter(8));
        sum.pkts_out = sum.pkts_out.saturating_add(counter(9));
    }
    sum
}

/// `/proc/mounts`: where local file systems that can be written are mounted, each device once.
pub(super) fn local_mounts(text: &str) -> Vec<String> {
    let mut devices = Vec::new();
    let mut mounts = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(place), Some(kind), Some(options)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let local = device.starts_with("/dev/") && !kind.starts_with("fuse");
        let writable = options.split(',').next() == Some("rw");
        if local && writable && !devices.contains(&device) {
            devices.push(device);
            mounts.push(unescaped(place));
        }
    }
    mounts
}

/// A path with blanks and the like written as `\040`.
fn unescaped(place: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(place.to_owned(), |path, (code, character)| path.replace(code, character))
}

/// `/proc/cpuinfo`: MHz of the first processor.
pub(super) fn cpu_mhz(text: &str) -> u32 {
    let line = text.lines().find(|line| line.starts_with("cpu MHz"));
    line.and_then(|line| line.split_once(':')?.1.trim().parse::<f64>().ok()).unwrap_or(0.0) as u32
}

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        let (usage, boottime) = stat(
            "cpu  83180 1 29148 454524 1502 2 183 155 0 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 15 0\nbtime 1795293618\nprocesses 8\n",
        );
        let expected = Usage {
            cpus: 2,
            user: 83180,
            nice: 1,
            system: 29148,
            idle: 454_524,
            wio: 1502,
            intr: 2,
            sintr: 183,
            steal: 155,
        };
        assert_eq!((usage, boottime), (expected, 1_795_293_618));
        let (load, process) = loadavg("0.36 0.43 0.52 1/123 6400\n");
        assert_eq!(load, Load { load_one: 0.36, load_five: 0.43, load_fifteen: 0.52 });
        assert_eq!(process, Process { proc_run: 1, proc_total: 123 });
        let memory = meminfo("MemTotal:  24684096 kB\nMemFree: 5 kB\nSwapCached: 9 kB\nCached:  7 kB\nShmem: 3 kB\n");
        assert_eq!((memory.mem_total, memory.mem_free, memory.mem_cached), (24_684_096.0, 5.0, 7.0));
        assert_eq!((memory.mem_shared, memory.swap_total), (3.0, 0.0));
        let dev = "Inter-| Receive\n face |bytes\n    lo: 9 9 0 0 0 0 0 0 9 9\n  eth0:10 2 0 0 0 0 0 0 30 4 0\n bond0: 1 1 0 0 0 0 0 0 1 1\n";
        assert_eq!(traffic(dev), Traffic { bytes_in: 10, pkts_in: 2, bytes_out: 30, pkts_out: 4 });
        assert_eq!(cpu_mhz("processor : 0\ncpu MHz\t\t: 2600.002\ncpu MHz : 1\n"), 2600);
    }

    #[test]
    fn only_local_file_systems_are_asked() {
        let mounts = "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw,relatime 0 0\n/dev/sda1 /bind ext4 rw 0 0\n\
            /dev/sdb1 /a\\040b xfs rw 0 0\n/dev/sr0 /cd iso9660 ro 0 0\n/dev/fuse /run/x fuse.portal rw 0 0\n\
            nfs:/export /home nfs rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n";
        assert_eq!(local_mounts(mounts), ["/", "/a b"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(cpu|btime|eth0:|MemTotal:|/dev/x| |[0-9]{1,25}|/|\n|\\PC){0,60}") {
            let _ = (stat(&text), loadavg(&text), meminfo(&text), traffic(&text), local_mounts(&text), cpu_mhz(&text));
        }
    }
}
