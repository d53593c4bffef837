//! Alerts, with the real program: mails through a sendmail, and webhooks that understand, fail, or never answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of the helpers")]
mod util;

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use util::daemon::Launch;
use util::fake_gmond::{FakeGmond, Reply};
use util::net::read_request;
use util::plugins::{cluster, directory, figure, left_out, metrics, put, status, wait_log};

/// A source of the cluster `lab`, whose hosts have a load of 3 while the flag is set, else of 1.
fn source() -> (FakeGmond, Arc<AtomicBool>) {
    let busy = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&busy);
    let load = move || if flag.load(Ordering::Relaxed) { "3.00" } else { "1.00" };
    (FakeGmond::scripted(move |_| Reply::Bytes(cluster("lab", load()))), busy)
}

/// A request that a webhook got.
struct Post {
    at: Instant,
    head: String,
    body: Value,
}

/// A webhook that answers the n-th request (from 0) with the status `answer(n)`.
fn webhook(answer: impl Fn(usize) -> &'static str + Send + Sync + 'static) -> (FakeGmond, Arc<Mutex<Vec<Post>>>) {
    let posts: Arc<Mutex<Vec<Post>>> = Arc::default();
    let got = Arc::clone(&posts);
    let hook = FakeGmond::scripted(move |number| {
        let (got, status) = (Arc::clone(&got), answer(number));
        Reply::Stream(Box::new(move |stream| {
            let (head, body) = read_request(stream)?;
            got.lock().unwrap().push(Post { at: Instant::now(), head, body: serde_json::from_slice(&body)? });
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }))
    });
    (hook, posts)
}

/// Seconds since the epoch of a time in RFC 3339, as `date` reads it.
fn seconds(time: &Value) -> u64 {
    let output = Command::new("date").args(["-u", "+%s", "-d", time.as_str().unwrap()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap_or_else(|_| panic!("{time} is no time"))
}

#[test]
fn an_alert_is_mailed_when_it_begins_and_when_it_ends() {
    if left_out("an_alert_is_mailed_when_it_begins_and_when_it_ends") {
        return;
    }
    let ((source, busy), dir) = (source(), directory());
    let sendmail = dir.path().join("sendmail");
    put(
        dir.path(),
        "sendmail",
        &format!(
            "#!/bin/sh\nhead -c 200000 /dev/zero >&2\n{{ echo \"ARGS $*\"; cat; }} >>{}/mails\n",
            dir.path().display()
        ),
    );
    let http = util::free_port();
    let daemon = Launch::ours()
        .line(format!("http_port {http}"))
        .source("a source", 1, source.address())
        .line("plugins_dir /nonexistent-directory-of-plugins")
        .line(format!(
            "alert {{\n toaddress root@localhost\n fromaddress gmetad@localhost\n sendmailpath {}\n \
             metricrule load_one \"$val > 2\" \"load is too high\"\n}}",
            sendmail.display()
        ))
        .start();
    let mails = || fs::read_to_string(dir.path().join("mails")).unwrap_or_default();
    util::wait_until("the mail", util::SOON * 2, || mails().contains("load is too high"));
    let first = mails();
    assert!(first.contains("To: root@localhost") && first.contains("n1") && first.contains("lab"), "{first}");
    assert_eq!(status(&daemon)["alert_firing"].as_array().map(Vec::len), Some(2));
    let metrics = metrics(http);
    assert!(metrics.contains("gmetad_alert_active 2"), "{metrics}");
    assert!(metrics.contains("gmetad_alert_firing{rule=\""), "{metrics}");
    busy.store(false, Ordering::Relaxed);
    util::wait_until("the mail of its end", util::SOON * 2, || mails().matches("\nTo: root@localhost").count() == 2);
    // It is counted when sendmail has ended.
    util::wait_until("the count", util::SOON, || status(&daemon)["alert"]["mails_sent"] == 2);
    assert_eq!(status(&daemon)["alert"]["active"], 0);
}

#[test]
fn a_webhook_that_fails_gets_it_again_and_hears_of_the_end() {
    if left_out("a_webhook_that_fails_gets_it_again_and_hears_of_the_end") {
        return;
    }
    let began = util::now();
    let (source, busy) = source();
    let (hook, posts) = webhook(|number| if number == 0 { "500 Oh no" } else { "200 OK" });
    let count = || posts.lock().unwrap().len();
    let daemon = Launch::ours()
        .source("a source", 1, source.address())
        .line(format!(
            "alert {{\n webhook http://{}/ganglia\n webhook_header \"X-Who: me\"\n external_url http://web.example.org/\n \
             metricrule load_one \"$val > 2\" \"load of $host is $val\" severity critical\n}}",
            hook.address()
        ))
        .start();
    util::wait_until("the second try", util::SOON * 2, || count() == 2);
    wait_log(&daemon, &format!("alert: webhook http://{}: answers 500", hook.address()));
    wait_log(&daemon, &format!("alert: webhook http://{}: works again", hook.address()));
    // While it fires nothing more is told, however many polls there are.
    source.wait_polls(3);
    busy.store(false, Ordering::Relaxed);
    util::wait_until("the end of it", util::SOON * 2, || count() > 2);

    let posts = posts.lock().unwrap();
    let [refused, firing, resolved] = &posts[..] else { panic!("{} posts", posts.len()) };
    assert_eq!(refused.body, firing.body, "the same again");
    let pause = firing.at - refused.at;
    assert!((Duration::from_millis(1900)..Duration::from_secs(10)).contains(&pause), "2 s later: {pause:?}");
    for post in [refused, firing, resolved] {
        assert!(post.head.starts_with("POST /ganglia HTTP/1.1\r\n"), "{}", post.head);
        let head = post.head.to_lowercase();
        assert!(
            head.contains("\r\ncontent-type: application/json\r\n") && head.contains("\r\nx-who: me\r\n"),
            "{head}"
        );
        let body = &post.body;
        assert_eq!((&body["version"], &body["receiver"]), (&"4".into(), &"gmetad".into()));
        assert_eq!(body["externalURL"], "http://web.example.org/");
        assert_eq!(body["groupLabels"], serde_json::json!({"alertname": "load_one", "cluster": "lab"}));
        let hosts: Vec<_> = body["alerts"].as_array().unwrap().iter().map(|alert| &alert["labels"]["host"]).collect();
        assert_eq!(hosts, ["n1", "n2"]);
    }
    for (post, state, value) in [(firing, "firing", "3.00"), (resolved, "resolved", "1.00")] {
        assert_eq!(post.body["status"], state);
        for (alert, host) in post.body["alerts"].as_array().unwrap().iter().zip(["n1", "n2"]) {
            assert_eq!(alert["status"], state);
            let labels = serde_json::json!({
                "alertname": "load_one", "severity": "critical", "cluster": "lab", "source": "a source", "host": host,
                "instance": host, "metric": "load_one",
            });
            assert_eq!(alert["labels"], labels);
            assert_eq!(alert["annotations"]["value"], value);
            assert_eq!(alert["annotations"]["summary"], format!("load of {host} is {value}"));
            let start = seconds(&alert["startsAt"]);
            assert!((began..=util::now()).contains(&start), "{alert}");
            if state == "firing" {
                assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z", "Alertmanager's way to say that it goes on");
            } else {
                assert!((start + 3..=util::now()).contains(&seconds(&alert["endsAt"])), "{alert}");
            }
        }
    }
    for n in 0..2 {
        let [firing, resolved] = [firing, resolved].map(|post| &post.body["alerts"][n]);
        assert_eq!((&firing["startsAt"], &firing["fingerprint"]), (&resolved["startsAt"], &resolved["fingerprint"]));
    }
    util::wait_until("the count", util::SOON, || status(&daemon)["alert"]["webhooks_sent"] == 2);
    assert_eq!(status(&daemon)["alert"]["webhooks_failed"], 0);
    assert_eq!(status(&daemon)["alert"]["recovered"], 2);
}

#[test]
fn a_webhook_that_never_answers_delays_nobody() {
    if left_out("a_webhook_that_never_answers_delays_nobody") {
        return;
    }
    let (source, busy) = source();
    let silent = FakeGmond::scripted(|_| {
        Reply::Stream(Box::new(|stream| std::io::copy(stream, &mut std::io::sink()).map(|_| ())))
    });
    let (good, posts) = webhook(|_| "200 OK");
    let mut daemon = Launch::ours()
        .source("a source", 1, source.address())
        .line(format!(
            "alert {{\n webhook http://{}/\n webhook http://{}/\n metricrule load_one \"$val > 2\" \"too high\"\n}}",
            silent.address(),
            good.address()
        ))
        .start();
    util::wait_until("the silent one is asked", util::SOON * 2, || silent.polls() == 1);
    let since = Instant::now();
    let taken = figure(&daemon, "alert", "transactions").unwrap();
    source.wait_polls(5);
    busy.store(false, Ordering::Relaxed);
    util::wait_until("the other hears of the end, too", util::SOON * 2, || posts.lock().unwrap().len() == 2);
    assert!(figure(&daemon, "alert", "transactions").unwrap() >= taken + 5);
    assert!(source.longest_gap(since) < Duration::from_secs(4), "{:?}", source.longest_gap(since));
    assert_eq!(silent.polls(), 1, "its first try still goes on");
    let took = daemon.end_by("TERM");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
