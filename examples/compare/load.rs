//! Queries beside thousands of other clients.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::daemon::{Daemon, Scratch};
use super::gmond::{Gmonds, Shape};
use super::{Args, Fallible, median, percentile};

const QUERIES: usize = 1000;

pub(crate) fn run(args: &Args) -> Fallible<()> {
    let shape = Shape::new(args, 10, 1000)?;
    let gmonds = Gmonds::start(&shape)?;
    let (idle, slow, dumps) =
        (args.number("--idle", 10_000)?, args.number("--slow", 200)?, args.number("--dumps", 20)?);
    println!(
        "{shape}; beside {idle} idle clients, {slow} that do not read, {dumps} that read the dump again and again"
    );
    for (name, program) in &args.programs {
        let daemon =
            Daemon::start(program, Scratch::new()?, &gmonds.addresses, 15, "write_rrds off", Vec::new(), None)?;
        daemon.wait_for(shape.clusters)?;
        report(name, "alone", &daemon)?;
        let crowd = crowd(&daemon, idle, slow)?;
        report(name, "beside idle and slow clients", &daemon)?;
        let stop = Arc::new(AtomicBool::new(false));
        let daemon = Arc::new(daemon);
        let readers: Vec<_> = (0..dumps)
            .map(|_| {
                let (daemon, stop) = (Arc::clone(&daemon), Arc::clone(&stop));
                thread::spawn(move || {
                    let mut read = 0;
                    while !stop.load(Ordering::Relaxed) {
                        read += daemon.dump().unwrap_or(0);
                        thread::sleep(Duration::from_millis(10));
                    }
                    read
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(500));
        report(name, "and dumps", &daemon)?;
        stop.store(true, Ordering::Relaxed);
        let read: usize = readers.into_iter().filter_map(|reader| reader.join().ok()).sum();
        println!("{name}: {:.0} MB were dumped meanwhile", read as f64 / 1e6);
        drop(crowd);
    }
    Ok(())
}

/// Clients that say nothing, and clients that ask for the dump and do not read it.
fn crowd(daemon: &Daemon, idle: usize, slow: usize) -> Fallible<Vec<TcpStream>> {
    let mut crowd = Vec::with_capacity(idle + slow);
    for at in 0..idle + slow {
        let mut stream = TcpStream::connect(("127.0.0.1", daemon.ports[usize::from(at % 2 == 0 || at < idle)]))?;
        if at >= idle && at % 2 == 0 {
            stream.write_all(b"/\n")?;
        }
        crowd.push(stream);
    }
    Ok(crowd)
}

fn report(name: &str, what: &str, daemon: &Daemon) -> Fallible<()> {
    let summary = daemon.query_times(QUERIES, "/?filter=summary\n")?;
    let host = daemon.query_times(QUERIES, &daemon.host_query()?)?;
    let (resident, peak) = daemon.memory()?;
    println!(
        "{name:<6} {what:<30} summary p50 {:.3} p99 {:.3} ms, host p50 {:.3} p99 {:.3} ms, resident {:.0} MB, peak {:.0} MB",
        median(&summary),
        percentile(&summary, 0.99),
        median(&host),
        percentile(&host, 0.99),
        resident / 1e6,
        peak / 1e6
    );
    Ok(())
}
