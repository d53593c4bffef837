//! Requests: bytes in, a decoded path and its parameters out. No I/O.

use crate::response::Response;

/// Bytes of a request's head. Browsers send about 1 kB. Over it: 431.
pub const HEAD_BYTES: usize = 8 << 10;
/// Header lines of a request. Browsers send about 15. Over it: 431.
pub const HEADERS: usize = 48;

/// A `GET` or `HEAD` request. A body is never read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    head: bool,
    minor: u8,
    path: String,
    query: Vec<(String, String)>,
    host: Option<String>,
    headers: Vec<(String, String)>,
}

/// Why a request is not answered by a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not HTTP/1, has no or two `Host`, or a path that cannot be decoded: 400.
    Malformed,
    /// Neither `GET` nor `HEAD`: 405.
    Method,
    /// More than [`HEAD_BYTES`] or [`HEADERS`]: 431.
    TooLarge,
}

impl Refused {
    /// What the client is told.
    pub fn response(self) -> Response {
        match self {
            Self::Malformed => Response::text(400, "This is not a request of HTTP/1.0 or HTTP/1.1.\n"),
            Self::Method => Response::text(405, "Only GET and HEAD.\n").header("Allow", "GET, HEAD"),
            Self::TooLarge => Response::text(431, format!("At most {HEAD_BYTES} bytes and {HEADERS} header lines.\n")),
        }
    }
}

impl Request {
    /// Reads a request's head; `None` while it is not complete.
    ///
    /// # Errors
    /// [`Refused`], which has the answer.
    pub fn parse(received: &[u8]) -> Result<Option<Self>, Refused> {
        let mut lines = [httparse::EMPTY_HEADER; HEADERS];
        let mut raw = httparse::Request::new(&mut lines);
        let head = &received[..received.len().min(HEAD_BYTES)];
        match raw.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) if received.len() <= HEAD_BYTES => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(Refused::TooLarge),
            Err(_) => return Err(Refused::Malformed),
        }
        let minor = raw.version.ok_or(Refused::Malformed)?;
        let head = match raw.method {
            Some("GET") => false,
            Some("HEAD") => true,
            _ => return Err(Refused::Method),
        };
        let headers: Vec<_> = raw
            .headers
            .iter()
            .map(|line| (line.name.to_owned(), String::from_utf8_lossy(line.value).into_owned()))
            .collect();
        let mut hosts = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        let mut host = hosts.next().map(|(_, value)| value.clone());
        // RFC 9112, 3.2: one Host, and no HTTP/1.1 without.
        if hosts.next().is_some() || (minor == 1 && host.is_none()) {
            return Err(Refused::Malformed);
        }
        let mut target = raw.path.ok_or(Refused::Malformed)?;
        let mut empty = "";
        // The absolute form that proxies get (RFC 9112, 3.2.2): its host counts.
        if target.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            let rest = &target[7..];
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            host = Some(authority.to_owned());
            target = rest;
            empty = "/";
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.is_empty() { empty } else { path };
        if !path.starts_with('/') {
            return Err(Refused::Malformed);
        }
        let path = decode(path, false).ok_or(Refused::Malformed)?;
        let query = decode_query(query).ok_or(Refused::Malformed)?;
        Ok(Some(Self { head, minor, path, query, host, headers }))
    }

    /// The decoded path; begins with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The first parameter of this name, decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// All parameters, decoded, in their order.
    pub fn parameters(&self) -> &[(String, String)] {
        &self.query
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// All headers of this name, in any case: lines of a list that was divided.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The host asked for, with its port if it has one. Only HTTP/1.0 may have none.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Whether only the head of the answer is wanted.
    pub fn is_head(&self) -> bool {
        self.head
    }

    /// 0 of HTTP/1.0, 1 of HTTP/1.1.
    pub fn minor_version(&self) -> u8 {
        self.minor
    }
}

/// The value of the first parameter of this name.
pub(crate) fn find<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

/// The parameters of a query string; `None` if one cannot be decoded.
pub(crate) fn decode_query(query: &str) -> Option<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name, true)?, decode(value, true)?))
        })
        .collect()
}

/// Undoes percent-encoding; `None` where `%` has no two hexadecimal digits behind it or the result is not UTF-8.
fn decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            b'+' if plus_is_blank => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Option<Request>, Refused> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn paths_and_parameters_are_decoded() {
        let request = parse("GET /a%20b/%C3%A9+?x=1%262&y=a+b&&z&x=2 HTTP/1.1\r\nhOST: h:80\r\n\r\n");
        let request = request.expect("well-formed").expect("complete");
        assert_eq!(request.path(), "/a b/é+");
        assert_eq!(request.parameter("x"), Some("1&2"));
        assert_eq!(request.parameter("y"), Some("a b"));
        assert_eq!(request.parameter("z"), Some(""));
        assert_eq!(request.parameters().len(), 4);
        assert_eq!((request.host(), request.is_head(), request.minor_version()), (Some("h:80"), false, 1));
        let request = parse("HEAD http://h?q HTTP/1.0\n\n").expect("well-formed").expect("complete");
        assert_eq!((request.host(), request.path(), request.is_head()), (Some("h"), "/", true));
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let many = format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        let long = format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(HEAD_BYTES));
        for (text, refused) in [
            ("POST / HTTP/1.0\r\n\r\n", Refused::Method),
            ("GET / HTTP/1.1\r\n\r\n", Refused::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused::Malformed),
            ("GET / HTTP/2.0\r\n\r\n", Refused::Malformed),
            ("GET a HTTP/1.0\r\n\r\n", Refused::Malformed),
            ("GET /% HTTP/1.0\r\n\r\n", Refused::Malformed),
            ("GET /%+1 HTTP/1.0\r\n\r\n", Refused::Malformed),
            ("GET /%ff HTTP/1.0\r\n\r\n", Refused::Malformed),
            ("GET /\r\n\r\n", Refused::Malformed),
            ("\u{16}\u{3}\u{1}", Refused::Malformed),
            (&many, Refused::TooLarge),
            (&long, Refused::TooLarge),
        ] {
            assert_eq!(parse(text), Err(refused), "{text:?}");
        }
        for part in ["", "GE", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            assert_eq!(parse(part), Ok(None), "{part:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = Request::parse(&bytes);
        }

        #[test]
        fn any_target_is_answered(target in "[^ ]*", rest in "[ -~\r\n]*") {
            let _ = parse(&format!("GET {target} HTTP/1.1\r\nHost: {rest}\r\n\r\n"));
        }

        #[test]
        fn a_head_in_pieces_is_the_same(cut in 0usize..40) {
            let text = "GET /status?callback=f HTTP/1.1\r\nHost: a\r\n\r\n";
            prop_assert_eq!(parse(&text[..cut]), Ok(None));
        }
    }
}
