//! The chain of plugins: order, changes, queues, failures, plugins that come and go.

#![allow(clippy::panic)]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use gmetad_core::model::{Host, MetricType};
use gmetad_core::plugin::{Change, HostChange, Keep, MetricChange, NewMetric, PluginError, Role};
use gmetad_core::synthetic::{SyntheticCluster, SyntheticSource};
use gmetad_core::{Gmetad, Plugin, Transaction};

const PATIENCE: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

fn cluster(name: &'static str) -> impl FnMut() -> SyntheticSource + Send + 'static {
    move || SyntheticSource::new(SyntheticCluster::new(name, 3, 4))
}

/// A plugin made of a closure.
struct Of<F>(&'static str, Role, Keep, F);

impl<F: FnMut(&mut Transaction) -> Result<(), PluginError> + Send> Plugin for Of<F> {
    fn name(&self) -> &str {
        self.0
    }

    fn role(&self) -> Role {
        self.1
    }

    fn keep(&self) -> Keep {
        self.2
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        (self.3)(transaction)
    }
}

fn changer<F: FnMut(&mut Transaction) -> Result<(), PluginError> + Send>(name: &'static str, run: F) -> Of<F> {
    Of(name, Role::Changer, Keep::Newest, run)
}

fn sink<F: FnMut(&mut Transaction) -> Result<(), PluginError> + Send>(name: &'static str, run: F) -> Of<F> {
    Of(name, Role::Sink, Keep::Newest, run)
}

fn first(transaction: &Transaction) -> Option<&Host> {
    transaction.cluster()?.hosts().next()
}

fn value(value: &str) -> MetricChange {
    MetricChange { value: Some(value.to_owned()), ..MetricChange::default() }
}

#[test]
fn changers_see_what_those_before_them_changed_and_the_store_does_not() {
    let (to, from) = mpsc::channel();
    let gmetad = Gmetad::builder()
        .custom_source("a", SECOND, cluster("a"))
        .plugin(changer("one", |transaction: &mut Transaction| {
            let Some(host) = first(transaction) else { return Ok(()) };
            let (host, metric) = (host.name().to_owned(), host.metrics().next().ok_or("no metric")?.name().to_owned());
            transaction.change(Change::Metric { host: host.clone(), metric, set: value("41") });
            let set = HostChange { location: Some("here <&\"".to_owned()), up: Some(false), ..HostChange::default() };
            transaction.change(Change::Host { host: host.clone(), set });
            transaction.change(Change::Inject { host, metric: NewMetric::new("power", "2.50", MetricType::Float) });
            let metric = NewMetric::new("power", "1", MetricType::Uint8);
            transaction.change(Change::Inject { host: "new".to_owned(), metric });
            Ok(())
        }))
        .plugin(changer("two", |transaction: &mut Transaction| {
            let Some(host) = first(transaction) else { return Ok(()) };
            let metric = host.metrics().next().ok_or("no metric")?;
            let (host, name) = (host.name().to_owned(), metric.name().to_owned());
            let set = value(&format!("{}", metric.number() + 1.0));
            transaction.change(Change::Metric { host, metric: name, set });
            transaction.change(Change::Metric { host: "nobody".to_owned(), metric: "m".to_owned(), set: value("1") });
            let last = transaction.cluster().and_then(|cluster| cluster.hosts().nth(2)).ok_or("no third host")?;
            transaction.change(Change::RemoveHost(last.name().to_owned()));
            Ok(())
        }))
        .plugin(changer("fails", |transaction: &mut Transaction| {
            if let Some(host) = first(transaction) {
                transaction.change(Change::RemoveHost(host.name().to_owned()));
            }
            Err("half done".into())
        }))
        .plugin(sink("tells", move |transaction: &mut Transaction| {
            if transaction.cluster().is_some() {
                to.send(transaction.clone())?;
            }
            Ok(())
        }))
        .start()
        .expect("start");
    let seen: Vec<Transaction> = (0..2).map(|_| from.recv_timeout(PATIENCE).expect("a poll")).collect();
    for transaction in &seen {
        let host = first(transaction).expect("the first host");
        assert_eq!(host.metrics().next().expect("its metric").value(), "42");
        assert_eq!((host.location(), host.is_up()), ("here <&\"", false));
        let power = host.metric("power").expect("the injected one");
        assert_eq!((power.value(), power.number(), power.is_fresh()), ("2.50", 2.5, true));
        assert_eq!(host.metrics().len(), 5);
        let names: Vec<_> =
            transaction.cluster().expect("a cluster").hosts().map(|host| host.name().to_owned()).collect();
        assert_eq!(names.len(), 3, "one went, one came: {names:?}");
        let new = transaction.cluster().and_then(|cluster| cluster.host("new")).expect("the new host");
        assert_eq!(new.metric("power").expect("its metric").def().kind(), MetricType::Uint8);
        assert_eq!(transaction.summary().hosts_up(), 3, "the summary is that of the poll");
    }
    let id = |transaction: &Transaction| first(transaction).and_then(|host| host.metric("power")).map(|m| m.series());
    assert_eq!(id(&seen[0]), id(&seen[1]), "an injected series keeps its id");
    assert_ne!(id(&seen[0]), seen[0].cluster().and_then(|c| c.host("new")?.metric("power")).map(|m| m.series()));
    let view = gmetad.store().view();
    let stored = view.cluster("a").expect("the cluster");
    assert!(stored.host("new").is_none() && stored.hosts().all(|host| host.metric("power").is_none()));
    let two = gmetad.stats().plugins.of("two");
    assert!(two.refused.get() >= 2 && two.failed.get() == 0, "a change of nobody costs itself only");
    assert!(gmetad.stats().plugins.of("fails").failed.get() >= 1);
    gmetad.stop(PATIENCE).expect("ends");
}

#[test]
fn a_slow_sink_gets_the_newest_of_each_cluster_and_delays_nobody() {
    let (go, wait) = mpsc::channel::<()>();
    let (to, from) = mpsc::channel();
    let (to_fast, from_fast) = mpsc::channel();
    let builder = Gmetad::builder()
        .custom_source("a", SECOND, cluster("a"))
        .plugin(sink("slow", move |transaction: &mut Transaction| {
            if transaction.cluster().is_some() {
                to.send(transaction.time())?;
                let _ = wait.recv();
            }
            Ok(())
        }))
        .plugin(sink("fast", move |transaction: &mut Transaction| {
            if transaction.cluster().is_some() {
                to_fast.send(transaction.time())?;
            }
            Ok(())
        }));
    let gmetad = builder.start().expect("start");
    let first = from.recv_timeout(PATIENCE).expect("a poll");
    let fast: Vec<i64> = (0..4).map(|_| from_fast.recv_timeout(PATIENCE).expect("a poll")).collect();
    assert_eq!(fast[0], first);
    let slow = gmetad.stats().plugins.of("slow");
    assert!(slow.dropped.get() >= 2 && slow.waiting() >= 1, "{slow:?}");
    go.send(()).expect("it waits");
    assert!(from.recv_timeout(PATIENCE).expect("the newest") >= fast[3], "not those in between");
    drop(go);
    gmetad.stop(PATIENCE).expect("ends");
}

#[test]
fn what_fails_again_and_again_rests() {
    let (to, from) = mpsc::channel();
    let gmetad = Gmetad::builder()
        .custom_source("a", Duration::from_millis(50), cluster("a"))
        .plugin(changer("panics", |_: &mut Transaction| panic!("on purpose")))
        .plugin(sink("tells", move |transaction: &mut Transaction| Ok(to.send(transaction.is_alive())?)))
        .start()
        .expect("start");
    let panics = gmetad.stats().plugins.of("panics");
    while panics.dropped.get() < 5 {
        from.recv_timeout(PATIENCE).expect("polls go on");
    }
    assert!(panics.failed.get() >= 3 && panics.is_resting(), "{panics:?}");
    gmetad.stop(PATIENCE).expect("ends");
}

#[test]
fn plugins_come_and_go_while_it_runs() {
    let (to, from) = mpsc::channel();
    let gmetad = Gmetad::builder().custom_source("a", Duration::from_millis(50), cluster("a")).start().expect("start");
    // Changers that were added run in the order of their names, whatever order they came in.
    for (name, text) in [("b", "b"), ("a", "a"), ("c", "c")] {
        let plugin = changer(name, move |transaction: &mut Transaction| {
            if let Some(host) = first(transaction) {
                let location = Some(format!("{}{text}", host.location().trim_start_matches("unspecified")));
                let set = HostChange { location, ..HostChange::default() };
                transaction.change(Change::Host { host: host.name().to_owned(), set });
            }
            Ok(())
        });
        gmetad.add_plugin(Box::new(plugin), &[]).expect("added");
    }
    gmetad
        .add_plugin(
            Box::new(sink("tells", move |transaction: &mut Transaction| {
                let location = first(transaction).map(|host| host.location().to_owned());
                Ok(to.send(location.unwrap_or_default())?)
            })),
            &[],
        )
        .expect("added");
    while from.recv_timeout(PATIENCE).expect("a poll") != "abc" {}
    gmetad.remove_plugin("b");
    while from.recv_timeout(PATIENCE).expect("a poll") != "ac" {}
    gmetad.remove_plugin("tells");
    while from.recv_timeout(PATIENCE).is_ok() {} // its end drops the sender
    assert!(gmetad.stats().plugins.all().iter().all(|plugin| plugin.name() != "b"));
    gmetad.stop(PATIENCE).expect("ends");
}

/// Panics in the method of that name.
struct PanicsIn(&'static str);

impl Plugin for PanicsIn {
    fn name(&self) -> &str {
        "panics"
    }

    fn configure(&mut self, _: &[gmetad_core::conf::Section]) -> Result<(), PluginError> {
        assert_ne!(self.0, "configure", "on purpose");
        Ok(())
    }

    fn start(&mut self) -> Result<(), PluginError> {
        assert_ne!(self.0, "start", "on purpose");
        Ok(())
    }

    fn notify(&mut self, _: &mut Transaction) -> Result<(), PluginError> {
        assert_ne!(self.0, "notify", "on purpose");
        Ok(())
    }

    fn stop(&mut self) {
        assert_ne!(self.0, "stop", "on purpose");
    }
}

#[test]
fn panics_in_each_method_are_caught() {
    for method in ["configure", "start"] {
        let error = Gmetad::builder().plugin(PanicsIn(method)).start().err().expect("refused");
        assert!(error.to_string().contains("plugin panics: panicked"), "{error}");
    }
    for method in ["notify", "stop"] {
        let (builder, polls) =
            Gmetad::builder().custom_source("a", SECOND, cluster("a")).plugin(PanicsIn(method)).subscribe(4);
        let gmetad = builder.start().expect("start");
        polls.recv_timeout(PATIENCE).expect("a poll");
        let stats = Arc::clone(gmetad.stats());
        gmetad.stop(PATIENCE).expect("ends");
        assert!(stats.plugins.of("panics").failed.get() >= 1, "{method}");
    }
}

/// Changes in order, many of them, and too many.
#[test]
fn the_editor_takes_changes_in_order_and_has_bounds() {
    use gmetad_core::plugin::{Editor, Refused};
    let (builder, polls) = Gmetad::builder().custom_source("a", SECOND, cluster("a")).subscribe(4);
    let gmetad = builder.start().expect("start");
    let polled = polls.recv_timeout(PATIENCE).expect("a poll");
    gmetad.stop(PATIENCE).expect("ends");
    let inject = |host: &str, name: String| {
        let metric = NewMetric::new(name, "1", MetricType::Uint8);
        Change::Inject { host: host.to_owned(), metric }
    };
    let first = first(&polled).expect("a host").name().to_owned();
    let mut editor = Editor::default();
    // Gone, then there again with one metric, which is taken out and put in again.
    let mut transaction = Transaction::clone(&polled);
    transaction.change(Change::RemoveHost(first.clone()));
    transaction.change(Change::Metric { host: first.clone(), metric: "m".to_owned(), set: value("1") });
    transaction.change(inject(&first, "x".to_owned()));
    transaction.change(Change::RemoveMetric { host: first.clone(), metric: "x".to_owned() });
    transaction.change(inject(&first, "x".to_owned()));
    assert_eq!(editor.apply(&mut transaction), [Refused::NoHost(first.clone())]);
    let host = transaction.cluster().and_then(|cluster| cluster.host(&first)).expect("it is there again");
    assert_eq!(host.metrics().map(|metric| metric.name().to_owned()).collect::<Vec<_>>(), ["x"]);
    // As many as may be, in a time that does not grow with their square; what is more is refused.
    let most = gmetad_core::limits::INJECTED_SERIES;
    let mut transaction = Transaction::clone(&polled);
    for n in 0..most + 10 {
        transaction.change(inject(&first, format!("x{n}")));
    }
    let refused = editor.apply(&mut transaction);
    assert_eq!(refused.len(), 11, "the one from before counts, too");
    let host = transaction.cluster().and_then(|cluster| cluster.host(&first)).expect("it is there");
    assert!(host.metric("x77777").is_some() && host.metrics().len() > most);
}

/// A changer that takes its time costs others neither transactions nor much time, also at the end.
#[test]
fn a_slow_changer_is_passed_over_when_others_wait() {
    let (to, from) = mpsc::channel();
    let slow = |_: &mut Transaction| {
        std::thread::sleep(Duration::from_millis(1300));
        Ok(())
    };
    let mut builder = Gmetad::builder().plugin(changer("slow", slow)).plugin(Of(
        "all",
        Role::Sink,
        Keep::Bytes(1 << 30),
        move |transaction: &mut Transaction| Ok(to.send(transaction.source().to_owned())?),
    ));
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        builder = builder.custom_source(name, SECOND, cluster("same"));
    }
    let gmetad = builder.start().expect("start");
    let mut seen = 0;
    let slow = gmetad.stats().plugins.of("slow");
    while slow.dropped.get() < 60 {
        from.recv_timeout(PATIENCE).expect("it goes on");
        seen += 1;
        assert!(slow.notified.num() < 12, "it is not passed over: {slow:?}");
    }
    let stats = Arc::clone(gmetad.stats());
    gmetad.stop(PATIENCE).expect("what waits is passed on");
    seen += from.iter().count();
    assert_eq!((stats.dropped.get(), stats.plugins.of("all").dropped.get()), (0, 0));
    assert!(seen as u64 >= stats.polls_ok.num(), "{seen} of {} polls", stats.polls_ok.num());
}

/// Those that keep up get everything, whoever stands beside them.
#[test]
fn a_slow_changer_costs_quick_ones_nothing() {
    let takes = |ms| {
        move |_: &mut Transaction| {
            std::thread::sleep(Duration::from_millis(ms));
            Ok(())
        }
    };
    let mut builder = Gmetad::builder()
        .plugin(changer("a", takes(35)))
        .plugin(changer("b", takes(1300)))
        .plugin(changer("c", takes(1)));
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        builder = builder.custom_source(name, SECOND, cluster("same"));
    }
    let gmetad = builder.start().expect("start");
    let (quick, slow) = (gmetad.stats().plugins.of("a"), gmetad.stats().plugins.of("b"));
    let end = std::time::Instant::now() + PATIENCE;
    while slow.dropped.get() < 150 {
        assert!(std::time::Instant::now() < end, "it is passed over: {slow:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((quick.dropped.get(), gmetad.stats().plugins.of("c").dropped.get()), (0, 0));
    assert!(slow.notified.num() < 12, "it has a fifth of the time at most: {slow:?}");
}
