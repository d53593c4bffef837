//! Agents that mean harm, or hang, beside such as must not notice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod util;

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use util::{Root, Service, wait};

fn exec(name: &str, period: &str, timeout: &str, script: &str) -> String {
    format!(
        "[[agent]]\nname = '{name}'\nkind = 'exec'\ncommand = ['/bin/sh', '-c', '''{script}''']\nperiod = '{period}'\ntimeout = '{timeout}'\ndescribe = false\n"
    )
}

/// Processes of any user whose command line has the mark.
fn processes(mark: &str) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| line.windows(mark.len()).any(|window| window == mark.as_bytes()))
        .count()
}

fn measured(service: &Service, name: &str) -> u64 {
    service.json(&format!("/api/v1/agents/{name}"))["measured"].as_u64().unwrap()
}

#[test]
fn of_200_agents_50_hang_and_hurt_nobody() {
    let mark = format!("zstats-hangs-{}", std::process::id());
    let mut agents = String::new();
    for n in 0..50 {
        agents += &exec(&format!("hangs{n}"), "2s", "1s", &format!("trap \"\" TERM; : {mark}; sleep 300; sleep 300"));
    }
    for n in 0..150 {
        write!(agents, "[[agent]]\nname = 'good{n}'\nkind = 'rand'\nperiod = '2s'\n").unwrap();
    }
    let root = Root::new(&[("configs/all.agent", &agents)]);
    let service = root.start(&["--no-defaults"]);
    service.has("hangs49", "Unknown");
    wait("all others measure again and again", || {
        (0..150).all(|n| measured(&service, &format!("good{n}")) >= 3).then_some(())
    });
    let skipped: u64 =
        (0..150).map(|n| service.json(&format!("/api/v1/agents/good{n}"))["skipped"].as_u64().unwrap()).sum();
    assert_eq!(skipped, 0);
    for n in 0..50 {
        service.has(&format!("hangs{n}"), "Unknown");
    }
    service.logged("exception during measure of hangs");
    let (code, took) = service.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(6), "{took:?}");
    wait("nothing is left of them", || (processes(&mark) == 0).then_some(()));
}

#[test]
fn whatever_a_program_prints_the_page_and_the_answers_are_whole() {
    let hostile = [
        ("flood", "head -c 1G /dev/zero"),
        (
            "grumble",
            "head -c 1G /dev/zero >&2; echo \"{\\\"v\\\":1,\\\"fields\\\":{\\\"n\\\":1},\\\"status\\\":\\\"ok\\\"}\"",
        ),
        (
            "bytes",
            "printf \"{\\\"v\\\":1,\\\"fields\\\":{},\\\"status\\\":\\\"warn\\\",\\\"message\\\":\\\"\\377\\376 \\\\u001b[31m \\\\u0007\\\"}\"",
        ),
        (
            "html",
            "echo \"{\\\"v\\\":1,\\\"fields\\\":{\\\"<b>\\\":1},\\\"status\\\":\\\"error\\\",\\\"message\\\":\\\"<script>alert(1)</script>\\\",\\\"html\\\":\\\"<p onclick=x>seen<img src=x onerror=y><script>z</script></p>\\\"}\"",
        ),
        ("nothing", "exit 7"),
    ];
    let mut agents = String::from("[[agent]]\nname = 'good'\nkind = 'rand'\nperiod = '1s'\n");
    for (name, script) in hostile {
        agents += &exec(name, "2s", "2s", script);
    }
    let root = Root::new(&[("configs/all.agent", &agents)]);
    let service = root.start(&["--no-defaults"]);
    for (name, status) in
        [("flood", "Unknown"), ("grumble", "OK"), ("html", "Error"), ("nothing", "Unknown"), ("good", "OK")]
    {
        service.has(name, status);
    }
    wait("the strange bytes are taken or refused", || {
        let view = service.json("/api/v1/agents/bytes");
        (view["measured"].as_u64()? + view["failed"].as_u64()? > 0).then_some(())
    });
    for path in ["/", "/agents/html/", "/agents/bytes/", "/agents/flood/"] {
        let (status, page) = service.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(!page.contains("<script>alert") && !page.contains("onclick") && !page.contains("onerror"), "{path}");
        assert!(!page.contains(['\u{1b}', '\u{7}', '\0']), "{path}");
    }
    assert!(service.get("/agents/html/").1.contains("<p>seen"), "what is harmless of it is shown");
    let (_, metrics) = service.get("/metrics");
    assert!(metrics.ends_with("# EOF\n") && !metrics.contains('\u{1b}'));
    assert!(measured(&service, "good") >= 1);
    assert_eq!(service.stop().0, Some(0));
}
