//! Documents for sources to send.

use std::fmt::Write;

/// The declaration and DTD that gmond and gmetad begin every document with (reference 6.2).
pub fn prolog() -> Vec<u8> {
    let mut bytes = super::data("gmond.xml");
    let end = bytes.windows(3).position(|window| window == b"]>\n").expect("the capture has a DTD");
    bytes.truncate(end + 3);
    bytes
}

/// The document of a gmond with one cluster; `hosts` is the text between the cluster's tags.
pub fn of_cluster(cluster: &str, localtime: u64, hosts: &str) -> Vec<u8> {
    let mut bytes = prolog();
    let text = format!(
        "<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\">\n\
         <CLUSTER NAME=\"{cluster}\" LOCALTIME=\"{localtime}\" OWNER=\"owner\" LATLONG=\"N0 E0\" URL=\"http://c.example.org/\">\n\
         {hosts}</CLUSTER>\n</GANGLIA_XML>\n"
    );
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// A host that reported just now; `metrics` is the text between its tags.
pub fn host(name: &str, localtime: u64, metrics: &str) -> String {
    format!(
        "<HOST NAME=\"{name}\" IP=\"10.0.0.1\" TAGS=\"\" REPORTED=\"{localtime}\" TN=\"1\" TMAX=\"20\" DMAX=\"0\" \
         LOCATION=\"1,2,3\" GMOND_STARTED=\"1700000000\">\n{metrics}</HOST>\n"
    )
}

/// A metric as gmond writes it.
pub fn metric(name: &str, value: &str, kind: &str, slope: &str) -> String {
    format!(
        "<METRIC NAME=\"{name}\" VAL=\"{value}\" TYPE=\"{kind}\" UNITS=\"u\" TN=\"1\" TMAX=\"60\" DMAX=\"0\" SLOPE=\"{slope}\">\n\
         <EXTRA_DATA>\n<EXTRA_ELEMENT NAME=\"GROUP\" VAL=\"test\"/>\n</EXTRA_DATA>\n</METRIC>\n"
    )
}

/// A well-behaved cluster of any size: hosts `node0` … with float metrics `m0` …, each of value 1.
pub fn honest(cluster: &str, hosts: usize, metrics: usize) -> Vec<u8> {
    let localtime = super::now();
    let body: String = (0..metrics).map(|number| metric(&format!("m{number}"), "1.00", "float", "both")).collect();
    let mut text = String::new();
    for number in 0..hosts {
        write!(text, "{}", host(&format!("node{number}"), localtime, &body)).unwrap();
    }
    of_cluster(cluster, localtime, &text)
}

/// `document` with its clocks (LOCALTIME, REPORTED) moved so that its first LOCALTIME is `localtime`.
pub fn at_time(document: &[u8], localtime: u64) -> Vec<u8> {
    let first = clock_values(document, b"LOCALTIME=\"").next().map_or(localtime, |(_, _, value)| value);
    let mut clocks: Vec<_> =
        clock_values(document, b"LOCALTIME=\"").chain(clock_values(document, b"REPORTED=\"")).collect();
    clocks.sort_unstable();
    let mut moved = Vec::with_capacity(document.len());
    let mut copied = 0;
    for (start, end, value) in clocks {
        moved.extend_from_slice(&document[copied..start]);
        moved.extend_from_slice((value + localtime).saturating_sub(first).to_string().as_bytes());
        copied = end;
    }
    moved.extend_from_slice(&document[copied..]);
    moved
}

/// Start, end and value of every number that follows `key`.
fn clock_values<'a>(document: &'a [u8], key: &'static [u8]) -> impl Iterator<Item = (usize, usize, u64)> + 'a {
    let starts = document.windows(key.len()).enumerate().filter(move |(_, window)| *window == key);
    starts.filter_map(move |(at, _)| {
        let start = at + key.len();
        let digits = document[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = std::str::from_utf8(&document[start..start + digits]).ok()?.parse().ok()?;
        Some((start, start + digits, value))
    })
}

/// `bytes` compressed by the program gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    through_gzip("-c", bytes)
}

/// What the program gzip makes of `bytes`, which must be one whole stream with the right checksum.
pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    through_gzip("-dc", bytes)
}

fn through_gzip(option: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child =
        Command::new("gzip").arg(option).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip runs");
    let mut input = child.stdin.take().unwrap();
    let owned = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&owned));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "gzip {option}: {:?}", output.status);
    output.stdout
}

/// A gzip stream that begins with `head` and inflates to about `size` bytes of the letter a, at a ratio of 159 to 1.
///
/// Written bit by bit: one block with the fixed codes of RFC 1951, in which a copy of 258 bytes at distance 1 costs 13 bits.
/// The checksum at its end is wrong; whoever gets so far has already inflated all of it.
pub fn gzip_bomb(head: &[u8], size: usize) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], pending: 0, count: 0 };
    bits.low_first(1, 1); // the last block
    bits.low_first(1, 2); // fixed codes
    for &byte in head.iter().chain(b"a") {
        match u32::from(byte) {
            literal @ 0..=143 => bits.high_first(0x30 + literal, 8),
            literal => bits.high_first(0x190 + literal - 144, 9),
        }
    }
    for _ in 0..size / 258 {
        bits.high_first(0xc5, 8); // length 258
        bits.high_first(0, 5); // distance 1
    }
    bits.high_first(0, 7); // end of block
    bits.low_first(0, 7);
    bits.bytes.extend_from_slice(&[0; 8]);
    bits.bytes
}

struct Bits {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits {
    fn low_first(&mut self, value: u32, width: u32) {
        for bit in 0..width {
            self.push(value >> bit & 1);
        }
    }

    fn high_first(&mut self, value: u32, width: u32) {
        for bit in (0..width).rev() {
            self.push(value >> bit & 1);
        }
    }

    fn push(&mut self, bit: u32) {
        self.pending |= bit << self.count;
        self.count += 1;
        if self.count == 8 {
            self.bytes.push(u8::try_from(self.pending).unwrap());
            self.pending = 0;
            self.count = 0;
        }
    }
}
