//! check, run, status, kinds: what they print and how they end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod util;

use util::Root;

const GOOD: &str = "[[agent]]\nname = 'mine'\nkind = 'load'\nperiod = '10s'\n";

#[test]
fn check_tells_what_would_run() {
    let root =
        Root::new(&[("configs/good.agent", GOOD), ("other/new.agent", "[[agent]]\nname = 'load'\nperiod = '7s'\n")]);
    let (code, text) = root.run(&["check"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("mine: every 10 s, at most 10 s") && text.contains("load: every 60 s"), "{text}");
    let (code, text) = root.run(&["check", "other/new.agent"]);
    assert!(code == 0 && text.contains("load: every 7 s") && !text.contains("mine"), "{text}");
    let (code, text) = root.run(&["check", "--no-defaults"]);
    assert!(code == 0 && text.ends_with("1 agent, 0 not here, 0 warnings, 0 errors\n"), "{text}");

    root.write("configs/odd.agent", "[[agent]]\nname = 'odd'\nkind = 'load'\nrequires = ['nobody']\n");
    let (code, text) = root.run(&["check"]);
    assert!(code == 1 && text.contains("warning: odd requires nobody, which is not there"), "{text}");

    root.write("configs/ring.agent", "[[agent]]\nname = 'a'\nkind = 'load'\nrequires = ['b']\n[[agent]]\nname = 'b'\nkind = 'load'\nrequires = ['a']\n");
    root.write("configs/broken.agent", "[[agent]]\nname = 'x'\nkind = 'lod'\n");
    let (code, text) = root.run(&["check"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("broken.agent:3:8: there is no kind `lod`; is `load` meant?"), "{text}");
    assert!(text.contains("requires itself"), "{text}");
    let (code, text) = root.run(&["check", "--lang", "fr", "configs/broken.agent"]);
    assert!(code == 2 && text.contains("il n'y a pas de kind `lod` ; est-ce `load` ?"), "{text}");
    let (code, text) = root.run(&["check", "missing.agent"]);
    assert!(code == 2 && text.contains("missing.agent: cannot be read"), "{text}");
}

#[test]
fn rules_of_the_file_count_and_not_those_of_the_program() {
    let native = "if [ \"$1\" = describe ]; then echo '[[rules]]'; echo 'field = \"x\"'; echo 'error = \"~:10\"'\n\
        else echo '{\"fields\":{\"x\":50}}'; fi\n";
    let munin = "if [ \"$1\" = config ]; then echo 'x.label X'; echo 'x.critical 10'; else echo 'x.value 50'; fi\n";
    let root = Root::new(&[("native", native), ("munin", munin)]);
    let mut agents = String::new();
    let rules = [("plain", ""), ("higher", "{field='x',error='~:1000'}"), ("away", "{field='x'}")];
    for (kind, program) in [("exec", "native"), ("munin", "munin")] {
        for (name, rule) in rules {
            let command = format!("['/bin/sh', '{}']", root.path(program).display());
            agents +=
                &format!("[[agent]]\nname='{program}-{name}'\nkind='{kind}'\ncommand={command}\nrules=[{rule}]\n");
        }
    }
    root.write("configs/a.agent", &agents);
    for program in ["native", "munin"] {
        let codes = rules.map(|(name, _)| root.run(&["run", &format!("{program}-{name}")]));
        assert_eq!(codes.each_ref().map(|(code, _)| *code), [2, 0, 0], "{codes:?}");
    }
}

#[test]
fn run_measures_once_and_ends_as_the_status_is() {
    let root = Root::new(&[(
        "configs/a.agent",
        "[[agent]]\nname = 'crit'\nkind = 'nagios'\ncommand = ['/bin/sh', '-c', 'echo \"DISK bad | used=91%;80;90\"; exit 2']\n\
         [[agent]]\nname = 'fails'\nkind = 'exec'\ncommand = ['/bin/sh', '-c', 'exit 5']\n\
         [[agent]]\nname = 'hangs'\nkind = 'exec'\ncommand = ['/bin/sleep', '100']\ntimeout = 1\ndescribe = false\n\
         [[agent]]\nname = 'warns'\nkind = 'load'\nrules = [{ field = 'processors', warn = '~:0' }]\n\
         [[agent]]\nname = 'not'\nkind = 'load'\nwhen = { file = '/no' }\n",
    )]);
    let (code, text) = root.run(&["run", "load"]);
    assert!(text.contains("fifteen ") && text.contains("processors "), "{text}");
    assert!([0, 1, 2].contains(&code), "{code}: as busy as it is");
    for (agent, code, words) in [
        ("crit", 2, &["status                   Error: ", "DISK bad", "used "][..]),
        ("fails", 3, &["exception during measure"]),
        ("hangs", 3, &["exception during measure"]),
        ("warns", 1, &["status                   Warn: "]),
        ("not", 3, &["agent not is not here: /no is not there"]),
        ("nobody", 3, &["there is no agent nobody; z_stats check lists them"]),
    ] {
        let (ended, text) = root.run(&["run", agent]);
        assert_eq!(ended, code, "{agent}: {text}");
        words.iter().for_each(|word| assert!(text.contains(word), "{agent}: {text}"));
    }
    let (_, text) = root.run(&["run", "warns", "--lang", "fr"]);
    assert!(text.contains("\nétat  "), "{text}");
}

#[test]
fn run_shows_what_an_agent_says_of_itself_and_leaves_nothing() {
    let script = "#!/bin/sh\nif [ \"$1\" = describe ]; then printf 'description = \"Spool\"\\narchives = 1\\n[[fields]]\\nname = \"size\"\\nlabel = \"Size of all\"\\nunit = \"B\"\\n'\n\
        else echo '{\"fields\":{\"size\":3758096384,\"jobs\":2}}'; fi\n";
    let root = Root::new(&[
        ("bin/spool", script),
        ("tmp/.keep", ""),
        ("configs/a.agent", "[[agent]]\nname = 'spool'\nkind = 'exec'\ncommand = ['spool']\nlink = 'other'\n"),
    ]);
    std::fs::set_permissions(root.path("bin/spool"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (code, text) = root.run(&["run", "spool"]);
    assert_eq!(code, 0, "{text}");
    for line in [
        "spool                    Spool",
        "size                     3.5 GiB (3758096384)         Size of all",
        "jobs                     2",
        "note                     keys that a description cannot have: archives",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
    }
    let (_, text) = root.run(&["run", "spool", "--lang", "fr"]);
    assert!(text.contains("3,5 Gio") && text.contains("\nremarque "), "{text}");
    root.write("scratch/kept", "");
    let output = root.command(&["run", "spool"]).env("TMPDIR", root.path("scratch")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("GiB"), "{output:?}");
    let left: Vec<_> =
        std::fs::read_dir(root.path("scratch")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["kept"]);
}

#[test]
fn kinds_help_and_mistakes() {
    let root = Root::new(&[]);
    let (code, text) = root.run(&["kinds"]);
    assert!(
        code == 0 && text.contains("\n  tcp ") && text.contains("\n  nagios ") && text.contains("\n  when "),
        "{text}"
    );
    let (code, text) = root.run(&["--help", "--lang", "fr"]);
    assert!(code == 0 && text.contains("Commandes :") && text.contains("--tls-cert FILE"), "{text}");
    let (code, text) = root.run(&["--prot", "1"]);
    assert_eq!((code, text.as_str()), (1, "z_stats: there is no option --prot; z_stats --help lists the options\n"));
    // Of commands whose exit status says something, a mistake is none of its good ones.
    let commands = [(&["status"][..], 3), (&["run", "load"], 3), (&["check"], 2), (&["kinds"], 1)];
    for (command, expected) in commands {
        let (code, text) = root.run(&[command, &["--prot", "1"]].concat());
        assert!(code == expected && text.contains("there is no option --prot"), "{command:?}: {code} {text}");
        let (code, text) = root.run(&[&["--prot", "1"], command].concat());
        assert!(code == expected && text.contains("there is no option --prot"), "{command:?}: {code} {text}");
    }
    assert_eq!(root.run(&["run"]).0, 3, "without an agent");
    root.write("settings.toml", "prot = 1\n");
    for (command, expected) in commands {
        let (code, text) = root.run(command);
        assert!(code == expected && text.contains("settings.toml: there is no setting prot"), "{command:?}: {text}");
    }
    root.write("settings.toml", "");
    let (code, text) = root.run(&["status", "--port", "1"]);
    assert!(code == 3 && text.contains("name its directory with --data"), "{text}");
    // Who only listens.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (code, text) = root.run(&["status", "--port", &port, "--lang", "fr"]);
    assert!(code == 3 && text.contains(&format!("127.0.0.1:{port} ne répond pas en 5 s)")), "{text}");
}
