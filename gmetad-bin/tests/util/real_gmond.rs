//! The real gmond and gmetric of the system, on loopback.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A gmond in the foreground that hears only itself and gmetric. It measures nothing: what it shows is what a test sent, and
/// stays so until the test sends more.
pub struct RealGmond {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl RealGmond {
    /// Starts one with these names, or says that `test` is left out.
    pub fn start(test: &str, cluster: &str, host: &str) -> Option<Self> {
        let (Some(gmond), Some(_)) = (super::find_program("gmond"), super::find_program("gmetric")) else {
            super::left_out(test, "no gmond or gmetric (Debian package ganglia-monitor)");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("gmond-test-").tempdir().unwrap();
        let port = super::free_port();
        let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        fs::write(dir.path().join("gmond.conf"), conf(cluster, host, port, udp)).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(gmond);
        command.arg("-f").arg("-c").arg(dir.path().join("gmond.conf")).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut started = Self { child, dir, port };
        super::wait_until("gmond answers", super::SOON, || {
            assert!(started.child.try_wait().unwrap().is_none(), "gmond ended: {}", started.log());
            super::net::dump(port).is_ok_and(|bytes| bytes.ends_with(b"</GANGLIA_XML>\n"))
        });
        Some(started)
    }

    /// Where it serves XML.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What it serves now.
    pub fn xml(&self) -> Vec<u8> {
        super::net::dump(self.port).unwrap()
    }

    /// Runs gmetric with these arguments and waits until gmond shows the metric (its `--name`).
    pub fn gmetric(&self, arguments: &[&str]) {
        let name = arguments.iter().skip_while(|argument| **argument != "--name").nth(1).expect("a --name");
        let before = self.count(name);
        let output = Command::new("gmetric").arg("-c").arg(self.conf_path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "gmetric {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        super::wait_until(&format!("gmond shows {name}"), super::SOON, || self.count(name) > before);
    }

    fn count(&self, name: &str) -> usize {
        let wanted = format!("<METRIC NAME=\"{name}\" ");
        String::from_utf8_lossy(&self.xml()).matches(&wanted).count()
    }

    fn conf_path(&self) -> PathBuf {
        self.dir.path().join("gmond.conf")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for RealGmond {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Heartbeats are an hour apart, so that REPORTED changes only when a test sends something.
fn conf(cluster: &str, host: &str, port: u16, udp: u16) -> String {
    format!(
        r#"globals {{
  daemonize = no
  setuid = no
  debug_level = 0
  mute = no
  deaf = no
  host_dmax = 0
  send_metadata_interval = 0
  override_hostname = "{host}"
  override_ip = "127.0.0.1"
}}
cluster {{ name = "{cluster}" owner = "ops team" latlong = "N32.87 W117.22" url = "http://www.example.org/?a=1" }}
host {{ location = "1,2,3" }}
udp_send_channel {{ host = 127.0.0.1 port = {udp} }}
udp_recv_channel {{ bind = 127.0.0.1 port = {udp} }}
tcp_accept_channel {{ bind = 127.0.0.1 port = {port} }}
modules {{ module {{ name = "core_metrics" }} }}
collection_group {{ collect_once = yes time_threshold = 3600 metric {{ name = "heartbeat" }} }}
"#
    )
}
