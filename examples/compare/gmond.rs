//! Synthetic gmonds whose documents are made beforehand, so that making them costs the daemon that is measured no cache and
//! no core.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use gmetad_core::synthetic::{Change, SyntheticCluster};

use crate::{Args, Fallible};

/// Documents of each cluster, served in turn.
const VARIANTS: i64 = 3;
/// Series from which on there is memory for one only: in it a digit of each value is changed before each poll.
const MANY: f64 = 5e6;

/// What the clusters are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) clusters: usize,
    pub(crate) hosts: usize,
    pub(crate) metrics: usize,
    pub(crate) change: Change,
    pub(crate) unique: bool,
    pub(crate) twist: Twist,
}

/// What a synthetic cluster does not do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    None,
    /// Hosts come in another order at each poll.
    HostOrder,
    /// Each host has some of the metrics, hardly two the same ones.
    Sets,
    /// The DESC of every metric of every host is another one at each poll.
    Definitions,
    /// All sources are of one cluster.
    OneCluster,
}

impl Shape {
    pub(crate) fn new(args: &Args, clusters: usize, hosts: usize) -> Fallible<Self> {
        Ok(Self {
            clusters: args.number("--clusters", clusters)?,
            hosts: args.number("--hosts", hosts)?,
            metrics: args.number("--metrics", 33)?,
            change: match args.get("--change").unwrap_or("values") {
                "values" => Change::Values,
                "nothing" => Change::Nothing,
                "order" => Change::Order,
                "hosts" => Change::Hosts,
                other => return Err(format!("--change {other}: values, nothing, order or hosts").into()),
            },
            unique: args.get("--unique").is_some(),
            twist: match args.get("--twist").unwrap_or("none") {
                "none" => Twist::None,
                "host-order" => Twist::HostOrder,
                "sets" => Twist::Sets,
                "definitions" => Twist::Definitions,
                "one-cluster" => Twist::OneCluster,
                other => {
                    return Err(format!("--twist {other}: none, host-order, sets, definitions or one-cluster").into());
                }
            },
        })
    }

    pub(crate) fn series(&self) -> f64 {
        (self.clusters * self.hosts * self.metrics) as f64
    }

    fn cluster(&self, at: usize) -> SyntheticCluster {
        let mut cluster = SyntheticCluster::new(format!("cluster {at:03}"), self.hosts, self.metrics);
        cluster.change = self.change;
        cluster.unique_extra = self.unique;
        cluster
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { clusters, hosts, metrics, .. } = self;
        write!(f, "{clusters} clusters x {hosts} hosts x {metrics} metrics = {} series", self.series())?;
        match self.change {
            Change::Values => {}
            Change::Nothing => write!(f, ", same values")?,
            Change::Order => write!(f, ", order changes")?,
            Change::Hosts => write!(f, ", hosts come and go")?,
        }
        if self.unique {
            write!(f, ", unique EXTRA_DATA")?;
        }
        if self.twist == Twist::None { Ok(()) } else { write!(f, ", {:?}", self.twist) }
    }
}

impl Twist {
    /// The document with it. `turn` is its number among the documents of its cluster.
    fn of(self, document: Vec<u8>, turn: u64) -> Vec<u8> {
        if self == Self::None {
            return document;
        }
        let text = String::from_utf8(document).expect("a synthetic document is UTF-8");
        let first = text.find("<HOST ").expect("a host");
        let (head, rest) = text.split_at(first);
        let end = rest.rfind("</HOST>\n").expect("the end of a host") + 8;
        let (hosts, tail) = rest.split_at(end);
        let mut out = String::with_capacity(text.len() + text.len() / 10);
        match self {
            Self::None => unreachable!("done above"),
            Self::OneCluster => {
                let (before, name) = head.split_once("NAME=\"").expect("a name");
                let (_, after) = name.split_once('"').expect("its end");
                out += &format!("{before}NAME=\"one cluster\"{after}{hosts}");
            }
            Self::HostOrder => {
                out += head;
                let mut hosts: Vec<&str> = hosts.split_inclusive("</HOST>\n").collect();
                hosts.sort_by_key(|host| hash((turn, host.get(..30))));
                out.extend(hosts);
            }
            Self::Definitions => {
                out += head;
                let mut number = turn << 32;
                for piece in hosts.split_inclusive("\"Synthetic ") {
                    number += 1;
                    out += piece;
                    out += &format!("{number:x} ");
                }
            }
            Self::Sets => {
                out += head;
                for (at, piece) in (0u64..).zip(hosts.split_inclusive("</METRIC>\n")) {
                    let metric = piece.find("<METRIC ").unwrap_or(piece.len());
                    let keep = hash(at) % 4 != 0;
                    out += if keep { piece } else { &piece[..metric] };
                }
            }
        }
        out += tail;
        out.into_bytes()
    }
}

/// The gmonds of a shape. They listen until the program ends.
pub(crate) struct Gmonds {
    pub(crate) addresses: Vec<SocketAddr>,
    polls: Arc<AtomicU64>,
}

impl Gmonds {
    pub(crate) fn start(shape: &Shape) -> Fallible<Self> {
        let polls = Arc::new(AtomicU64::new(0));
        let addresses = (0..shape.clusters).map(|at| serve(shape, at, Arc::clone(&polls))).collect::<Result<_, _>>()?;
        Ok(Self { addresses, polls })
    }

    /// Documents that were taken whole.
    pub(crate) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }
}

fn serve(shape: &Shape, at: usize, polls: Arc<AtomicU64>) -> Fallible<SocketAddr> {
    let cluster = shape.cluster(at);
    let variants = if shape.series() < MANY { VARIANTS } else { 1 };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let now = gmetad_core::now();
    let mut documents: Vec<Vec<u8>> =
        (0..variants).map(|turn| shape.twist.of(cluster.document(now + 15 * turn), turn as u64)).collect();
    documents.iter_mut().for_each(Vec::shrink_to_fit);
    thread::Builder::new().spawn(move || {
        for (turn, stream) in (0i64..).zip(listener.incoming()) {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.set_write_timeout(Some(Duration::from_secs(10)));
            let document = &mut documents[(turn % variants) as usize];
            if variants == 1 && cluster.change != Change::Nothing {
                change_values(document);
            }
            set_localtime(document);
            if stream.write_all(document).is_ok() {
                polls.fetch_add(1, Ordering::Relaxed);
            }
            drop(stream);
            if cluster.change == Change::Hosts {
                // Each poll has hosts that nobody saw before.
                *document = cluster.document(now + 15 * (turn + variants));
            }
        }
    })?;
    Ok(address)
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Points are stored by LOCALTIME: it must be the true one.
fn set_localtime(document: &mut [u8]) {
    let key = b"LOCALTIME=\"";
    if let Some(at) = document.windows(key.len()).position(|window| window == key) {
        let start = at + key.len();
        document[start..start + 10].copy_from_slice(gmetad_core::now().to_string().as_bytes());
    }
}

/// Another last digit in each value.
fn change_values(document: &mut [u8]) {
    let key = b" VAL=\"";
    let places: Vec<u32> = memchr::memmem::find_iter(document, key).map(|at| (at + key.len()) as u32).collect();
    for start in places {
        let value = &mut document[start as usize..];
        let digits = value.iter().take_while(|byte| **byte != b'"').count();
        if let Some(digit) = value[..digits].last_mut().filter(|byte| byte.is_ascii_digit()) {
            *digit = b'0' + (*digit - b'0' + 3) % 10;
        }
    }
}
