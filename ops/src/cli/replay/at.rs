//! `muster replay at`: the state yesterday at 14:34.

use super::{Files, human_counts, human_skipped, moment, warn_of};
use crate::cli::Global;
use crate::cli::device::{human_detail, when};
use crate::offline::{Fold, Moment, story};
use anyhow::Result;
use clap::{Args, Subcommand};
use events::ids::{DeviceId, LogIndex};
use events::time::Timestamp;
use nodes::api::shapes::DeviceDetail;
use projector::view::Counts;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Args)]
pub(super) struct AtArguments {
    /// A log index (4711), a time (2026-11-22T14:34:00Z, yesterday 14:34) or so long ago (-2h)
    #[arg(value_parser = moment, allow_hyphen_values = true)]
    moment: Moment,
    #[command(subcommand)]
    whose: Option<Whose>,
}

#[derive(Subcommand)]
enum Whose {
    /// One device: session, license, flags, operations as they stood
    Device {
        /// The device's id (dev_…)
        device: DeviceId,
    },
}

#[derive(Serialize)]
struct At {
    applied: LogIndex,
    stamp: Timestamp,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DeviceDetail>,
    /// Events of unknown kinds that were passed over, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    skipped: BTreeMap<u16, u64>,
}

pub(super) fn run(global: &Global, files: &Files, arguments: &AtArguments) -> Result<()> {
    let (mut fold, mut progress) = files.open(global)?;
    while fold.next_up_to(arguments.moment)?.is_some() {
        progress.show(&fold);
    }
    fold.check_reached(arguments.moment)?;
    progress.end();
    warn_of(&fold.troubles());
    let device = match &arguments.whose {
        Some(Whose::Device { device }) => Some(detail(&fold, *device)?),
        None => None,
    };
    let digest = fold.projector().digest().to_string();
    let skipped = fold.skipped().clone();
    let projector = fold.state();
    let said = At {
        applied: projector.applied(),
        stamp: projector.stamp(),
        digest,
        counts: device.is_none().then(|| projector.counts()),
        device,
        skipped,
    };
    global.format().print(&said, |said| human(said, arguments.moment))
}

fn detail(fold: &Fold, device: DeviceId) -> Result<DeviceDetail> {
    let projector = fold.state();
    let view = projector.slot_of(&device).and_then(|slot| projector.device(slot));
    let view = view.ok_or_else(|| story::unknown(device, projector.applied()))?;
    Ok(DeviceDetail {
        summary: view.summary(),
        license: view.license().and_then(|license| projector.license(&license)),
        flags: view.flags().cloned().collect(),
        operations: projector.operations().filter(|operation| operation.device == device).cloned().collect(),
    })
}

fn human(said: &At, moment: Moment) -> String {
    let head =
        format!("At {moment} the log stood at entry {} (log time {}).\n", said.applied, when(said.stamp));
    let what = match (&said.device, &said.counts) {
        (Some(device), _) => head + &human_detail(device),
        (None, Some(counts)) => format!("{head}digest      {}\n{}", said.digest, human_counts(counts)),
        (None, None) => head,
    };
    format!("{}{}", what.trim_end(), human_skipped(&said.skipped))
}
