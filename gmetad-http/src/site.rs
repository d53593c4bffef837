//! Bytes in, bytes out: one connection's request and its answer.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::guard::Guard;
use crate::host::HostRule;
use crate::request::{HEAD_BYTES, Refused, Request};
use crate::response::Response;
use crate::router::Router;

/// Pages, and who is answered.
pub struct Site {
    router: Router,
    rule: HostRule,
    /// Bytes of the body of a POST; 0: there is nothing to post to.
    posts: usize,
    guard: Option<Guard>,
    words: Option<Words>,
}

/// Another text for one that this crate sends, for who sent this request (if it was one).
pub type Words = Box<dyn Fn(Option<&Request>, &str) -> Option<String> + Send + Sync>;

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
        Self { router, rule, posts: 0, guard: None, words: None }
    }

    /// Takes `POST` too, with at most so many bytes of body.
    pub fn with_posts(mut self, most: usize) -> Self {
        self.posts = most;
        self
    }

    /// Answers only who gets past `guard`.
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Says refusals in other words: in another language, say.
    pub fn worded(mut self, words: Words) -> Self {
        self.words = Some(words);
        self
    }

    /// A refusal in the site's words.
    pub(crate) fn word(&self, request: Option<&Request>, response: Response) -> Response {
        match &self.words {
            Some(words) => response.reworded(|text| words(request, text)),
            None => response,
        }
    }

    /// Bytes of a connection that [`Site::input`] is to see at most.
    pub fn limit(&self) -> usize {
        HEAD_BYTES + self.posts + 1
    }

    /// Looks at everything received so far; `end` tells that the client sends no more. `None`: more is needed, which
    /// happens for less than [`Site::limit`] bytes. The deadline is up to the caller.
    pub fn input(&self, received: &[u8], end: bool) -> Option<Reply> {
        self.input_from(None, received, end)
    }

    /// The same for a client at a known address: who guesses passwords there is slowed down.
    pub fn input_from(&self, peer: Option<IpAddr>, received: &[u8], end: bool) -> Option<Reply> {
        let request = match Request::parse_any(received, self.posts) {
            Ok(Some(request)) => request,
            Ok(None) if !end => return None,
            Ok(None) => return Some(Reply::new(&self.word(None, Refused::Malformed.response()), 1, true)),
            Err(refused) => return Some(Reply::new(&self.word(None, refused.response()), 1, true)),
        };
        let response = self.rule.refuses(&request).unwrap_or_else(|| self.guarded_page(&request, peer));
        // Only refusals are plain texts of these.
        let response = match response.status() {
            400.. => self.word(Some(&request), response),
            _ => response,
        };
        let response = response.answer(&request);
        Some(Reply::new(&response, request.minor_version(), !request.is_head()))
    }

    fn guarded_page(&self, request: &Request, peer: Option<IpAddr>) -> Response {
        let Some(guard) = &self.guard else { return self.page(request) };
        let now = Instant::now();
        let response = guard.refuses(request, peer, now).unwrap_or_else(|| self.page(request));
        guard.learn(request, &response, peer, now);
        response
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

    #[test]
    fn nothing_is_posted_where_nobody_takes_it() {
        let post = "POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(status(post, false), Some(405));
        let site = || site().with_posts(1);
        assert_eq!(site().input(post.as_bytes(), false), None);
        assert_eq!(site().input(post.as_bytes(), true).map(|reply| reply.status), Some(400));
        let text = format!("{post}x");
        assert_eq!(site().input(text.as_bytes(), false).map(|reply| reply.status), Some(405), "the page takes none");
    }

    #[test]
    fn a_guarded_site_asks_first() {
        let site = site().guarded(Guard::new("t", crate::Secret::new("open"), None));
        let ask = |rest: &str| {
            let text = format!("GET /echo HTTP/1.0\r\n{rest}\r\n");
            site.input_from(Some([192, 0, 2, 1].into()), text.as_bytes(), false).map(|reply| reply.status)
        };
        assert_eq!(ask(""), Some(401));
        assert_eq!(ask("Authorization: Basic YTpvcGVu\r\n"), Some(200));
        for _ in 0..6 {
            assert_eq!(ask("Authorization: Basic x\r\n"), Some(401));
        }
        assert_eq!(ask("Authorization: Basic x\r\n"), Some(429));
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

        #[test]
        fn more_than_the_limit_of_a_site_with_posts_is_always_answered(body in proptest::collection::vec(any::<u8>(), 101)) {
            let head = format!("POST /echo HTTP/1.0\r\nContent-Length: 100\r\nX: {}\r\n\r\n", "x".repeat(8130));
            let site = site().with_posts(100);
            let all = [head.as_bytes(), &body].concat();
            prop_assert_eq!(site.input(&all[..site.limit().min(all.len())], false).map(|reply| reply.status), Some(405));
        }
    }
}
