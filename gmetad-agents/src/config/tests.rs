use std::fs;

use gmetad_core::agent::{Agent, AgentError, Context, Measurement};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::class::{RrdAgent, TableAgent};
use crate::kind::keys;
use crate::spec::{Keep, Rule};

struct Test(String);

impl Agent for Test {
    fn name(&self) -> &str {
        &self.0
    }

    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        Ok(Measurement::new().number("value", 1.0))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    port: u16,
    #[serde(default)]
    #[allow(dead_code, reason = "read only")]
    host: String,
    #[serde(default)]
    #[allow(dead_code, reason = "read only")]
    more: toml::Table,
}

fn build_port(name: &str, own: toml::Table) -> Result<Installed, Message> {
    let Port { port, .. } = keys(own)?;
    if port == 0 {
        return Err("port 0 cannot be connected to".into());
    }
    let mut installed: Installed = RrdAgent::new(Test(name.to_owned())).into();
    installed.spec.rules.push(Rule {
        field: "value".to_owned(),
        warn: None,
        error: "5".parse().ok(),
        r#for: 1,
        nodata: None,
    });
    Ok(installed)
}

static PORT: Kind = Kind { name: "port", about: "a port", section: "Services", build: build_port, default: Vec::new };
static LOAD: Kind = Kind {
    name: "load",
    about: "the load",
    section: "Usage",
    build: |name, own| {
        if own.is_empty() { Ok(TableAgent::new(Test(name.to_owned()), 5).into()) } else { Err("takes no keys".into()) }
    },
    default: || vec![TableAgent::new(Test("load".to_owned()), 5).into(), Installed::new(Test("cpu".to_owned()))],
};

static PANICS: Kind = Kind {
    name: "panics",
    about: "nothing",
    section: "System",
    build: |_, _| panic!("no"),
    default: || panic!("never"),
};

/// A root in a scratch directory.
struct Root(tempfile::TempDir);

impl Root {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            root.write(name, text);
        }
        root
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn options(&self) -> ConfigOptions {
        let facts = Some(self.path("facts")).filter(|facts| facts.exists());
        let drop_in = vec![self.path("usr"), self.path("etc")];
        ConfigOptions { facts, drop_in, defaults: false, ..ConfigOptions::new(self.0.path()) }
    }

    fn load(&self) -> Loaded {
        load_with(&self.options(), &[&LOAD, &PORT], &[])
    }

    /// An error without the scratch directory.
    fn text(&self, message: &Message) -> String {
        message.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.agents.iter().map(|agent| agent.spec.name.as_str()).collect()
}

fn only_error(text: &str) -> String {
    let root = Root::new(&[("configs/a.agent", text)]);
    let loaded = root.load();
    assert_eq!(loaded.failed.len(), 1, "{text}: {loaded:?}");
    root.text(&loaded.failed[0].what)
}

#[test]
fn directories_in_order_and_names_override() {
    let root = Root::new(&[
        (
            "configs/a.agent",
            "[[agent]]\nname = 'one'\nkind = 'port'\nport = 1\n[[agent]]\nname = 'two'\nkind = 'port'\nport = 2\nperiod = '5m'\n",
        ),
        ("configs/b.toml", "not read here"),
        ("configs/amon/x.agent", "[[agent]]\nname = 'three'\nkind = 'port'\nport = 3\n"),
        ("configs/amon-1.5/x.agent", "[[agent]]\nname = 'three'\nkind = 'port'\nport = 4\n"),
        ("configs/scribe-1/x.agent", "[[agent]]\nname = 'never'\nkind = 'port'\nport = 3\n"),
        ("usr/p.toml", "[[agent]]\nname = 'two'\nkind = 'port'\nport = 22\n"),
        ("etc/p.agent", "[[agent]]\nname = 'one'\nenabled = false\n[agent.nothing]\n"),
        (
            "etc/modules/amon-1.5/q.toml",
            "[[agent]]\nname = 'load'\nperiod = 5\n[[agent]]\nname='four'\nkind='load'\nsection='X'\n",
        ),
        ("facts", "module=amon-1.5\n"),
    ]);
    let options = ConfigOptions { defaults: true, ..root.options() };
    let loaded = load_with(&options, &[&LOAD, &PORT], &[]);
    assert_eq!(names(&loaded), ["load", "cpu", "two", "three", "four"]);
    assert_eq!((loaded.failed.len(), loaded.warnings.len(), loaded.left.len()), (0, 0, 1), "{loaded:?}");
    let spec = |name: &str| &loaded.agents.iter().find(|agent| agent.spec.name == name).unwrap().spec;
    assert_eq!(spec("two").period.as_secs(), 60, "a later file replaces all of it");
    assert_eq!(spec("two").written, "port = 22\n");
    assert_eq!(spec("three").written, "port = 4\n");
    // Only changed, not replaced.
    assert_eq!((spec("load").period.as_secs(), &spec("load").keep), (5, &Keep::Table { rows: 5 }));
    assert_eq!((spec("load").section.to_string(), spec("four").section.to_string()), ("Usage".into(), "X".into()));
    assert_eq!(spec("three").section.to_string(), "Services");
    assert!(spec("three").origin.ends_with("/configs/amon-1.5/x.agent"));
    // The same again is the same.
    let again = load_with(&options, &[&LOAD, &PORT], &[]);
    for (agent, again) in loaded.agents.iter().zip(&again.agents) {
        assert_eq!(agent.spec, again.spec);
    }
}

#[test]
fn errors_name_file_line_column_key_and_remedy() {
    for (error, text) in [
        (
            "configs/a.agent:3:1: unknown key `prot`; is `port` meant?",
            "[[agent]]\nname = 'a'\nprot = 1\nkind = 'port'\n",
        ),
        (
            "configs/a.agent:4:1: unknown key `peroid`; is `period` meant?",
            "[[agent]]\nname = 'a'\nkind = 'port'\nperoid = 1\n",
        ),
        (
            "configs/a.agent:5:3: unknown key `wran`; is `warn` meant?",
            "[[agent]]\nname = 'a'\nkind = 'load'\n [[agent.rules]]\n  wran = 1\n field = 'x'",
        ),
        (
            "configs/a.agent:4:10: period: 0 s is too short or too long: from 1 s to 31 days",
            "[[agent]]\nname = 'a'\nkind = 'load'\nperiod = 0\n",
        ),
        ("configs/a.agent:3:8: there is no kind `lood`; is `load` meant?", "[[agent]]\nname = 'a'\nkind = 'lood'\n"),
        ("configs/a.agent:4:1: port 0 cannot be connected to", "[[agent]]\nname = 'a'\nkind = 'port'\nport = 0\n"),
        ("configs/a.agent:3:8: the key `port` is missing", "[[agent]]\nname = 'a'\nkind = 'port'\n"),
        ("configs/a.agent:2:8: `a b` cannot be the name of an agent", "[[agent]]\nname = 'a b'\nkind = 'load'\n"),
        ("configs/a.agent:2:1: this agent has no name", "[[agent]]\nkind = 'load'\n"),
        ("configs/a.agent:2:1: agent a has no kind", "[[agent]]\nname = 'a'\n"),
        ("configs/a.agent:1:1: this stands outside of any agent; write [[agent]]", "name = 'a'\nkind = 'load'\n"),
        ("configs/a.agent:1:3: unknown key `agents`; is `agent` meant?", "[[agents]]\nname = 'a'\n"),
        ("configs/a.agent:2:8: string values must be quoted", "[[agent]]\nname = b c\n"),
        ("configs/a.agent: is written in Python", "from x import y\nAGENTS = [y()]\n"),
        (
            "configs/a.agent:4:1: what is drawn, b, is none of the datasources",
            "[[agent]]\nname = 'a'\nkind = 'port'\ngraphs = [{ pngname = 'x', series = [{ ds = 'b' }] }]\nport = 1\ndatasources = [{ name = 'a' }]\n",
        ),
        (
            "configs/a.agent:4:33: rules.warn: \"10:5\" is not a range: the lower limit is above the upper one; write",
            "[[agent]]\nname = 'a'\nkind = 'load'\nrules = [{ field = 'x', warn =  '10:5' }]\n",
        ),
        (
            "configs/a.agent:4:8: when: there stands the number 3, expected is a table",
            "[[agent]]\nname = 'a'\nkind = 'load'\nwhen = 3\n",
        ),
        (
            "configs/a.agent:4:1: port: there stands the text \"x\", expected is a whole number",
            "[[agent]]\nname = 'a'\nkind = 'port'\nport = 'x'\n",
        ),
        ("configs/a.agent:4:8: there is no fact `p`", "[[agent]]\nname = 'a'\nkind = 'port'\nport = '${p}'\n"),
        ("configs/a.agent:3:11: enabled is true or false", "[[agent]]\nname = 'a'\nenabled = 'non'\nkind = 'load'\n"),
        (
            "configs/a.agent:3:10: unknown key `fil`; is `file` meant?",
            "[[agent]]\nname = 'a'\nwhen = { fil = '/' }\nkind = 'load'\n",
        ),
    ] {
        let said = only_error(text);
        assert!(said.starts_with(error), "{text}\n{said}\n{error}");
    }
}

#[test]
fn one_that_is_broken_costs_only_itself() {
    let root = Root::new(&[
        (
            "configs/a.agent",
            "x = 1\n[[agent]]\nname = 'one'\nkind = 'port'\nport = 1\n[[agent]]\nname = 'two'\nkind = 'prt'\nsection = 'S'\n[[agent]]\nname = 'one'\nkind = 'load'\n",
        ),
        ("configs/b b.agent", "[["),
        ("configs/c.agent", "import os"),
        ("configs/d.agent", "[[agent]]\nname = 'last'\nkind = 'load'\n[[agent]]\n[[agent]]\nname='../x'\n"),
    ]);
    fs::write(root.path("configs/latin.agent"), b"\xe9").unwrap();
    let loaded = root.load();
    let expected =
        ["a.agent", "one", "two", "a.agent-2", "b_b.agent", "c.agent", "last", "d.agent", "d.agent-2", "latin.agent"];
    assert_eq!(names(&loaded), expected);
    let failed: Vec<_> = loaded.failed.iter().map(|failed| failed.name.as_str()).collect();
    assert_eq!(failed, ["a.agent", "two", "a.agent-2", "b_b.agent", "c.agent", "d.agent", "d.agent-2", "latin.agent"]);
    let two = &loaded.agents[2];
    assert_eq!((two.spec.section.to_string(), two.spec.origin.ends_with("a.agent")), ("S".to_owned(), true));
    let history =
        gmetad_core::agent::History { now: 0, last: None, before: None, status: &gmetad_core::agent::Status::ok() };
    let status = two.agent.check_status(&history);
    assert!(root.text(&status.message).starts_with("configs/a.agent:8:8: there is no kind `prt`"), "{status}");
}

#[test]
fn a_kind_that_panics_costs_only_its_agents() {
    let root = Root::new(&[("configs/a.agent", "[[agent]]\nname = 'a'\nkind = 'panics'\n")]);
    let options = ConfigOptions { defaults: true, ..root.options() };
    let loaded = load_with(&options, &[&PANICS, &LOAD], &[]);
    assert_eq!((names(&loaded), loaded.warnings.len()), (vec!["load", "cpu", "a"], 1));
    assert!(root.text(&loaded.failed[0].what).starts_with("configs/a.agent:3:8: this kind panicked"), "{loaded:?}");
}

#[test]
fn facts_conditions_and_modules() {
    let root = Root::new(&[
        ("facts", "ip=10.0.0.1\nport=3128\nsquid=oui\nnb=3\nmodule=amon-2.8\ntitre=7\n"),
        (
            "configs/a.agent",
            "[[agent]]\nname = 'squid-${ip}'\nkind = 'port'\nport = '${port}'\nhost = '${ip}'\nmore = { '${ip}:1' = '$${x}' }\ndescription = 'le ${titre}'\nwhen = { var = { squid = true, nb = '>2' }, file = '/proc' }\n\
             [[agent]]\nname = 'no'\nkind = 'port'\nport = '${nothing}'\nwhen = { var = { squid = 'non' } }\n\
             [[agent]]\nname = 'scribe'\nkind = 'load'\nmodules = ['scribe', 'amon-1.5']\n\
             [[agent]]\nname = 'amon'\nkind = 'load'\nmodules = 'amon'\n\
             [[agent]]\nname = 'odd'\nkind = 'load'\nwhen = { command = ['/no/such'], program = 'sh' }\n",
        ),
    ]);
    let loaded = root.load();
    assert_eq!(names(&loaded), ["squid-10.0.0.1", "amon"]);
    assert_eq!(
        loaded.agents[0].spec.written, "host = \"10.0.0.1\"\nport = 3128\n\n[more]\n\"10.0.0.1:1\" = \"${x}\"\n",
        "a number where one is wanted"
    );
    assert_eq!(loaded.agents[0].spec.description.to_string(), "le 7");
    let left: Vec<_> = loaded.left.iter().map(|left| format!("{}: {}", left.name, left.why)).collect();
    let expected = [
        "no: the fact squid is oui, not non",
        "scribe: it is for the modules scribe, amon-1.5, and this is amon-2.8",
        "odd: /no/such does not succeed",
    ];
    assert_eq!(left, expected);
    assert_eq!(loaded.module.as_deref(), Some("amon-2.8"));
    let options = ConfigOptions { module: Some("../etc".into()), ..root.options() };
    let loaded = load_with(&options, &[&LOAD, &PORT], &[]);
    assert_eq!((loaded.module, loaded.warnings.len()), (None, 1));
}

/// Of what depends on them nobody knows whether it is to be there.
#[test]
fn broken_facts_are_an_agent_in_error_that_stands_for_the_others() {
    let agent = |name: &str, when: &str| {
        format!("[[agent]]\nname = '{name}'\nkind = 'load'\nwhen = {{ var = {{ {when} }} }}\n")
    };
    let files = agent("is", "squid = 'oui'") + &agent("not", "squid = '!=oui'") + &agent("sure", "nb = 3");
    let root = Root::new(&[
        ("configs/a.agent", &files),
        ("configs/facts.agent", "[[agent]]\nname = 'facts'\nkind = 'load'\n"),
        ("configs/amon/m.agent", "[[agent]]\nname = 'module'\nkind = 'load'\n"),
    ]);
    let options = ConfigOptions { facts: Some(root.path("facts")), ..root.options() };
    let load = || load_with(&options, &[&LOAD], &[]);
    let cases = [
        (None, "facts: cannot be read: no such file", &["facts", "facts-2"][..]),
        (Some("{\"squid\": \"oui\", "), "facts: is no JSON object of facts: ", &["facts", "facts-2"]),
        (
            Some("nb=3\nmodule=amon\nsquid=\"oui\n"),
            "facts: line 3 is not name=value",
            &["sure", "facts", "module", "facts-2"],
        ),
    ];
    for (facts, what, there) in cases {
        facts.into_iter().for_each(|facts| root.write("facts", facts));
        let loaded = load();
        assert_eq!(names(&loaded), there, "{what}: {loaded:?}");
        assert!(root.text(&loaded.failed[0].what).starts_with(what), "{loaded:?}");
        let spec = &loaded.agents[there.len() - 1].spec;
        assert!(spec.load_error, "{spec:?}");
        for file in ["configs/a.agent", "configs/amon/m.agent", "usr/x.toml", "etc/modules/amon/x.toml"] {
            assert!(crate::spec::is_of(&root.path(file).display().to_string(), &spec.stands_for), "{spec:?}");
        }
    }
    assert_eq!(check(&options, &[root.path("configs/facts.agent")]).failed.len(), 1, "also of one file");
    root.write("facts", "nb=3\nmodule=amon\nsquid=\"oui\"\n");
    assert_eq!(names(&load()), ["is", "sure", "facts", "module"]);
}

#[test]
fn what_is_there_already_is_changed_without_a_kind() {
    let change = "[[agent]]\nname = 'load'\nperiod = '10s'\nrules = [{ field = 'value', warn = 3 }]\n";
    let root = Root::new(&[
        ("configs/a.agent", change),
        ("etc/b.toml", "[[agent]]\nname = 'cpu'\nwhen = { file = '/no' }\nkind = 'port'\n"),
    ]);
    let options = ConfigOptions { defaults: true, ..root.options() };
    let loaded = load_with(&options, &[&LOAD, &PORT], &[]);
    assert_eq!(names(&loaded), ["load", "cpu"], "a condition that does not hold leaves what is there");
    assert_eq!(loaded.agents[0].spec.rules.len(), 1);
    root.write("configs/a.agent", &(change.to_owned() + "prot = 3\n"));
    let loaded = load_with(&options, &[&LOAD, &PORT], &[]);
    assert!(
        root.text(&loaded.failed[0].what).starts_with("configs/a.agent:5:1: without a kind, only common keys"),
        "{loaded:?}"
    );
    assert_eq!(loaded.failed[0].name, "load");
}

#[test]
fn two_files_of_a_directory_warn_and_a_mended_one_counts() {
    let agent = |port: u16| format!("[[agent]]\nname = 'a'\nkind = 'port'\nport = {port}\n");
    let root = Root::new(&[("configs/1.agent", &agent(0)), ("configs/2.agent", &agent(7)), ("etc/3.toml", &agent(8))]);
    let loaded = root.load();
    assert_eq!((names(&loaded), loaded.failed.len()), (vec!["a"], 0), "{loaded:?}");
    assert_eq!(loaded.agents[0].spec.written, "port = 8\n");
    let warnings: Vec<_> = loaded.warnings.iter().map(|warning| root.text(warning)).collect();
    assert_eq!(
        warnings,
        ["agent a is in configs/1.agent and in configs/2.agent, the latter counts; give one of them another name"]
    );
    let of = [root.path("new.agent")];
    root.write("new.agent", "[[agent]]\nname = 'a'\nperiod = 7\n");
    let loaded = load_with(&root.options(), &[&LOAD, &PORT], &of);
    assert_eq!((loaded.agents[0].spec.period.as_secs(), loaded.warnings.len()), (7, 1));
}

#[test]
fn site_cfg_orders_hides_and_names_sections() {
    let root = Root::new(&[
        (
            "configs/a.agent",
            "[[agent]]\nname = 'a'\nkind = 'load'\n[[agent]]\nname = 'b'\nkind = 'load'\n[[agent]]\nname = 'c'\nkind = 'load'\n[[agent]]\nname='off'\nenabled=false\n",
        ),
        ("configs/broken.agent", "["),
        ("site.cfg", "c\n[Réseau]\na\noff\nmissing\n"),
    ]);
    let loaded = root.load();
    assert_eq!(loaded.layout.shown.as_deref(), Some(&["c", "a", "broken.agent"].map(ToOwned::to_owned)[..]));
    let sections: Vec<_> = loaded.agents.iter().map(|agent| agent.spec.section.to_string()).collect();
    assert_eq!(sections, ["Réseau", "Usage", "Usage", ""]);
    let warnings: Vec<_> = loaded.warnings.iter().map(|warning| root.text(warning)).collect();
    assert_eq!(warnings, ["site.cfg names agent missing, which is not there"]);
    root.write("site.cfg", "# nothing\n");
    let loaded = root.load();
    assert_eq!((loaded.layout.shown, loaded.warnings.len()), (None, 1));
    fs::remove_file(root.path("site.cfg")).unwrap();
    root.write("configs/site.cfg", "b");
    assert_eq!(root.load().layout.shown.map(|shown| shown.len()), Some(2));
}

#[test]
fn numbers_are_bounded() {
    let many: String = (0..AGENTS + 5).map(|at| format!("[[agent]]\nname = 'a{at}'\nkind = 'load'\n")).collect();
    let root = Root::new(&[("configs/a.agent", &many), ("configs/b.agent", "[[")]);
    let loaded = root.load();
    assert_eq!(loaded.agents.len(), AGENTS);
    assert_eq!(loaded.warnings.len(), 6);
    let deep = format!("[[agent]]\nname = 'a'\nkind = 'port'\nx = {}{}\n", "[".repeat(50_000), "]".repeat(50_000));
    assert!(only_error(&deep).starts_with("configs/a.agent:4:"), "no stack overflows");
    let root = Root::new(&[("configs", "a file")]);
    assert_eq!(names(&root.load()), ["configs"], "a file where the directory should be");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_file_panics_and_none_vanishes(
        text in prop_oneof![
            any::<String>(),
            "(\\[\\[agent\\]\\]\n|name = 'a'\n|kind = 'port'\n|port = [0-9]{1,6}\n|rules = \\[\\{ field = 'x' \\}\\]\n|period = '[0-9a-z]{0,4}'\n|when = \\{ var = \\{ a = 1 \\} \\}\n){0,8}",
        ]
    ) {
        let root = Root::new(&[("configs/a.agent", &text)]);
        let loaded = root.load();
        let written = !text.trim().is_empty() && text.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
        prop_assert!(!written || !loaded.agents.is_empty() || !loaded.left.is_empty() || text == "\u{feff}", "{:?}", loaded);
    }
}

#[test]
fn a_file_that_is_checked_where_it_lies_is_told_of_once() {
    let twice = "[[agent]]\nname = 'a'\nkind = 'load'\n".repeat(2);
    for text in ["[[agent]]\nname = 'a\n", &twice] {
        let root =
            Root::new(&[("configs/a.agent", text), ("configs/b.agent", "[[agent]]\nname = 'b'\nkind = 'load'\n")]);
        let loaded = load_with(&root.options(), &[&LOAD, &PORT], &[root.path("configs/../configs/a.agent")]);
        assert_eq!(loaded.failed.len(), 1, "{:?}", loaded.failed);
        assert!(names(&loaded).contains(&"b"));
    }
}

#[test]
fn titles_have_no_characters_that_are_not_seen() {
    let text = "[[agent]]\nname = 'a'\nkind = 'load'\ndescription = \"x\\u001b[31m\\u202ey\"\nsection = \"S\\u0000\\u2066t\\n\"\n";
    let loaded = Root::new(&[("configs/a.agent", text)]).load();
    let spec = &loaded.agents[0].spec;
    assert_eq!((&*spec.description.to_string(), &*spec.section.to_string()), ("x [31my", "S t"));
}
