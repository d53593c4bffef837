//! CLUSTERs and HOSTs.

use super::super::saved;
use super::super::tags::Tag;
use super::{InHost, Scratch, State};
use crate::limits;
use crate::model::{ClusterAttrs, ClusterBuilder, c_unsigned};

impl State<'_> {
    pub(super) fn start_cluster(&mut self, tag: &Tag<'_>) {
        if self.grid.is_some() {
            return;
        }
        let mut attrs = ClusterAttrs::default();
        let mut named = false;
        self.report.attributes(tag, "", |key, value| match key {
            "NAME" => {
                value.clone_into(&mut attrs.name);
                named = true;
            }
            "LOCALTIME" => attrs.localtime = Some(c_unsigned(value)),
            "OWNER" => attrs.owner = Some(value.to_owned()),
            "LATLONG" => attrs.latlong = Some(value.to_owned()),
            "URL" => attrs.url = Some(value.to_owned()),
            _ => {}
        });
        if !named {
            self.report.mended("CLUSTER without NAME, taken as \"unspecified\"", "", tag.offset);
            attrs.name = "unspecified".to_owned();
        }
        self.open_cluster(attrs, tag.offset);
    }

    fn open_cluster(&mut self, attrs: ClusterAttrs, offset: u64) {
        if let Some(at) = self.by_name.get(&attrs.name) {
            self.cluster = Some(*at);
            self.clusters[*at].reopen(attrs);
            return;
        }
        if self.done_grids.len() + self.clusters.len() >= limits::CLUSTERS_PER_SOURCE {
            self.report.skipped("CLUSTER over the limit of a source", "", offset);
            return;
        }
        let before = self.before.and_then(|before| before.clusters().find(|c| c.name() == attrs.name)).cloned();
        self.by_name.insert(attrs.name.clone(), self.clusters.len());
        self.cluster = Some(self.clusters.len());
        self.clusters.push(ClusterBuilder::new(attrs, before));
    }

    pub(super) fn end_cluster(&mut self) {
        self.end_host();
        self.cluster = None;
    }

    pub(super) fn start_host(&mut self, tag: &Tag<'_>) {
        let attrs = &mut self.scratch.host_attrs;
        attrs.name.clear();
        attrs.ip.clear();
        (attrs.reported, attrs.tn, attrs.tmax, attrs.dmax, attrs.gmond_started) = (0, 0, 0, None, None);
        (attrs.down, attrs.absent) = (false, false);
        let saved = self.saved;
        let (mut location, mut tags) = (false, false);
        let set = |to: &mut Option<String>, value: &str| value.clone_into(to.get_or_insert_default());
        let whole = self.report.attributes(tag, "", |key, value| match key {
            "NAME" => value.clone_into(&mut attrs.name),
            "IP" => value.clone_into(&mut attrs.ip),
            "REPORTED" => attrs.reported = c_unsigned(value),
            "TN" => attrs.tn = c_unsigned(value),
            "TMAX" => attrs.tmax = c_unsigned(value),
            "DMAX" => attrs.dmax = Some(c_unsigned(value)),
            "GMOND_STARTED" => attrs.gmond_started = Some(c_unsigned(value)),
            "LOCATION" => {
                set(&mut attrs.location, value);
                location = true;
            }
            "TAGS" => {
                set(&mut attrs.tags, value);
                tags = true;
            }
            saved::DOWN if saved => attrs.down = true,
            saved::ABSENT if saved => attrs.absent = true,
            _ => {}
        });
        if !location {
            attrs.location = None;
        }
        if !tags {
            attrs.tags = None;
        }
        self.host = InHost::Ignored;
        if !whole {
            // Half of its attributes would make it a host that is down: what is known of it says more.
            return;
        }
        if attrs.name.is_empty() {
            self.report.skipped("HOST without NAME", "", tag.offset);
            return;
        }
        if let Some(grid) = &mut self.grid {
            let up = attrs.is_up(grid.localtime, self.old);
            grid.adder.add_hosts(u64::from(up), u64::from(!up));
            if up {
                self.host = InHost::OfGrid;
                self.scratch.known.start_host();
            }
            return;
        }
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None => {
                // A gmond without a `cluster` section sends hosts like this.
                let name = "unspecified".to_owned();
                match self.by_name.get(&name) {
                    Some(known) => self.cluster = Some(*known),
                    None => self.open_cluster(ClusterAttrs { name, ..ClusterAttrs::default() }, tag.offset),
                }
                match self.cluster {
                    Some(cluster) => cluster,
                    None => return,
                }
            }
        };
        let attrs = &self.scratch.host_attrs;
        let cluster = &self.clusters[cluster];
        if cluster.is_new(&attrs.name) && !self.room.host() {
            self.report.skipped("HOST over the limit of a source", &attrs.name, tag.offset);
            return;
        }
        cluster.start_host(&attrs.name, &mut self.scratch.host);
        self.host = InHost::OfCluster;
        self.up = self.host_is_up();
    }

    /// Whether the open host of a cluster is up; LOCALTIME 0 or none means our own time.
    fn host_is_up(&self) -> bool {
        if self.saved {
            return !self.scratch.host_attrs.down;
        }
        let localtime = self.cluster.map_or(0, |at| self.clusters[at].localtime());
        let localtime = if localtime == 0 { self.context.now.clamp(0, i64::from(u32::MAX)) as u32 } else { localtime };
        self.scratch.host_attrs.is_up(localtime, self.old)
    }

    pub(super) fn end_host(&mut self) {
        self.end_metric(None);
        if self.host == InHost::OfCluster
            && let Some(at) = self.cluster
        {
            let Scratch { host, host_attrs, .. } = &mut *self.scratch;
            let metrics = self.clusters[at].finish_host(host, host_attrs, self.up, self.context, self.interner);
            self.report.hosts += 1;
            self.report.metrics += metrics as u64;
        }
        self.host = InHost::No;
    }
}
