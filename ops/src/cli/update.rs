//! `muster update`: sign an offer where the update key is, send it out in phases, look how it goes, stop it.

use super::Global;
use super::device::when;
use super::now;
use crate::exit::{USAGE, coded};
use crate::output::Table;
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use events::ids::{LotId, RolloutId};
use events::update::{Offer, SignedOffer, UpdateScope};
use events::vocabulary::update::{RolloutPhase, RolloutRules};
use nodes::api::shapes::{Base64, CreateUpdate, SwitchUpdate, UpdateDone, UpdateList};
use nodes::entropy::{Entropy as _, OsEntropy};
use projector::view::{RolloutEnding, RolloutStanding, RolloutView};
use provisioning::armor::{self, Kind};
use provisioning::ceremony::{load_update_key, load_update_public};
use serde::Serialize;
use sha2::{Digest, Sha384};
use std::io::Read as _;
use std::path::{Path, PathBuf};

const DAY_MILLIS: u64 = 86_400_000;

#[derive(Subcommand)]
pub(crate) enum UpdateCommand {
    Sign(SignArguments),
    Create(CreateArguments),
    /// List rollouts, or show one: its phases, and what the terminals made of it
    Status {
        /// The rollout's id (rol_…); without it all are listed, the newest first
        rollout: Option<RolloutId>,
    },
    /// Offer it to nobody until it is resumed
    ///
    /// Terminals that are fetching it go on fetching. Before they install they ask once more, keep what they have, and
    /// install once it is offered again.
    Pause(SwitchArguments),
    /// End a pause; the phase begins anew
    Resume(SwitchArguments),
    /// Offer it to nobody any more, for ever. What is installed stays
    ///
    /// Terminals that are fetching it ask once more before they install, and then do not. It does not reach a terminal that
    /// cannot ask (three questions within 30 s), one whose install hook runs already, one that took the offer from a URL or
    /// by hand, and agents of versions that did not ask.
    Abort(SwitchArguments),
}

/// Sign an offer of one artifact
///
/// Runs where the update key is, without a network; `muster update create` sends the file out. The artifact must be,
/// byte for byte, what lies behind the URLs.
#[derive(Args)]
#[command(
    after_help = "EXAMPLE\n  muster update sign --key safe/update.key --artifact box-8.raucb --firmware 8 \\\n    --sku box-4k --kind rauc --url https://updates.example/box-8.raucb --out box-8.offer"
)]
pub(crate) struct SignArguments {
    /// The private update key, made by `muster keys update`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What the terminals will install
    #[arg(long, value_name = "FILE")]
    artifact: PathBuf,
    /// The version, as the agent's configuration names it; above the one that runs
    #[arg(long, value_name = "N")]
    firmware: u32,
    /// Once this version has booted, none below this is taken any more [default: the lowest, 0]
    #[arg(long, value_name = "N", default_value_t = 0)]
    floor: u32,
    /// A lot that it is for; several may be named
    #[arg(long = "lot", value_name = "LOT", conflicts_with = "sku", required_unless_present = "sku")]
    lots: Vec<LotId>,
    /// Instead: all lots of this SKU
    #[arg(long, value_name = "TEXT")]
    sku: Option<String>,
    /// What the artifact is; the agent's `[update.install]` has a hook of this name
    #[arg(long, value_name = "NAME")]
    kind: String,
    /// Where the artifact lies, http:// or https://; up to four, tried in this order
    #[arg(long = "url", value_name = "URL", required = true)]
    urls: Vec<String>,
    /// The offer is void after so many days: whoever holds newer ones back can do so no longer
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Where to write the signed offer
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Start a rollout of a signed offer
///
/// It goes out in phases; the next begins when the last one lasted its time and enough of those that were told run the
/// new version. Too many failures abort it.
#[derive(Args)]
#[command(
    after_help = "EXAMPLE\n  muster update create box-8.offer --public-key update.pub --reason 'CVE fix' \\\n    --phase 10:24h --phase 100:24h --phase 500:24h --phase 1000:0h"
)]
pub(crate) struct CreateArguments {
    /// What `muster update sign` wrote
    offer: PathBuf,
    /// The public update key that the terminals pin
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// PERMILLE:DURATION, for example 10:24h for one terminal in a hundred during a day; several, growing
    #[arg(long = "phase", value_name = "PHASE", value_parser = parse_phase,
        default_values = ["10:24h", "100:24h", "500:24h", "1000:0h"])]
    phases: Vec<RolloutPhase>,
    /// Of those that were told so many permille must run the new version before the next phase
    #[arg(long, value_name = "PERMILLE", default_value_t = 800)]
    success: u16,
    /// More failures than this, in permille of all results, abort the rollout
    #[arg(long, value_name = "PERMILLE", default_value_t = 50)]
    failure: u16,
    /// ... once there are so many results
    #[arg(long, value_name = "N", default_value_t = 20)]
    sample: u32,
    /// Terminals that are told anew within a minute, at most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    per_minute: u32,
    #[command(flatten)]
    signature: Signature,
}

#[derive(Args)]
pub(crate) struct SwitchArguments {
    /// The rollout's id (rol_…)
    rollout: RolloutId,
    #[command(flatten)]
    signature: Signature,
}

/// Who does it, and why; the log keeps both.
#[derive(Args)]
struct Signature {
    /// Why; the log keeps it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who does it; the log keeps it
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    by: String,
}

pub(crate) async fn run(global: &Global, command: UpdateCommand) -> Result<()> {
    match command {
        UpdateCommand::Sign(arguments) => sign(global, arguments),
        UpdateCommand::Create(arguments) => create(global, arguments).await,
        UpdateCommand::Status { rollout } => status(global, rollout).await,
        UpdateCommand::Pause(arguments) => switch(global, arguments, "pause").await,
        UpdateCommand::Resume(arguments) => switch(global, arguments, "resume").await,
        UpdateCommand::Abort(arguments) => switch(global, arguments, "abort").await,
    }
}

#[derive(Serialize)]
struct Signed {
    rollout: RolloutId,
    firmware: u32,
    size: u64,
    sha384: String,
    file: PathBuf,
}

fn sign(global: &Global, arguments: SignArguments) -> Result<()> {
    let key = load_update_key(&arguments.key)?;
    let (size, digest) = measure(&arguments.artifact)?;
    let mut id = [0; 16];
    OsEntropy.fill(&mut id);
    let scope = match arguments.sku {
        Some(sku) => UpdateScope::Sku(sku),
        None => UpdateScope::of_lots(arguments.lots),
    };
    let offer = Offer {
        rollout: RolloutId::from_bytes(id),
        scope,
        firmware: arguments.firmware,
        floor: arguments.floor,
        not_after: now().plus_millis(arguments.days * DAY_MILLIS),
        size,
        digest,
        kind: arguments.kind,
        urls: arguments.urls,
    };
    let note = format!("firmware {} for {}. Public.", offer.firmware, offer.scope);
    let (rollout, firmware) = (offer.rollout, offer.firmware);
    let signed = offer.sign(&key).map_err(|error| coded(USAGE, error.to_string()))?;
    let text = armor::encode_bytes(Kind::UpdateOffer, &note, &signed.encode());
    crate::files::write_public(&arguments.out, text.as_bytes())
        .with_context(|| format!("writing {}", arguments.out.display()))?;
    let sha384 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let said = Signed { rollout, firmware, size, sha384, file: arguments.out };
    global.format().print(&said, |said| {
        format!(
            "{} offers firmware {} ({} bytes, SHA-384 {}…)\nNext: muster update create {} --public-key update.pub \
             --reason …",
            said.rollout,
            said.firmware,
            said.size,
            &said.sha384[..16],
            said.file.display()
        )
    })
}

/// Size and SHA-384, without holding all of it.
fn measure(artifact: &Path) -> Result<(u64, [u8; 48])> {
    let reading = || format!("reading {}", artifact.display());
    let mut file = std::fs::File::open(artifact).with_context(reading)?;
    let (mut hash, mut size, mut buffer) = (Sha384::new(), 0, vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer).with_context(reading)? {
            0 => return Ok((size, hash.finalize().into())),
            read => {
                hash.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}

async fn create(global: &Global, arguments: CreateArguments) -> Result<()> {
    let reading = || format!("reading {}", arguments.offer.display());
    let text = std::fs::read(&arguments.offer).with_context(reading)?;
    let offer = armor::decode_bytes(Kind::UpdateOffer, &arguments.offer, &text)?;
    let key = load_update_public(&arguments.public_key)?;
    // Said here first, since here is who can mend it.
    let verified = SignedOffer::parse(&offer).and_then(|signed| signed.verify(&[key]));
    let wrong = |error| coded(USAGE, format!("{}: {error}", arguments.offer.display()));
    let rollout = verified.map_err(wrong)?.rollout;
    let rules = RolloutRules {
        phases: arguments.phases,
        success_permille: arguments.success,
        failure_permille: arguments.failure,
        sample_min: arguments.sample,
        per_minute_max: arguments.per_minute,
    };
    let body = CreateUpdate {
        offer: Base64(offer),
        update_key: Base64(key.as_bytes().to_vec()),
        rules,
        by: Some(arguments.signature.by),
        reason: arguments.signature.reason,
    };
    let done: UpdateDone = global.api()?.post("/v1/updates", &body).await?;
    global.format().print(&done, |done| match done.duplicate {
        true => format!("{rollout} was started before"),
        false => format!(
            "{rollout} is on its way since log index {}\nLook: muster update status {rollout}{}",
            done.index,
            done.warning.as_ref().map_or_else(String::new, |warning| format!("\nwarning: {warning}"))
        ),
    })
}

async fn switch(global: &Global, arguments: SwitchArguments, verb: &str) -> Result<()> {
    let SwitchArguments { rollout, signature } = arguments;
    let body = SwitchUpdate { by: Some(signature.by), reason: signature.reason };
    let done: UpdateDone = global.api()?.post(&format!("/v1/updates/{rollout}/{verb}"), &body).await?;
    global.format().print(&done, |done| {
        let standing = done.update.as_ref().map_or("unknown here", |update| standing(update.standing));
        let before = if done.duplicate { " (it was so before)" } else { "" };
        format!("{rollout} is {standing}{before}, log index {}", done.index)
    })
}

async fn status(global: &Global, rollout: Option<RolloutId>) -> Result<()> {
    let api = global.api()?;
    match rollout {
        Some(rollout) => {
            let view: RolloutView = api.get(&format!("/v1/updates/{rollout}")).await?;
            global.format().print(&view, human)
        }
        None => {
            let list: UpdateList = api.get("/v1/updates").await?;
            global.format().print(&list, human_list)
        }
    }
}

fn human_list(list: &UpdateList) -> String {
    if list.updates.is_empty() {
        return "no updates; sign one: muster update sign --help".to_owned();
    }
    let mut table =
        Table::with_head(&["rollout", "firmware", "for", "standing", "phase", "told", "installed", "failed"]);
    for view in &list.updates {
        table.row([
            view.rollout.to_string(),
            view.firmware.to_string(),
            view.scope.to_string(),
            standing(view.standing).to_owned(),
            format!("{}/{}", view.phase, view.rules.phases.len()),
            view.offered.to_string(),
            view.installed.to_string(),
            failures(view).to_string(),
        ]);
    }
    let left_out =
        if list.left_out > 0 { format!("{} older ones left out\n", list.left_out) } else { String::new() };
    format!("{table}{left_out}")
}

fn human(view: &RolloutView) -> String {
    let pending = view.offered.saturating_sub(view.installed + failures(view));
    let mut lines = vec![
        format!("{}  firmware {} for {}", view.rollout, view.firmware, view.scope),
        format!("standing   {}{}", standing(view.standing), waiting(view)),
        format!(
            "offer      {} of {} bytes, floor {}, void after {}",
            view.kind,
            view.size,
            view.floor,
            when(view.not_after)
        ),
        format!("started    {} by {}: {}", when(view.created_at), view.by, view.reason),
    ];
    for (n, phase) in view.rules.phases.iter().enumerate() {
        let mark = if n + 1 == usize::from(view.phase) { "->" } else { "  " };
        lines.push(format!("phase   {mark} {}: {} permille for {} s", n + 1, phase.permille, phase.seconds));
    }
    lines.push(format!("told       {}", view.offered));
    lines.push(format!("installed  {}", view.installed));
    lines.push(format!("pending    {pending}"));
    lines.extend(view.failed.iter().map(|(code, count)| format!("failed     {count} {code}")));
    if let Some(end) = &view.end {
        lines.push(format!("ended      {} by {}: {}", when(end.at), end.by, end.reason));
    }
    lines.join("\n")
}

fn waiting(view: &RolloutView) -> &'static str {
    if view.awaits_results { ": the phase lasted its time, too few run the new version yet" } else { "" }
}

fn failures(view: &RolloutView) -> u32 {
    view.failed.values().sum()
}

const fn standing(standing: RolloutStanding) -> &'static str {
    match standing {
        RolloutStanding::Running => "running",
        RolloutStanding::Paused => "paused",
        RolloutStanding::Ended(RolloutEnding::Aborted) => "aborted",
        RolloutStanding::Ended(RolloutEnding::Replaced) => "replaced",
        RolloutStanding::Ended(RolloutEnding::Expired) => "expired",
    }
}

fn parse_phase(text: &str) -> Result<RolloutPhase, String> {
    const EXPECTED: &str = "expected PERMILLE:DURATION, for example 10:24h";
    let (permille, lasts) = text.split_once(':').ok_or(EXPECTED)?;
    let permille = permille.parse().ok().filter(|permille| (1..=1000).contains(permille)).ok_or(EXPECTED)?;
    let lasts = humantime::parse_duration(lasts).map_err(|error| format!("{EXPECTED}: {error}"))?;
    let seconds = u32::try_from(lasts.as_secs()).map_err(|_| EXPECTED)?;
    Ok(RolloutPhase { permille, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_read_as_it_is_written_in_the_help() {
        assert_eq!(parse_phase("10:24h"), Ok(RolloutPhase { permille: 10, seconds: 86_400 }));
        assert_eq!(parse_phase("1000:0h"), Ok(RolloutPhase { permille: 1000, seconds: 0 }));
        for wrong in ["10", "0:1h", "1001:1h", "10:soon", "10:"] {
            assert!(parse_phase(wrong).is_err(), "{wrong}");
        }
    }
}
