//! The terminals that are not real agents: one fleet in a task of its own, as the stage uses it.

use super::factory::BurnedTerminal;
use super::nats::User;
use super::tap::HeartbeatName;
use crate::fleet::{self, Counters, FleetConnection, FleetError, FleetOptions, FleetReport, TerminalSpec};
use anyhow::{Context as _, Result};
use edge_agent::machine::Settings;
use events::identity::lot::LotFirmware;
use events::ids::{LogIndex, RegionName};
use events::keyring::ClusterPublic;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// After the stop, so long is waited for verdicts that are under way.
const DRAIN: Duration = Duration::from_secs(5);
/// Terminals boot spread over this long, each.
const RAMP_MILLIS_PER_TERMINAL: u64 = 10;

/// What the crowd is made of.
pub struct CrowdPlan<'a> {
    pub nats_url: String,
    pub user: &'a User,
    pub token: &'a str,
    pub region: &'a RegionName,
    pub cluster: &'a ClusterPublic,
    pub firmware: &'a LotFirmware,
    pub terminals: &'a [BurnedTerminal],
    /// One for each terminal, in the same order.
    pub codes: &'a [String],
}

/// A heartbeat for which a verdict verified, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub name: HeartbeatName,
    pub index: LogIndex,
    pub at: Instant,
}

/// A running fleet.
pub struct Crowd {
    counters: Arc<Mutex<Counters>>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<FleetReport, FleetError>>>,
}

impl Crowd {
    /// Boots every terminal; each types its code when it is asked for one.
    pub fn start(plan: CrowdPlan<'_>) -> Result<Self> {
        let specs = plan.terminals.iter().zip(plan.codes).map(|(terminal, code)| spec(terminal, Some(code)));
        let specs = specs.collect::<Result<Vec<_>>>()?;
        let options = FleetOptions {
            connection: FleetConnection {
                url: plan.nats_url,
                user: plan.user.name.clone(),
                password: Zeroizing::new(plan.user.password.clone()),
                authority: None,
                region: plan.region.clone(),
                source: plan.user.name.parse().context("the fleet's source")?,
                token: plan.token.to_owned(),
                traces_file: None,
            },
            cluster: Arc::new(plan.cluster.clone()),
            firmware: Arc::new(plan.firmware.clone()),
            settings: impatient(),
            ramp: Duration::from_millis(RAMP_MILLIS_PER_TERMINAL * specs.len() as u64),
            state_dir: None,
            drain: DRAIN,
            progress_every: Duration::from_millis(500),
        };
        let (stop, stopped) = oneshot::channel();
        let counters = Arc::new(Mutex::new(Counters::default()));
        let shared = counters.clone();
        let running = tokio::spawn(async move {
            let until_stopped = async {
                // A sender that is gone stops the fleet too.
                let _ = stopped.await;
            };
            fleet::run(options, specs, until_stopped, |counters| *shared.lock() = counters.clone()).await
        });
        Ok(Crowd { counters, stop: Some(stop), running: Some(running) })
    }

    /// What the fleet counted, as of half a second ago.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.lock().clone()
    }

    /// Lets what is under way be answered, and ends; every acknowledgement in the order of its arrival.
    pub async fn stop(&mut self) -> Result<Vec<Acknowledgement>> {
        drop(self.stop.take());
        let running = self.running.take().context("the fleet was stopped before")?;
        let report = running.await.context("the fleet's task")?.context("the fleet")?;
        let acknowledgements = report.acknowledged.into_iter().map(|acknowledged| Acknowledgement {
            name: (acknowledged.device, acknowledged.epoch, acknowledged.sequence),
            index: acknowledged.index,
            at: acknowledged.at,
        });
        Ok(acknowledgements.collect())
    }
}

/// A terminal as it left the factory, with the code that its owner bought.
pub fn spec(terminal: &BurnedTerminal, code: Option<&String>) -> Result<TerminalSpec> {
    let fingerprint = crate::cli::terminal::read_fingerprint(&terminal.components())?;
    let record =
        std::fs::read(terminal.otp()).with_context(|| format!("reading {}", terminal.otp().display()))?;
    Ok(TerminalSpec {
        record,
        fuse_secret: None,
        components: fingerprint.components().to_vec(),
        code: code.map(|code| code.parse()).transpose().context("an activation code")?,
        snapshot: None,
    })
}

/// Terminals of the development cluster retry soon: it is watched, and its scene is short.
fn impatient() -> Settings {
    Settings { reply_timeout: 1_000, backoff_first: 200, backoff_max: 2_000, ..Settings::default() }
}
