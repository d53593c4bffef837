//! The page of the real program in Chromium, while agents come and go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod util;
#[path = "../../gmetad-agents/tests/page/webdriver.rs"]
#[allow(dead_code, reason = "shared with the tests of the page")]
mod webdriver;

use nix::sys::signal::Signal;
use serde_json::json;
use util::{Root, wait};
use webdriver::Browser;

/// An agent that counts.
fn counts(name: &str) -> String {
    format!(
        "[[agent]]\nname = '{name}'\nkind = 'exec'\ncommand = ['/bin/echo', '{{\"v\":1,\"fields\":{{\"jobs\":3}}}}']\nperiod = 1\ndescribe = false\nkeep = 'rrd'\n"
    )
}

#[test]
fn agents_come_and_go_in_an_open_page() {
    let Some(browser) = Browser::start("agents_come_and_go_in_an_open_page") else { return };
    let root = Root::new(&[("configs/kept.agent", &counts("kept")), ("configs/gone.agent", &counts("gone"))]);
    let service = root.start(&["--no-defaults"]);
    for name in ["kept", "gone"] {
        wait("a measurement", || service.agent(name).filter(|agent| !agent["last"].is_null()));
    }
    let look = || browser.get("document.dispatchEvent(new Event('visibilitychange'))");
    browser.open(&format!("http://localhost:{}/?lang=en", service.port));
    browser.get("window.kept = document.querySelector('#agent-kept')");
    assert_eq!(browser.get("document.querySelector('#agent-gone') !== null"), true);
    // Its curve grows while one looks.
    look();
    browser.wait("document.querySelector('#agent-kept .spark .line')?.getAttribute('d').length > 16");
    assert_eq!(browser.text("document.querySelector('#agent-kept .trend .n').innerText"), "3");

    root.write("configs/new.agent", &counts("new"));
    root.write("configs/broken.agent", "[[agent]\n");
    std::fs::remove_file(root.path("configs/gone.agent")).unwrap();
    service.signal(Signal::SIGHUP);
    wait("the reload", || service.agent("new").filter(|_| service.agent("gone").is_none()));
    look();
    browser.wait("document.querySelector('#agent-new') !== null && document.querySelector('#agent-gone') === null");
    browser.wait("document.querySelector('.troubles')?.innerText.includes('broken') === true");
    assert_eq!(browser.get("document.contains(window.kept)"), true, "the row that was there stayed");
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // Somebody looks at an agent that goes, and comes back.
    browser.open(&format!("http://localhost:{}/agents/new/?lang=en", service.port));
    browser.wait("document.querySelector('figure.graph canvas') !== null");
    std::fs::remove_file(root.path("configs/new.agent")).unwrap();
    service.signal(Signal::SIGHUP);
    wait("the reload", || service.agent("new").is_none().then_some(()));
    look();
    browser.wait("document.querySelector('#live .problem h1')?.innerText === 'There is no such agent'");
    assert_eq!(browser.get("document.querySelector('#fresh.lost')"), json!(null), "the service answers");
    root.write("configs/new.agent", &counts("new"));
    service.signal(Signal::SIGHUP);
    wait("the reload", || service.agent("new"));
    look();
    browser.wait("document.querySelector('#live .facts') !== null");
    // The browser says itself that the agent was not there; nothing else is wrong.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|text| text.contains(" 404 ")), "{complaints:?}");
}
