//! Reads the machine when a page asks, on a thread of its own: `statvfs` of a dying disk may hang for ever, and must
//! not take with it the loop that serves the ports.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use parking_lot::Mutex;

use super::{Disk, Machine, Sample, parse, ratio};

/// A look this young is shown again, so that asking often costs nothing and rates are of a time worth measuring.
const FRESH: Duration = Duration::from_secs(5);
/// How long a page waits for a look; it takes a millisecond. After it the page shows the one before.
const PATIENCE: Duration = Duration::from_millis(100);

/// The last two looks.
pub(crate) struct Sampler {
    born: Instant,
    look: fn(Instant) -> Sample,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    before: Option<Sample>,
    last: Option<Sample>,
    pending: Option<Pending>,
}

/// A look under way. It is waited for once; should it hang, there is no other until it ends.
struct Pending {
    sample: Receiver<Sample>,
    patience: Duration,
}

impl Sampler {
    /// Takes a first look.
    pub(crate) fn new() -> Self {
        Self::with(look)
    }

    fn with(look: fn(Instant) -> Sample) -> Self {
        let sampler = Self { born: Instant::now(), look, state: Mutex::default() };
        sampler.state.lock().pending = sampler.start();
        sampler
    }

    /// The machine as it is now, or was a moment ago; `clock` is the time in seconds since the epoch.
    pub(crate) fn machine(&self, clock: i64) -> Machine {
        let pending = self.state.lock().pending.take();
        self.wait(pending);
        let fresh = |last: &Sample| self.born.elapsed() - last.at < FRESH;
        let asleep = |state: &State| state.pending.is_none() && !state.last.as_ref().is_some_and(fresh);
        if asleep(&self.state.lock()) {
            self.wait(self.start());
        }
        let state = self.state.lock();
        Machine::between(state.before.as_ref(), state.last.as_ref().unwrap_or(&Sample::default()), clock)
    }

    /// Starts a look, if there is a thread to be had.
    fn start(&self) -> Option<Pending> {
        let (sender, sample) = sync_channel(1);
        let (look, born) = (self.look, self.born);
        let run = move || {
            let _ = sender.send(look(born));
        };
        let started = thread::Builder::new().name("machine".to_owned()).spawn(run);
        started.ok().map(|_| Pending { sample, patience: PATIENCE })
    }

    /// Waits without the lock, and keeps what came.
    fn wait(&self, pending: Option<Pending>) {
        let Some(pending) = pending else { return };
        let seen = pending.sample.recv_timeout(pending.patience);
        let mut state = self.state.lock();
        match seen {
            Ok(sample) => {
                let last = state.last.replace(sample);
                state.before = last.or_else(|| state.before.take());
            }
            Err(RecvTimeoutError::Timeout) => state.pending = Some(Pending { patience: Duration::ZERO, ..pending }),
            Err(RecvTimeoutError::Disconnected) => {}
        }
    }
}

fn look(born: Instant) -> Sample {
    let (usage, boottime) = parse::stat(&read("/proc/stat"));
    let (load, process) = parse::loadavg(&read("/proc/loadavg"));
    let max_khz: u32 = line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq").parse().unwrap_or(0);
    Sample {
        at: born.elapsed(),
        usage,
        cpu_mhz: if max_khz > 0 { max_khz / 1000 } else { parse::cpu_mhz(&read("/proc/cpuinfo")) },
        traffic: parse::traffic(&read("/proc/net/dev")),
        mtu: mtu(),
        load,
        memory: parse::meminfo(&read("/proc/meminfo")),
        process,
        boottime,
        os_name: line("/proc/sys/kernel/ostype"),
        os_release: line("/proc/sys/kernel/osrelease"),
        // Last, as it is what may hang.
        disk: disk(&parse::local_mounts(&read("/proc/mounts"))),
    }
}

/// The smallest of the interfaces, loopback only where it is alone.
fn mtu() -> u32 {
    let interfaces = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| {
        let mtu: u32 = line(&format!("{}/mtu", entry.path().display())).parse().ok()?;
        Some((entry.file_name() == "lo", mtu))
    };
    interfaces.filter_map(of).min().map_or(0, |(_, mtu)| mtu)
}

fn disk(mounts: &[String]) -> Disk {
    let mut disk = Disk::default();
    // `u32` on some systems.
    #[allow(clippy::useless_conversion)]
    for stat in mounts.iter().filter_map(|mount| statvfs(mount.as_str()).ok()) {
        let gigabytes = |blocks: u64| blocks as f64 * stat.fragment_size() as f64 / 1e9;
        let (total, free) = (gigabytes(stat.blocks().into()), gigabytes(stat.blocks_available().into()));
        disk.disk_total += total;
        disk.disk_free += free;
        if total > 0.0 {
            disk.part_max_used = disk.part_max_used.max((total - free) / total * 100.0);
        }
    }
    let six_decimals = |value| ratio(value, 1.0);
    Disk {
        disk_free: six_decimals(disk.disk_free),
        disk_total: six_decimals(disk.disk_total),
        part_max_used: six_decimals(disk.part_max_used),
    }
}

fn read(path: &str) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn line(path: &str) -> String {
    read(path).trim().to_owned()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_read() {
        let sample = look(Instant::now());
        assert!(sample.usage.cpus > 0 && sample.usage.total() > 0 && sample.boottime > 0, "{sample:?}");
        assert!(sample.memory.mem_total > 0.0 && sample.process.proc_total > 0, "{sample:?}");
        let json = serde_json::to_value(Sampler::new().machine(5)).expect("serializable");
        assert_eq!(json["system"]["os_name"], "Linux");
        assert_eq!(json["system"]["sys_clock"], 5);
    }

    #[test]
    fn a_disk_that_hangs_delays_one_page_once() {
        let sampler = Sampler::with(|_| {
            thread::sleep(Duration::from_secs(3));
            Sample::default()
        });
        let asked = Instant::now();
        (0..50).for_each(|_| drop(sampler.machine(0)));
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
}
