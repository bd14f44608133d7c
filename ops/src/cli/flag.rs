//! `muster flag`: findings of attacks.

use super::Global;
use super::device::human_flag;
use crate::api::Api;
use crate::output::Table;
use anyhow::Result;
use clap::{Args, Subcommand};
use events::ids::{DeviceId, FlagId, SourceId};
use events::vocabulary::shared::FlagKind;
use nodes::api::shapes::{ClearFlag, Cursor, Done, FlagPage};
use projector::view::FlagView;

/// Flags asked for at once.
const PAGE: usize = 1_000;

#[derive(Subcommand)]
pub(crate) enum FlagCommand {
    /// List flags with their evidence (log indices); open ones only, unless --all
    List(ListArguments),
    /// Close a flag: somebody looked at it
    Clear {
        /// The flag's id (fla_…)
        flag: FlagId,
        /// Why; the log keeps it
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Who closes it; the log keeps it
        #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
        by: String,
    },
}

#[derive(Args, Default)]
pub(crate) struct ListArguments {
    /// Cleared flags too
    #[arg(long)]
    all: bool,
    /// Only of this kind, such as clone
    #[arg(long, value_name = "KIND", value_parser = super::device::parse_flag)]
    kind: Option<FlagKind>,
    /// Only on this device
    #[arg(long, value_name = "DEVICE", conflicts_with = "source")]
    device: Option<DeviceId>,
    /// Only on this source: REGION.NAME, or NAME in all regions
    #[arg(long, value_name = "NAME")]
    source: Option<SourceId>,
}

pub(crate) async fn run(global: &Global, command: FlagCommand) -> Result<()> {
    let api = global.api()?;
    match command {
        FlagCommand::List(arguments) => {
            let flags = flags(&api, &arguments).await?;
            global.format().print(&flags, |flags| human_list(flags))
        }
        FlagCommand::Clear { flag, reason, by } => {
            let done: Done = api.post(&format!("/v1/flags/{flag}/clear"), &ClearFlag { by, reason }).await?;
            global.format().print(&done, |done| match done.duplicate {
                true => format!("{flag} was cleared before, at log index {}", done.index),
                false => format!("{flag} cleared at log index {}", done.index),
            })
        }
    }
}

/// All open flags, or all, in the order in which they were raised.
pub(crate) async fn all_flags(api: &Api, open: bool) -> Result<Vec<FlagView>> {
    flags(api, &ListArguments { all: !open, ..ListArguments::default() }).await
}

async fn flags(api: &Api, arguments: &ListArguments) -> Result<Vec<FlagView>> {
    let ListArguments { all, kind, device, source } = arguments;
    let (mut flags, mut after) = (Vec::new(), None);
    loop {
        let conditions = [
            Some(("limit", PAGE.to_string())),
            Some(("open", (!all).to_string())),
            kind.map(|kind| ("kind", kind.to_string())),
            device.map(|device| ("device", device.to_string())),
            source.as_ref().map(|source| ("source", source.to_string())),
            after.map(|Cursor(cursor)| ("after", cursor)),
        ];
        let query: Vec<_> = conditions.into_iter().flatten().collect();
        let page: FlagPage = api.get_where("/v1/flags", &query).await?;
        flags.extend(page.flags);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    flags.reverse();
    Ok(flags)
}

fn human_list(flags: &[FlagView]) -> String {
    if flags.is_empty() {
        return "no flags".to_owned();
    }
    let mut table = Table::with_head(&["flag", "kind", "subject", "raised", "shown", "evidence"]);
    for flag in flags {
        let evidence: Vec<_> = flag.evidence.iter().map(ToString::to_string).collect();
        table.row([
            flag.id.to_string(),
            flag.kind.to_string(),
            flag.subject.to_string(),
            flag.raised_at.to_string(),
            flag.count.to_string(),
            evidence.join(","),
        ]);
    }
    let cleared: Vec<_> = flags.iter().filter(|flag| flag.cleared.is_some()).map(human_flag).collect();
    format!("{table}{}", cleared.join("\n"))
}
