//! Telling systemd how the service is doing: the protocol of `sd_notify(3)`, by hand.
//!
//! Every function does nothing, successfully, where `NOTIFY_SOCKET` is not set.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::time::{ClockId, clock_gettime};

/// The service is up (`Type=notify`), or up again after [`reloading`].
pub fn ready() -> io::Result<()> {
    send("READY=1")
}

/// The configuration is being read again; to be followed by [`ready`].
pub fn reloading() -> io::Result<()> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000))
}

/// The service is going down.
pub fn stopping() -> io::Result<()> {
    send("STOPPING=1")
}

/// One line for `systemctl status`.
pub fn status(text: &str) -> io::Result<()> {
    send(&format!("STATUS={}", text.replace('\n', " ")))
}

fn send(state: &str) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) => send_to(&socket, state),
        None => Ok(()),
    }
}

fn send_to(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn paths_and_abstract_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("gmetad-process-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&abstract_address).unwrap();
        for (address, receiver) in [(path.as_os_str(), by_path), (OsStr::new(&format!("@{name}")), by_name)] {
            send_to(address, "READY=1").unwrap();
            let mut buffer = [0; 64];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
        }
        assert!(send_to(OsStr::new("/nonexistent/socket"), "READY=1").is_err());
    }
}
