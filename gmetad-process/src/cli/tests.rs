#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::ffi::OsStringExt;

use super::*;

fn words(line: &str) -> Result<Command, CliError> {
    parse(line.split_whitespace().map(OsString::from))
}

fn run(line: &str) -> Options {
    match words(line) {
        Ok(Command::Run(options)) => options,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn values() {
    let none = Options::default();
    assert_eq!(none.conf(), Path::new("/etc/ganglia/gmetad.conf"));
    let conf = || Options { conf: Some("F".into()), ..Options::default() };
    let debug = |n| Options { debug: Some(n), ..Options::default() };
    let pid = || Options { pid_file: Some("P".into()), ..Options::default() };
    let cases = [
        ("", none.clone()),
        ("stray words - ignored", none.clone()),
        ("-- --conf F", none),
        ("-c F", conf()),
        ("-cF", conf()),
        ("--conf F", conf()),
        ("--conf=F", conf()),
        ("--c F", conf()), // as in C, although --check begins like it
        ("stray -c F more", conf()),
        ("-d 2", debug(2)),
        ("-d2", debug(2)),
        ("-d 0", debug(0)),
        ("--d=0x10", debug(16)),
        ("--debug 010", debug(8)),
        ("--debug -1", debug(-1)),
        ("-p P", pid()),
        ("--pid-file P", pid()),
        ("--pid_file=P", pid()),
        ("--pid P", pid()),
        ("--p P", pid()),
        ("-fd 3", Options { foreground: true, ..debug(3) }),
        ("--fore", Options { foreground: true, ..Options::default() }),
        ("-l L", Options { logfile: Some("L".into()), ..Options::default() }),
        ("-i 0 -x 65535", Options { interactive_port: Some(0), xml_port: Some(65535), ..Options::default() }),
        (
            "--interactive-port 1 --xml_p 2",
            Options { interactive_port: Some(1), xml_port: Some(2), ..Options::default() },
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(run(line), expected, "{line}");
    }
}

#[test]
fn commands() {
    let prune = |move_files| Command::RrdPrune { dir: "D".into(), older_than: "9w".into(), move_files };
    let conf = Options { conf: Some("F".into()), ..Options::default() };
    let cases = [
        ("-h", Command::Help),
        ("--help", Command::Help),
        ("-h --bogus", Command::Help),
        ("-V", Command::Version),
        ("--vers", Command::Version),
        ("--check -c F", Command::Check(conf.clone())),
        ("--flush-and-exit -c F", Command::FlushAndExit(conf.clone())),
        ("--demo -c F", Command::Demo(conf)),
        ("--dem", Command::Demo(Options::default())),
        ("--rrd-fsck D", Command::RrdFsck { dir: "D".into(), repair: false }),
        ("--repair --rrd-fsck=D", Command::RrdFsck { dir: "D".into(), repair: true }),
        ("--rrd-prune D --older-than 9w", prune(false)),
        ("--rrd-p D --older 9w --move", prune(true)),
    ];
    for (line, expected) in cases {
        assert_eq!(words(line), Ok(expected), "{line}");
    }
}

#[test]
fn errors() {
    let cases = [
        ("-c a --conf b", "gmetad: `--conf' (`-c') option given more than once"),
        ("--pid_file a --pid-file a", "gmetad: `--pid-file' (`-p') option given more than once"),
        ("--check --check", "gmetad: `--check' option given more than once"),
        ("-d abc", "gmetad: invalid numeric value: abc"),
        ("-d 08", "gmetad: invalid numeric value: 08"),
        ("-d 0x", "gmetad: invalid numeric value: 0x"),
        ("-d 1k", "gmetad: invalid numeric value: 1k"),
        ("-x http", "gmetad: invalid numeric value: http"),
        ("-x 65536", "gmetad: invalid port 65536: a port is a number from 0 to 65535"),
        ("-z", "gmetad: unrecognized option '-z'; --help lists the options"),
        ("--zeta", "gmetad: unrecognized option '--zeta'; --help lists the options"),
        ("--zeta=1", "gmetad: unrecognized option '--zeta'; --help lists the options"),
        ("--bogus --help", "gmetad: unrecognized option '--bogus'; --help lists the options"),
        ("-c", "gmetad: option '--conf' requires an argument; --help lists the options"),
        ("--help=me", "gmetad: option '--help' doesn't allow an argument"),
        ("--rrd-fsck", "gmetad: option '--rrd-fsck' requires an argument; --help lists the options"),
        ("--rrd-prune D", "gmetad: `--rrd-prune' needs `--older-than'; --help lists the options"),
        ("--older-than 9w", "gmetad: `--older-than' needs `--rrd-prune'; --help lists the options"),
        ("--move --rrd-fsck D", "gmetad: `--move' needs `--rrd-prune'; --help lists the options"),
        ("--repair", "gmetad: `--repair' needs `--rrd-fsck'; --help lists the options"),
        (
            "--rrd-fsck D --rrd-prune D --older-than 1",
            "gmetad: `--rrd-fsck' and `--rrd-prune' cannot be given together; choose one",
        ),
        ("--check --demo", "gmetad: `--check' and `--demo' cannot be given together; choose one"),
    ];
    for (line, expected) in cases {
        assert_eq!(words(line).unwrap_err().to_string(), expected, "{line}");
    }
}

#[test]
fn ambiguous_abbreviation_names_the_candidates() {
    static TABLE: &[Opt<u8>] = &[
        Opt { id: 1, short: None, long: &["site"], value: None, help: "", original: false },
        Opt { id: 2, short: None, long: &["sites-dir"], value: None, help: "", original: false },
    ];
    let scan = |word: &str| Scanner::new("z_stats", TABLE, [word.into()]).next_option();
    assert_eq!(
        scan("--si").unwrap_err().to_string(),
        "z_stats: option '--si' is ambiguous; possibilities: '--site' '--sites-dir'"
    );
    assert_eq!(scan("--site").unwrap(), Some((1, None)), "an exact name wins");
}

#[test]
fn file_names_need_not_be_utf8() {
    let name = OsString::from_vec(b"\xff.conf".to_vec());
    let Ok(Command::Run(options)) = parse(["-c".into(), name.clone()].into_iter()) else { panic!() };
    assert_eq!(options.conf(), Path::new(&name));
}

#[test]
fn c_numbers() {
    let cases = [
        ("0", Some(0)),
        (" \t+7", Some(7)),
        ("-0x1F", Some(-31)),
        ("0777", Some(511)),
        ("99999999999999999999", Some(i64::MAX)),
        ("-99999999999999999999", Some(i64::MIN)),
        ("", None),
        ("-", None),
        ("7 ", None),
        ("--7", None),
        ("é", None),
    ];
    for (text, expected) in cases {
        assert_eq!(c_long(text), expected, "{text:?}");
    }
}

#[test]
fn help_shows_every_option_once() {
    let text = help("gmetad 1.2.3", "  gridname  the grid");
    for opt in OPTIONS {
        assert_eq!(text.matches(&format!("--{}", opt.long[0])).count(), 1, "{}", opt.long[0]);
    }
    assert!(text.starts_with("gmetad 1.2.3\n") && text.ends_with("  gridname  the grid\n"));
}
