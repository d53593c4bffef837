//! A small client of W3C WebDriver: Chromium through chromedriver.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Under which WebDriver gives references to elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser, closed when dropped.
pub(crate) struct Browser {
    driver: Child,
    base: String,
    agent: ureq::Agent,
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

/// Says that a test was left out, also to scripts/test.
fn left_out(test: &str, why: &str) {
    let line = format!("left out: {test}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os("GMETAD_TEST_LEFT_OUT") {
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(path).expect("GMETAD_TEST_LEFT_OUT is writable");
        writeln!(file, "{line}").expect("GMETAD_TEST_LEFT_OUT is writable");
    }
}

impl Browser {
    /// Starts one; `None`, said as left out, where it is not installed.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let (Some(chromium), Some(chromedriver)) = (program("chromium"), program("chromedriver")) else {
            left_out(test, "chromium or chromedriver (Debian: chromium, chromium-driver) is not installed");
            return None;
        };
        let mut driver = Command::new(chromedriver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = loop {
            let line = lines.next().expect("chromedriver tells its port").expect("text");
            if let Some(port) = line.strip_prefix("ChromeDriver was started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // It may say more; nobody reads it, but the pipe stays open.
        std::thread::spawn(move || lines.for_each(drop));
        let agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
        let mut browser = Self { driver, base: format!("http://127.0.0.1:{port}"), agent };
        // Pages of ours alone, so a browser that root starts needs no sandbox.
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--lang=en",
            "--window-size=1280,1000",
        ];
        let session = browser.ask(
            "/session",
            Some(json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "goog:loggingPrefs": { "browser": "ALL" },
                "goog:chromeOptions": { "binary": chromium, "args": arguments },
            } } })),
        );
        browser.base += &format!("/session/{}", session["sessionId"].as_str().expect("a session"));
        Some(browser)
    }

    fn ask(&self, path: &str, body: Option<Value>) -> Value {
        let address = format!("{}{path}", self.base);
        let answer = match body {
            Some(body) => self.agent.post(&address).send(body.to_string()),
            None => self.agent.get(&address).call(),
        };
        let text = answer.expect("an answer").body_mut().read_to_string().expect("text");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(value["value"].get("error").is_none(), "{path}: {text}");
        value["value"].clone()
    }

    pub(crate) fn open(&self, address: &str) {
        self.ask("/url", Some(json!({ "url": address })));
    }

    /// What an expression of JavaScript is.
    pub(crate) fn get(&self, expression: &str) -> Value {
        self.ask("/execute/sync", Some(json!({ "script": format!("return {expression}"), "args": [] })))
    }

    pub(crate) fn text(&self, expression: &str) -> String {
        self.get(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&self, expression: &str) {
        let start = Instant::now();
        while self.get(expression) != Value::Bool(true) {
            assert!(start.elapsed() < PATIENCE, "never: {expression}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn element(&self, selector: &str) -> String {
        let found = self.ask("/element", Some(json!({ "using": "css selector", "value": selector })));
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    pub(crate) fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.ask(&format!("/element/{element}/click"), Some(json!({})));
    }

    pub(crate) fn write(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.ask(&format!("/element/{element}/value"), Some(json!({ "text": text })));
    }

    fn pointer(&self, actions: Value) {
        let pointer =
            json!({ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": actions });
        self.ask("/actions", Some(json!({ "actions": [pointer] })));
    }

    /// Draws the pressed mouse over an element, from and to so many pixels right of its middle.
    pub(crate) fn drag(&self, selector: &str, from: i32, to: i32) {
        let origin = json!({ ELEMENT: self.element(selector) });
        let at = |x: i32| json!({ "type": "pointerMove", "duration": 50, "origin": origin, "x": x, "y": 0 });
        let (down, up) = (json!({ "type": "pointerDown", "button": 0 }), json!({ "type": "pointerUp", "button": 0 }));
        self.pointer(json!([at(from), down, at(i32::midpoint(from, to)), at(to), up]));
    }

    pub(crate) fn double_click(&self, selector: &str) {
        let origin = json!({ ELEMENT: self.element(selector) });
        let (down, up) = (json!({ "type": "pointerDown", "button": 0 }), json!({ "type": "pointerUp", "button": 0 }));
        let to = json!({ "type": "pointerMove", "duration": 0, "origin": origin, "x": 0, "y": 0 });
        self.pointer(json!([to, down.clone(), up.clone(), down, up]));
    }

    /// A command of the DevTools protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: Value) {
        self.ask("/goog/cdp/execute", Some(json!({ "cmd": command, "params": parameters })));
    }

    /// What the console said since the last time: violations of the policy, errors of scripts, failed loads.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.ask("/se/log", Some(json!({ "type": "browser" })));
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let entries =
            log.as_array().expect("a list").iter().map(|entry| (text(entry, "level"), text(entry, "message")));
        // Hints to developers, which differ from version to version, are of lower levels.
        entries
            .filter(|(level, _)| matches!(&**level, "SEVERE" | "WARNING"))
            .map(|(level, text)| format!("{level} {text}"))
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver closes the browser with the session.
        let _ = self.agent.delete(&self.base).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
