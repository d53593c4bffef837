//! How the cost of a series changes with the number and the kind of clusters.

use std::time::Duration;

use gmetad_core::synthetic::Change;

use super::gmond::{Gmonds, Shape};
use super::tree::{Plan, measure};
use super::{Args, Fallible};

const SHAPES: [(&str, [usize; 3], Change, bool); 12] = [
    ("33 k series", [1, 1000, 33], Change::Values, false),
    ("330 k series", [10, 1000, 33], Change::Values, false),
    ("1 M series", [30, 1010, 33], Change::Values, false),
    ("one cluster of 10,000 hosts", [1, 10_000, 33], Change::Values, false),
    ("200 clusters of 50 hosts", [200, 50, 33], Change::Values, false),
    ("500 metrics a host", [4, 165, 500], Change::Values, false),
    ("no value changes", [10, 1000, 33], Change::Nothing, false),
    ("order changes", [10, 1000, 33], Change::Order, false),
    ("all EXTRA_DATA unique", [10, 1000, 33], Change::Values, true),
    ("unique, order changes", [10, 1000, 33], Change::Order, true),
    ("hosts come and go", [10, 1000, 33], Change::Hosts, false),
    ("come and go, unique", [10, 1000, 33], Change::Hosts, true),
];

pub(crate) fn run(args: &Args) -> Fallible<()> {
    let only = args.get("--only").unwrap_or_default();
    println!("per series and poll; RRDs off; {} s between polls", args.number("--interval", 10)?);
    println!(
        "{:<30}{:<8}{:>9}{:>12}{:>10}{:>10}{:>13}{:>12}{:>10}",
        "", "", "CPU us", "resident B", "peak/res", "dump ms", "summary p50", "host p50", "polls %"
    );
    for (name, [clusters, hosts, metrics], change, unique) in SHAPES {
        if !name.contains(only) {
            continue;
        }
        let shape = Shape { clusters, hosts, metrics, change, unique };
        let gmonds = Gmonds::start(&shape)?;
        let plan = Plan {
            interval: args.number("--interval", 10)?,
            seconds: args.number("--seconds", 40)?,
            conf: "write_rrds off".to_owned(),
        };
        for (program, path) in &args.programs {
            let [cpu, _, resident, peak, dump, _, summary, _, host, _, polls] = measure(path, &shape, &plan, &gmonds)?;
            println!(
                "{name:<30}{program:<8}{cpu:>9.3}{resident:>12.0}{peak:>10.2}{dump:>10.1}{summary:>13.3}{host:>12.3}{polls:>10.0}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}
