//! Which tables there are, and their rows.

use super::sheet::{Cell, Column, json, number, text, time};
use crate::offline::affected::devices_of;
use crate::offline::fold::{Fold, Folded};
use crate::offline::moment::Moment;
use anyhow::{Context as _, Result};
use events::batch::access;
use events::ids::{DeviceId, Epoch, LogIndex};
use events::vocabulary::Event;
use projector::view::FlagSubject;
use projector::{HeartbeatStatus, Outcome};
use serde_json::Value;

/// What is exported: what happened, or how things stand at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Table {
    /// Every event but routine heartbeats, with what became of it
    Events,
    /// Routine heartbeats
    Heartbeats,
    /// Devices as they stand
    Devices,
    /// Flags, cleared ones included
    Flags,
    /// Operations, settled ones included
    Operations,
    /// Licenses as they stand
    Licenses,
}

/// Which rows are wanted; empty wants all.
#[derive(Clone, Debug)]
pub struct Filter {
    pub since: Moment,
    pub devices: Vec<DeviceId>,
    /// Names of events, or of kinds of flags or operations.
    pub kinds: Vec<String>,
}

const EVENTS: &[Column] = &[
    number("index"),
    number("term"),
    time("time"),
    number("node"),
    number("ordinal"),
    text("kind"),
    text("device"),
    text("outcome"),
    json("data"),
];
const HEARTBEATS: &[Column] = &[
    number("index"),
    time("time"),
    number("node"),
    text("device"),
    number("slot"),
    number("epoch"),
    number("sequence"),
    number("condition"),
    text("outcome"),
];
const DEVICES: &[Column] = &[
    text("device"),
    number("slot"),
    text("lot"),
    text("station"),
    number("unit"),
    time("burned_at"),
    number("imported"),
    text("legitimacy"),
    number("epoch"),
    text("suite"),
    text("source"),
    text("license"),
    number("firmware"),
    number("boot_count"),
    number("condition"),
    number("heartbeats"),
    time("last_heard"),
    number("open_flags"),
];
const FLAGS: &[Column] = &[
    text("flag"),
    text("kind"),
    text("subject"),
    number("raised"),
    time("raised_at"),
    json("evidence"),
    number("count"),
    number("cleared"),
    text("cleared_by"),
    text("cleared_reason"),
];
const OPERATIONS: &[Column] = &[
    number("ordered"),
    time("ordered_at"),
    text("kind"),
    text("device"),
    json("cause"),
    time("expires"),
    number("settled"),
    time("settled_at"),
    text("settlement"),
];
const LICENSES: &[Column] = &[
    text("license"),
    text("device"),
    text("state"),
    text("plan"),
    text("reseller"),
    number("created"),
    time("created_at"),
    time("expires"),
    number("leases"),
    json("moves"),
];

impl Table {
    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Table::Events => EVENTS,
            Table::Heartbeats => HEARTBEATS,
            Table::Devices => DEVICES,
            Table::Flags => FLAGS,
            Table::Operations => OPERATIONS,
            Table::Licenses => LICENSES,
        }
    }

    /// Whether rows of this table have a kind to filter by.
    #[must_use]
    pub fn has_kinds(self) -> bool {
        matches!(self, Table::Events | Table::Flags | Table::Operations)
    }
}

impl Filter {
    fn wants_device(&self, device: DeviceId) -> bool {
        self.devices.is_empty() || self.devices.contains(&device)
    }

    fn wants_any(&self, devices: &[DeviceId]) -> bool {
        self.devices.is_empty() || devices.iter().any(|device| self.devices.contains(device))
    }

    fn wants_kind(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind)
    }
}

type Put<'a> = &'a mut dyn FnMut(Vec<Cell>) -> Result<()>;

/// Folds up to `until` and puts the rows of `table`.
pub(super) fn write(
    table: Table,
    fold: &mut Fold,
    filter: &Filter,
    until: Moment,
    go_on: &mut dyn FnMut(&Fold) -> Result<()>,
    put: Put<'_>,
) -> Result<()> {
    while let Some(folded) = fold.next_up_to(until)? {
        go_on(fold)?;
        if filter.since.is_after(folded.index, fold.stamp()) {
            continue;
        }
        match table {
            Table::Events => events(fold, &folded, filter, put)?,
            Table::Heartbeats => heartbeats(fold, &folded, filter, put)?,
            Table::Devices | Table::Flags | Table::Operations | Table::Licenses => {}
        }
    }
    // What is left is a million rows or more: whoever asked for an end need not wait for them.
    let fold = &*fold;
    let put = &mut |cells| {
        go_on(fold)?;
        put(cells)
    };
    match table {
        Table::Events | Table::Heartbeats => Ok(()),
        Table::Devices => devices(fold, filter, put),
        Table::Flags => flags(fold, filter, put),
        Table::Operations => operations(fold, filter, put),
        Table::Licenses => licenses(fold, filter, put),
    }
}

fn events(fold: &Fold, folded: &Folded, filter: &Filter, put: Put<'_>) -> Result<()> {
    let Some((bytes, outcomes)) = &folded.batch else { return Ok(()) };
    let batch = access(bytes).with_context(|| format!("entry {}", folded.index))?;
    for (ordinal, (event, outcome)) in batch.decode_events().zip(&outcomes.events).enumerate() {
        let event = event.with_context(|| format!("entry {}", folded.index))?;
        let devices = devices_of(&event, fold.state());
        if !filter.wants_kind(event.name()) || !filter.wants_any(&devices) {
            continue;
        }
        put(vec![
            Cell::Number(folded.index),
            Cell::Number(folded.term),
            Cell::Time(outcomes.stamp),
            Cell::Number(batch.batch_id().node),
            Cell::Number(ordinal as u64),
            Cell::text(event.name()),
            Cell::maybe(devices.first()),
            Cell::Text(outcome_in_words(outcome, outcomes.duplicate)),
            Cell::Json(data_of(&event)?),
        ])?;
    }
    Ok(())
}

/// The event's own fields, without its name.
fn data_of(event: &Event) -> Result<Value> {
    let mut value = serde_json::to_value(event).context("encoding an event")?;
    Ok(value.get_mut("data").map(Value::take).unwrap_or(Value::Null))
}

fn outcome_in_words(outcome: &Outcome, duplicate: bool) -> String {
    let said = match outcome {
        Outcome::Accepted => "accepted".to_owned(),
        Outcome::Activated(grant) => format!("activated: epoch {}", grant.epoch),
        Outcome::Resumed(grant) => format!("resumed: epoch {}", grant.epoch),
        Outcome::Observed(outcome) => status(outcome.status).to_owned(),
        Outcome::Imported { slot } => format!("imported: slot {slot}"),
        Outcome::Ordered { .. } => "ordered".to_owned(),
        Outcome::Duplicate => "duplicate".to_owned(),
        Outcome::Raced { expected } => format!("raced: epoch {expected} expected"),
        Outcome::Refused(reason) => format!("refused: {reason}"),
        Outcome::Declined(why) => format!("declined: {why}"),
        Outcome::Repeated { first } => format!("repeated: done by entry {first}"),
    };
    if duplicate { format!("batch came before; {said}") } else { said }
}

fn status(status: HeartbeatStatus) -> &'static str {
    match status {
        HeartbeatStatus::Committed => "committed",
        HeartbeatStatus::Retried => "retried",
        HeartbeatStatus::Replayed => "replayed",
        HeartbeatStatus::Again => "again",
        HeartbeatStatus::EpochStale => "epoch_stale",
        HeartbeatStatus::CloneEvidence => "clone_evidence",
    }
}

fn heartbeats(fold: &Fold, folded: &Folded, filter: &Filter, put: Put<'_>) -> Result<()> {
    let Some((bytes, outcomes)) = &folded.batch else { return Ok(()) };
    let batch = access(bytes).with_context(|| format!("entry {}", folded.index))?;
    for (row, outcome) in batch.heartbeats.rows().zip(outcomes.heartbeats.iter()) {
        let device = fold.state().device(row.slot);
        if !filter.devices.is_empty() && !device.is_some_and(|device| filter.wants_device(device.id())) {
            continue;
        }
        // Routine means the current epoch: the high bits are the device's.
        let epoch = device.map(|device| device.epoch() & !Epoch::from(u16::MAX) | Epoch::from(row.epoch_low));
        put(vec![
            Cell::Number(folded.index),
            Cell::Time(outcomes.stamp),
            Cell::Number(batch.batch_id().node),
            Cell::maybe(device.map(|device| device.id())),
            Cell::Number(row.slot.into()),
            epoch.map_or(Cell::Null, |epoch| Cell::Number(epoch.into())),
            Cell::Number(row.sequence.into()),
            Cell::Number(row.condition.into()),
            Cell::text(status(outcome.status)),
        ])?;
    }
    Ok(())
}

fn devices(fold: &Fold, filter: &Filter, put: Put<'_>) -> Result<()> {
    for view in fold.state().devices().filter(|view| filter.wants_device(view.id())) {
        let device = view.summary();
        put(vec![
            Cell::text(device.device),
            Cell::Number(device.slot.into()),
            Cell::text(device.lot),
            Cell::text(device.station),
            Cell::Number(device.unit.into()),
            Cell::time(device.burned_at),
            Cell::Number(device.imported),
            Cell::text(device.legitimacy),
            Cell::Number(device.epoch.into()),
            Cell::maybe(device.suite),
            Cell::maybe(device.source),
            Cell::maybe(device.license),
            Cell::Number(device.firmware.into()),
            Cell::Number(device.boot_count.into()),
            Cell::Number(device.condition.into()),
            Cell::Number(device.heartbeats),
            Cell::time(device.last_heard),
            Cell::Number(device.flags.len() as u64),
        ])?;
    }
    Ok(())
}

fn flags(fold: &Fold, filter: &Filter, put: Put<'_>) -> Result<()> {
    for flag in fold.state().flags() {
        let of_device = match &flag.subject {
            FlagSubject::Device(device) => filter.wants_device(*device),
            FlagSubject::Source(_) | FlagSubject::Record(_) | FlagSubject::Lot(_) => {
                filter.devices.is_empty()
            }
        };
        if !of_device
            || !filter.wants_kind(flag.kind.as_str())
            || is_before(filter, flag.raised, flag.raised_at)
        {
            continue;
        }
        let cleared = flag.cleared.as_ref();
        put(vec![
            Cell::text(flag.id),
            Cell::text(flag.kind),
            Cell::text(&flag.subject),
            Cell::Number(flag.raised),
            Cell::time(flag.raised_at),
            Cell::Json(serde_json::json!(flag.evidence)),
            Cell::Number(flag.count),
            cleared.map_or(Cell::Null, |cleared| Cell::Number(cleared.index)),
            Cell::maybe(cleared.map(|cleared| &cleared.by)),
            Cell::maybe(cleared.map(|cleared| &cleared.reason)),
        ])?;
    }
    Ok(())
}

fn operations(fold: &Fold, filter: &Filter, put: Put<'_>) -> Result<()> {
    for order in fold.state().operations() {
        let (ordered, kind) = (order.directive.id.index, order.directive.kind);
        let wanted = filter.wants_device(order.device) && filter.wants_kind(kind.as_str());
        if !wanted || is_before(filter, ordered, order.ordered_at) {
            continue;
        }
        put(vec![
            Cell::Number(ordered),
            Cell::time(order.ordered_at),
            Cell::text(kind),
            Cell::text(order.device),
            Cell::Json(serde_json::to_value(&order.cause).context("encoding a cause")?),
            Cell::time(order.directive.expires),
            order.settled.map_or(Cell::Null, |settled| Cell::Number(settled.index)),
            order.settled.map_or(Cell::Null, |settled| Cell::time(settled.stamp)),
            Cell::maybe(order.settled.map(|settled| settled.settlement)),
        ])?;
    }
    Ok(())
}

fn licenses(fold: &Fold, filter: &Filter, put: Put<'_>) -> Result<()> {
    for license in fold.state().licenses() {
        if !filter.wants_device(license.device) || is_before(filter, license.created, license.created_at) {
            continue;
        }
        put(vec![
            Cell::text(license.license),
            Cell::text(license.device),
            Cell::Text(format!("{:?}", license.state).to_lowercase()),
            Cell::Text(license.plan.name),
            Cell::Text(license.reseller),
            Cell::Number(license.created),
            Cell::time(license.created_at),
            Cell::time(license.expires),
            Cell::Number(license.leases.into()),
            Cell::Json(serde_json::to_value(&license.moves).context("encoding what was done to a license")?),
        ])?;
    }
    Ok(())
}

fn is_before(filter: &Filter, index: LogIndex, stamp: events::time::Timestamp) -> bool {
    filter.since.is_after(index, stamp)
}
