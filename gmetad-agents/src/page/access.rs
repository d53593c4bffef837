//! Who may ask for something to be done: who knows the token, and is not being sent by another site's page.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_http::{Request, Response, Secret};
use parking_lot::Mutex;

/// Where a browser keeps that it gave the token.
const COOKIE: &str = "zstats_session";
/// Browsers that gave the token. Over it the oldest has to give it again.
const SESSIONS: usize = 64;
/// For how long it is not asked again.
const LASTS: Duration = Duration::from_secs(12 * 3600);

/// Browsers that gave the token, by what they keep. Gone with the process.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Vec<(String, Instant)>>);

impl Sessions {
    /// Whether this browser gave the token.
    pub(super) fn knows(&self, request: &Request) -> bool {
        let Some(own) = request.cookie(COOKIE).and_then(Secret::new) else { return false };
        let mut known = self.0.lock();
        known.retain(|(_, since)| since.elapsed() < LASTS);
        known.iter().any(|(id, _)| own.is(id))
    }

    /// Makes it known; the value for `Set-Cookie`. `None` if the system has no random bytes.
    pub(super) fn begin(&self, tls: bool) -> Option<String> {
        let mut bytes = [0; 24];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).ok()?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut known = self.0.lock();
        if known.len() >= SESSIONS {
            known.remove(0);
        }
        known.push((id.clone(), Instant::now()));
        let secure = if tls { "; Secure" } else { "" };
        Some(format!("{COOKIE}={id}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", LASTS.as_secs()))
    }
}

/// How somebody showed that it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// By the token.
    Token,
    /// By what its browser kept of an earlier time.
    Session,
}

/// Why it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No token is configured: nobody may.
    Off,
    /// A page of another site sent the browser here.
    Foreign,
    /// No token, or a wrong one.
    Token,
}

/// Whether this request may do something. `given` is the token of its form or body.
pub(super) fn allowed(
    request: &Request,
    token: Option<&Secret>,
    given: Option<&str>,
    sessions: &Sessions,
) -> Result<Shown, Denied> {
    let Some(token) = token else { return Err(Denied::Off) };
    if is_foreign(request) {
        return Err(Denied::Foreign);
    }
    match request.bearer().or(given.filter(|given| !given.is_empty())) {
        Some(guess) if token.is(guess) => Ok(Shown::Token),
        Some(_) => Err(Denied::Token),
        None if sessions.knows(request) => Ok(Shown::Session),
        None => Err(Denied::Token),
    }
}

/// Whether a browser says that the request is another site's idea. Programs say nothing of the kind.
fn is_foreign(request: &Request) -> bool {
    if let Some(site) = request.header("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = request.header("origin") else { return false };
    let own = origin.split_once("://").map(|(_, authority)| authority);
    own.is_none() || !own.zip(request.host()).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
}

impl Denied {
    /// Status, what is wrong, and what helps.
    pub(super) fn why(self) -> (u16, Message, Message) {
        match self {
            Self::Off => (403, message!("nothing can be asked for here"), message!("configure a token")),
            Self::Foreign => {
                (403, message!("a page of another site asked for this"), message!("use the buttons of this page"))
            }
            Self::Token => (
                401,
                message!("the token is missing or wrong"),
                message!("send it as \"Authorization: Bearer TOKEN\" or as the field \"token\""),
            ),
        }
    }

    /// With what HTTP wants of a refusal.
    pub(super) fn complete(self, response: Response) -> Response {
        if self == Self::Token { response.header("WWW-Authenticate", "Bearer realm=\"z_stats\"") } else { response }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &str, given: Option<&str>, sessions: &Sessions) -> Result<Shown, Denied> {
        let text = format!("POST /x HTTP/1.1\r\nHost: localhost:8090\r\nContent-Length: 0\r\n{headers}\r\n");
        let request = Request::parse_any(text.as_bytes(), 9).unwrap().unwrap();
        allowed(&request, Secret::new("sesame").as_ref(), given, sessions)
    }

    #[test]
    fn the_token_is_needed_and_no_other_site() {
        let sessions = Sessions::default();
        for (headers, given, expected) in [
            ("", None, Err(Denied::Token)),
            ("", Some(""), Err(Denied::Token)),
            ("", Some("sesam"), Err(Denied::Token)),
            ("", Some("sesame"), Ok(Shown::Token)),
            ("Authorization: Bearer sesame\r\n", None, Ok(Shown::Token)),
            ("Authorization: Bearer x\r\n", Some("sesame"), Err(Denied::Token)),
            ("Origin: http://localhost:8090\r\n", Some("sesame"), Ok(Shown::Token)),
            ("Origin: http://localhost:8091\r\n", Some("sesame"), Err(Denied::Foreign)),
            ("Origin: null\r\n", Some("sesame"), Err(Denied::Foreign)),
            ("Sec-Fetch-Site: same-origin\r\n", Some("sesame"), Ok(Shown::Token)),
            ("Sec-Fetch-Site: same-site\r\n", Some("sesame"), Err(Denied::Foreign)),
            ("Sec-Fetch-Site: cross-site\r\n", Some("sesame"), Err(Denied::Foreign)),
        ] {
            assert_eq!(ask(headers, given, &sessions), expected, "{headers:?} {given:?}");
        }
        let request = Request::parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert_eq!(allowed(&request, None, Some(""), &sessions), Err(Denied::Off));
    }

    #[test]
    fn a_browser_is_remembered_for_a_while() {
        let sessions = Sessions::default();
        let cookie = sessions.begin(true).unwrap();
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
        let own = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
        assert_eq!(ask(&own, None, &sessions), Ok(Shown::Session));
        assert_eq!(ask(&own.replace('=', "=0"), None, &sessions), Err(Denied::Token));
        assert_eq!(ask(&own, Some("wrong"), &sessions), Err(Denied::Token));
        for _ in 0..SESSIONS {
            sessions.begin(false).unwrap();
        }
        assert_eq!(ask(&own, None, &sessions), Err(Denied::Token), "the oldest went");
    }
}
