//! What plugins get, and what they can change.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use gmetad_core::plugin::{Change, Editor, PluginError, Role};
use gmetad_core::synthetic::{SyntheticCluster, SyntheticSource};
use gmetad_core::{Gmetad, Plugin, Transaction};
use gmetad_plugins::exec::{About, ExecPlugin};
use serde_json::Value;

use crate::rig::{PATIENCE, Rig, SECOND, directory, is_alive, script, transaction, until};

/// Writes down what it gets, and says `ok`.
fn recorder(hello: &str) -> String {
    format!(
        "
out = open('{{dir}}/got', 'a')
open('{{dir}}/pid', 'w').write(str(os.getpid()))
for line in sys.stdin:
    out.write(line)
    out.flush()
    asked = json.loads(line)
    if asked['type'] == 'hello':
        answer(type='hello', protocol=1, {hello})
    else:
        answer(type='ok', id=asked.get('id'))
    if asked['type'] == 'stop':
        sys.exit(0)
"
    )
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_sink_gets_everything() {
    let mut rig = Rig::start("records", &recorder(""), "threshold 5\nto  \"a b\"");
    let cluster = transaction("lab", 3, 33);
    rig.await_log("a sink");
    for n in 1..=2 {
        rig.plugin.notify(&mut cluster.clone()).unwrap();
        until("it took it", || rig.stats.notified.num() == n);
    }
    assert_eq!((rig.plugin.role(), rig.stats.failed.get(), rig.stats.dropped.get()), (Role::Tap, 0, 0));
    let pid = rig.file("pid");
    let (dir, time) = rig.stop();
    assert!(time < SECOND && !is_alive(&pid), "it ends by itself: {time:?}");
    let got = std::fs::read_to_string(dir.path().join("got")).unwrap();
    assert!(
        got.lines().nth(3).unwrap().starts_with(r#"{"type":"cluster","id":1,"kind":"cluster","name":"lab","source":"#)
    );
    let got = lines(&got);
    let kinds: Vec<_> = got.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["hello", "config", "start", "cluster", "cluster", "stop"]);
    assert_eq!(got[0]["protocol"], serde_json::json!([1]));
    assert_eq!((&got[0]["grid"], &got[0]["plugin"]), (&"the grid".into(), &"records".into()));
    assert_eq!(got[1]["section"], serde_json::json!([["threshold", "5"], ["to", "\"a b\""]]));
    assert_eq!(got[1]["sources"], serde_json::json!([{"name": "lab", "interval": 15}]));
    let (sent, meant) = (&got[4], cluster.cluster().unwrap());
    assert_eq!((&sent["id"], &sent["alive"], &sent["owner"]), (&2.into(), &true.into(), &"demo".into()));
    assert_eq!(sent["summary"]["up"], 3);
    let cpus =
        sent["summary"]["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "cpu_num").unwrap();
    assert_eq!((&cpus["sum"], &cpus["num"], &cpus["units"]), (&192.0.into(), &3.into(), &"CPUs".into()));
    assert!(sent.get("gone").is_none());
    for (sent, meant) in sent["hosts"].as_array().unwrap().iter().zip(meant.hosts()) {
        assert_eq!((sent["name"].as_str(), sent["ip"].as_str()), (Some(meant.name()), Some(meant.ip())));
        assert_eq!((&sent["up"], &sent["fresh"], &sent["tmax"]), (&true.into(), &true.into(), &20.into()));
        let metrics = sent["metrics"].as_array().unwrap();
        assert_eq!(metrics.len(), 33);
        for (sent, meant) in metrics.iter().zip(meant.metrics()) {
            assert_eq!((sent["name"].as_str(), sent["val"].as_str()), (Some(meant.name()), Some(meant.value())));
            assert_eq!(sent["units"].as_str(), Some(&*meant.def().units()));
            assert_eq!((&sent["tmax"], &sent["extra"][0][0]), (&70.into(), &"GROUP".into()));
        }
    }
}

#[test]
fn subscriptions() {
    let cluster = transaction("lab", 3, 33);
    let other = transaction("other", 2, 5);
    let hello = "clusters=['l*'], hosts=['*1.lab', 'node00002*'], metrics=['load_?ne', 'cpu_num'], detail='changed'";
    let mut rig = Rig::start("subscribes", &recorder(hello), "");
    rig.await_log("a sink");
    for (transaction, taken) in [(&other, 0), (&cluster, 1), (&cluster, 2)] {
        rig.plugin.notify(&mut transaction.clone()).unwrap();
        until("it took it", || rig.stats.notified.num() == taken);
    }
    // Another value of one host, and another host goes.
    let mut changed = cluster;
    let set = gmetad_core::plugin::MetricChange { value: Some("99".into()), ..Default::default() };
    for (host, metric) in [("node00001.lab", "load_one"), ("node00000.lab", "load_one"), ("node00002.lab", "mem_free")]
    {
        changed.change(Change::Metric { host: host.into(), metric: metric.into(), set: set.clone() });
    }
    assert_eq!(Editor::default().apply(&mut changed), []);
    rig.plugin.notify(&mut changed.clone()).unwrap();
    until("it took it", || rig.stats.notified.num() == 3);
    changed.change(Change::RemoveHost("node00002.lab".into()));
    Editor::default().apply(&mut changed);
    rig.plugin.notify(&mut changed).unwrap();
    until("it took it", || rig.stats.notified.num() == 4);
    let got = lines(&rig.file("got"));
    let names = |line: &Value| -> Vec<String> {
        line["hosts"].as_array().unwrap().iter().map(|host| host["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&got[3]), ["node00001.lab", "node00002.lab"], "all of them at first");
    assert_eq!(got[3]["hosts"][0]["metrics"].as_array().unwrap().len(), 2);
    assert_eq!(got[3]["summary"]["metrics"].as_array().unwrap().len(), 2);
    assert_eq!((names(&got[4]), &got[4]["gone"]), (vec![], &serde_json::json!([])));
    assert_eq!(names(&got[5]), ["node00001.lab"]);
    assert_eq!((names(&got[6]), &got[6]["gone"]), (vec![], &serde_json::json!(["node00002.lab"])));
    rig.stop();
}

#[test]
fn a_summary_has_no_hosts() {
    let mut rig = Rig::start("sums", &recorder("detail='summary'"), "");
    let mut cluster = transaction("lab", 3, 5);
    cluster.change(Change::Summary { metric: "load_five".into(), sum: Some(f64::NAN), num: None });
    assert_eq!(Editor::default().apply(&mut cluster), []);
    rig.plugin.notify(&mut cluster).unwrap();
    until("it took it", || rig.stats.notified.num() == 1);
    let got = lines(&rig.file("got"));
    assert!(got[3].get("hosts").is_none() && got[3]["summary"]["up"] == 3);
    let five = &got[3]["summary"]["metrics"][1];
    assert_eq!((&five["name"], &five["sum"], &five["num"]), (&"load_five".into(), &Value::Null, &3.into()));
    rig.stop();
}

#[test]
fn changes_of_a_sink_are_refused() {
    let script = "
begin()
while True:
    asked = ask()
    answer(type='ok', id=asked.get('id'), changes=[{'host': 'a', 'remove': True}, 5])
";
    let mut rig = Rig::start("sneaks", script, "");
    let mut cluster = transaction("lab", 2, 5);
    for n in 1..=2 {
        rig.plugin.notify(&mut cluster).unwrap();
        until("they are counted", || rig.stats.refused.get() == 2 * n);
    }
    assert_eq!((rig.logged("it is no changer"), rig.stats.failed.get(), cluster.changes().len()), (1, 0, 0));
    rig.stop();
}

/// Tells of `load_one` of the first host, and of an injected metric.
struct Watcher(mpsc::Sender<(String, Option<String>)>);

impl Plugin for Watcher {
    fn name(&self) -> &str {
        "watcher"
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        let Some(host) = transaction.cluster().and_then(|cluster| cluster.host("node00000.lab")) else { return Ok(()) };
        let injected = host.metric("power").map(|metric| metric.value().to_owned());
        Ok(self.0.send((host.metric("load_one").map_or("", |metric| metric.value()).to_owned(), injected))?)
    }
}

const CHANGER: &str = "
begin(role='changer', metrics=['load_one'])
while True:
    asked = ask()
    host = asked.get('hosts', [{}])[0].get('name')
    answer(type='ok', id=asked.get('id'), changes=[
        {'host': host, 'metric': 'load_one', 'set': {'val': '47.11'}},
        {'host': host, 'inject': {'name': 'power', 'val': '230', 'type': 'float', 'units': 'W'}},
        {'host': 'nobody', 'remove': True},
        {'host': host, 'metric': 'load_one', 'set': {'val': 5}},
        'rubbish',
    ])
";

#[test]
fn a_changer_changes_what_later_plugins_see_and_never_the_tree() {
    let dir = directory();
    let path = script(dir.path(), "changes", CHANGER);
    let plugin = ExecPlugin::new("changes", path, &About::default().into()).unwrap();
    let (to, from) = mpsc::channel();
    let source = SyntheticCluster::new("lab", 2, 5);
    let gmetad = Gmetad::builder()
        .custom_source("lab", SECOND, move || SyntheticSource::new(source.clone()))
        .plugin(plugin)
        .plugin(Watcher(to))
        .start()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    while from.recv_timeout(PATIENCE).unwrap() != ("47.11".to_owned(), Some("230".to_owned())) {
        assert!(Instant::now() < end, "a change");
    }
    let view = gmetad.store().view();
    let xml = String::from_utf8(
        gmetad_core::XmlWriter::new(&view, gmetad_core::Query::parse("/lab").unwrap(), gmetad_core::now()).into_bytes(),
    );
    assert!(!xml.unwrap().contains("47.11"));
    let stats = gmetad.stats().plugins.of("changes");
    until("what could not be made is counted", || stats.refused.get() >= 3 && stats.changes.get() >= 3);
    assert_eq!(crate::rig::logged("changes", "2 changes are not understood, the first: invalid type: integer `5`"), 1);
    gmetad.stop(PATIENCE).unwrap();
    assert_eq!(stats.failed.get(), 0);
}

#[test]
fn an_answer_that_comes_too_late_is_ignored() {
    let script = "
begin(role='changer')
for n in range(100):
    asked = ask()
    if n == 0:
        while not os.path.exists('{dir}/go'): time.sleep(0.01)
    answer(type='ok', id=asked['id'], changes=[{'host': 'node00000.lab', 'set': {'location': str(n)}}])
";
    let mut rig = Rig::start("late-once", script, "plugin_deadline 0.5");
    until("it is a changer", || rig.plugin.role() == Role::Changer);
    let cluster = transaction("lab", 2, 5);
    let mut first = cluster.clone();
    assert!(rig.plugin.notify(&mut first).unwrap_err().to_string().contains("raise plugin_deadline"));
    assert_eq!(first.changes(), []);
    std::fs::write(rig.dir.path().join("go"), "").unwrap();
    let mut second = cluster;
    rig.plugin.notify(&mut second).unwrap();
    let [Change::Host { set, .. }] = second.changes() else { panic!("{:?}", second.changes()) };
    assert_eq!(set.location.as_deref(), Some("1"), "the answer to the second");
    assert_eq!(rig.stats.failed.get(), 0, "the chain counts what is late");
    rig.stop();
}

#[test]
fn both_may_write_much_at_once() {
    let script = r#"
ask(); answer(type="hello", protocol=1)
ask(); answer(type="ok")
ask(); answer(type="ok")
while True:
    os.read(0, 1)
    for n in range(40):
        os.write(1, b'{"type":"log","level":"debug","text":"' + b"x" * 50000 + b'"}\n')
        os.write(2, b"y" * 50000 + b"\n")
    line = sys.stdin.readline()
    answer(type="ok", id=json.loads("{" + line).get("id"))
"#;
    let mut rig = Rig::start("writes-much", script, "plugin_deadline 20");
    let large = transaction("lab", 600, 33);
    for n in 1..=2 {
        rig.plugin.notify(&mut large.clone()).unwrap();
        until("it took it", || rig.stats.notified.num() == n);
    }
    assert_eq!(rig.stats.failed.get(), 0);
    rig.stop();
}

#[test]
fn the_newest_of_each_cluster_waits() {
    let script = "
begin(detail='summary')
while True:
    asked = ask()
    if asked['type'] == 'cluster':
        while not os.path.exists('{dir}/go'): time.sleep(0.01)
        open('{dir}/got', 'a').write(asked['name'] + ' ')
    answer(type='ok', id=asked.get('id'))
";
    let mut rig = Rig::start("slow", script, "");
    let [a, b] = ["a", "b"].map(|name| transaction(name, 2, 5));
    rig.await_log("runs as process");
    rig.plugin.notify(&mut a.clone()).unwrap();
    until("it is at it", || rig.stats.waiting() == 0);
    for _ in 0..50 {
        rig.plugin.notify(&mut a.clone()).unwrap();
        rig.plugin.notify(&mut b.clone()).unwrap();
    }
    assert_eq!((rig.stats.waiting(), rig.stats.dropped.get()), (2, 98));
    std::fs::write(rig.dir.path().join("go"), "").unwrap();
    until("it took all", || rig.stats.notified.num() == 3);
    assert_eq!(rig.file("got"), "a a b ");
    rig.stop();
}

/// What a changer did not get because it was not there is counted as its own, not as dropped by a full queue.
#[test]
fn what_a_changer_misses_is_its_own() {
    let script = "
while not os.path.exists('{dir}/go'): time.sleep(0.01)
begin(role='changer', clusters=['a'])
ask()
sys.exit(3)
";
    let mut rig = Rig::start("late", script, "");
    let [a, b] = ["a", "b"].map(|name| transaction(name, 2, 5));
    let counts = |rig: &Rig| (rig.stats.dropped.get(), rig.all.dropped.get());
    // Nobody knows yet that it is a changer: the newest of each cluster waits.
    for transaction in [&a, &b, &a] {
        rig.plugin.notify(&mut transaction.clone()).unwrap();
    }
    assert_eq!((rig.stats.waiting(), counts(&rig)), (2, (1, 1)));
    std::fs::write(rig.dir.path().join("go"), "").unwrap();
    until("it misses the one that it wants", || counts(&rig) == (2, 1));
    until("it is a changer", || rig.plugin.role() == Role::Changer);
    for _ in 0..2 {
        // It ends, and is away.
        rig.plugin.notify(&mut a.clone()).unwrap();
        rig.plugin.notify(&mut b.clone()).unwrap();
    }
    rig.await_log("it ended (exit status 3)");
    assert_eq!((rig.stats.notified.num(), counts(&rig)), (0, (4, 1)));
    rig.stop();
}

#[test]
fn an_error_at_a_cluster_costs_that_transaction() {
    let script =
        "begin()\nwhile True:\n    asked = ask()\n    answer(type='error', id=asked.get('id'), text='too much')";
    let mut rig = Rig::start("refuses", script, "");
    let mut cluster = transaction("lab", 2, 5);
    rig.plugin.notify(&mut cluster).unwrap();
    rig.await_log("error at lab: too much");
    rig.plugin.notify(&mut cluster).unwrap();
    until("the same process goes on", || rig.stats.failed.get() == 2);
    assert_eq!(rig.logged("runs as process"), 1);
    let (_dir, time) = rig.stop();
    assert!(time < Duration::from_secs(4));
}

#[test]
fn another_user_and_its_place() {
    if !std::path::Path::new("/proc/self").exists() || gmetad_process::user::Account::current().uid != 0 {
        return; // only root can
    }
    let script = "#!/bin/sh
echo \"$(id -un) $(id -Gn) $(pwd) ${NOTIFY_SOCKET-none} $(ls /proc/$$/fd | wc -l)\" >&2
while read -r line; do case $line in
    *'\"hello\"'*) echo '{\"type\":\"hello\",\"protocol\":1}' ;;
    *) echo '{\"type\":\"ok\"}' ;;
esac; done";
    let rig = Rig::start("nobodys", script, "plugin_user nobody");
    rig.await_log("nobody nogroup / none ");
    rig.await_log("runs as process");
    rig.stop();
}

#[test]
fn the_examples_of_the_manual() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins");
    let files = directory();
    let sums = files.path().join("hosts-up");
    let run = |file: &str, directives: &str| {
        let text = std::fs::read_to_string(examples.join(file)).unwrap();
        let name = file.split('.').next().unwrap();
        let rig = Rig::start(name, &text, directives);
        rig.await_log("runs as process");
        rig
    };
    let mut cluster = transaction("lab", 3, 33);
    let mut changer = run("load-per-cpu.py", "");
    changer.plugin.notify(&mut cluster).unwrap();
    assert_eq!(cluster.changes().len(), 3, "one for each host");
    assert_eq!(Editor::default().apply(&mut cluster), []);
    let host = cluster.cluster().unwrap().hosts().next().unwrap();
    let of = |name: &str| host.metric(name).unwrap().number();
    assert!((of("load_per_cpu") - of("load_one") / of("cpu_num")).abs() < 0.001);
    let mut sink = run("hosts-up.sh", &format!("file {}", sums.display()));
    for n in 1..=2 {
        sink.plugin.notify(&mut cluster).unwrap();
        until("it took it", || sink.stats.notified.num() == n);
    }
    assert_eq!(std::fs::read_to_string(sums).unwrap(), "lab 3 0\n");
    for rig in [changer, sink] {
        assert_eq!(rig.stats.failed.get(), 0);
        let (name, (_dir, time)) = (rig.name.clone(), rig.stop());
        assert!(time < SECOND && crate::rig::logged(&name, "did not end") == 0, "{name}: {time:?}");
    }
}
