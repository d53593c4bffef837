//! `.agent` files of the ancestor, which are Python.

use gmetad_core::agent::Message;
use gmetad_core::message;

/// Lines that are looked at.
const LINES: usize = 2000;

/// Whether a text that is no TOML is Python: it imports something, or makes the list of agents.
pub(super) fn is_python(text: &str) -> bool {
    text.lines().take(LINES).any(|line| {
        let line = line.trim();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("import") => words.next().is_some(),
            Some("from") => words.nth(1) == Some("import"),
            Some(_) => line.strip_prefix("AGENTS").is_some_and(|rest| {
                rest.trim_start().starts_with(['=', '+']) || rest.starts_with(".append") || rest.starts_with(".extend")
            }),
            None => false,
        }
    })
}

/// What to do with it.
pub(super) fn message() -> Message {
    message!(
        "is written in Python, which this version does not run yet; write an [[agent]] in TOML instead, with name, kind and period (`z_stats kinds` lists the kinds, docs/zstats.md has the words of the old classes), and move this file away"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_is_told_from_broken_toml() {
        for python in [
            "from zephir.monitor.agents import services\nAGENTS = [services.PIDService('squid')]\n",
            "#-*-coding:utf-8-*-\nimport os\n",
            "    AGENTS.append(x)\n",
            "AGENTS += [x]",
        ] {
            assert!(is_python(python), "{python}");
        }
        for other in
            ["", "[[agent]\nname = 1", "# import os", "agents = [", "from = \"import\"", "import", "AGENTSX = 1"]
        {
            assert!(!is_python(other), "{other}");
        }
    }
}
