//! `muster code`: activation codes, what customers buy.

use super::Global;
use crate::api::Api;
use crate::exit::{USAGE, coded};
use crate::output::Table;
use anyhow::Result;
use clap::{Args, Subcommand};
use events::ids::CodeBatchId;
use events::vocabulary::license::Plan;
use nodes::api::shapes::{CodePage, Done, IssueCodes, PlainCode, VoidCode};
use nodes::entropy::{EntropyRng, OsEntropy};
use provisioning::codes::{IssuedCodes, read_void_list};
use serde::Serialize;
use std::path::PathBuf;
use zeroize::Zeroizing;

#[derive(Subcommand)]
pub(crate) enum CodeCommand {
    /// Issue codes: into a CSV file (mode 0600) and, as keyed digests, into the log
    Issue(IssueArguments),
    /// Issues of codes: how many were issued, used, voided
    Show,
    /// Void codes that must not be redeemed any more
    Void {
        /// CSV file (mode 0600) with the columns code,reason
        #[arg(long, value_name = "FILE")]
        list: PathBuf,
    },
}

/// Issue codes. Each has 100 bits and a check character; the cluster keeps keyed digests only, so the CSV file is the
/// only place where the codes stand.
#[derive(Args)]
pub(crate) struct IssueArguments {
    /// How many
    #[arg(long, value_name = "N", required_unless_present = "resume")]
    count: Option<usize>,
    /// New file for the codes
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Tell the cluster of codes that an earlier, interrupted issue wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "out"])]
    resume: Option<PathBuf>,
    /// The plan that each code grants
    #[arg(long, value_name = "NAME", default_value = "basic")]
    plan: String,
    /// What the plan entitles to
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    entitlement: Vec<String>,
    /// Days from activation; 0 is without end
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    term_days: u32,
    /// A license token lives this long, in hours
    #[arg(long, value_name = "HOURS", default_value_t = 72)]
    lease_hours: u32,
    /// Who sells them
    #[arg(long, value_name = "NAME", default_value = "direct")]
    reseller: String,
}

#[derive(Serialize)]
struct Issued {
    batch: CodeBatchId,
    count: usize,
    file: PathBuf,
    index: u64,
    duplicate: bool,
}

pub(crate) async fn run(global: &Global, command: CodeCommand) -> Result<()> {
    match command {
        CodeCommand::Issue(arguments) => issue(global, arguments).await,
        CodeCommand::Show => {
            let list: CodePage = global.api()?.get("/v1/codes?limit=1000").await?;
            global.format().print(&list, human_list)
        }
        CodeCommand::Void { list } => void(global, &list).await,
    }
}

async fn issue(global: &Global, arguments: IssueArguments) -> Result<()> {
    let api = global.api()?;
    let (codes, file) = match (&arguments.resume, arguments.count, &arguments.out) {
        (Some(file), _, _) => (IssuedCodes::read_csv(file)?, file.clone()),
        (None, Some(count), Some(out)) => {
            let codes = IssuedCodes::issue(&arguments.plan, count, &mut EntropyRng(&OsEntropy))?;
            // On disk before the cluster knows them: a code that counts is never lost.
            codes.write_csv(out)?;
            (codes, out.clone())
        }
        _ => return Err(coded(USAGE, "give --count and --out, or --resume")),
    };
    let plan = Plan {
        name: codes.plan.clone(),
        entitlements: arguments.entitlement,
        term_seconds: u64::from(arguments.term_days) * 86_400,
        lease_seconds: arguments.lease_hours.saturating_mul(3_600),
    };
    let done = register(&api, &codes, plan, &arguments.reseller).await.map_err(|error| {
        let again = format!(
            "the codes are in {0}; tell the cluster with `muster code issue --resume {0}`",
            file.display()
        );
        error.context(again)
    })?;
    let said = Issued {
        batch: codes.batch,
        count: codes.codes.len(),
        file,
        index: done.index,
        duplicate: done.duplicate,
    };
    global.format().print(&said, |said| {
        format!(
            "{} codes of {} in {}; they count since log index {}",
            said.count,
            said.batch,
            said.file.display(),
            said.index
        )
    })
}

/// Tells the cluster of codes, which it keeps as keyed digests.
pub(crate) async fn register(api: &Api, codes: &IssuedCodes, plan: Plan, reseller: &str) -> Result<Done> {
    let plain = codes.codes.iter().map(|code| PlainCode(Zeroizing::new(code.to_string())));
    let request =
        IssueCodes { batch: codes.batch, plan, reseller: reseller.to_owned(), codes: plain.collect() };
    api.post("/v1/codes", &request).await
}

async fn void(global: &Global, list: &std::path::Path) -> Result<()> {
    let api = global.api()?;
    let orders = read_void_list(list)?;
    let mut done = Vec::with_capacity(orders.len());
    for order in &orders {
        let code = PlainCode(Zeroizing::new(order.code.to_string()));
        let voided: Done =
            api.post("/v1/codes/void", &VoidCode { code, reason: order.reason.clone() }).await?;
        done.push(voided);
    }
    global.format().print(&done, |done| {
        let before = done.iter().filter(|voided| voided.duplicate).count();
        format!("{} codes are void, {before} of them since before", done.len())
    })
}

fn human_list(list: &CodePage) -> String {
    let mut table = Table::with_head(&["issue", "plan", "reseller", "issued", "used", "void"]);
    for batch in &list.batches {
        table.row([
            batch.batch.to_string(),
            batch.plan.name.clone(),
            batch.reseller.clone(),
            batch.issued.to_string(),
            batch.used.to_string(),
            batch.void.to_string(),
        ]);
    }
    table.to_string()
}
