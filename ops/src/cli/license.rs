//! `muster license`: licenses after they were redeemed.

use super::Global;
use super::device::when;
use crate::api::Api;
use crate::exit::{REFUSED, USAGE, coded};
use crate::listing::{Column, Listing};
use anyhow::Result;
use clap::{Args, Subcommand};
use events::ids::{DeviceId, LicenseId};
use events::license::code::ActivationCode;
use events::time::Timestamp;
use nodes::api::shapes::{
    Cursor, DeviceDetail, LicenseDone, LicensePage, PlainCode, ReissueLicense, RenewLicense, SwitchLicense,
    TransferLicense,
};
use nodes::entropy::{EntropyRng, OsEntropy};
use projector::view::{LicenseMove, LicenseState, LicenseView};
use provisioning::codes::{IssuedCodes, Sold, read_codes};
use serde::Serialize;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Licenses asked for at once while listing.
const PAGE: usize = 500;
const DAY_MILLIS: u64 = 86_400_000;

#[derive(Subcommand)]
pub(crate) enum LicenseCommand {
    /// List licenses, in the order in which they were created
    List(ListArguments),
    /// One license as it stands, and what people did to it
    Show {
        /// The license's id (lic_…)
        #[arg(required_unless_present = "device")]
        license: Option<LicenseId>,
        /// The license that this device has
        #[arg(long, value_name = "DEVICE", conflicts_with = "license")]
        device: Option<DeviceId>,
    },
    /// Move a license to another device: an exchange of hardware
    Transfer(TransferArguments),
    /// Give a license another end; one that ended holds again
    Renew(RenewArguments),
    /// Give no lease until the license is resumed
    Suspend(SwitchArguments),
    /// End a suspension
    Resume(SwitchArguments),
    /// Make another code for a license whose device lost its state and whose owner lost the code
    Reissue(ReissueArguments),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Only licenses in this state: active, suspended or expired
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    state: Option<LicenseState>,
    /// Only licenses that this reseller sold
    #[arg(long, value_name = "NAME")]
    reseller: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
}

/// Who does it, and why; the log keeps both.
#[derive(Args)]
pub(crate) struct Signature {
    /// Why; the log keeps it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who does it; the log keeps it
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    by: String,
}

/// Move a license to another device. The new device activates with the same code; the old one has no license any
/// more, keeps its identity, and is not held to be an attacker if it presents the code again. What the old device
/// holds offline counts until its lease ends.
#[derive(Args)]
pub(crate) struct TransferArguments {
    /// The license's id (lic_…)
    license: LicenseId,
    /// The device that gets it
    #[arg(long, value_name = "DEVICE")]
    to: DeviceId,
    /// The device that has it [default: the one that has it now]; another owner is refused
    #[arg(long, value_name = "DEVICE")]
    from: Option<DeviceId>,
    #[command(flatten)]
    signature: Signature,
}

#[derive(Args)]
pub(crate) struct RenewArguments {
    /// The license's id (lic_…)
    license: LicenseId,
    #[command(flatten)]
    end: End,
    #[command(flatten)]
    signature: Signature,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct End {
    /// So many days after its present end, or after now if it ended. To repeat one that failed give the time that it names
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    /// At this time (RFC 3339, such as 2027-12-31T23:59:59Z)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Without end
    #[arg(long)]
    endless: bool,
}

#[derive(Args)]
pub(crate) struct SwitchArguments {
    /// The license's id (lic_…)
    license: LicenseId,
    #[command(flatten)]
    signature: Signature,
}

/// Make another code for a license. The device that has the license activates with it; the code before opens nothing
/// any more. The code stands in the file only: the cluster keeps a keyed digest. If the file is there already, its code
/// is told again, so that an interrupted reissue can be repeated.
#[derive(Args)]
pub(crate) struct ReissueArguments {
    /// The license's id (lic_…)
    license: LicenseId,
    /// File for the code (CSV, mode 0600)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    signature: Signature,
}

pub(crate) async fn run(global: &Global, command: LicenseCommand) -> Result<()> {
    let api = global.api()?;
    match command {
        LicenseCommand::List(arguments) => list(global, &api, &arguments).await,
        LicenseCommand::Show { license, device } => {
            let id = match (license, device) {
                (Some(id), _) => id,
                (None, Some(device)) => license_of(&api, device).await?,
                (None, None) => return Err(coded(USAGE, "give a license or --device")),
            };
            global.format().print(&show(&api, id).await?, human_license)
        }
        LicenseCommand::Transfer(arguments) => transfer(global, &api, arguments).await,
        LicenseCommand::Renew(arguments) => renew(global, &api, arguments).await,
        LicenseCommand::Suspend(arguments) => switch(global, &api, "suspend", arguments).await,
        LicenseCommand::Resume(arguments) => switch(global, &api, "resume", arguments).await,
        LicenseCommand::Reissue(arguments) => reissue(global, &api, arguments).await,
    }
}

async fn show(api: &Api, license: LicenseId) -> Result<LicenseView> {
    api.get(&format!("/v1/licenses/{license}")).await
}

async fn license_of(api: &Api, device: DeviceId) -> Result<LicenseId> {
    let detail: DeviceDetail = api.get(&format!("/v1/devices/{device}")).await?;
    let license = detail.license.map(|license| license.license);
    license.ok_or_else(|| coded(REFUSED, format!("{device} has no license")))
}

async fn list(global: &Global, api: &Api, arguments: &ListArguments) -> Result<()> {
    let mut listing = Listing::new(global.format(), COLUMNS);
    let mut after: Option<Cursor> = None;
    while listing.said() < arguments.limit {
        let conditions = [
            Some(("limit", PAGE.min(arguments.limit - listing.said()).to_string())),
            after.map(|Cursor(cursor)| ("after", cursor)),
            arguments.state.map(|state| ("state", state_text(state).to_owned())),
            arguments.reseller.clone().map(|name| ("reseller", name)),
        ];
        let query: Vec<_> = conditions.into_iter().flatten().collect();
        let page: LicensePage = api.get_where("/v1/licenses", &query).await?;
        listing.page(&page.licenses)?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    listing.end("license")
}

async fn transfer(global: &Global, api: &Api, arguments: TransferArguments) -> Result<()> {
    let TransferArguments { license, to, from, signature } = arguments;
    let from = match from {
        Some(from) => from,
        None => show(api, license).await?.device,
    };
    let Signature { reason, by } = signature;
    let request = TransferLicense { from, to, by: Some(by), reason };
    let done: LicenseDone = api.post(&format!("/v1/licenses/{license}/transfer"), &request).await?;
    global.format().print(&done, |done| {
        human_done(done, &format!("{license} goes from {from} to {to}; it activates with the same code"))
    })
}

async fn renew(global: &Global, api: &Api, arguments: RenewArguments) -> Result<()> {
    let RenewArguments { license, end, signature: Signature { reason, by } } = arguments;
    let expires = match (end.days, &end.until) {
        (Some(days), _) => {
            let present = show(api, license).await?.expires;
            present.max(super::now()).plus_millis(u64::from(days) * DAY_MILLIS)
        }
        (None, Some(text)) => parse_time(text)?,
        (None, None) => Timestamp::ZERO,
    };
    let request = RenewLicense { expires, by: Some(by), reason };
    let done: Result<LicenseDone> = api.post(&format!("/v1/licenses/{license}/renew"), &request).await;
    let done = done.map_err(|error| match end.days {
        // It may be done, and days count from the end that it has by then.
        Some(_) => error.context(format!("to repeat this, give `--until {expires}` instead of --days")),
        None => error,
    })?;
    global.format().print(&done, |done| human_done(done, &format!("{license} ends {}", end_text(expires))))
}

async fn switch(global: &Global, api: &Api, verb: &str, arguments: SwitchArguments) -> Result<()> {
    let SwitchArguments { license, signature: Signature { reason, by } } = arguments;
    let request = SwitchLicense { by: Some(by), reason };
    let done: LicenseDone = api.post(&format!("/v1/licenses/{license}/{verb}"), &request).await?;
    global
        .format()
        .print(&done, |done| human_done(done, &format!("{license} is {}", state_text(done.license.state))))
}

/// What is said of a reissue; the code itself stands in the file only.
#[derive(Serialize)]
struct Reissued {
    #[serde(flatten)]
    done: LicenseDone,
    file: PathBuf,
}

async fn reissue(global: &Global, api: &Api, arguments: ReissueArguments) -> Result<()> {
    let ReissueArguments { license, out, signature: Signature { reason, by } } = arguments;
    let LicenseView { plan, reseller, .. } = show(api, license).await?;
    let code = code_in(&out, Sold { plan, reseller })?;
    let code = PlainCode(Zeroizing::new(code.to_string()));
    let request = ReissueLicense { code, by: Some(by), reason };
    let done: LicenseDone =
        api.post(&format!("/v1/licenses/{license}/reissue"), &request).await.map_err(|error| {
            error.context(format!("the code is in {}; give the same --out to try again", out.display()))
        })?;
    let said = Reissued { done, file: out };
    global.format().print(&said, |said| {
        human_done(&said.done, &format!("the code in {} opens {license} from now on", said.file.display()))
    })
}

/// On disk before the cluster knows it: a code that counts is never lost.
fn code_in(file: &Path, sold: Sold) -> Result<ActivationCode> {
    let codes = if file.exists() {
        read_codes(file)?
    } else {
        let issued = IssuedCodes::reissue(sold, &mut EntropyRng(&OsEntropy));
        issued.write_csv(file)?;
        issued.codes
    };
    codes.into_iter().next().ok_or_else(|| coded(USAGE, format!("{} holds no code", file.display())))
}

fn parse_state(text: &str) -> Result<LicenseState, String> {
    let all = [LicenseState::Active, LicenseState::Suspended, LicenseState::Expired];
    let known = all.into_iter().find(|state| state_text(*state) == text);
    known.ok_or_else(|| "expected active, suspended or expired".to_owned())
}

pub(super) fn state_text(state: LicenseState) -> &'static str {
    match state {
        LicenseState::Active => "active",
        LicenseState::Suspended => "suspended",
        LicenseState::Expired => "expired",
    }
}

fn parse_time(text: &str) -> Result<Timestamp> {
    let malformed = || coded(USAGE, format!("--until {text}: expected a time such as 2027-12-31T23:59:59Z"));
    let time = humantime::parse_rfc3339(text).map_err(|_| malformed())?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| malformed())?;
    Ok(Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

fn end_text(expires: Timestamp) -> String {
    if expires == Timestamp::ZERO { "never".to_owned() } else { expires.to_string() }
}

fn human_done(done: &LicenseDone, what: &str) -> String {
    match done.duplicate {
        true => format!("{what}; it was so before, at log index {}", done.index),
        false => format!("{what}; done at log index {}", done.index),
    }
}

const COLUMNS: &[Column<LicenseView>] = &[
    Column { head: "license", cell: |license| license.license.to_string() },
    Column { head: "state", cell: |license| state_text(license.state).to_owned() },
    Column { head: "plan", cell: |license| license.plan.name.clone() },
    Column { head: "device", cell: |license| license.device.to_string() },
    Column { head: "ends", cell: |license| end_text(license.expires) },
    Column { head: "reseller", cell: |license| license.reseller.clone() },
];

fn human_license(license: &LicenseView) -> String {
    let mut text = format!(
        "{}  {}\n\
         plan          {}, sold by {} in {}\n\
         device        {}\n\
         created       {} at log index {}; {} lease(s) given\n\
         ends          {}\n",
        license.license,
        state_text(license.state),
        license.plan.name,
        license.reseller,
        license.batch,
        license.device,
        when(license.created_at),
        license.created,
        license.leases,
        end_text(license.expires),
    );
    for done in &license.moves {
        let what = match done.what {
            LicenseMove::Transferred { from, to } => format!("transferred from {from} to {to}"),
            LicenseMove::Renewed { expires } => format!("renewed, ends {}", end_text(expires)),
            LicenseMove::Suspended => "suspended".to_owned(),
            LicenseMove::Resumed => "resumed".to_owned(),
            LicenseMove::Reissued { .. } => "reissued".to_owned(),
        };
        let (stamp, index, by, reason) = (when(done.stamp), done.index, &done.by, &done.reason);
        text.push_str(&format!("{stamp}  log index {index}: {what} by {by}: {reason}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_to_the_second_and_a_wrong_one_says_what_was_expected() {
        assert_eq!(parse_time("1970-01-02T00:00:01Z").unwrap(), Timestamp::from_millis(86_401_000));
        assert!(parse_time("tomorrow").unwrap_err().to_string().contains("2027-12-31T23:59:59Z"));
    }
}
