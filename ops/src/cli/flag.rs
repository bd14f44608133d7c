//! `muster flag`: findings of attacks.

use super::Global;
use super::device::human_flag;
use crate::api::Api;
use crate::output::Table;
use anyhow::Result;
use clap::Subcommand;
use events::ids::FlagId;
use nodes::api::shapes::{ClearFlag, Cursor, Done, FlagPage};
use projector::view::FlagView;

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
            let flags = all_flags(&api, !all).await?;
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

/// All flags, in the order in which they were raised.
pub(crate) async fn all_flags(api: &Api, open: bool) -> Result<Vec<FlagView>> {
    let mut flags = Vec::new();
    let mut query = vec![("limit", "1000".to_owned()), ("open", open.to_string())];
    loop {
        let page: FlagPage = api.get_where("/v1/flags", &query).await?;
        flags.extend(page.flags);
        let Some(Cursor(next)) = page.next else { break };
        query.truncate(2);
        query.push(("after", next));
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
