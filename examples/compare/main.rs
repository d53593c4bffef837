//! Runs daemons side by side on the same synthetic clusters and prints what each costs; `scripts/compare` calls it.
//!
//! ```text
//! compare [tree] [SHAPE] [--interval S] [--seconds S] [--rounds N] [--rrd on|off] [--conf LINE] NAME=PROGRAM...
//!   SHAPE: --clusters N --hosts N --metrics N --change values|nothing|order|hosts --unique
//! compare growth  [--only PART-OF-A-NAME] NAME=PROGRAM...     how the cost grows with the size and the kind of clusters
//! compare load    [SHAPE] NAME=PROGRAM...                     queries beside thousands of other clients
//! compare grid    [SHAPE of a child] [--children N] NAME=PROGRAM...   a parent over children, the last program's
//! compare plugins [SHAPE] [--interval S] [--seconds S] ours=PROGRAM   alerts and executables that parse, beside many sources
//! compare remote  [--clusters N] [--hosts N] [--polls N] prometheus=PROGRAM   points into a Prometheus by remote write
//! compare agents  [--warm S] [--seconds S] z_stats=PROGRAM [collectd=PROGRAM]   what agents cost an idle server
//! compare storage [--hosts N] [--seconds S] [--only PART-OF-A-NAME] C=PROGRAM ours=PROGRAM [rrdcached=PROGRAM]
//! ```
//!
//! The daemons run one after the other in each round; medians are printed, and ratios to the first.

mod agents;
mod daemon;
mod gmond;
mod grid;
mod growth;
mod load;
mod plugins;
mod remote;
mod storage;
mod tree;

use std::error::Error;

type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> Fallible<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let command = match args.first() {
        Some(first) if !first.starts_with("--") && !first.contains('=') => args.remove(0),
        _ => "tree".to_owned(),
    };
    let args = Args::new(args)?;
    match command.as_str() {
        "agents" => agents::run(&args),
        "tree" => tree::run(&args),
        "growth" => growth::run(&args),
        "grid" => grid::run(&args),
        "load" => load::run(&args),
        "plugins" => plugins::run(&args),
        "remote" => remote::run(&args),
        "storage" => storage::run(&args),
        _ => Err(format!("{command}: agents, tree, growth, grid, load, plugins, remote or storage is wanted").into()),
    }
}

/// `--option value`, and `NAME=PROGRAM`.
struct Args {
    options: Vec<(String, String)>,
    programs: Vec<(String, String)>,
}

impl Args {
    fn new(args: Vec<String>) -> Fallible<Self> {
        let mut found = Self { options: Vec::new(), programs: Vec::new() };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--unique" {
                found.options.push((arg, "on".to_owned()));
            } else if arg.starts_with("--") {
                let value = args.next().ok_or(format!("{arg} needs a value"))?;
                found.options.push((arg, value));
            } else {
                let (name, program) = arg.split_once('=').ok_or(format!("{arg}: NAME=PROGRAM is wanted"))?;
                found.programs.push((name.to_owned(), program.to_owned()));
            }
        }
        Ok(found)
    }

    fn get(&self, option: &str) -> Option<&str> {
        self.options.iter().rev().find(|(name, _)| name == option).map(|(_, value)| value.as_str())
    }

    fn number<T: std::str::FromStr>(&self, option: &str, default: T) -> Fallible<T>
    where
        T::Err: Error + 'static,
    {
        self.get(option).map_or(Ok(default), |value| Ok(value.parse()?))
    }

    fn program(&self, name: &str) -> Option<&str> {
        self.programs.iter().find(|(known, _)| known == name).map(|(_, program)| program.as_str())
    }
}

/// The value that `share` of them are not above.
fn percentile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}
