//! A daemon that is measured, as a whole process.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Fallible;

/// A daemon with its helpers; ends with its scratch folder.
pub(crate) struct Daemon {
    children: Vec<Child>,
    _dir: Scratch,
    /// Dump and queries.
    pub(crate) ports: [u16; 2],
}

/// A folder that goes with its owner.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Fallible<Self> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("gmetad-compare-{}-{number}", std::process::id()));
        fs::create_dir_all(dir.join("rrds"))?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // SIGTERM first, so that it may finish what it has.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

/// Starts a program without its output.
pub(crate) fn spawn(command: &mut Command) -> Fallible<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| format!("{name}: {error}"))?)
}

impl Daemon {
    /// Starts `program` on these sources. `helpers` run already and count with it.
    pub(crate) fn start(
        program: &str,
        dir: Scratch,
        sources: &[SocketAddr],
        interval: u64,
        conf: &str,
        helpers: Vec<Child>,
        environment: Option<(&str, String)>,
    ) -> Fallible<Self> {
        let ports = [free_port()?, free_port()?];
        let mut text = format!(
            "gridname compare\nsetuid off\nxml_port {}\ninteractive_port {}\nrrd_rootdir \"{}\"\n{conf}\n",
            ports[0],
            ports[1],
            dir.path("rrds").display()
        );
        // Ours would save its tree for the next one on that port.
        if Command::new(program).arg("--version").output()?.stdout != b"gmetad 3.7.2\n" {
            writeln!(text, "state_dir \"{}\"", dir.path("state").display())?;
        }
        for (i, address) in sources.iter().enumerate() {
            writeln!(text, "data_source \"{i}\" {interval} {address}")?;
        }
        let file = dir.path("gmetad.conf");
        fs::write(&file, text)?;
        let mut daemon = Self { children: helpers, _dir: dir, ports };
        let child = spawn(Command::new(program).args(["-d", "1", "-c"]).arg(&file).envs(environment))?;
        daemon.children.push(child);
        Ok(daemon)
    }

    /// Waits until it shows so many clusters.
    pub(crate) fn wait_for(&self, clusters: usize) -> Fallible<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let shown = self.ask("/?filter=summary\n").map_or(0, |a| count(&a, b"</CLUSTER>"));
            if shown >= clusters {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{shown} clusters of {clusters} after two minutes").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A query on the interactive port.
    pub(crate) fn ask(&self, request: &str) -> std::io::Result<Vec<u8>> {
        ask(self.ports[1], request)
    }

    /// Reads the dump; how many bytes it has. They are counted, not kept: the reader's memory must not be what is measured.
    pub(crate) fn dump(&self) -> std::io::Result<usize> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0]))?;
        let mut buffer = vec![0; 1 << 18];
        let mut size = 0;
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(size),
                n => size += n,
            }
        }
    }

    /// Times of `n` queries, in milliseconds.
    pub(crate) fn query_times(&self, n: usize, request: &str) -> Fallible<Vec<f64>> {
        (0..n)
            .map(|_| {
                let began = Instant::now();
                let answer = self.ask(request)?;
                let took = began.elapsed().as_secs_f64() * 1e3;
                if answer.ends_with(b"</GANGLIA_XML>\n") { Ok(took) } else { Err("an answer without end".into()) }
            })
            .collect()
    }

    /// The query of a host that is there.
    pub(crate) fn host_query(&self) -> Fallible<String> {
        let name = |text: &str| text.split('"').next().map(str::to_owned);
        let all = self.ask("/?filter=summary\n")?;
        let all = String::from_utf8_lossy(&all);
        let cluster = all.split("<CLUSTER NAME=\"").nth(1).and_then(name).ok_or("no cluster")?;
        let hosts = self.ask(&format!("/{cluster}\n"))?;
        let host = String::from_utf8_lossy(&hosts).split("<HOST NAME=\"").last().and_then(name).ok_or("no host")?;
        Ok(format!("/{cluster}/{host}\n"))
    }

    /// Seconds of CPU of all threads that run.
    pub(crate) fn cpu(&self) -> f64 {
        self.children.iter().map(|child| cpu(child.id())).sum()
    }

    /// The processes that the daemon itself, the last of the children, has started, with their arguments.
    pub(crate) fn started(&self) -> Vec<(u32, String)> {
        let tasks = self.children.last().map(|daemon| format!("/proc/{}/task", daemon.id()));
        let tasks = tasks.and_then(|tasks| fs::read_dir(tasks).ok()).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let pids: Vec<u32> = lists.flat_map(|list| list.split(' ').flat_map(str::parse).collect::<Vec<_>>()).collect();
        let named = |pid| Some((pid, fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?));
        pids.into_iter().filter_map(named).collect()
    }

    /// Resident memory and its peak, in bytes.
    pub(crate) fn memory(&self) -> Fallible<(f64, f64)> {
        let mut sums = (0.0, 0.0);
        for child in &self.children {
            sums.0 += status(child.id(), "VmRSS:")?;
            sums.1 += status(child.id(), "VmHWM:")?;
        }
        Ok(sums)
    }

    /// Bytes of the pages that the programs changed, which go to the disk sooner or later.
    pub(crate) fn dirtied(&self) -> u64 {
        let text = |child: &Child| fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
        let bytes =
            |text: String| text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse::<u64>().ok());
        self.children.iter().filter_map(|child| bytes(text(child))).sum()
    }
}

/// Seconds of CPU of all threads of a process that run; the kernel counts nanoseconds.
pub(crate) fn cpu(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let threads = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    threads.sum::<u64>() as f64 / 1e9
}

pub(crate) fn ask(port: u16, request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// How often `what` stands in `text`.
pub(crate) fn count(text: &[u8], what: &[u8]) -> usize {
    text.windows(what.len()).filter(|window| window == &what).count()
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident(pid: u32) -> Fallible<f64> {
    status(pid, "VmRSS:")
}

pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A figure of /proc/PID/status, in bytes.
fn status(pid: u32, key: &str) -> Fallible<f64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or("status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}
