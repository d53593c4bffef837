//! METRICs of hosts.

use std::ops::Range;

use super::super::recognise::{InputText, Printed};
use super::super::tags::Tag;
use super::{InHost, Scratch, State};
use crate::limits;
use crate::model::{MetricAttrs, MetricType, c_number, c_unsigned, decimals};
use crate::summary::Addend;

/// Where things stand in the text of a METRIC.
pub(super) struct Learning {
    /// Bytes of the document before it.
    offset: u64,
    /// VAL and TN, from there.
    val: Range<usize>,
    tn: Range<usize>,
    /// Elements skipped and mended when it began.
    damage: (u64, u64),
}

/// The METRIC that is being read.
#[derive(Debug, Default)]
pub(super) struct MetricText {
    pub(super) open: bool,
    pub(super) name: String,
    pub(super) val: String,
    pub(super) units: String,
    pub(super) slope: String,
    pub(super) source: String,
    pub(super) kind: Option<MetricType>,
    pub(super) tn: u32,
    pub(super) tmax: u32,
    pub(super) dmax: u32,
    pub(super) extra: Vec<(Range<usize>, Range<usize>)>,
    pub(super) extra_text: String,
}

impl State<'_> {
    pub(super) fn start_metric(&mut self, tag: &Tag<'_>) {
        let metric = &mut self.scratch.metric;
        metric.clear();
        let (mut has_name, mut has_val, mut type_seen) = (false, false, false);
        let (mut val, mut tn) = (None, None);
        let damage = (self.report.skipped, self.report.mended);
        let host = match self.host {
            InHost::No => "",
            _ => self.scratch.host_attrs.name.as_str(),
        };
        let whole = self.report.attributes(tag, host, |key, value| match key {
            "NAME" => {
                value.clone_into(&mut metric.name);
                has_name = !value.is_empty();
            }
            "VAL" => {
                value.clone_into(&mut metric.val);
                has_val = true;
                val = tag.position(value);
            }
            "TYPE" => {
                metric.kind = MetricType::from_name(value);
                type_seen = true;
            }
            "UNITS" => value.clone_into(&mut metric.units),
            "TN" => {
                metric.tn = c_unsigned(value);
                tn = tag.position(value);
            }
            "TMAX" => metric.tmax = c_unsigned(value),
            "DMAX" => metric.dmax = c_unsigned(value),
            "SLOPE" => value.clone_into(&mut metric.slope),
            "SOURCE" => value.clone_into(&mut metric.source),
            _ => {}
        });
        let refusal = if !whole {
            return;
        } else if self.host == InHost::No {
            "METRIC outside a HOST"
        } else if !has_name {
            "METRIC without NAME"
        } else if !has_val {
            "METRIC without VAL"
        } else if !type_seen {
            "METRIC without TYPE"
        } else if metric.kind.is_none() {
            "METRIC of a TYPE that Ganglia does not have"
        } else {
            metric.open = self.host != InHost::Ignored && (metric.dmax == 0 || metric.tn <= metric.dmax || self.saved);
            self.learning = match (val, tn) {
                // Only the source's own text is worth knowing: it is what comes again.
                (Some(val), Some(tn)) if !self.saved && !self.options.plain => {
                    Some(Learning { offset: tag.offset, val, tn, damage })
                }
                _ => None,
            };
            return;
        };
        self.report.skipped(refusal, host, tag.offset);
    }

    pub(super) fn extra_element(&mut self, tag: &Tag<'_>) {
        let metric = &mut self.scratch.metric;
        if metric.extra.len() >= limits::EXTRA_ELEMENTS {
            return;
        }
        let (mut name, mut val) = (None, None);
        let text = &mut metric.extra_text;
        self.report.attributes(tag, &self.scratch.host_attrs.name, |key, value| {
            let mut keep = || {
                text.push_str(value);
                Some(text.len() - value.len()..text.len())
            };
            match key {
                "NAME" => name = keep(),
                "VAL" => val = keep(),
                _ => {}
            }
        });
        if let (Some(name), Some(val)) = (name, val) {
            metric.extra.push((name, val));
        }
    }

    /// Ends the open metric, if there is one. At its own end tag the text from its beginning may be learned.
    pub(super) fn end_metric(&mut self, text: Option<(Learning, &Tag<'_>)>) {
        let Scratch { host, metric, known, .. } = &mut *self.scratch;
        let (true, Some(kind)) = (std::mem::take(&mut metric.open), metric.kind) else { return };
        let attrs = MetricAttrs {
            name: &metric.name,
            kind,
            units: &metric.units,
            slope: if metric.slope.is_empty() { "unspecified" } else { &metric.slope },
            source: if metric.source.is_empty() { "gmond" } else { &metric.source },
            tmax: metric.tmax,
            dmax: metric.dmax,
        };
        let extra_text = &metric.extra_text;
        let extra = metric.extra.iter().map(|(name, val)| (&extra_text[name.clone()], &extra_text[val.clone()]));
        let damage = (self.report.skipped, self.report.mended);
        let text = text.filter(|(learning, _)| learning.damage == damage);
        let is_learned = text.is_some();
        let learn = |printed: Printed<'_>| {
            let (learning, end) = text?;
            InputText::new(end.input_from(learning.offset)?, learning.val, learning.tn, printed)
        };
        match (self.host, &mut self.grid) {
            // The metrics of a host that is down are ignored: its old ones stay and age (reference 4.5).
            (InHost::OfCluster, _) if self.up || self.saved => {
                let value = (metric.val.as_str(), metric.tn);
                let has_room = host.metric(&attrs, value, extra, learn, self.interner, &mut self.room);
                if !has_room {
                    let name = &self.scratch.host_attrs.name;
                    self.report.skipped("METRIC over the limits of a host or source", name, 0);
                }
            }
            (InHost::OfGrid, Some(grid)) => {
                let entry = if kind.is_numeric() {
                    grid.add(&Addend {
                        name: attrs.name,
                        units: attrs.units,
                        slope: attrs.slope,
                        source: attrs.source,
                        sum: c_number(&metric.val),
                        num: 1,
                        decimals: if kind.is_float() { decimals(&metric.val) } else { 0 },
                    })
                } else {
                    None
                };
                if is_learned {
                    known.keep(&attrs, extra, entry, learn, self.interner);
                }
            }
            _ => {}
        }
    }
}

impl MetricText {
    pub(super) fn clear(&mut self) {
        for text in
            [&mut self.name, &mut self.val, &mut self.units, &mut self.slope, &mut self.source, &mut self.extra_text]
        {
            text.clear();
        }
        self.extra.clear();
        self.open = false;
        self.kind = None;
        (self.tn, self.tmax, self.dmax) = (0, 0, 0);
    }
}
