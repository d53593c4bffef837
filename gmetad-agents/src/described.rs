//! Putting what an agent says of itself under what is known of it already.

use gmetad_core::agent::{Counted, Described, DescribedGraph, Message};
use gmetad_core::message;

use crate::kind;
use crate::spec::{Datasource, Draw, DsKind, Field, Graph, Graphs, Keep, Limit, Series, Spec};

/// Graphs that an agent may describe: a page is to be read.
const GRAPHS: usize = 200;
/// Remarks of an agent that are shown.
const REMARKS: usize = 10;

/// The spec with what the agent says of itself where its file says nothing: description and section if they are still those of
/// its kind, labels and units that are empty, data sources and graphs if there are none. The same spec and description give
/// the same result; an agent without RRD files gets none.
///
/// ```
/// use gmetad_agents::{described, spec::Spec};
/// use gmetad_core::agent::{Described, DescribedField};
/// # use gmetad_core::agent::{Agent, AgentError, Context, Measurement};
/// # struct Disk;
/// # impl Agent for Disk {
/// #     fn name(&self) -> &str { "disk" }
/// #     fn measure(&mut self, _: &Context) -> Result<Measurement, AgentError> { Ok(Measurement::new()) }
/// # }
/// let spec = Spec::of(&Disk);
/// let said = Described::default().field(DescribedField::new("free").unit("B"));
/// assert_eq!(described::under(&spec, &said).fields[0].unit, "B");
/// ```
pub fn under(spec: &Spec, described: &Described) -> Spec {
    let mut spec = spec.clone();
    if !described.description.is_empty() && is_unsaid_description(&spec) {
        spec.description = described.description.clone();
    }
    if !described.section.is_empty() && is_unsaid_section(&spec.section) {
        spec.section = described.section.clone();
    }
    for said in &described.fields {
        let known = spec.fields.iter_mut().find(|field| field.name == said.name);
        match known {
            Some(known) => {
                if known.label.is_empty() {
                    known.label = said.label.clone();
                }
                if known.unit.is_empty() {
                    known.unit.clone_from(&said.unit);
                }
            }
            None => {
                spec.fields.push(Field { name: said.name.clone(), label: said.label.clone(), unit: said.unit.clone() })
            }
        }
        let range = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        let (warn, error) = (range(&said.warn), range(&said.error));
        let is_ruled = spec.ruled.contains(&said.name);
        if !is_ruled && (warn.is_some() || error.is_some()) && !spec.limits.iter().any(|limit| limit.field == said.name)
        {
            spec.limits.push(Limit { field: said.name.clone(), warn, error });
        }
    }
    if let Keep::Rrd(graphs) = &mut spec.keep {
        keep(graphs, described);
    }
    spec
}

/// What an agent remarks, as much of it as is to be read.
pub fn remarks(described: &Described) -> Vec<Message> {
    let mut remarks: Vec<Message> = described.notes.iter().take(REMARKS).cloned().collect();
    let more = described.notes.len() - remarks.len();
    if more > 0 {
        remarks.push(message!("and {} more {remark|remarks}", more));
    }
    remarks
}

fn keep(graphs: &mut Graphs, described: &Described) {
    // A list of some would leave out the others: it is made of all or not at all.
    if graphs.datasources.is_empty() {
        graphs.datasources = described
            .fields
            .iter()
            .map(|field| Datasource {
                name: field.name.clone(),
                ds_type: match field.counted {
                    Counted::Gauge => DsKind::Gauge,
                    Counted::Counter => DsKind::Counter,
                    Counted::Derive => DsKind::Derive,
                    Counted::Absolute => DsKind::Absolute,
                },
                min_bound: field.min,
                max_bound: field.max.filter(|max| field.min.is_none_or(|min| min < *max)),
            })
            .collect();
    }
    if graphs.graphs.is_empty() {
        graphs.graphs = described.graphs.iter().take(GRAPHS).map(graph).collect();
    }
}

fn graph(said: &DescribedGraph) -> Graph {
    let series = said.series.iter().map(|series| Series {
        ds: series.field.clone(),
        cf: String::new(),
        draw: match series.draw.as_str() {
            "line1" => Draw::Line1,
            "line3" => Draw::Line3,
            "area" => Draw::Area,
            "stack" => Draw::Stack,
            _ => Draw::Line2,
        },
        color: series.color.clone(),
        legend: series.legend.clone(),
    });
    Graph {
        pngname: format!("{}.png", said.name),
        title: said.title.clone(),
        unit: said.unit.clone(),
        lower: said.lower,
        upper: said.upper.filter(|upper| said.lower.is_none_or(|lower| lower < *upper)),
        series: series.collect(),
        ..Graph::default()
    }
}

fn is_unsaid_description(spec: &Spec) -> bool {
    let text = spec.description.to_string();
    text.is_empty() || text == spec.name || kind::all().any(|kind| text == kind.about)
}

fn is_unsaid_section(section: &Message) -> bool {
    let text = section.to_string();
    text.is_empty() || crate::exec::KINDS.iter().any(|kind| text == kind.section)
}

#[cfg(test)]
mod tests {
    use gmetad_core::agent::{Agent, AgentError, Context, DescribedField, DescribedSeries, Measurement};

    use super::*;

    struct Nothing;

    impl Agent for Nothing {
        fn name(&self) -> &str {
            "x"
        }

        fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
            Ok(Measurement::new())
        }
    }

    fn said() -> Described {
        let mut said = Described { description: "Disks".into(), section: "Storage".into(), ..Described::default() }
            .field(DescribedField { warn: Some("80".into()), ..DescribedField::new("used").unit("%").label("Used") })
            .field(DescribedField {
                counted: Counted::Derive,
                min: Some(0.0),
                ..DescribedField::new("read").unit("B/s")
            });
        let series = vec![DescribedSeries { field: "used".into(), draw: "area".into(), ..DescribedSeries::default() }];
        said.graphs.push(DescribedGraph {
            name: "g".into(),
            lower: Some(1.0),
            upper: Some(0.0),
            series,
            ..DescribedGraph::default()
        });
        said
    }

    #[test]
    fn what_nobody_said_is_taken() {
        let mut spec = Spec::of(&Nothing);
        spec.keep = Keep::Rrd(Graphs::default());
        let spec = under(&spec, &said());
        assert_eq!(
            (spec.description.to_string(), spec.section.to_string()),
            ("Disks".to_owned(), "Storage".to_owned())
        );
        assert_eq!((spec.fields[0].unit.as_str(), spec.limits.len()), ("%", 1));
        let Keep::Rrd(graphs) = &spec.keep else { panic!("graphs") };
        assert_eq!((graphs.datasources[1].ds_type, graphs.datasources[1].min_bound), (DsKind::Derive, Some(0.0)));
        assert_eq!((graphs.graphs[0].pngname.as_str(), graphs.graphs[0].upper), ("g.png", None));
        assert_eq!(under(&spec, &said()), spec, "once is enough");
    }

    #[test]
    fn remarks_have_a_bound() {
        let notes: Vec<Message> = (0..12).map(|n| n.to_string().into()).collect();
        let of = |count: usize| remarks(&Described { notes: notes[..count].to_vec(), ..Described::default() });
        assert_eq!((of(0).len(), of(10).len(), of(12).len()), (0, 10, 11));
        assert_eq!(of(12)[10].to_string(), "and 2 more remarks");
    }

    #[test]
    fn what_the_file_says_counts() {
        let mut spec = Spec::of(&Nothing);
        (spec.description, spec.section) = ("Mine".into(), "Also mine".into());
        spec.fields.push(Field { name: "used".into(), label: "My label".into(), unit: String::new() });
        let source = Datasource { name: "read".into(), ds_type: DsKind::Gauge, min_bound: None, max_bound: None };
        spec.keep = Keep::Rrd(Graphs { datasources: vec![source.clone()], ..Graphs::default() });
        let merged = under(&spec, &said());
        assert_eq!(
            (merged.description.to_string(), merged.section.to_string()),
            ("Mine".to_owned(), "Also mine".to_owned())
        );
        assert_eq!((merged.fields[0].label.to_string(), merged.fields[0].unit.as_str()), ("My label".to_owned(), "%"));
        let Keep::Rrd(graphs) = merged.keep else { panic!("graphs") };
        assert_eq!(graphs.datasources, [source]);
        spec.ruled.push("used".to_owned());
        assert!(under(&spec, &said()).limits.is_empty(), "the file has a rule, or wants none");
        let plain = under(&Spec::of(&Nothing), &said());
        assert_eq!(plain.keep, Keep::Last);
    }
}
