//! Several things of one kind that are asked over the network by one agent, each with a label: what the ancestor's `TCPServices` did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use gmetad_core::agent::{Cell, Element, Measurement, Message, State, Status, Table as Shown};
use gmetad_core::message;
use parking_lot::Mutex;

use super::plan::INSTANCES;

/// Threads that ask at once: one service that is silent must not use up the time of the others.
const AT_ONCE: usize = 16;

/// What is asked, and how people call it.
#[derive(Clone, Debug)]
pub(super) struct Asked<T> {
    pub(super) what: T,
    pub(super) label: String,
}

/// Of a table `"what" = "label"`; `key` is its name, for errors.
pub(super) fn asked<T>(
    key: &str,
    table: BTreeMap<String, String>,
    parse: impl Fn(&str) -> Result<T, Message>,
) -> Result<Vec<Asked<T>>, Message> {
    if table.is_empty() || table.len() > INSTANCES {
        return Err(message!("{}: write 1 to {} lines \"what\" = \"label\"", key, INSTANCES));
    }
    let one = |(what, label): (String, String)| {
        let label = if label.is_empty() { what.clone() } else { label };
        parse(&what).map(|what| Asked { what, label }).map_err(|error| message!("{}: {}", key, error))
    };
    let all: Vec<_> = table.into_iter().map(one).collect::<Result<_, _>>()?;
    let mut labels: Vec<_> = all.iter().map(|asked| &asked.label).collect();
    labels.sort();
    match labels.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(message!("{}: \"{}\" is the label of two: graphs need different ones", key, pair[0])),
        None => Ok(all),
    }
}

/// What asking one gave: its values, and why it is bad, if it is.
pub(super) struct Answer {
    pub(super) measurement: Measurement,
    pub(super) problem: Option<Message>,
}

/// Asks all, some at once.
pub(super) fn ask<T: Sync>(all: &[Asked<T>], one: impl Fn(&Asked<T>) -> Answer + Sync) -> Vec<Answer> {
    if let [only] = all {
        return vec![one(only)];
    }
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(all.len())));
    let work = || {
        while let Some((at, asked)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            all.get(at).map(|asked| (at, asked))
        } {
            let answer = one(asked);
            answers.lock().push((at, answer));
        }
    };
    thread::scope(|scope| {
        for _ in 1..all.len().min(AT_ONCE) {
            // Without a thread the others, or this one, do its work.
            let _ = thread::Builder::new().name("agent-asks".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    let mut answers = answers.into_inner();
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Instances by label, a table, and Error for as many as have a problem. `seconds` is shown in milliseconds.
pub(super) fn measurement<T: std::fmt::Display>(all: &[Asked<T>], answers: Vec<Answer>) -> Measurement {
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    let mut measurement = Measurement::new();
    for (asked, Answer { measurement: of_it, problem }) in all.iter().zip(answers) {
        let (up, state) = if problem.is_some() { (0.0, State::Error) } else { (1.0, State::Ok) };
        let time = of_it.get_number("seconds").unwrap_or(f64::NAN) * 1000.0;
        rows.push(vec![
            Cell::State(state),
            Cell::Text(asked.label.as_str().into()),
            Cell::Text(asked.what.to_string().into()),
            Cell::Number((time * 10.0).round() / 10.0),
            Cell::Text(problem.clone().unwrap_or_default()),
        ]);
        problems.extend(problem.map(|problem| message!("{} ({}): {}", asked.label, asked.what.to_string(), problem)));
        measurement = measurement.instance(&*asked.label, of_it.number("up", up));
    }
    let columns =
        vec![message!("State"), message!("Service"), message!("Address"), message!("Time (ms)"), message!("Problem")];
    let measurement = measurement.element(Element::Table(Shown { title: Message::default(), columns, rows }));
    let status = match &*problems {
        [] => Status::ok(),
        [only] => Status::new(State::Error, only.clone()),
        [first, ..] => {
            Status::new(State::Error, message!("{} of {} fail; {}", problems.len(), all.len(), first.clone()))
        }
    };
    measurement.judged(status)
}

/// All is well.
pub(super) fn well<T>(all: &[Asked<T>]) -> Status {
    let message = match all {
        [only] => only.label.as_str().into(),
        all => message!("{} services answer", all.len()),
    };
    Status::new(State::Ok, message)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn answers_keep_their_order_and_a_slow_one_does_not_delay() {
        let table = (0..40).map(|number| (format!("{number:02}"), String::new())).collect();
        let all = asked("services", table, |what| Ok(what.to_owned())).unwrap();
        let began = Instant::now();
        let answers = ask(&all, |asked| {
            thread::sleep(Duration::from_millis(50)); // as a host that is silent
            Answer {
                measurement: Measurement::new().text("what", &*asked.what),
                problem: (asked.what == "07").then(|| "no".into()),
            }
        });
        assert!(began.elapsed() < Duration::from_millis(50 * 30), "they are asked at once");
        let measurement = measurement(&all, answers);
        assert_eq!(measurement.status().unwrap().to_string(), "Error: 07 (07): no");
        let names: Vec<_> = measurement.instances().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, all.iter().map(|asked| asked.label.clone()).collect::<Vec<_>>());
        assert!(
            measurement
                .instances()
                .all(|(name, of_it)| of_it.get("what") == Some(&gmetad_core::agent::Value::Text(name.to_owned())))
        );
    }

    #[test]
    fn refusals() {
        let refused = |table: &[(&str, &str)]| {
            let table = table.iter().map(|(what, label)| ((*what).to_owned(), (*label).to_owned())).collect();
            asked("services", table, |what| if what == "bad" { Err("no".into()) } else { Ok(()) })
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&[]).starts_with("services: write 1 to"));
        assert_eq!(refused(&[("bad", "x")]), "services: no");
        assert!(refused(&[("a", "x"), ("b", "x")]).contains("different ones"));
    }
}
