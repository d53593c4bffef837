//! The machine the daemon runs on, in the terms of C's `/status`.

mod parse;
mod sampler;

use std::time::Duration;

use serde::Serialize;

pub(crate) use parse::{Traffic, Usage};
pub(crate) use sampler::Sampler;

/// One look at the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Since the first look.
    pub(crate) at: Duration,
    pub(crate) usage: Usage,
    pub(crate) cpu_mhz: u32,
    pub(crate) traffic: Traffic,
    pub(crate) mtu: u32,
    pub(crate) disk: Disk,
    pub(crate) load: Load,
    pub(crate) memory: Memory,
    pub(crate) process: Process,
    pub(crate) boottime: u64,
    pub(crate) os_name: String,
    pub(crate) os_release: String,
}

/// What two looks tell. The order of the keys is C's.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    cpu: Cpu,
    disk: Disk,
    load: Load,
    memory: Memory,
    network: Network,
    process: Process,
    system: System,
}

/// Percent of the time between the two looks; `cpu_aidle` since the machine's start.
#[derive(Clone, Debug, Default, Serialize)]
struct Cpu {
    cpu_num: u32,
    /// MHz.
    cpu_speed: u32,
    cpu_user: f64,
    cpu_nice: f64,
    /// With interrupts, as gmond counts it.
    cpu_system: f64,
    cpu_idle: f64,
    cpu_wio: f64,
    cpu_aidle: f64,
    cpu_intr: f64,
    cpu_sintr: f64,
    /// C prints the kernel's raw counter here.
    cpu_steal: f64,
}

/// Local file systems that can be written: GB, and percent of the fullest.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Disk {
    pub(crate) disk_free: f64,
    pub(crate) disk_total: f64,
    pub(crate) part_max_used: f64,
}

/// Processes that want to run, averaged.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Load {
    pub(crate) load_one: f64,
    pub(crate) load_five: f64,
    pub(crate) load_fifteen: f64,
}

/// kB.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Memory {
    pub(crate) mem_total: f64,
    pub(crate) swap_total: f64,
    pub(crate) mem_free: f64,
    pub(crate) mem_shared: f64,
    pub(crate) mem_buffers: f64,
    pub(crate) mem_cached: f64,
    pub(crate) swap_free: f64,
    pub(crate) mem_sreclaimable: f64,
}

/// All interfaces but loopback, a second.
#[derive(Clone, Debug, Default, Serialize)]
struct Network {
    mtu: u32,
    bytes_out: f64,
    bytes_in: f64,
    pkts_in: f64,
    pkts_out: f64,
}

/// Threads, as the kernel counts them beside the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Process {
    pub(crate) proc_run: u32,
    pub(crate) proc_total: u32,
}

/// Times in seconds since the epoch.
#[derive(Clone, Debug, Default, Serialize)]
struct System {
    boottime: u64,
    sys_clock: i64,
    machine_type: &'static str,
    os_name: String,
    os_release: String,
}

impl Machine {
    /// What changed from `before` to `after`; `clock` is the time in seconds since the epoch. After a single look the
    /// shares are of the time since the machine's start, and there are no rates.
    pub(crate) fn between(before: Option<&Sample>, after: &Sample, clock: i64) -> Self {
        let none = Sample { at: after.at, ..Sample::default() };
        let before = before.unwrap_or(&none);
        let (old, new) = (&before.usage, &after.usage);
        let whole = new.total().saturating_sub(old.total());
        let share = |now: u64, then: u64| ratio(now.saturating_sub(then) as f64 * 100.0, whole as f64);
        let seconds = after.at.saturating_sub(before.at).as_secs_f64();
        let rate = |now: u64, then: u64| ratio(now.saturating_sub(then) as f64, seconds);
        let (sent, was) = (&after.traffic, &before.traffic);
        Self {
            cpu: Cpu {
                cpu_num: new.cpus,
                cpu_speed: after.cpu_mhz,
                cpu_user: share(new.user, old.user),
                cpu_nice: share(new.nice, old.nice),
                cpu_system: share(new.system + new.intr + new.sintr, old.system + old.intr + old.sintr),
                cpu_idle: share(new.idle, old.idle),
                cpu_wio: share(new.wio, old.wio),
                cpu_aidle: ratio(new.idle as f64 * 100.0, new.total() as f64),
                cpu_intr: share(new.intr, old.intr),
                cpu_sintr: share(new.sintr, old.sintr),
                cpu_steal: share(new.steal, old.steal),
            },
            disk: after.disk.clone(),
            load: after.load.clone(),
            memory: after.memory.clone(),
            network: Network {
                mtu: after.mtu,
                bytes_out: rate(sent.bytes_out, was.bytes_out),
                bytes_in: rate(sent.bytes_in, was.bytes_in),
                pkts_in: rate(sent.pkts_in, was.pkts_in),
                pkts_out: rate(sent.pkts_out, was.pkts_out),
            },
            process: after.process.clone(),
            system: System {
                boottime: after.boottime,
                sys_clock: clock,
                machine_type: std::env::consts::ARCH,
                os_name: after.os_name.clone(),
                os_release: after.os_release.clone(),
            },
        }
    }
}

/// To six decimals, as C prints them; 0 where nothing passed between the looks.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole * 1e6).round() / 1e6 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_rates_are_of_the_time_between() {
        let usage = |user, idle, sintr| Usage { cpus: 2, user, idle, sintr, ..Usage::default() };
        let traffic = |bytes_in| Traffic { bytes_in, ..Traffic::default() };
        let before = Sample { usage: usage(100, 100, 0), traffic: traffic(1000), ..Sample::default() };
        let at = Duration::from_secs(4);
        let after = Sample { at, usage: usage(150, 225, 25), traffic: traffic(5000), ..Sample::default() };
        let machine = Machine::between(Some(&before), &after, 77);
        let cpu = &machine.cpu;
        assert_eq!((cpu.cpu_user, cpu.cpu_idle, cpu.cpu_system, cpu.cpu_aidle), (25.0, 62.5, 12.5, 56.25));
        assert_eq!((machine.network.bytes_in, machine.system.sys_clock), (1000.0, 77));
        // A counter that fell, and no time at all.
        let machine = Machine::between(Some(&after), &before, 0);
        assert_eq!((machine.cpu.cpu_user, machine.network.bytes_in), (0.0, 0.0));
        // A single look.
        let machine = Machine::between(None, &after, 0);
        assert_eq!((machine.cpu.cpu_idle, machine.network.bytes_in), (56.25, 0.0));
    }
}
