//! Mails and posts, byte by byte.

use std::sync::Arc;

use super::super::mail::Mailer;
use super::super::notice::Notice;
use super::super::sender::Receiver;
use super::super::webhook::Webhook;
use super::{Lab, settings};

const TO: &str = "toaddress admin@example.org\nfromaddress ganglia@example.org\n";

fn mail(notices: &[Arc<Notice>]) -> String {
    let message = Mailer::new(&settings(TO)).message(notices, 0).unwrap();
    String::from_utf8(message).unwrap()
}

#[test]
fn a_mail_says_what_the_ancestors_said_and_where() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"$host has a load of $val, $5 of $cluster\"");
    lab.load("4");
    let told = lab.poll(&[("n1", 3, 0, &[("load_one", "float", "6.5")])]);
    assert_eq!(
        mail(&told),
        "To: admin@example.org\nFrom: ganglia@example.org\nSubject: Metric load_one out of range: n1, cluster lab (warning)\n\
         Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n\
         n1 has a load of 6.5, $5 of lab\n\nmetric: load_one value: 6.5 condition: $val > 5\n\
         host: n1 cluster: lab source: lab source units: % since: 2027-01-15T08:00:30Z\n\n"
    );
    let told = lab.poll(&[("n1", 3, 0, &[("load_one", "float", "1")])]);
    let text = mail(&told);
    assert!(text.contains("Subject: Metric load_one recovered: n1, cluster lab (warning)\n"), "{text}");
    assert!(text.ends_with("\nrecovered at 2027-01-15T08:00:45Z\n\n"), "{text}");
}

#[test]
fn nothing_a_host_says_becomes_a_header() {
    let mut lab = Lab::new("metricrule * \"true\" \"$host $name $val\" name all");
    let host = "n1&#10;Bcc: evil@example.org&#13;&#10;&#10;body";
    let told = lab.poll(&[(host, 3, 0, &[("m&#10;X-Evil: 1", "string", "v&#10;.&#10;QUIT")])]);
    let text = mail(&told);
    let (head, body) = text.split_once("\n\n").unwrap();
    let headers: Vec<_> = head.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        headers,
        ["To", "From", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"]
    );
    assert!(body.lines().all(|line| line != "." && !line.starts_with("X-Evil") && !line.starts_with("Bcc")), "{body}");
    assert!(body.contains("value: v . QUIT"), "{body}");
}

#[test]
fn other_alphabets_are_encoded_in_headers_only() {
    let mut lab = Lab::new("metricrule load_one \"true\" \"zu heiß\"");
    let name = "knöten-".repeat(12);
    let text = mail(&lab.poll(&[(&name, 3, 0, &[("load_one", "float", "1")])]));
    let (head, body) = text.split_once("\n\n").unwrap();
    assert!(head.is_ascii() && head.contains("Subject: =?UTF-8?Q?Metric_load=5Fone"), "{head}");
    assert!(head.contains("kn=C3=B6ten"), "{head}");
    assert!(head.lines().all(|line| line.len() <= 90), "{head}");
    assert!(body.contains("zu heiß") && body.contains(&name));
    // What looks encoded already would be decoded by the reader.
    let text = mail(&lab.poll(&[("=?UTF-8?Q?=0A?=", 3, 0, &[("load_one", "float", "1")])]));
    assert!(text.contains("=3D=3FUTF=2D8"), "{text}");
}

#[test]
fn a_mail_is_small_however_many_hosts_it_is_about() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"$host\"\nmetricrule load_one \"$val > 5\" \"m\"");
    let names: Vec<String> = (0..3000).map(|n| format!("n{n}")).collect();
    let load: &[_] = &[("load_one", "float", "6")];
    let hosts: Vec<super::Host<'_>> = names.iter().map(|name| (name.as_str(), 3, 0, load)).collect();
    let told = lab.poll(&hosts);
    let text = mail(&told[..1]);
    assert!(text.contains("out of range: 3000 alerts, cluster lab") && text.contains("... and 2950 more"), "{text}");
    let digest = mail(&told);
    assert!(digest.contains("Subject: Ganglia alerts: 6000 firing, 0 recovered, in 1 clusters"), "{digest}");
    assert!(digest.contains("... and 2995 more") && digest.len() < 8000, "{digest}");
    let many: Vec<_> = (0..900).map(|_| Arc::clone(&told[0])).collect();
    assert!(mail(&many).len() < 60_000);
}

#[test]
fn posts_are_alertmanagers() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"high\" severity critical");
    let told =
        lab.poll(&[("n&quot;1", 3, 0, &[("load_one", "float", "6.5")]), ("n2", 3, 0, &[("load_one", "float", "7")])]);
    let settings = settings("external_url http://ganglia/");
    let hook = Webhook::new("http://localhost/", &settings, std::time::Duration::from_secs(1));
    let body: serde_json::Value = serde_json::from_slice(&hook.message(&told, 0).unwrap()).unwrap();
    assert!(hook.message(&told, 1).is_none());
    assert_eq!(
        (&body["version"], &body["status"], &body["receiver"]),
        (&"4".into(), &"firing".into(), &"gmetad".into())
    );
    assert_eq!(body["groupKey"], "{}:{alertname=\"load_one\", cluster=\"lab\"}");
    assert_eq!(body["groupLabels"], serde_json::json!({"alertname": "load_one", "cluster": "lab"}));
    assert_eq!(
        body["commonLabels"],
        serde_json::json!({"alertname": "load_one", "cluster": "lab", "metric": "load_one", "severity": "critical", "source": "lab source"})
    );
    assert_eq!(body["externalURL"], "http://ganglia/");
    let alert = &body["alerts"][1];
    assert_eq!(alert["labels"]["instance"], "n2");
    assert_eq!(
        alert["annotations"],
        serde_json::json!({"summary": "high", "condition": "$val > 5", "value": "7", "units": "%"})
    );
    assert_eq!(
        (&alert["startsAt"], &alert["endsAt"]),
        (&"2027-01-15T08:00:15Z".into(), &"0001-01-01T00:00:00Z".into())
    );
    let print = alert["fingerprint"].clone();
    assert_eq!(print, "738b8de1f70fe945");
    let told = lab.poll(&[("n2", 3, 0, &[("load_one", "float", "1")])]);
    let body: serde_json::Value = serde_json::from_slice(&hook.message(&told, 0).unwrap()).unwrap();
    assert_eq!((&body["status"], &body["alerts"][0]["status"]), (&"resolved".into(), &"resolved".into()));
    assert_eq!(body["alerts"][0]["endsAt"], "2027-01-15T08:00:30Z");
    assert_eq!(body["alerts"][0]["fingerprint"], print, "the same alert has the same fingerprint");
}

#[test]
fn long_names_have_fingerprints_of_their_own() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"m\"");
    let names = ["a", "b"].map(|end| "n".repeat(200) + end);
    let load: &[_] = &[("load_one", "float", "6")];
    let told = lab.poll(&[(&names[0], 3, 0, load), (&names[1], 3, 0, load)]);
    let hook = Webhook::new("http://localhost/", &settings(""), std::time::Duration::from_secs(1));
    let body: serde_json::Value = serde_json::from_slice(&hook.message(&told, 0).unwrap()).unwrap();
    let [one, other] = [0, 1].map(|n| &body["alerts"][n]);
    assert_eq!(one["labels"]["host"], "n".repeat(200) + "...");
    assert_ne!(one["fingerprint"], other["fingerprint"]);
}

#[test]
fn many_alerts_are_several_posts() {
    let mut lab = Lab::new("metricrule load_one \"$val > 5\" \"m\"\nmetricrule load_one \"$val > 5\" \"m\"");
    let names: Vec<String> = (0..1100).map(|n| format!("n{n}")).collect();
    let load: &[_] = &[("load_one", "float", "6")];
    let hosts: Vec<super::Host<'_>> = names.iter().map(|name| (name.as_str(), 3, 0, load)).collect();
    let told = lab.poll(&hosts);
    let hook = Webhook::new("http://localhost/", &settings(""), std::time::Duration::from_secs(1));
    let posts: Vec<usize> = (0..)
        .map_while(|part| hook.message(&told, part))
        .map(|post| serde_json::from_slice::<serde_json::Value>(&post).unwrap()["alerts"].as_array().unwrap().len())
        .collect();
    assert_eq!(posts, [500, 500, 100, 500, 500, 100]);
}
