//! Putting what is written over what a kind (or an earlier file) made.

use std::time::Duration;

use gmetad_core::agent::Message;
use gmetad_core::message;

use super::agent::is_name;
use super::visible;
use super::written::{ArchiveWritten, Common, GraphWritten, KeepWritten, RuleWritten, SeriesWritten, consolidation};
use crate::spec::{Archive, Field, Graph, Graphs, Keep, Rule, Series, Spec, TIMEOUT};

/// Rows of a table, where it is not said.
const ROWS: usize = 60;
/// Most rows of an archive: 8 MB a field.
const ARCHIVE_ROWS: u64 = 1_000_000;

/// What cannot be: the key it is about, and why.
pub(super) type Wrong = (&'static str, Message);

/// Puts the common keys over a spec.
pub(super) fn put(over: &mut Spec, common: Common) -> Result<(), Wrong> {
    let Common {
        period,
        timeout,
        description,
        section,
        fields,
        requires,
        debounce,
        rules,
        keep,
        rows,
        datasources,
        archives,
        graphs,
    } = common;
    times(over, period.map(|it| it.0), timeout.map(|it| it.0));
    if let Some(text) = description {
        over.description = visible(&text).into();
    }
    if let Some(text) = section {
        over.section = visible(&text).into();
    }
    if let Some(fields) = fields {
        put_fields(over, fields.0)?;
    }
    if let Some(requires) = requires {
        if let Some(wrong) = requires.0.iter().find(|name| !is_name(name)) {
            return Err(("requires", message!("`{}` cannot be the name of an agent", wrong)));
        }
        if requires.0.contains(&over.name) {
            return Err(("requires", message!("it requires itself")));
        }
        over.requires = requires.0;
    }
    if let Some(times) = debounce {
        over.debounce = times.0;
    }
    for rule in rules.into_iter().flat_map(|rules| rules.0) {
        put_rule(over, rule)?;
    }
    let rrd = [("datasources", datasources.is_some()), ("archives", archives.is_some()), ("graphs", graphs.is_some())];
    let rrd = rrd.into_iter().find(|(_, given)| *given).map(|(key, _)| key);
    if let (Some(_), Some(key)) = (&rows, rrd) {
        return Err((key, message!("rows is for tables, {} for RRD files; an agent has one or the other", key)));
    }
    match (keep, rows, rrd) {
        (Some(KeepWritten::Last | KeepWritten::Table), _, Some(key)) => {
            return Err(("keep", message!("{} needs keep = `rrd`", key)));
        }
        (Some(KeepWritten::Last | KeepWritten::Rrd), Some(_), _) => {
            return Err(("keep", message!("rows needs keep = `table`")));
        }
        (Some(KeepWritten::Last), None, None) => over.keep = Keep::Last,
        (_, Some(rows), _) => over.keep = Keep::Table { rows: rows.0 },
        (Some(KeepWritten::Table), None, None) => {
            if !matches!(over.keep, Keep::Table { .. }) {
                over.keep = Keep::Table { rows: ROWS };
            }
        }
        (Some(KeepWritten::Rrd), None, _) | (None, None, Some(_)) => {
            let mut kept = match std::mem::take(&mut over.keep) {
                Keep::Rrd(kept) => kept,
                Keep::Last | Keep::Table { .. } => Graphs::default(),
            };
            if let Some(datasources) = datasources {
                let meant = datasources.0.into_iter().map(|it| it.meant()).collect::<Result<_, _>>();
                kept.datasources = meant.map_err(|what| ("datasources", what))?;
            }
            if let Some(archives) = archives {
                let meant = archives.0.into_iter().map(|it| archive(it, over.period)).collect::<Result<_, _>>();
                kept.archives = meant.map_err(|what| ("archives", what))?;
            }
            if let Some(graphs) = graphs {
                let meant = graphs.0.into_iter().map(graph).collect::<Result<_, _>>();
                kept.graphs = meant.map_err(|what| ("graphs", what))?;
            }
            agree(&kept)?;
            over.keep = Keep::Rrd(kept);
        }
        (None, None, None) => {}
    }
    Ok(())
}

/// Period and timeout. A timeout that followed from the period goes on doing so.
fn times(over: &mut Spec, period: Option<Duration>, timeout: Option<Duration>) {
    let follows = over.timeout == over.period.min(TIMEOUT);
    let period = period.unwrap_or(over.period);
    let own = if follows { TIMEOUT } else { over.timeout };
    over.timeout = timeout.unwrap_or(own).min(period);
    over.period = period;
}

/// Those written come first, with what was known of them where nothing else is written; the others follow.
fn put_fields(over: &mut Spec, written: Vec<super::written::FieldWritten>) -> Result<(), Wrong> {
    let mut known = std::mem::take(&mut over.fields);
    for field in written {
        if over.fields.iter().any(|other| other.name == field.name) {
            return Err(("fields", message!("field {} is there twice", field.name)));
        }
        let before = known.iter().position(|known| known.name == field.name).map(|at| known.remove(at));
        let mut meant = before.unwrap_or_else(|| Field { name: field.name, ..Field::default() });
        if let Some(label) = field.label {
            meant.label = visible(&label).into();
        }
        if let Some(unit) = field.unit {
            meant.unit = unit;
        }
        over.fields.push(meant);
    }
    over.fields.append(&mut known);
    Ok(())
}

/// A rule replaces those of its field that came with the kind; one without thresholds takes them away.
fn put_rule(over: &mut Spec, rule: RuleWritten) -> Result<(), Wrong> {
    let RuleWritten { field, warn, error, times, nodata } = rule;
    if field.is_empty() {
        return Err(("rules", message!("the field of a rule is empty")));
    }
    over.rules.retain(|other| other.field != field);
    if !over.ruled.contains(&field) {
        over.ruled.push(field.clone());
    }
    if warn.is_some() || error.is_some() || nodata.is_some() {
        let (warn, error) = (warn.map(|it| it.0), error.map(|it| it.0));
        let times = times.map_or(1, |times| times.0);
        over.rules.push(Rule { field, warn, error, r#for: times, nodata: nodata.map(|it| it.0) });
    }
    Ok(())
}

/// An archive as meant: resolutions are rounded up to whole periods, and named as such by the library.
fn archive(written: ArchiveWritten, period: Duration) -> Result<Archive, Message> {
    let cf = consolidation(written.cf.as_deref().unwrap_or("AVERAGE"))?;
    let step = period.as_secs().max(1);
    let (resolution, keep) = match (written.rows, written.steps, written.resolution, written.keep) {
        (Some(rows), steps, None, None) => {
            let resolution = step.saturating_mul(steps.map_or(1, |steps| steps.0));
            (resolution, resolution.saturating_mul(rows.0))
        }
        (None, None, resolution, Some(keep)) => {
            let resolution = resolution.map_or(step, |it| it.0).max(step);
            (resolution.div_ceil(step).saturating_mul(step), keep.0)
        }
        _ => return Err(message!("an archive is written with rows and steps, or with resolution and keep")),
    };
    if keep < resolution || keep / resolution > ARCHIVE_ROWS {
        return Err(message!(
            "an archive of {} s in rows of {} s has no row, or more than {}",
            keep,
            resolution,
            ARCHIVE_ROWS
        ));
    }
    Ok(Archive { cf, resolution, keep })
}

fn graph(written: GraphWritten) -> Result<Graph, Message> {
    let GraphWritten { pngname, title, unit, lower, upper, series, vnamedefs, options } = written;
    if !is_name(&pngname) {
        return Err(message!(
            "pngname `{}` cannot be the name of a picture: 1 to 64 letters, digits, `_`, `-`, `.`, `+`",
            pngname
        ));
    }
    let vnamedefs = vnamedefs.into_iter().map(|(vname, value)| {
        let pair = value.as_array().map(Vec::as_slice);
        match pair {
            Some([toml::Value::String(ds), toml::Value::String(cf)]) => Ok((vname, (ds.clone(), cf.clone()))),
            _ => Err(message!("vnamedefs.{} is not [data source, consolidation function]", vname)),
        }
    });
    let vnamedefs: Vec<_> = vnamedefs.collect::<Result<_, _>>()?;
    if vnamedefs.is_empty() != options.0.is_empty() {
        return Err(message!("{}: vnamedefs and options are written together or not at all", pngname));
    }
    if !vnamedefs.is_empty() && !series.0.is_empty() {
        return Err(message!("{}: series and vnamedefs cannot both be drawn; write one of them", pngname));
    }
    let series = series.0.into_iter().map(drawn).collect::<Result<_, _>>()?;
    let (title, unit) = (visible(&title.unwrap_or_default()).into(), unit.unwrap_or_default());
    Ok(Graph { pngname, title, unit, lower, upper, series, vnamedefs, options: options.0 })
}

fn drawn(written: SeriesWritten) -> Result<Series, Message> {
    let SeriesWritten { ds, cf, draw, color, legend } = written;
    let cf = cf.map_or(Ok(String::new()), |cf| consolidation(&cf).map(|cf| cf.name().to_owned()))?;
    let color = color.unwrap_or_default();
    let digits = color.strip_prefix('#').unwrap_or(if color.is_empty() { "000000" } else { "" });
    if !matches!(digits.len(), 6 | 8) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(message!("color `{}` is not written as #RRGGBB", color));
    }
    Ok(Series { ds, cf, draw, color, legend: visible(&legend.unwrap_or_default()).into() })
}

/// What is drawn must be kept, and names must be clear.
fn agree(kept: &Graphs) -> Result<(), Wrong> {
    let twice = |names: Vec<&str>| {
        let mut sorted = names;
        sorted.sort_unstable();
        sorted.windows(2).find(|two| two[0] == two[1]).map(|two| two[0].to_owned())
    };
    if let Some(name) = twice(kept.datasources.iter().map(|it| it.name.as_str()).collect()) {
        return Err(("datasources", message!("data source {} is there twice", name)));
    }
    if let Some(name) = twice(kept.graphs.iter().map(|it| it.pngname.as_str()).collect()) {
        return Err(("graphs", message!("two graphs are called {}", name)));
    }
    if kept.datasources.is_empty() {
        return Ok(()); // each numeric field is one
    }
    let drawn = kept
        .graphs
        .iter()
        .flat_map(|graph| graph.series.iter().map(|it| &it.ds).chain(graph.vnamedefs.iter().map(|(_, (ds, _))| ds)));
    for ds in drawn {
        if !kept.datasources.iter().any(|known| known.name == *ds) {
            return Err(("graphs", message!("what is drawn, {}, is none of the datasources", ds)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gmetad_core::agent::{Agent, AgentError, Context, Measurement, State};

    use super::*;
    use crate::spec::{Cf, Draw, DsKind};

    struct Nothing;

    impl Agent for Nothing {
        fn name(&self) -> &str {
            "nothing"
        }

        fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
            Ok(Measurement::new())
        }
    }

    fn spec(text: &str) -> Result<Spec, String> {
        let mut spec = Spec::of(&Nothing);
        let common = toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())?;
        put(&mut spec, common).map_err(|(key, what)| format!("{key}: {what}"))?;
        Ok(spec)
    }

    #[test]
    fn timeouts_follow_periods_unless_they_are_written() {
        let times = |text: &str| spec(text).map(|spec| (spec.period.as_secs(), spec.timeout.as_secs())).unwrap();
        assert_eq!(times(""), (60, 60));
        assert_eq!(times("period = '10s'"), (10, 10));
        assert_eq!(times("period = '10m'"), (600, 60));
        assert_eq!(times("period = '10m'\ntimeout = 90"), (600, 90));
        assert_eq!(times("period = 10\ntimeout = 90"), (10, 10));
        let mut kind = Spec { timeout: Duration::from_secs(5), ..Spec::of(&Nothing) };
        put(&mut kind, toml::from_str("period = '10m'").unwrap()).unwrap();
        assert_eq!(kind.timeout.as_secs(), 5, "the kind's own");
    }

    #[test]
    fn the_squid_agent_of_the_ancestor() {
        let spec = spec(
            r##"
            period = "120s"
            archives = [{ rows = 60, steps = 1 }, { resolution = "15m", keep = "24h" }, { cf = "max", rows = 168, steps = 30 }]
            datasources = [{ name = "inko", ds_type = "COUNTER", min_bound = 0 }, { name = "hits" }]
            rules = [{ field = "hits", warn = "@0:10", for = 3, nodata = "unknown" }]
            [[graphs]]
            pngname = "http.png"
            title = "Entrées"
            series = [{ ds = "inko", cf = "average", draw = "area", color = "#00FF00", legend = "Entrée" }]
            [[graphs]]
            pngname = "raw.png"
            vnamedefs = { in = ["inko", "AVERAGE"] }
            options = ["-l0", "-v koctets/s", "AREA:in#00FF00:Entrées"]
            "##,
        )
        .unwrap();
        let Keep::Rrd(kept) = &spec.keep else { panic!("{spec:?}") };
        assert_eq!(kept.archives[0], Archive { cf: Cf::Average, resolution: 120, keep: 7200 });
        assert_eq!(
            kept.archives[1],
            Archive { cf: Cf::Average, resolution: 960, keep: 86_400 },
            "whole periods, rounded up"
        );
        assert_eq!(kept.archives[2], Archive { cf: Cf::Max, resolution: 3600, keep: 604_800 });
        assert_eq!((kept.datasources[0].ds_type, kept.datasources[0].min_bound), (DsKind::Counter, Some(0.0)));
        assert_eq!(kept.datasources[1].ds_type, DsKind::Gauge);
        assert_eq!((kept.graphs[0].series[0].draw, kept.graphs[1].options.len()), (Draw::Area, 3));
        let rule = &spec.rules[0];
        assert_eq!((rule.r#for, rule.nodata, rule.warn.unwrap().to_string()), (3, Some(State::Unknown), "@10".into()));
    }

    #[test]
    fn what_cannot_be_names_its_key() {
        for (key, text) in [
            ("requires", "requires = ['nothing']"),
            ("requires", "requires = ['a b']"),
            ("fields", "fields = ['a', 'a']"),
            ("rules", "rules = [{ field = '' }]"),
            ("graphs", "rows = 5\ngraphs = []"),
            ("keep", "keep = 'last'\ngraphs = []"),
            ("keep", "keep = 'rrd'\nrows = 5"),
            ("archives", "archives = [{ rows = 5, keep = '1d' }]"),
            ("archives", "archives = [{ resolution = '1d', keep = '1h' }]"),
            ("archives", "archives = [{ resolution = 1, keep = '10y' }]\nperiod = 1"),
            ("archives", "archives = [{ cf = 'MEAN', rows = 5 }]"),
            ("datasources", "datasources = [{ name = 'a' }, { name = 'a' }]"),
            ("datasources", "datasources = [{ name = 'a', ds_type = 'METER' }]"),
            ("datasources", "datasources = [{ name = 'a', min_bound = 5, max_bound = 1 }]"),
            ("graphs", "datasources = [{ name = 'a' }]\ngraphs = [{ pngname = 'x', series = [{ ds = 'b' }] }]"),
            ("graphs", "graphs = [{ pngname = '../x' }]"),
            ("graphs", "graphs = [{ pngname = 'x', series = [{ ds = 'b', color = 'red' }] }]"),
            ("graphs", "graphs = [{ pngname = 'x', vnamedefs = { a = ['b', 'c'] } }]"),
            ("graphs", "graphs = [{ pngname = 'x', vnamedefs = { a = 1 }, options = ['x'] }]"),
            ("graphs", "graphs = [{ pngname = 'x' }, { pngname = 'x' }]"),
        ] {
            let error = spec(text).unwrap_err();
            assert!(error.starts_with(&format!("{key}: ")), "{text}: {error}");
        }
    }

    #[test]
    fn a_rule_replaces_the_kinds_and_an_empty_one_takes_it_away() {
        let mut spec = Spec::of(&Nothing);
        put(&mut spec, toml::from_str("rules = [{ field = 'a', warn = 1 }, { field = 'b', warn = 1 }]").unwrap())
            .unwrap();
        put(&mut spec, toml::from_str("rules = [{ field = 'a', error = 5 }, { field = 'b' }]").unwrap()).unwrap();
        assert_eq!(spec.rules.len(), 1);
        let own = self::spec("rules = [{ field = '/home', warn = 1 }]\ndatasources = [{ name = '/home' }]").unwrap();
        let Keep::Rrd(graphs) = own.keep else { panic!("{:?}", own.keep) };
        assert_eq!((&*own.rules[0].field, &*graphs.datasources[0].name), ("home-f973ca68", "home-f973ca68"));
        assert_eq!((spec.rules[0].warn, spec.rules[0].error.unwrap().to_string()), (None, "5".into()));
        assert_eq!(self::spec("keep = 'table'").unwrap().keep, Keep::Table { rows: 60 });
        assert_eq!(self::spec("rows = 7").unwrap().keep, Keep::Table { rows: 7 });
        assert_eq!(self::spec("keep = 'rrd'").unwrap().keep, Keep::Rrd(Graphs::default()));
    }
}
