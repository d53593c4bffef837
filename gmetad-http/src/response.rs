//! Responses: status, headers and body to bytes. No I/O.

use std::borrow::Cow;

use gmetad_core::{limits, serve};

use crate::request::Request;

/// What a page answers. Every answer says its length and closes the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    etag: Option<String>,
    body: Vec<u8>,
    /// It has, or could have had, a content coding.
    varies: bool,
    lasting: bool,
}

impl Response {
    /// An answer with this status code and content type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", content_type.to_owned())],
            etag: None,
            body: body.into(),
            varies: false,
            lasting: false,
        }
    }

    /// Plain text.
    pub fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// A page that loads nothing from elsewhere, has its scripts and styles in files of their own, and is not shown in a
    /// frame.
    pub fn html(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
            form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
        Self::new(status, "text/html; charset=utf-8", body)
            .header("Content-Security-Policy", policy)
            .header("Referrer-Policy", "same-origin")
    }

    /// Sends a browser on to another page of this site with a `GET`.
    pub fn see_other(path: impl Into<String>) -> Self {
        Self::text(303, "").header("Location", path)
    }

    /// Adds a header. Characters a value cannot have are left out.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With another body, if `words` has one for this text.
    pub(crate) fn reworded(mut self, words: impl Fn(&str) -> Option<String>) -> Self {
        if let Some(other) = std::str::from_utf8(&self.body).ok().and_then(words) {
            self.body = other.into();
        }
        self
    }

    /// Names this version of the page (without quotes), so that a client that has it is told so instead: 304. Without
    /// a tag an answer is not to be stored. What is long enough to be compressed has a weak tag, since the bytes differ.
    pub fn etag(mut self, tag: impl Into<String>) -> Self {
        let mut tag = tag.into();
        tag.retain(|c| c.is_ascii_graphic() && c != '"');
        self.etag = Some(tag);
        self
    }

    /// Lets a client with a tag keep it for a year without asking again: for what changes its address when it changes.
    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The answer to this request: 304 for a client that has this version, compressed for one that takes gzip, unless it
    /// is short.
    pub fn answer(mut self, request: &Request) -> Self {
        let has_it = |tag: &str| serve::has_tag(request.values("if-none-match"), tag);
        // A page that brings its own coding is left alone.
        let coded = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
        self.varies = self.body.len() >= limits::GZIP_MIN && !coded;
        if self.status == 200 && self.etag.as_deref().is_some_and(has_it) {
            self.status = 304;
        } else if self.varies && serve::accepts_gzip(request.values("accept-encoding")) {
            self.body = serve::gzip(self.body);
            self.headers.push(("Content-Encoding", "gzip".to_owned()));
        }
        self
    }

    /// The bytes, in HTTP/1.`minor`; with or without the body.
    pub fn render(&self, minor: u8, body: bool) -> Vec<u8> {
        let mut out = format!("HTTP/1.{minor} {} {}\r\n", self.status, reason(self.status));
        let mut line = |name: &str, value: &str| {
            out.extend([name, ": ", &*clean(value), "\r\n"]);
        };
        let unchanged = self.status == 304;
        for (name, value) in &self.headers {
            if !(unchanged && *name == "Content-Type") {
                line(name, value);
            }
        }
        if !unchanged {
            line("Content-Length", &self.body.len().to_string());
        }
        match &self.etag {
            Some(tag) => {
                line("ETag", &format!("{}\"{tag}\"", if self.varies { "W/" } else { "" }));
                line("Cache-Control", if self.lasting { "private, max-age=31536000, immutable" } else { "no-cache" });
            }
            None => line("Cache-Control", "no-store"),
        }
        if self.varies {
            line("Vary", "Accept-Encoding");
        }
        line("X-Content-Type-Options", "nosniff");
        line("Connection", "close");
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        if body && !unchanged {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

/// A header's value without what would end its line.
fn clean(value: &str) -> Cow<'_, str> {
    let allowed = |c: char| c == '\t' || !c.is_control();
    if value.chars().all(allowed) { value.into() } else { value.chars().filter(|c| allowed(*c)).collect() }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        // The phrase may be empty (RFC 9112, 4).
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(extra: &str) -> Request {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{extra}\r\n");
        Request::parse(text.as_bytes()).expect("well-formed").expect("complete")
    }

    #[test]
    fn the_bytes_of_an_answer() {
        let response = Response::text(200, "hi").header("X-A", "b");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nX-A: b\r\nContent-Length: 2\r\n\
            Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&response.render(1, true)), format!("{head}hi"));
        assert_eq!(String::from_utf8_lossy(&response.render(1, false)), head);
    }

    #[test]
    fn a_client_that_has_this_version_is_told_so() {
        for (header, status) in [
            ("", 200),
            ("If-None-Match: \"v1\"\r\n", 304),
            ("If-None-Match: \"v0\", W/\"v1\"\r\n", 304),
            ("If-None-Match: *\r\n", 304),
            ("If-None-Match: \"v2\"\r\n", 200),
        ] {
            let response = Response::text(200, "hi").etag("v1").answer(&request(header));
            assert_eq!(response.status(), status, "{header:?}");
            let bytes = String::from_utf8(response.render(1, true)).expect("ASCII");
            assert!(bytes.contains("ETag: \"v1\"\r\nCache-Control: no-cache\r\n"), "{bytes}");
            assert_eq!(bytes.contains("Content-Length"), status == 200, "{bytes}");
            assert_eq!(bytes.ends_with("hi"), status == 200, "{bytes}");
        }
        let error = Response::text(404, "hi").etag("v1").answer(&request("If-None-Match: *\r\n"));
        assert_eq!(error.status(), 404);
    }

    #[test]
    fn long_pages_are_compressed_for_those_who_take_it() {
        let answer = |len: usize, headers: &str| {
            let response = Response::text(200, "x".repeat(len)).etag("v1").answer(&request(headers));
            let bytes = response.render(1, true);
            let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            assert!(response.status() == 304 || head.contains(&format!("Content-Length: {}\r\n", bytes.len() - end)));
            (head, bytes[end..].to_vec())
        };
        let long = limits::GZIP_MIN;
        let (head, body) = answer(long, "Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n");
        assert!(head.contains("Content-Encoding: gzip\r\n") && head.contains("ETag: W/\"v1\"\r\n"), "{head}");
        assert!(head.contains("Vary: Accept-Encoding\r\n") && body.starts_with(&[0x1f, 0x8b]) && body.len() < 100);
        for (len, headers, varies) in [
            (long, "", true),
            (long, "Accept-Encoding: gzip;q=0\r\n", true),
            (long - 1, "Accept-Encoding: gzip\r\n", false),
        ] {
            let (head, body) = answer(len, headers);
            assert_eq!(body, "x".repeat(len).into_bytes());
            assert!(!head.contains("Content-Encoding"), "{head}");
            assert_eq!((head.contains("Vary"), head.contains("ETag: W/")), (varies, varies), "{head}");
        }
        let (head, body) = answer(long, "Accept-Encoding: gzip\r\nIf-None-Match: W/\"v1\"\r\n");
        assert!(head.starts_with("HTTP/1.1 304 ") && !head.contains("Content-Encoding") && body.is_empty(), "{head}");
    }

    proptest! {
        #[test]
        fn no_value_splits_an_answer(value: String, tag: String, content_type: String) {
            let value = format!("{value}\r\nSet-Cookie: x\n\r\n");
            let response = Response::new(200, &content_type, "body").header("X-A", value).etag(tag);
            let bytes = response.render(1, true);
            let text = String::from_utf8(bytes).expect("UTF-8");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            prop_assert_eq!(body, "body");
            prop_assert_eq!(head.split("\r\n").count(), 8);
            prop_assert!(!head.replace("\r\n", "").contains(['\r', '\n']));
        }
    }
}
