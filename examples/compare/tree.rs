//! What a daemon costs on clusters of one shape.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::daemon::{Daemon, Scratch};
use super::gmond::{Gmonds, Shape, Twist};
use super::{Args, Fallible, median, percentile};

const QUERIES: usize = 400;

/// What is measured of one run, in the order of [`LABELS`].
pub(crate) type Figures = [f64; LABELS.len()];
const LABELS: [&str; 11] = [
    "CPU a series a poll, µs",
    "resident, MB",
    "resident a series, bytes",
    "peak / resident",
    "full dump, ms",
    "CPU a dump, ms per MB",
    "/?filter=summary, p50 ms",
    "/?filter=summary, p99 ms",
    "one host, p50 ms",
    "one host, p99 ms",
    "polls that came, per cent",
];

/// How long, how often, with what else in the configuration.
pub(crate) struct Plan {
    pub(crate) interval: u64,
    pub(crate) seconds: u64,
    pub(crate) conf: String,
}

pub(crate) fn run(args: &Args) -> Fallible<()> {
    let shape = Shape::new(args, 4, 250)?;
    let rrd = args.get("--rrd") == Some("on");
    let mut conf = args.get("--conf").unwrap_or_default().replace("\\n", "\n");
    conf += if rrd { "\nRRAs \"RRA:AVERAGE:0.5:1:244\"" } else { "\nwrite_rrds off" };
    let plan = Plan { interval: args.number("--interval", 5)?, seconds: args.number("--seconds", 20)?, conf };
    let rounds = args.number("--rounds", 3)?;
    let gmonds = Gmonds::start(&shape)?;
    println!(
        "{shape}, every {} s, RRDs {}; medians of {rounds} rounds of {} s",
        plan.interval,
        if rrd { "on" } else { "off" },
        plan.seconds
    );
    let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); args.programs.len()];
    for _ in 0..rounds {
        for ((_, program), runs) in args.programs.iter().zip(&mut runs) {
            runs.push(measure(program, &shape, &plan, &gmonds)?);
        }
    }
    let medians: Vec<Figures> = runs.iter().map(|runs| medians(runs)).collect();
    let mut head = format!("{:<28}", "");
    for (name, _) in &args.programs {
        write!(head, "{name:>12}")?;
    }
    for (name, _) in args.programs.iter().skip(1) {
        write!(head, "{:>14}", format!("{}/{name}", args.programs[0].0))?;
    }
    println!("{head}");
    for (at, label) in LABELS.iter().enumerate() {
        let mut line = format!("{label:<28}");
        for figures in &medians {
            write!(line, "{:>12.3}", figures[at])?;
        }
        for figures in medians.iter().skip(1) {
            write!(line, "{:>13.1}x", medians[0][at] / figures[at])?;
        }
        println!("{line}");
    }
    Ok(())
}

pub(crate) fn medians(runs: &[Figures]) -> Figures {
    std::array::from_fn(|at| median(&runs.iter().map(|run| run[at]).collect::<Vec<_>>()))
}

/// One run of one daemon.
pub(crate) fn measure(program: &str, shape: &Shape, plan: &Plan, gmonds: &Gmonds) -> Fallible<Figures> {
    let daemon =
        Daemon::start(program, Scratch::new()?, &gmonds.addresses, plan.interval, &plan.conf, Vec::new(), None)?;
    daemon.wait_for(if shape.twist == Twist::OneCluster { 1 } else { shape.clusters })?;
    // Warm: every cluster has been polled twice more, RRD files and tables are made.
    std::thread::sleep(Duration::from_secs(2 * plan.interval + 1));

    let (before, polls_before, began) = (daemon.cpu(), gmonds.polls(), Instant::now());
    std::thread::sleep(Duration::from_secs(plan.seconds));
    let used = daemon.cpu() - before;
    let polls = (gmonds.polls() - polls_before) as f64;
    let expected = began.elapsed().as_secs_f64() / plan.interval as f64 * shape.clusters as f64;
    let (resident, peak) = daemon.memory()?;

    let before = daemon.cpu();
    let (mut size, mut dumps) = (0, Vec::new());
    for _ in 0..5 {
        let began = Instant::now();
        size = daemon.dump()?;
        dumps.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let dump_cpu = (daemon.cpu() - before) / 5.0;
    let summary = daemon.query_times(QUERIES, "/?filter=summary\n")?;
    let host = daemon.query_times(QUERIES, &daemon.host_query()?)?;
    Ok([
        used * 1e6 / (polls * shape.series() / shape.clusters as f64),
        resident / 1e6,
        resident / shape.series(),
        peak / resident,
        median(&dumps),
        dump_cpu * 1e3 / (size as f64 / 1e6),
        median(&summary),
        percentile(&summary, 0.99),
        median(&host),
        percentile(&host, 0.99),
        polls / expected * 100.0,
    ])
}
