//! Network interfaces, from /proc/net/dev and /sys/class/net.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gmetad_core::agent::{AgentError, Context, Measurement, Message, State, Status};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;

use super::plan::{
    BLUE, GREEN, INSTANCES, Limits, MINUTE, ORANGE, PURPLE, Plan, Probe, RED, area, graph, keys, line, plain, share,
};
use super::proc::{fits, number, numbers, strange, text};
use crate::kind::Kind;
use crate::spec::Installed;

/// Set in an interface's flags once somebody has configured it.
const IFF_UP: u32 = 1;
/// Fewer packets between two measurements do not make a rate of errors: one error of three packets is no 33 %.
const PACKETS: u64 = 1000;

pub(super) const KIND: Kind = Kind { name: "network", about: "Network interfaces", section: "Network", build, default };

#[derive(Clone, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// Only these (`*` stands for anything); one without `*` that is not there is an Error.
    interfaces: Vec<String>,
    /// Not these.
    skip: Vec<String>,
    /// Bridges, tunnels, VLANs, bonds, too.
    r#virtual: bool,
}

struct Network {
    keys: Keys,
    root: PathBuf,
    before: HashMap<String, Counters>,
}

/// Of an interface, in the order of [`FIELDS`].
type Counters = [u64; 8];

const FIELDS: [&str; 8] =
    ["rx_bytes", "rx_packets", "rx_errors", "rx_drops", "tx_bytes", "tx_packets", "tx_errors", "tx_drops"];

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let keys: Keys = keys(own)?;
    let errors =
        vec![line("rx_errors", RED), line("tx_errors", ORANGE), line("rx_drops", PURPLE), line("tx_drops", BLUE)];
    Ok(Plan::new(name, &KIND, MINUTE, Network { keys, root: PathBuf::from("/"), before: HashMap::new() })
        .shown("link", message!("link"), "")
        .shown("speed", message!("speed"), "bit/s")
        .counter("rx_bytes", message!("received"), "B")
        .counter("tx_bytes", message!("sent"), "B")
        .counter("rx_packets", message!("packets received"), "")
        .counter("tx_packets", message!("packets sent"), "")
        .counter("rx_errors", message!("errors receiving"), "")
        .counter("tx_errors", message!("errors sending"), "")
        .counter("rx_drops", message!("dropped receiving"), "")
        .counter("tx_drops", message!("dropped sending"), "")
        .shown("errors_percent", message!("packets with errors"), "%")
        .limited("errors_percent", "~:0.1", "~:5", 3, limits)
        .graph(graph("bytes.png", message!("Traffic"), "B/s", vec![area("rx_bytes", GREEN), line("tx_bytes", BLUE)]))
        .graph(graph(
            "packets.png",
            message!("Packets"),
            "1/s",
            vec![area("rx_packets", GREEN), line("tx_packets", BLUE)],
        ))
        .graph(graph("errors.png", message!("Errors and drops"), "1/s", errors))
        .build())
}

fn default() -> Vec<Installed> {
    let root = Path::new("/");
    let there = text("/proc/net/dev").is_ok_and(|text| {
        let all = parse(&text);
        let ours = hardware(root, &all);
        all.iter().any(|(name, _)| ours(name))
    });
    if there { plain(&KIND) } else { Vec::new() }
}

impl Probe for Network {
    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        let file = self.root.join("proc/net/dev");
        let all = parse(&text(&file)?);
        if all.is_empty() {
            return Err(strange(&file.display().to_string()).into());
        }
        let wanted = self.wanted(&all);
        let mut measurement = Measurement::new();
        let mut status = Status::ok();
        let mut now = HashMap::new();
        for (name, counters) in all.into_iter().filter(|(name, _)| wanted(name)).take(INSTANCES) {
            let mut interface = of(&counters, self.before.get(&name));
            let directory = self.root.join("sys/class/net").join(&name);
            if let Some(link) = link(&directory) {
                interface = interface.number("link", f64::from(u8::from(link)));
                if !link {
                    status = status.worse(Status::new(State::Warn, message!("{} has no link", name)));
                }
                // Unknown of virtual machines' cards, -1 without a link. In Mbit/s.
                if let Some(speed) = number(directory.join("speed")).filter(|speed| link && *speed > 0.0) {
                    interface = interface.number("speed", speed * 1e6);
                }
            }
            measurement = measurement.instance(&*name, interface);
            now.insert(name, counters);
        }
        for wanted in self.keys.interfaces.iter().filter(|wanted| !wanted.contains('*') && !now.contains_key(*wanted)) {
            status = status.worse(Status::new(State::Error, message!("there is no interface {}", wanted)));
        }
        self.before = now;
        Ok(measurement.judged(status))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let names: Vec<_> = last.instances().map(|(name, _)| name).collect();
        Status::new(State::Ok, names.join(", "))
    }
}

impl Network {
    fn wanted(&self, all: &[(String, Counters)]) -> impl Fn(&str) -> bool + use<> {
        let Keys { interfaces, skip, r#virtual } = self.keys.clone();
        let ours = hardware(&self.root, all);
        move |name| {
            let wanted =
                if interfaces.is_empty() { name != "lo" && (r#virtual || ours(name)) } else { fits(&interfaces, name) };
            wanted && !fits(&skip, name)
        }
    }
}

/// Which are the machine's own. A container has no hardware: there those that are called like it.
fn hardware(root: &Path, all: &[(String, Counters)]) -> impl Fn(&str) -> bool + use<> {
    let root = root.to_owned();
    let some = all.iter().any(|(name, _)| is_hardware(&root, name));
    let names = ["eth*", "en*", "wl*", "venet*"].map(str::to_owned);
    move |name| if some { is_hardware(&root, name) } else { fits(&names, name) }
}

/// Whether there is a device behind it, real or of the virtual machine.
fn is_hardware(root: &Path, name: &str) -> bool {
    root.join("sys/class/net").join(name).join("device").exists()
}

/// Whether a cable is in it, as it were; `None` if nobody has configured the interface, or it cannot be known.
fn link(directory: &Path) -> Option<bool> {
    let flags = text(directory.join("flags")).ok()?;
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).ok()?;
    match text(directory.join("operstate")).ok()?.trim() {
        _ if flags & IFF_UP == 0 => None,
        "up" | "dormant" => Some(true),
        "down" | "lowerlayerdown" | "notpresent" => Some(false),
        _ => None,
    }
}

/// /proc/net/dev; lines that are no interface (the heads) are left out.
fn parse(text: &str) -> Vec<(String, Counters)> {
    let interface = |line: &str| {
        // Old kernels write the first number right behind the colon; aliases have colons of their own.
        let (name, rest) = line.rsplit_once(':')?;
        let all: Vec<u64> = numbers(rest).take(16).collect();
        let [bytes, packets, errors, drops, _, _, _, _, sent, packets_sent, errors_sent, drops_sent, ..] =
            *all.first_chunk::<16>()?;
        Some((name.trim().to_owned(), [bytes, packets, errors, drops, sent, packets_sent, errors_sent, drops_sent]))
    };
    text.lines().filter_map(interface).collect()
}

fn of(now: &Counters, before: Option<&Counters>) -> Measurement {
    let measurement = FIELDS
        .into_iter()
        .zip(now)
        .fold(Measurement::new(), |measurement, (field, value)| measurement.number(field, *value as f64));
    measurement.number("errors_percent", before.map_or(f64::NAN, |before| errors(now, before)))
}

/// Packets with errors since then, in percent.
fn errors(now: &Counters, before: &Counters) -> f64 {
    let grown = |fields: [usize; 2]| {
        fields.into_iter().fold(0_u64, |sum, at| sum.saturating_add(now[at].saturating_sub(before[at])))
    };
    let (packets, errors) = (grown([1, 5]), grown([2, 6]));
    if packets.saturating_add(errors) < PACKETS {
        0.0
    } else {
        share(errors as f64, packets.saturating_add(errors) as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use procfs_core::{FromRead, net::InterfaceDeviceStatus};
    use proptest::prelude::*;

    use super::*;

    const RECORDED: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
        \u{20}   lo: 49594 4947 0 1593 0 0 0 0 49594 4947 0 0 0 0 0 0\n  eth0:1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n  eth1: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0\n   br0: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0\n";

    /// A machine with eth0 (up), eth1 (no cable), br0.
    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("proc/net/dev", RECORDED);
        for (name, flags, state, speed) in
            [("eth0", "0x1003\n", "up\n", "1000\n"), ("eth1", "0x1003\n", "down\n", "-1\n")]
        {
            file(&format!("sys/class/net/{name}/flags"), flags);
            file(&format!("sys/class/net/{name}/operstate"), state);
            file(&format!("sys/class/net/{name}/speed"), speed);
            fs::create_dir_all(root.path().join(format!("sys/class/net/{name}/device"))).unwrap();
        }
        root
    }

    fn probe(root: &Path, keys: &str) -> Network {
        Network { keys: super::keys(keys.parse().unwrap()).unwrap(), root: root.to_owned(), before: HashMap::new() }
    }

    #[test]
    fn a_recorded_machine() {
        let root = machine();
        let measure = |keys: &str| probe(root.path(), keys).measure(&super::super::context()).unwrap();
        let names =
            |measurement: &Measurement| measurement.instances().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        let measurement = measure("");
        assert_eq!(names(&measurement), ["eth0", "eth1"]);
        let (_, eth0) = measurement.instances().next().unwrap();
        let get = |field| eth0.get_number(field).unwrap();
        assert_eq!(FIELDS.map(get), [1000.0, 10.0, 1.0, 2.0, 2000.0, 20.0, 3.0, 4.0]);
        assert_eq!((get("link"), get("speed")), (1.0, 1e9));
        assert_eq!(measurement.status().unwrap().to_string(), "Warn: eth1 has no link");
        assert_eq!(names(&measure("virtual = true")), ["eth0", "eth1", "br0"]);
        assert_eq!(names(&measure("skip = [\"eth1\"]")), ["eth0"]);
        fs::remove_dir(root.path().join("sys/class/net/eth0/device")).unwrap();
        fs::remove_dir(root.path().join("sys/class/net/eth1/device")).unwrap();
        assert_eq!(names(&measure("")), ["eth0", "eth1"], "as in a container");
        let absent = measure("interfaces = [\"br*\", \"eth7\"]");
        assert_eq!(names(&absent), ["br0"]);
        assert_eq!(absent.status().unwrap().to_string(), "Error: there is no interface eth7");
    }

    #[test]
    fn interfaces_that_nobody_configured_do_not_alarm() {
        let root = machine();
        fs::write(root.path().join("sys/class/net/eth1/flags"), "0x1002\n").unwrap();
        let measurement = probe(root.path(), "").measure(&super::super::context()).unwrap();
        assert_eq!(measurement.status(), Some(&Status::ok()));
    }

    #[test]
    fn errors_in_percent_of_enough_packets() {
        let before = [0; 8];
        let now = |packets, errors| [0, packets, errors, 0, 0, packets, 0, 0];
        assert_eq!(errors(&now(9_990, 20), &before), 0.1);
        assert_eq!(errors(&now(3, 1), &before), 0.0);
        assert_eq!(errors(&before, &now(9_990, 20)), 0.0, "counters that began anew");
    }

    #[test]
    fn this_machine() {
        let text = text("/proc/net/dev").unwrap();
        let judge = InterfaceDeviceStatus::from_read(text.as_bytes()).unwrap().0;
        let own = parse(&text);
        assert_eq!(own.len(), judge.len());
        for (name, counters) in own {
            let judge = &judge[&name];
            let expected = [
                judge.recv_bytes,
                judge.recv_packets,
                judge.recv_errs,
                judge.recv_drop,
                judge.sent_bytes,
                judge.sent_packets,
            ];
            assert_eq!(counters[..6], expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "( {0,2}[a-z:]{0,4}:( [0-9]{1,20}){0,17}\n){0,4}\\PC*") {
            let interfaces = parse(&text);
            for pair in interfaces.windows(2) {
                prop_assert!((0.0..=100.0).contains(&errors(&pair[0].1, &pair[1].1)));
            }
        }
    }
}
