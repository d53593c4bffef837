//! Days until certificates expire: of files, and of TLS services.

#[cfg(test)]
pub(super) mod made;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gmetad_core::agent::{AgentError, Cell, Context, Element, Measurement, Message, State, Status, Table as Shown};
use gmetad_core::message;
use serde::Deserialize;
use toml::Table;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

use self::tls::{Before, of_service};
use super::net::{Address, Until};
use super::plan::{GREEN, INSTANCES, Limits, Plan, Probe, area, clean, count, graph, keys, plain};
use super::proc::{content, fits};
use super::services::{Answer, Asked, ask, asked};
use crate::kind::Kind;
use crate::said::Said;
use crate::spec::Installed;
use crate::status::Range;

/// Certificates change once in weeks.
const PERIOD: u64 = 3600;
/// Days left that are an error, unless the file says something else.
const ERROR: &str = "7:";
const DAY: f64 = 86_400.0;
/// Most certificates of one file: a bundle has 150.
const IN_A_FILE: usize = 500;
/// Where servers have their own certificates, so that they are watched without configuration.
const USUAL: &[&str] = &["/etc/letsencrypt/live/*/cert.pem", "/etc/ssl/certs/eole.crt", "/etc/ipsec.d/certs/*.pem"];

pub(super) const KIND: Kind = Kind { name: "cert", about: "Certificates", section: "Security", build, default };

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// PEM or DER; `*` stands for anything within a name.
    files: Vec<String>,
    /// `host:port` -> label.
    services: BTreeMap<String, String>,
    /// What is said before TLS begins: `smtp`, `imap`, `pop3`.
    starttls: Option<String>,
}

struct Cert {
    /// Days at which the threshold says Error, so that this need not.
    error: Range,
    files: Vec<String>,
    services: Vec<Asked<Address>>,
    before: Before,
}

fn build(name: &str, mut own: Table) -> Result<Installed, Message> {
    let limits = Limits::take(&mut own)?;
    let Keys { files, services, starttls } = keys(own)?;
    let before = match starttls.as_deref() {
        None => Before::Nothing,
        Some("smtp") => Before::Smtp,
        Some("imap") => Before::Imap,
        Some("pop3") => Before::Pop3,
        Some(other) => return Err(message!("starttls: \"{}\" is none of smtp, imap, pop3", other)),
    };
    if let Some(file) = files.iter().find(|file| !file.starts_with('/')) {
        return Err(message!("files: \"{}\" does not begin with /: write the whole path", file));
    }
    let services = if services.is_empty() {
        Vec::new()
    } else {
        asked("services", services, |text| Address::parse(text, Some(443)))?
    };
    let files = if files.is_empty() && services.is_empty() {
        USUAL.iter().map(|file| (*file).to_owned()).collect()
    } else {
        files
    };
    let error = limits.error(ERROR);
    Ok(Plan::new(name, &KIND, PERIOD, Cert { error, files, services, before })
        .signed("days", message!("days left"), "d")
        .limited("days", "30:", ERROR, 1, limits)
        .graph(graph("days.png", message!("Days left"), "d", vec![area("days", GREEN)]))
        .build())
}

fn default() -> Vec<Installed> {
    if USUAL.iter().any(|pattern| !files(pattern).is_empty()) { plain(&KIND) } else { Vec::new() }
}

/// What is known of a certificate.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    subject: String,
    /// Seconds since the epoch.
    from: i64,
    until: i64,
}

impl Probe for Cert {
    fn measure(&mut self, context: &Context) -> Result<Measurement, AgentError> {
        let mut all: Vec<(String, Result<Found, Message>)> = Vec::new();
        for pattern in &self.files {
            let found = files(pattern);
            if found.is_empty() && !USUAL.contains(&&**pattern) {
                all.push((pattern.clone(), Err(no_file(pattern))));
            }
            let one = |file: PathBuf| (file.display().to_string(), of_file(&file));
            all.extend(found.into_iter().map(one));
        }
        let until = Until::of(context);
        let certificates = parking_lot::Mutex::new(Vec::new());
        ask(&self.services, |service| {
            let found = of_service(&service.what, self.before, until);
            certificates.lock().push((service.label.clone(), found));
            Answer { measurement: Measurement::new(), problem: None }
        });
        let mut of_services = certificates.into_inner();
        of_services.sort_by(|(one, _), (two, _)| one.cmp(two));
        all.extend(of_services);
        all.truncate(INSTANCES);
        Ok(measured(all, context.now as f64, self.error))
    }

    fn judge(&self, last: &Measurement) -> Status {
        let days = |certificate: &Measurement| certificate.get_number("days").unwrap_or(f64::INFINITY);
        match last.instances().min_by(|(_, one), (_, two)| days(one).total_cmp(&days(two))) {
            Some((name, first)) => {
                let days = count(whole(days(first)));
                Status::new(State::Ok, message!("first to expire: {}, in {} {day|days}", name, days))
            }
            None => Status::new(State::Ok, message!("no certificate to watch")),
        }
    }
}

/// Whole days that are left, or over.
fn whole(days: f64) -> f64 {
    days.trunc() + 0.0 // not -0
}

fn measured(all: Vec<(String, Result<Found, Message>)>, now: f64, error: Range) -> Measurement {
    let mut measurement = Measurement::new();
    let mut status = Status::ok();
    let mut rows = Vec::new();
    for (name, found) in all {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                rows.push(vec![Cell::Text(name.as_str().into()), Cell::Number(f64::NAN), Cell::Text(error.clone())]);
                status = status.worse(Status::new(State::Error, message!("{}: {}", name, error)));
                continue;
            }
        };
        let days = (found.until as f64 - now) / DAY;
        if found.from as f64 > now {
            status = status.worse(Status::new(State::Error, message!("{}: the certificate is not valid yet", name)));
        } else if days < 0.0 && !error.alerts(days) {
            status = status.worse(Status::new(State::Error, message!("{}: the certificate has expired", name)));
        }
        rows.push(vec![Cell::Text(name.as_str().into()), Cell::Number(whole(days)), Cell::Text(found.subject.into())]);
        measurement = measurement.instance(name, Measurement::new().number("days", days));
    }
    let columns = vec![message!("Certificate"), message!("Days left"), message!("Subject")];
    measurement.element(Element::Table(Shown { title: Message::default(), columns, rows })).judged(status)
}

/// The files that a pattern names, sorted.
fn files(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if part.contains('*') {
            let part = [part.to_owned()];
            let entries = found.iter().filter_map(|directory| std::fs::read_dir(directory).ok()).flatten().flatten();
            let fitting = entries.filter(|entry| {
                entry.file_name().to_str().is_some_and(|name| !name.starts_with('.') && fits(&part, name))
            });
            found = fitting.map(|entry| entry.path()).take(INSTANCES).collect();
        } else {
            found.iter_mut().for_each(|path| path.push(part));
        }
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

/// Why a pattern names no file.
fn no_file(pattern: &str) -> Message {
    match std::fs::metadata(pattern) {
        Ok(meta) if meta.is_dir() => message!("it is a directory: name the file, or write *.pem behind it"),
        Ok(_) => message!("it is a device, a pipe or a socket, and no file"),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => error.said(),
        Err(_) => message!("there is no such file"),
    }
}

/// The certificate of a file that expires first.
fn of_file(path: &Path) -> Result<Found, Message> {
    read(&content(path)?).ok_or_else(|| message!("there is no certificate in it: expected PEM or DER"))
}

fn read(bytes: &[u8]) -> Option<Found> {
    let pem = Pem::iter_from_buffer(bytes)
        .take(IN_A_FILE)
        .filter_map(Result::ok)
        .filter(|pem| pem.label.ends_with("CERTIFICATE"));
    let certificates =
        pem.filter_map(|pem| parse_x509_certificate(&pem.contents).ok().map(|(_, certificate)| found(&certificate)));
    let der = || parse_x509_certificate(bytes).ok().map(|(_, certificate)| found(&certificate));
    certificates.min_by_key(|certificate| certificate.until).or_else(der)
}

fn found(certificate: &X509Certificate<'_>) -> Found {
    let validity = certificate.validity();
    let subject = certificate.subject();
    let common = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned);
    let subject = common.unwrap_or_else(|| subject.to_string());
    Found { subject: clean(&subject), from: validity.not_before.timestamp(), until: validity.not_after.timestamp() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::made::{Made, self_signed};
    use super::*;

    #[test]
    fn files_in_pem_and_der() {
        let directory = tempfile::tempdir().unwrap();
        let (far, near, gone) =
            (self_signed("far", -1, 100), self_signed("near", -1, 10), self_signed("gone", -20, -2));
        let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
        write("chain.pem", format!("junk\n{}{}", far.pem, near.pem).as_bytes());
        write("far.der", &far.der);
        write("gone.pem", gone.pem.as_bytes());
        write("none.pem", b"nothing");
        let path = directory.path().display();
        let keys = format!("files = [\"{path}/*.pem\", \"{path}/far.der\"]\nerror = \"-5:\"");
        let measurement = super::super::measure_once(&KIND, &keys);
        let days: Vec<_> = measurement
            .instances()
            .map(|(name, of_it)| (name.rsplit('/').next().unwrap(), of_it.get_number("days").unwrap().ceil()))
            .collect();
        assert_eq!(
            days,
            [("chain.pem", 10.0), ("gone.pem", -2.0), ("far.der", 100.0)].map(|(name, days)| (name, days))
        );
        assert_eq!(
            measurement.status().unwrap().to_string(),
            format!("Error: {path}/gone.pem: the certificate has expired")
        );
        assert_eq!([-0.2, -1.00001, 1.9].map(|days| count(whole(days))), ["0", "-1", "1"]);
        let gone = super::super::measure_once(&KIND, &format!("files = [\"{path}/gone.pem\"]"));
        assert_eq!(gone.status(), Some(&Status::ok()), "the threshold says it");
        let none =
            super::super::measure_once(&KIND, &format!("files = [\"{path}/none.pem\"]")).status().unwrap().to_string();
        assert_eq!(none, format!("Error: {path}/none.pem: there is no certificate in it: expected PEM or DER"));
        let missing =
            super::super::measure_once(&KIND, &format!("files = [\"{path}/x*.pem\"]")).status().unwrap().to_string();
        assert!(missing.ends_with("there is no such file"), "{missing}");
        for (file, what) in [
            (&*path.to_string(), "it is a directory"),
            ("/dev/zero", "it is a device, a pipe"),
            ("/dev/zero/x", "a part"),
        ] {
            let said = no_file(file).to_string();
            assert!(said.starts_with(what), "{said}");
        }
    }

    #[test]
    fn openssl_agrees() {
        let made = self_signed("judge", -1, 42);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &made.pem).unwrap();
        let check = |days: i64| {
            let mut openssl = std::process::Command::new("openssl");
            openssl.args(["x509", "-noout", "-checkend", &(days * 86_400).to_string(), "-in"]).arg(file.path());
            openssl.output().map(|output| output.status.success())
        };
        let Ok(lasts) = check(41) else { return };
        assert!(lasts && !check(43).unwrap());
        let found = of_file(file.path()).unwrap();
        let days = (found.until as f64 - super::super::context().now as f64) / DAY;
        assert!((41.0..43.0).contains(&days) && found.subject == "judge");
    }

    #[test]
    fn refusals() {
        let error = |text: &str| build("x", text.parse().unwrap()).unwrap_err().to_string();
        assert!(error("files = [\"a.pem\"]").contains("whole path"));
        assert!(error("starttls = \"ldap\"").contains("none of"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "-----BEGIN CERTIFICATE-----\n[A-Za-z0-9=]{0,80}\n-----END CERTIFICATE-----\n") {
            let _ = (read(&bytes), read(text.as_bytes()));
        }

        #[test]
        fn no_damaged_certificate_panics(at in 0_usize..2000, with: u8) {
            static MADE: std::sync::LazyLock<Made> = std::sync::LazyLock::new(|| self_signed("x", 0, 1));
            let mut der = MADE.der.to_vec();
            let length = der.len();
            der[at % length] = with;
            let _ = read(&der);
        }
    }
}
