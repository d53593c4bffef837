//! Synthetic gmonds whose documents are made beforehand, so that making them costs the daemon that is measured no cache and
//! no core.

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
        if self.unique { write!(f, ", unique EXTRA_DATA") } else { Ok(()) }
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
    let mut documents: Vec<Vec<u8>> = (0..variants).map(|turn| cluster.document(now + 15 * turn)).collect();
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
