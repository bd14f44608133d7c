//! `muster cluster enrol`: a certificate for somebody who asks the cluster.

use super::Global;
use super::cluster::this_year;
use crate::cluster::enrol;
use crate::exit::{USAGE, coded};
use anyhow::Result;
use clap::Args;
use events::time::Timestamp;
use nodes::clock::{Clock, SystemClock};
use nodes::config::AccessRole;
use serde::Serialize;
use std::path::PathBuf;

/// Let somebody ask the cluster: a certificate that names the role, in a folder with the context file that `--context` takes.
///
/// Needs `ca.key`, which is kept off all nodes. Nodes believe it by `client_authority = "…/ca.pem"` in `[api]`, and show who it was in
/// what the log keeps of each change. There is no list of revoked certificates: choose a near day.
#[derive(Args)]
pub(crate) struct EnrolArguments {
    /// Where `ca.key`, `ca.pem` and `context.json` of `muster cluster init` lie
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Who it is: a to z, 0 to 9 and `-`
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What they may do: viewer, operator, admin or factory
    #[arg(long, value_name = "ROLE", value_parser = parse_role)]
    role: AccessRole,
    /// The last day of the certificate, such as 2027-06-30
    #[arg(long, value_name = "DATE", value_parser = super::station::parse_date)]
    until: Timestamp,
    /// Folder for `operator.pem`, `operator.key`, `ca.pem` and `context.json`; older certificates in it are kept beside them as `.old`
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn parse_role(text: &str) -> Result<AccessRole, String> {
    let known = AccessRole::ALL.into_iter().find(|role| role.as_str() == text);
    known.ok_or_else(|| "expected viewer, operator, admin or factory".to_owned())
}

#[derive(Serialize)]
struct Enrolled {
    name: String,
    role: AccessRole,
    until: Timestamp,
    context: PathBuf,
}

pub(super) fn run(global: &Global, arguments: &EnrolArguments) -> Result<()> {
    let EnrolArguments { dir, name, role, until, out } = arguments;
    if *until <= SystemClock::default().now() {
        return Err(coded(USAGE, format!("--until {until}: that day is over")));
    }
    let context = enrol(dir, *role, name, *until, out, this_year())?;
    let said = Enrolled { name: name.clone(), role: *role, until: *until, context };
    global.format().print(&said, |said| {
        format!(
            "{} may ask as {} until {}, from any node with client_authority = \"…/ca.pem\" in its [api]\n\
             Give them the folder; there:\n  muster cluster status --context {}",
            said.name,
            said.role,
            said.until,
            said.context.display()
        )
    })
}
