//! The French catalogue: pairs of an English template and the French one, a file for each part of the program.

mod cli;
mod config;
mod engine;
mod exec;
mod page;
mod stock;

/// What it has for an English template.
pub(super) fn find(english: &str) -> Option<&'static str> {
    let parts = [cli::TEXTS, config::TEXTS, engine::TEXTS, exec::TEXTS, page::TEXTS, stock::TEXTS];
    parts.iter().find_map(|part| part.iter().find(|(key, _)| *key == english).map(|(_, french)| *french))
}
