//! `muster flag`: findings of attacks.

use super::Global;
use super::device::human_flag;
use crate::output::Table;
use anyhow::Result;
use clap::Subcommand;
use events::ids::FlagId;
use nodes::api::shapes::{ClearFlag, Done, FlagList};

#[derive(Subcommand)]
pub(crate) enum FlagCommand {
    /// List flags with their evidence (log indices); open ones only, unless --all
    List {
        /// Cleared flags too
        #[arg(long)]
        all: bool,
    },
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

pub(crate) async fn run(global: &Global, command: FlagCommand) -> Result<()> {
    let api = global.api()?;
    match command {
        FlagCommand::List { all } => {
            let list: FlagList = api.get(&format!("/v1/flags?open={}", !all)).await?;
            global.format().print(&list, human_list)
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

fn human_list(list: &FlagList) -> String {
    if list.flags.is_empty() {
        return "no flags".to_owned();
    }
    let mut table = Table::with_head(&["flag", "kind", "subject", "raised", "shown", "evidence"]);
    for flag in &list.flags {
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
    let cleared: Vec<_> = list.flags.iter().filter(|flag| flag.cleared.is_some()).map(human_flag).collect();
    let left_out =
        if list.left_out > 0 { format!("{} older ones left out\n", list.left_out) } else { String::new() };
    format!("{table}{left_out}{}", cleared.join("\n"))
}
