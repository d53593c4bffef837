//! Who must know a password, and how slow it is to guess one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::request::{Method, Request};
use crate::response::Response;
use crate::secret::Secret;

/// Wrong guesses of an address that cost nothing: people mistype.
const FREE: u32 = 5;
/// The longest an address has to wait for its next guess.
const LONGEST: Duration = Duration::from_secs(60);
/// After this long without a guess the wrong ones are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Addresses whose wrong guesses are remembered. Over it the one that guessed longest ago is forgotten.
const ADDRESSES: usize = 1024;

/// Asks for a password before any page, or (without one) only slows down those who guess a token that pages ask for.
#[derive(Debug)]
pub struct Guard {
    realm: String,
    password: Option<Secret>,
    token: Option<Secret>,
    open: Option<&'static str>,
    wrong: Mutex<HashMap<IpAddr, Wrong>>,
}

#[derive(Clone, Copy, Debug)]
struct Wrong {
    guesses: u32,
    last: Instant,
}

impl Guard {
    /// Everything needs the password (`Authorization: Basic`, any user) or the token (`Authorization: Bearer`), if there is
    /// a password. `realm` is what browsers show beside the question.
    pub fn new(realm: impl Into<String>, password: Option<Secret>, token: Option<Secret>) -> Self {
        let mut realm = realm.into();
        realm.retain(|c| !c.is_control() && !matches!(c, '"' | '\\'));
        Self { realm, password, token, open: None, wrong: Mutex::default() }
    }

    /// The page at this path needs no password.
    #[must_use]
    pub fn except(mut self, path: &'static str) -> Self {
        self.open = Some(path);
        self
    }

    /// The refusal, if there is one: 401 for who does not know the password, 429 for who guessed too often.
    pub(crate) fn refuses(&self, request: &Request, peer: Option<IpAddr>, now: Instant) -> Option<Response> {
        if guesses(request)
            && let Some(wait) = peer.and_then(|peer| self.wait(peer, now))
        {
            let seconds = wait.as_secs() + 1;
            let text = format!("Too many wrong passwords from your address: try again in {seconds} s.\n");
            return Some(Response::text(429, text).header("Retry-After", seconds.to_string()));
        }
        if self.open == Some(request.path()) {
            return None;
        }
        let password = self.password.as_ref()?;
        let known = request.basic().is_some_and(|(_, guess)| password.is(&guess))
            || request.bearer().is_some_and(|guess| self.token.as_ref().is_some_and(|token| token.is(guess)));
        (!known).then(|| {
            let question = format!("Basic realm=\"{}\", charset=\"UTF-8\"", self.realm);
            Response::text(401, "This needs a password.\n").header("WWW-Authenticate", question)
        })
    }

    /// Takes note of the answer: what is refused with 401, here or by a page, was a wrong guess if it was one at all.
    pub(crate) fn learn(&self, request: &Request, response: &Response, peer: Option<IpAddr>, now: Instant) {
        let Some(peer) = peer.map(network).filter(|_| guesses(request) && response.status() == 401) else { return };
        let mut wrong = self.wrong.lock();
        if !wrong.contains_key(&peer) && wrong.len() >= ADDRESSES {
            let oldest = wrong.iter().min_by_key(|(_, wrong)| wrong.last).map(|(peer, _)| *peer);
            oldest.map(|peer| wrong.remove(&peer));
        }
        let entry = wrong.entry(peer).or_insert(Wrong { guesses: 0, last: now });
        let old = now.saturating_duration_since(entry.last) > FORGOTTEN;
        entry.guesses = if old { 1 } else { entry.guesses.saturating_add(1) };
        entry.last = now;
    }

    /// How long this address must wait: 1 s after the sixth wrong guess, then twice as long each time.
    fn wait(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let wrong = *self.wrong.lock().get(&network(peer))?;
        let over = wrong.guesses.checked_sub(FREE + 1)?;
        let wait = Duration::from_secs(1 << over.min(6)).min(LONGEST);
        (wrong.last + wait).checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

/// Whether a request may be a guess: it has credentials, or a form that may.
fn guesses(request: &Request) -> bool {
    request.header("authorization").is_some() || request.method() == Method::Post
}

/// What is taken for one client: an address of IPv4, a /64 of IPv6.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    fn request(authorization: &str) -> Request {
        let text = format!("GET / HTTP/1.0\r\n{authorization}\r\n\r\n");
        Request::parse(text.as_bytes()).expect("well-formed").expect("complete")
    }

    fn guard() -> Guard {
        Guard::new("a\"b", Secret::new("open"), Secret::new("sesame"))
    }

    fn status(guard: &Guard, authorization: &str, peer: Option<IpAddr>, now: Instant) -> Option<u16> {
        let request = request(authorization);
        let refusal = guard.refuses(&request, peer, now);
        if let Some(response) = &refusal {
            guard.learn(&request, response, peer, now);
        }
        refusal.map(|response| response.status())
    }

    #[test]
    fn the_password_or_the_token_is_needed() {
        let (guard, now) = (guard(), Instant::now());
        for (authorization, expected) in [
            ("X: y", Some(401)),
            ("Authorization: Basic YTpvcGVu", None),          // a:open
            ("Authorization: Basic OnNlc2FtZQ==", Some(401)), // :sesame
            ("Authorization: Basic !", Some(401)),
            ("Authorization: Bearer sesame", None),
            ("Authorization: Bearer open", Some(401)),
        ] {
            assert_eq!(status(&guard, authorization, None, now), expected, "{authorization}");
        }
        let question = guard.refuses(&request("X: y"), None, now).expect("refused").render(1, false);
        assert!(String::from_utf8_lossy(&question).contains("Basic realm=\"ab\", charset"));
        let none = Guard::new("", None, Secret::new("sesame"));
        assert_eq!(status(&none, "X: y", None, now), None);
    }

    #[test]
    fn guessing_becomes_slow_for_who_guesses() {
        let (guard, now) = (guard(), Instant::now());
        let (wrong, right) = ("Authorization: Bearer x", "Authorization: Bearer sesame");
        for _ in 0..50 {
            assert_eq!(status(&guard, "X: y", PEER, now), Some(401), "to ask without a password is no guess");
        }
        for _ in 0..=FREE {
            assert_eq!(status(&guard, wrong, PEER, now), Some(401));
        }
        assert_eq!(status(&guard, right, PEER, now), Some(429), "not even the right one, or it would be no brake");
        assert_eq!(status(&guard, right, Some([192, 0, 2, 2].into()), now), None);
        let later = now + Duration::from_millis(1001);
        assert_eq!(status(&guard, right, PEER, later), None);
        assert_eq!(status(&guard, wrong, PEER, later), Some(401));
        assert_eq!(status(&guard, right, PEER, later + Duration::from_millis(1900)), Some(429));
        assert_eq!(status(&guard, right, PEER, later + Duration::from_millis(2001)), None);
        for n in 1..40 {
            let then = later + Duration::from_secs(100 * n);
            assert_eq!(status(&guard, wrong, PEER, then), Some(401), "never more than {LONGEST:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (guard, now) = (guard(), Instant::now());
        for n in 0..2000u32 {
            status(&guard, "Authorization: Bearer x", Some(IpAddr::V4(n.into())), now + Duration::from_secs(n.into()));
        }
        assert_eq!(guard.wrong.lock().len(), ADDRESSES);
        let one = network("2001:db8::1".parse().expect("ip"));
        assert_eq!(one, network("2001:db8::ffff:1".parse().expect("ip")));
        assert_ne!(one, network("2001:db8:0:1::1".parse().expect("ip")));
    }
}
