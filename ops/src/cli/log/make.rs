//! `muster log make`: a log to measure with.

use crate::cli::Global;
use crate::cli::interrupt::Interrupt;
use crate::cli::progress::Progress;
use crate::exit::{USAGE, coded};
use crate::made::{LogPlan, MadeLog, PlanError, Written, make};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// Write the log of a fleet that never was, by the writer that nodes use: for measuring.
///
/// The new folder is a node's data directory, as `muster replay`, `log verify` and `log stat` read them; the keyring
/// lies beside it. Every device is burned, imported, activated with its code and heard; then all of them beat once per
/// interval, in an order that jitters. One beat in about a thousand is lost, late, repeated, roams, tells of a clock
/// that went back, or comes after a reboot or an outage. The same numbers and seed give the same state digest on every
/// machine; keys are fresh. Keys and secrets of devices are random bytes: no terminal could use them.
///
///   muster log make --devices 10000 --heartbeats 1000000 --out /tmp/fleet
///   muster replay --data /tmp/fleet --keyring /tmp/fleet.keyring.json
///
/// A device takes about 1.4 kB of log until it beats, a heartbeat about 21 bytes.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct MakeArguments {
    /// Devices of the fleet
    #[arg(long, value_name = "N")]
    devices: u32,
    /// Routine heartbeats of all devices together
    #[arg(long, value_name = "M")]
    heartbeats: u64,
    /// The data folder to make; it appears whole or not at all
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The keyring to make [default: DIR.keyring.json]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Heartbeats of one entry: a busy cluster has many in each, an idle one few
    #[arg(long, value_name = "N", default_value_t = 256)]
    batch: u32,
    /// Each device beats once in so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    interval: u32,
    /// What happens to whom follows from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Say how far it is, also with --json and without a terminal
    #[arg(long)]
    progress: bool,
}

pub(super) fn run(global: &Global, arguments: MakeArguments) -> Result<()> {
    let MakeArguments { devices, heartbeats, out, keyring, batch, interval, seed, progress } = arguments;
    let plan = LogPlan { devices, heartbeats, batch, interval_seconds: interval, seed };
    plan.check().map_err(|error: PlanError| coded(USAGE, error.to_string()))?;
    let keyring = keyring.unwrap_or_else(|| {
        let mut name = out.as_os_str().to_owned();
        name.push(".keyring.json");
        PathBuf::from(name)
    });
    let interrupt = Interrupt::watch("nothing was written")?;
    let total = u64::from(devices) + heartbeats;
    let mut bar = Progress::counting(global, progress, total);
    let made = make(&plan, &out, &keyring, |written: Written| {
        let Written { devices, heartbeats } = written;
        bar.at(u64::from(devices) + heartbeats, || {
            format!("written: {devices} devices, {heartbeats} heartbeats")
        });
        interrupt.check()
    });
    bar.end();
    global.format().print(&made?, human)
}

fn human(made: &MadeLog) -> String {
    let (data, keyring) = (made.data.display(), made.keyring.display());
    format!(
        "made        {data}: {} devices, {} heartbeats and {} other events in {} entries, {} bytes, in {:.1} s\n\
         keyring     {keyring}\n\
         log time    until {}\n\
         fold it     muster replay --data {data} --keyring {keyring}",
        made.devices, made.heartbeats, made.events, made.entries, made.bytes, made.seconds, made.until,
    )
}
