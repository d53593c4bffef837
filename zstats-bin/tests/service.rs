//! The service, from its start to its end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod util;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use util::{PATIENCE, Root, Service, get, wait};

/// An agent whose program says what a file has.
fn says(name: &str, file: &std::path::Path) -> String {
    let command = format!("['/bin/sh', '-c', 'cat {}']", file.display());
    format!("[[agent]]\nname = '{name}'\nkind = 'exec'\ncommand = {command}\nperiod = 1\ndescribe = false\n")
}

#[test]
fn a_program_of_another_user_has_its_directory() {
    if !nix::unistd::Uid::effective().is_root() {
        return; // only root may name somebody else
    }
    let root = Root::new(&[("n.sh", "touch here && echo \"{\\\"message\\\":\\\"$(pwd) $(id -un)\\\"}\"\n")]);
    let command = format!("['/bin/sh', '{}']", root.path("n.sh").display());
    let agent = format!("kind = 'exec'\ncommand = {command}\nuser = 'nobody'\nperiod = 1\ndescribe = false\n");
    root.write("configs/n.agent", &format!("[[agent]]\nname = 'n'\n{agent}"));
    fs::set_permissions(root.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let service = root.start(&["--no-defaults"]);
    let agent = wait("a result", || service.agent("n").filter(|agent| !agent["last"].is_null()));
    let state = root.path("stats/n/.state");
    assert!(agent["message"].to_string().contains(&format!("{} nobody", state.display())), "{agent}");
    let mode = |name: &str| fs::metadata(root.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["stats", "stats/n", "stats/n/.state"].map(mode), [0o751, 0o751, 0o700]);
}

#[test]
fn it_needs_no_configuration() {
    let root = Root::new(&[]);
    let service = root.start(&[]);
    for agent in ["load", "cpu", "memory", "disks", "network", "uptime"] {
        let agent = wait(agent, || service.agent(agent).filter(|agent| !agent["last"].is_null()));
        assert!(agent["section"].is_string() && agent["since"].is_number() && agent["max"].is_string(), "{agent}");
    }
    let load = service.json("/api/v1/agents/load");
    assert!(load.to_string().contains("fifteen"), "{load}");
    assert_eq!(service.get("/healthz").0, 200);
    assert!(service.get("/metrics").1.contains("# EOF"));
    assert!(service.get("/").1.contains("load"));
    wait("RRD files", || root.path("stats/load/one.rrd").exists().then_some(()));

    let port = service.port.to_string();
    let (code, text) = root.run(&["status", "--port", &port]);
    assert!(text.starts_with("ZSTATS ") && text.contains(" ok="), "{text}");
    let worst = text.split(' ').nth(1).unwrap();
    assert_eq!(
        Some(code),
        ["OK", "WARN", "ERROR", "UNKNOWN"].iter().position(|name| *name == worst).map(|at| at as i32)
    );
    let (_, text) = root.run(&["status", "--json", "--port", &port]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(json["agents"].as_array().unwrap().len() >= 6);
    let (code, text) = root.run(&["status", "uptime", "--port", &port]);
    assert!(code == 0 && text.contains("OK: uptime"), "{text}");

    let (code, took) = service.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Nobody serves any more: what is on the disk is told.
    let (_, text) = root.run(&["status", "load", "--port", &port]);
    assert!(text.contains("(read from ") && text.contains(": load"), "{text}");
    // And taken for true only for a while, however rarely an agent measures.
    for entry in fs::read_dir(root.path("stats")).unwrap() {
        let file = entry.unwrap().path().join("agent.json");
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let mut view: serde_json::Value = serde_json::from_str(&text).unwrap();
        view["spec"]["period"] = 86_400.into();
        let hour_ago = view["since"].as_i64().unwrap() - 3600;
        (view["since"], view["last"]["time"]) = (hour_ago.into(), hour_ago.into());
        fs::write(&file, view.to_string()).unwrap();
    }
    let (code, text) = root.run(&["status", "uptime", "--port", &port]);
    assert!(code == 3 && text.contains("the service does not run") && text.contains("refused"), "{text}");
    let (code, text) = root.run(&["status", "uptime", "--port", &port, "--lang", "fr"]);
    assert!(code == 3 && text.contains("Inconnu : uptime : le service"), "{text}");
}

#[test]
fn what_is_broken_is_seen() {
    let root = Root::new(&[
        ("configs/broken.agent", "[[agent]]\nname = 'typo'\nkind = 'load'\npreiod = 5\n"),
        ("configs/old.agent", "from zephir.monitor.agents import load\nAGENTS = [load.Load('old')]\n"),
        ("configs/good.agent", "[[agent]]\nname = 'good'\nkind = 'uptime'\n"),
        ("site.cfg", "good\n"),
    ]);
    let service = root.start(&[]);
    let typo = service.has("typo", "Error");
    assert!(
        typo["message"].as_str().unwrap().ends_with("broken.agent:4:1: unknown key `preiod`; is `period` meant?"),
        "{typo}"
    );
    let old = service.has("old.agent", "Error");
    assert!(
        old["message"].as_str().unwrap().contains("is written in Python, which this version does not run yet"),
        "{old}"
    );
    service.has("good", "OK");
    assert!(service.get("/").1.contains("typo"), "shown although site.cfg does not name it");
    service.logged("agent typo: ");
    let (code, text) = root.run(&["status", "typo", "--lang", "fr", "--port", &service.port.to_string()]);
    assert!(code == 2 && text.contains("Erreur : typo : ") && text.contains("clé inconnue"), "{text}");
    let (code, _) = root.run(&["status", "--port", &service.port.to_string()]);
    assert_eq!(code, 2);
}

#[test]
fn site_cfg_orders_and_hides() {
    let root = Root::new(&[
        (
            "configs/a.agent",
            "[[agent]]\nname = 'aa-one'\nkind = 'uptime'\n[[agent]]\nname = 'bb-two'\nkind = 'uptime'\n[[agent]]\nname = 'cc-three'\nkind = 'uptime'\n",
        ),
        ("site.cfg", "[Partie]\ncc-three\naa-one\n"),
    ]);
    let service = root.start(&["--no-defaults"]);
    let page = service.get("/").1;
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    assert!(at("cc-three") < at("aa-one") && at("Partie") < at("cc-three"));
    assert!(!page.contains("bb-two") && page.contains("not shown"), "{page}");
    assert!(service.agent("bb-two").is_some(), "it measures all the same");
}

#[test]
fn sighup_keeps_what_did_not_change() {
    let root = Root::new(&[]);
    let file = root.path("answer");
    fs::write(&file, r#"{"v":1,"fields":{"n":1},"status":"ok","message":"fine"}"#).unwrap();
    root.write("configs/kept.agent", &says("kept", &file));
    root.write("configs/gone.agent", &says("gone", &file));
    let service = root.start(&["--no-defaults"]);
    service.has("gone", "OK");
    let kept = service.has("kept", "OK");
    wait("data", || root.path("stats/gone/agent.json").exists().then_some(()));
    let measured = |service: &Service| service.json("/api/v1/agents/kept")["measured"].as_u64().unwrap();
    wait("three measurements", || (measured(&service) >= 3).then_some(()));

    fs::remove_file(root.path("configs/gone.agent")).unwrap();
    root.write("configs/new.agent", "[[agent]]\nname = 'new'\nkind = 'uptime'\n");
    service.signal(Signal::SIGHUP);
    service.has("new", "OK");
    assert!(service.agent("gone").is_none());
    assert_eq!(service.agent("kept").unwrap()["since"], kept["since"]);
    assert!(measured(&service) >= 3);
    wait("data of what is gone are set aside", || (!root.path("stats/gone").exists()).then_some(()));
    assert_eq!(
        fs::read_dir(root.path("stats"))
            .unwrap()
            .filter(|it| it.as_ref().is_ok_and(|it| it.file_name() == "kept"))
            .count(),
        1
    );

    // A settings file that became wrong changes nothing.
    root.write("settings.toml", "nonsense = 1\n");
    service.signal(Signal::SIGHUP);
    service.logged("nothing is read again: ");
    assert!(service.agent("kept").is_some());
    service.signal(Signal::SIGUSR1);
    service.logged("agent kept: OK");
}

#[test]
fn a_reload_that_takes_long_delays_no_stop() {
    let root = Root::new(&[]);
    let service = root.start(&["--no-defaults"]);
    let command = format!("['/bin/sh', '-c', 'touch {}; sleep 60']", root.path("asked").display());
    root.write(
        "configs/slow.agent",
        &format!("[[agent]]\nname = 'slow'\nkind = 'uptime'\nwhen = {{ command = {command} }}\n"),
    );
    service.signal(Signal::SIGHUP);
    wait("the condition is asked", || root.path("asked").exists().then_some(()));
    assert_eq!(service.get("/healthz").0, 200);
    let (code, took) = service.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_measurement_that_fails_is_logged_and_one_that_hangs_delays_nobody() {
    let hangs = "[[agent]]\nname = 'hangs'\nkind = 'exec'\ncommand = ['/bin/sh', '-c', 'trap \"\" TERM; sleep 100; sleep 100']\nperiod = 100\ntimeout = 100\ndescribe = false\n";
    let root = Root::new(&[("configs/hangs.agent", hangs)]);
    let file = root.path("answer");
    root.write("configs/fails.agent", &says("fails", &file));
    let service = root.start(&[]);
    service.has("fails", "Unknown");
    service.logged("exception during measure");
    service.has("uptime", "OK");
    wait("it measures", || (!service.json("/api/v1/agents/hangs")["running"].is_null()).then_some(()));
    let (code, took) = service.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn systemd_is_told() {
    let root = Root::new(&[]);
    let socket = UnixDatagram::bind(root.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let service = {
        let mut command = root.command(&["-f", "--port", "0", "--no-defaults"]);
        Service::start(command.env("NOTIFY_SOCKET", root.path("notify")))
    };
    let told = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(told(), "READY=1");
    // At once: it takes signals when it says so.
    service.signal(Signal::SIGHUP);
    assert_eq!(service.get("/healthz").0, 200);
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(), "READY=1");
    service.stop();
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn it_goes_to_the_background_once_it_serves() {
    let root = Root::new(&[]);
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port().to_string()
    };
    let args = ["--no-defaults", "--pid-file", "z.pid", "--bind", "127.0.0.1", "--port", &port];
    // Of one that was killed; its number is somebody else's by now.
    root.write("z.pid", "1\n");
    let (code, text) = root.run(&args);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("http://localhost:{port}/")) && text.contains("opens it to the network"), "{text}");
    assert_eq!(get(port.parse().unwrap(), "/healthz").0, 200, "it serves as soon as the shell has its prompt back");
    let pid: i32 = fs::read_to_string(root.path("z.pid")).unwrap().trim().parse().unwrap();
    // A second one has neither the data nor the port.
    let (code, text) = root.run(&["-f", "--no-defaults", "--port", "0"]);
    assert!(code == 1 && text.contains("another z_stats uses this directory"), "{text}");
    let (code, text) = root.run(&["--no-defaults", "--data", "other", "--bind", "127.0.0.1", "--port", &port]);
    assert!(code == 1 && text.contains("cannot listen on 127.0.0.1:"), "{text}");
    assert!(!text.contains("the page is at"), "{text}");
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait("its end", || (!root.path("z.pid").exists()).then_some(()));
}

#[test]
fn a_place_that_cannot_be_written_is_named_with_what_to_do() {
    let root = Root::new(&[("file", "")]);
    let (code, text) = root.run(&["-f", "--port", "0", "--data", "file/x"]);
    assert!(code == 1 && text.contains("file/x") && text.contains("--data"), "{text}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_z_stats"));
    command.args(["-f", "--port", "0", "--root", "/no/such/root", "--no-defaults"]).env("LC_ALL", "C");
    let output = command.arg("--data").arg(root.path("data")).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("/no/such/root is not there: make it, or name another directory with --root"), "{text}");
    assert!(!root.path("data").exists());
    if nix::unistd::geteuid().is_root() {
        return; // whom nothing is forbidden
    }
    fs::set_permissions(root.0.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let (code, text) = root.run(&["-f", "--port", "0"]);
    fs::set_permissions(root.0.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(code == 1 && text.contains("Permission denied") && text.contains("--data"), "{text}");
}

#[test]
fn password_and_tls() {
    let root = Root::new(&[("password", "sesame\n"), ("token", "t0ken\n"), ("empty", "\n"), ("open", "x\n")]);
    for file in ["password", "token", "empty"] {
        fs::set_permissions(root.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let service = root.start(&["--no-defaults", "--password-file", "password", "--token-file", "token"]);
    assert_eq!(service.get("/").0, 401);
    let port = service.port.to_string();
    let (_, text) = root.run(&["status", "--port", &port, "--token-file", "token"]);
    assert!(!text.contains("read from"), "the token opens it: {text}");
    let (_, text) = root.run(&["status", "--port", &port, "--password-file", "password"]);
    assert!(!text.contains("read from"), "the password opens it: {text}");
    let (_, text) = root.run(&["status", "--port", &port]);
    assert!(text.contains("401"), "{text}");
    drop(service);
    for (args, error) in [
        (&["--password-file", "none"][..], "none"),
        (&["--password-file", "empty"], "empty"),
        (&["--password-file", "open"], "chmod"),
        (&["--tls-cert", "password", "--tls-key", "password"], "password"),
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["-f", "--port", "0", "--no-defaults"]).collect();
        let (code, text) = root.run(&args);
        assert!(code == 1 && text.contains(error), "{text}");
    }
}

#[test]
fn the_demo_has_every_status_and_leaves_nothing() {
    let root = Root::new(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_z_stats"));
    command.args(["--demo", "--port", "0", "--bind", "127.0.0.1"]).env("LC_ALL", "C").env("TMPDIR", root.0.path());
    let service = Service::start(&mut command);
    for (agent, status) in [
        ("demo-ok", "OK"),
        ("demo-warn", "Warn"),
        ("demo-error", "Error"),
        ("demo-unknown", "Unknown"),
        ("demo-dependant", "Dependant"),
    ] {
        service.has(agent, status);
    }
    service.has("load", "OK");
    service.logged("Try in another terminal:");
    let series = service.json("/api/v1/agents/demo-ok/series?graph=unit0&period=day").to_string();
    assert!(series.matches('.').count() > 200, "a day is drawn: {series}");
    let (code, took) = service.stop();
    assert!(code == Some(0) && took < Duration::from_secs(5), "{code:?} {took:?}");
    let left: Vec<_> = fs::read_dir(root.0.path()).unwrap().filter_map(Result::ok).map(|it| it.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("z_stats-demo")), "{left:?}");
}

#[test]
fn with_a_certificate_nothing_is_served_without_tls() {
    let root = Root::new(&[]);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    root.write("cert.pem", &made.cert.pem());
    root.write("key.pem", &made.signing_key.serialize_pem());
    fs::set_permissions(root.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let service = root.start(&["--no-defaults", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    assert!(service.text().contains("https://localhost:"), "{}", service.text());
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    let url = format!("https://localhost:{}/healthz", service.port);
    let curl = Command::new("curl").args(["-s", "--cacert"]).arg(root.path("cert.pem")).arg(url).output();
    if let Ok(output) = curl {
        assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
    }
    let port = service.port.to_string();
    let status = |certificate: &str| {
        root.run(&["status", "--tls-cert", certificate, "--tls-key", "key.pem", "--bind", "127.0.0.1", "--port", &port])
    };
    let (_, text) = status("cert.pem");
    assert!(text.starts_with("ZSTATS ") && !text.contains("read from"), "the service itself answers: {text}");
    // Nobody else is asked: there may be a password in the question.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    root.write("other.pem", &other.cert.pem());
    let (_, text) = status("other.pem");
    assert!(text.contains("shows another certificate than") && text.contains("other.pem: reload"), "{text}");
    let (_, text) = status("key.pem");
    assert!(
        text.contains("key.pem: a file in PEM with certificates is needed") && text.contains("(read from"),
        "{text}"
    );
}

#[test]
fn an_error_is_told_by_mail() {
    let root = Root::new(&[
        ("sendmail", "#!/bin/sh\ncat >>\"$(dirname \"$0\")/mails\"\n"),
        (
            "configs/a.agent",
            "[[agent]]\nname = 'crit'\nkind = 'nagios'\ncommand = ['/bin/sh', '-c', 'echo tout brûle; exit 2']\nperiod = 1\n",
        ),
    ]);
    fs::set_permissions(root.path("sendmail"), fs::Permissions::from_mode(0o700)).unwrap();
    let args = [
        "--no-defaults",
        "--mail-to",
        "root",
        "--mail-to",
        "admin@example.org",
        "--sendmail",
        "sendmail",
        "--lang",
        "fr",
    ];
    let service = root.start(&args);
    service.has("crit", "Error");
    let mail = wait("a mail", || fs::read_to_string(root.path("mails")).ok().filter(|mail| mail.contains("crit")));
    assert!(mail.contains("To: root, admin@example.org") && mail.contains("tout br"), "{mail}");
}

#[test]
fn raw_graphs_are_drawn_where_librrd_is() {
    let root = Root::new(&[(
        "configs/a.agent",
        "[[agent]]\nname = 'up'\nkind = 'uptime'\nperiod = 1\n[[agent.graphs]]\npngname = 'raw.png'\n\
         vnamedefs = { up = ['seconds', 'AVERAGE'] }\noptions = ['-l0', 'LINE2:up#00FF00:Uptime']\n",
    )]);
    let service = root.start(&["--no-defaults"]);
    let field = wait("a field", || {
        let up = service.json("/api/v1/agents/up");
        up.to_string().contains("fields").then_some(up)
    });
    let _ = wait("its file", || {
        fs::read_dir(root.path("stats/up"))
            .ok()?
            .find(|it| it.as_ref().is_ok_and(|it| it.path().extension().is_some_and(|it| it == "rrd")))
    });
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    stream.write_all(b"GET /agents/up/raw.png?period=hour HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer);
    let is_png = text.contains("image/png");
    assert!(is_png || text.contains("librrd"), "{field}: {text}");
}
