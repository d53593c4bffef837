//! The wired daemon, as an embedder meets it: several in one process, plugins, sources that fail or panic.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gmetad_core::model::UnixTime;
use gmetad_core::plugin::{PluginError, Role};
use gmetad_core::source::{Source, Stop};
use gmetad_core::synthetic::{SyntheticCluster, SyntheticSource};
use gmetad_core::{Gmetad, Plugin, PollError, SourceSnapshot, Transaction};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

fn cluster(name: &str) -> impl FnMut() -> SyntheticSource + Send + 'static {
    let cluster = SyntheticCluster::new(name, 3, 5);
    move || SyntheticSource::new(cluster.clone())
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn ask(gmetad: &Gmetad, request: &str) -> String {
    let mut stream = TcpStream::connect(gmetad.port("interactive_port").expect("bound")).expect("connect");
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer
}

#[test]
fn two_daemons_in_one_process_know_nothing_of_each_other() {
    let start = |name: &str| {
        let builder = Gmetad::builder().grid(name, "").interactive(loopback());
        builder.custom_source(name, SECOND, cluster(name)).start().expect("start")
    };
    let (one, two) = (start("alpha"), start("beta"));
    for (gmetad, own, other) in [(&one, "alpha", "beta"), (&two, "beta", "alpha")] {
        gmetad.subscribe(4).recv_timeout(PATIENCE).expect("a poll");
        let answer = ask(gmetad, "/\n");
        assert!(answer.contains(&format!("<CLUSTER NAME=\"{own}\"")) && !answer.contains(other));
    }
    one.stop(PATIENCE).expect("one ends");
    assert!(ask(&two, "/\n").ends_with("</GANGLIA_XML>\n"), "the other goes on");
    two.stop(PATIENCE).expect("two ends");
}

/// Polls once, then fails.
struct Once(Option<SyntheticSource>);

impl Source for Once {
    fn poll(&mut self, now: UnixTime, stop: &Stop) -> Result<SourceSnapshot, PollError> {
        self.0.take().map_or(Err(PollError::Other("gone".to_owned())), |mut source| source.poll(now, stop))
    }
}

/// Tells of each cluster whether it is alive, and how many hosts it has.
struct Alive(mpsc::Sender<(bool, usize)>);

impl Plugin for Alive {
    fn name(&self) -> &str {
        "alive"
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        match transaction.cluster() {
            Some(cluster) => Ok(self.0.send((transaction.is_alive(), cluster.hosts().len()))?),
            None => Ok(()),
        }
    }
}

#[test]
fn plugins_hear_that_a_source_is_down() {
    let (to, from) = mpsc::channel();
    // Made once; should it be made again it fails at once.
    let mut source = Some(cluster("once")());
    let builder = Gmetad::builder().plugin(Alive(to));
    let gmetad = builder.custom_source("once", SECOND, move || Once(source.take())).start().expect("start");
    assert_eq!(from.recv_timeout(PATIENCE), Ok((true, 3)));
    assert_eq!(from.recv_timeout(PATIENCE), Ok((false, 3)), "what it said last");
    assert_eq!(gmetad.store().view().summary().hosts_up(), 0, "the root leaves it out");
    gmetad.stop(PATIENCE).expect("ends");
}

/// Panics at its first poll.
struct Panics(Arc<AtomicU32>, SyntheticSource);

impl Source for Panics {
    fn poll(&mut self, now: UnixTime, stop: &Stop) -> Result<SourceSnapshot, PollError> {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
        self.1.poll(now, stop)
    }
}

#[test]
fn a_source_that_panics_starts_anew() {
    let polls = Arc::new(AtomicU32::new(0));
    let gmetad = Gmetad::builder()
        .custom_source("panics", SECOND, move || Panics(Arc::clone(&polls), cluster("panics")()))
        .start()
        .expect("start");
    gmetad.subscribe(4).recv_timeout(PATIENCE).expect("the poll after the panic");
    gmetad.stop(PATIENCE).expect("ends");
}

/// Renames each cluster's owner, or panics, or tells what it sees.
enum Test {
    Renames,
    Panics,
    Tells(mpsc::Sender<String>),
}

impl Plugin for Test {
    fn name(&self) -> &str {
        "test"
    }

    fn role(&self) -> Role {
        if matches!(self, Self::Tells(_)) { Role::Sink } else { Role::Changer }
    }

    fn notify(&mut self, transaction: &mut Transaction) -> Result<(), PluginError> {
        match self {
            Self::Renames if transaction.cluster().is_some() => {
                // Another version of the cluster, made from a document of one's own.
                let document = SyntheticCluster::new("renamed", 1, 1).document(transaction.time());
                let mut reader = gmetad_core::GmondReader::new(Vec::new(), gmetad_core::ReaderOptions::default());
                let snapshot = reader.read_document(&document, transaction.time())?;
                transaction.replace_cluster(Arc::clone(snapshot.clusters().next().ok_or("no cluster")?));
                Ok(())
            }
            Self::Panics => panic!("on purpose"),
            Self::Tells(to) => match transaction.cluster() {
                Some(cluster) => Ok(to.send(cluster.name().to_owned())?),
                None => Ok(()),
            },
            Self::Renames => Ok(()),
        }
    }
}

#[test]
fn sinks_see_what_changers_made_and_panics_stay_with_their_plugin() {
    let (to, from) = mpsc::channel();
    let gmetad = Gmetad::builder()
        .custom_source("a", SECOND, cluster("a"))
        .plugin(Test::Renames)
        .plugin(Test::Panics)
        .plugin(Test::Tells(to))
        .start()
        .expect("start");
    assert_eq!(from.recv_timeout(PATIENCE).as_deref(), Ok("renamed"));
    assert!(gmetad.stats().plugin_errors.get() > 0);
    assert!(gmetad.store().view().cluster("a").is_some(), "the store never sees it");
    gmetad.stop(PATIENCE).expect("ends");
}

/// A dead source's hosts leave the summary of a cluster that another source has as well, and stay in the tree.
#[test]
fn a_cluster_of_two_sources_counts_those_that_are_alive() {
    use gmetad_core::store::{GridStore, Identity};
    use gmetad_core::summary::RootRules;
    use gmetad_core::{GmondReader, ReaderOptions};

    let store = GridStore::new(Identity::default(), RootRules::default());
    let now = 1_800_000_000;
    let publish = |hosts: &[&str]| {
        let id = store.add_source("shared");
        let hosts: String = hosts
            .iter()
            .map(|name| {
                format!(
                    "<HOST NAME=\"{name}\" IP=\"\" REPORTED=\"{now}\" TN=\"0\" TMAX=\"20\">\
                     <METRIC NAME=\"m\" VAL=\"1\" TYPE=\"int8\"/></HOST>"
                )
            })
            .collect();
        let document = format!("<GANGLIA_XML><CLUSTER NAME=\"S\" LOCALTIME=\"{now}\">{hosts}</CLUSTER></GANGLIA_XML>");
        let mut reader = GmondReader::new(Vec::new(), ReaderOptions::default());
        store.publish(id, reader.read_document(document.as_bytes(), now).expect("whole"));
        id
    };
    let (a, b) = (publish(&["a"]), publish(&["b", "c"]));
    let shown = || {
        let view = store.view();
        let cluster = view.cluster("S").expect("the cluster");
        let sum = cluster.summary().metric("m").map(|m| (m.sum(), m.num()));
        (cluster.hosts().len(), cluster.summary().hosts_up(), sum, view.summary().hosts_up())
    };
    assert_eq!(shown(), (3, 3, Some((3.0, 3)), 3));
    store.mark_dead(a, now);
    assert_eq!(shown(), (3, 2, Some((2.0, 2)), 2));
    store.mark_dead(b, now);
    assert_eq!(shown().0, 3);
    assert_eq!(shown().3, 0, "the root leaves out what is dead");
}
