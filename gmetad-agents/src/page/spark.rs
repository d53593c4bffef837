//! The small curves of the overview: what an agent's main curve was in the last hour.
//!
//! A thread reads and draws them, for which the overview waits a moment: on a disk that hangs it shows those drawn before. Each is
//! kept until there is a new measurement.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_rrd::DsKind;
use maud::{Markup, html};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::curves::{self, Plan};
use super::series::{self, since};
use super::visit::{Visit, shortened, visible};
use crate::board::Control;
use crate::lang::{Lang, units};
use crate::spec::{Keep, Spec};
use crate::view::AgentView;

/// How long the overview waits for curves that are being drawn.
const PATIENCE: Duration = Duration::from_millis(150);
/// Seconds after which a curve is drawn anew though nothing was measured, and another instance is chosen.
const LASTING: i64 = 300;
/// Seconds that are drawn: the first of these in which there are [`LEAST`] measurements, or as many as something is known of.
const SPANS: [i64; 4] = [HOUR, 86_400, 7 * 86_400, 31 * 86_400];
const HOUR: i64 = 3600;
const LEAST: i64 = 12;
/// Rows of a curve: one for every other pixel.
const ROWS: usize = 60;
/// Characters of what it is of, and of a number.
const LABEL: usize = 120;
const VALUE: usize = 32;
/// The picture, in quarters of a pixel: its size, and what the line leaves free around it.
const SIZE: (f64, f64) = (480.0, 96.0);
const MARGIN: f64 = 10.0;

/// The curves of all agents that were drawn last.
#[derive(Default)]
pub(super) struct Sparks {
    state: Mutex<Known>,
    drawn: Condvar,
}

#[derive(Default)]
struct Known {
    /// By agent and language.
    curves: HashMap<Key, Entry>,
    /// Since when the thread is at work.
    drawing: Option<Instant>,
}

type Key = (String, &'static str);

struct Entry {
    of: Measured,
    /// Which instance was chosen, and when.
    instance: Option<String>,
    chosen: UnixTime,
    /// `None`: there is nothing to be drawn.
    markup: Option<Arc<str>>,
}

/// What a curve was drawn of: as long as that is the same the curve is.
struct Measured {
    spec: Arc<Spec>,
    last: Option<UnixTime>,
    /// How often it has grown old since.
    age: i64,
}

impl Measured {
    fn of(view: &AgentView, now: UnixTime) -> Self {
        let last = view.last.as_ref().map(|taken| taken.time);
        let age = last.map_or(0, |last| now.saturating_sub(last).div_euclid(LASTING));
        Self { spec: Arc::clone(&view.spec), last, age }
    }
}

impl PartialEq for Measured {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec) && (self.last, self.age) == (other.last, other.age)
    }
}

/// A curve to be drawn.
struct Wanted {
    key: Key,
    view: Arc<AgentView>,
    entry: Entry,
    plan: Option<Plan>,
}

/// The curves of these agents by name, as far as they are there in time.
pub(super) fn curves<'a>(
    visit: &Visit<'_>,
    agents: impl Iterator<Item = &'a Arc<AgentView>> + Clone,
) -> HashMap<String, Arc<str>> {
    let sparks = &visit.pages.sparks;
    let key = |view: &AgentView| (view.spec.name.clone(), visit.lang.tag());
    let agents = agents.filter(|view| !matches!(view.spec.keep, Keep::Last));
    let end = Instant::now() + PATIENCE;
    let mut known = sparks.state.lock();
    loop {
        let is_stale = |view: &&Arc<AgentView>| {
            known.curves.get(&key(view)).is_none_or(|entry| entry.of != Measured::of(view, visit.now))
        };
        let stale: Vec<_> = agents.clone().filter(is_stale).cloned().collect();
        if stale.is_empty() {
            break;
        }
        if known.drawing.is_none() {
            let wanted: Vec<_> = stale.into_iter().map(|view| wanted(visit, &known, key(&view), view)).collect();
            known.forget_others(visit);
            known.drawing = Some(Instant::now());
            MutexGuard::unlocked(&mut known, || sparks.start(visit, wanted));
        }
        let Some(since) = known.drawing else { break };
        if sparks.drawn.wait_until(&mut known, end.min(since + PATIENCE)).timed_out() {
            break;
        }
    }
    let markup = |view: &Arc<AgentView>| Some((view.spec.name.clone(), known.curves.get(&key(view))?.markup.clone()?));
    agents.filter_map(markup).collect()
}

/// What is to be drawn of an agent; the instance chosen before if that is not long ago.
fn wanted(visit: &Visit<'_>, known: &Known, key: Key, view: Arc<AgentView>) -> Wanted {
    let now = visit.now;
    let before = known.curves.get(&key).filter(|before| (before.chosen..before.chosen + LASTING).contains(&now));
    // With its state it may be another instance that is to be seen.
    let before = before.filter(|before| view.since <= before.chosen && before.instance.is_some());
    let plan = curves::main(visit, &view, before.and_then(|before| before.instance.as_deref()));
    let instance = plan.as_ref().and_then(|plan| plan.instance.clone());
    let chosen = before.filter(|before| before.instance == instance).map_or(now, |before| before.chosen);
    let entry = Entry { of: Measured::of(&view, now), instance, chosen, markup: None };
    Wanted { key, view, entry, plan }
}

impl Known {
    /// Agents come and go.
    fn forget_others(&mut self, visit: &Visit<'_>) {
        let agents = visit.pages.board.agents();
        if self.curves.len() > 2 * agents.len() {
            let names: HashSet<&str> = agents.iter().map(|view| view.spec.name.as_str()).collect();
            self.curves.retain(|(name, _), _| names.contains(name.as_str()));
        }
    }
}

impl Sparks {
    fn start(self: &Arc<Self>, visit: &Visit<'_>, wanted: Vec<Wanted>) {
        let (control, lang, now) = (Arc::clone(&visit.pages.control), visit.lang, visit.now);
        let this = Arc::clone(self);
        let draw = move || {
            let drawing = Drawing(this);
            for Wanted { key, view, mut entry, plan } in wanted {
                let curve = plan.and_then(|plan| Curve::of(control.as_ref(), &view, plan, now));
                entry.markup = curve.map(|curve| curve.markup(lang).into_string().into());
                drawing.0.state.lock().curves.insert(key, entry);
            }
        };
        if thread::Builder::new().name("curves".to_owned()).spawn(draw).is_err() {
            self.state.lock().drawing = None;
        }
    }
}

/// The thread at work.
struct Drawing(Arc<Sparks>);

impl Drop for Drawing {
    fn drop(&mut self) {
        self.0.state.lock().drawing = None;
        self.0.drawn.notify_all();
    }
}

/// A curve read.
#[derive(Debug)]
struct Curve {
    plan: Plan,
    start: UnixTime,
    span: i64,
    points: Vec<(UnixTime, f64)>,
    /// Its value now.
    value: Option<f64>,
}

impl Curve {
    /// `None`: nothing is known of the time.
    fn of(control: &dyn Control, view: &AgentView, plan: Plan, now: UnixTime) -> Option<Self> {
        let period = i64::try_from(view.spec.period.as_secs()).unwrap_or(i64::MAX).max(1);
        let least = period.saturating_mul(LEAST);
        let span = SPANS.into_iter().find(|span| *span >= least).unwrap_or(SPANS[3]);
        let is_rrd = matches!(view.spec.keep, Keep::Rrd(_));
        let (points, step) = match is_rrd {
            true => rows(control, view, &plan, (now - span, now))?,
            false => (measured(view, &plan, now - span), period),
        };
        let first = points.iter().find(|(_, value)| value.is_finite())?.0 - step;
        // What an agent that was there has not measured is a gap.
        let known = now - if is_rrd { since(view).min(first) } else { first };
        let span = if known * 10 > span * 9 { span } else { known.max(least) };
        let last = points.iter().rev().find(|(_, value)| value.is_finite())?;
        let value = (now - last.0 <= 3 * step.max(period)).then_some(last.1);
        Some(Self { plan, start: now - span, span, points, value })
    }

    fn markup(&self, lang: Lang) -> Markup {
        let Self { plan, points, value, .. } = self;
        let known = || points.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
        let (least, most) = (known().fold(f64::MAX, f64::min), known().fold(f64::MIN, f64::max));
        let label = plan.curves.first().map_or("", |curve| curve.label.as_str());
        let what = match &plan.instance {
            Some(instance) => format!("{} – {label}", visible(instance)),
            None => label.to_owned(),
        };
        let (what, show) = (shortened(&what, LABEL), |value| shortened(&units::show(lang, value, &plan.unit), VALUE));
        let (low, high) = (show(least), show(most));
        let between = if low == high { low } else { lang.message(&message!("{} to {}", low, high)) };
        let text = lang.message(&message!("{}, {}: {}", what, span_name(lang, self.span), between));
        // As the graph on the agent's page; a part of a whole is seen as one.
        let whole = plan.upper.or((plan.unit == "%").then_some(100.0)).unwrap_or(f64::MIN);
        let scale = Scale::of(plan.lower.unwrap_or(0.0).min(least).min(0.0), whole.max(most));
        let part = |time: UnixTime| ((time - self.start) as f64 / self.span as f64).clamp(0.0, 1.0);
        let x = |time| MARGIN + part(time) * (SIZE.0 - 2.0 * MARGIN);
        let spots: Vec<_> =
            points.iter().map(|(time, value)| value.is_finite().then(|| (x(*time), scale.y(*value)))).collect();
        let (line, area) = paths(&spots, scale.y(0.0));
        html! {
            span class="trend" title=(text) {
                svg class="spark" viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } role="img" aria-label=(text) {
                    path class="area" d=(area) {}
                    path class="line" d=(line) {}
                    @if value.is_some() && let Some((x, y)) = spots.iter().rev().find_map(|spot| *spot) {
                        circle class="end" cx=(x.round()) cy=(y.round()) r="9" {}
                    }
                }
                @if let Some(value) = value { span class="n" { (show(*value)) } }
            }
        }
    }
}

/// Rows of a file, and seconds between them, with what was measured last, which may not be there yet. `None`: it cannot be read.
fn rows(
    control: &dyn Control,
    view: &AgentView,
    plan: &Plan,
    (start, end): (UnixTime, UnixTime),
) -> Option<(Vec<(UnixTime, f64)>, i64)> {
    let (curve, Keep::Rrd(graphs)) = (plan.curves.first()?, &view.spec.keep) else { return None };
    let (agent, instance) = (&view.spec.name, plan.instance.as_deref());
    let fetched = control.series(agent, instance, &curve.field, curve.cf, start, end, series::ROWS).ok()?;
    let (mut points, mut step) = (Vec::new(), 0);
    if let Some(mut fetched) = fetched.filter(|fetched| fetched.values.iter().any(|value| value.is_finite())) {
        // What was before an agent is not merged with what it is.
        let unknown = fetched.values.iter().take_while(|value| !value.is_finite()).count();
        fetched.values.drain(..unknown);
        fetched.start += unknown as i64 * fetched.step.cast_signed();
        let fetched = fetched.consolidate(curve.cf, ROWS);
        step = fetched.step.cast_signed();
        let times = (1..).map(|row: i64| fetched.start + row * step);
        points = times.zip(fetched.values).filter(|(time, _)| *time > start).collect();
    }
    while points.pop_if(|(_, value)| !value.is_finite()).is_some() {}
    let source = graphs.datasources.iter().find(|source| source.name == curve.field);
    let is_gauge = source.is_none_or(|source| source.ds_type == DsKind::Gauge);
    if let Some((time, value)) = number(view, plan).filter(|(time, _)| is_gauge && *time > start) {
        points.retain(|(earlier, _)| *earlier < time);
        let period = view.spec.period.as_secs().cast_signed();
        // As long as the file would take it for one stretch.
        if points.last().is_some_and(|(last, _)| (time - last) * 2 > 5 * step.max(period)) {
            points.push((time, f64::NAN));
        }
        points.push((time, value));
    }
    Some((points, step))
}

/// What the last measurement found.
fn number(view: &AgentView, plan: &Plan) -> Option<(UnixTime, f64)> {
    let taken = view.last.as_ref()?;
    let of = match &plan.instance {
        Some(instance) => taken.measurement.instances().find(|(name, _)| name == instance)?.1,
        None => &*taken.measurement,
    };
    Some((taken.time, of.get_number(&plan.curves.first()?.field)?))
}

/// Of an agent that keeps its last measurements.
fn measured(view: &AgentView, plan: &Plan, start: UnixTime) -> Vec<(UnixTime, f64)> {
    let Some(curve) = plan.curves.first() else { return Vec::new() };
    let all = view.before.iter().rev().chain(&view.last).filter(|taken| taken.time > start);
    all.map(|taken| (taken.time, taken.measurement.get_number(&curve.field).unwrap_or(f64::NAN))).collect()
}

fn span_name(lang: Lang, span: i64) -> String {
    let name = match span {
        HOUR => lang.text("last hour"),
        86_400 => lang.text("last day"),
        604_800 => lang.text("last week"),
        2_678_400 => lang.text("last month"),
        _ => return lang.message(&message!("the last {}", units::span(lang, span))),
    };
    name.to_owned()
}

/// Where values are in the picture.
struct Scale {
    lower: f64,
    height: f64,
}

impl Scale {
    /// Halves, because the whole may be more than there are numbers.
    fn of(lower: f64, upper: f64) -> Self {
        let height = upper / 2.0 - lower / 2.0;
        Self { lower: lower / 2.0, height: if height > 0.0 { height } else { 1.0 } }
    }

    fn y(&self, value: f64) -> f64 {
        let part = ((value / 2.0 - self.lower) / self.height).clamp(0.0, 1.0);
        MARGIN + (1.0 - part) * (SIZE.1 - 2.0 * MARGIN)
    }
}

/// The line between spots that are known, and the area between it and the ground; in whole numbers, each from the one before.
fn paths(spots: &[Option<(f64, f64)>], ground: f64) -> (String, String) {
    let (mut line, mut area) = (String::new(), String::new());
    for stretch in spots.split(Option::is_none).filter(|stretch| !stretch.is_empty()) {
        let whole = stretch.iter().flatten().map(|(x, y)| (x.round() as i64, y.round() as i64));
        let (mut at, mut begun) = ((0, 0), String::new());
        for (x, y) in whole.clone() {
            let _ = match begun.is_empty() {
                true => write!(begun, "M{x} {y}l0 0"),
                false => write!(begun, " {} {}", x - at.0, y - at.1),
            };
            at = (x, y);
        }
        line.push_str(&begun);
        if let Some((x, _)) = whole.into_iter().next().filter(|_| stretch.len() > 1) {
            let _ = write!(area, "{begun}V{ground:.0}H{x}z");
        }
    }
    (line, area)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(unit: &str) -> Plan {
        let curve = curves::Curve {
            field: "one".to_owned(),
            cf: gmetad_rrd::Cf::Average,
            draw: crate::spec::Draw::Line2,
            colour: String::new(),
            label: "load".to_owned(),
        };
        let (key, title, unit) = (String::new(), String::new(), unit.to_owned());
        let (instance, lower, upper, limits) = (None, None, None, Vec::new());
        Plan { key, instance, title, unit, lower, upper, limits, curves: vec![curve] }
    }

    /// The picture of values that lie ten minutes apart, the last of them now.
    fn drawn(unit: &str, values: &[f64]) -> String {
        let points: Vec<_> = (0i64..).map(|row| row * 600).zip(values.iter().copied()).collect();
        let value = points.last().map(|(_, value)| *value).filter(|value| value.is_finite());
        let curve = Curve { plan: plan(unit), start: 0, span: HOUR, points, value };
        curve.markup(Lang::English).into_string().replace(units::THIN, " ")
    }

    fn lines(text: &str) -> &str {
        text.split("class=\"line\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap()
    }

    #[test]
    fn a_curve_says_what_it_is() {
        let text = drawn("", &[0.5, 1.0, 0.0]);
        assert!(text.contains("aria-label=\"load, last hour: 0 to 1\""), "{text}");
        assert!(text.contains("<span class=\"n\">0</span>") && text.contains("role=\"img\""), "{text}");
        assert_eq!(lines(&text), "M10 48l0 0 77 -38 76 76");
        assert!(text.contains("class=\"area\" d=\"M10 48l0 0 77 -38 76 76V86H10z\""), "{text}");
        assert!(text.contains("<circle class=\"end\" cx=\"163\" cy=\"86\""), "{text}");
        let constant = drawn("B", &[4096.0, 4096.0]);
        assert!(constant.contains("aria-label=\"load, last hour: 4 KiB\""), "{constant}");
        assert_eq!(lines(&constant), "M10 10l0 0 77 0");
        assert_eq!(lines(&drawn("", &[0.0, 0.0])), "M10 86l0 0 77 0", "nothing is at the bottom");
        assert_eq!(lines(&drawn("%", &[50.0, 25.0])), "M10 48l0 0 77 19", "a part is seen as one");
    }

    #[test]
    fn what_is_unknown_is_a_gap() {
        let text = drawn("", &[1.0, 1.0, f64::NAN, 1.0, f64::NAN]);
        // A row alone is a dot, and has no area.
        assert_eq!(lines(&text), "M10 10l0 0 77 0M240 10l0 0");
        assert_eq!(text.matches('z').count(), 1, "{text}");
        assert!(!text.contains("<circle") && !text.contains("class=\"n\""), "it is not known now: {text}");
        assert_eq!(lines(&drawn("", &[7.0])), "M10 10l0 0");
    }

    #[test]
    fn any_number_is_in_the_picture() {
        for values in [
            [f64::MAX, f64::MIN, 0.0],
            [-5.0, -1.0, -3.0],
            [f64::MIN_POSITIVE, 0.0, 1e-300],
            [f64::INFINITY, f64::NEG_INFINITY, 1.0],
            [1e300, 1.0, -1e-300],
        ] {
            let text = drawn("", &values);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{values:?}: {text}");
            let (mut y, numbers) = (0, lines(&text).replace(['M', 'l'], " "));
            let numbers: Vec<i64> = numbers.split_whitespace().map(|number| number.parse().unwrap()).collect();
            for pair in numbers.chunks(2) {
                y += pair[1];
                assert!(lines(&text).matches('M').count() > 1 || (10..=86).contains(&y), "{values:?}: {text}");
            }
        }
        assert_eq!(lines(&drawn("", &[-5.0, 0.0])), "M10 86l0 0 77 -76", "what is below 0 is below it");
    }
}
