//! What rules tell, poll by poll; and what is said of a section that is wrong.

use super::super::check;
use super::super::state::LOST_FOR;
use super::{Lab, lines, sections};

const NONE: Vec<String> = Vec::new();

#[test]
fn a_rule_fires_once_and_recovers_once() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"too high\"");
    assert_eq!(lab.load("4"), NONE);
    assert_eq!(lab.load("6"), ["fires load_one n1 load_one 6"]);
    let since = lab.time;
    assert_eq!(lab.load("7"), NONE, "not again at each poll");
    let list = lab.list();
    assert_eq!(list.len(), 1);
    assert_eq!((&*list[0].host, &*list[0].value, list[0].since, list[0].sent), ("n1", "7", since, since));
    assert_eq!((&*list[0].severity, &*list[0].cluster, &*list[0].source), ("warning", "lab", "lab source"));
    assert_eq!(lab.figure("active"), 1);
    assert_eq!(lab.load("5"), ["recovered() load_one n1 load_one 5"]);
    assert_eq!(lab.load("5"), NONE);
    assert_eq!((lab.figure("active"), lab.figure("fired"), lab.figure("recovered")), (0, 1, 1));
    assert_eq!(lab.list(), []);
}

#[test]
fn for_counts_polls_in_a_row() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"m\" for 3");
    assert_eq!(
        [lab.load("6"), lab.load("6"), lab.load("5"), lab.load("6"), lab.load("6")],
        [NONE, NONE, NONE, NONE, NONE]
    );
    assert_eq!((lab.figure("pending"), lab.figure("active")), (1, 0));
    assert_eq!(lab.load("8"), ["fires load_one n1 load_one 8"]);
    assert_eq!((lab.figure("pending"), lab.figure("active")), (0, 1));
    assert_eq!(lab.load("1").len(), 1);
}

#[test]
fn repeat_tells_again_after_its_time() {
    let mut lab =
        Lab::new("metricrule load_one \"$val > 5\" \"m\" repeat 1m\nmetricrule load_one \"$val > 5\" \"m\" repeat 0");
    assert_eq!(lab.load("6"), ["fires load_one n1 load_one 6", "fires load_one-2 n1 load_one 6"]);
    let told: Vec<_> = (0..8).map(|_| lab.load("6").join("")).collect();
    let again = "repeats load_one n1 load_one 6";
    assert_eq!(told, ["", "", "", again, "", "", "", again]);
    assert_eq!(lab.figure("repeated"), 2);
}

#[test]
fn a_cluster_that_is_down_freezes_what_is_known() {
    let mut lab = Lab::new(
        "metricrule load_one \"$val > 5\" \"m\" for 2\nclusterrule \"$down\" \"cluster is down\"\nclusterrule \"$hosts_up < 1\" \"few\"",
    );
    assert_eq!(lab.load("6"), NONE);
    assert_eq!(lines(&lab.fails()), ["fires cluster   "], "only what is about that");
    assert_eq!(lab.load("6"), ["fires load_one n1 load_one 6", "recovered() cluster   "], "the count went on");
    assert_eq!(lines(&lab.fails()).len(), 1);
    assert_eq!(lines(&lab.fails()), NONE, "no false recovery");
    assert_eq!(lab.figure("active"), 2);
}

#[test]
fn hosts_that_are_silent_freeze_and_those_that_expire_recover() {
    let mut lab =
        Lab::new("metricrule load_one \"$val > 5\" \"m\"\nhostrule \"$down\" \"host down\" severity critical");
    let load: &[_] = &[("load_one", "float", "6")];
    assert_eq!(lines(&lab.poll(&[("n1", 3, 40, load), ("n2", 3, 0, load), ("n3", 3, 0, load)])).len(), 3);
    let idle: &[_] = &[("load_one", "float", "1")];
    // n1 is not in the document any more; n2 is, but was not heard of for too long.
    assert_eq!(
        lines(&lab.poll(&[("n2", 90, 0, idle), ("n3", 3, 0, idle)])),
        ["recovered() load_one n3 load_one 1", "fires host n2  "]
    );
    assert_eq!(lab.figure("active"), 3);
    assert_eq!(lines(&lab.poll(&[("n2", 3, 0, load), ("n3", 3, 0, idle)])), ["recovered() host n2  "]);
    let told = lines(&lab.poll(&[("n2", 3, 0, load), ("n3", 3, 0, idle)]));
    assert_eq!(told, ["recovered(the host is gone) load_one n1 load_one 6"], "its DMAX of 40 s is over");
    assert_eq!(lab.list().len(), 1);
}

#[test]
fn a_metric_that_is_gone_for_an_hour_recovers() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"m\"");
    assert_eq!(lab.load("6").len(), 1);
    let other: &[_] = &[("load_five", "float", "6")];
    assert_eq!(lines(&lab.poll(&[("n1", 3, 0, other)])), NONE);
    lab.time += LOST_FOR - 16;
    assert_eq!(lines(&lab.poll(&[("n1", 3, 0, other)])), NONE);
    assert_eq!(lines(&lab.poll(&[("n1", 3, 0, other)])), ["recovered(the metric is gone) load_one n1 load_one 6"]);
}

#[test]
fn a_metric_that_comes_back_has_its_hour_anew() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"m\"");
    assert_eq!(lab.load("6").len(), 1);
    let other: &[_] = &[("load_five", "float", "6")];
    for _ in 0..2 {
        assert_eq!(lines(&lab.poll(&[("n1", 3, 0, other)])), NONE);
        lab.time += LOST_FOR - 100;
        assert_eq!(lab.load("6"), NONE);
    }
    assert_eq!(lines(&lab.poll(&[("n1", 3, 0, other)])), NONE);
}

#[test]
fn of_two_sections_the_last_one_counts() {
    let text = "data_source lab localhost\nalert {\nmaxactive 0\n}\nalert {\nmetricrule a \"1\" \"m\"\n}\n";
    let config = gmetad_core::conf::Config::parse_str(text, "c", &gmetad_core::conf::MemoryLoader::default()).unwrap();
    assert!(check(&config.sections).iter().all(|fault| !fault.fatal));
}

#[test]
fn a_source_that_is_removed_ends_its_alerts() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"m\"");
    assert_eq!(lab.load("6").len(), 1);
    lab.time += 3500;
    assert_eq!(lines(&lab.engine.sweep_all(lab.now())), NONE);
    lab.time += 120;
    assert_eq!(lines(&lab.engine.sweep_all(lab.now())), ["recovered(the data source is gone) load_one n1 load_one 6"]);
    assert_eq!((lab.figure("active"), lab.list().len()), (0, 0));
}

#[test]
fn a_missing_metric_concerns_only_its_own_rule() {
    let mut lab = Lab::new(
        "metricrule gpu_load \"$val > 5\" \"m\"\nmetricrule load_one \"$val > $metric.cpu_num\" \"m\"\nmetricrule load_one \"$val > 5\" \"m\"",
    );
    assert_eq!(lab.load("6"), ["fires load_one-2 n1 load_one 6"]);
    assert_eq!(lab.figure("unknown"), 1, "a host without the rule's metric is not concerned");
}

#[test]
fn patterns_choose_metrics_hosts_and_clusters() {
    let mut lab = Lab::new(
        "metricrule disk_* \"$val > 90\" \"m\" host db?\nmetricrule * \"$name == 'x'\" \"m\" cluster l*b\nmetricrule disk_a \"1\" \"m\" cluster other",
    );
    let disks: &[_] =
        &[("disk_a", "float", "95"), ("disk_b", "float", "50"), ("disk_c", "float", "99"), ("x", "string", "y")];
    let mut told = lines(&lab.poll(&[("db1", 3, 0, disks), ("web1", 3, 0, disks)]));
    told.sort();
    assert_eq!(
        told,
        ["fires * db1 x y", "fires * web1 x y", "fires disk_* db1 disk_a 95", "fires disk_* db1 disk_c 99"]
    );
    let better: &[_] = &[("disk_a", "float", "5"), ("disk_c", "float", "99")];
    assert_eq!(lines(&lab.poll(&[("db1", 3, 0, better), ("web1", 3, 0, disks)])), ["recovered() disk_* db1 disk_a 5"]);
}

#[test]
fn states_are_bounded() {
    let mut lab =
        Lab::new("maxactive 2\nmetricrule load_one \"$val > 5\" \"m\"\nhostrule \"$metric.load_one > 5\" \"m\"");
    let load: &[_] = &[("load_one", "float", "6")];
    assert_eq!(lines(&lab.poll(&[("n1", 3, 0, load), ("n2", 3, 0, load), ("n3", 3, 0, load)])).len(), 2);
    assert_eq!((lab.figure("active"), lab.figure("dropped")), (2, 4));
    let idle: &[_] = &[("load_one", "float", "1")];
    let told = lines(&lab.poll(&[("n1", 3, 0, idle), ("n2", 3, 0, load), ("n3", 3, 0, load)]));
    assert_eq!(told, ["recovered() load_one n1 load_one 1", "fires load_one n3 load_one 6"]);
}

#[test]
fn ten_thousand_hosts_fire_in_one_notice() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"m\"");
    let names: Vec<String> = (0..10_000).map(|n| format!("n{n}")).collect();
    let load: &[_] = &[("load_one", "float", "6")];
    let hosts: Vec<super::Host<'_>> = names.iter().map(|name| (name.as_str(), 3, 0, load)).collect();
    let notices = lab.poll(&hosts);
    assert_eq!((notices.len(), notices[0].events.len()), (1, 10_000));
    assert_eq!((lab.figure("active"), lab.list().len()), (10_000, 1000));
    assert_eq!(lines(&lab.poll(&hosts)), NONE);
}

#[test]
fn the_ancestors_section_works_unchanged() {
    let body = "   toaddress  \"admin@example.org\"\n\tfromaddress ganglia@example.org\n   sendmailpath /bin/sh\n\
                MetricRule load_one \"$val > 5\" \"too high\"\n   metricrule\tmem_free \"$val<1000 and $val>=0\" \"It's low\"\n";
    let settings = super::settings(body);
    assert_eq!((&*settings.to, &*settings.from), ("admin@example.org", "ganglia@example.org"));
    assert_eq!(settings.sendmail.to_str(), Some("/bin/sh"));
    assert_eq!(settings.rules[1].message, "It's low");
    assert!(check(&sections(body)).is_empty());
}

#[test]
fn no_two_rules_have_one_name() {
    let rules = "metricrule a \"1\" \"m\" name x\nmetricrule b \"1\" \"m\" name x severity critical\nmetricrule x \"1\" \"m\"\n\
                 hostrule \"1\" \"m\" name x";
    let names: Vec<_> = super::settings(rules).rules.iter().map(|rule| rule.name.clone()).collect();
    assert_eq!(names, ["x", "x-2", "x-3", "x-4"]);
    let told: Vec<_> = faults(rules).into_iter().filter(|fault| fault.contains("another rule")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("/nowhere/gmetad.conf:4:27: alert: metricrule: name \"x\": another rule"), "{told:?}");
    assert!(told[0].contains("this one is x-2"), "{told:?}");
}

/// Faults as text.
fn faults(body: &str) -> Vec<String> {
    check(&sections(body)).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_column() {
    for (line, expected) in [
        ("metricrule load_one \"$val > __import__('os')\" \"m\"", "3:29: alert: metricrule: condition"),
        ("metricrule load_one \"$val > 5\"", "3:31: alert: metricrule: the message is missing"),
        ("metricrule", "3:12: alert: metricrule: the metric is missing"),
        ("metricrule load_one $val > 5", "3:21: alert: metricrule: the condition must stand in quotes"),
        ("metricrule load_one \"$val > 5", "3:21: alert: metricrule: the quote is not closed"),
        ("metricrule load_one \"1\" \"m\" for 0", "3:33: alert: metricrule: for \"0\": expected a number of polls"),
        ("metricrule load_one \"1\" \"m\" repeat soon", "3:36: alert: metricrule: repeat \"soon\""),
        ("metricrule load_one \"1\" \"m\" loud", "3:29: alert: metricrule: \"loud\" is no option"),
        ("metricrule load_one \"1\" \"m\" name", "3:33: alert: metricrule: a value is missing"),
        ("clusterrule \"1\" \"m\" host x", "3:21: alert: clusterrule: a clusterrule sees no hosts"),
        ("webhook ftp://x/", "3:9: alert: webhook: \"ftp://x/\": expected http://"),
        ("webhook http://h:99999/", "3:9: alert: webhook: \"http://h:99999/\": the port"),
        ("webhook http://[::1]:0/", "3:9: alert: webhook: \"http://[::1]:0/\": the port"),
        ("webhook http://me@h:x1/", "3:9: alert: webhook: \"http://me@h:x1/\": the port"),
        ("webhook_header \"no colon\"", "3:17: alert: webhook_header: \"no colon\": expected"),
        ("webhook_ca /no/such", "3:12: alert: webhook_ca: \"/no/such\" cannot be read"),
        ("webhook_ca /etc/passwd", "3:12: alert: webhook_ca: \"/etc/passwd\" has no certificate"),
        ("maxactive 0", "3:11: alert: maxactive: \"0\": expected a number"),
        ("toadress x", "3:1: alert: unknown directive \"toadress\""),
        ("sendmailpath /no/such", "3:1: alert: sendmailpath /no/such: there is no such file"),
        ("toaddress ü@x", "3:11: alert: toaddress:"),
    ] {
        let faults = faults(line);
        assert!(
            faults.iter().any(|fault| fault.starts_with(&format!("/nowhere/gmetad.conf:{expected}"))),
            "{line}: {faults:#?}"
        );
    }
    assert!(faults("")[0].contains("there are no rules") || faults("")[1].contains("there are no rules"));
    assert!(faults("metricrule a \"1\" \"m\"").iter().any(|fault| fault.contains("nobody is told")));
    for url in ["http://h/", "http://h:80/x", "http://u:99999@h/", "https://[::1]:9095/", "http://[::1]/"] {
        assert!(!faults(&format!("webhook {url}")).iter().any(|fault| fault.contains(url)), "{url}");
    }
}

#[test]
fn columns_are_those_of_the_file_also_of_continued_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gmetad.conf");
    let text = "data_source lab localhost\nalert {\n\tmetricrule   load_one \\\n# a comment\n      \"$val > \\\n  foo(1)\" \"m\"\n}\n";
    std::fs::write(&path, text).unwrap();
    let config = gmetad_core::conf::Config::load(&path, &gmetad_core::conf::SystemLoader::new("h")).unwrap();
    let faults = check(&config.sections);
    let fault = faults.iter().find(|fault| fault.fatal).unwrap();
    assert_eq!((fault.place.line, fault.place.column), (6, 3), "{fault}");
}

#[test]
fn the_sections_in_the_manual_are_right() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/plugins.md")).unwrap();
    let sections: Vec<_> =
        manual.split("```\nalert {\n").skip(1).map(|text| text.split("\n}\n").next().unwrap()).collect();
    assert_eq!(sections.len(), 2);
    for section in sections {
        let faults = faults(section);
        assert!(faults.iter().all(|fault| fault.contains("sendmailpath")), "{faults:#?}");
    }
}
