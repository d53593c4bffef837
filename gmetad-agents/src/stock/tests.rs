//! What holds for every stock kind.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use gmetad_core::agent::{History, Measurement, State, Status};

use super::*;
use crate::lang::Lang;
use crate::spec::{Installed, Keep};

fn defaults() -> Vec<Installed> {
    KINDS.iter().flat_map(|kind| (kind.default)()).collect()
}

#[test]
fn names_are_unique_and_sections_known() {
    let mut names = HashSet::new();
    for kind in KINDS {
        assert!(names.insert(kind.name), "{}", kind.name);
        assert!(
            ["Usage", "Services", "System", "Network", "Storage", "Security"].contains(&kind.section),
            "{}",
            kind.name
        );
        assert!(!kind.about.is_empty());
    }
    let names: Vec<_> = defaults().iter().map(|agent| agent.spec.name.clone()).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
}

#[test]
fn an_unknown_key_is_refused_and_named() {
    for kind in KINDS {
        let error = (kind.build)(kind.name, "no_such_key = 1".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("no_such_key"), "{}: {error}", kind.name);
    }
}

/// Everything that readers see of a spec.
fn texts(installed: &Installed) -> Vec<gmetad_core::agent::Message> {
    let spec = &installed.spec;
    let mut texts = vec![spec.description.clone(), spec.section.clone()];
    texts.extend(spec.fields.iter().map(|field| field.label.clone()));
    if let Keep::Rrd(graphs) = &spec.keep {
        texts.extend(graphs.graphs.iter().map(|graph| graph.title.clone()));
    }
    texts
}

#[test]
fn agents_without_configuration_measure_this_machine() {
    let context = context();
    for mut installed in defaults() {
        let spec = &installed.spec;
        assert!(!spec.description.is_empty() && !spec.section.is_empty(), "{}", spec.name);
        let began = Instant::now();
        let measured = installed.agent.measure(&context);
        let took = began.elapsed();
        assert!(took < context.deadline, "{}: {took:?}", spec.name);
        let measurement = match measured {
            Ok(measurement) => measurement,
            Err(error) => panic!("{}: {error}", spec.name),
        };
        let status = Status::default();
        let history =
            History { now: context.now, last: Some((context.now, &measurement)), before: None, status: &status };
        let own = installed.agent.check_status(&history);
        assert!(own.state <= State::Warn, "{}: {own}", spec.name);
        assert_ne!(own.state, State::Unknown, "{}: an agent that measured has an opinion", spec.name);
        check_fields(&installed, &measurement);
        for text in texts(&installed) {
            assert_ne!(Lang::French.message(&text), "", "{}", spec.name);
        }
        let name = &installed.spec.name;
        println!("{name:12} {took:9.1?}  {own}  {}", measurement.status().map(ToString::to_string).unwrap_or_default());
        print(&measurement, "  ");
    }
}

#[test]
fn every_kind_draws_what_it_keeps_and_judges_what_it_knows() {
    for kind in KINDS {
        let keys = match kind.name {
            "process" => "process = { squid = \"Proxy\" }",
            "tcp" => "services = { \"host:80\" = \"Web\" }",
            "http" => "urls = { \"http://host/\" = \"Web\" }",
            "ping" => "hosts = { \"host\" = \"Host\" }",
            "dns" => "query = \"a.example.org\"",
            "log" => "file = \"/var/log/syslog\"\npattern = \"error\"",
            "mailq" => "program = \"postfix\"",
            "time" => "server = \"host\"",
            _ => "",
        };
        let installed = (kind.build)("a-name", keys.parse().unwrap()).unwrap();
        assert_eq!(installed.spec.name, "a-name");
        assert!(installed.spec.timeout <= installed.spec.period && installed.spec.debounce == 1, "{}", kind.name);
        check_fields(&installed, &Measurement::new());
    }
}

/// What is drawn is kept, what is kept is measured or may be, and what is judged is known.
fn check_fields(installed: &Installed, measurement: &Measurement) {
    let spec = &installed.spec;
    let known: HashSet<_> = spec.fields.iter().map(|field| &*field.name).collect();
    assert_eq!(known.len(), spec.fields.len(), "{}", spec.name);
    let all = std::iter::once(measurement).chain(measurement.instances().map(|(_, of_it)| of_it));
    for (field, _) in all.flat_map(|measurement| measurement.fields()) {
        assert!(known.contains(field), "{}: {field} has no label", spec.name);
    }
    for rule in &spec.rules {
        assert!(known.contains(&*rule.field), "{}: {}", spec.name, rule.field);
    }
    let Keep::Rrd(graphs) = &spec.keep else { return };
    let kept: HashSet<_> = graphs.datasources.iter().map(|source| &*source.name).collect();
    for series in graphs.graphs.iter().flat_map(|graph| &graph.series) {
        assert!(kept.contains(&*series.ds), "{}: {} is drawn and not kept", spec.name, series.ds);
    }
}

fn print(measurement: &Measurement, indent: &str) {
    let values: Vec<_> = measurement.fields().map(|(field, value)| format!("{field}={value:?}")).collect();
    println!("{indent}{}", values.join(" ").replace("Number", "").replace("Text", ""));
    for (name, of_it) in measurement.instances() {
        println!("{indent}[{name}]");
        print(of_it, &format!("{indent}  "));
    }
}

/// Processor time a measurement costs, with that of programs it runs: `cargo test --release -- --ignored --nocapture cost`.
#[test]
#[ignore = "prints figures, judges nothing"]
fn cost_of_measurements() {
    use nix::sys::resource::{UsageWho, getrusage};
    let spent = || {
        let of = |who| {
            getrusage(who).map(|usage| {
                let time =
                    |time: nix::sys::time::TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
                time(usage.user_time()) + time(usage.system_time())
            })
        };
        (of(UsageWho::RUSAGE_SELF).unwrap(), of(UsageWho::RUSAGE_CHILDREN).unwrap())
    };
    let context = context();
    let resident = || {
        proc::text("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse::<f64>().unwrap() * memory::page_size()
    };
    let (mut sum, without) = (0.0, resident());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::thread::spawn({
        let listener = listener.try_clone().unwrap();
        move || listener.incoming().for_each(drop)
    });
    let certificate = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(certificate.path(), cert::made::self_signed("x", 0, 100).pem).unwrap();
    let configured = [
        (&process::KIND, "process = { no-such-program = \"x\" }".to_owned()),
        (&tcp::KIND, format!("services = {{ \"{}\" = \"x\" }}", listener.local_addr().unwrap())),
        (&log::KIND, format!("file = {:?}\npattern = \"error\"", certificate.path())),
        (&cert::KIND, format!("files = [{:?}]", certificate.path())),
        (&ping::KIND, "hosts = { \"127.0.0.1\" = \"x\" }\ncount = 1".to_owned()),
        (&rand::KIND, String::new()),
    ];
    let configured = configured.map(|(kind, keys)| (kind.build)(kind.name, keys.parse().unwrap()).unwrap());
    let count = defaults().len();
    for (at, mut installed) in defaults().into_iter().chain(configured).enumerate() {
        if at == count {
            let more = (resident() - without) / 1024.0;
            println!(
                "agents without configuration together {sum:.4} % of a core, {more:.0} kB resident more than before; others:"
            );
        }
        let _ = installed.agent.measure(&context);
        let (began, before) = (Instant::now(), spent());
        let mut count = 0_u32;
        while count < 1 || (began.elapsed() < Duration::from_secs(1) && count < 5_000) {
            let _ = installed.agent.measure(&context);
            count += 1;
        }
        let after = spent();
        let (own, children) = (after.0 - before.0, after.1 - before.1);
        let each = (own + children).as_secs_f64() / f64::from(count);
        let share = 100.0 * each / installed.spec.period.as_secs_f64();
        sum += share;
        let programs = children.as_secs_f64() / f64::from(count) * 1e6;
        let period = installed.spec.period.as_secs();
        println!(
            "{:12} {:10.0} µs ({programs:.0} in programs), every {period} s: {share:.5} % of a core",
            installed.spec.name,
            each * 1e6
        );
    }
}
