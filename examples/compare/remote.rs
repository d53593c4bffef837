//! A distributed store: what points cost on the way into a real Prometheus by remote write, on both sides.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use gmetad_core::SourceSnapshot;
use gmetad_core::synthetic::SyntheticCluster;
use gmetad_core::{GmondReader, ReaderOptions};

use super::daemon::{Scratch, spawn};
use super::{Args, Fallible};

/// Samples of one request.
const BATCH: usize = 5000;

pub(crate) fn run(args: &Args) -> Fallible<()> {
    let prometheus = args.program("prometheus").ok_or("prometheus=PROGRAM is wanted")?;
    let (clusters, hosts, polls) =
        (args.number("--clusters", 10)?, args.number("--hosts", 300)?, args.number("--polls", 40)?);
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let dir = Scratch::new()?;
    fs::write(dir.path("prometheus.yml"), "global: {}\n")?;
    let mut child = spawn(
        Command::new(prometheus)
            .arg(format!("--config.file={}", dir.path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver"),
    )?;
    let result = measure(port, child.id(), clusters, hosts, polls);
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
    result
}

fn measure(port: u16, pid: u32, clusters: usize, hosts: usize, polls: i64) -> Fallible<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while !post(port, &[]).is_ok_and(|status| status < 500) {
        if Instant::now() > end {
            return Err("Prometheus does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let start = gmetad_core::now() - 15 * polls;
    let mut sources: Vec<_> = (0..clusters)
        .map(|n| {
            let name = format!("cluster {n:03}");
            (SyntheticCluster::new(&name, hosts, 33), GmondReader::new(Vec::new(), ReaderOptions::default()))
        })
        .collect();
    let (mut samples, mut raw, mut wire) = (0usize, 0usize, 0usize);
    let mut ours = Duration::ZERO;
    let before = cpu(pid)?;
    for poll in 0..polls {
        let now = start + 15 * poll;
        for (cluster, reader) in &mut sources {
            let snapshot = reader.read_document(&cluster.document(now), now)?;
            let began = Instant::now();
            let requests = requests(&snapshot, now);
            let packed: Vec<_> = requests
                .iter()
                .map(|(_, bytes)| snap::raw::Encoder::new().compress_vec(bytes))
                .collect::<Result<_, _>>()?;
            ours += began.elapsed();
            for ((count, bytes), packed) in requests.iter().zip(&packed) {
                (samples, raw, wire) = (samples + count, raw + bytes.len(), wire + packed.len());
                let status = post(port, packed)?;
                if status / 100 != 2 {
                    return Err(format!("Prometheus answers {status}").into());
                }
            }
        }
    }
    let theirs = cpu(pid)? - before;
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .ok_or("no VmRSS")?;
    let (count, series) = (samples as f64, samples as f64 / polls as f64);
    println!("{series} series, {polls} polls, {BATCH} samples a request, sent one after the other");
    println!("made and compressed (Snappy) by us: {:.3} us a sample", ours.as_secs_f64() * 1e6 / count);
    println!("on the wire: {:.1} B a sample ({:.0} B before)", wire as f64 / count, raw as f64 / count);
    println!(
        "taken by Prometheus: {:.2} us of CPU a sample, {:.0} B resident a series",
        theirs * 1e6 / count,
        resident * 1024.0 / series
    );
    Ok(())
}

/// Requests of remote write 1.0 (protobuf), each with how many samples it has.
fn requests(snapshot: &SourceSnapshot, now: i64) -> Vec<(usize, Vec<u8>)> {
    let mut all: Vec<(usize, Vec<u8>)> = Vec::new();
    let (mut series, mut labels) = (Vec::new(), Vec::new());
    for cluster in snapshot.clusters() {
        for host in cluster.hosts() {
            for metric in host.metrics().filter(|metric| metric.def().kind().is_numeric()) {
                series.clear();
                // Sorted by name, as receivers want them.
                for (name, value) in [("__name__", metric.name()), ("cluster", cluster.name()), ("host", host.name())] {
                    labels.clear();
                    field(&mut labels, 1, name.as_bytes());
                    field(&mut labels, 2, value.as_bytes());
                    field(&mut series, 1, &labels);
                }
                labels.clear();
                labels.push(1 << 3 | 1);
                labels.extend_from_slice(&metric.number().to_le_bytes());
                labels.push(2 << 3);
                varint(&mut labels, now as u64 * 1000);
                field(&mut series, 2, &labels);
                if all.last().is_none_or(|(count, _)| *count >= BATCH) {
                    all.push((0, Vec::new()));
                }
                if let Some((count, bytes)) = all.last_mut() {
                    *count += 1;
                    field(bytes, 1, &series);
                }
            }
        }
    }
    all
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The status of an answer.
fn post(port: u16, body: &[u8]) -> Fallible<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Encoding: snappy\r\n\
         Content-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().parse()?)
}

/// Seconds of CPU of a process.
fn cpu(pid: u32) -> Fallible<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}
