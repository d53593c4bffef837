//! `z_stats check` and `z_stats kinds`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gmetad_agents::config::{self, KEYS, Loaded};
use gmetad_agents::kind;
use gmetad_agents::lang::Lang;
use gmetad_agents::spec::{Keep, Spec};
use gmetad_agents::status::Depend;
use gmetad_core::agent::Message;
use gmetad_core::message;

use crate::Printed;
use crate::settings::Settings;

/// All is well.
const WELL: u8 = 0;
/// Something is odd.
const ODD: u8 = 1;
/// Something cannot be loaded.
const BROKEN: u8 = 2;

/// Says what these files (none: everything) would run.
pub(crate) fn check(settings: &Settings, directory: &Path, files: &[OsString]) -> Printed {
    let files: Vec<PathBuf> = files.iter().map(|file| directory.join(file)).collect();
    let options = settings.agents();
    let all = config::load(&options);
    let loaded = if files.is_empty() { None } else { Some(config::check(&options, &files)) };
    let (text, code) = report(loaded.as_ref().unwrap_or(&all), &all, settings.lang);
    (text, ExitCode::from(code))
}

/// The report on what was loaded, which is a part of all agents.
fn report(loaded: &Loaded, all: &Loaded, lang: Lang) -> (String, u8) {
    let mut text = String::new();
    let mut say = |message: Message| text += &(lang.message(&message) + "\n");
    let failed: HashSet<_> = loaded.failed.iter().map(|failed| failed.name.as_str()).collect();
    for agent in loaded.agents.iter().filter(|agent| !failed.contains(agent.spec.name.as_str())) {
        say(described(&agent.spec));
    }
    for left in &loaded.left {
        say(message!("{}: not here: {}", &left.name, left.why.clone()));
    }
    let mut warnings = loaded.warnings.clone();
    // Whoever is required may be written down elsewhere.
    let mut specs: Vec<&Spec> = loaded.agents.iter().map(|agent| &agent.spec).collect();
    let others = all.agents.iter().map(|agent| &agent.spec);
    let here = specs.len();
    specs.extend(others.filter(|other| !loaded.agents.iter().any(|agent| agent.spec.name == other.name)));
    let depend = Depend::new(specs.iter().map(|spec| (spec.name.as_str(), &spec.requires[..])));
    for (at, spec) in specs[..here].iter().enumerate() {
        for missing in depend.missing(at) {
            warnings.push(message!("{} requires {}, which is not there", &spec.name, missing));
        }
    }
    let cycles: Vec<_> = depend.cycles().iter().filter(|cycle| cycle.agent < here).collect();
    for warning in &warnings {
        say(message!("warning: {}", warning.clone()));
    }
    for failed in &loaded.failed {
        say(message!("error: {}", failed.what.clone()));
    }
    for cycle in &cycles {
        say(message!("error: {} {}", &specs[cycle.agent].name, cycle.message()));
    }
    if let Some(shown) = &loaded.layout.shown {
        let hidden = loaded.agents.iter().filter(|agent| !shown.contains(&agent.spec.name)).count();
        say(message!("site.cfg: {} {agent is|agents are} shown, {} {is|are} not", shown.len(), hidden));
    }
    let broken = loaded.failed.len() + cycles.len();
    say(message!(
        "{} {agent|agents}, {} not here, {} {warning|warnings}, {} {error|errors}",
        loaded.agents.len() - failed.len(),
        loaded.left.len(),
        warnings.len(),
        broken
    ));
    let code = match (broken, warnings.len()) {
        (0, 0) => WELL,
        (0, _) => ODD,
        _ => BROKEN,
    };
    (text, code)
}

/// An agent in a line.
fn described(spec: &Spec) -> Message {
    let mut more = Vec::new();
    match &spec.keep {
        Keep::Last => {}
        Keep::Table { rows } => more.push(message!("a table of {} {row|rows}", *rows)),
        Keep::Rrd(_) => more.push(message!("graphs")),
    }
    if !spec.rules.is_empty() {
        more.push(message!("{} {rule|rules}", spec.rules.len()));
    }
    if !spec.requires.is_empty() {
        more.push(message!("requires {}", spec.requires.join(" ")));
    }
    if !spec.origin.is_empty() {
        more.push(message!("from {}", &spec.origin));
    }
    let about =
        message!("{}: every {} s, at most {} s", &spec.name, spec.period.as_secs_f64(), spec.timeout.as_secs_f64());
    more.into_iter().fold(about, |about, one| message!("{}, {}", about, one))
}

/// Lists the kinds and the keys that all have.
pub(crate) fn kinds(lang: Lang) -> Printed {
    let mut text = format!("{}\n", lang.text("Kinds (docs/agents.md has their own keys):"));
    for kind in kind::all() {
        text += &format!("  {:<12} {:<12} {}\n", kind.name, lang.text(kind.section), lang.text(kind.about));
    }
    text += &format!("\n{}\n", lang.text("Keys of all agents (docs/zstats.md has examples):"));
    for key in KEYS {
        text += &format!("  {:<12} {}\n", key.name, lang.text(key.about));
    }
    (text, ExitCode::SUCCESS)
}
