//! Clients of the two ports.

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a client of these tests waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a connection came to its end, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The daemon closed it in an orderly way.
    Closed,
    /// The daemon reset it (it closed with unread bytes, which TCP reports so).
    Reset,
    /// Neither within the client's patience.
    StillOpen,
}

/// Everything that came, and how it ended.
#[derive(Clone, Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub ending: Ending,
}

impl Answer {
    /// The answer without the header of HTTP, if it has one.
    pub fn body(&self) -> &[u8] {
        if !self.bytes.starts_with(b"HTTP/") {
            return &self.bytes;
        }
        let end = self.bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("the HTTP header ends");
        &self.bytes[end + 4..]
    }

    /// The lines of the HTTP header, whatever their line ends; none for a plain answer.
    pub fn header(&self) -> Vec<String> {
        let header = &self.bytes[..self.bytes.len() - self.body().len()];
        String::from_utf8_lossy(header).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// What the client does after its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Keeps its direction open, as nearly all clients do.
    KeepOpen,
    /// Closes its direction.
    HalfClose,
}

/// A connection to a port of this machine.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends `request` as it is and reads everything.
pub fn ask(port: u16, request: &[u8], after: After) -> io::Result<Answer> {
    let mut stream = connect(port)?;
    // A daemon that has already refused the request may reset the connection while it is being sent.
    let sent = stream.write_all(request);
    if sent.is_ok() && after == After::HalfClose {
        let _ = stream.shutdown(Shutdown::Write);
    }
    Ok(read_answer(&mut stream, PATIENCE))
}

/// Reads until the connection ends or `patience` is over.
pub fn read_answer(stream: &mut TcpStream, patience: Duration) -> Answer {
    let end = Instant::now() + patience;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let ending = loop {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).unwrap();
        match stream.read(&mut buffer) {
            Ok(0) => break Ending::Closed,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break Ending::StillOpen;
            }
            Err(_) => break Ending::Reset,
        }
    };
    Answer { bytes, ending }
}

/// Everything the XML port says.
pub fn dump(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = connect(port)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A request with a body, as a server reads it: its head, and its body.
pub fn read_request(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = io::BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

/// The answer to one line (without its line end) on the interactive port.
pub fn query(port: u16, line: &str) -> io::Result<Vec<u8>> {
    let answer = ask(port, format!("{line}\n").as_bytes(), After::KeepOpen)?;
    if answer.ending == Ending::StillOpen {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end of the answer to {line:?}")));
    }
    Ok(answer.bytes)
}

/// Connects from another loopback address than 127.0.0.1 and returns how many bytes `port` sent within its patience.
///
/// std cannot bind a client's socket; perl, part of every Debian, can. `None` if it is missing.
pub fn bytes_seen_from(source: &str, port: u16, request: &str) -> Option<usize> {
    const CLIENT: &str = r#"
        use IO::Socket::INET; my ($source, $port, $request) = @ARGV; $SIG{ALRM} = sub { print "timeout"; exit 1 }; $SIG{PIPE} = 'IGNORE';
        my $socket = IO::Socket::INET->new(LocalAddr => $source, PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp') or die "$@";
        alarm 15; syswrite($socket, "$request\n") if length $request; my $count = 0;
        while (my $n = sysread($socket, my $buffer, 65536)) { $count += $n } print $count;"#;
    let perl = super::find_program("perl")?;
    let output =
        std::process::Command::new(perl).args(["-e", CLIENT, source, &port.to_string(), request]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(
        text.trim()
            .parse()
            .unwrap_or_else(|_| panic!("client from {source}: {text} {}", String::from_utf8_lossy(&output.stderr))),
    )
}
