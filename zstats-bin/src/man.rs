//! The manual page, made of the tables of options and commands.

use crate::cli::{COMMANDS, OPTIONS};

/// `z_stats.8`, in roff.
pub(crate) fn page() -> String {
    let mut text = format!(
        ".\\\" Made by `z_stats --man`; do not edit.\n.TH Z_STATS 8 \"\" \"z_stats {}\"\n\
         .SH NAME\nz_stats \\- agents that watch this server, and a page that shows them\n\
         .SH SYNOPSIS\n.B z_stats\n[\\fIOPTION\\fR...] [\\fICOMMAND\\fR]\n\
         .SH DESCRIPTION\n\
         Without a command z_stats is the service: it has its agents measure, each at its own interval, judges what they found, \
         keeps graphs, and shows all of it on a page at port 8090. It needs no configuration to begin with.\n\
         .SH COMMANDS\n",
        env!("CARGO_PKG_VERSION")
    );
    for command in COMMANDS {
        text += &format!(
            ".TP\n.B {}\n{}\n",
            escaped(&format!("{} {}", command.name, command.words)),
            sentence(command.help)
        );
        if !command.doc.is_empty() {
            text += &format!("{}\n", escaped(command.doc));
        }
    }
    text += ".SH OPTIONS\nLong options may be abbreviated. Those marked with * may be given several times.\n";
    for opt in OPTIONS {
        let short = opt.short.map(|letter| format!("\\-{letter}, ")).unwrap_or_default();
        let value = opt.value.map(|value| format!(" \\fI{value}\\fB")).unwrap_or_default();
        let star = if opt.many { " *" } else { "" };
        text += &format!(".TP\n.B \"{short}\\-\\-{}{value}{star}\"\n{}\n", escaped(opt.long), sentence(opt.help));
    }
    text += ".SH SETTINGS\n\
        All options but these may stand in a settings file, under their long names, switches as true or false, those that may be \
        given several times as lists: ";
    let not: Vec<_> = OPTIONS.iter().filter(|opt| !opt.file).map(|opt| escaped(opt.long)).collect();
    text += &format!("{}.\n", not.join(", "));
    text += ".PP\n.nf\nport = 8090\nbind = [\"[::]\"]\npassword\\-file = \"/etc/zstats/password\"\nmail\\-to = \"root\"\n.fi\n\
        .SH SIGNALS\n.TP\n.B HUP\nreads the configuration of the agents again; those that did not change keep their state\n\
        .TP\n.B USR1\nwrites a line about each agent to the log\n\
        .TP\n.B \"TERM, INT\"\nends\n\
        .SH FILES\n";
    for (file, what) in [
        ("/etc/zstats/zstats.toml, ROOT/zstats.toml", "settings; the latter counts"),
        ("ROOT/configs/*.agent, ROOT/configs/MODULE/*.agent", "agents"),
        (
            "/usr/share/zstats/agents.d, /etc/zstats/agents.d",
            "agents of packages and of the administrator (*.agent, *.toml)",
        ),
        ("/etc/zstats/facts", "variables of the server"),
        ("ROOT/site.cfg", "agents that the page shows, in its order"),
        ("ROOT/stats", "data"),
    ] {
        text += &format!(".TP\n.I {}\n{}\n", escaped(file), escaped(what));
    }
    text + ".SH EXIT STATUS\n0 if the service ended in good order, 1 if not. Of the commands: see there.\n"
}

fn sentence(text: &str) -> String {
    escaped(text) + "."
}

/// What roff would understand as something else.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
