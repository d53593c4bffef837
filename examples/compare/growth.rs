//! How the cost of a series changes with the number and the kind of clusters.

use std::time::Duration;

use gmetad_core::synthetic::Change;

use super::gmond::{Gmonds, Shape, Twist};
use super::tree::{Plan, measure};
use super::{Args, Fallible};

/// Name, clusters, hosts, metrics, what changes, whether each metric has a DESC of its own, what else.
type Named = (&'static str, [usize; 3], Change, bool, Twist);

const SHAPES: [Named; 18] = [
    ("33 k series", [1, 1000, 33], Change::Values, false, Twist::None),
    ("330 k series", [10, 1000, 33], Change::Values, false, Twist::None),
    ("1 M series", [30, 1010, 33], Change::Values, false, Twist::None),
    ("one cluster of 10,000 hosts", [1, 10_000, 33], Change::Values, false, Twist::None),
    ("200 clusters of 50 hosts", [200, 50, 33], Change::Values, false, Twist::None),
    ("1000 clusters of 10 hosts", [1000, 10, 33], Change::Values, false, Twist::None),
    ("one cluster by ten sources", [10, 1000, 33], Change::Values, false, Twist::OneCluster),
    ("500 metrics a host", [4, 165, 500], Change::Values, false, Twist::None),
    ("10 hosts of 3300 metrics", [10, 10, 3300], Change::Values, false, Twist::None),
    ("no value changes", [10, 1000, 33], Change::Nothing, false, Twist::None),
    ("order changes", [10, 1000, 33], Change::Order, false, Twist::None),
    ("hosts change order", [10, 1000, 33], Change::Values, false, Twist::HostOrder),
    ("each host has other metrics", [10, 1000, 44], Change::Values, false, Twist::Sets),
    ("all EXTRA_DATA unique", [10, 1000, 33], Change::Values, true, Twist::None),
    ("unique, order changes", [10, 1000, 33], Change::Order, true, Twist::None),
    ("unique, new at each poll", [10, 1000, 33], Change::Values, false, Twist::Definitions),
    ("hosts come and go", [10, 1000, 33], Change::Hosts, false, Twist::None),
    ("come and go, unique", [10, 1000, 33], Change::Hosts, true, Twist::None),
];

pub(crate) fn run(args: &Args) -> Fallible<()> {
    let only = args.get("--only").unwrap_or_default();
    println!("per series and poll; RRDs off; {} s between polls", args.number("--interval", 10)?);
    println!(
        "{:<30}{:<8}{:>9}{:>12}{:>10}{:>10}{:>13}{:>12}{:>10}",
        "", "", "CPU us", "resident B", "peak/res", "dump ms", "summary p50", "host p50", "polls %"
    );
    for (name, [clusters, hosts, metrics], change, unique, twist) in SHAPES {
        if !name.contains(only) {
            continue;
        }
        let shape = Shape { clusters, hosts, metrics, change, unique, twist };
        let gmonds = Gmonds::start(&shape)?;
        let plan = Plan {
            interval: args.number("--interval", 10)?,
            seconds: args.number("--seconds", 40)?,
            conf: "write_rrds off".to_owned(),
        };
        for (program, path) in &args.programs {
            match measure(path, &shape, &plan, &gmonds) {
                Ok([cpu, _, resident, peak, dump, _, summary, _, host, _, polls]) => println!(
                    "{name:<30}{program:<8}{cpu:>9.3}{resident:>12.0}{peak:>10.2}{dump:>10.1}{summary:>13.3}{host:>12.3}{polls:>10.0}"
                ),
                // The others' figures are worth having.
                Err(error) => println!("{name:<30}{program:<8}    failed: {error}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}
