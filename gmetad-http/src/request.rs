//! Requests: bytes in, a decoded path and its parameters out. No I/O.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::response::Response;

/// Bytes of a request's head. Browsers send about 1 kB. Over it: 431.
pub const HEAD_BYTES: usize = 8 << 10;
/// Header lines of a request. Browsers send about 15. Over it: 431.
pub const HEADERS: usize = 48;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A page.
    Get,
    /// Only the head of its answer.
    Head,
    /// An action; has a body, which may be empty.
    Post,
}

/// A request. Only that of a `POST` has its body read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    method: Method,
    minor: u8,
    path: String,
    query: Vec<(String, String)>,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    captured: Vec<(String, String)>,
}

/// Why a request is not answered by a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not HTTP/1, has no or two `Host`, or a path that cannot be decoded: 400.
    Malformed,
    /// Neither `GET` nor `HEAD`, nor a `POST` where there is something to post to: 405.
    Method,
    /// More than [`HEAD_BYTES`] or [`HEADERS`]: 431.
    TooLarge,
    /// A `POST` that sends its body in chunks: 411.
    Length,
    /// A body of more than this many bytes: 413.
    Body(usize),
}

impl Refused {
    /// What the client is told.
    pub fn response(self) -> Response {
        match self {
            Self::Malformed => Response::text(400, "This is not a request of HTTP/1.0 or HTTP/1.1.\n"),
            Self::Method => Response::text(405, "Only GET and HEAD.\n").header("Allow", "GET, HEAD"),
            Self::TooLarge => Response::text(431, format!("At most {HEAD_BYTES} bytes and {HEADERS} header lines.\n")),
            Self::Length => Response::text(411, "A POST says its Content-Length, and sends its body in one piece.\n"),
            Self::Body(most) => Response::text(413, format!("At most {most} bytes of body.\n")),
        }
    }
}

impl Request {
    /// Reads a `GET` or `HEAD`; `None` while it is not complete. A body is not looked at.
    ///
    /// # Errors
    /// [`Refused`], which has the answer.
    pub fn parse(received: &[u8]) -> Result<Option<Self>, Refused> {
        Self::parse_any(received, 0)
    }

    /// Reads a request, which may be a `POST` of at most `most` bytes of body unless that is 0; `None` while it is not
    /// complete.
    ///
    /// # Errors
    /// [`Refused`], which has the answer.
    pub fn parse_any(received: &[u8], most: usize) -> Result<Option<Self>, Refused> {
        let mut lines = [httparse::EMPTY_HEADER; HEADERS];
        let mut raw = httparse::Request::new(&mut lines);
        let head = &received[..received.len().min(HEAD_BYTES)];
        let end = match raw.parse(head) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) if received.len() <= HEAD_BYTES => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(Refused::TooLarge),
            Err(_) => return Err(Refused::Malformed),
        };
        let minor = raw.version.ok_or(Refused::Malformed)?;
        let method = match raw.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") if most > 0 => Method::Post,
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
        let mut request = Self { method, minor, path, query, host, headers, body: Vec::new(), captured: Vec::new() };
        if method == Method::Post {
            let length = request.body_length(most)?;
            let Some(body) = received[end..].get(..length) else { return Ok(None) };
            request.body = body.to_vec();
        }
        Ok(Some(request))
    }

    /// How long its body is: what is not said in one way is not guessed, and who says nothing sends none (RFC 9112, 6.3).
    fn body_length(&self, most: usize) -> Result<usize, Refused> {
        let mut lengths = self.values("content-length");
        if self.header("transfer-encoding").is_some() {
            return Err(Refused::Length);
        }
        let Some(length) = lengths.next() else { return Ok(0) };
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) || lengths.any(|other| other != length) {
            return Err(Refused::Malformed);
        }
        // What does not fit a usize is too long.
        length.parse().ok().filter(|length| *length <= most).ok_or(Refused::Body(most))
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

    /// What is wanted.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Whether only the head of the answer is wanted.
    pub fn is_head(&self) -> bool {
        self.method == Method::Head
    }

    /// The body of a `POST`.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The fields of a form that was posted, decoded, in their order; none if the body is something else.
    pub fn form(&self) -> Vec<(String, String)> {
        let is_form = self.header("content-type").is_some_and(|kind| {
            kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
        let text = std::str::from_utf8(&self.body).ok().filter(|_| is_form);
        text.and_then(decode_query).unwrap_or_default()
    }

    /// What stands in the path where the router's has `{name}`.
    pub fn captured(&self, name: &str) -> Option<&str> {
        find(&self.captured, name)
    }

    /// The same request with what a router found in its path.
    pub(crate) fn with_captured(&self, captured: Vec<(String, String)>) -> Self {
        Self { captured, ..self.clone() }
    }

    /// The value of a cookie, as it came.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.values("cookie").flat_map(|line| line.split(';'));
        pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// What the client says it knows, if it says so in that way: `Basic` or `Bearer`.
    fn credentials(&self, scheme: &str) -> Option<&str> {
        let (own, rest) = self.header("authorization")?.split_once(' ')?;
        own.eq_ignore_ascii_case(scheme).then(|| rest.trim())
    }

    /// The token of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        self.credentials("Bearer")
    }

    /// The user and the password of `Authorization: Basic`. Nobody but a password's owner vouches for the user.
    pub fn basic(&self) -> Option<(String, String)> {
        let text = String::from_utf8(BASE64_STANDARD.decode(self.credentials("Basic")?).ok()?).ok()?;
        text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
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

    const POST: &str =
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";

    #[test]
    fn a_post_is_complete_with_its_body() {
        let text = format!("{POST}Content-Length: 11\r\n\r\na=1&b=%C3%A9trailing");
        for cut in 0..text.len() - 9 {
            assert_eq!(Request::parse_any(&text.as_bytes()[..cut], 64), Ok(None), "{cut}");
        }
        let request = Request::parse_any(text.as_bytes(), 64).expect("well-formed").expect("complete");
        assert_eq!((request.method(), request.body()), (Method::Post, &b"a=1&b=%C3%A9"[..11]));
        assert!(request.form().is_empty(), "half an escape is none");
        let request = parse_post("Content-Length: 12\r\n\r\na=1&b=%C3%A9").expect("well-formed").expect("complete");
        assert_eq!(request.form(), [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "é".to_owned())]);
    }

    fn parse_post(rest: &str) -> Result<Option<Request>, Refused> {
        Request::parse_any(format!("{POST}{rest}").as_bytes(), 64)
    }

    #[test]
    fn bodies_are_bounded_and_of_one_length() {
        for (rest, refused) in [
            ("Transfer-Encoding: chunked\r\n\r\n", Refused::Length),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", Refused::Length),
            ("Content-Length: 65\r\n\r\n", Refused::Body(64)),
            ("Content-Length: 99999999999999999999999999\r\n\r\n", Refused::Body(64)),
            ("Content-Length: +3\r\n\r\nabc", Refused::Malformed),
            ("Content-Length: 3, 3\r\n\r\nabc", Refused::Malformed),
            ("Content-Length: \r\n\r\nabc", Refused::Malformed),
            ("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", Refused::Malformed),
        ] {
            assert_eq!(parse_post(rest), Err(refused), "{rest:?}");
        }
        assert_eq!(parse(&format!("{POST}Content-Length: 0\r\n\r\n")), Err(Refused::Method));
        for none in ["Content-Length: 0\r\n\r\n", "\r\n", "\r\nwhat is no body"] {
            let request = parse_post(none).expect("well-formed").expect("complete");
            assert_eq!((request.method(), request.body()), (Method::Post, &b""[..]), "{none:?}");
        }
    }

    #[test]
    fn cookies_and_credentials_are_found() {
        let text = "GET / HTTP/1.0\r\nCookie: a=b; lang=fr;x\r\nAuthorization: bAsic YWRtaW46cMOpOmI=\r\n\r\n";
        let request = parse(text).expect("well-formed").expect("complete");
        assert_eq!((request.cookie("lang"), request.cookie("x"), request.cookie("ang")), (Some("fr"), None, None));
        assert_eq!(request.basic(), Some(("admin".to_owned(), "pé:b".to_owned())));
        assert_eq!(request.bearer(), None);
        let request =
            parse("GET / HTTP/1.0\r\nAuthorization: Bearer  x y \r\n\r\n").expect("well-formed").expect("complete");
        assert_eq!((request.bearer(), request.basic()), (Some("x y"), None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = Request::parse(&bytes);
        }

        #[test]
        fn any_post_is_answered(rest in "[ -~\r\n]*", body: Vec<u8>) {
            let mut text = format!("{POST}{rest}\r\n\r\n").into_bytes();
            text.extend(body);
            if let Ok(Some(request)) = Request::parse_any(&text, 64) {
                prop_assert!(request.body().len() <= 64);
                let _ = (request.form(), request.basic(), request.bearer(), request.cookie("a"));
            }
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
