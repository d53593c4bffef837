//! The grammar and the directives, case by case. `[R]`: seen in C gmetad 3.7.2 (reference, sections 1 and 9).

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SOURCE: &str = "data_source s localhost\n";

fn loader() -> MemoryLoader {
    let variables = [("A", "a b"), ("B", "bee"), ("EMPTY", ""), ("NL", "x\ny"), ("PORT", "9000")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    MemoryLoader { variables, hostname: "head.example.com".into(), ..MemoryLoader::default() }
}

fn parse(text: &str) -> Result<Config, ConfError> {
    Config::parse_str(text, "g.conf", &loader())
}

/// A configuration with one source more than the text.
fn good(text: &str) -> Config {
    parse(&format!("{text}\n{SOURCE}")).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn error(text: &str) -> String {
    parse(&format!("{text}\n{SOURCE}")).map(|config| config.describe()).expect_err(text).to_string()
}

fn warnings(text: &str) -> Vec<String> {
    good(text).warnings.iter().map(Warning::to_string).collect()
}

#[test]
fn texts() {
    for (line, expected) in [
        ("gridname My", "My"),
        ("  GridName\tMy", "My"),                     // [R] case of names, blanks
        ("gridname abc\"d e\"f", "abcd ef"),          // [R] quotes anywhere
        ("gridname 'a\"b'", "a\"b"),                  // [R]
        ("gridname \"a\\nb\"", "anb"),                // [R] no escapes but the literal
        ("gridname 'it\\'s'", "it's"),                // [R] in both kinds of quotes
        ("gridname a\\ b", "a b"),                    // [R]
        ("gridname a\\#b", "a#b"),                    // [R]
        ("gridname \"a#b\" # c", "a#b"),              // [R]
        ("gridname a#b", "a#b"),                      // C: missing argument
        ("gridname a # ${unclosed", "a"),             // [R] comments are not looked at
        ("gridname x y z", "x"),                      // [R]
        ("gridname \"a\" \"\" c", "a"),               // [R]
        ("gridname \"open", "open"),                  // [R], but C adds the line's end
        ("gridname a\\\nb", "ab"),                    // [R] continuation
        ("gridname \"a\\\r\n  b\"", "a  b"),          // [R] also CR LF, in quotes; blanks stay
        ("gridname a\\\\\nxml_port 1", "a\\"),        // [R] `\\` is no continuation
        ("# comment \\\ngridname no", "unspecified"), // [R] comments continue
        ("gridname x\r", "x"),                        // [R]
        ("gridname\u{b}x", "x"),                      // [R]
        ("gridname ${A}", "a b"),                     // [R] one word
        ("gridname ${A}${B}", "a bbee"),              // C: a b${B}
        ("gridname '\\${B}'", "bee"),                 // [R] even so
        ("gridname $B", "$B"),                        // [R]
        ("gridname x${NONE}y", "xy"),                 // [R]
        ("gridname ${NONE}", ""),                     // [R] empty, not missing
        ("gridname \"${NONE:-q z}y\"", "q zy"),       // [R]
        ("gridname ${EMPTY:-d}", ""),                 // [R] set is set
        ("gridname ${:-$}{B}", "${B}"),               // [R] how to write it
        ("gridname <<EOT\nhello ${B}\n w\\o \"q\"\nEOT", "hello ${B}\n w\\o \"q\""), // [R]
        ("gridname <<EOT\na\n  EOT\nEOTx", "a\n  EOT"), // [R] a prefix, at the start
        ("gridname <<EOT\nhel\\\nlo\nEOT", "hello"),  // [R]
        ("gridname <<EOT\r\na\r\nb\r\nEOT\r", "a\nb"), // C keeps the CR
        ("gridname <<EOT # why\nEOT", ""),
        ("gridname \"<<EOT\"", "<<EOT"), // [R]
        ("\u{feff}gridname bom", "bom"), // C: unknown directive
        ("gridname a\ngridname b", "b"), // [R] the last one wins
    ] {
        assert_eq!(good(line).gridname, expected, "{line:?}");
    }
    assert_eq!(parse("data_source s h\ngridname a\\").unwrap().gridname, "a\\"); // [R]
    assert_eq!(parse("data_source s h\ngridname a\\\n").unwrap().warnings.len(), 1); // C drops the line
}

#[test]
fn errors_name_place_and_remedy() {
    for (text, expected) in [
        ("\n  xml_prot 1", "g.conf:2:3: unknown directive \"xml_prot\": did you mean \"xml_port\"?"),
        (
            "gridname \\\n  ${x",
            "g.conf:2:3: Unbalanced '{': \"${\" is not closed by \"}\" in this word; quote a default that holds blanks",
        ),
        ("gridname", "g.conf:1:1: gridname needs an argument: gridname TEXT"),
        ("gridname \"\"", "g.conf:1:1: gridname needs an argument: gridname TEXT"), // [R]
        ("é", "g.conf:1:1: unknown directive \"é\": see gmetad.conf(5); a section opens with \"NAME {\" on one line"),
        (
            "gridname \"é\" ${",
            "g.conf:1:14: Unbalanced '{': \"${\" is not closed by \"}\" in this word; quote a default that holds blanks",
        ),
        ("\"gridname\" x", "g.conf:1:1: unknown directive \"\\\"gridname\\\"\": did you mean \"gridname\"?"), // [R]
        (
            "RRAs RRA:FOO:0.5:1:2",
            "g.conf:1:6: RRAs \"RRA:FOO:0.5:1:2\": expected an archive such as RRA:AVERAGE:0.5:1:5856, of AVERAGE, MIN, MAX or LAST",
        ),
        (
            "RRAs RRA:AVERAGE:1.5:1:2",
            "g.conf:1:6: RRAs \"RRA:AVERAGE:1.5:1:2\": expected an archive whose third field is from 0 to less than 1, as in RRA:AVERAGE:0.5:1:5856",
        ),
        (
            "RRAs RRA:MAX:0.5:1:10d RRA:MAX:0.5:1:0",
            "g.conf:1:24: RRAs \"RRA:MAX:0.5:1:0\": expected an archive whose last two fields are counts, as in RRA:AVERAGE:0.5:1:5856",
        ),
        ("RRAs", "g.conf:1:1: RRAs needs an argument: RRAs RRA:CF:XFF:STEPS:ROWS ..."), // C: no file can be made
        ("xml_port abc", "g.conf:1:10: xml_port \"abc\": expected a number"),           // C: 0
        ("xml_port 65536", "g.conf:1:10: xml_port \"65536\": expected a port from 0 to 65535"),
        ("xml_port -1", "g.conf:1:10: xml_port \"-1\": expected a port from 0 to 65535"),
        ("carbon_protocol sctp", "g.conf:1:17: carbon_protocol \"sctp\": expected tcp or udp"), // C: crash
        (
            "data_source \"x\"",
            "g.conf:1:1: data_source \"x\" has no host: write data_source \"x\" [SECONDS] HOST[:PORT] ...",
        ), // C: crash
        (
            "data_source x 16",
            "g.conf:1:1: data_source \"x\" has no host: write data_source \"x\" [SECONDS] HOST[:PORT] ...",
        ),
        ("data_source", "g.conf:1:1: data_source needs an argument: data_source NAME [SECONDS] HOST[:PORT] ..."),
        (
            "data_source x h:port",
            "g.conf:1:15: data_source \"h:port\": expected HOST, HOST:PORT or [IPV6]:PORT with a port from 1 to 65535",
        ),
        ("xml_bind any ::1", "g.conf:1:10: xml_bind \"any\": expected any to stand alone"),
        ("gridname <<EOT\nx", "g.conf:1:10: here-document without end: expected a line starting with \"EOT\""), // [R]
        ("gridname ${NL}", "g.conf:1:10: control character 0x0a in a value: remove it"),
        ("gridname \"a\0\"", "g.conf:1:10: control character 0x00 in a value: remove it"),
        ("rrd {\n RRAs x", "g.conf:1:1: section \"rrd\" is not closed: its end is a line with only \"}\""),
        (
            "rrd { RRAs x }",
            "g.conf:1:1: section \"rrd\": nothing may follow \"{\" on its line; write one directive a line",
        ),
        (
            "rrdcached_address 10.0.0.1:x",
            "g.conf:1:19: rrdcached_address \"10.0.0.1:x\": expected HOST, HOST:PORT, [IPV6]:PORT, unix:PATH or an absolute path",
        ),
        ("riemann_attributes a", "g.conf:1:20: riemann_attributes \"a\": expected NAME=VALUE, separated by commas"), // C: crash
        (
            "trusted_hosts 10.0.0.0/40",
            "g.conf:1:15: trusted_hosts \"10.0.0.0/40\": expected a host name, an address or a network such as 10.0.0.0/8 or 2001:db8::/32",
        ),
        ("Include /none", "g.conf:1:9: Unable to open config file: /none: entity not found"),
    ] {
        assert_eq!(error(text), expected, "{text:?}");
    }
}

#[test]
fn all_errors_at_once() {
    let error = parse("xml_port x\nfoo bar\ndata_source a h:0\n").unwrap_err();
    assert_eq!(error.faults.len(), 3);
    let lines: Vec<_> = error.faults.iter().map(|fault| fault.place.as_ref().unwrap().line).collect();
    assert_eq!(lines, [1, 2, 3]);
    assert_eq!(
        parse("# data_source\n").unwrap_err().to_string(),
        "g.conf doesn't have any data sources specified: add a line data_source NAME HOST"
    );
    let many = parse(&"x\n".repeat(150)).unwrap_err();
    assert_eq!((many.faults.len(), many.more), (100, 50));
}

#[test]
fn numbers_toggles_and_words() {
    let config = good("xml_port 0x10\numask 022\nserver_threads 2 # c\ncase_sensitive_hostnames 0\nsetuid NO\n");
    assert_eq!((config.xml_port, config.umask, config.server_threads), (16, 0o22, 2));
    assert!(!config.case_sensitive_hostnames && !config.setuid && config.warnings.is_empty());
    assert_eq!(good("umask 0777").umask, 0o77); // [R] the owner's bits never
    assert_eq!(good("xml_port ${PORT}").xml_port, 9000);
    for (line, expected) in [
        ("xml_port 8651#comment", "g.conf:1:10: \"8651#comment\" is read as 8651: \"#comment\" is ignored"),
        ("xml_port 08651", "g.conf:1:10: \"08651\" is read as 0: \"8651\" is ignored; a leading 0 means octal"),
        ("server_threads 0", "g.conf:1:16: 0 is out of range: 1 is used"),
        ("write_rrds OFF", "g.conf:1:12: \"OFF\" means on, as in C gmetad: say off"), // [R]
        ("scalable no", "g.conf:1:10: \"no\" means on, as in C gmetad: say off"),
        ("setuid true", "g.conf:1:8: \"true\" means off here: say on or off"),
        ("all_trusted off", "g.conf:1:13: all_trusted \"off\" means off here; C gmetad trusted everybody"), // [R]
        ("gridname My Grid", "g.conf:1:13: ignored: gridname takes one argument; quote it if it holds blanks"),
        ("gridname 'My Grid", "g.conf:1:10: a ' is not closed; the value ends at the end of the line"),
        ("graphite_prefix p", "g.conf:1:1: graphite_prefix is ignored, as in C gmetad: it needs at least 2 characters"), // [R]
    ] {
        assert_eq!(warnings(line), [expected], "{line}");
    }
    assert!(good("write_rrds OFF").write_rrds && !good("write_rrds off").write_rrds);
    for (word, on) in [("on", true), ("yes", true), ("1", true), ("true", true), ("off", false), ("0", false)] {
        assert_eq!(good(&format!("all_trusted {word}")).all_trusted, on, "{word}"); // section 9, row 10
    }
    assert_eq!(good("poll_jitter 7s").poll_jitter, Jitter::Seconds(7));
    assert_eq!(good("poll_jitter 50").poll_jitter, Jitter::Percent(50));
    assert_eq!(good("xml_bind 127.0.0.1 [::1] ::1").xml_bind.len(), 2);
    assert_eq!(good("carbon_port 0\ncarbon_timeout 0").carbon_timeout, Duration::from_millis(500));
    assert_eq!(good("riemann_attributes a=1,b=2=3").riemann_attributes[1], ("b".into(), "2=3".into()));
    assert_eq!(good("daemonize off").daemonize, Some(false));
}

#[test]
fn lists() {
    let many: Vec<String> = (0..40).map(|i| format!("10.0.0.{i}")).collect();
    let config = good(&format!("trusted_hosts {}\ntrusted_hosts ::1", many.join(" "))); // C: 15 a line
    assert_eq!(config.trusted_hosts.len(), 41);
    let (a, b) = ("RRA:AVERAGE:0.5:1:10", "RRA:MAX:0.5:2:20");
    assert_eq!(good(&format!("RRAs {a} {b}\nRRAs {b}")).rras, [b]); // [R] the last line
    assert_eq!(good("").rras.len(), 3);
    assert_eq!(good("unsummarized_metrics a\nunsummarized_metrics b c").unsummarized_metrics, ["a", "b", "c"]);
    // [R] A comment without a blank before it ends the list: its words must not become trusted.
    let config = good("trusted_hosts 10.0.0.1 10.0.0.2#was evil.example.com");
    assert_eq!(config.trusted_hosts.len(), 1);
    assert_eq!(config.warnings.len(), 1);
    assert!(good("trusted_hosts a#b").trusted_hosts.is_empty()); // [R]
}

#[test]
fn data_sources() {
    let seconds = Duration::from_secs;
    for (arguments, interval, addresses, warned) in [
        ("\"my box\" localhost  my.edu:8655", 15, "localhost:8649 my.edu:8655", 0),
        ("x 30 h", 30, "h:8649", 0),
        ("x 010 h", 10, "h:8649", 0),            // [R] decimal
        ("x +16 h", 16, "h:8649", 0),            // [R]
        ("x 0x10 h", 15, "0x10:8649 h:8649", 0), // [R]
        ("x -5 h", 15, "h:8649", 1),             // C: practically never
        ("x 0 h", 15, "0:8649 h:8649", 1),       // [R]
        ("x 5s h", 15, "5s:8649 h:8649", 1),     // [R]
        ("x 15.5 h", 15, "15.5:8649 h:8649", 1), // [R]
        ("x h 30", 15, "h:8649 30:8649", 1),     // [R]
        ("x 1.2.3.4 3com.example", 15, "1.2.3.4:8649 3com.example:8649", 0),
        ("x [::1]:8650 ::1 [fe80::1%eth0]", 15, "[::1]:8650 [::1]:8649 [fe80::1%eth0]:8649", 0),
        ("x a:8650, b", 15, "a:8650 b:8649", 1), // [R] atoi
        ("x a:8650,b:8651", 15, "a:8650", 1),    // [R]
        ("${NONE} 16 h", 16, "h:8649", 0),       // [R]
    ] {
        let config = parse(&format!("data_source {arguments}")).unwrap();
        let source = &config.sources[0];
        let found: Vec<String> = source.addresses.iter().map(Address::to_string).collect();
        assert_eq!(found.join(" "), addresses, "{arguments}");
        assert_eq!((source.interval, config.warnings.len()), (seconds(interval), warned), "{arguments}");
    }
    let config = parse("data_source a x\ndata_source b y\nDATA_SOURCE a 5 z").unwrap();
    assert_eq!(config.sources.len(), 2); // [R]
    assert_eq!(config.sources[0].addresses[0].host, "z");
    assert_eq!(config.warnings[0].to_string(), "g.conf:3:13: data_source \"a\" replaces the one at g.conf:1:1");
    let hosts: Vec<String> = (0..100).map(|i| format!("h{i}")).collect();
    assert_eq!(parse(&format!("data_source x {}", hosts.join(" "))).unwrap().sources[0].addresses.len(), 100);
    for bad in ["h:", ":1", "h:65536", "1:2:3", "[::1", "[::1]8", "[h]:1"] {
        assert!(parse(&format!("data_source x {bad}")).is_err(), "{bad}");
    }
}

#[test]
fn defaults() {
    let config = good("");
    assert_eq!(config.authority, "http://head.example.com/ganglia/");
    assert_eq!(config.carbon_timeout, Duration::from_millis(500));
    assert_eq!((config.riemann_protocol, config.riemann_port), (Protocol::Udp, 5555));
    assert_eq!((config.xml_port, config.interactive_port, config.http_port), (8651, 8652, 0));
    assert!(config.xml_bind.is_empty() && config.http_bind == ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(config.setuid && config.scalable && config.write_rrds && config.case_sensitive_hostnames);
    assert_eq!(config.poll_jitter, Jitter::Percent(5));
    assert_eq!(config.log_level, LogLevel::Info);
    assert_eq!(config.rrd_rootdir, Path::new("/var/lib/ganglia/rrds"));
    assert_eq!(Config::default().authority, "http://localhost/ganglia/");
}

#[test]
fn rrdcached_addresses() {
    let at = |text: &str| good(text).rrdcached_address.map(|address| address.to_string());
    assert_eq!(at("rrdcached_address 10.0.0.1:1000").as_deref(), Some("10.0.0.1:1000"));
    assert_eq!(at("rrdcached_address host").as_deref(), Some("host:42217")); // C: crash
    assert_eq!(at("rrdcached_address [::1]").as_deref(), Some("[::1]:42217"));
    assert_eq!(at("rrdcached_address unix:/run/r.sock").as_deref(), Some("unix:/run/r.sock"));
    assert_eq!(at("rrdcached_address /run/r.sock").as_deref(), Some("unix:/run/r.sock"));
    assert_eq!(at(""), None);
    let mut loader = loader();
    loader.variables.insert("RRDCACHED_ADDRESS".into(), "unix:/x".into()); // [R]
    let config = Config::parse_str(SOURCE, "g.conf", &loader).unwrap();
    assert_eq!(config.rrdcached_address, Some(RrdcachedAddress::Unix("/x".into())));
}

#[test]
fn includes() {
    let mut loader = loader();
    let mut file = |path: &str, text: &str| loader.files.insert(path.into(), text.as_bytes().to_vec());
    file("/etc/d/b.conf", "gridname b\nxml_prot 1\n");
    file("/etc/d/a.conf", "gridname a\ninclude /etc/d/a2\n");
    file("/etc/d/.c.conf", "gridname hidden\n");
    file("/etc/d/a2", "DATA_SOURCE included host\n");
    file("/etc/loop", "Include /etc/loop\n");
    file("rel/x", "gridname rel\n");
    let parse = |text: &str| Config::parse_str(text, "g.conf", &loader);
    let error = parse("Include /etc/d/*.conf\n").unwrap_err().to_string();
    assert_eq!(error, "/etc/d/b.conf:2:1: unknown directive \"xml_prot\": did you mean \"xml_port\"?");
    let config = parse("Include /etc/d/a.*\n").unwrap(); // C: refused, it counts only the main file
    assert_eq!((config.gridname.as_str(), config.sources.len()), ("a", 1));
    assert_eq!(parse(&format!("{SOURCE}IncludePath /etc/d\nInclude a.conf")).unwrap().gridname, "a"); // [R]
    assert_eq!(parse(&format!("{SOURCE}Include rel/?")).unwrap().gridname, "rel"); // [R] working directory
    assert_eq!(parse(&format!("{SOURCE}Include /etc/d/none*")).unwrap().gridname, "unspecified"); // [R] silent
    let error = parse("Include /etc/loop").unwrap_err().to_string();
    assert!(error.starts_with("/etc/loop:1:9: depth of Include exceeds the limit of 16"), "{error}");
    loader.variables.insert("DC_INCLUDEPATH".into(), "/etc/d".into());
    let text = format!("{SOURCE}IncludePath /nowhere\nInclude a.conf");
    assert_eq!(Config::parse_str(&text, "g.conf", &loader).unwrap().gridname, "a"); // [R]
    let error = Config::load(Path::new("/none"), &loader).unwrap_err().to_string();
    assert_eq!(error, "Unable to open config file: /none: entity not found");
}

#[test]
fn bounds() {
    let long = "x".repeat(MAX_LINE_BYTES + 1);
    assert!(error(&format!("gridname {long}")).contains("line exceeds the limit of 1048576 bytes"));
    assert_eq!(good(&format!("gridname {}", &long[..5000])).gridname.len(), 5000); // C: 4095
    let mut loader = loader();
    loader.variables.insert("LONG".into(), long);
    let error = Config::parse_str("gridname ${LONG}", "g.conf", &loader).unwrap_err().to_string();
    assert!(error.contains("value exceeds the limit"), "{error}");
    loader.files.insert("/a".into(), b"Include /a*\nInclude /a*\n".to_vec());
    let error = Config::parse_str("Include /a", "g.conf", &loader).unwrap_err();
    assert!(error.more > 0); // and it came to an end
    loader.files.extend((0..1024).map(|i| (format!("/d/{i}").into(), Vec::new())));
    let error = Config::parse_str("Include /d/*", "g.conf", &loader).unwrap_err();
    assert!(error.to_string().contains("number of files exceeds the limit of 1024"));
    let big = "#".repeat(MAX_FILE_BYTES + 1);
    assert!(parse(&big).unwrap_err().to_string().contains("file exceeds the limit"));
}

#[test]
fn latin_1_is_read() {
    let mut loader = loader();
    loader.files.insert("/g".into(), b"data_source s h\ngridname \xe9t\xe9\n".to_vec());
    let config = Config::load(Path::new("/g"), &loader).unwrap();
    assert_eq!((config.gridname.as_str(), config.warnings.len()), ("été", 1));
}

#[test]
fn sections() {
    let text = "RRD {  # python: RRAs\n  RRAs  \"RRA:A B\" \\\n     'c'  \n# no\n  # no\n\n Flag\n}\nxml_port 1\nmail{\nto a\n } x\n";
    let config = good(text);
    let rrd = config.section("rrd").unwrap();
    assert_eq!(rrd.place.to_string(), "g.conf:1:1");
    assert_eq!(rrd.entries.len(), 2);
    assert_eq!(rrd.entries[0].rest, "\"RRA:A B\" 'c'");
    assert_eq!(rrd.entries[0].split_args(), ["RRA:A B", "c"]);
    assert_eq!((rrd.entries[1].directive.as_str(), rrd.entries[1].rest.as_str(), rrd.entries[1].line), ("Flag", "", 7));
    assert_eq!(config.section("Mail").unwrap().values("TO").collect::<Vec<_>>(), ["a"]);
    assert_eq!(config.xml_port, 1);
    assert_eq!(good("gridname {").gridname, "{"); // [R] gmetad-python: a directive is no section
    let config = good("a {\nx 1\n}\nb {\n}\nA {\nx 2\n}");
    assert_eq!(config.sections.iter().map(|section| section.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(config.sections[0].entries[0].rest, "2"); // [R] replaced
    assert_eq!(config.warnings[0].to_string(), "g.conf:6:1: section \"a\" replaces the one at g.conf:1:1");
}

#[test]
fn a_file_as_distributions_ship_it() {
    let text = "# Example\n#\n# debug_level 10\ndata_source \"this host\" localhost\n\
                # data_source \"my box\" localhost  my.machine.example:8655\n#\ntrusted_hosts 127.0.0.1 \n#\n\
                # setuid off\nsetuid_username \"ganglia\"\n#\ncase_sensitive_hostnames 0\n";
    let config = parse(text).unwrap();
    assert_eq!((config.setuid_username.as_str(), config.sources.len(), config.warnings.len()), ("ganglia", 1, 0));
}

#[test]
fn texts_from_the_table() {
    let config = parse(&sample_conf()).unwrap();
    assert_eq!((config.sources[0].name.as_str(), config.warnings.len()), ("my cluster", 0));
    // Every commented line of the sample is a line that loads.
    let all: String = sample_conf().lines().map(uncomment).collect::<Vec<_>>().join("\n");
    assert!(parse(&all).unwrap().warnings.iter().all(|warning| warning.text.starts_with("all_trusted")));
    for directive in directives() {
        assert!(help_list().contains(directive.name) && man_page().contains(directive.help.split('-').next().unwrap()));
        assert!(directive.help.ends_with('.'), "{}", directive.name);
    }
    assert!(man_page().lines().all(|line| line.is_ascii() && !line.starts_with('\'')));
}

fn uncomment(line: &str) -> &str {
    let bare = line.strip_prefix("# ").unwrap_or(line);
    let (name, rest) = bare.split_once(' ').unwrap_or((bare, ""));
    if directives().iter().any(|directive| directive.name == name) && !rest.is_empty() { bare } else { "" }
}

/// A value for a directive: whatever a file could give it, and some that it could not.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~é]{0,12}",
        "[$:{}\\\\\"'#A \\-]{0,8}",
        "(EOT|a|\\\\|\\$\\{A\\}|\"|\n){0,6}",
        Just("on".to_owned()),
        Just("off".to_owned()),
        "[0-9]{1,4}",
        "[a-z]{1,3}:[0-9]{1,4}",
        Just("2001:db8::1".to_owned()),
        Just("a=b,c=d e".to_owned()),
        "(tcp|udp|native|librrd|debug|5%|9s|10.1|10.0.0.0/8|any)",
    ]
}

fn line() -> impl Strategy<Value = String> {
    let known = (0..directives().len(), proptest::collection::vec(value(), 0..4)).prop_map(|(i, values)| {
        let name = directives()[i].name;
        match values.first() {
            Some(first) if first.contains('\n') => format!("{name} {}\n", config::text(first)),
            _ => format!("{name} {}\n", values.iter().map(|v| quote(v)).collect::<Vec<_>>().join(" ")),
        }
    });
    let section = ("[a-zé]{1,3}x", proptest::collection::vec("[ -~\t\r\u{85}]{0,10}", 0..4))
        .prop_map(|(id, body)| format!("{id} {{\n{}\n\n}}\n", body.join("\n")));
    prop_oneof![8 => known, 1 => section]
}

/// Lines that are good on their own, put together.
fn file() -> impl Strategy<Value = String> {
    proptest::collection::vec(line(), 0..25).prop_map(|lines| {
        let fits = |line: &String| parse(&format!("{SOURCE}{line}")).is_ok();
        format!("{SOURCE}{}", lines.into_iter().filter(fits).collect::<String>())
    })
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut loader = loader();
        loader.files.insert("/g".into(), bytes);
        let _ = Config::load(Path::new("/g"), &loader);
    }

    #[test]
    fn any_text_is_survived(text in "([a-z_]{0,3}|gridname|data_source|Include|[ \t\r\n\\\\#\"'{}$<:\\-\\[\\]]|EOT|é|[0-9]){0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn quoting_round_trips(value in "[^\\x00-\\x08\\x0a-\\x1f\\x7f]{0,40}") {
        prop_assert_eq!(good(&format!("gridname {}", quote(&value))).gridname, value);
    }

    #[test]
    fn quoting_round_trips_through_specials(value in "[$:{}\\\\\"'# A\\-]{0,20}") {
        let config = good(&format!("unsummarized_metrics x {} y", quote(&value)));
        prop_assert_eq!(&config.unsummarized_metrics, &["x", value.as_str(), "y"]);
    }

    #[test]
    fn describe_reads_back(text in file()) {
        let config = parse(&text).unwrap();
        let mut again = parse(&config.describe()).unwrap();
        again.warnings.clone_from(&config.warnings);
        prop_assert_eq!(again, config);
    }
}
