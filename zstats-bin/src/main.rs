//! z_stats: agents that watch this server. Options and commands; everything else is in the libraries.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))] // in a test they are the report

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use gmetad_agents::graph;
use gmetad_agents::lang::{self, Lang};
use gmetad_agents::said::Said;
use gmetad_core::agent::Message;
use gmetad_core::message;

mod check;
mod cli;
mod demo;
mod exact;
mod made_up;
mod man;
mod measure;
mod service;
mod settings;
mod status;

use cli::{Do, Id, Line};
use settings::Settings;

/// What a command prints on standard output, and the exit status.
type Printed = (String, ExitCode);

/// What the monitoring plugins say of a program that cannot say more.
const UNKNOWN: u8 = 3;

fn main() -> ExitCode {
    gmetad_process::limits::share_arenas();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The process that draws for the page is this program.
    if args.first().is_some_and(|word| word == graph::WORD) {
        return graph::draw();
    }
    let early = settings::early_lang(&args);
    // Whoever runs it as a plugin takes 1 for a warning.
    let meant = cli::meant(&args);
    let line = match cli::parse(args) {
        Ok(line) => line,
        Err(error) => return fail(early, &error, meant),
    };
    let what = line.what;
    match what {
        Do::Help => show(&cli::help(early)),
        Do::Man => show(&man::page(early)),
        Do::Version => show(&format!("{}\n", cli::VERSION)),
        _ => dispatch(line).unwrap_or_else(|(lang, error)| fail(lang.unwrap_or(early), &error, what)),
    }
}

fn dispatch(line: Line) -> Result<ExitCode, (Option<Lang>, Message)> {
    let directory = std::env::current_dir().map_err(|error| {
        let what = message!("the current directory: {}", error.said());
        (None, what)
    })?;
    let settings = Settings::gather(&line.given, &directory).map_err(|error| (None, error))?;
    let lang = settings.lang;
    lang::log_in(lang);
    let word = line.words.first().map(|word| word.to_string_lossy());
    let serves = match line.what {
        Do::Serve => Some(service::run(&line.given, &settings, &directory)),
        Do::Demo => Some(demo::run(&settings)),
        _ => None,
    };
    if let Some(result) = serves {
        return result.map_err(|error| (Some(lang), error));
    }
    match line.what {
        Do::Check => Ok(check::check(&settings, &directory, &line.words)),
        Do::Run => measure::run(&settings, &word.unwrap_or_default()),
        Do::Status => status::run(&settings, line.has(Id::Json), word.as_deref()),
        _ => Ok(check::kinds(lang)),
    }
    .map(|(text, code)| {
        show(&text);
        code
    })
    .map_err(|error| (Some(lang), error))
}

/// A text, as far as whoever reads it wants it.
fn show(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(lang: Lang, error: &Message, what: Do) -> ExitCode {
    eprintln!("z_stats: {}", lang.message(error));
    match what {
        Do::Status | Do::Run => ExitCode::from(UNKNOWN),
        Do::Check => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}
