//! `muster operation`: what was ordered, and how it ended.

use super::Global;
use crate::listing::{Column, Listing};
use anyhow::Result;
use clap::{Args, Subcommand};
use events::vocabulary::operation::Cause;
use events::vocabulary::shared::OperationKind;
use nodes::api::shapes::{Cursor, Done, OperationPage, ResetBreaker};
use projector::view::OperationView;

/// Operations asked for at once.
const PAGE: usize = 500;

#[derive(Subcommand)]
pub(crate) enum OperationCommand {
    /// List operations, the latest first: on which device, why, and whether the device obeyed
    List(ListArguments),
    /// Let automation go on: somebody looked at what it restricted
    ///
    /// When policy restricts more devices within an hour than it may, the blast-radius breaker stops it (`muster cluster
    /// status` says so). Look at the flags first: is it an attack, one bad lot, or a mistake of ours? What the breaker
    /// counted is forgotten, and what policy still wants is ordered, as many as it may once more.
    ResetBreaker {
        /// Why; the log keeps it
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Who says so; the log keeps it
        #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
        by: String,
    },
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Only those that are not settled yet
    #[arg(long)]
    open: bool,
    /// Only of this kind, such as restrict
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Option<OperationKind>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
}

pub(crate) async fn run(global: &Global, command: OperationCommand) -> Result<()> {
    match command {
        OperationCommand::List(arguments) => list(global, &arguments).await,
        OperationCommand::ResetBreaker { reason, by } => {
            let done: Done = global.api()?.post("/v1/breaker/reset", &ResetBreaker { by, reason }).await?;
            global.format().print(&done, |done| format!("automation goes on, at log index {}", done.index))
        }
    }
}

async fn list(global: &Global, arguments: &ListArguments) -> Result<()> {
    let api = global.api()?;
    let mut listing = Listing::new(global.format(), COLUMNS);
    let mut after: Option<Cursor> = None;
    while listing.said() < arguments.limit {
        let conditions = [
            Some(("limit", PAGE.min(arguments.limit - listing.said()).to_string())),
            Some(("open", arguments.open.to_string())),
            arguments.kind.map(|kind| ("kind", kind.to_string())),
            after.map(|Cursor(cursor)| ("after", cursor)),
        ];
        let query: Vec<_> = conditions.into_iter().flatten().collect();
        let page: OperationPage = api.get_where("/v1/operations", &query).await?;
        listing.page(&page.operations)?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    listing.end("operation")
}

fn parse_kind(text: &str) -> Result<OperationKind, String> {
    let known = OperationKind::ALL.iter().find(|kind| kind.as_str() == text);
    known.copied().ok_or_else(|| {
        let all: Vec<_> = OperationKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("expected one of {}", all.join(", "))
    })
}

const COLUMNS: &[Column<OperationView>] = &[
    Column { head: "log index", cell: |operation| operation.directive.id.index.to_string() },
    Column { head: "ordered", cell: |operation| operation.ordered_at.to_string() },
    Column { head: "operation", cell: |operation| operation.directive.kind.to_string() },
    Column { head: "device", cell: |operation| operation.device.to_string() },
    Column {
        head: "settled",
        cell: |operation| {
            operation.settled.map_or_else(|| "not yet".to_owned(), |settled| settled.settlement.to_string())
        },
    },
    Column {
        head: "cause",
        cell: |operation| match &operation.cause {
            Cause::Flag(flag) => format!("policy, for {flag}"),
            Cause::Operator { name, reason } => format!("{name}: {reason}"),
        },
    },
];
