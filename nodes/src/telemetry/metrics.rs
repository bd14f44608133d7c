//! Metrics as OpenMetrics text. Names carry their unit; labels are of a bounded number, and none names a device, a
//! license or a source.
//!
//! The table of names stands in `METRICS.md` beside this crate's manifest; a test holds it against what is served.

use super::measures::Measures;
use crate::bus::BusHealth;
use crate::ingress::IngressLevels;
use crate::leader::automation::Automation;
use crate::node::core::{LOG_FOLDER, SNAPSHOT_FOLDER};
use crate::raft::types::TypeConfig;
use crate::webhooks::WebhookReading;
use openraft::RaftMetrics;
use projector::view::{BreakerView, Counts};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that one scrape tells of.
#[derive(Debug)]
pub struct Readings {
    /// By name: those of ingress, of the peers' wire and of the API.
    pub counters: BTreeMap<String, u64>,
    pub raft: RaftMetrics<TypeConfig>,
    pub applied: u64,
    pub counts: Counts,
    pub ready: bool,
    pub bus: BusHealth,
    /// In the NATS queue group.
    pub joined: bool,
    pub automation: Automation,
    pub breaker: BreakerView,
    pub data_directory: PathBuf,
    pub requests_under_way: usize,
    pub watchers: usize,
    pub missing_history: u64,
    pub unproven_history: u64,
    pub webhooks: Vec<WebhookReading>,
    pub webhook_receivers: u32,
    /// Of the last checkpoint; 0 if there is none.
    pub checkpoint_entries: u64,
    pub ingress: IngressLevels,
    pub measures: Arc<Measures>,
}

/// The text of one scrape. Blocking: it asks the disk.
pub fn text(readings: Readings) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("muster");
    let measures = readings.measures.clone();
    registry.register_with_unit(
        "disk_fsync",
        "How long fdatasync took",
        Unit::Seconds,
        measures.fsync_seconds.clone(),
    );
    registry.register_with_unit(
        "disk_written",
        "Bytes written to log and snapshots since the start",
        Unit::Bytes,
        measures.written_bytes.clone(),
    );
    registry.register_with_unit(
        "fold_apply",
        "How long the fold took for one entry",
        Unit::Seconds,
        measures.apply_seconds.clone(),
    );
    registry.register("fold_entries", "Entries applied since the start", measures.entries.clone());
    registry.register("fold_events", "Events applied since the start", measures.events.clone());
    registry.register(
        "fold_heartbeats",
        "Heartbeats applied as rows of a batch since the start",
        measures.heartbeats.clone(),
    );
    registry.register(
        "operations",
        "Operations ordered and settled since the start",
        measures.operations.clone(),
    );
    registry.register_with_unit(
        "ingress_verdict",
        "From the arrival of a heartbeat at this node to its sealed verdict",
        Unit::Seconds,
        measures.verdict_seconds.clone(),
    );
    registry.register("raft_elections", "Terms that began while this node ran", measures.elections.clone());
    registry.register(
        "log_damaged",
        "Segments of the log that the last check found damaged; 1 if only a start did",
        measures.damaged_segments.clone(),
    );
    registry.register(
        "archive_segments",
        "Segments in this node's archive; 0 without one",
        measures.archived_segments.clone(),
    );
    registry.register_with_unit(
        "archive",
        "What this node's archive holds",
        Unit::Bytes,
        measures.archived_bytes.clone(),
    );
    registry.register(
        "archive_log_index",
        "The last entry of this node's own log that is archived",
        measures.archived_through.clone(),
    );
    registry.register(
        "archive_failures",
        "How often the archive could not be written since the start",
        measures.archive_failures.clone(),
    );
    registry.register(
        "snapshots_skipped",
        "How often no snapshot was made because there was no room for it",
        measures.snapshots_skipped.clone(),
    );
    registry.register(
        "log_histories_disbelieved",
        "How often history that peers gave was not what a signed checkpoint vouches for",
        measures.histories_disbelieved.clone(),
    );
    registry.register_collector(Box::new(readings));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Readings {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut page = Page(encoder);
        self.raft(&mut page)?;
        self.fold(&mut page)?;
        self.disk(&mut page)?;
        page.gauge("node_ready", "1 if what devices send can be committed and answered", self.ready.into())?;
        let state = |name, holds: bool| (String::from(name), i64::from(holds));
        let states = [
            state("connected", matches!(self.bus, BusHealth::Connected)),
            state("disconnected", matches!(self.bus, BusHealth::Disconnected)),
            state("refused", matches!(self.bus, BusHealth::Refused(_))),
        ];
        page.gauges("nats_state", "1 for how the connection to NATS stands", "state", states.into_iter())?;
        page.gauge("ingress_joined", "1 if this node is in the NATS queue group", self.joined.into())?;
        page.gauge("api_requests_under_way", "Requests under way", self.requests_under_way as i64)?;
        page.gauge("api_watchers", "Watchers of live changes", self.watchers as i64)?;
        self.levels(&mut page)?;
        self.webhooks(&mut page)?;
        self.counted(&mut page)
    }
}

impl Readings {
    fn raft(&self, page: &mut Page<'_>) -> Result<(), std::fmt::Error> {
        let raft = &self.raft;
        let leads = raft.current_leader == Some(raft.id);
        let committed = raft.cluster_committed.map_or(0, |log_id| log_id.index).max(self.applied);
        page.gauge("raft_term", "The term that this node is in", signed(raft.current_term))?;
        page.gauge("raft_leads", "1 if this node leads", leads.into())?;
        page.gauge(
            "raft_leader_node",
            "Id of the node that leads, 0 if none is known",
            signed(raft.current_leader.unwrap_or(0)),
        )?;
        page.gauge("raft_last_index", "Last index of the log", signed(raft.last_log_index.unwrap_or(0)))?;
        page.gauge("raft_committed_index", "Highest index known to be committed", signed(committed))?;
        page.gauge("raft_applied_index", "Highest index applied", signed(self.applied))?;
        page.gauge(
            "log_missing_entries",
            "Entries that came in a snapshot and were not fetched from a peer yet",
            signed(self.missing_history),
        )?;
        page.gauge(
            "log_unproven_entries",
            "Entries of such history that no signed checkpoint vouched for yet",
            signed(self.unproven_history),
        )?;
        page.gauge(
            "log_checkpoint_entries",
            "Entries that the last signed checkpoint covers",
            signed(self.checkpoint_entries),
        )?;
        let last = raft.last_log_index.unwrap_or(0);
        let lags = raft.replication.iter().flatten().filter(|(peer, _)| **peer != raft.id);
        let lags = lags.map(|(peer, matched)| {
            let matched = matched.map_or(0, |log_id| log_id.index);
            (peer.to_string(), signed(last.saturating_sub(matched)))
        });
        page.gauges("raft_peer_lag_entries", "Entries that a peer lacks, told by the leader", "peer", lags)
    }

    fn fold(&self, page: &mut Page<'_>) -> Result<(), std::fmt::Error> {
        let counts = &self.counts;
        let named = |(name, count): (String, u32)| (name, i64::from(count));
        let legitimacy = counts.legitimacy.iter().map(|(key, count)| named((key.to_string(), *count)));
        page.gauges("devices", "Devices", "legitimacy", legitimacy)?;
        let licenses =
            counts.licenses.iter().map(|(key, count)| named((format!("{key:?}").to_lowercase(), *count)));
        page.gauges("licenses", "Licenses", "state", licenses)?;
        let flags = counts.flags.iter().map(|(key, count)| named((key.to_string(), *count)));
        page.gauges("flags_open", "Flags that nobody closed", "kind", flags)?;
        let unsettled = counts.unsettled.iter().map(|(key, count)| named((key.to_string(), *count)));
        page.gauges("operations_unsettled", "Orders that are not settled", "kind", unsettled)?;
        page.gauge(
            "fold_digest_mismatch",
            "1 if this node's state differs from another's: automation stopped",
            matches!(self.automation, Automation::Stopped { .. }).into(),
        )?;
        let runs = matches!(self.automation, Automation::Running) && !self.breaker.open;
        page.gauge("automation_runs", "1 if what policy wants is ordered", runs.into())?;
        page.gauge(
            "breaker_open",
            "1 if the blast-radius breaker stopped automation",
            self.breaker.open.into(),
        )?;
        page.gauge(
            "breaker_restricted_devices",
            "Devices that automation restricted within the breaker's window",
            self.breaker.restricted.into(),
        )?;
        page.gauge(
            "breaker_limit_devices",
            "Devices that automation may restrict within the breaker's window",
            self.breaker.limit.into(),
        )
    }

    fn disk(&self, page: &mut Page<'_>) -> Result<(), std::fmt::Error> {
        let sizes = [("log", LOG_FOLDER), ("snapshots", SNAPSHOT_FOLDER)]
            .map(|(name, folder)| (name.to_owned(), signed(size_of(&self.data_directory.join(folder)))));
        page.gauges("disk_used_bytes", "Bytes of files in the data directory", "folder", sizes.into_iter())?;
        match rustix::fs::statvfs(&self.data_directory) {
            Ok(stat) => {
                let free = stat.f_bavail.saturating_mul(stat.f_frsize);
                page.gauge("disk_free_bytes", "Bytes that are left to the data directory", signed(free))
            }
            // A directory that is gone is told of by what is missing here.
            Err(_) => Ok(()),
        }
    }

    fn levels(&self, page: &mut Page<'_>) -> Result<(), std::fmt::Error> {
        let IngressLevels { queued_heartbeats, queued_events, p384_running, p384_waiting } = self.ingress;
        let help = "Now; see METRICS.md";
        for (name, count) in [
            ("ingress_queued_heartbeats", queued_heartbeats),
            ("ingress_queued_events", queued_events),
            ("ingress_p384_running", p384_running),
            ("ingress_p384_waiting", p384_waiting),
        ] {
            page.gauge(name, help, signed(count as u64))?;
        }
        Ok(())
    }

    fn webhooks(&self, page: &mut Page<'_>) -> Result<(), std::fmt::Error> {
        page.gauge(
            "webhook_receivers_digest",
            "Whom this node would tell, as one number; the same on every node",
            i64::from(self.webhook_receivers),
        )?;
        let by_name = |count: fn(&WebhookReading) -> u64| {
            self.webhooks.iter().map(move |webhook| (webhook.name.clone(), count(webhook)))
        };
        let waiting = by_name(|webhook| webhook.waiting).map(|(name, count)| (name, signed(count)));
        page.gauges(
            "webhook_waiting_entries",
            "Entries whose changes wait for delivery",
            "webhook",
            waiting,
        )?;
        for (name, help, count) in [
            ("webhook_delivered", "Events taken", by_name(|webhook| webhook.delivered)),
            ("webhook_refused", "Events refused for good", by_name(|webhook| webhook.refused)),
            ("webhook_failed", "Attempts that failed", by_name(|webhook| webhook.failed)),
            ("webhook_gaps", "Stretches pushed out undelivered", by_name(|webhook| webhook.gaps)),
        ] {
            page.counters(name, help, "webhook", count)?;
        }
        Ok(())
    }

    /// Refusals under one name with their reasons; every other counter under its own.
    fn counted(&self, page: &mut Page<'_>) -> Result<(), std::fmt::Error> {
        const REFUSED: &str = "ingress_refused_";
        let is_refused = |name: &&String| name.starts_with(REFUSED);
        let refused = self.counters.iter().filter(|(name, _)| is_refused(name));
        let refused = refused.map(|(name, count)| (name[REFUSED.len()..].to_lowercase(), *count));
        page.counters("ingress_refused", "Messages refused since the start", "reason", refused)?;
        for (name, count) in self.counters.iter().filter(|(name, _)| !is_refused(name)) {
            page.counter(name, "Since the start; see METRICS.md", *count)?;
        }
        Ok(())
    }
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: i64) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, gauge.metric_type())?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Iterator<Item = (String, i64)>,
    ) -> Result<(), std::fmt::Error> {
        let usual = ConstGauge::new(0i64);
        let mut family = self.0.encode_descriptor(name, help, None, usual.metric_type())?;
        for (value, count) in values {
            ConstGauge::new(count).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Iterator<Item = (String, u64)>,
    ) -> Result<(), std::fmt::Error> {
        let usual = ConstCounter::new(0u64);
        let mut family = self.0.encode_descriptor(name, help, None, usual.metric_type())?;
        for (value, count) in values {
            ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Bytes of the files in a folder; one that cannot be read has none.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .sum()
}
