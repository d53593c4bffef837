//! Where the language is French, so is everything that is said: commands, the log, the page.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod util;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use util::{PATIENCE, Root, Service, wait};

/// What is left of a text without what is quoted, in `…` or in « … »: what the program itself says.
fn spoken(text: &str) -> String {
    let mut kept = String::new();
    let mut quotes = 0;
    let mut ticked = false;
    for char in text.chars() {
        match char {
            '«' => quotes += 1,
            '»' => quotes -= 1,
            '`' => ticked = !ticked,
            '\n' => (quotes, ticked) = (0, false),
            _ => {}
        }
        if quotes == 0 && !ticked {
            kept.push(char);
        }
    }
    kept
}

/// Fails if a text has an English word that is no name.
fn is_french(text: &str) {
    const ENGLISH: &[&str] = &[
        "the",
        "is",
        "are",
        "was",
        "not",
        "no",
        "of",
        "with",
        "this",
        "that",
        "it",
        "its",
        "cannot",
        "must",
        "may",
        "found",
        "line",
        "column",
        "key",
        "unknown",
        "missing",
        "expected",
        "invalid",
        "write",
        "written",
        "read",
        "denied",
        "refused",
        "address",
        "already",
        "failed",
        "directory",
        "such",
        "which",
        "there",
        "measure",
        "and",
        "or",
        "unclosed",
        "value",
        "array",
        "string",
        "agents are",
        "warnings",
        "errors",
        "permission",
        "another",
        "here",
        "by",
    ];
    // The ancestor's words, which people search their logs for.
    let spoken = spoken(&text.replace("exception during measure of ", ""));
    let words = spoken.split(|char: char| !char.is_alphanumeric() && !"-_/.'".contains(char));
    let wrong: Vec<_> = words.filter(|word| ENGLISH.contains(&word.to_lowercase().as_str())).collect();
    assert!(wrong.is_empty(), "{wrong:?} in: {text}");
}

/// Runs the program to its end on a machine whose language is French.
fn run(root: &Root, args: &[&str]) -> (i32, String) {
    let output = root.command(args).env_remove("LC_ALL").env("LANG", "fr_FR.UTF-8").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    // Names of the test's own.
    (output.status.code().unwrap_or(-1), text.replace(&root.path("").display().to_string(), ""))
}

#[test]
fn mistakes_in_files() {
    for (toml, french) in [
        ("[[agent]]\nname = 'a'\nperiod = [1", "x.agent:3:12 : liste non fermée ; attendu : `]`"),
        ("[[agent]\nname = 'a'", "x.agent:1:9 : [[table]] non fermée ; attendu : `]`"),
        ("[[agent]]\nname = load", "x.agent:2:8 : un texte se met entre guillemets"),
        ("[[agent]]\nname = 'a'\nname = 'b'", "x.agent:3:1 : clé en double"),
        ("[[agent]]\nname = 'a'\nkind = 'lod'", "x.agent:3:8 : il n'y a pas de kind `lod` ; est-ce `load` ?"),
        (
            "[[agent]]\nname = 'a'\nkind = 'load'\nperiode = 5",
            "x.agent:4:1 : clé inconnue `periode` ; est-ce `period` ?",
        ),
        ("[[agent]]\nname = 'a'\nkind = 'load'\nperiod = true", "period : il y a `true`, il faut une durée, comme 115"),
        ("[[agent]]\nname = 'a'\nkind = 'cpu'\neach = 'x'", "each : il y a le texte « x », il faut true ou false"),
        ("[[agent]]\nname = 'a'\nkind = 'tcp'", "il manque la clé `services` ; écrire services = {"),
        ("[[agent]]\nname = 'a'\nkind = 'tcp'\nservices = { x = 'y' }", "services : « x » n'est pas une adresse"),
        ("[[agent]]\nname = 'a'\nkind = 'load'\nwarn = 'x'", "warn : « x » n'est pas un intervalle : une limite"),
        ("[[agent]]\nname = 'a'\nkind = 'load'\nwarn = true", "warn = true : écrire un intervalle"),
        ("[[agent]]\nname = 'a'\nkind = 'load'\nfor = 0", "for = 0 : écrire combien de mesures"),
        ("[[agent]]\nname = 'a'\nkind = 'http'\nurls = { x = 'y' }", "urls : « x » n'est pas une URL"),
        (
            "[[agent]]\nname = 'a'\nkind = 'http'\nurls = { 'http://a' = 'y' }\nproxy = '::'",
            "proxy = \"::\" : ceci n'est pas un proxy",
        ),
        (
            "[[agent]]\nname = 'a'\nkind = 'http'\nurls = 5",
            "urls : il y a le nombre 5, il faut une table ; écrire urls",
        ),
        (
            "[[agent]]\nname = 'a'\nkind = 'log'\nfile = '/x'\npattern = '('",
            "pattern : ce n'est pas une expression rationnelle : paren",
        ),
        ("[[agent]]\nname = 'a'\nkind = 'log'\nfile = 'x'\npattern = 'x'", "file : « x » ne commence pas par /"),
        ("[[agent]]\nname = 'a'\nkind = 'ping'\nhosts = { 'a:80' = '' }", "hosts : « a:80 » n'est pas un hôte"),
        ("[[agent]]\nname = 'a'\nkind = 'dns'\nquery = 'a'\ntype = 'X'", "type : « X » n'est pas l'un de A, AAAA"),
        ("[[agent]]\nname = 'a'\nkind = 'cert'\nstarttls = 'x'", "starttls : « x » n'est ni smtp, ni imap, ni pop3"),
        ("[[agent]]\nname = 'a'\nkind = 'time'\nserver = 'a'\nsource = 'x'", "server et source s'excluent"),
        ("[[agent]]\nname = 'a'\nkind = 'ups'\nups = ['a b']", "ups : « a b » n'est pas un nom d'onduleur"),
        ("[[agent]]\nname = 'a'\nkind = 'systemd'\nunits = ['*']", "units : « * » n'est pas une unité"),
        ("[[agent]]\nname = 'a'\nkind = 'mailq'\nprogram = 'x'", "program : « x » n'est ni postfix ni exim"),
        (
            "[[agent]]\nname = 'a'\nkind = 'process'\nprocess = { '/x' = 'y' }",
            "process : « /x » n'est pas un nom de programme",
        ),
        (
            "[[agent]]\nname = 'a'\nkind = 'process'\nprocess = { x = 5 }",
            "process.x : il faut un libellé, ou une table {",
        ),
        ("[[agent]]\nname = 'a'\nkind = 'rand'\nmin = 5\nmax = 1", "écrire deux nombres, min inférieur à max"),
        ("[[agent]]\nname = 'a'\nkind = 'exec'", "command : quel programme ?"),
        ("[[agent]]\nname = 'a'\nkind = 'exec'\ncommand = 'x y'", "command : il faut une liste, un texte par mot"),
        (
            "[[agent]]\nname = 'a'\nkind = 'exec'\ncommand = ['x']\nformat = 'xml'",
            "format : il y a `xml`, il faut l'un de `zstats`",
        ),
        (
            "[[agent]]\nname = 'a'\nkind = 'exec'\ncommand = ['x']\nmode = 'xml'",
            "mode : il y a `xml`, il faut `oneshot` ou `stream`",
        ),
        (
            "[[agent]]\nname = 'a'\nkind = 'exec'\ncommand = ['x']\nmemory = 'x'",
            "memory : « x » n'est pas un nombre d'octets",
        ),
        ("[[agent]]\nname = 'a'\nkind = 'exec'\ncommand = ['x']\nmemory = []", "memory : il faut un nombre d'octets"),
        (
            "[[agent]]\nname = 'a'\nkind = 'nagios'\ncommand = ['x']\nformat = 'json'",
            "format : c'est nagios pour ce kind",
        ),
    ] {
        let root = Root::new(&[("configs/x.agent", toml)]);
        let (code, text) = run(&root, &["check", "--no-defaults"]);
        assert!(code == 2 && text.contains(french), "{toml}\n{text}");
        is_french(&text);
    }
    let root = Root::new(&[("configs/a.agent", "[[agent]]\nname = 'a'\nkind = 'load'\n")]);
    assert_eq!(
        run(&root, &["check", "--no-defaults"]).1.lines().last().unwrap(),
        "1 agent, 0 absent, 0 avertissement, 0 erreur"
    );
}

#[test]
fn measurements_that_fail() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let agents = format!(
        "[[agent]]\nname = 'status'\nkind = 'exec'\ncommand = ['/bin/sh', '-c', 'exit 3']\ndescribe = false\n\
         [[agent]]\nname = 'signal'\nkind = 'exec'\ncommand = ['/bin/sh', '-c', 'kill -9 $$']\ndescribe = false\n\
         [[agent]]\nname = 'absent'\nkind = 'exec'\ncommand = ['/no/such']\n\
         [[agent]]\nname = 'json'\nkind = 'exec'\ncommand = ['/bin/echo', '{{x']\ndescribe = false\n\
         [[agent]]\nname = 'user'\nkind = 'exec'\ncommand = ['/bin/true']\nuser = 'no-such-user'\n\
         [[agent]]\nname = 'unresolved'\nkind = 'tcp'\nservices = {{ 'no-such-host.invalid:1' = 'x' }}\n\
         [[agent]]\nname = 'closed'\nkind = 'tcp'\nservices = {{ '127.0.0.1:{port}' = 'x' }}\n\
         [[agent]]\nname = 'file'\nkind = 'log'\nfile = '/no/such'\npattern = 'x'\n\
         [[agent]]\nname = 'directory'\nkind = 'log'\nfile = '/tmp'\npattern = 'x'\n\
         [[agent]]\nname = 'certificate'\nkind = 'cert'\nfiles = ['/no/such.pem']\n"
    );
    let root = Root::new(&[("configs/a.agent", &agents)]);
    for (agent, french) in [
        ("status", "code de retour 3"),
        ("signal", "terminé par le signal SIGKILL"),
        ("absent", "/no/such est absent"),
        ("json", "une clé est un texte entre guillemets (ligne 1, colonne 2)"),
        ("user", "l'utilisateur no-such-user n'existe pas"),
        ("unresolved", "impossible de résoudre ce nom : "),
        ("closed", "connexion refusée"),
        ("file", "/no/such : fichier ou répertoire inexistant"),
        ("directory", "ce n'est pas un fichier ordinaire"),
        ("certificate", "ce fichier n'existe pas"),
    ] {
        let (_, text) = run(&root, &["run", agent]);
        assert!(text.contains(french), "{agent}: {text}");
        is_french(&text.lines().skip(1).collect::<Vec<_>>().join("\n"));
    }
}

#[test]
fn starts_that_fail() {
    // Each has a directory of its own: a daemon that fails holds its lock for a moment more.
    let fresh = || {
        let root = Root::new(&[("none.pem", "no PEM\n"), ("empty", "\n"), ("open", "secret\n"), ("plain", "x")]);
        for (name, mode) in [("empty", 0o600), ("open", 0o644)] {
            fs::set_permissions(root.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        root
    };
    let root = fresh();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (args, french) in [
        (&["--port", &port][..], "impossible d'écouter sur 127.0.0.1:"),
        (&["--port", &port], "adresse déjà utilisée"),
        (&["--bind", "192.0.2.1"], "cette machine n'a pas cette adresse"),
        (
            &["--tls-cert", "none.pem", "--tls-key", "none.pem"],
            "none.pem : il faut un fichier PEM contenant des certificats",
        ),
        (
            &["--tls-cert", "absent", "--tls-key", "none.pem"],
            "absent : fichier ou répertoire inexistant ; z_stats doit",
        ),
        (&["--password-file", "absent"], "absent : fichier ou répertoire inexistant ; donner un fichier lisible"),
        (&["--password-file", "open"], "open : tout le monde peut le lire"),
        (&["--token-file", "empty"], "empty : la première ligne est vide"),
        (
            &["--pid-file", "no/such"],
            "impossible d'écrire le fichier de pid no/such : fichier ou répertoire inexistant",
        ),
        (
            &["--data", "plain/x"],
            "plain/x : inutilisable pour les données : il existe déjà ; donner un autre répertoire",
        ),
        (&["--prot", "1"], "il n'y a pas d'option --prot"),
        (&["--demo=1"], "--demo ne prend pas de valeur"),
        (&["--port", "x"], "--port : `x` n'est pas un port"),
    ] {
        let (code, text) = run(&fresh(), &[args, &["-f"]].concat());
        assert!(code == 1 && text.contains(french), "{args:?}: {text}");
        is_french(&text);
        // Whoever waits for a daemon is told the same.
        let (code, text) = run(&fresh(), args);
        assert!(code == 1 && text.contains(french), "{args:?}: {text}");
        is_french(&text);
    }
    if nix::unistd::geteuid().is_root() {
        let (code, text) = run(&root, &["-f", "--user", "no-such-user"]);
        assert!(code == 1 && text.contains("l'utilisateur no-such-user n'existe pas"), "{text}");
    }
    for (settings, french) in [
        ("port = [", "settings.toml:1:9 : liste non fermée ; attendu : `]`"),
        ("prot = 1", "settings.toml : il n'y a pas de réglage prot"),
        ("debug = 1", "settings.toml : debug : il faut true ou false"),
        ("port = 1.5", "settings.toml : port : il faut un texte"),
    ] {
        root.write("settings.toml", settings);
        let (code, text) = run(&root, &["status"]);
        assert!(code == 3 && text.contains(french), "{settings}: {text}");
        is_french(&text);
    }
    fs::remove_file(root.path("settings.toml")).unwrap();
    let (code, text) = run(&root, &["check"]);
    assert!(code == 2 && text.contains("settings.toml : illisible : fichier ou répertoire inexistant"), "{text}");
    root.write("settings.toml", "");
    let (code, text) = run(&root, &["status", "--port", "1", "--data", "absent"]);
    assert!(
        code == 3 && text.contains("connexion refusée") && text.contains("fichier ou répertoire inexistant"),
        "{text}"
    );
    is_french(&text);
}

/// Status and body of an answer to these headers.
fn ask(service: &Service, request: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{request} HTTP/1.0\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn pages_refusals_and_the_log() {
    let root = Root::new(&[
        (
            "configs/a.agent",
            "[[agent]]\nname = 'status'\nkind = 'exec'\ncommand = ['/bin/sh', '-c', 'echo oh >&2; exit 3']\nperiod = 1\n",
        ),
        ("configs/b.agent", "[[agent]]\nname = 'cassé'\n"),
        ("token", "sésame\n"),
    ]);
    fs::set_permissions(root.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command =
        root.command(&["-f", "--port", "0", "--debug", "--no-defaults", "--token-file", "token", "--pid-file", "pid"]);
    let service = Service::start(command.env_remove("LC_ALL").env("LANG", "fr_FR.UTF-8"));
    service.logged("code de retour 3");
    service.logged("b.agent : Inconnu -> Erreur : ");
    let french = "Host: localhost\r\nAccept-Language: fr\r\n";
    for (request, headers, expected) in [
        ("GET /agents/status/", french, "code de retour 3"),
        ("GET /no/such", french, "Cette page n'existe pas"),
        ("GET / HTTP/9", "", "Ceci n'est pas une requête"),
        ("GET /", "Host: evil.example\r\nAccept-Language: fr\r\n", "Ce port est réservé à la machine elle-même"),
        ("GET /", "Host: evil.example\r\nAccept-Language: en\r\n", "This port is for the machine itself"),
        ("POST /", "Host: localhost\r\nAccept-Language: fr\r\nContent-Length: 0\r\n", "Ici, GET, HEAD seulement."),
        ("PUT /", french, "GET et HEAD seulement."),
        (
            "POST /agents/status/measure",
            "Host: localhost\r\nAccept-Language: fr\r\nContent-Length: 0\r\n",
            "Le jeton manque",
        ),
        ("GET /api/v1/agents/nobody?lang=fr", french, "il n'y a pas d'agent de ce nom"),
        ("GET /api/v1/agents/status/series?lang=fr", french, "ce graphique n'existe pas"),
        ("GET /api/v1/agents/status?lang=fr", french, "code de retour 3"),
    ] {
        let answer = ask(&service, request, headers);
        assert!(answer.contains(expected), "{request}: {answer}");
    }
    // A second one, beside it and with its pid file.
    let (code, text) = run(&root, &["-f", "--port", "0"]);
    assert!(code == 1 && text.contains("stats : un autre z_stats emploie ce répertoire"), "{text}");
    is_french(&text);
    let (code, text) = run(&root, &["-f", "--port", "0", "--data", "other", "--pid-file", "pid"]);
    assert!(code == 1 && text.contains("le service tourne déjà : pid contient le numéro de processus"), "{text}");
    is_french(&text);
    service.signal(Signal::SIGUSR1);
    service.logged("2 agents, dont 1 en avertissement ou en erreur");
    service.signal(Signal::SIGHUP);
    wait("a reload", || (service.text().matches("impossible").count() > 1).then_some(()));
    is_french(&service.text().replace(&root.path("").display().to_string(), ""));
    service.stop();
}
