//! Pages that must answer, over HTTP or HTTPS.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs};

use gmetad_core::agent::{AgentError, Context, Measurement, Message, Status};
use gmetad_core::message;
use memchr::memmem;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use toml::Table;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{PemItem, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Error, Proxy};

use super::plan::{Limits, MINUTE, Plan, Probe, keys_with};
use super::services::{Answer, Asked, ask, asked, measurement, well};
use super::{net, tcp, trusted};
use crate::kind::Kind;
use crate::said::{Said, without_credentials as shown};
use crate::spec::Installed;

/// Most of a page that is read, unpacked: a text that is expected stands at its beginning.
const LONGEST: u64 = 1 << 20;
/// Longest check; a page that takes longer is none for people.
const PATIENCE: Duration = Duration::from_secs(20);
/// The certificates that the system trusts, with those that the administrator added.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(super) const KIND: Kind = Kind { name: "http", about: "Web pages", section: "Services", build, default: Vec::new };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// URL -> label.
    urls: BTreeMap<String, String>,
    /// Statuses that are right, as `200-299,401`.
    #[serde(default = "right")]
    status: String,
    /// A text that the page must have.
    expect: Option<String>,
    /// Redirects that are followed; 0: the redirect itself is judged.
    #[serde(default = "redirects")]
    redirects: u32,
    /// Certificates are checked.
    #[serde(default = "yes")]
    verify: bool,
    /// A PEM file with the authorities to trust instead of the system's.
    ca: Option<String>,
    /// Further headers.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// `http://host:port`.
    proxy: Option<String>,
}

fn right() -> String {
    "200-299".to_owned()
}

fn redirects() -> u32 {
    5
}

fn yes() -> bool {
    true
}

struct Http {
    urls: Vec<Asked<Url>>,
    right: Vec<(u16, u16)>,
    expect: Option<String>,
    redirects: u32,
    verify: bool,
    ca: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    proxy: Option<Proxy>,
    /// What asks, and the age of the certificates that it trusts.
    agent: Option<(Option<SystemTime>, Agent)>,
}

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let keys: Keys = keys_with(own, "urls", &message!("write urls = { \"https://host/path\" = \"label\" }"))?;
    let mut urls = keys.urls;
    for (url, label) in &mut urls {
        if label.is_empty() {
            *label = shown(url);
        }
    }
    let http = Http {
        urls: asked("urls", urls, url)?,
        right: statuses(&keys.status)
            .ok_or_else(|| message!("status = \"{}\": write it as 200-299,401", &keys.status))?,
        expect: keys.expect.filter(|text| !text.is_empty()),
        redirects: keys.redirects.min(20),
        verify: keys.verify,
        ca: keys.ca,
        headers: keys.headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?,
        proxy: keys
            .proxy
            .map(|proxy| {
                Proxy::new(&proxy).map_err(|error| message!("proxy = \"{}\": {}", shown(&proxy), error.said()))
            })
            .transpose()?,
        agent: None,
    };
    let plan = Plan::new(name, &KIND, MINUTE, http);
    Ok(tcp::plan(plan, limits)
        .shown("status", message!("status code"), "")
        .shown("bytes", message!("size"), "B")
        .build())
}

/// Shown without the name and the password that may stand in it.
struct Url(Uri);

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0.to_string()))
    }
}

fn url(text: &str) -> Result<Url, Message> {
    let wrong = || message!("\"{}\" is no URL: write http://HOST/PATH or https://HOST/PATH", shown(text));
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if has_host && matches!(uri.scheme_str(), Some("http" | "https")) { Ok(Url(uri)) } else { Err(wrong()) }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Message> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
    parsed.ok_or_else(|| message!("headers: \"{}\" = … is no header: write \"X-Name\" = \"value\"", name))
}

/// `200-299,401` as ranges.
fn statuses(text: &str) -> Option<Vec<(u16, u16)>> {
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((status(first)?, status(last)?)).filter(|(first, last)| first <= last)
    };
    text.split(',').map(range).collect()
}

impl Probe for Http {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let agent = self.agent()?;
        let deadline = context.deadline.mul_f64(0.9).min(PATIENCE);
        let answers = ask(&self.urls, |url| self.check(&agent, &url.what.0, deadline));
        Ok(measurement(&self.urls, answers))
    }

    fn judge(&self, _last: &Measurement) -> Status {
        well(&self.urls)
    }
}

impl Http {
    /// Made once, and again when the trusted certificates have changed.
    fn agent(&mut self) -> Result<Agent, Message> {
        // Also one that is not asked for by https may send us there.
        let is_tls = self.redirects > 0 || self.urls.iter().any(|url| url.what.0.scheme_str() == Some("https"));
        let file = if is_tls && self.verify { self.ca.as_deref().or(Some(TRUSTED)) } else { None };
        let changed = file.and_then(|file| fs::metadata(file).ok()?.modified().ok());
        if let Some((known, agent)) = &self.agent
            && *known == changed
        {
            return Ok(agent.clone());
        }
        let tls = TlsConfig::builder().disable_verification(!self.verify);
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .max_redirects(self.redirects)
            .max_redirects_will_error(self.redirects > 0)
            .http_status_as_error(false)
            .proxy(self.proxy.clone())
            // Each check shall connect.
            .max_idle_connections(0)
            .user_agent(concat!("z_stats/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = match file.map(authorities) {
            Some(Ok(trusted)) => Agent::with_parts(config, trusted::connector(trusted)?, DefaultResolver::default()),
            Some(Err(error)) if self.ca.is_some() => return Err(error),
            // Without the system's file those that are built in have to do.
            _ => Agent::new_with_config(config),
        };
        self.agent = Some((changed, agent.clone()));
        Ok(agent)
    }

    fn check(&self, agent: &Agent, url: &Uri, deadline: Duration) -> Answer {
        let began = Instant::now();
        let mut request = agent.get(url).config().timeout_global(Some(deadline)).build();
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut body = Vec::new();
        let answer = request.call().and_then(|mut answer| {
            answer.body_mut().as_reader().take(LONGEST).read_to_end(&mut body)?;
            Ok(answer.status().as_u16())
        });
        let status = match answer {
            Ok(status) => status,
            Err(error) => return Answer { measurement: Measurement::new(), problem: Some(problem(&error)) },
        };
        let measurement = Measurement::new()
            .number("seconds", began.elapsed().as_secs_f64())
            .number("status", f64::from(status))
            .number("bytes", body.len() as f64);
        let is_right = self.right.iter().any(|(first, last)| (first..=last).contains(&&status));
        let missing = self.expect.as_ref().filter(|expected| memmem::find(&body, expected.as_bytes()).is_none());
        let problem = match missing {
            _ if !is_right => Some(message!("status {}", status)),
            Some(expected) => Some(message!("the page does not have \"{}\"", expected)),
            None => None,
        };
        Answer { measurement, problem }
    }
}

fn authorities(path: &str) -> Result<Vec<CertificateDer<'static>>, Message> {
    let bytes = super::proc::bytes(path)?;
    let items = parse_pem(&bytes).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(CertificateDer::from(certificate.der().to_vec())),
        _ => None,
    });
    let found: Vec<_> = items.collect();
    if found.is_empty() { Err(message!("{} has no certificate: expected a file in PEM", path)) } else { Ok(found) }
}

/// What went wrong, for people.
fn problem(error: &Error) -> Message {
    match error {
        Error::Io(io) => net::problem(io),
        other => other.said(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;

    use proptest::prelude::*;

    use super::super::cert::made::{leaf, self_signed, signed_by, tls_server, usual};
    use super::*;

    /// A server that answers requests by their paths; its address.
    fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                    let request = lines.next().unwrap_or_default();
                    let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
                    let answer = match request.split(' ').nth(1).unwrap_or_default() {
                        "/" => format!("{head}Content-Length: 5\r\n\r\nhello"),
                        "/headers" => format!("{head}\r\n{}", headers.join("\n")),
                        "/moved" => {
                            "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                                .to_owned()
                        }
                        "/loop" => {
                            "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                                .to_owned()
                        }
                        "/huge" => {
                            let _ = stream.write_all(format!("{head}\r\n").as_bytes());
                            while stream.write_all(&[b'x'; 8192]).is_ok() {}
                            return;
                        }
                        "/silent" => {
                            let _ = stream.read(&mut [0; 1]);
                            return;
                        }
                        _ => "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
                    };
                    let _ = stream.write_all(answer.as_bytes());
                });
            }
        });
        format!("http://{address}")
    }

    /// The status and the one instance of checking that page.
    fn check(url: &str, more: &str) -> (String, Measurement) {
        let keys = format!("urls = {{ \"{url}\" = \"W\" }}\n{more}");
        let mut agent = build("http", keys.parse().unwrap()).unwrap().agent;
        let context = Context { deadline: Duration::from_secs(3), ..super::super::context() };
        let measurement = agent.measure(&context).unwrap();
        let status = measurement.status().unwrap().to_string().replace(&format!("W ({url}): "), "");
        (status, measurement.instances().next().unwrap().1.clone())
    }

    #[test]
    fn statuses_texts_and_redirects() {
        let server = server();
        let (status, page) = check(&format!("{server}/"), "expect = \"ell\"");
        assert_eq!(
            (&*status, page.get_number("status"), page.get_number("bytes"), page.get_number("up")),
            ("OK", Some(200.0), Some(5.0), Some(1.0))
        );
        let of = |path: &str, more: &str| check(&format!("{server}{path}"), more).0;
        assert_eq!(of("/", "expect = \"bye\""), "Error: the page does not have \"bye\"");
        assert_eq!(of("/down", ""), "Error: status 503");
        assert_eq!(of("/down", "status = \"200-299,503\""), "OK");
        assert_eq!(of("/moved", "expect = \"hello\""), "OK");
        assert_eq!(of("/moved", "redirects = 0\nstatus = \"302\""), "OK");
        assert_eq!(of("/loop", ""), "Error: too many redirects");
        assert_eq!(of("/headers", "headers = { \"X-Test\" = \"yes\" }\nexpect = \"x-test: yes\""), "OK");
    }

    #[test]
    fn pages_without_end_and_servers_without_answer() {
        let server = server();
        let (status, page) = check(&format!("{server}/huge"), "");
        assert_eq!((&*status, page.get_number("bytes")), ("OK", Some(LONGEST as f64)));
        assert_eq!(check(&format!("{server}/silent"), "").0, "Error: no answer in time");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(check(&format!("http://{closed}/"), "").0, "Error: connection refused");
    }

    #[test]
    fn certificates() {
        let good = Arc::new(self_signed("localhost", -1, 100));
        let ca = tempfile::NamedTempFile::new().unwrap();
        fs::write(ca.path(), &good.pem).unwrap();
        let own = format!("ca = {:?}", ca.path());
        let of = |certificate: &Arc<_>, more: &str| {
            check(&format!("https://localhost:{}/", tls_server(Arc::clone(certificate))), more).0
        };
        assert_eq!(of(&good, &own), "OK");
        assert_eq!(of(&good, ""), "Error: the certificate is signed by nobody who is trusted");
        assert_eq!(of(&good, "verify = false"), "OK");
        let expired = Arc::new(self_signed("localhost", -100, -1));
        fs::write(ca.path(), &expired.pem).unwrap();
        assert_eq!(of(&expired, &own), "Error: the certificate has expired");
        let other = Arc::new(self_signed("elsewhere", -1, 100));
        fs::write(ca.path(), &other.pem).unwrap();
        assert_eq!(of(&other, &own), "Error: the certificate is for another name");
        // As `openssl req -x509` makes them: an authority, and its only name is the common one.
        let usual = |name, until| Arc::new(usual(name, until));
        let authority = usual("localhost", 100);
        assert!(of(&authority, "").contains("write ca = "), "{}", of(&authority, ""));
        fs::write(ca.path(), format!("{}{}", good.pem, authority.pem)).unwrap();
        assert_eq!((&*of(&authority, &own), &*of(&good, &own)), ("OK", "OK"));
        assert!(
            of(&usual("localhost", 100), &own).starts_with("Error: the certificate is"),
            "the same name is not enough"
        );
        let expired = usual("localhost", -1);
        fs::write(ca.path(), &expired.pem).unwrap();
        assert_eq!(of(&expired, &own), "Error: the certificate has expired");
        let other = usual("elsewhere", 100);
        fs::write(ca.path(), &other.pem).unwrap();
        assert_eq!(of(&other, &own), "Error: the certificate is for another name");
    }

    /// The key of a server is not one for all servers.
    #[test]
    fn a_named_certificate_signs_others_only_if_it_is_an_authority() {
        let ca = tempfile::NamedTempFile::new().unwrap();
        let own = format!("ca = {:?}", ca.path());
        let of = |made: &Arc<_>| check(&format!("https://localhost:{}/", tls_server(Arc::clone(made))), &own).0;
        let untrusted = "Error: the certificate is signed by nobody who is trusted";
        for (named, signs) in [
            (self_signed("localhost", -1, 100), false),
            (leaf("localhost", 100), false),
            (usual("localhost", 100), true),
        ] {
            let other = Arc::new(signed_by(&named, "localhost"));
            fs::write(ca.path(), &named.pem).unwrap();
            assert_eq!(of(&Arc::new(named)), "OK");
            assert_eq!(of(&other), if signs { "OK" } else { untrusted });
            // Nor beside an authority.
            let authority = usual("elsewhere", 100);
            let before = fs::read_to_string(ca.path()).unwrap();
            fs::write(ca.path(), format!("{before}{}", authority.pem)).unwrap();
            assert_eq!(of(&other), if signs { "OK" } else { untrusted });
        }
    }

    #[test]
    fn certificates_of_webpkis_names() {
        for (name, words) in [("UnsupportedCertVersion", "old version 1"), ("CaUsedAsEndEntity", "write ca = ")] {
            let other = rustls::CertificateError::Other(rustls::OtherError(Arc::new(std::io::Error::other(name))));
            let text = problem(&Error::Rustls(rustls::Error::InvalidCertificate(other))).to_string();
            assert!(text.contains(words) && !text.contains(name), "{text}");
        }
    }

    #[test]
    fn names_and_passwords_are_not_shown() {
        assert_eq!(shown("http://user:p@ss@host/a@b"), "http://…@host/a@b");
        assert_eq!(shown("http://host/a@b"), "http://host/a@b");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let keys =
            format!("urls = {{ \"http://user:secret@{closed}/\" = \"\", \"http://u:secret@{closed}/b\" = \"B\" }}");
        let mut agent = build("http", keys.parse().unwrap()).unwrap().agent;
        let measurement = agent.measure(&super::super::context()).unwrap();
        let all = format!("{measurement:?}");
        assert!(!all.contains("secret") && all.contains(&format!("http://…@{closed}/")), "{all}");
        let error = build("x", "urls = { \"ftp://u:secret@h/\" = \"\" }".parse().unwrap()).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn refusals() {
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("urls = { \"ftp://a/\" = \"x\" }").contains("http://HOST/PATH"));
        assert!(error("urls = { \"http://a/\" = \"x\" }\nstatus = \"20\"").contains("200-299,401"));
        assert!(error("urls = { \"http://a/\" = \"x\" }\nheaders = { \"a b\" = \"c\" }").contains("headers"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|[0-9,-]{0,12}") {
            let _ = statuses(&text);
            let _ = url(&text);
        }
    }
}
