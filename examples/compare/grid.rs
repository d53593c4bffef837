//! A grid of grids: what a parent costs whose sources are the dumps of its children.

use std::net::SocketAddr;
use std::time::Duration;

use super::daemon::{Daemon, Scratch};
use super::gmond::{Gmonds, Shape};
use super::{Args, Fallible, median};

pub(crate) fn run(args: &Args) -> Fallible<()> {
    let shape = Shape::new(args, 10, 1000)?;
    let children = args.number("--children", 2)?;
    let interval = args.number("--interval", 15)?;
    let seconds = args.number("--seconds", 60)?;
    let gmonds = Gmonds::start(&shape)?;
    let (_, child) = args.programs.last().ok_or("NAME=PROGRAM is wanted")?;
    let off = "write_rrds off\nall_trusted on";
    let children: Vec<Daemon> = (0..children)
        .map(|n| {
            let conf = format!("{off}\ngridname \"child {n}\"");
            Daemon::start(child, Scratch::new()?, &gmonds.addresses, interval, &conf, Vec::new(), None)
        })
        .collect::<Result<_, _>>()?;
    children.iter().try_for_each(|child| child.wait_for(shape.clusters))?;
    let sources: Vec<SocketAddr> =
        children.iter().map(|child| SocketAddr::from(([127, 0, 0, 1], child.ports[0]))).collect();
    let series = shape.series() * sources.len() as f64;
    println!("a parent over {} children of {shape} each, every {interval} s, RRDs off", sources.len());
    println!(
        "{:<30}{:>14}{:>12}{:>12}{:>10}{:>14}",
        "", "CPU us/series", "resident MB", "dump MB", "dump ms", "summary p50 ms"
    );
    for (name, program) in &args.programs {
        for scalable in ["on", "off"] {
            let conf = format!("{off}\nscalable {scalable}");
            let parent = Daemon::start(program, Scratch::new()?, &sources, interval, &conf, Vec::new(), None)?;
            std::thread::sleep(Duration::from_secs(2 * interval + 1));
            let before = parent.cpu();
            std::thread::sleep(Duration::from_secs(seconds));
            let cpu = (parent.cpu() - before) * 1e6 / (series * seconds as f64 / interval as f64);
            let (resident, _) = parent.memory()?;
            let began = std::time::Instant::now();
            let size = parent.dump()?;
            let dump = began.elapsed().as_secs_f64() * 1e3;
            let summary = median(&parent.query_times(200, "/?filter=summary\n")?);
            println!(
                "{:<30}{cpu:>14.3}{:>12.1}{:>12.3}{dump:>10.1}{summary:>14.3}",
                format!("{name}, scalable {scalable}"),
                resident / 1e6,
                size as f64 / 1e6
            );
        }
    }
    Ok(())
}
