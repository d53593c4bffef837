//! What agents that ask over the network have in common: addresses, times, connections.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use gmetad_core::agent::{Context, Message};
use gmetad_core::message;

use crate::said::Said;

/// How long a question over the network may take, unless the agent's own time is shorter.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a question has to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until(Instant);

impl Until {
    /// A little before the measurement is given up, so that the reason can still be told.
    pub(super) fn of(context: &Context) -> Self {
        Self(Instant::now() + context.deadline.mul_f64(0.9).min(PATIENCE))
    }

    /// At most that long.
    pub(super) fn at_most(self, time: Duration) -> Self {
        Self(self.0.min(Instant::now() + time))
    }

    /// What is left.
    ///
    /// # Errors
    /// Nothing is.
    pub(super) fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        // Sockets take zero for "for ever", and less than a microsecond for zero.
        if left < Duration::from_millis(1) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// An address as in files: `host:port`, `host`, `[::1]:53`, `::1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// # Errors
    /// Says what is wrong and how it should be. Without `default` a port must be there.
    pub(super) fn parse(text: &str, default: Option<u16>) -> Result<Self, Message> {
        let wrong = || message!("\"{}\" is no address: write HOST:PORT, or [IPv6]:PORT", text);
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) })
            }
            None if text.parse::<IpAddr>().is_ok() => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let is_name = |byte: u8| byte.is_ascii_graphic() && !b"/@[]?#".contains(&byte);
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => default,
        };
        match port {
            Some(port) if !host.is_empty() && host.len() < 256 && host.bytes().all(is_name) => {
                Ok(Self { host: host.to_owned(), port })
            }
            _ => Err(wrong()),
        }
    }

    /// What it stands for.
    pub(super) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = (&*self.host, self.port).to_socket_addrs()?.collect();
        if found.is_empty() {
            Err(io::Error::new(io::ErrorKind::NotFound, message!("the name has no address")))
        } else {
            Ok(found)
        }
    }

    /// A connection to the first of its addresses that takes one.
    pub(super) fn connect(&self, until: Until) -> io::Result<TcpStream> {
        let addresses = self.resolve()?;
        let count = addresses.len() as u32;
        let mut last = io::Error::new(io::ErrorKind::NotFound, message!("the name has no address"));
        for (at, address) in addresses.into_iter().enumerate() {
            // One that is silent leaves time for the others.
            let share = until.left()? / (count - at as u32);
            match TcpStream::connect_timeout(&address, share) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A UDP socket that hears this address only.
    pub(super) fn udp(&self) -> io::Result<UdpSocket> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, message!("the name has no address"));
        for address in self.resolve()? {
            let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
            match UdpSocket::bind(any).and_then(|socket| socket.connect(address).map(|()| socket)) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A TCP stream that ends when the time is over, however slowly the other side sends.
#[derive(Debug)]
pub(super) struct Timed {
    pub(super) stream: TcpStream,
    pub(super) until: Until,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.until.left()?))?;
        self.stream.read(buffer)
    }
}

impl io::Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.until.left()?))?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Why something failed, for people. The system's words for a timeout ("Resource temporarily unavailable") help nobody.
pub(super) fn problem(error: &io::Error) -> Message {
    match error.kind() {
        io::ErrorKind::WouldBlock => message!("no answer in time"),
        io::ErrorKind::BrokenPipe => message!("connection reset"),
        _ => error.said(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses() {
        let parse = |text: &str| Address::parse(text, Some(53)).map(|address| address.to_string());
        for (text, expected) in [
            ("a.b:80", "a.b:80"),
            ("a.b", "a.b:53"),
            ("[::1]:80", "[::1]:80"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
        ] {
            assert_eq!(parse(text).unwrap(), expected);
        }
        for text in ["", ":80", "a:", "a:0", "a:x", "a:70000", "[::1", "[::1]80", "http://a", "a b:1"] {
            assert!(parse(text).unwrap_err().to_string().contains("HOST:PORT"), "{text}");
        }
        assert!(Address::parse("a.b", None).is_err());
    }

    #[test]
    fn a_stream_that_trickles_ends_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::parse(&listener.local_addr().unwrap().to_string(), None).unwrap();
        let until = Until::of(&super::super::context()).at_most(Duration::from_millis(100));
        let mut timed = Timed { stream: address.connect(until).unwrap(), until };
        let (mut peer, _) = listener.accept().unwrap();
        let trickle = std::thread::spawn(move || while io::Write::write_all(&mut peer, b"x").is_ok() {});
        let began = Instant::now();
        let error = io::copy(&mut timed, &mut io::sink()).unwrap_err();
        assert_eq!(problem(&error).to_string(), "no answer in time");
        assert!(began.elapsed() < Duration::from_secs(10));
        drop(timed);
        trickle.join().unwrap();
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|[\\[\\]:a0-9]{0,12}") {
            if let Ok(address) = Address::parse(&text, Some(1)) {
                prop_assert_eq!(Address::parse(&address.to_string(), None), Ok(address));
            }
        }
    }
}
