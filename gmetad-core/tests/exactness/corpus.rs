//! The documents that mutations begin with: small ones, of every style that daemons, old ones and scripts have.

use std::fs;
use std::path::Path;

use gmetad_core::synthetic::{Change, SyntheticCluster};
use gmetad_core::xml::PROLOG;

use crate::START;
use crate::mutate::{elements, tags};
use crate::rng::Rng;

/// How many documents are written by chance.
const WRITTEN: u64 = 300;

pub fn bases() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = (0..WRITTEN).map(|seed| Writer::new(seed).document()).collect();
    for (hosts, metrics) in [(1, 1), (1, 5), (2, 3), (4, 2), (3, 9)] {
        for change in [Change::Values, Change::Order, Change::Hosts] {
            let mut cluster = SyntheticCluster::new("synthetic", hosts, metrics);
            (cluster.change, cluster.unique_extra, cluster.down) = (change, hosts == 2, hosts / 3);
            let document = cluster.document(START + 15 * metrics as i64);
            all.push(if hosts == 1 { document } else { document[PROLOG.len()..].to_vec() });
        }
    }
    // What real daemons sent, made small.
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gmetad-bin/tests/data");
    let mut files: Vec<_> = fs::read_dir(data).expect("test data").map(|f| f.expect("a file").path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "xml")) {
        let document = fs::read(file).expect("test data");
        for part in 0..4 {
            all.push(thinned(&document, part));
        }
    }
    all
}

/// Without the document type, and with every fourth metric only.
fn thinned(document: &[u8], part: usize) -> Vec<u8> {
    let start = memchr::memmem::find(document, b"<GANGLIA_XML").unwrap_or(0);
    let mut document = document[start..].to_vec();
    let metrics: Vec<_> = ["METRIC", "METRICS"].map(|name| elements(&document, &tags(&document), name)).concat();
    let mut gone: Vec<_> =
        metrics.into_iter().enumerate().filter(|(i, _)| i % 4 != part).map(|(_, range)| range).collect();
    gone.sort_by_key(|range| std::cmp::Reverse(range.start));
    for range in gone {
        document.drain(range);
    }
    document
}

/// One style of writing.
struct Writer {
    rng: Rng,
    out: Vec<u8>,
    quote: u8,
    newline: &'static [u8],
    /// Whether attributes come in another order, the same for all elements of a kind.
    order: Option<u64>,
    /// One in so many optional attributes is missing.
    sparse: usize,
    extra: usize,
    odd: usize,
}

type Attribute<'a> = (&'a str, &'a [u8]);

const NAMES: [&[u8]; 9] =
    [b"load_one", b"cpu_num", b"mem", b"disk free", b"os", b"a&amp;b", b"m\xe9m", "d\u{fc}r".as_bytes(), b"up>time"];
const VALUES: [&[u8]; 14] = [
    b"0.50",
    b"64",
    b"1e3",
    b"abc",
    b"",
    b"-3.25",
    b"0x10",
    b"nan",
    b"inf",
    b"1.5 GB",
    b"a &amp; b",
    b"&lt;&#233;&gt;",
    b"caf\xe9",
    b"263856192.000",
];
const TYPES: [&[u8]; 12] = [
    b"float",
    b"float",
    b"double",
    b"uint32",
    b"uint16",
    b"int32",
    b"int8",
    b"string",
    b"string",
    b"timestamp",
    b"Float",
    b"boolean",
];
const TIMES: [&[u8]; 8] = [b"0", b"5", b"14", b"79", b"81", b"600", b"-5", b"7s"];

impl Writer {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xc0ffee);
        Self {
            out: Vec::new(),
            quote: if rng.one_in(8) { b'\'' } else { b'"' },
            newline: rng.pick::<&[u8]>(&[b"\n", b"\n", b"\n", b"\r\n", b"", b"\n   "]),
            order: rng.one_in(3).then(|| rng.next()),
            sparse: *rng.pick(&[usize::MAX, usize::MAX, 20, 5]),
            extra: rng.below(14),
            odd: if rng.one_in(6) { rng.within(1..4) } else { 0 },
            rng,
        }
    }

    fn document(mut self) -> Vec<u8> {
        if self.rng.one_in(20) {
            self.out.extend_from_slice(PROLOG);
        }
        let version: &[u8] = self.rng.pick::<&[u8]>(&[b"3.7.2", b"3.7.2", b"3.7.2", b"3.1.7", b"2.4.1"]);
        self.open("GANGLIA_XML", &[("VERSION", version), ("SOURCE", b"gmond")], true);
        match self.rng.below(12) {
            0..=6 => self.cluster(4),
            7 => {
                self.cluster(2);
                self.cluster(2);
            }
            8 => self.host(),
            9 => self.grid(0),
            10 => {
                self.grid(1);
                self.cluster(2);
            }
            _ => self.grid(2),
        }
        self.close("GANGLIA_XML");
        self.out
    }

    /// A GRID: with clusters, with sums, or with grids inside.
    fn grid(&mut self, kind: usize) {
        self.open("GRID", &[("NAME", b"East"), ("AUTHORITY", b"http://e/"), ("LOCALTIME", b"1700000000")], true);
        match kind {
            0 => self.cluster(2),
            1 => self.sums(),
            _ => {
                self.open("GRID", &[("NAME", b"inner")], true);
                self.cluster(1);
                self.sums();
                self.close("GRID");
                self.cluster(2);
            }
        }
        self.close("GRID");
    }

    fn sums(&mut self) {
        self.open("HOSTS", &[("UP", b"3"), ("DOWN", b"1"), ("SOURCE", b"gmetad")], false);
        for _ in 0..3 {
            let (name, sum) = (*self.rng.pick(&NAMES), *self.rng.pick(&VALUES));
            let attributes: &[Attribute<'_>] =
                &[("NAME", name), ("SUM", sum), ("NUM", b"3"), ("TYPE", b"double"), ("UNITS", b""), ("SLOPE", b"both")];
            self.open("METRICS", attributes, true);
            self.close("METRICS");
        }
    }

    fn cluster(&mut self, most: usize) {
        let name = *self.rng.pick::<&[u8]>(&[b"Alpha", b"Beta &amp; Co", b"G\xe4mma"]);
        let attributes: &[Attribute<'_>] =
            &[("NAME", name), ("LOCALTIME", b"1700000000"), ("OWNER", b"o"), ("LATLONG", b"l"), ("URL", b"u")];
        self.open("CLUSTER", attributes, true);
        for _ in 0..self.rng.within(1..most + 1) {
            self.host();
        }
        self.close("CLUSTER");
    }

    fn host(&mut self) {
        let name = *self.rng.pick::<&[u8]>(&[b"h1", b"h2", b"h3", b"h4", b"n\xf6de", b"a&apos;b"]);
        let (tn, dmax) = (*self.rng.pick(&TIMES), *self.rng.pick::<&[u8]>(&[b"0", b"0", b"100"]));
        let reported = *self.rng.pick::<&[u8]>(&[b"1700000000", b"1699999900"]);
        let tn = if self.rng.one_in(2) { b"3" } else { tn };
        let mut attributes: Vec<Attribute<'_>> = vec![
            ("NAME", name),
            ("IP", b"10.0.0.1"),
            ("TAGS", b""),
            ("REPORTED", reported),
            ("TN", tn),
            ("TMAX", b"20"),
            ("DMAX", dmax),
            ("LOCATION", b"unspecified"),
            ("GMOND_STARTED", b"1690000000"),
        ];
        if self.odd == 1 {
            attributes.insert(0, ("a\"b", b"c"));
            attributes.push(("d\"e", b"f"));
        }
        self.open("HOST", &attributes, true);
        for _ in 0..self.rng.within(1..6) {
            self.metric();
        }
        self.close("HOST");
    }

    fn metric(&mut self) {
        let rng = &mut self.rng;
        let (name, val, kind) = (*rng.pick(&NAMES), *rng.pick(&VALUES), *rng.pick(&TYPES));
        let val = if rng.one_in(2) { b"1.50" } else { val };
        let (tn, dmax) = (*rng.pick(&TIMES), *rng.pick::<&[u8]>(&[b"0", b"0", b"0", b"10", b"60"]));
        let slope = *rng.pick::<&[u8]>(&[b"both", b"both", b"zero", b"positive", b"steep", b""]);
        let units = *rng.pick::<&[u8]>(&[b" ", b"", b"KB", b"&#176;C", b"\xb0C", b"a & b"]);
        let mut attributes: Vec<Attribute<'_>> = vec![
            ("NAME", name),
            ("VAL", val),
            ("TYPE", kind),
            ("UNITS", units),
            ("TN", if rng.one_in(2) { b"7" } else { tn }),
            ("TMAX", b"70"),
            ("DMAX", dmax),
            ("SLOPE", slope),
        ];
        if rng.one_in(3) {
            attributes.push(("SOURCE", b"gmetric"));
        }
        match self.odd {
            // Quotes in names: not XML, but nothing that stops a lenient reader.
            1 => {
                attributes.insert(0, ("a\"b", b"c"));
                attributes.push(("d\"e", b"f"));
            }
            2 => attributes.insert(0, ("VAL", b"twice")),
            3 => attributes.push(("ODD", b"VAL= TN=")),
            _ => {}
        }
        if self.extra == 0 {
            self.open("METRIC", &attributes, false);
            return;
        }
        self.open("METRIC", &attributes, true);
        self.extra_data();
        self.close("METRIC");
    }

    fn extra_data(&mut self) {
        let element = |writer: &mut Self, name: &[u8], val: &[u8]| {
            writer.open("EXTRA_ELEMENT", &[("NAME", name), ("VAL", val)], false);
        };
        match self.extra {
            1 => {}
            2 => self.open("EXTRA_DATA", &[], false),
            3 => self.raw(b"<!-- <METRIC NAME=\"no\" VAL=\"1\" TYPE=\"int8\"/> -->"),
            4 => self.raw(b"<FUTURE A=\"1\"/>"),
            _ => {
                self.open("EXTRA_DATA", &[], true);
                match self.extra {
                    5 => element(self, b"SPOOF_HOST", b"10.0.0.1:h1"),
                    6 => (0..34).for_each(|n| element(self, b"GROUP", format!("g{n}").as_bytes())),
                    7 => self.raw(b"<EXTRA_ELEMENT NAME=\"A\" VAL=\"b\"></EXTRA_ELEMENT>"),
                    8 => element(self, b"DESC", b"a &amp; b &lt;c&gt; &#233;"),
                    9 => element(self, b"DESC", b"caf\xe9"),
                    10 => {
                        element(self, b"GROUP", b"core");
                        self.raw(b"<!-- > -->text<![CDATA[<]]>");
                    }
                    11 => element(self, b"TITLE", b"bare & and &nbsp;"),
                    _ => {
                        element(self, b"GROUP", b"load");
                        element(self, b"TITLE", b"One Minute");
                    }
                }
                self.close("EXTRA_DATA");
            }
        }
    }

    fn open(&mut self, name: &'static str, attributes: &[Attribute<'_>], open: bool) {
        let needed = ["NAME", "VAL", "TYPE", "VERSION", "SUM"];
        let mut attributes: Vec<_> =
            attributes.iter().filter(|(key, _)| needed.contains(key) || !self.rng.one_in(self.sparse)).collect();
        if let Some(seed) = self.order {
            Rng::new(seed).shuffle(&mut attributes);
        }
        self.raw(b"<");
        self.raw(name.as_bytes());
        for (key, value) in attributes {
            self.raw(b" ");
            self.raw(key.as_bytes());
            self.out.extend_from_slice(&[b'=', self.quote]);
            self.raw(value);
            self.out.push(self.quote);
        }
        self.raw(if open { b">" } else { b"/>" });
        self.raw(self.newline);
    }

    fn close(&mut self, name: &str) {
        self.raw(b"</");
        self.raw(name.as_bytes());
        self.raw(b">");
        self.raw(self.newline);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}
