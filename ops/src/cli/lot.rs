//! `muster lot`: production batches of devices.

use super::{Global, factory_dir};
use crate::api::Api;
use crate::output::Table;
use anyhow::Result;
use clap::{Args, Subcommand};
use events::identity::fingerprint::ComponentPolicy;
use events::identity::lot::LotFirmware;
use events::ids::LotId;
use events::vocabulary::shared::ComponentKind;
use nodes::api::shapes::{Base64, CreateLot, Done, LotList};
use nodes::entropy::{EntropyRng, OsEntropy};
use provisioning::ceremony::{FACTORY_KEY_FILE, load_factory_key};
use provisioning::lot::{FIRMWARE_FILE, Lot};
use serde::Serialize;
use std::path::PathBuf;

/// The folder of lots within the factory's directory.
pub(crate) const LOTS_FOLDER: &str = "lots";

#[derive(Subcommand)]
pub(crate) enum LotCommand {
    /// Create a lot at the factory: its id, its secret, and which hardware its terminals must have
    Create(CreateArguments),
    /// Tell the cluster of a lot before its first manifest does
    Register {
        /// The lot's folder at the factory
        #[arg(value_name = "DIR")]
        lot: PathBuf,
    },
    /// Lots and stations that the cluster knows
    List,
}

/// Create a lot at the factory: a fresh id and secret in a folder of its own. Its `lot.firmware.json` goes into the
/// lot's firmware and to its stations; it is secret.
///
/// Without a required component a record does not open at all; of the optional ones, `--threshold` must match.
#[derive(Args)]
pub(crate) struct CreateArguments {
    /// The factory's directory [default: the one that the context names]
    #[arg(long, value_name = "DIR")]
    factory: Option<PathBuf>,
    /// What the terminals of the lot are sold as
    #[arg(long, value_name = "TEXT")]
    sku: String,
    /// Components that must match, such as soc-serial
    #[arg(long, value_name = "KIND", required = true, value_delimiter = ',', value_parser = parse_component)]
    require: Vec<ComponentKind>,
    /// Components of which --threshold must match, such as emmc-cid,mac-address
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = parse_component)]
    optional: Vec<ComponentKind>,
    /// How many optional components must match
    #[arg(long, value_name = "N", default_value_t = 0)]
    threshold: u8,
    /// Tell the cluster at once
    #[arg(long)]
    register: bool,
}

#[derive(Serialize)]
struct Created {
    lot: LotId,
    firmware: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered: Option<Done>,
}

pub(crate) async fn run(global: &Global, command: LotCommand) -> Result<()> {
    match command {
        LotCommand::Create(arguments) => create(global, arguments).await,
        LotCommand::Register { lot } => {
            let lot = Lot::open(&lot)?;
            let done = register(&global.api()?, lot.firmware()).await?;
            global.format().print(&done, |done| registered(lot.firmware().lot, done))
        }
        LotCommand::List => {
            let list: LotList = global.api()?.get("/v1/lots").await?;
            global.format().print(&list, human_list)
        }
    }
}

async fn create(global: &Global, arguments: CreateArguments) -> Result<()> {
    let factory_dir = factory_dir(global, arguments.factory)?;
    let factory = load_factory_key(&factory_dir.join(FACTORY_KEY_FILE))?;
    let policy = ComponentPolicy::new(arguments.require, arguments.optional, arguments.threshold)?;
    let lots = factory_dir.join(LOTS_FOLDER);
    let lot = Lot::create(&lots, &factory, &arguments.sku, policy, &mut EntropyRng(&OsEntropy))?;
    let registered_at = match arguments.register {
        true => Some(register(&global.api()?, lot.firmware()).await?),
        false => None,
    };
    let firmware = lot.folder().join(FIRMWARE_FILE);
    let said = Created { lot: lot.firmware().lot, firmware, registered: registered_at };
    global.format().print(&said, |said| {
        let told = said.registered.as_ref().map_or_else(
            || format!("Next: muster lot register {}", lot.folder().display()),
            |done| registered(said.lot, done),
        );
        format!("lot {}; secret firmware file {}\n{told}", said.lot, said.firmware.display())
    })
}

/// Tells the cluster of a lot. The lot secret stays at the factory; its key for tamper reports goes.
pub(crate) async fn register(api: &Api, firmware: &LotFirmware) -> Result<Done> {
    let request = CreateLot {
        declaration: Base64(firmware.declaration.encode()),
        tamper_key: Base64(firmware.lot_secret.tamper_key(firmware.lot).as_bytes().to_vec()),
        factory_key: Base64(firmware.factory.as_bytes().to_vec()),
    };
    api.post("/v1/lots", &request).await
}

fn registered(lot: LotId, done: &Done) -> String {
    match done.duplicate {
        true => format!("the cluster knew {lot} already, since log index {}", done.index),
        false => format!("the cluster knows {lot} since log index {}", done.index),
    }
}

pub(crate) fn parse_component(text: &str) -> Result<ComponentKind, String> {
    let known = ComponentKind::ALL.iter().find(|kind| kind.as_str() == text);
    known.copied().ok_or_else(|| {
        let all: Vec<_> = ComponentKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("expected one of {}", all.join(", "))
    })
}

fn human_list(list: &LotList) -> String {
    let mut lots = Table::with_head(&["lot", "sku", "devices", "required", "optional"]);
    let names =
        |kinds: &[ComponentKind]| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",");
    for lot in &list.lots {
        lots.row([
            lot.lot.to_string(),
            lot.sku.clone(),
            lot.devices.to_string(),
            names(&lot.required),
            format!("{} of {}", lot.threshold, names(&lot.optional)),
        ]);
    }
    let mut stations = Table::with_head(&["station", "lot", "burned", "quota", "until", "revoked"]);
    for station in &list.stations {
        stations.row([
            station.station.to_string(),
            station.lot.to_string(),
            station.used.to_string(),
            station.quota.to_string(),
            station.until.to_string(),
            if station.revoked { "yes" } else { "no" }.to_owned(),
        ]);
    }
    format!("{lots}\n{stations}")
}
