//! A graph as one small picture, for mails, walls and browsers without scripts.

use std::fmt::Write;

use gmetad_http::Response;
use maud::{Markup, PreEscaped, html};

use super::curves::{self, Plan};
use super::series::{Drawn, range, read};
use super::shell::{missing, no_agent};
use super::visit::{Visit, shortened, visible};
use super::{lamp, when};
use crate::lang::units;
use crate::said::Said;
use crate::spec::Draw;

/// Width and height in pixels: the least, what one gets, the most.
const WIDTH: (i64, i64, i64) = (200, 800, 3000);
const HEIGHT: (i64, i64, i64) = (80, 240, 2000);
/// Around the plot: above, right, below, left.
const MARGIN: (f64, f64, f64, f64) = (12.0, 12.0, 22.0, 74.0);
/// Height of a line of the legend.
const LINE: f64 = 18.0;
/// Lines of the grid.
const LINES: f64 = 4.0;

pub(super) fn page(visit: &Visit<'_>) -> Response {
    let Some(view) = visit.agent() else { return no_agent(visit) };
    let Some(plan) = curves::find(visit, &view).filter(|plan| !plan.curves.is_empty()) else { return missing(visit) };
    let size = |name, (least, usual, most): (i64, i64, i64)| {
        visit.parameter(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(usual).clamp(least, most)
    };
    let (width, height) = (size("width", WIDTH), size("height", HEIGHT));
    let (start, end) = range(visit);
    match read(visit, &view.spec.name, &plan, start, end, usize::try_from(width / 2).unwrap_or(2)) {
        Ok(drawn) => {
            let frame = Frame { width: width as f64, height: height as f64, start, end };
            let PreEscaped(text) = picture(visit, &plan, &drawn, &frame);
            // The policy of pages would do; this one is for whoever opens the picture alone.
            Response::new(200, "image/svg+xml; charset=utf-8", text)
                .header("Content-Security-Policy", "default-src 'none'")
        }
        Err(error) => failure(503, visit.lang.text("This graph cannot be drawn"), &visit.message(&error.said())),
    }
}

/// What stands in the place of a picture that cannot be made.
pub(super) fn failure(status: u16, title: &str, why: &str) -> Response {
    let PreEscaped(text) = html! {
        svg xmlns="http://www.w3.org/2000/svg" width="800" height="80" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="13" role="img" {
            rect width="100%" height="100%" fill="#fff" {}
            text x="14" y="32" font-weight="600" fill="#1c2430" { (title) }
            text x="14" y="56" fill="#5a6472" { (shortened(why, 120)) }
        }
    };
    Response::new(status, "image/svg+xml; charset=utf-8", text).header("Content-Security-Policy", "default-src 'none'")
}

struct Frame {
    width: f64,
    height: f64,
    start: i64,
    end: i64,
}

/// Lower and upper end of what a curve fills; the lower one is `None` for lines.
type Band = (Vec<Option<f64>>, Vec<f64>);

/// The values as drawn: stacked ones stand on those before.
fn bands(plan: &Plan, drawn: &Drawn) -> Vec<Band> {
    let mut below: Vec<f64> = vec![0.0; drawn.times.len()];
    let mut out = Vec::new();
    for (curve, (values, _)) in plan.curves.iter().zip(&drawn.curves) {
        let stacked = curve.draw == Draw::Stack;
        let floor: Vec<_> = below.iter().map(|below| if stacked { *below } else { 0.0 }).collect();
        let top: Vec<_> = values.iter().zip(&floor).map(|(value, floor)| value + floor).collect();
        if matches!(curve.draw, Draw::Area | Draw::Stack) {
            below = top.iter().zip(&floor).map(|(top, floor)| if top.is_nan() { *floor } else { *top }).collect();
        }
        let filled = matches!(curve.draw, Draw::Area | Draw::Stack);
        out.push((floor.into_iter().map(|floor| filled.then_some(floor)).collect(), top));
    }
    out
}

fn picture(visit: &Visit<'_>, plan: &Plan, drawn: &Drawn, frame: &Frame) -> Markup {
    let lang = visit.lang;
    let (above, right, below, left) = MARGIN;
    let title = match &plan.instance {
        Some(instance) => format!("{} {}", visible(instance), plan.title),
        None => plan.title.clone(),
    };
    let legend = plan.curves.len() as f64 * LINE;
    let (plot_width, plot_height) = (frame.width - left - right, (frame.height - above - below - 14.0).max(20.0));
    let top = above + 14.0;
    let bands = bands(plan, drawn);
    let known = || bands.iter().flat_map(|(_, top)| top).copied().filter(|value| value.is_finite());
    let lower = known().fold(plan.lower.unwrap_or(0.0), f64::min);
    let upper = known().fold(plan.upper.unwrap_or(f64::MIN), f64::max);
    let upper = if upper > lower { upper } else { lower + 1.0 };
    let round = step((upper - lower) / LINES, plan.unit.starts_with('B'));
    let (lower, upper) = ((lower / round).floor() * round, (upper / round).ceil() * round);
    let span = (frame.end - frame.start).max(1) as f64;
    let x = |time: i64| left + ((time - frame.start) as f64 / span).clamp(0.0, 1.0) * plot_width;
    let y = |value: f64| top + (1.0 - (value - lower) / (upper - lower)) * plot_height;
    let last =
        |place: usize| drawn.curves[place].0.iter().copied().rev().find(|value| !value.is_nan()).unwrap_or(f64::NAN);
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(frame.width) height=(frame.height + legend)
            viewBox={ "0 0 " (frame.width) " " (frame.height + legend) } font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="11" role="img" {
            title { (title) }
            rect width="100%" height="100%" fill="#fff" {}
            text x=(left) y="14" font-size="13" font-weight="600" fill="#1c2430" { (shortened(&title, 100)) }
            @for line in 0..=(((upper - lower) / round).round() as i64).clamp(1, 12) {
                @let value = lower + round * line as f64;
                line x1=(left) x2=(left + plot_width) y1=(coordinate(y(value))) y2=(coordinate(y(value))) stroke="#dfe3e8" {}
                text x=(left - 6.0) y=(coordinate(y(value) + 4.0)) text-anchor="end" fill="#5a6472" { (units::show(lang, value, &plan.unit)) }
            }
            @for part in 0..=4i64 {
                @let time = frame.start + (frame.end - frame.start) * part / 4;
                @let anchor = match part { 0 => "start", 4 => "end", _ => "middle" };
                text x=(coordinate(x(time))) y=(coordinate(top + plot_height + 15.0)) text-anchor=(anchor) fill="#5a6472" { (when::brief(lang, time, visit.now)) }
            }
            @for (curve, (floor, values)) in plan.curves.iter().zip(&bands) {
                @if floor.first().is_some_and(Option::is_some) {
                    path d=(area(&drawn.times, floor, values, &x, &y)) fill=(curve.colour) fill-opacity="0.45" {}
                }
                path d=(line(&drawn.times, values, &x, &y)) fill="none" stroke=(curve.colour) stroke-width=(width(curve.draw)) stroke-linejoin="round" {}
            }
            @for (state, value) in plan.limits.iter().filter(|(_, value)| (lower..=upper).contains(value)) {
                line x1=(left) x2=(left + plot_width) y1=(coordinate(y(*value))) y2=(coordinate(y(*value))) stroke=(lamp::colours(*state).0) stroke-dasharray="6 4" {}
            }
            @for (place, curve) in plan.curves.iter().enumerate() {
                @let at = frame.height + place as f64 * LINE;
                rect x=(left) y=(coordinate(at)) width="10" height="10" fill=(curve.colour) {}
                text x=(left + 16.0) y=(coordinate(at + 9.0)) fill="#1c2430" { (shortened(&curve.label, 60)) ": " (units::show(lang, last(place), &plan.unit)) }
            }
        }
    }
}

/// The next round number: in powers of two for bytes.
fn step(least: f64, binary: bool) -> f64 {
    // Far from where powers over- and underflow.
    let least = if least.is_finite() { least.clamp(1e-300, 1e300) } else { 1e300 };
    if binary {
        return 2f64.powf(least.log2().ceil());
    }
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| power * factor >= least * 0.999);
    power * factor.unwrap_or(10.0)
}

fn width(draw: Draw) -> &'static str {
    match draw {
        Draw::Line1 | Draw::Area | Draw::Stack => "1",
        Draw::Line2 => "2",
        Draw::Line3 => "3",
    }
}

/// Tenths of a pixel.
fn coordinate(value: f64) -> String {
    format!("{value:.1}")
}

/// Lines between rows that are known.
fn line(times: &[i64], values: &[f64], x: &impl Fn(i64) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let (mut path, mut pen) = (String::new(), 'M');
    for (time, value) in times.iter().zip(values) {
        if value.is_finite() {
            let _ = write!(path, "{pen}{:.1} {:.1}", x(*time), y(*value));
            pen = 'L';
        } else {
            pen = 'M';
        }
    }
    path
}

/// What lies between two curves, where it is known.
fn area(
    times: &[i64],
    floor: &[Option<f64>],
    values: &[f64],
    x: &impl Fn(i64) -> f64,
    y: &impl Fn(f64) -> f64,
) -> String {
    let rows: Vec<_> = times
        .iter()
        .zip(floor)
        .zip(values)
        .map(|((time, floor), value)| (*time, floor.unwrap_or(0.0), *value))
        .collect();
    let mut path = String::new();
    for stretch in rows.split(|(_, _, value)| !value.is_finite()).filter(|stretch| !stretch.is_empty()) {
        for (place, (time, _, value)) in stretch.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if place == 0 { 'M' } else { 'L' }, x(*time), y(*value));
        }
        for (time, floor, _) in stretch.iter().rev() {
            let _ = write!(path, "L{:.1} {:.1}", x(*time), y(*floor));
        }
        path.push('Z');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_at_round_numbers() {
        for (least, binary, expected) in [
            (0.3, false, 0.5),
            (1.0, false, 1.0),
            (23.0, false, 25.0),
            (51.0, false, 100.0),
            (700.0, true, 1024.0),
            (1024.0, true, 1024.0),
        ] {
            assert_eq!(step(least, binary), expected, "{least}");
        }
    }
}
