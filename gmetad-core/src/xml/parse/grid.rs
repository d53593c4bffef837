//! GRIDs of other gmetads: everything inside is added up.

use std::sync::Arc;

use super::super::tags::Tag;
use super::State;
use crate::limits;
use crate::model::{Grid, MetricType, c_number, c_unsigned, decimals};
use crate::summary::{Addend, Adder};

/// The outermost GRID that is open.
pub(super) struct OpenGrid {
    pub(super) name: String,
    pub(super) authority: String,
    pub(super) localtime: u32,
    pub(super) adder: Adder,
    pub(super) before: Option<Arc<Grid>>,
}

impl State<'_> {
    pub(super) fn start_grid(&mut self, tag: &Tag<'_>) {
        self.end_cluster();
        self.grids += 1;
        if self.grids > 1 {
            return;
        }
        let (mut name, mut authority, mut localtime) = (None, None, 0);
        self.report.attributes(tag, "", |key, value| match key {
            "NAME" => name = Some(value.to_owned()),
            "AUTHORITY" => authority = Some(value.to_owned()),
            "LOCALTIME" => localtime = c_unsigned(value),
            _ => {}
        });
        let name = name.unwrap_or_else(|| {
            self.report.mended("GRID without NAME, taken as \"unspecified\"", "", tag.offset);
            "unspecified".to_owned()
        });
        let before = self.before.and_then(|before| before.grids().find(|grid| grid.name() == name)).cloned();
        let authority = authority.unwrap_or_else(|| "unspecified".to_owned());
        self.grid = Some(OpenGrid { name, authority, localtime, adder: Adder::default(), before });
    }

    pub(super) fn end_grid(&mut self) {
        self.end_cluster();
        self.grids = self.grids.saturating_sub(1);
        if self.grids == 0 {
            self.close_grids();
        }
    }

    pub(super) fn close_grids(&mut self) {
        self.grids = 0;
        let Some(open) = self.grid.take() else { return };
        if self.done_grids.len() + self.clusters.len() >= limits::CLUSTERS_PER_SOURCE {
            self.report.skipped("GRID over the limit of a source", &open.name, 0);
            return;
        }
        let grid = Grid {
            name: open.name.into(),
            authority: open.authority.into(),
            localtime: open.localtime,
            summary: Arc::new(open.adder.finish()),
            polled: self.context.now,
        };
        self.done_grids.retain(|done| done.name != grid.name);
        self.done_grids.push(Arc::new(grid));
    }

    pub(super) fn summed_hosts(&mut self, tag: &Tag<'_>) {
        let Some(grid) = &mut self.grid else { return };
        let (mut up, mut down) = (0, 0);
        self.report.attributes(tag, "", |key, value| match key {
            "UP" => up = c_unsigned(value),
            "DOWN" => down = c_unsigned(value),
            _ => {}
        });
        grid.adder.add_hosts(up.into(), down.into());
    }

    pub(super) fn summed_metric(&mut self, tag: &Tag<'_>) {
        let Some(grid) = &mut self.grid else { return };
        let metric = &mut self.scratch.metric;
        metric.clear();
        let (mut sum, mut num, mut kind) = (None, 0, None);
        let whole = self.report.attributes(tag, "", |key, value| match key {
            "NAME" => value.clone_into(&mut metric.name),
            "SUM" => sum = Some((c_number(value), decimals(value))),
            "NUM" => num = c_unsigned(value),
            "TYPE" => kind = MetricType::from_name(value),
            "UNITS" => value.clone_into(&mut metric.units),
            "SLOPE" => value.clone_into(&mut metric.slope),
            "SOURCE" => value.clone_into(&mut metric.source),
            _ => {}
        });
        let (true, false, Some((sum, decimals)), true) =
            (whole, metric.name.is_empty(), sum, kind.is_none_or(MetricType::is_numeric))
        else {
            self.report.skipped("METRICS without NAME, SUM or a numeric TYPE", "", tag.offset);
            return;
        };
        let OpenGrid { adder, before, .. } = grid;
        adder.add(
            &Addend {
                name: &metric.name,
                units: &metric.units,
                slope: if metric.slope.is_empty() { "unspecified" } else { &metric.slope },
                source: if metric.source.is_empty() { "gmond" } else { &metric.source },
                sum,
                num: num.into(),
                decimals,
            },
            before.as_ref().map(|grid| grid.summary()),
        );
    }
}
