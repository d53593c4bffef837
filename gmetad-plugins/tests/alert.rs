//! The alert plugin in a daemon, as its users meet it: a sendmail that records, hangs or fails, and a web server that does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use gmetad_core::conf::{Config, MemoryLoader};
use gmetad_core::model::UnixTime;
use gmetad_core::source::{Source, Stop};
use gmetad_core::{Gmetad, GmondReader, PollError, ReaderOptions, SourceSnapshot};
use gmetad_plugins::alert::{ActiveAlerts, AlertPlugin, Times};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must come.
fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Hosts with their `load_one`; `None`: the poll fails.
type Said = Option<Vec<(String, String)>>;

/// Says what it is told to; once it was asked for each of them, the last one for ever.
struct Scripted(Arc<Mutex<VecDeque<Said>>>, GmondReader);

impl Source for Scripted {
    fn poll(&mut self, now: UnixTime, _: &Stop) -> Result<SourceSnapshot, PollError> {
        let mut script = self.0.lock().unwrap();
        let hosts = if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() };
        drop(script);
        let hosts = hosts.ok_or_else(|| PollError::Other("down".to_owned()))?;
        let mut out = format!(
            "<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\">\n<CLUSTER NAME=\"lab\" LOCALTIME=\"{now}\" OWNER=\"o\" LATLONG=\"l\" URL=\"u\">\n"
        );
        for (name, load) in &hosts {
            let _ = write!(
                out,
                "<HOST NAME=\"{name}\" IP=\"10.0.0.1\" REPORTED=\"{now}\" TN=\"1\" TMAX=\"20\" DMAX=\"0\" LOCATION=\"l\" GMOND_STARTED=\"1\">\n\
                 <METRIC NAME=\"load_one\" VAL=\"{load}\" TYPE=\"float\" UNITS=\" \" TN=\"1\" TMAX=\"70\" DMAX=\"0\" SLOPE=\"both\"/>\n</HOST>\n"
            );
        }
        out.push_str("</CLUSTER>\n</GANGLIA_XML>\n");
        self.1.read_document(out.as_bytes(), now).map_err(|error| PollError::Other(error.to_string()))
    }
}

/// A daemon with the plugin, and a cluster that says what it is told to.
struct Daemon {
    gmetad: Gmetad,
    active: Arc<ActiveAlerts>,
    script: Arc<Mutex<VecDeque<Said>>>,
}

fn times() -> Times {
    Times {
        deadline: Duration::from_secs(10),
        pauses: vec![Duration::from_millis(20); 3],
        window: Duration::from_secs(60),
        closing: Duration::from_secs(2),
    }
}

impl Daemon {
    fn start(section: &str, times: Times) -> Self {
        let text = format!("data_source unused localhost\nalert {{\n{section}\n}}\n");
        let config = Config::parse_str(&text, "/nowhere/gmetad.conf", &MemoryLoader::default()).unwrap();
        assert!(AlertPlugin::is_configured(&config.sections));
        let config = Config { sources: Vec::new(), xml_port: 0, interactive_port: 0, ..config };
        let plugin = AlertPlugin::new().times(times);
        let active = plugin.active();
        let script = Arc::new(Mutex::new(VecDeque::from([Some(Vec::new())])));
        let own = Arc::clone(&script);
        let gmetad = Gmetad::builder()
            .config(&config)
            .plugin(plugin)
            .custom_source("lab", Duration::from_millis(50), move || {
                Scripted(Arc::clone(&own), GmondReader::new(Vec::new(), ReaderOptions::default()))
            })
            .start()
            .unwrap();
        Self { gmetad, active, script }
    }

    /// From the next poll on.
    fn load(&self, hosts: &[(&str, &str)]) {
        let hosts = hosts.iter().map(|(name, load)| ((*name).to_owned(), (*load).to_owned())).collect();
        *self.script.lock().unwrap() = VecDeque::from([Some(hosts)]);
    }

    fn down(&self) {
        *self.script.lock().unwrap() = VecDeque::from([None]);
    }

    fn figure(&self, name: &str) -> u64 {
        let reports = self.gmetad.stats().reports.all();
        let report = reports.iter().find(|report| report.name() == "alert").expect("it reports");
        report.figures().into_iter().find(|figure| figure.name == name).expect("a figure").value
    }

    fn until(&self, figure: &str, value: u64) {
        wait_for(figure, || (self.figure(figure) == value).then_some(()));
    }

    /// Waits for so many further polls.
    fn polls(&self, n: usize) {
        let polls = self.gmetad.subscribe(100);
        for _ in 0..n {
            while polls.recv_timeout(PATIENCE).expect("a poll").cluster().is_none() {}
        }
    }
}

/// A sendmail in a directory of its own that keeps each message in a file.
struct Sendmail {
    dir: tempfile::TempDir,
}

impl Sendmail {
    /// `script` runs before the message is kept; in it, `$dir` is the directory.
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sendmail");
        let text = format!(
            "#!/bin/sh\ndir={}\n{script}\nprintf '%s\\n' \"$*\" > $dir/args\n\
             cat > $dir/new.$$ && mv $dir/new.$$ $dir/mail.$(ls $dir | grep -c '^mail')\n",
            dir.path().display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("sendmail")
    }

    fn section(&self, rules: &str) -> String {
        format!("toaddress admin@example.org\nsendmailpath {}\n{rules}", self.path().display())
    }

    fn mails(&self) -> Vec<String> {
        (0..).map_while(|n| fs::read_to_string(self.dir.path().join(format!("mail.{n}"))).ok()).collect()
    }

    fn until(&self, n: usize) -> Vec<String> {
        wait_for("mail", || Some(self.mails()).filter(|mails| mails.len() >= n))
    }
}

/// How many processes have this path on their command line.
fn running(path: &Path) -> usize {
    let path = path.to_string_lossy().into_owned();
    let lines =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&path)).count()
}

/// A web server that gives one answer after the other, the last one for ever, and hands on what was posted. 0: no answer.
fn web(answers: &'static [u16]) -> (SocketAddr, mpsc::Receiver<(String, serde_json::Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (to, from) = mpsc::channel();
    thread::spawn(move || {
        let mut silent = Vec::new();
        for (n, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let status = answers[n.min(answers.len() - 1)];
            let _ = to.send((head, serde_json::from_slice(&body).unwrap()));
            if status == 0 {
                silent.push(reader);
                continue;
            }
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    (address, from)
}

#[test]
fn the_ancestors_section_sends_one_mail_when_it_begins_and_one_when_it_ends() {
    let sendmail = Sendmail::new("");
    let daemon = Daemon::start(&sendmail.section("metricrule load_one \"$val > 5\" \"too high\""), times());
    daemon.load(&[("n1", "6.5"), ("n2", "1")]);
    sendmail.until(1);
    assert_eq!(daemon.active.list()[0].host, "n1");
    daemon.polls(5);
    daemon.load(&[("n1", "2"), ("n2", "1")]);
    let mails = sendmail.until(2);
    daemon.polls(3);
    daemon.gmetad.stop(PATIENCE).unwrap();
    assert_eq!(sendmail.mails().len(), 2, "one each, not one a poll");
    assert_eq!(fs::read_to_string(sendmail.dir.path().join("args")).unwrap(), "-t -oi\n");
    assert!(mails[0].starts_with("To: admin@example.org\nSubject: Metric load_one out of range: n1, cluster lab"));
    assert!(mails[0].contains("\n\ntoo high\n\nmetric: load_one value: 6.5 condition: $val > 5\n"), "{}", mails[0]);
    assert!(mails[1].contains("load_one recovered: n1"), "{}", mails[1]);
}

#[test]
fn a_cluster_that_goes_down_recovers_nothing() {
    let sendmail = Sendmail::new("");
    let daemon = Daemon::start(&sendmail.section("metricrule load_one \"$val > 5\" \"m\" for 3"), times());
    daemon.load(&[("n1", "6")]);
    daemon.until("mails_sent", 1);
    daemon.down();
    daemon.polls(4);
    assert_eq!((daemon.figure("active"), daemon.figure("recovered")), (1, 0));
    daemon.load(&[("n1", "1")]);
    daemon.until("mails_sent", 2);
    daemon.gmetad.stop(PATIENCE).unwrap();
}

#[test]
fn repeat_is_by_the_clock() {
    let sendmail = Sendmail::new("");
    let daemon = Daemon::start(&sendmail.section("metricrule load_one \"$val > 5\" \"m\" repeat 1s"), times());
    daemon.load(&[("n1", "6")]);
    let mails = sendmail.until(3);
    assert!(mails[2].contains("load_one still out of range"), "{}", mails[2]);
    daemon.gmetad.stop(PATIENCE).unwrap();
}

#[test]
fn ten_thousand_hosts_are_one_mail() {
    let sendmail = Sendmail::new("");
    let (address, posts) = web(&[200]);
    let rules = format!("webhook http://{address}/\nmetricrule load_one \"$val > 5\" \"m\"");
    let daemon = Daemon::start(&sendmail.section(&rules), times());
    let names: Vec<String> = (0..10_000).map(|n| format!("node{n}")).collect();
    daemon.load(&names.iter().map(|name| (name.as_str(), "6")).collect::<Vec<_>>());
    let mails = sendmail.until(1);
    assert!(mails[0].contains("10000 alerts, cluster lab") && mails[0].len() < 20_000, "{}", mails[0].len());
    assert_eq!((daemon.figure("fired"), daemon.figure("active")), (10_000, 10_000));
    let posted: usize =
        (0..20).map(|_| posts.recv_timeout(PATIENCE).unwrap().1["alerts"].as_array().unwrap().len()).sum();
    assert_eq!(posted, 10_000);
    daemon.gmetad.stop(PATIENCE).unwrap();
    assert_eq!(sendmail.mails().len(), 1);
}

#[test]
fn a_flood_of_mails_becomes_a_digest() {
    let sendmail = Sendmail::new("");
    let rules: String = (0..20).map(|n| format!("metricrule load_one \"$val > {n}\" \"m{n}\"\n")).collect();
    let few = Times { window: Duration::from_secs(2), ..times() };
    let daemon = Daemon::start(&sendmail.section(&format!("maxmails 3\n{rules}")), few);
    daemon.load(&[("n1", "60")]);
    let mails = sendmail.until(4);
    assert!(mails[3].contains("Subject: Ganglia alerts: 17 firing"), "{}", mails[3]);
    assert!(mails[3].contains("m19"), "{}", mails[3]);
    daemon.gmetad.stop(PATIENCE).unwrap();
    assert_eq!(sendmail.mails().len(), 4);
}

#[test]
fn a_hostile_host_name_adds_no_header_and_runs_nothing() {
    let sendmail = Sendmail::new("");
    let daemon = Daemon::start(&sendmail.section("metricrule load_one \"$val > 5\" \"$host\""), times());
    let touched = sendmail.dir.path().join("hostile");
    let name = format!("x&#10;Bcc: evil@example.org&#10;&#10;$(touch {0})`touch {0}`", touched.display());
    daemon.load(&[(&name, "6")]);
    let mail = sendmail.until(1).remove(0);
    let head = mail.split("\n\n").next().unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc")) && head.contains("Subject: Metric load_one"), "{mail}");
    assert!(mail.contains("$(touch"), "shown as it is");
    daemon.gmetad.stop(PATIENCE).unwrap();
    assert!(!touched.exists());
}

#[test]
fn a_sendmail_that_fails_is_tried_again() {
    let sendmail = Sendmail::new("test -e $dir/second || { touch $dir/second; echo no route >&2; exit 75; }");
    let daemon = Daemon::start(&sendmail.section("metricrule load_one \"$val > 5\" \"m\""), times());
    daemon.load(&[("n1", "6")]);
    daemon.until("mails_sent", 1);
    assert_eq!((sendmail.mails().len(), daemon.figure("mails_failed")), (1, 0));
    daemon.gmetad.stop(PATIENCE).unwrap();
}

#[test]
fn a_sendmail_that_hangs_is_killed_with_its_children_and_delays_nobody() {
    let sendmail = Sendmail::new("sh -c 'sleep 1000; :' $dir/child & sleep 1000");
    let (address, posts) = web(&[200]);
    let rules = format!("webhook http://{address}/\nmetricrule load_one \"$val > 5\" \"m\"");
    let short = Times { deadline: Duration::from_millis(500), pauses: vec![Duration::from_millis(5)], ..times() };
    let daemon = Daemon::start(&sendmail.section(&rules), short);
    daemon.load(&[("n1", "6")]);
    wait_for("the sendmail and its child", || (running(sendmail.dir.path()) > 1).then_some(()));
    assert_eq!(posts.recv_timeout(PATIENCE).unwrap().1["alerts"][0]["labels"]["host"], "n1");
    daemon.until("mails_failed", 1);
    assert_eq!(sendmail.mails().len(), 0);
    wait_for("the end of all of them", || (running(sendmail.dir.path()) == 0).then_some(()));
    daemon.gmetad.stop(PATIENCE).unwrap();
}

#[test]
fn a_stop_does_not_wait_for_a_sendmail_or_a_webhook_that_hangs() {
    let sendmail = Sendmail::new("sleep 1000");
    let (address, posts) = web(&[0]);
    let rules = format!("webhook http://{address}/\nmetricrule load_one \"$val > 5\" \"m\"");
    let long = Times { deadline: Duration::from_secs(1000), closing: Duration::from_millis(300), ..times() };
    let daemon = Daemon::start(&sendmail.section(&rules), long);
    daemon.load(&[("n1", "6")]);
    wait_for("the sendmail", || (running(sendmail.dir.path()) > 0).then_some(()));
    posts.recv_timeout(PATIENCE).expect("a post that is never answered");
    daemon.gmetad.stop(PATIENCE).expect("all threads of the daemon end");
    wait_for("the end of the sendmail", || (running(sendmail.dir.path()) == 0).then_some(()));
}

#[test]
fn a_webhook_gets_json_with_its_headers_and_is_tried_again() {
    let (address, posts) = web(&[500, 429, 200]);
    let section = format!(
        "webhook http://{address}/hook?token=secret\nwebhook_header \"Authorization: Bearer x\"\nmetricrule load_one \"$val > 5\" \"m\""
    );
    let daemon = Daemon::start(&section, times());
    daemon.load(&[("n1", "6")]);
    for _ in 0..3 {
        let (head, body) = posts.recv_timeout(PATIENCE).unwrap();
        assert!(head.starts_with("POST /hook?token=secret HTTP/1.1\r\n"), "{head}");
        let lower = head.to_ascii_lowercase();
        assert!(lower.contains("authorization: bearer x\r\n") && lower.contains("content-type: application/json\r\n"));
        assert_eq!((&body["version"], &body["status"]), (&"4".into(), &"firing".into()));
    }
    daemon.until("webhooks_sent", 1);
    assert_eq!((daemon.figure("webhooks_failed"), daemon.figure("mails_sent")), (0, 0));
    daemon.load(&[("n1", "1")]);
    let (_, body) = posts.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&body["status"], &body["alerts"][0]["status"]), (&"resolved".into(), &"resolved".into()));
    daemon.gmetad.stop(PATIENCE).unwrap();
}

#[test]
fn a_webhook_that_refuses_is_not_tried_again() {
    let (address, posts) = web(&[404]);
    let daemon = Daemon::start(&format!("webhook http://{address}/\nmetricrule load_one \"$val > 5\" \"m\""), times());
    daemon.load(&[("n1", "6")]);
    daemon.until("webhooks_failed", 1);
    assert_eq!(posts.try_iter().count(), 1);
    daemon.gmetad.stop(PATIENCE).unwrap();
}

#[test]
fn a_bad_condition_is_left_out_and_its_column_named() {
    let text = "data_source unused localhost\nalert {\nmetricrule load_one \"$val > __import__('os')\" \"m\"\n\
                metricrule load_one \"$val>5\" \"too high\" \"x\"\nmetricrule load_one \"$val > 5\" \"m\"\n}\n";
    let config = Config::parse_str(text, "/nowhere/gmetad.conf", &MemoryLoader::default()).unwrap();
    let faults: Vec<String> =
        gmetad_plugins::alert::check(&config.sections).iter().filter(|f| f.fatal).map(ToString::to_string).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("/nowhere/gmetad.conf:3:29: alert: metricrule") && faults[0].contains("__import__"));
    let config = Config { sources: Vec::new(), xml_port: 0, interactive_port: 0, ..config };
    let plugin = AlertPlugin::new();
    let report = plugin.report();
    let gmetad = Gmetad::builder().config(&config).plugin(plugin).start().expect("the others are good");
    assert_eq!(report.figures().iter().find(|figure| figure.name == "rules").map(|figure| figure.value), Some(1));
    gmetad.stop(PATIENCE).unwrap();
}
