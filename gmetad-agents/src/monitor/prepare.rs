//! What is checked before agents are run: names, and that nobody requires itself. What is wrong stays visible: an agent in
//! Error stands in its place.

use std::collections::HashSet;

use gmetad_core::agent::Message;
use gmetad_core::message;

use crate::class::LoadErrorAgent;
use crate::spec::{Installed, Keep};
use crate::status::Depend;

/// Longest name.
const LONGEST: usize = 64;

/// The agents to run, and what is to be logged.
pub(super) fn prepared(installed: Vec<Installed>) -> (Vec<Installed>, Vec<Message>) {
    let mut wrong = Vec::new();
    let mut names = HashSet::new();
    let mut agents: Vec<Installed> = Vec::with_capacity(installed.len());
    for mut agent in installed {
        let name = agent.spec.name.clone();
        if !is_name(&name) {
            let text = message!("\"{}\" is no name of an agent: use 1 to 64 letters, digits and _ - . +", name);
            agent = instead(agent, safe(&name), text.clone());
            wrong.push(text);
        } else if names.contains(&name) {
            let text = message!("there are two agents called {}: give one another name", name);
            agent = instead(agent, name, text.clone());
            wrong.push(text);
        }
        agent.spec.name = free(agent.spec.name, &names);
        names.insert(agent.spec.name.clone());
        agents.push(agent);
    }
    let depend = Depend::new(agents.iter().map(|agent| (agent.spec.name.as_str(), agent.spec.requires.as_slice())));
    for cycle in depend.cycles() {
        let at = cycle.agent;
        wrong.push(message!("agent {} {}", agents[at].spec.name, cycle.message()));
        let dummy = Installed::new(LoadErrorAgent::new("", ""));
        let agent = std::mem::replace(&mut agents[at], dummy);
        let name = agent.spec.name.clone();
        agents[at] = instead(agent, name, cycle.message());
    }
    (agents, wrong)
}

/// An agent in Error, in the place of another.
fn instead(other: Installed, name: String, error: Message) -> Installed {
    let mut spec = other.spec;
    let written = format!("{}\n{error}", spec.written);
    (spec.requires, spec.rules, spec.debounce, spec.keep) = (Vec::new(), Vec::new(), 1, Keep::Last);
    spec.name.clone_from(&name);
    // So that a reload sees when what is wrong has changed.
    spec.written = written;
    spec.load_error = true;
    Installed { spec, agent: Box::new(LoadErrorAgent::new(name, error)) }
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_good)
}

fn is_good(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.+".contains(c)
}

/// A name that is one, made of what is none.
fn safe(name: &str) -> String {
    let good: String = name.chars().take(LONGEST).map(|c| if is_good(c) { c } else { '_' }).collect();
    let good = good.trim_start_matches('.');
    if good.is_empty() { "unnamed".to_owned() } else { good.to_owned() }
}

/// The name, with a number behind it if there is one already.
fn free(name: String, names: &HashSet<String>) -> String {
    if !names.contains(&name) {
        return name;
    }
    let begin: String = name.chars().take(LONGEST - 8).collect();
    (2..).map(|number| format!("{begin}+{number}")).find(|name| !names.contains(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use gmetad_core::agent::{Agent, AgentError, Context, History, Measurement, State};

    use super::*;

    struct Good;

    impl Agent for Good {
        fn name(&self) -> &str {
            "good"
        }
        fn measure(&mut self, _: &Context) -> Result<Measurement, AgentError> {
            Ok(Measurement::new())
        }
    }

    fn agent(name: &str, requires: &[&str]) -> Installed {
        let mut installed = Installed::new(Good);
        installed.spec.name = name.to_owned();
        installed.spec.requires = requires.iter().map(|name| (*name).to_owned()).collect();
        installed
    }

    #[test]
    fn what_is_wrong_stays_visible() {
        let agents = vec![
            agent("a", &["b"]),
            agent("b", &["a"]),
            agent("c", &["b"]),
            agent("c", &[]),
            agent("../é/x", &[]),
            agent("", &[]),
        ];
        let (agents, wrong) = prepared(agents);
        assert_eq!(wrong.len(), 5);
        let status = Default::default();
        let history = History { now: 0, last: None, before: None, status: &status };
        let said: Vec<String> = agents
            .iter()
            .map(|agent| match agent.agent.check_status(&history) {
                status if status.state == State::Error => format!("{}: {}", agent.spec.name, status.message),
                _ => agent.spec.name.clone(),
            })
            .collect();
        let expected = [
            "a: requires itself: a -> b -> a; remove one of these from \"requires\"",
            "b: requires itself: b -> a -> b; remove one of these from \"requires\"",
            "c",
            "c+2: there are two agents called c: give one another name",
            "___x: \"../é/x\" is no name of an agent: use 1 to 64 letters, digits and _ - . +",
            "unnamed: \"\" is no name of an agent: use 1 to 64 letters, digits and _ - . +",
        ];
        assert_eq!(said, expected);
        assert!(agents.iter().all(|agent| is_name(&agent.spec.name)));
    }
}
