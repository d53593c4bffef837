//! Real checks of monitoring-plugins and real munin plugins: recorded outputs, and those that are installed.
#![allow(clippy::unwrap_used, clippy::panic)] // in a test they are the report

mod programs;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use gmetad_agents::exec::{Ended, Reading, munin, nagios};
use gmetad_agents::{described, spec::Keep};
use gmetad_core::agent::{Counted, State};
use programs::{agent, data, left_out, within};

/// A recorded check: how it ended, what it wrote.
fn recorded(name: &str) -> (i32, String) {
    let text = fs::read_to_string(data("nagios").join(format!("{name}.txt"))).unwrap();
    let (head, output) = text.split_once('\n').unwrap();
    let status = head.strip_prefix("exit ").unwrap().split(':').next().unwrap().parse().unwrap();
    (status, output.to_owned())
}

/// Performance data read in the simplest way: label, number, unit.
fn naive(output: &str) -> Vec<(String, f64, String)> {
    let Some((_, data)) = output.lines().next().unwrap_or_default().split_once('|') else { return Vec::new() };
    let data = data.split_whitespace().filter_map(|word| word.split_once('='));
    let data = data.map(|(label, rest)| {
        let value = rest.split(';').next().unwrap();
        let digits = value.trim_end_matches(|c: char| c.is_alphabetic() || c == '%');
        (label.to_owned(), digits.parse().unwrap(), value[digits.len()..].to_owned())
    });
    data.collect()
}

fn compare(name: &str, output: &str, reading: &Reading) {
    let raw = naive(output);
    assert_eq!(reading.measurement.fields().len(), raw.len(), "{name}: {:?}", reading.described.notes);
    for ((label, number, unit), (field, _)) in raw.iter().zip(reading.measurement.fields()) {
        let read = reading.measurement.get_number(field).unwrap();
        let factor = if unit == "ms" { 1e-3 } else { 1.0 };
        assert!((read - number * factor).abs() <= 1e-12 * number.abs(), "{name}: {label} is {read}");
        let unit = match unit.as_str() {
            "ms" => "s",
            unit => unit,
        };
        let described = reading.described.fields.iter().find(|known| known.name == field).unwrap();
        assert_eq!(described.unit, unit, "{name}: {label}");
    }
    let first = output.lines().next().unwrap_or_default();
    let text = if raw.is_empty() { first } else { first.split('|').next().unwrap() };
    assert_eq!(reading.measurement.status().unwrap().message.to_string(), text.trim(), "{name}");
}

#[test]
fn recorded_checks() {
    let mut seen = 0;
    for entry in fs::read_dir(data("nagios")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let (status, output) = recorded(&name);
        let reading = nagios::read(Ended::Exit(status), output.as_bytes());
        let state = [State::Ok, State::Warn, State::Error, State::Unknown][status as usize];
        assert_eq!(reading.measurement.status().unwrap().state, state, "{name}");
        if name != "dummy_1" {
            compare(&name, &output, &reading); // that one has a `|` of its own
        }
        seen += 1;
    }
    assert!(seen >= 20, "{seen} recorded checks");
}

#[test]
fn limits_of_recorded_checks() {
    let field = |name: &str, field: &str| {
        let (status, output) = recorded(name);
        let described = nagios::read(Ended::Exit(status), output.as_bytes()).described;
        described.fields.into_iter().find(|known| known.name == field).unwrap()
    };
    let load = field("load", "load1");
    assert_eq!((load.warn.as_deref(), load.error.as_deref(), load.min), (Some("15"), Some("30"), Some(0.0)));
    let disk = field("disk_all", &gmetad_agents::exec::name("/dev/shm"));
    assert_eq!((disk.unit.as_str(), disk.label.to_string().as_str(), disk.max), ("B", "/dev/shm", None));
    let loss = field("ping", "pl");
    assert_eq!((loss.unit.as_str(), loss.warn.as_deref()), ("%", Some("20")));
    let rta = field("ping", "rta");
    assert_eq!((rta.unit.as_str(), rta.warn.as_deref(), rta.error.as_deref()), ("s", Some("0.1"), Some("0.5")));
    let (_, usage) = recorded("usage");
    assert_eq!(nagios::read(Ended::Exit(3), usage.as_bytes()).measurement.elements().len(), 1);
}

#[test]
fn checks_that_are_installed() {
    let checks: &[&[&str]] = &[
        &["check_load", "-w", "50", "-c", "90"],
        &["check_load", "-r", "-w", "0.00001,0.00001,0.00001", "-c", "90"],
        &["check_disk", "-w", "1%", "-c", "0%", "-p", "/"],
        &["check_disk", "-w", "100%", "-c", "0%", "-p", "/"],
        &["check_disk", "-w", "10%", "-c", "5%", "-p", "/no/such/path"],
        &["check_procs", "-w", "100000", "-c", "200000"],
        &["check_procs", "-w", "1", "-c", "1"],
        &["check_users", "-w", "500", "-c", "1000"],
        &["check_swap", "-w", "0%", "-c", "0%", "-n", "ok"],
        &["check_tcp", "-H", "127.0.0.1", "-p", "1"],
        &["check_http", "-H", "127.0.0.1", "-p", "1"],
        &["check_ping", "-H", "127.0.0.1", "-w", "1000,50%", "-c", "2000,80%", "-p", "1"],
        &["check_ntp_time", "-H", "127.0.0.1", "-t", "1"],
        &["check_file_age", "-f", "/etc/passwd", "-w", "1", "-c", "9999999999"],
        &["check_ssh", "-p", "1", "127.0.0.1"],
        &["check_dummy", "0", "fine"],
        &["check_dummy", "1", "careful"],
        &["check_dummy", "2", "broken"],
        &["check_dummy", "3", "no idea"],
    ];
    let directory = Path::new("/usr/lib/nagios/plugins");
    let root = tempfile::tempdir().unwrap();
    for words in checks {
        let program = directory.join(words[0]);
        if !program.exists() {
            left_out(
                "checks_that_are_installed",
                &format!("no {} (Debian package monitoring-plugins-basic)", words[0]),
            );
            continue;
        }
        let name = words.join(" ");
        let output = Command::new(&program).args(&words[1..]).env("LC_ALL", "C").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let reading = nagios::read(Ended::Exit(output.status.code().unwrap()), text.as_bytes());
        compare(&name, &text, &reading);
        // The same by its agent, under its bare name.
        let mut installed = agent("nagios", &format!("command = {words:?}"), root.path());
        let measurement = installed.agent.measure(&within(30.0)).unwrap();
        let names = |measurement: &gmetad_core::agent::Measurement| {
            measurement.fields().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&measurement), names(&reading.measurement), "{name}");
        assert_eq!(measurement.status().unwrap().state, reading.measurement.status().unwrap().state, "{name}");
        println!("{name}: {}", measurement.status().unwrap());
    }
}

/// `graph.field` or `field` -> value, read in the simplest way.
fn values(output: &str) -> BTreeMap<String, f64> {
    let mut graph = String::new();
    let mut all = BTreeMap::new();
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("multigraph ") {
            graph = format!("{name}.");
        } else if let Some((field, value)) = line.split_once(".value ") {
            all.insert(format!("{graph}{field}"), value.trim().parse().unwrap_or(f64::NAN));
        }
    }
    all
}

fn same_values(name: &str, output: &str, reading: &Reading) {
    let raw = values(output);
    assert!(!raw.is_empty(), "{name} measures something");
    for (field, value) in &raw {
        // Long names are cut.
        let field = gmetad_agents::exec::name(field);
        let read = reading.measurement.get_number(&field);
        assert!(
            read == Some(*value) || (read.is_some_and(f64::is_nan) && value.is_nan()),
            "{name}: {field} is {read:?}, not {value}"
        );
    }
    let known = reading
        .measurement
        .fields()
        .filter(|(field, _)| reading.measurement.get_number(field).is_some_and(|n| !n.is_nan()));
    assert_eq!(known.count(), raw.values().filter(|value| !value.is_nan()).count(), "{name}");
    assert!(!reading.described.graphs.is_empty(), "{name} has a graph");
    for series in reading.described.graphs.iter().flat_map(|graph| &graph.series) {
        assert!(reading.measurement.get(&series.field).is_some(), "{name}: {} is drawn and not measured", series.field);
    }
}

#[test]
fn recorded_munin_plugins() {
    let mut seen = 0;
    for entry in fs::read_dir(data("munin")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "config") {
            let (config, fetch) = (fs::read(&path).unwrap(), fs::read_to_string(path.with_extension("fetch")).unwrap());
            let reading = munin::read(&config, fetch.as_bytes());
            same_values(&path.display().to_string(), &fetch, &reading);
            assert!(!reading.described.section.is_empty(), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} recorded plugins");
}

#[test]
fn what_recorded_munin_plugins_say() {
    let read = |name: &str| {
        let of = |extension| fs::read(data("munin").join(name).with_extension(extension)).unwrap();
        munin::read(&of("config"), &of("fetch")).described
    };
    let cpu = read("cpu");
    assert_eq!((cpu.description.to_string(), cpu.section.to_string()), ("CPU usage".to_owned(), "System".to_owned()));
    let drawn: Vec<_> =
        cpu.graphs[0].series.iter().map(|series| (series.field.as_str(), series.draw.as_str())).collect();
    assert_eq!(drawn[..3], [("system", "area"), ("user", "stack"), ("nice", "stack")]);
    assert_eq!((cpu.graphs[0].lower, cpu.graphs[0].upper, cpu.graphs[0].unit.as_str()), (Some(0.0), Some(200.0), "%"));
    assert!(cpu.fields.iter().all(|field| field.counted == Counted::Derive && field.min == Some(0.0)));
    let df = read("df");
    let root = df.fields.iter().find(|field| field.name == "_dev_vda").unwrap();
    assert_eq!((root.label.to_string().as_str(), root.unit.as_str()), ("/", "%"));
    assert_eq!((root.warn.as_deref(), root.error.as_deref()), (Some("~:92"), Some("~:98")));
    let disks = read("diskstats");
    let names: Vec<_> = disks.graphs.iter().map(|graph| graph.name.as_str()).collect();
    assert!(names.contains(&"diskstats_throughput") && names.contains(&"diskstats_iops.vda"), "{names:?}");
    let read_bytes = disks.fields.iter().find(|field| field.name == "diskstats_throughput.vda_rdbytes").unwrap();
    assert_eq!(read_bytes.unit, "B/s");
    let labels: Vec<_> = disks.fields.iter().map(|field| field.label.to_string()).collect();
    assert_eq!(labels.iter().collect::<HashSet<_>>().len(), labels.len(), "{labels:?}");
    let label = |name: &str| {
        let field = disks.fields.iter().find(|field| field.name == name).unwrap();
        let drawn = disks.graphs.iter().flat_map(|graph| &graph.series).find(|series| series.field == name).unwrap();
        (field.label.to_string(), drawn.legend.to_string())
    };
    for (name, expected, legend) in [
        ("diskstats_latency.vda_avgwait", "Disk latency per device – vda", "vda"),
        ("diskstats_throughput.vda_wrbytes", "vda (vda_wrbytes)", ""),
        ("diskstats_latency.vda.avgwait", "Average latency for /dev/vda – IO Wait time", "IO Wait time"),
    ] {
        assert_eq!(label(name), (expected.to_owned(), legend.to_owned()));
    }
    assert!(cpu.fields.iter().all(|field| field.label.is_empty()), "their names are labels enough");
    assert_eq!(read("memory").fields[0].unit, "B");
    assert_eq!(read("if_eth0").fields.iter().map(|field| field.unit.as_str()).collect::<Vec<_>>(), ["B/s", "B/s"]);
}

#[test]
fn munin_plugins_that_are_installed() {
    let directory = Path::new("/usr/share/munin/plugins");
    let plugins = [
        "cpu",
        "load",
        "memory",
        "df",
        "df_inode",
        "interrupts",
        "irqstats",
        "processes",
        "uptime",
        "swap",
        "diskstats",
        "netstat",
        "threads",
        "open_files",
        "open_inodes",
        "forks",
        "entropy",
        "users",
        "vmstat",
        "proc_pri",
        "tcp",
        "if_",
        "if_err_",
    ];
    for plugin in plugins {
        let root = tempfile::tempdir().unwrap();
        if !directory.join(plugin).exists() {
            left_out("munin_plugins_that_are_installed", &format!("no {plugin} (Debian package munin-plugins-core)"));
            continue;
        }
        let link = if plugin.ends_with('_') { format!("link = '{plugin}lo'\n") } else { String::new() };
        let mut installed = agent("munin", &format!("command = ['{plugin}']\n{link}"), root.path());
        let first = installed.agent.measure(&within(60.0));
        let measurement = if plugin == "diskstats" {
            assert_eq!(first.unwrap_err().to_string(), "the program said nothing");
            // It compares with what it found the last time, and divides by the whole seconds since then.
            let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
            loop {
                match installed.agent.measure(&within(60.0)) {
                    Ok(measurement) => break measurement,
                    Err(error) => assert!(std::time::Instant::now() < end, "{error}"),
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        } else {
            first.unwrap_or_else(|error| panic!("{plugin}: {error}"))
        };
        let described = installed.agent.describe().unwrap();
        let spec = described::under(&installed.spec, described);
        let Keep::Rrd(graphs) = &spec.keep else { panic!("{plugin}") };
        assert!(!graphs.graphs.is_empty() && graphs.datasources.len() == described.fields.len(), "{plugin}");
        assert!(!spec.section.is_empty() && measurement.fields().len() > 0, "{plugin}");
        let known =
            measurement.fields().filter(|(name, _)| measurement.get_number(name).is_some_and(|n| !n.is_nan())).count();
        assert!(known > 0, "{plugin} knows something");
        println!(
            "{plugin}: {}, {}: {known} of {} fields, {} graphs",
            spec.section,
            spec.description,
            measurement.fields().len(),
            graphs.graphs.len()
        );
    }
}
