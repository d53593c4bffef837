//! Notices as mails.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use gmetad_process::mail::{clean, header_text, sendmail};

use super::ast::Scope;
use super::config::Settings;
use super::notice::{Event, Kind, LONGEST_VALUE, Notice};
use super::sender::{Closing, Failure, Receiver};
use super::time;

/// Alerts that one mail describes.
const DESCRIBED: usize = 50;
/// The same for each notice of a digest.
const DESCRIBED_IN_DIGEST: usize = 5;
/// Bytes of a mail, about. A pipe takes them at once, mostly.
const LONGEST: usize = 48 << 10;
/// Characters of a subject.
const LONGEST_SUBJECT: usize = 250;

/// Sends notices with sendmail.
pub(crate) struct Mailer {
    to: String,
    from: String,
    program: PathBuf,
}

impl Mailer {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { to: settings.to.clone(), from: settings.from.clone(), program: settings.sendmail.clone() }
    }
}

impl Receiver for Mailer {
    fn name(&self) -> String {
        format!("mail through {}", self.program.display())
    }

    fn message(&self, notices: &[Arc<Notice>], part: usize) -> Option<Vec<u8>> {
        let (subject, body) = match notices {
            _ if part > 0 => return None,
            [] => return None,
            [notice] => (subject(notice), body(notice)),
            notices => digest(notices),
        };
        let mut out = format!("To: {}\n", clean(&self.to, 1000));
        if !self.from.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "From: {}", clean(&self.from, 1000));
        }
        let _ = writeln!(out, "Subject: {}", header_text(&clean(&subject, LONGEST_SUBJECT)));
        out.push_str("Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n");
        out.push_str("Content-Transfer-Encoding: 8bit\n\n");
        out.push_str(&body);
        Some(out.into_bytes())
    }

    fn send(&self, message: &[u8], closing: &Closing) -> Result<(), Failure> {
        sendmail(&self.program, message, || closing.check()).map_err(|error| Failure::Later(error.to_string()))
    }
}

fn counts(notice: &Notice) -> (usize, usize) {
    let over = notice.events.iter().filter(|event| event.is_over()).count();
    (notice.events.len() - over, over)
}

/// `Metric load_one out of range: node1, cluster lab`: the ancestor's words, and what it did not say.
fn subject(notice: &Notice) -> String {
    let rule = &notice.rule;
    let what = match rule.scope {
        Scope::Metric if !rule.named => {
            let first = notice.events.first().map_or("", |event| &event.metric);
            let same = notice.events.iter().all(|event| *event.metric == *first);
            format!("Metric {}", clean(if same { first } else { &rule.name }, 80))
        }
        _ => format!("Alert {}", clean(&rule.name, 80)),
    };
    let (firing, over) = counts(notice);
    let out_of_range = if rule.scope == Scope::Metric && !rule.named { "out of range" } else { "fires" };
    let state = match notice.events.first() {
        Some(event) if firing == 0 && event.is_over() => "recovered".to_owned(),
        Some(event) if over == 0 && event.kind == Kind::Repeats => format!("still {out_of_range}"),
        _ if over == 0 => out_of_range.to_owned(),
        _ => format!("{out_of_range} on {firing}, recovered on {over}"),
    };
    let hosts = match &*notice.events {
        [event] if event.host.is_empty() => String::new(),
        [event] => format!("{}, ", clean(&event.host, 80)),
        events => format!("{} alerts, ", events.len()),
    };
    format!("{what} {state}: {hosts}cluster {} ({})", clean(&notice.cluster, 80), rule.severity)
}

fn body(notice: &Notice) -> String {
    let mut out = String::new();
    describe(&mut out, notice, DESCRIBED);
    out
}

/// Fewer mails than notices: what was held back, in one.
fn digest(notices: &[Arc<Notice>]) -> (String, String) {
    let (firing, over) = notices.iter().map(|notice| counts(notice)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let mut out = format!("Digest of {} mails, since there would have been too many:\n\n", notices.len());
    for (at, notice) in notices.iter().enumerate() {
        if out.len() > LONGEST {
            let _ = writeln!(out, "... and {} more", notices.len() - at);
            break;
        }
        let _ = writeln!(out, "* {}\n", clean(&subject(notice), LONGEST_SUBJECT));
        describe(&mut out, notice, DESCRIBED_IN_DIGEST);
        out.push('\n');
    }
    (format!("Ganglia alerts: {firing} firing, {over} recovered, in {} clusters", clusters(notices)), out)
}

fn clusters(notices: &[Arc<Notice>]) -> usize {
    notices.iter().map(|notice| (&*notice.source, &*notice.cluster)).collect::<std::collections::HashSet<_>>().len()
}

/// The message, and below it the alerts. The message of the first one stands for those that have the same.
fn describe(out: &mut String, notice: &Notice, most: usize) {
    let mut last = None;
    for (at, event) in notice.events.iter().enumerate() {
        if at == most || out.len() > LONGEST {
            let _ = writeln!(out, "... and {} more", notice.events.len() - at);
            return;
        }
        let message = notice.message(event);
        if last.as_ref() != Some(&message) {
            let _ = writeln!(out, "{message}\n");
            last = Some(message);
        }
        describe_one(out, notice, event);
    }
}

fn describe_one(out: &mut String, notice: &Notice, event: &Event) {
    let clean = |text: &str| clean(text, LONGEST_VALUE);
    if notice.rule.scope == Scope::Metric {
        let _ = write!(out, "metric: {} value: {} ", clean(&event.metric), clean(&event.value));
    }
    let _ = writeln!(out, "condition: {}", clean(&notice.rule.text));
    if !event.host.is_empty() {
        let _ = write!(out, "host: {} ", clean(&event.host));
    }
    let _ = write!(out, "cluster: {} source: {}", clean(&notice.cluster), clean(&notice.source));
    let units = clean(&event.units);
    if !units.trim().is_empty() {
        let _ = write!(out, " units: {units}");
    }
    let _ = write!(out, " since: {}", time::rfc3339(event.since));
    let _ = match event.kind {
        Kind::Fires => writeln!(out, "\n"),
        Kind::Repeats => writeln!(out, "\nstill so at {}\n", time::rfc3339(event.time)),
        Kind::Recovered("") => writeln!(out, "\nrecovered at {}\n", time::rfc3339(event.time)),
        Kind::Recovered(reason) => writeln!(out, "\nover at {}: {reason}\n", time::rfc3339(event.time)),
    };
}
