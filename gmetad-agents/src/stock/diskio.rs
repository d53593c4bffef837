//! What disks do, from /proc/diskstats.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::plan::{
    BLUE, GREEN, INSTANCES, Limits, MINUTE, ORANGE, Plan, Probe, RED, area, graph, keys, line, percentages, plain,
    round,
};
use super::proc::{fits, numbers, text};
use crate::kind::Kind;
use crate::spec::Installed;

/// Bytes of a sector in /proc/diskstats, whatever the disk has.
const SECTOR: f64 = 512.0;

pub(super) const KIND: Kind = Kind { name: "diskio", about: "Disk activity", section: "Storage", build, default };

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// Only these (`*` stands for anything); also partitions and what is made of disks (`dm-0`, `md0`).
    disks: Vec<String>,
    /// Not these.
    skip: Vec<String>,
}

struct DiskIo {
    keys: Keys,
    root: PathBuf,
    before: Option<(Instant, HashMap<String, Disk>)>,
}

/// Counters of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Disk {
    reads: u64,
    sectors_read: u64,
    writes: u64,
    sectors_written: u64,
    /// Milliseconds that operations took, added up.
    waited: u64,
    /// Milliseconds with an operation under way.
    busy: u64,
}

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let keys: Keys = keys(own)?;
    Ok(Plan::new(name, &KIND, MINUTE, DiskIo { keys, root: PathBuf::from("/"), before: None })
        .percent("busy_percent", message!("busy"))
        .counter("read_bytes", message!("read"), "B")
        .counter("written_bytes", message!("written"), "B")
        .counter("reads", message!("read operations"), "")
        .counter("writes", message!("write operations"), "")
        .gauge("latency", message!("time of an operation"), "s")
        .limited("busy_percent", "~:95", "", 20, limits)
        .graph(graph(
            "bytes.png",
            message!("Read and written"),
            "B/s",
            vec![area("read_bytes", GREEN), line("written_bytes", BLUE)],
        ))
        .graph(graph("operations.png", message!("Operations"), "1/s", vec![area("reads", GREEN), line("writes", BLUE)]))
        .graph(percentages("busy.png", message!("Busy"), vec![area("busy_percent", ORANGE)]))
        .graph(graph("latency.png", message!("Time of an operation"), "s", vec![line("latency", RED)]))
        .build())
}

fn default() -> Vec<Installed> {
    let root = Path::new("/");
    let there = text("/proc/diskstats").is_ok_and(|text| parse(&text).iter().any(|(name, _)| is_disk(root, name)));
    if there { plain(&KIND) } else { Vec::new() }
}

impl Probe for DiskIo {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        let text = text(self.root.join("proc/diskstats"))?;
        let now = Instant::now();
        let disks: HashMap<String, Disk> =
            parse(&text)
                .into_iter()
                .filter(|(name, _)| !fits(&self.keys.skip, name))
                .filter(|(name, _)| {
                    if self.keys.disks.is_empty() { is_disk(&self.root, name) } else { fits(&self.keys.disks, name) }
                })
                .take(INSTANCES)
                .collect();
        let mut names: Vec<_> = disks.keys().collect();
        names.sort();
        let mut measurement = Measurement::new();
        for name in names {
            let disk = disks[name];
            let before = self
                .before
                .as_ref()
                .and_then(|(then, disks)| Some((now.duration_since(*then).as_secs_f64(), disks.get(name)?)));
            measurement = measurement.instance(name, of(&disk, before));
        }
        self.before = Some((now, disks));
        Ok(measurement)
    }

    fn judge(&self, last: &Measurement) -> Status {
        let busy = |disk: &Measurement| disk.get_number("busy_percent").unwrap_or(f64::NAN);
        let busiest = last
            .instances()
            .filter(|(_, disk)| !busy(disk).is_nan())
            .max_by(|(_, one), (_, two)| busy(one).total_cmp(&busy(two)));
        match busiest {
            Some((name, disk)) => Status::new(State::Ok, message!("busiest: {}, {} %", name, round(busy(disk)))),
            None => Status::ok(),
        }
    }
}

/// Whether it is a disk as such: neither a part of one nor made of others, of memory or of files.
fn is_disk(root: &Path, name: &str) -> bool {
    let directory = root.join("sys/block").join(name.replace('/', "!"));
    directory.join("device").exists() && !["sr", "fd"].iter().any(|prefix| name.starts_with(prefix))
}

fn parse(text: &str) -> Vec<(String, Disk)> {
    let disk = |line: &str| {
        let name = line.split_ascii_whitespace().nth(2)?;
        let (_, rest) = line.split_once(&format!(" {name} "))?;
        let counters: Vec<u64> = numbers(rest).take(10).collect();
        let [reads, _, sectors_read, reading, writes, _, sectors_written, writing, _, busy] =
            *counters.first_chunk::<10>()?;
        let waited = reading.saturating_add(writing);
        Some((name.to_owned(), Disk { reads, sectors_read, writes, sectors_written, waited, busy }))
    };
    text.lines().filter_map(disk).collect()
}

/// `before`: seconds ago, counters then.
fn of(now: &Disk, before: Option<(f64, &Disk)>) -> Measurement {
    let [busy, latency] = before.map_or([f64::NAN; 2], |(seconds, then)| {
        let grown = |field: fn(&Disk) -> u64| field(now).checked_sub(field(then)).map(|more| more as f64);
        let busy = grown(|disk| disk.busy).filter(|_| seconds > 0.0).map(|ms| (ms / seconds / 10.0).min(100.0));
        let operations = grown(|disk| disk.reads.saturating_add(disk.writes)).filter(|count| *count > 0.0);
        let latency = operations.and_then(|count| Some(grown(|disk| disk.waited)? / count / 1000.0));
        [busy, latency].map(|value| value.unwrap_or(f64::NAN))
    });
    Measurement::new()
        .number("busy_percent", busy)
        .number("read_bytes", now.sectors_read as f64 * SECTOR)
        .number("written_bytes", now.sectors_written as f64 * SECTOR)
        .number("reads", now.reads as f64)
        .number("writes", now.writes as f64)
        .number("latency", latency)
}

#[cfg(test)]
mod tests {
    use procfs_core::{DiskStats, FromRead};
    use proptest::prelude::*;

    use super::*;

    const RECORDED: &str = "   7       0 loop0 59 0 2110 1 32 28 112 152 0 144 304\n 254       0 vda 100 7 2000 50 300 8 4000 150 0 2500 200 0 0 0 0 22 1\n\
                            254 1 vda1 1 2 3\n 259 0 cciss/c0d0 1 2 3 4 5 6 7 8 9 10 11\n";

    #[test]
    fn counters_of_a_recorded_machine() {
        let disks = parse(RECORDED);
        assert_eq!(disks.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["loop0", "vda", "cciss/c0d0"]);
        let vda = Disk { reads: 100, sectors_read: 2000, writes: 300, sectors_written: 4000, waited: 200, busy: 2500 };
        assert_eq!(disks[1].1, vda);
        let later = Disk { reads: 110, writes: 330, waited: 600, busy: 3000, ..vda };
        let measurement = of(&later, Some((2.0, &vda)));
        let get = |field| measurement.get_number(field).unwrap();
        assert_eq!((get("busy_percent"), get("latency"), get("read_bytes")), (25.0, 0.01, 1_024_000.0));
        // The first one, an idle one, and a disk that was replaced.
        for (now, before) in [(&vda, None), (&vda, Some((2.0, &vda))), (&vda, Some((2.0, &later)))] {
            assert!(of(now, before).get_number("latency").unwrap().is_nan());
        }
    }

    #[test]
    fn which_disks() {
        let root = tempfile::tempdir().unwrap();
        for name in ["vda/device", "cciss!c0d0/device", "loop0", "sr0/device"] {
            std::fs::create_dir_all(root.path().join("sys/block").join(name)).unwrap();
        }
        std::fs::create_dir_all(root.path().join("proc")).unwrap();
        std::fs::write(root.path().join("proc/diskstats"), RECORDED).unwrap();
        let names = |keys: &str| {
            let keys = super::keys(keys.parse().unwrap()).unwrap();
            let mut probe = DiskIo { keys, root: root.path().to_owned(), before: None };
            let measurement = probe.measure(&super::super::context()).unwrap();
            measurement.instances().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["cciss/c0d0", "vda"]);
        assert_eq!(names("skip = [\"cciss*\"]"), ["vda"]);
        assert_eq!(names("disks = [\"loop*\"]"), ["loop0"]);
    }

    #[test]
    fn this_machine() {
        let text = text("/proc/diskstats").unwrap();
        let (own, judge) = (parse(&text), DiskStats::from_read(text.as_bytes()).unwrap().0);
        assert_eq!(own.len(), judge.len());
        for ((name, disk), judge) in own.iter().zip(judge) {
            let own = (&**name, disk.reads, disk.writes, disk.sectors_read, disk.sectors_written, disk.busy);
            assert_eq!(
                own,
                (
                    &*judge.name,
                    judge.reads,
                    judge.writes,
                    judge.sectors_read,
                    judge.sectors_written,
                    judge.time_in_progress
                )
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "( {0,3}[0-9]{1,3} [0-9] [a-z]{0,3}( [0-9]{1,20}){0,14}\n){0,3}\\PC*", seconds in -1.0..1e9f64) {
            let disks = parse(&text);
            for pair in disks.windows(2) {
                let busy = of(&pair[0].1, Some((seconds, &pair[1].1))).get_number("busy_percent").unwrap();
                prop_assert!(busy.is_nan() || (0.0..=100.0).contains(&busy));
            }
        }
    }
}
