//! `muster device`: who a device is, how it stands, and why.

use super::Global;
use super::progress::Progress;
use super::replay::warn_of;
use crate::listing::{Column, Listing};
use crate::offline::story::tell;
use crate::offline::{Fold, Moment, open_logs, read_keyring};
use crate::output::Table;
use anyhow::Result;
use clap::{Args, Subcommand};
use events::ids::{DeviceId, LotId, SourceId};
use events::time::Timestamp;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use nodes::api::shapes::{Cursor, DeviceDetail, DevicePage, OrderOperation, Ordered, Story};
use projector::view::{DeviceSummary, FlagView, StoryLine};
use std::path::PathBuf;

/// Devices asked for at once while listing.
const PAGE: usize = 500;

#[derive(Subcommand)]
pub(crate) enum DeviceCommand {
    /// List devices, in the order of their import
    List(ListArguments),
    /// One device as it stands: session, license, flags, operations
    Show {
        /// The device's id (dev_…)
        device: DeviceId,
    },
    /// The whole story of a device: burned where and when, boots, activation, flags with evidence, operations
    Explain(ExplainArguments),
    /// Order a device to do nothing but software update
    Restrict(TimedOrderArguments),
    /// Give a restricted or revoked device its rights back, and close what stands against it
    Reinstate(TimedOrderArguments),
    /// Write a device off: it is served nothing any more, until somebody reinstates it
    Revoke(OrderArguments),
    /// Order a device to begin a fresh session from its key, without a code; a copy of the old session ends with it
    Rekey(TimedOrderArguments),
    /// Tell people that this device is to be looked at: watchers of changes, and webhooks as `device.notified`
    Notify(TimedOrderArguments),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Only devices of this legitimacy: provisioned, legitimate, suspect, restricted, revoked or retired
    #[arg(long, value_name = "STATE", value_parser = parse_legitimacy)]
    legitimacy: Option<Legitimacy>,
    /// Only devices of this lot (lot_…)
    #[arg(long, value_name = "LOT")]
    lot: Option<LotId>,
    /// Only devices that spoke last through this source: REGION.NAME, or NAME in all regions
    #[arg(long, value_name = "NAME")]
    source: Option<SourceId>,
    /// Only devices with an open flag of this kind, such as clone
    #[arg(long, value_name = "KIND", value_parser = parse_flag)]
    flag: Option<FlagKind>,
    /// Only devices whose license is in this state: active, suspended or expired
    #[arg(long, value_name = "STATE", value_parser = ["active", "suspended", "expired"])]
    license: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
}

#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// The device's id (dev_…)
    device: DeviceId,
    /// Read the story from a node's data directory instead of asking a node: every line of it, whatever its length. May
    /// be given again for several nodes of one cluster
    #[arg(long, value_name = "DIR", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The cluster's keyring, for --data [default: the one that the context names]
    #[arg(long, value_name = "FILE", requires = "data")]
    keyring: Option<PathBuf>,
    /// Say how far it is, also with --json and without a terminal
    #[arg(long, requires = "data")]
    progress: bool,
}

#[derive(Args)]
pub(crate) struct OrderArguments {
    /// The device's id (dev_…)
    device: DeviceId,
    /// Why; the log keeps it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who orders it; the log keeps it
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    by: String,
}

#[derive(Args)]
pub(crate) struct TimedOrderArguments {
    #[command(flatten)]
    order: OrderArguments,
    /// Void after so many seconds [default: without end]
    #[arg(long, value_name = "SECONDS")]
    for_seconds: Option<u64>,
}

/// An order without an end.
impl From<OrderArguments> for TimedOrderArguments {
    fn from(order: OrderArguments) -> Self {
        TimedOrderArguments { order, for_seconds: None }
    }
}

pub(crate) async fn run(global: &Global, command: DeviceCommand) -> Result<()> {
    match command {
        DeviceCommand::List(arguments) => list(global, &arguments).await,
        DeviceCommand::Show { device } => {
            let detail: DeviceDetail = global.api()?.get(&format!("/v1/devices/{device}")).await?;
            global.format().print(&detail, human_detail)
        }
        DeviceCommand::Explain(arguments) if arguments.data.is_empty() => {
            let path = format!("/v1/devices/{}/story", arguments.device);
            let story: Story = global.api()?.get(&path).await?;
            global.format().print(&story, human_story)
        }
        DeviceCommand::Explain(arguments) => explain_from_files(global, arguments),
        DeviceCommand::Restrict(arguments) => order(global, OperationKind::Restrict, arguments).await,
        DeviceCommand::Reinstate(arguments) => order(global, OperationKind::Reinstate, arguments).await,
        DeviceCommand::Revoke(arguments) => order(global, OperationKind::Revoke, arguments.into()).await,
        DeviceCommand::Rekey(arguments) => order(global, OperationKind::Rekey, arguments).await,
        DeviceCommand::Notify(arguments) => order(global, OperationKind::Notify, arguments).await,
    }
}

fn explain_from_files(global: &Global, arguments: ExplainArguments) -> Result<()> {
    let keyring = read_keyring(&super::keyring_path(global, arguments.keyring)?)?;
    let logs = open_logs(&arguments.data, &keyring)?;
    let mut progress = Progress::new(global, arguments.progress, logs.bytes_total()?);
    let mut fold = Fold::new(logs);
    let (from, until) = (Moment::Index(0), Moment::END);
    let story = tell(&mut fold, arguments.device, from, until, |fold| progress.show(fold))?;
    progress.end();
    warn_of(&fold.troubles());
    global.format().print(&story, super::replay::human_story)
}

async fn list(global: &Global, arguments: &ListArguments) -> Result<()> {
    let api = global.api()?;
    let mut listing = Listing::new(global.format(), COLUMNS);
    let mut after: Option<Cursor> = None;
    while listing.said() < arguments.limit {
        let mut query = arguments.conditions();
        query.push(("limit", PAGE.min(arguments.limit - listing.said()).to_string()));
        query.extend(after.map(|Cursor(cursor)| ("after", cursor)));
        let page: DevicePage = api.get_where("/v1/devices", &query).await?;
        listing.page(&page.devices)?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    listing.end("device")
}

impl ListArguments {
    fn conditions(&self) -> Vec<(&'static str, String)> {
        let conditions = [
            self.legitimacy.map(|state| ("legitimacy", state.to_string())),
            self.lot.map(|lot| ("lot", lot.to_string())),
            self.source.as_ref().map(|source| ("source", source.to_string())),
            self.flag.map(|kind| ("flag", kind.to_string())),
            self.license.as_ref().map(|state| ("license", state.clone())),
        ];
        conditions.into_iter().flatten().collect()
    }
}

async fn order(global: &Global, kind: OperationKind, arguments: TimedOrderArguments) -> Result<()> {
    let TimedOrderArguments { order: OrderArguments { device, reason, by }, for_seconds } = arguments;
    let order = OrderOperation { kind, by, reason, for_seconds };
    let path = format!("/v1/devices/{device}/operations");
    let ordered: Ordered = global.api()?.post(&path, &order).await?;
    global.format().print(&ordered, |ordered| match ordered.duplicate {
        true => format!("{kind} was ordered before, at log index {}", ordered.index),
        false if ordered.directive.is_none() => format!("{kind} done at log index {}", ordered.index),
        false => {
            format!("{kind} ordered at log index {}; the device obeys with its next verdict", ordered.index)
        }
    })
}

fn parse_legitimacy(text: &str) -> Result<Legitimacy, String> {
    let known = Legitimacy::ALL.iter().find(|state| state.as_str() == text);
    known.copied().ok_or_else(|| {
        let all: Vec<_> = Legitimacy::ALL.iter().map(|state| state.as_str()).collect();
        format!("expected one of {}", all.join(", "))
    })
}

pub(super) fn parse_flag(text: &str) -> Result<FlagKind, String> {
    let known = FlagKind::ALL.iter().find(|kind| kind.as_str() == text);
    known.copied().ok_or_else(|| {
        let all: Vec<_> = FlagKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("expected one of {}", all.join(", "))
    })
}

const COLUMNS: &[Column<DeviceSummary>] = &[
    Column { head: "device", cell: |device| device.device.to_string() },
    Column { head: "legitimacy", cell: |device| device.legitimacy.to_string() },
    Column { head: "epoch", cell: |device| device.epoch.to_string() },
    Column {
        head: "source",
        cell: |device| device.source.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
    },
    Column { head: "heartbeats", cell: |device| device.heartbeats.to_string() },
    Column { head: "last heard", cell: |device| when(device.last_heard) },
    Column { head: "flags", cell: |device| device.flags.len().to_string() },
];

pub(super) fn human_detail(detail: &DeviceDetail) -> String {
    let DeviceSummary { device, legitimacy, lot, station, unit, record, .. } = &detail.summary;
    let summary = &detail.summary;
    let mut text = format!(
        "{device}  {legitimacy}\n\
         burned        unit {unit} of {lot} at {station}, {}; record {record}; imported at log index {}\n\
         session       epoch {} ({} pending, {} superseded kept), suite {}, source {}\n\
         heard         {} heartbeats, the last {}; boot {}, firmware {}\n",
        when(summary.burned_at),
        summary.imported,
        summary.epoch,
        summary.pending.len(),
        summary.superseded.len(),
        summary.suite.map_or("-", |suite| suite.as_str()),
        summary.source.as_ref().map_or("-", |source| source.as_str()),
        summary.heartbeats,
        when(summary.last_heard),
        summary.boot_count,
        summary.firmware,
    );
    match &detail.license {
        Some(license) => text.push_str(&format!(
            "license       {} {:?}, plan {}, from {}, ends {}\n",
            license.license,
            license.state,
            license.plan.name,
            license.reseller,
            if license.expires == Timestamp::ZERO { "never".to_owned() } else { license.expires.to_string() }
        )),
        None => text.push_str("license       none\n"),
    }
    for flag in &detail.flags {
        text.push_str(&format!("flag          {}\n", human_flag(flag)));
    }
    for operation in &detail.operations {
        let settled = operation.settled.map_or_else(
            || "not settled".to_owned(),
            |settled| format!("{} at log index {}", settled.settlement, settled.index),
        );
        text.push_str(&format!(
            "operation     {} ordered at log index {} ({}): {settled}\n",
            operation.directive.kind, operation.directive.id.index, operation.ordered_at
        ));
    }
    text
}

fn human_story(story: &Story) -> String {
    format!("{} is {}\n{}", story.summary.device, story.summary.legitimacy, human_lines(&story.lines))
}

/// Lines of a story, one each.
pub(super) fn human_lines(lines: &[StoryLine]) -> String {
    let mut table = Table::with_head(&["log index", "when", "what"]);
    for line in lines {
        table.row([line.index.to_string(), when(line.stamp), line.what.clone()]);
    }
    table.to_string()
}

/// One flag in one line, its evidence included.
pub(super) fn human_flag(flag: &FlagView) -> String {
    let evidence: Vec<_> = flag.evidence.iter().map(ToString::to_string).collect();
    let cleared = flag.cleared.as_ref().map_or_else(String::new, |cleared| {
        format!("; cleared by {} at log index {}: {}", cleared.by, cleared.index, cleared.reason)
    });
    format!(
        "{} {} on {}, raised {} at log index {}, shown {} time(s), evidence at {}{cleared}",
        flag.id,
        flag.kind,
        flag.subject,
        flag.raised_at,
        flag.raised,
        flag.count,
        evidence.join(", ")
    )
}

pub(super) fn when(stamp: Timestamp) -> String {
    if stamp == Timestamp::ZERO { "never".to_owned() } else { stamp.to_string() }
}
