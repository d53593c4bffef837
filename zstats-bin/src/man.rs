//! The manual page, made of the tables of options and commands.

use gmetad_agents::lang::Lang;

use crate::cli::{COMMANDS, OPTIONS};

/// Files, and what they are.
const FILES: [(&str, &str); 6] = [
    ("/etc/zstats/zstats.toml, ROOT/zstats.toml", "settings; the latter counts"),
    ("ROOT/configs/*.agent, ROOT/configs/MODULE/*.agent", "agents"),
    (
        "/usr/share/zstats/agents.d, /etc/zstats/agents.d",
        "agents of packages and of the administrator (*.agent, *.toml)",
    ),
    ("/etc/zstats/facts", "variables of the server"),
    ("ROOT/site.cfg", "agents that the page shows, in its order"),
    ("ROOT/stats", "data"),
];

/// Signals, and what they do.
const SIGNALS: [(&str, &str); 3] = [
    ("HUP", "reads the configuration of the agents again; those that did not change keep their state"),
    ("USR1", "writes a line about each agent to the log"),
    ("\"TERM, INT\"", "ends"),
];

/// `z_stats.8`, in roff.
pub(crate) fn page(lang: Lang) -> String {
    let said = |english: &'static str| escaped(lang.text(english));
    let heading = |english: &'static str| format!(".SH {}\n", lang.text(english));
    let mut text = String::new();
    if lang != Lang::English {
        text += "'\\\" -*- coding: UTF-8 -*-\n";
    }
    text += ".\\\" Made by `z_stats --man`; do not edit.\n";
    text += &format!(".TH Z_STATS 8 \"\" \"z_stats {}\"\n", env!("CARGO_PKG_VERSION"));
    text += &heading("NAME");
    text += &format!("z_stats \\- {}\n", said("agents that watch this server, and a page that shows them"));
    text += &heading("SYNOPSIS");
    let words = ["OPTION", "COMMAND"].map(|word| lang.text(word));
    text += &format!(".B z_stats\n[\\fI{}\\fR...] [\\fI{}\\fR]\n", words[0], words[1]);
    text += &heading("DESCRIPTION");
    let description = "Without a command z_stats is the service: it has its agents measure, each at its own interval, judges what they found, keeps graphs, and shows all of it on a page at port 8090. It needs no configuration to begin with.";
    text += &format!("{}\n", said(description));
    text += &heading("COMMANDS");
    for command in COMMANDS {
        let line = escaped(format!("{} {}", command.name, command.words).trim_end());
        text += &format!(".TP\n.B {line}\n{}.\n", said(command.help));
        if !command.doc.is_empty() {
            text += &format!("{}\n", said(command.doc));
        }
    }
    text += &heading("OPTIONS");
    text += &format!("{}\n", said("Long options may be abbreviated. Those marked with * may be given several times."));
    for opt in OPTIONS {
        let short = opt.short.map(|letter| format!("\\-{letter}, ")).unwrap_or_default();
        let value = opt.value.map(|value| format!(" \\fI{value}\\fB")).unwrap_or_default();
        let star = if opt.many { " *" } else { "" };
        text += &format!(".TP\n.B \"{short}\\-\\-{}{value}{star}\"\n{}.\n", escaped(opt.long), said(opt.help));
    }
    text += &heading("SETTINGS");
    let settings = "All options but these may stand in a settings file, under their long names, switches as true or false, those that may be given several times as lists:";
    let not: Vec<_> = OPTIONS.iter().filter(|opt| !opt.file).map(|opt| escaped(opt.long)).collect();
    text += &format!("{} {}.\n", said(settings), not.join(", "));
    text += ".PP\n.nf\nport = 8090\nbind = [\"[::]\"]\npassword\\-file = \"/etc/zstats/password\"\nmail\\-to = \"root\"\n.fi\n";
    text += &heading("ACTIONS");
    let actions = "With --token-file, an agent is measured now, acknowledged or silenced by a POST to /api/v1/agents/AGENT/ACTION: measure; acknowledge, with by and comment, or clear=1; silence, with seconds or until, or clear=1.";
    text += &format!("{}\n.PP\n.nf\n", said(actions));
    text += "curl \\-H \"Authorization: Bearer TOKEN\" \\-d seconds=3600 http://localhost:8090/api/v1/agents/load/silence\n.fi\n";
    text += &heading("SIGNALS");
    for (signal, what) in SIGNALS {
        text += &format!(".TP\n.B {signal}\n{}\n", said(what));
    }
    text += &heading("FILES");
    for (file, what) in FILES {
        text += &format!(".TP\n.I {}\n{}\n", escaped(file), said(what));
    }
    text += &heading("EXIT STATUS");
    text + &format!("{}\n", said("0 if the service ended in good order, 1 if not. Of the commands: see there."))
}

/// What roff would understand as something else.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_the_tables_is_in_the_catalogue() {
        let tables = FILES.iter().chain(&SIGNALS).map(|(_, what)| *what);
        for text in tables.chain(COMMANDS.iter().map(|command| command.doc)).filter(|text| !text.is_empty()) {
            assert!(Lang::French.find(text).is_some(), "{text}");
        }
        let is_macro = |line: &str| line.starts_with("'\\\"") || line.starts_with(".\\\"");
        for lang in [Lang::English, Lang::French] {
            // An apostrophe at the beginning of a line would be a macro of its own.
            assert!(page(lang).lines().all(|line| !line.starts_with('\'') || is_macro(line)));
        }
    }
}
