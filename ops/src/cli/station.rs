//! `muster station`: a provisioning station on a factory line. Everything but `register` and `revoke` works offline.

use super::terminal::TerminalArguments;
use super::{Global, factory_dir, now};
use crate::api::Api;
use crate::exit::{NOT_HELD, USAGE, answered, coded};
use anyhow::Result;
use clap::{Args, Subcommand};
use events::identity::certificate::CertifiedStation;
use events::identity::key::PublicKey;
use events::ids::{DeviceId, LotId, RecordDigest, StationId};
use events::time::Timestamp;
use events::vocabulary::shared::ComponentKind;
use nodes::api::shapes::{Base64, Certified, CertifyStation, Done, Reason};
use nodes::entropy::{EntropyRng, OsEntropy};
use provisioning::ceremony::{
    FACTORY_KEY_FILE, FACTORY_PUBLIC_FILE, load_cluster_public, load_factory_key, load_factory_public,
};
use provisioning::lot::{Lot, load_certificate, load_firmware};
use provisioning::station::{BurnConsent, Station, setup};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum StationCommand {
    /// At the station: make its key
    Create {
        /// The station's directory (mode 0700)
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// At the factory: certify a station for one lot, a number of units and an end date
    Certify(CertifyArguments),
    /// At the station: take over lot and cluster; from then on it works offline
    Equip {
        /// The station's directory
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The lot's firmware file, with this station's certificate in it (secret)
        #[arg(long, value_name = "FILE")]
        firmware: PathBuf,
        /// The cluster's public keys
        #[arg(long, value_name = "FILE")]
        cluster: PathBuf,
    },
    /// Burn one terminal: never twice, read back, written down before and after
    Burn(BurnArguments),
    /// Read a burned terminal back and open its record as its boot check will
    Verify(TerminalArguments),
    /// Write the manifest of all burned units that are in none yet, or an earlier one again
    Export {
        /// The station's directory
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// New file for the manifest; it is sealed and may lie anywhere
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Make this manifest once more, with the same units: its file was lost, or could not be written
        #[arg(long, value_name = "N")]
        manifest: Option<u32>,
    },
    /// Void the unit that a power cut left unfinished, when its terminal is gone
    GiveUp {
        /// The station's directory
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Tell the cluster of a certified station, before its first manifest does
    Register {
        /// The certificate: `sta_….certificate` in the lot's folder at the factory
        #[arg(value_name = "FILE")]
        certificate: PathBuf,
        /// The factory's public key, `factory.pub`, which you vouch for [default: the context's factory's]
        #[arg(long, value_name = "FILE")]
        factory_key: Option<PathBuf>,
    },
    /// Tell the cluster that records of a station are refused from now on
    ///
    /// It must know the station: by a manifest, by `muster station certify --register`, or by `muster station register`
    /// with the certificate, which lies in the lot's folder at the factory.
    Revoke {
        /// The station's id (sta_…)
        station: StationId,
        /// Why; the log keeps it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Args)]
pub(crate) struct CertifyArguments {
    /// The factory's directory [default: the one that the context names]
    #[arg(long, value_name = "DIR")]
    factory: Option<PathBuf>,
    /// The lot's folder at the factory
    #[arg(long, value_name = "DIR")]
    lot: PathBuf,
    /// The station's public key, `station.pub`
    #[arg(long, value_name = "FILE")]
    station: PathBuf,
    /// Units that it may burn, over all certificates it ever had
    #[arg(long, value_name = "N")]
    quota: u32,
    /// It burns nothing after this, such as 2027-12-31
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    until: Timestamp,
    /// Tell the cluster at once
    #[arg(long)]
    register: bool,
}

#[derive(Args)]
pub(crate) struct BurnArguments {
    #[command(flatten)]
    terminal: TerminalArguments,
    /// Agree that what is burned into real fuses stays for ever
    #[arg(long)]
    burn_permanently: bool,
}

pub(crate) async fn run(global: &Global, command: StationCommand) -> Result<()> {
    match command {
        StationCommand::Create { dir } => create(global, &dir),
        StationCommand::Certify(arguments) => certify(global, arguments).await,
        StationCommand::Equip { dir, firmware, cluster } => equip(global, &dir, &firmware, &cluster),
        StationCommand::Burn(arguments) => burn(global, &arguments),
        StationCommand::Verify(arguments) => verify(global, &arguments),
        StationCommand::Export { dir, out, manifest } => export(global, &dir, &out, manifest),
        StationCommand::GiveUp { dir } => give_up(global, &dir),
        StationCommand::Register { certificate, factory_key } => {
            register_certificate(global, &certificate, factory_key).await
        }
        StationCommand::Revoke { station, reason } => {
            let path = format!("/v1/stations/{station}/revoke");
            let done: Done = global.api()?.post(&path, &Reason { reason }).await?;
            global
                .format()
                .print(&done, |done| format!("{station} is revoked since log index {}", done.index))
        }
    }
}

#[derive(Serialize)]
struct Created {
    station: StationId,
    public_file: PathBuf,
}

fn create(global: &Global, dir: &Path) -> Result<()> {
    let public = setup::create(dir, &mut EntropyRng(&OsEntropy))?;
    let said = Created { station: public.station_id(), public_file: dir.join(setup::PUBLIC_FILE) };
    global.format().print(&said, |said| {
        let public = said.public_file.display();
        format!(
            "{}\nNext, at the factory: muster station certify --station {public} --lot … --quota … --until …",
            said.station
        )
    })
}

#[derive(Serialize)]
struct CertifiedFor {
    station: StationId,
    lot: LotId,
    quota: u32,
    until: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered: Option<Certified>,
}

async fn certify(global: &Global, arguments: CertifyArguments) -> Result<()> {
    let factory = load_factory_key(&factory_dir(global, arguments.factory)?.join(FACTORY_KEY_FILE))?;
    let station = setup::load_public(&arguments.station)?;
    let mut lot = Lot::open(&arguments.lot)?;
    let certified = lot.certify(&factory, station, arguments.quota, arguments.until, now())?;
    let registered = match arguments.register {
        true => Some(register(&global.api()?, &certified, &factory.public()).await?),
        false => None,
    };
    let said = CertifiedFor {
        station: certified.station(),
        lot: certified.lot(),
        quota: certified.quota(),
        until: certified.until(),
        registered,
    };
    global.format().print(&said, |said| {
        let told = said.registered.map_or_else(
            || "the cluster learns of it with its first manifest".to_owned(),
            |registered| format!("the cluster knows it since log index {}", registered.index),
        );
        format!("{} may burn {} units of {} until {}; {told}", said.station, said.quota, said.lot, said.until)
    })
}

async fn register_certificate(
    global: &Global,
    certificate: &Path,
    factory_key: Option<PathBuf>,
) -> Result<()> {
    let factory_key = match factory_key {
        Some(path) => path,
        None => factory_dir(global, None)?.join(FACTORY_PUBLIC_FILE),
    };
    let factory = load_factory_public(&factory_key)?;
    let station = load_certificate(certificate)?
        .verify(&factory)
        .map_err(|error| coded(USAGE, format!("{}: {error}", certificate.display())))?;
    let registered = register(&global.api()?, &station, &factory).await?;
    global.format().print(&registered, |registered| {
        format!("the cluster knows {} since log index {}", registered.station, registered.index)
    })
}

/// Tells the cluster of a certified station.
pub(crate) async fn register(
    api: &Api,
    station: &CertifiedStation,
    factory: &PublicKey,
) -> Result<Certified> {
    let request = CertifyStation {
        certificate: Base64(station.certificate().encode().to_vec()),
        factory_key: Base64(factory.as_bytes().to_vec()),
    };
    api.post("/v1/stations", &request).await
}

#[derive(Serialize)]
struct Equipped {
    lot: LotId,
    cluster: events::ids::ClusterId,
}

fn equip(global: &Global, dir: &Path, firmware: &Path, cluster: &Path) -> Result<()> {
    let (firmware, cluster) = (load_firmware(firmware)?, load_cluster_public(cluster)?);
    setup::equip(dir, &firmware, &cluster)?;
    let said = Equipped { lot: firmware.lot, cluster: cluster.cluster };
    global.format().print(&said, |said| format!("ready to burn {} for {}", said.lot, said.cluster))
}

#[derive(Serialize)]
struct Burned {
    unit: u32,
    device: DeviceId,
    record: RecordDigest,
    at: Timestamp,
    resumed: bool,
}

fn burn(global: &Global, arguments: &BurnArguments) -> Result<()> {
    let consent = match arguments.burn_permanently {
        true => BurnConsent::Permanently,
        false => BurnConsent::DevelopmentOnly,
    };
    let unit = arguments.terminal.with_terminal(|station, terminal| {
        Ok(station.burn_unit(terminal, consent, &mut EntropyRng(&OsEntropy), now())?)
    })?;
    let said = Burned {
        unit: unit.unit,
        device: unit.device,
        record: unit.record,
        at: unit.at,
        resumed: unit.resumed,
    };
    global.format().print(&said, |said| {
        let resumed = if said.resumed { " (before the interruption)" } else { "" };
        format!(
            "unit {} is {}, burned at {}{resumed}, read back and written down",
            said.unit, said.device, said.at
        )
    })
}

#[derive(Serialize)]
struct Verified {
    unit: u32,
    device: DeviceId,
    record: RecordDigest,
    station: StationId,
    passes: bool,
    mismatched: Vec<ComponentKind>,
}

fn verify(global: &Global, arguments: &TerminalArguments) -> Result<()> {
    let unit = arguments.with_terminal(|station, terminal| {
        station.verify_unit(terminal).map_err(|error| coded(NOT_HELD, error.to_string()))
    })?;
    let said = Verified {
        unit: unit.unit,
        device: unit.device,
        record: unit.record,
        station: unit.station,
        passes: unit.passes,
        mismatched: unit.mismatched,
    };
    global.format().print(&said, |said| {
        let result =
            if said.passes { "its boot check will be full" } else { "its boot check will be RESTRICTED" };
        let mismatched: Vec<_> = said.mismatched.iter().map(|kind| kind.as_str()).collect();
        let differ =
            if mismatched.is_empty() { String::new() } else { format!("; {} differ", mismatched.join(", ")) };
        format!("unit {} of {} is {}: {result}{differ}", said.unit, said.station, said.device)
    })?;
    if said.passes { Ok(()) } else { Err(answered(NOT_HELD, "the terminal's boot check will be restricted")) }
}

#[derive(Serialize)]
struct Exported {
    manifest: u32,
    units: usize,
    left: usize,
    file: PathBuf,
}

fn export(global: &Global, dir: &Path, out: &Path, again: Option<u32>) -> Result<()> {
    let mut station = Station::open(dir, now())?;
    let exported = station.export_into(out, again, &mut EntropyRng(&OsEntropy), now())?;
    let said = Exported {
        manifest: exported.number,
        units: exported.units.len(),
        left: exported.left,
        file: out.to_owned(),
    };
    global.format().print(&said, |said| {
        let more = if said.left > 0 {
            format!("; {} did not fit, export once more", said.left)
        } else {
            String::new()
        };
        format!(
            "manifest {} with {} units in {}{more}\nNext: muster manifest import {0}",
            said.manifest,
            said.units,
            said.file.display()
        )
    })
}

fn give_up(global: &Global, dir: &Path) -> Result<()> {
    let unit = Station::open(dir, now())?.give_up(now())?;
    global.format().print(&unit, |unit| match unit {
        Some(unit) => format!("unit {unit} is voided; scrap its terminal if it ever turns up"),
        None => "no unit is unfinished".to_owned(),
    })
}

/// A day (its end, in UTC) or a moment (RFC 3339).
pub(super) fn parse_date(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == "2027-12-31".len() { format!("{text}T23:59:59Z") } else { text.to_owned() };
    let moment =
        humantime::parse_rfc3339(&whole).map_err(|e| format!("{e}; expected a date such as 2027-12-31"))?;
    let since = moment.duration_since(std::time::UNIX_EPOCH).map_err(|_| "a date before 1970".to_owned())?;
    Ok(Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_means_its_end() {
        assert_eq!(parse_date("2026-11-22").unwrap().to_string(), "2026-11-22T23:59:59.000Z");
        assert_eq!(parse_date("2026-11-22T19:03:23Z").unwrap().to_string(), "2026-11-22T19:03:23.000Z");
        assert!(parse_date("tomorrow").is_err());
    }
}
