//! What a mail says.

use std::fmt::Write as _;

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_process::mail::{clean, header_text};
use gmetad_process::time::local_text;

use super::{MailOptions, Notice};
use crate::lang::Lang;
use crate::status::name;

/// Agents that a mail describes.
const DESCRIBED: usize = 200;
/// Characters of a subject.
const LONGEST_SUBJECT: usize = 250;
/// Characters of a line.
const LONGEST_LINE: usize = 1_000;

/// The whole message, with its head.
pub(super) fn mail(options: &MailOptions, lang: Lang, notices: &[Notice], dropped: u64) -> String {
    let mut out = format!("To: {}\n", clean(&options.to, 1000));
    // Writing to a String cannot fail.
    if !options.from.is_empty() {
        let _ = writeln!(out, "From: {}", clean(&options.from, 1000));
    }
    let subject = clean(&subject(options, lang, notices), LONGEST_SUBJECT);
    let _ = writeln!(out, "Subject: {}", header_text(&subject));
    out.push_str("Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n");
    out.push_str("Content-Transfer-Encoding: 8bit\n\n");
    for notice in notices.iter().take(DESCRIBED) {
        let _ = writeln!(out, "{}\n", describe(lang, notice));
    }
    let more = notices.len().saturating_sub(DESCRIBED) as u64 + dropped;
    if more > 0 {
        let _ = writeln!(out, "{}", lang.message(&message!("… and {} more", more)));
    }
    out
}

fn subject(options: &MailOptions, lang: Lang, notices: &[Notice]) -> String {
    let host = options.host.as_str();
    let text = match notices {
        [one] => message!("{}: {} {}", host, one.agent, name(one.status.state)),
        many => {
            let over = many.iter().filter(|notice| notice.over).count();
            message!("{}: {} {agent|agents} in Error, {} recovered", host, many.len() - over, over)
        }
    };
    lang.message(&text)
}

fn describe(lang: Lang, notice: &Notice) -> String {
    let line = |text: String| clean(&text, LONGEST_LINE);
    let state = lang.message(&name(notice.status.state));
    let mut out = line(format!("{} {state}", notice.agent));
    for text in [&notice.description, &notice.status.message] {
        let text = lang.message(text);
        if !text.is_empty() && text != notice.agent {
            let _ = write!(out, "\n  {}", line(text));
        }
    }
    let _ = write!(out, "\n  {}", lang.message(&message!("since {}", Message::time(&local_text(notice.since)))));
    out
}

#[cfg(test)]
mod tests {
    use gmetad_core::agent::{State, Status};

    use super::*;

    fn notice(agent: &str, state: State, text: &str) -> Notice {
        Notice {
            agent: agent.to_owned(),
            description: "Web pages".into(),
            status: Status::new(state, text),
            since: 1_795_329_948,
            over: state != State::Error,
        }
    }

    #[test]
    fn nothing_foreign_makes_a_header_or_a_line() {
        let options = MailOptions { from: "a\nBcc: b".to_owned(), ..MailOptions::new("root", "ecole\nX: y") };
        let hostile = notice("web", State::Error, "down\n.\n\u{1b}[31mé");
        let text = mail(&options, Lang::English, &[hostile], 0);
        let (head, body) = text.split_once("\n\n").unwrap();
        let expected = "To: root\nFrom: a Bcc: b\nSubject: ecole X: y: web Error\nAuto-Submitted: auto-generated\n\
            MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit";
        assert_eq!(head, expected);
        assert!(body.starts_with("web Error\n  Web pages\n  down .  [31mé\n  since 2026-11-2"), "{body}");
    }

    #[test]
    fn many_are_counted() {
        let mut notices: Vec<Notice> = (0..300).map(|number| notice(&format!("a{number}"), State::Error, "")).collect();
        notices.push(notice("b", State::Ok, ""));
        let text = mail(&MailOptions::new("root", "host"), Lang::English, &notices, 7);
        assert!(text.contains("Subject: host: 300 agents in Error, 1 recovered\n"), "{text}");
        assert!(text.ends_with("… and 108 more\n") && text.contains("a199 Error\n") && !text.contains("a200 "));
        let counted = |errors: usize, over: usize| {
            let errors = (0..errors).map(|_| notice("a", State::Error, ""));
            let all: Vec<_> = errors.chain((0..over).map(|_| notice("b", State::Ok, ""))).collect();
            let options = MailOptions::new("root", "host");
            [Lang::English, Lang::French].map(|lang| subject(&options, lang, &all))
        };
        assert_eq!(counted(1, 1), ["host: 1 agent in Error, 1 recovered", "host : 1 agent en erreur, 1 rétabli"]);
        assert_eq!(counted(2, 0), ["host: 2 agents in Error, 0 recovered", "host : 2 agents en erreur, 0 rétabli"]);
        assert_eq!(counted(0, 2), ["host: 0 agents in Error, 2 recovered", "host : 0 agent en erreur, 2 rétablis"]);
    }
}
