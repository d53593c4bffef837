//! Memory and swap, from /proc/meminfo and /proc/vmstat.

use std::collections::HashMap;

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::plan::{
    BLUE, CYAN, GREEN, GREY, Limits, MINUTE, ORANGE, PURPLE, Plan, Probe, RED, area, graph, keys, line, percentages,
    plain, round, share, stack,
};
use super::proc::{strange, text};
use crate::kind::Kind;
use crate::spec::Installed;

const MEMINFO: &str = "/proc/meminfo";
const VMSTAT: &str = "/proc/vmstat";

pub(super) const MEMORY: Kind =
    Kind { name: "memory", about: "Memory", section: "System", build: build_memory, default: || plain(&MEMORY) };

pub(super) const SWAP: Kind =
    Kind { name: "swap", about: "Swap space", section: "System", build: build_swap, default: default_swap };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {}

struct Memory;

struct Swap;

fn build_memory(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys {} = keys(own)?;
    let series = vec![
        area("programs", BLUE),
        stack("shared", PURPLE),
        stack("buffers", ORANGE),
        stack("cached", CYAN),
        stack("free", GREEN),
    ];
    Ok(Plan::new(name, &MEMORY, MINUTE, Memory)
        .shown("total", message!("total"), "B")
        .gauge("programs", message!("programs and kernel"), "B")
        .gauge("shared", message!("shared memory"), "B")
        .gauge("buffers", message!("buffers"), "B")
        .gauge("cached", message!("cache"), "B")
        .gauge("free", message!("free"), "B")
        .shown("available", message!("available"), "B")
        .percent("available_percent", message!("available"))
        .limited("available_percent", "10:", "5:", 3, limits)
        .graph(graph("memory.png", message!("Memory"), "B", series))
        .graph(percentages("available.png", message!("Available memory"), vec![area("available_percent", GREEN)]))
        .build())
}

fn build_swap(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys {} = keys(own)?;
    Ok(Plan::new(name, &SWAP, MINUTE, Swap)
        .shown("total", message!("total"), "B")
        .gauge("used", message!("used"), "B")
        .gauge("free", message!("free"), "B")
        .percent("used_percent", message!("used"))
        .counter("in", message!("read back"), "B")
        .counter("out", message!("swapped out"), "B")
        .limited("used_percent", "~:60", "~:90", 5, limits)
        .graph(graph("swap.png", message!("Swap space"), "B", vec![area("used", RED), stack("free", GREY)]))
        .graph(graph("swapping.png", message!("Swapping"), "B/s", vec![line("in", GREEN), line("out", ORANGE)]))
        .build())
}

fn default_swap() -> Vec<Installed> {
    let there =
        text(MEMINFO).is_ok_and(|text| Meminfo::parse(&text).bytes("SwapTotal").is_some_and(|total| total > 0.0));
    if there { plain(&SWAP) } else { Vec::new() }
}

impl Probe for Memory {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        Ok(memory(&Meminfo::parse(&text(MEMINFO)?)).ok_or_else(|| strange(MEMINFO))?)
    }

    fn judge(&self, last: &Measurement) -> Status {
        let available = round(last.get_number("available_percent").unwrap_or(f64::NAN));
        Status::new(State::Ok, message!("{} % available", available))
    }
}

impl Probe for Swap {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        let measurement = swap(&Meminfo::parse(&text(MEMINFO)?)).ok_or_else(|| strange(MEMINFO))?;
        // Containers may not have it.
        let Ok(vmstat) = text(VMSTAT) else { return Ok(measurement) };
        let page = page_size();
        let [taken, given] =
            ["pswpin ", "pswpout "].map(|key| vmstat_of(&vmstat, key).map_or(f64::NAN, |pages| pages * page));
        Ok(measurement.number("in", taken).number("out", given))
    }

    fn judge(&self, last: &Measurement) -> Status {
        if last.get_number("total") == Some(0.0) {
            return Status::new(State::Ok, message!("no swap space"));
        }
        let used = round(last.get_number("used_percent").unwrap_or(f64::NAN));
        Status::new(State::Ok, message!("{} % used", used))
    }
}

/// Bytes of a page of memory.
pub(super) fn page_size() -> f64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().map_or(4096.0, |size| size as f64)
}

/// /proc/meminfo: kB by name.
struct Meminfo<'a>(HashMap<&'a str, u64>);

impl<'a> Meminfo<'a> {
    fn parse(text: &'a str) -> Self {
        let line = |line: &'a str| {
            let (name, rest) = line.split_once(':')?;
            Some((name, rest.split_ascii_whitespace().next()?.parse().ok()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    fn bytes(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|kilobytes| *kilobytes as f64 * 1024.0)
    }
}

fn memory(meminfo: &Meminfo<'_>) -> Option<Measurement> {
    let optional = |name| meminfo.bytes(name).unwrap_or(0.0);
    let (total, free, buffers) = (meminfo.bytes("MemTotal")?, meminfo.bytes("MemFree")?, optional("Buffers"));
    // What the kernel counts as cache but cannot give back: tmpfs and shared segments.
    let shared = optional("Shmem");
    let cached = (optional("Cached") + optional("SReclaimable") - shared).max(0.0);
    let programs = (total - free - buffers - cached - shared).max(0.0);
    // Before Linux 3.14 it has to be guessed.
    let available = meminfo.bytes("MemAvailable").unwrap_or(free + buffers + cached).min(total);
    Some(
        Measurement::new()
            .number("total", total)
            .number("programs", programs)
            .number("shared", shared)
            .number("buffers", buffers)
            .number("cached", cached)
            .number("free", free)
            .number("available", available)
            .number("available_percent", share(available, total)),
    )
}

fn swap(meminfo: &Meminfo<'_>) -> Option<Measurement> {
    let (total, free) = (meminfo.bytes("SwapTotal")?, meminfo.bytes("SwapFree")?);
    let used = (total - free).max(0.0);
    let measurement = Measurement::new().number("total", total).number("used", used).number("free", free);
    Some(measurement.number("used_percent", share(used, total)))
}

/// A line of /proc/vmstat; `key` ends in a space.
fn vmstat_of(text: &str, key: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use procfs_core::{FromRead, Meminfo as Judge};
    use proptest::prelude::*;

    use super::*;

    const RECORDED: &str = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 500 kB\nBuffers: 50 kB\nCached: 300 kB\nShmem: 80 kB\n\
                            SReclaimable: 30 kB\nSwapTotal: 400 kB\nSwapFree: 100 kB\nHugePages_Total: 0\n";

    #[test]
    fn a_recorded_machine() {
        let meminfo = Meminfo::parse(RECORDED);
        let memory = memory(&meminfo).unwrap();
        let kilobytes = |field| memory.get_number(field).unwrap() / 1024.0;
        assert_eq!(
            ["total", "programs", "shared", "buffers", "cached", "free", "available"].map(kilobytes),
            [1000.0, 520.0, 80.0, 50.0, 250.0, 100.0, 500.0]
        );
        assert_eq!(memory.get_number("available_percent"), Some(50.0));
        assert_eq!(swap(&meminfo).unwrap().get_number("used_percent"), Some(75.0));
        assert!(super::memory(&Meminfo::parse("MemFree: 1 kB")).is_none());
        let old = "MemTotal: 10 kB\nMemFree: 1 kB\nBuffers: 1 kB\nCached: 2 kB\n";
        assert_eq!(super::memory(&Meminfo::parse(old)).unwrap().get_number("available_percent"), Some(40.0));
    }

    #[test]
    fn this_machine() {
        let text = text(MEMINFO).unwrap();
        let (own, judge) = (Meminfo::parse(&text), Judge::from_read(text.as_bytes()).unwrap());
        assert_eq!(own.bytes("MemAvailable"), judge.mem_available.map(|bytes| bytes as f64));
        assert_eq!(own.bytes("SwapTotal"), Some(judge.swap_total as f64));
        let memory = super::super::measure_once(&MEMORY, "");
        let sum: f64 = ["programs", "shared", "buffers", "cached", "free"]
            .map(|field| memory.get_number(field).unwrap())
            .iter()
            .sum();
        assert!((sum / memory.get_number("total").unwrap() - 1.0).abs() < 0.05, "{memory:?}");
        let swap = super::super::measure_once(&SWAP, "");
        assert!(swap.get_number("out").unwrap() >= 0.0, "{swap:?}");
        assert_eq!(default_swap().is_empty(), judge.swap_total == 0);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "((MemTotal|MemFree|Cached|Shmem|SwapFree|SwapTotal):? {0,3}[0-9]{0,21}( kB)?\n){0,6}\\PC*") {
            let meminfo = Meminfo::parse(&text);
            let share = memory(&meminfo).and_then(|memory| memory.get_number("available_percent"));
            prop_assert!(share.is_none_or(|share| (0.0..=100.0).contains(&share)));
            let _ = swap(&meminfo);
            let _ = vmstat_of(&text, "pswpin ");
        }
    }
}
