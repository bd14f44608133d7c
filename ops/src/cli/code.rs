//! `muster code`: activation codes, what customers buy.

use super::Global;
use crate::api::Api;
use crate::exit::{USAGE, coded};
use crate::output::Table;
use anyhow::Result;
use clap::{Args, Subcommand};
use events::ids::CodeBatchId;
use events::vocabulary::license::Plan;
use nodes::api::shapes::{CodePage, Cursor, Done, IssueCodes, PlainCode, VoidCode};
use nodes::entropy::{EntropyRng, OsEntropy};
use provisioning::codes::{IssuedCodes, Sold, read_void_list};
use serde::Serialize;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Issues asked for at once.
const PAGE: usize = 1_000;

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
    /// Tell the cluster of codes that an earlier, interrupted issue wrote, as they were sold: the file says it all
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "out"])]
    resume: Option<PathBuf>,
    /// The plan that each code grants [default: basic]
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
    /// What the plan entitles to
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    entitlement: Option<Vec<String>>,
    /// Days from activation; 0 is without end [default: 365]
    #[arg(long, value_name = "DAYS")]
    term_days: Option<u32>,
    /// A license token lives this long, in hours [default: 72]
    #[arg(long, value_name = "HOURS")]
    lease_hours: Option<u32>,
    /// Who sells them [default: direct]
    #[arg(long, value_name = "NAME")]
    reseller: Option<String>,
}

impl IssueArguments {
    /// What is to be sold; what no flag says is as in `usual`.
    fn sold(&self, usual: &Sold) -> Sold {
        let Sold { plan, reseller } = usual;
        Sold {
            plan: Plan {
                name: self.plan.clone().unwrap_or_else(|| plan.name.clone()),
                entitlements: self.entitlement.clone().unwrap_or_else(|| plan.entitlements.clone()),
                term_seconds: self.term_days.map_or(plan.term_seconds, |days| u64::from(days) * 86_400),
                lease_seconds: self
                    .lease_hours
                    .map_or(plan.lease_seconds, |hours| hours.saturating_mul(3_600)),
            },
            reseller: self.reseller.clone().unwrap_or_else(|| reseller.clone()),
        }
    }
}

/// What is sold where nothing else is said.
fn usual() -> Sold {
    let plan = Plan {
        name: "basic".to_owned(),
        entitlements: vec![],
        term_seconds: 365 * 86_400,
        lease_seconds: 72 * 3_600,
    };
    Sold { plan, reseller: "direct".to_owned() }
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
        CodeCommand::Show => global.format().print(&all_issues(&global.api()?).await?, human_list),
        CodeCommand::Void { list } => void(global, &list).await,
    }
}

async fn issue(global: &Global, arguments: IssueArguments) -> Result<()> {
    let api = global.api()?;
    let (codes, file) = match (&arguments.resume, arguments.count, &arguments.out) {
        (Some(file), _, _) => (as_sold(file, &arguments)?, file.clone()),
        (None, Some(count), Some(out)) => {
            let issued = IssuedCodes::issue(arguments.sold(&usual()), count, &mut EntropyRng(&OsEntropy));
            let codes = issued.map_err(|unfit| coded(USAGE, unfit.to_string()))?;
            // On disk before the cluster knows them: a code that counts is never lost.
            codes.write_csv(out)?;
            (codes, out.clone())
        }
        _ => return Err(coded(USAGE, "give --count and --out, or --resume")),
    };
    let done = register(&api, &codes).await.map_err(|error| {
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

/// All issues, as one page.
async fn all_issues(api: &Api) -> Result<CodePage> {
    let mut all = CodePage { batches: Vec::new(), next: None };
    loop {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(all.next.take().map(|Cursor(cursor)| ("after", cursor)));
        let page: CodePage = api.get_where("/v1/codes", &query).await?;
        all.batches.extend(page.batches);
        all.next = page.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

/// The codes of an interrupted issue. They were sold as the file says, so a flag that says otherwise is a mistake.
fn as_sold(file: &Path, arguments: &IssueArguments) -> Result<IssuedCodes> {
    let codes = IssuedCodes::read_csv(file)?;
    if arguments.sold(&codes.sold) == codes.sold {
        return Ok(codes);
    }
    let Sold { plan, reseller } = &codes.sold;
    Err(coded(
        USAGE,
        format!(
            "the codes in {} were sold as plan {}, entitlements [{}], for {} seconds, with a lease of {} seconds, by {reseller}; \
             leave out the flags that say otherwise",
            file.display(),
            plan.name,
            plan.entitlements.join(","),
            plan.term_seconds,
            plan.lease_seconds,
        ),
    ))
}

/// Tells the cluster of codes, which it keeps as keyed digests.
pub(crate) async fn register(api: &Api, codes: &IssuedCodes) -> Result<Done> {
    let plain = codes.codes.iter().map(|code| PlainCode(Zeroizing::new(code.to_string())));
    let Sold { plan, reseller } = codes.sold.clone();
    api.post("/v1/codes", &IssueCodes { batch: codes.batch, plan, reseller, codes: plain.collect() }).await
}

async fn void(global: &Global, list: &Path) -> Result<()> {
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
