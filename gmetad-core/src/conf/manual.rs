//! Texts made from the table: for `--help`, a sample file, gmetad.conf(5).

use super::table::{Directive, Group, Origin, directives};

/// One line a directive: name, syntax, what it does, default.
pub fn help_list() -> String {
    let mut out = String::new();
    for group in Group::ALL {
        out += &format!("{}:\n", group.title());
        for directive in of(group) {
            let head = format!("{} {}", directive.name, directive.syntax());
            let default =
                if directive.default.is_empty() { String::new() } else { format!(" [{}]", directive.default) };
            let gap = if head.len() > 38 { format!("\n{:42}", "") } else { " ".repeat(40 - head.len()) };
            out += &format!("  {head}{gap}{}{default}\n", directive.help);
        }
    }
    out
}

/// A commented sample file; it loads as it is.
pub fn sample_conf() -> String {
    let mut out = "# gmetad.conf: sample. Lines without \"#\" are in effect, the others show defaults or examples.\n\
                   # See gmetad.conf(5).\n"
        .to_owned();
    for group in Group::ALL {
        out += &format!("\n#\n# {}\n#\n", group.title());
        for directive in of(group) {
            out.push('\n');
            for line in wrap(&format!("{} {}", directive.help, directive.doc), 76) {
                out += &format!("# {line}\n");
            }
            let sign = if directive.name == "data_source" { "" } else { "# " };
            let value = if directive.default.is_empty() { directive.example } else { directive.default };
            out += &format!("{sign}{} {value}\n", directive.name);
        }
    }
    out
}

/// The manual page gmetad.conf(5), in roff.
pub fn man_page() -> String {
    let mut out = String::from(INTRODUCTION);
    for group in Group::ALL {
        out += &format!(".SS {}\n", roff(group.title()));
        for directive in of(group) {
            out += &format!(".TP\n.BI {} \" {}\"\n", roff(directive.name), roff(directive.syntax()));
            let origin = match directive.origin {
                Origin::C => "",
                Origin::Python => " From gmetad-python.",
                Origin::New => " Not known to C gmetad.",
            };
            out += &format!("{}\n", roff(&format!("{} {}{origin}", directive.help, directive.doc)));
            if !directive.default.is_empty() {
                out += &format!("Default:\n.BR {} .\n", roff_argument(directive.default));
            }
        }
    }
    out += CLOSING;
    out
}

const INTRODUCTION: &str = r#".TH GMETAD.CONF 5 "" "gmetad" "Ganglia"
.SH NAME
gmetad.conf \- configuration of the Ganglia grid daemon
.SH SYNTAX
A line holds a directive and its arguments, separated by blanks.
Names of directives are read without regard to case.
Both kinds of quotes hold an argument together, and a backslash takes the next character literally.
A # at the start of a word begins a comment.
A line that ends in a backslash goes on in the next one.
.PP
${NAME} and ${NAME:\-default} are replaced by environment variables, also inside quotes.
A text may be given as a here\-document: <<EOT, lines, EOT.
.PP
.BI Include " FILE"
reads another file; the last component may hold * and ?, and matches are read in the order of their names,
hidden files left out.
.BI IncludePath " DIR"
or the environment variable DC_INCLUDEPATH is put before relative names.
.PP
A section for a plugin is a line
.IR NAME " {,"
the plugin's own lines, and a line }.
.PP
A repeated directive replaces the earlier one, except where noted.
.SH DIRECTIVES
"#;

const CLOSING: &str = r#".SH SEE ALSO
.BR gmetad (8),
.BR gmond.conf (5)
"#;

fn of(group: Group) -> impl Iterator<Item = &'static Directive> {
    directives().iter().filter(move |directive| directive.group == group)
}

fn roff(text: &str) -> String {
    let text = text.trim().replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn roff_argument(text: &str) -> String {
    format!("\"{}\"", roff(text))
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
