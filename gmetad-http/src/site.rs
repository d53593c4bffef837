//! Bytes in, bytes out: one connection's request and its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::host::HostRule;
use crate::request::{Refused, Request};
use crate::response::Response;
use crate::router::Router;

/// Pages, and who is answered.
pub struct Site {
    router: Router,
    rule: HostRule,
}

/// The answer to a connection, which is closed after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status code.
    pub status: u16,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Site {
    /// These pages under this rule.
    pub fn new(router: Router, rule: HostRule) -> Self {
        Self { router, rule }
    }

    /// Looks at everything received so far; `end` tells that the client sends no more. `None`: more is needed, which
    /// happens for at most [`crate::HEAD_BYTES`] bytes. The deadline is up to the caller.
    pub fn input(&self, received: &[u8], end: bool) -> Option<Reply> {
        let request = match Request::parse(received) {
            Ok(Some(request)) => request,
            Ok(None) if !end => return None,
            Ok(None) => return Some(Reply::new(&Refused::Malformed.response(), 1, true)),
            Err(refused) => return Some(Reply::new(&refused.response(), 1, true)),
        };
        let response = self.rule.refuses(&request).unwrap_or_else(|| self.page(&request)).answer(&request);
        Some(Reply::new(&response, request.minor_version(), !request.is_head()))
    }

    /// A page that panics must not take the loop that serves all ports with it.
    fn page(&self, request: &Request) -> Response {
        catch_unwind(AssertUnwindSafe(|| self.router.answer(request))).unwrap_or_else(|_| {
            log::error!("the page {:?} panicked", request.path());
            Response::text(500, "This page failed; the log has the reason.\n")
        })
    }
}

impl Reply {
    fn new(response: &Response, minor: u8, body: bool) -> Self {
        Self { status: response.status(), bytes: response.render(minor, body) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn site() -> Site {
        let router = Router::new("t")
            .page("/echo", "", |r: &Request| {
                Response::text(200, r.path()).header("X-Echo", r.parameter("q").unwrap_or(""))
            })
            .page("/panics", "", |_: &Request| -> Response { std::panic::resume_unwind(Box::new(())) });
        Site::new(router, HostRule::bound_to([127, 0, 0, 1].into(), &[]))
    }

    fn status(text: &str, end: bool) -> Option<u16> {
        site().input(text.as_bytes(), end).map(|reply| reply.status)
    }

    #[test]
    fn every_request_gets_its_answer() {
        for (text, end, expected) in [
            ("GET /echo HTTP/1.0\r\n\r\n", false, Some(200)),
            ("GET /panics HTTP/1.0\r\n\r\n", false, Some(500)),
            ("GET /echo HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Some(421)),
            ("GET /echo HTTP/1.0\r\n", false, None),
            ("GET /echo HTTP/1.0\r\n", true, Some(400)),
        ] {
            assert_eq!(status(text, end), expected, "{text:?}");
        }
        let head = site().input(b"HEAD /echo HTTP/1.0\r\n\r\n", false).expect("complete").bytes;
        assert!(head.starts_with(b"HTTP/1.0 200 OK\r\n") && head.ends_with(b"Content-Length: 5\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn a_parameter_does_not_split_the_answer(bytes: Vec<u8>) {
            let query: String = bytes.iter().map(|b| format!("%{b:02x}")).collect();
            let text = format!("GET /echo?q=%0d%0aSet-Cookie:x%0d%0a%0d%0a{query} HTTP/1.0\r\n\r\n");
            let reply = site().input(text.as_bytes(), false).expect("complete");
            let text = String::from_utf8(reply.bytes).expect("UTF-8");
            let (head, _) = text.split_once("\r\n\r\n").expect("a head");
            prop_assert!(head.ends_with("Connection: close"), "{}", head);
            prop_assert!(!head.contains("\nSet-Cookie"), "{}", head);
        }

        #[test]
        fn more_than_the_limit_is_always_answered(bytes in proptest::collection::vec(any::<u8>(), 8193..8200)) {
            prop_assert!(site().input(&bytes, false).is_some());
        }
    }
}
