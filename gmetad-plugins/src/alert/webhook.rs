//! Notices as POSTs in the form of Alertmanager's webhook, version 4.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gmetad_process::mail::clean;
use serde::Serialize;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error};

use super::config::Settings;
use super::notice::{Event, Kind, LONGEST_VALUE, Notice};
use super::sender::{Closing, Failure, Receiver};
use super::time;

/// Alerts in one POST, at most.
const IN_ONE: usize = 500;

/// Sends notices to one URL.
pub(crate) struct Webhook {
    url: String,
    headers: Vec<(String, String)>,
    external_url: String,
    agent: Agent,
}

impl Webhook {
    pub(crate) fn new(url: &str, settings: &Settings, deadline: Duration) -> Self {
        let tls = match &*settings.authorities {
            [] => TlsConfig::default(),
            own => TlsConfig::builder().root_certs(RootCerts::new_with_certs(own)).build(),
        };
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(deadline))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .http_status_as_error(false)
            .max_idle_connections(1)
            .user_agent(concat!("gmetad/", env!("CARGO_PKG_VERSION")))
            .build();
        let (headers, external_url) = (settings.headers.clone(), settings.external_url.clone());
        Self { url: url.to_owned(), headers, external_url, agent: Agent::new_with_config(config) }
    }
}

/// Whether it can be posted to.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let parsed: Uri = url.parse().map_err(|error| format!("{url:?} is no URL ({error}): write http://HOST/PATH"))?;
    match (parsed.scheme_str(), parsed.authority()) {
        (Some("http" | "https"), Some(authority)) if !authority.host().is_empty() => {
            // A port that is none is left out of what was parsed, and the usual one would be used.
            let place = authority.as_str().rsplit('@').next().unwrap_or_default();
            match place.strip_prefix(authority.host()).unwrap_or_default().strip_prefix(':') {
                Some(port) if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) => {
                    Err(format!("{url:?}: the port {port:?} is none: expected a number from 1 to 65535"))
                }
                _ => Ok(()),
            }
        }
        _ => Err(format!("{url:?}: expected http://HOST/PATH or https://HOST/PATH")),
    }
}

/// `Name: value` as two.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let bad = || format!("{text:?}: expected \"Name: value\"");
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    let (name, value) = (name.trim(), value.trim());
    if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
        return Err(bad());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// The certificates of a file in PEM.
pub(crate) fn authorities(path: &str) -> Result<Vec<Certificate<'static>>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path:?} cannot be read: {error}"))?;
    let items = parse_pem(&bytes).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = items.collect();
    if found.is_empty() { Err(format!("{path:?} has no certificate: expected a file in PEM")) } else { Ok(found) }
}

/// A URL as it may be shown: user, password, path and query are often secrets.
fn shown(url: &str) -> String {
    match url.parse::<Uri>() {
        Ok(uri) => {
            let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}", uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or("?"))
        }
        Err(_) => "?".to_owned(),
    }
}

impl Receiver for Webhook {
    fn name(&self) -> String {
        format!("webhook {}", shown(&self.url))
    }

    fn message(&self, notices: &[Arc<Notice>], part: usize) -> Option<Vec<u8>> {
        let mut left = part;
        for notice in notices {
            let parts = notice.events.chunks(IN_ONE);
            let own = parts.len();
            match notice.events.chunks(IN_ONE).nth(left) {
                Some(events) => return serde_json::to_vec(&Body::of(notice, events, &self.external_url)).ok(),
                None => left -= own,
            }
        }
        None
    }

    fn send(&self, message: &[u8], _: &Closing) -> Result<(), Failure> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match request.send(message) {
            Ok(answer) => {
                let status = answer.status();
                let text = format!("answers {status}");
                match status.as_u16() {
                    200..=299 => Ok(()),
                    408 | 425 | 429 | 500.. => Err(Failure::Later(text)),
                    _ => Err(Failure::Never(text)),
                }
            }
            Err(error @ (Error::BadUri(_) | Error::Http(_))) => Err(Failure::Never(error.to_string())),
            Err(error) => Err(Failure::Later(error.to_string())),
        }
    }
}

type Labels = BTreeMap<&'static str, String>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
    status: &'static str,
    receiver: &'static str,
    group_labels: Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: Vec<Alert<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    status: &'static str,
    labels: Labels,
    annotations: Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

impl<'a> Body<'a> {
    fn of(notice: &Notice, events: &[Event], external_url: &'a str) -> Self {
        let alerts: Vec<_> = events.iter().map(|event| Alert::of(notice, event, external_url)).collect();
        let (name, cluster) = (notice.rule.name.clone(), clean(&notice.cluster, LONGEST_VALUE));
        Self {
            version: "4",
            group_key: format!("{{}}:{{alertname={name:?}, cluster={cluster:?}}}"),
            truncated_alerts: 0,
            status: if events.iter().all(Event::is_over) { "resolved" } else { "firing" },
            receiver: "gmetad",
            group_labels: BTreeMap::from([("alertname", name), ("cluster", cluster)]),
            common_labels: common(alerts.iter().map(|alert| &alert.labels)),
            common_annotations: common(alerts.iter().map(|alert| &alert.annotations)),
            external_url,
            alerts,
        }
    }
}

/// What all have alike.
fn common<'l>(mut all: impl Iterator<Item = &'l Labels>) -> Labels {
    let mut common = all.next().cloned().unwrap_or_default();
    for labels in all {
        common.retain(|name, value| labels.get(name) == Some(value));
    }
    common
}

impl<'a> Alert<'a> {
    fn of(notice: &Notice, event: &Event, generator_url: &'a str) -> Self {
        let clean = |text: &str| clean(text, LONGEST_VALUE);
        let mut labels = BTreeMap::from([
            ("alertname", notice.rule.name.clone()),
            ("severity", notice.rule.severity.clone()),
            ("cluster", notice.cluster.clone()),
            ("source", notice.source.to_string()),
        ]);
        let mut annotations =
            BTreeMap::from([("summary", notice.message(event)), ("condition", clean(&notice.rule.text))]);
        if !event.host.is_empty() {
            labels.insert("host", event.host.to_string());
            labels.insert("instance", event.host.to_string());
        }
        if !event.metric.is_empty() {
            labels.insert("metric", event.metric.to_string());
            annotations.insert("value", clean(&event.value));
        }
        if !event.units.trim().is_empty() {
            annotations.insert("units", clean(&event.units));
        }
        if let Kind::Recovered(reason) = event.kind
            && !reason.is_empty()
        {
            annotations.insert("reason", reason.to_owned());
        }
        let over = event.is_over();
        // Of the whole names: those that are alike once they are cut are still two alerts.
        let fingerprint = fingerprint(&labels);
        labels.values_mut().for_each(|value| *value = clean(value));
        Self {
            status: if over { "resolved" } else { "firing" },
            labels,
            annotations,
            starts_at: time::rfc3339(event.since),
            // Alertmanager's own way to say that it has not ended.
            ends_at: if over { time::rfc3339(event.time) } else { "0001-01-01T00:00:00Z".to_owned() },
            generator_url,
            fingerprint,
        }
    }
}

/// FNV-1a over sorted labels, as Prometheus makes it.
fn fingerprint(labels: &Labels) -> String {
    let bytes = labels.iter().flat_map(|(name, value)| {
        name.bytes().chain(std::iter::once(0xff)).chain(value.bytes()).chain(std::iter::once(0xff))
    });
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}
