//! What z_stats costs on an idle server with all its stock agents at their default periods, and collectd beside it with the
//! plugins that measure the same, as often, into RRD files.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::daemon::{Scratch, free_port, resident, spawn};
use super::{Args, Fallible};

const COLLECTD: [&str; 11] =
    ["load", "cpu", "memory", "swap", "uptime", "processes", "df", "disk", "interface", "conntrack", "rrdtool"];

pub(crate) fn run(args: &Args) -> Fallible<()> {
    // What is done once at the start (looking for package updates, new RRD files) is over by then.
    let (warm, seconds) = (args.number("--warm", 90)?, args.number("--seconds", 300)?);
    println!("after {warm} s, for {seconds} s; what the programs start is counted, too");
    println!("{:<12}{:>16}{:>14}{:>14}", "", "% of a core", "resident MB", "files");
    for (name, program) in &args.programs {
        let dir = Scratch::new()?;
        let root = dir.path("root");
        fs::create_dir_all(&root)?;
        let mut command = Command::new(program);
        if name == "collectd" {
            let file = dir.path("collectd.conf");
            let plugins: String = COLLECTD.iter().map(|plugin| format!("LoadPlugin {plugin}\n")).collect();
            let options = format!(
                "Interval 60\nBaseDir \"{0}\"\nPIDFile \"{0}/pid\"\n{plugins}<Plugin rrdtool>\nDataDir \"{0}/rrd\"\n</Plugin>\n",
                root.display()
            );
            fs::write(&file, options)?;
            command.arg("-f").arg("-C").arg(&file);
        } else {
            command.args(["-f", "--port", &free_port()?.to_string(), "--root"]).arg(&root);
        }
        let mut child = spawn(&mut command)?;
        std::thread::sleep(Duration::from_secs(warm));
        let before = ticks(child.id())?;
        std::thread::sleep(Duration::from_secs(seconds));
        let share = (ticks(child.id())? - before) as f64 / seconds as f64; // 100 ticks are a second
        println!("{name:<12}{share:>16.3}{:>14.1}{:>14}", resident(child.id())? / 1e6, files(&root));
        Command::new("kill").arg(child.id().to_string()).status()?;
        child.wait()?;
    }
    Ok(())
}

/// Ticks of CPU of a process, of its threads that have ended, and of its children that have.
fn ticks(pid: u32) -> Fallible<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(") ").next().ok_or("/proc/PID/stat has another form")?;
    Ok(fields.split(' ').skip(11).take(4).map(str::parse::<u64>).sum::<Result<_, _>>()?)
}

fn files(dir: &std::path::Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { files(&entry.path()) } else { 1 }).sum()
}
