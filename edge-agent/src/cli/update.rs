//! `muster-agent update`: how the terminal's software update stands; with an offer, installs it here and now.

use super::exit::{self, Failure};
use super::output::Output;
use crate::shell::boot;
use crate::shell::clock::Clock;
use crate::shell::config::Config;
use crate::shell::flash::FolderFlash;
use crate::shell::lock::{InstanceLock, LockError};
use crate::shell::owner;
use crate::update::{
    OfferTime, Step, UpdateConfig, UpdateDesk, UpdateEvent, UpdateIdentity, Wanted, folder, read,
};
use events::update::{SignedOffer, UpdateFailure, offer_in_file};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Shown {
    running: u32,
    floor: u32,
    /// The version that is on its way, and how far it has come.
    offered: Option<u32>,
    step: Option<&'static str>,
    last_failure: Option<UpdateFailure>,
}

/// What is on flash. Reads only; safe beside a running agent.
pub(super) fn show(config: &Config, output: Output) -> Result<(), Failure> {
    let kept = match FolderFlash::existing(&folder(&config.state_dir)) {
        Ok(flash) => read(&flash).map_err(|error| Failure::new(exit::FAILED, error))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Default::default(),
        Err(error) => return Err(Failure::new(exit::FAILED, error)),
    };
    let job = kept.job.as_ref();
    let shown = Shown {
        running: config.firmware,
        floor: kept.floor,
        offered: job.and_then(|job| job.offer()).map(|offer| offer.firmware),
        step: job.map(|job| match job.step {
            Step::Downloading => "downloading",
            Step::Verified => "verified",
            Step::Installing { .. } => "installing",
            Step::Installed { .. } => "installed: awaits the next start of the terminal",
        }),
        last_failure: kept.failed.and_then(|(_, number)| UpdateFailure::from_number(number)),
    };
    output.answer(&shown, || {
        let way = match (shown.offered, shown.step) {
            (Some(firmware), Some(step)) => format!("{firmware} ({step})"),
            _ => "none".to_owned(),
        };
        let failure = shown.last_failure.map_or("none", UpdateFailure::as_str);
        format!(
            "running  {}\nfloor    {}\non its way  {way}\nlast failure  {failure}",
            shown.running, shown.floor
        )
    });
    Ok(())
}

/// Takes an offer from a file, as the agent takes one from the cluster: checked in the same way. Also while restricted,
/// and without a network if the artifact's URL is on this machine.
pub(super) async fn install(config: &Config, file: &Path, output: Output) -> Result<(), Failure> {
    // On a bench this may be the first thing that is ever started.
    FolderFlash::open(&config.state_dir).map_err(|error| {
        let what = format!("cannot use the state directory `{}`: {error}", config.state_dir.display());
        Failure::new(exit::FAILED, what)
    })?;
    owner::check(&config.state_dir).map_err(|error| Failure::new(exit::REFUSED, error))?;
    let _lock = InstanceLock::acquire(&config.state_dir).map_err(|error| match error {
        LockError::Held(_) => Failure::new(exit::LOCKED, error),
        LockError::Io { .. } => Failure::new(exit::FAILED, error),
    })?;
    let usage = |why: String| Failure::new(exit::USAGE, why);
    let bytes =
        std::fs::read(file).map_err(|error| usage(format!("cannot read `{}`: {error}", file.display())))?;
    let offer = offer_in_file(&bytes).ok_or_else(|| usage(format!("`{}` is damaged", file.display())))?;
    // What becomes of another rollout, which a start of the agent left, is not the answer.
    let rollout = SignedOffer::parse(&offer).ok().map(|signed| signed.unverified().rollout);
    let mut desk = open(config)?;
    desk.handed(offer);
    loop {
        let wanted = desk.next().await.map_err(|error| Failure::new(exit::FAILED, error))?;
        let Wanted::Tell(event) = wanted else { continue };
        output.answer(&event, || format!("{event:?}"));
        match event {
            UpdateEvent::Installed { rollout: done, .. } if Some(done) == rollout => return Ok(()),
            UpdateEvent::Failed { rollout: failed, reason } if Some(failed) == rollout => {
                return Err(Failure::new(exit::FAILED, reason));
            }
            UpdateEvent::Refused { reason } => return Err(Failure::new(exit::REFUSED, reason)),
            UpdateEvent::Installed { .. }
            | UpdateEvent::Failed { .. }
            | UpdateEvent::Taken { .. }
            | UpdateEvent::Verified { .. }
            | UpdateEvent::Held { .. }
            | UpdateEvent::Running { .. } => {}
        }
    }
}

fn open(config: &Config) -> Result<UpdateDesk, Failure> {
    let check = boot::check(config).map_err(|error| Failure::new(exit::USAGE, error))?;
    let firmware = boot::lot_firmware(config).map_err(|error| Failure::new(exit::USAGE, error))?;
    let identity = UpdateIdentity {
        device: check.device(),
        record: check.record,
        lot: check.lot,
        sku: firmware.declaration.sku().to_owned(),
        firmware: config.firmware,
    };
    // No cluster is heard here.
    let time = OfferTime { at: Clock::start().now().wall, is_sealed: false };
    // Nothing but what is handed in.
    let update = UpdateConfig { offer_url: None, ..config.update.clone() };
    UpdateDesk::open(&update, identity, &config.state_dir, time)
        .map_err(|error| Failure::new(exit::FAILED, error))
}
