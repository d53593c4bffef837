//! Who requires whom: an agent that cannot do well because of another does not raise an alarm of its own.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use gmetad_core::agent::{Message, State, Status};
use gmetad_core::message;

use super::judge::name;

/// Who requires whom, among agents counted from 0.
#[derive(Clone, Debug, Default)]
pub struct Depend {
    names: Vec<String>,
    requires: Vec<Vec<usize>>,
    missing: Vec<Vec<String>>,
    /// All agents, each behind those that it requires.
    order: Vec<usize>,
    cycles: Vec<Cycle>,
}

/// Agents that require each other in a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The agent that it is told of.
    pub agent: usize,
    /// The names of the ring, from that agent to itself.
    pub ring: Vec<String>,
}

/// How an agent does by itself.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Its own status, debounced and aged.
    pub status: &'a Status,
    /// The last result, not debounced: what is not shown yet explains others already.
    pub latest: State,
    /// Its measurement failed or is too old; else Unknown only means that it has no opinion, and explains nothing.
    pub blind: bool,
}

impl Own<'_> {
    /// Whether others may suffer from it.
    fn is_trouble(&self) -> bool {
        self.blind || self.status.state >= State::Warn || self.latest >= State::Warn
    }
}

impl Cycle {
    /// What the agent shows instead of being run.
    pub fn message(&self) -> Message {
        message!("requires itself: {}; remove one of these from \"requires\"", self.ring.join(" -> "))
    }
}

impl Depend {
    /// Of agents by name, with the names that each requires. Names that nobody has are ignored, and told by
    /// [`Depend::missing`]; so are the requirements of agents in a ring, told by [`Depend::cycles`].
    pub fn new<'a>(agents: impl IntoIterator<Item = (&'a str, &'a [String])>) -> Self {
        let (names, wanted): (Vec<_>, Vec<_>) =
            agents.into_iter().map(|(name, wanted)| (name.to_owned(), wanted)).unzip();
        let by_name: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let mut requires = vec![Vec::new(); names.len()];
        let mut missing = vec![Vec::new(); names.len()];
        for (at, wanted) in wanted.into_iter().enumerate() {
            for want in wanted {
                match by_name.get(want.as_str()) {
                    Some(found) if requires[at].contains(found) => {}
                    Some(found) => requires[at].push(*found),
                    None => missing[at].push(want.clone()),
                }
            }
        }
        drop(by_name);
        let cycles: Vec<Cycle> = (0..names.len())
            .filter_map(|agent| {
                let ring = ring(&requires, agent)?.into_iter().map(|at| names[at].clone()).collect();
                Some(Cycle { agent, ring })
            })
            .collect();
        for cycle in &cycles {
            requires[cycle.agent].clear();
        }
        let order = order(&requires);
        Self { names, requires, missing, order, cycles }
    }

    /// The agents that are part of a ring.
    pub fn cycles(&self) -> &[Cycle] {
        &self.cycles
    }

    /// What an agent requires and nobody is called.
    pub fn missing(&self, agent: usize) -> &[String] {
        self.missing.get(agent).map_or(&[], Vec::as_slice)
    }

    /// All that an agent requires, directly or not.
    pub fn all_required(&self, agent: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut left: Vec<usize> = self.requires.get(agent).cloned().unwrap_or_default();
        while let Some(at) = left.pop() {
            if !found.contains(&at) {
                found.push(at);
                left.extend(&self.requires[at]);
            }
        }
        found
    }

    /// For each agent: `None` if its own status is to be shown; else Dependant, with the cause. That is the worst of those that
    /// it requires, directly or not, that have trouble of their own. An agent that is OK is never hidden.
    ///
    /// `own` has as many entries as there are agents.
    pub fn show(&self, own: &[Own<'_>]) -> Vec<Option<Status>> {
        let mut shown = vec![None; own.len()];
        // The first cause behind each agent, whether or not it suffers from it.
        let mut causes: Vec<Option<usize>> = vec![None; own.len()];
        let badness = |at: usize| (own[at].status.state.max(own[at].latest), Reverse(at));
        for &at in self.order.iter().filter(|at| **at < own.len()) {
            let behind = self.requires[at].iter().flat_map(|&of| {
                // What is hidden itself is no cause; what is behind it is.
                let root = (shown[of].is_none() && own[of].is_trouble()).then_some(of);
                root.into_iter().chain(causes[of])
            });
            causes[at] = behind.max_by_key(|at| badness(*at));
            shown[at] = causes[at].filter(|_| own[at].status.state != State::Ok).map(|cause| {
                let Own { status, latest, .. } = own[cause];
                let (cause, state) = (self.names[cause].as_str(), name(status.state.max(latest)));
                let text = if status.message.is_empty() || latest > status.state {
                    message!("requires {}, which is {}", cause, state)
                } else {
                    message!("requires {}, which is {}: {}", cause, state, status.message.clone())
                };
                Status::new(State::Dependant, text)
            });
        }
        shown
    }
}

/// The shortest way from an agent along what it requires back to itself, with the agent at both ends.
fn ring(requires: &[Vec<usize>], agent: usize) -> Option<Vec<usize>> {
    let mut from: Vec<Option<usize>> = vec![None; requires.len()];
    let mut left = VecDeque::from([agent]);
    while let Some(at) = left.pop_front() {
        for &next in &requires[at] {
            if next == agent {
                let mut ring: Vec<usize> = std::iter::successors(Some(at), |at| from[*at]).collect();
                ring.reverse();
                ring.push(agent);
                return Some(ring);
            }
            if from[next].is_none() {
                from[next] = Some(at);
                left.push_back(next);
            }
        }
    }
    None
}

/// Each behind those that it requires; there are no rings.
fn order(requires: &[Vec<usize>]) -> Vec<usize> {
    let mut required_by = vec![Vec::new(); requires.len()];
    let mut open: Vec<usize> = requires.iter().map(Vec::len).collect();
    for (at, requires) in requires.iter().enumerate() {
        requires.iter().for_each(|of| required_by[*of].push(at));
    }
    let mut order: Vec<usize> = (0..requires.len()).filter(|at| open[*at] == 0).collect();
    let mut done = 0;
    while let Some(&at) = order.get(done) {
        done += 1;
        for &by in &required_by[at] {
            open[by] -= 1;
            if open[by] == 0 {
                order.push(by);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn graph(agents: &[(&str, &[&str])]) -> Depend {
        let agents: Vec<(&str, Vec<String>)> = agents
            .iter()
            .map(|(name, wanted)| (*name, wanted.iter().map(|name| (*name).to_owned()).collect()))
            .collect();
        Depend::new(agents.iter().map(|(name, wanted)| (*name, wanted.as_slice())))
    }

    fn shown(graph: &Depend, own: &[Status]) -> Vec<String> {
        let owns: Vec<Own<'_>> = own
            .iter()
            .map(|status| Own { status, latest: status.state, blind: status.message.to_string() == "failed" })
            .collect();
        let shown = graph.show(&owns);
        shown.into_iter().zip(own).map(|(shown, own)| shown.unwrap_or_else(|| own.clone()).to_string()).collect()
    }

    fn is(state: State) -> Status {
        Status::new(state, "")
    }

    #[test]
    fn the_cause_is_named_and_a_good_result_is_not_hidden() {
        let graph = graph(&[("page", &["web"]), ("web", &["net", "gone"]), ("net", &[])]);
        assert_eq!((graph.missing(1), graph.missing(0)), (&["gone".to_owned()][..], &[][..]));
        let down = Status::new(State::Error, "no link");
        let of_net = "Dependant: requires net, which is Error: no link";
        assert_eq!(
            shown(&graph, &[is(State::Error), is(State::Error), down.clone()]),
            [of_net, of_net, "Error: no link"]
        );
        assert_eq!(shown(&graph, &[is(State::Warn), is(State::Ok), down.clone()]), [of_net, "OK", "Error: no link"]);
        assert_eq!(shown(&graph, &[is(State::Ok), is(State::Ok), down]), ["OK", "OK", "Error: no link"]);
        let warn = "Dependant: requires web, which is Warn";
        assert_eq!(shown(&graph, &[is(State::Error), is(State::Warn), is(State::Ok)]), [warn, "Warn", "OK"]);
    }

    #[test]
    fn only_an_unknown_that_failed_is_a_cause() {
        let graph = graph(&[("web", &["net"]), ("net", &[])]);
        assert_eq!(shown(&graph, &[is(State::Error), is(State::Unknown)]), ["Error", "Unknown"]);
        let failed = Status::new(State::Unknown, "failed");
        assert_eq!(
            shown(&graph, &[is(State::Error), failed]),
            ["Dependant: requires net, which is Unknown: failed", "Unknown: failed"]
        );
    }

    #[test]
    fn what_is_not_shown_yet_explains_others_already() {
        let graph = graph(&[("web", &["net"]), ("net", &[])]);
        let (web, net) = (is(State::Error), is(State::Ok));
        let own = [
            Own { status: &web, latest: State::Error, blind: false },
            Own { status: &net, latest: State::Error, blind: false },
        ];
        let shown = graph.show(&own);
        assert_eq!(shown[0].as_ref().unwrap().to_string(), "Dependant: requires net, which is Error");
        assert_eq!(shown[1], None);
    }

    #[test]
    fn rings_are_told_to_their_members_only() {
        let graph = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &["a"]), ("e", &["e"]), ("f", &[])]);
        let told: Vec<_> = graph.cycles().iter().map(|cycle| (cycle.agent, cycle.ring.join(">"))).collect();
        let expected = [(0, "a>b>c>a"), (1, "b>c>a>b"), (2, "c>a>b>c"), (4, "e>e")];
        assert_eq!(told, expected.map(|(at, ring)| (at, ring.to_owned())));
        assert_eq!(
            graph.cycles()[0].message().to_string(),
            "requires itself: a -> b -> c -> a; remove one of these from \"requires\""
        );
        assert_eq!(shown(&graph, &vec![is(State::Error); 6])[3], "Dependant: requires a, which is Error");
    }

    /// Up to 200 agents; each requires some of those before it in a hidden order, so there are no rings. Then who is out.
    fn worlds() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<usize>, Vec<bool>)> {
        (1..=200usize).prop_flat_map(|count| {
            let requires = prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), count);
            let place = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
            let out = prop::collection::vec(prop::bool::weighted(0.05), count);
            (requires, place, out).prop_map(|(requires, place, out)| {
                let requires = requires.iter().enumerate().map(|(at, wanted)| {
                    let earlier = wanted.iter().filter(|_| at > 0).map(|index| index.index(at));
                    earlier.collect::<BTreeSet<_>>().into_iter().collect()
                });
                (requires.collect(), place, out)
            })
        })
    }

    /// All that each agent (by hidden place) requires, directly or not.
    fn behind(requires: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
        let mut behind: Vec<BTreeSet<usize>> = Vec::new();
        for wanted in requires {
            // What comes earlier is complete.
            let all = wanted.iter().flat_map(|of| behind[*of].iter().copied().chain([*of])).collect();
            behind.push(all);
        }
        behind
    }

    /// The states shown, by hidden place, if the agents are configured in the order of `place`.
    fn states(requires: &[Vec<usize>], place: &[usize], own: &[Status]) -> Vec<State> {
        let name = |at: usize| format!("agent{at}");
        let agents: Vec<(String, Vec<String>)> =
            place.iter().map(|&at| (name(at), requires[at].iter().map(|of| name(*of)).collect())).collect();
        let graph = Depend::new(agents.iter().map(|(name, wanted)| (name.as_str(), wanted.as_slice())));
        assert!(graph.cycles().is_empty());
        let owns: Vec<_> =
            place.iter().map(|&at| Own { status: &own[at], latest: own[at].state, blind: false }).collect();
        let mut states = vec![State::Ok; own.len()];
        for (shown, &at) in graph.show(&owns).iter().zip(place) {
            states[at] = shown.as_ref().map_or(own[at].state, |status| status.state);
        }
        states
    }

    proptest! {
        #[test]
        fn each_independent_cause_shows_one_error((requires, place, out) in worlds()) {
            let all = behind(&requires);
            // An outage makes all that require it, directly or not, fail, too.
            let fails = |at: usize| out[at] || all[at].iter().any(|of| out[*of]);
            let own: Vec<Status> =
                (0..out.len()).map(|at| if fails(at) { is(State::Error) } else { Status::ok() }).collect();
            let states = states(&requires, &place, &own);
            for at in 0..out.len() {
                let independent = out[at] && !all[at].iter().any(|of| out[*of]);
                let expected = if independent { State::Error } else if fails(at) { State::Dependant } else { State::Ok };
                prop_assert_eq!(states[at], expected, "{}", at);
            }
        }

        #[test]
        fn the_order_of_the_configuration_does_not_matter(
            (requires, place, _) in worlds(),
            seeds in prop::collection::vec(0..5usize, 200),
        ) {
            let own: Vec<Status> = (0..requires.len()).map(|at| is(State::ALL[seeds[at]])).collect();
            let plain: Vec<usize> = (0..requires.len()).collect();
            prop_assert_eq!(states(&requires, &place, &own), states(&requires, &plain, &own));
        }

        #[test]
        fn nobody_is_forgotten_whatever_requires_whom(
            wanted in prop::collection::vec(prop::collection::vec(0..30usize, 0..4), 1..30),
        ) {
            let agents: Vec<(String, Vec<String>)> = wanted
                .iter()
                .enumerate()
                .map(|(at, wanted)| (format!("a{at}"), wanted.iter().map(|of| format!("a{of}")).collect()))
                .collect();
            let graph = Depend::new(agents.iter().map(|(name, wanted)| (name.as_str(), wanted.as_slice())));
            let everybody: BTreeSet<usize> = graph.order.iter().copied().collect();
            prop_assert_eq!(everybody.len(), agents.len(), "rings that are left would be missing here");
            for cycle in graph.cycles() {
                prop_assert_eq!(cycle.ring.first(), cycle.ring.last());
                for pair in cycle.ring.windows(2) {
                    let of: usize = pair[0][1..].parse().unwrap();
                    prop_assert!(agents[of].1.contains(&pair[1]), "{:?}", cycle);
                }
            }
        }
    }
}
