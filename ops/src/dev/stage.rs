//! The stage that both the scene and the live development cluster stand on: files, factory, NATS, nodes, terminals.
//!
//! ```text
//!   lay out the cluster ─▶ burn the lot (offline) ─▶ nats-server ─▶ nodes ─▶ import, codes ─▶ agents and fleet
//! ```

use super::agents::{AgentHome, AgentPlan, RunningAgent, Said};
use super::attack;
use super::cast::Cast;
use super::cluster::{DevCluster, DevClusterPlan};
use super::crowd::{Crowd, CrowdPlan};
use super::factory::{Burned, BurnedTerminal, burn_lot};
use super::nats::{self, NatsServer, Permissions, User};
use super::tap::Tap;
use super::{DevPlan, ports, sources};
use crate::api::Api;
use crate::cli::{code, manifest};
use crate::context::Context;
use anyhow::{Context as _, Result, bail, ensure};
use events::ids::{DeviceId, RegionName};
use events::keyring::ClusterPublic;
use events::vocabulary::license::Plan;
use nodes::entropy::{EntropyRng, OsEntropy};
use provisioning::ceremony::load_cluster_public;
use provisioning::codes::{IssuedCodes, Sold};
use provisioning::lot::load_firmware;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often terminals beat on this stage.
const HEARTBEAT_MILLIS: u32 = 1_000;
/// Terminals that run as real agents.
pub const AGENTS: usize = 3;

/// Everything that stands; what runs is killed when it is dropped.
pub struct Stage {
    pub dir: PathBuf,
    pub cast: Cast,
    pub region: RegionName,
    pub context_file: PathBuf,
    pub burned: Burned,
    pub public: ClusterPublic,
    pub users: BTreeMap<String, User>,
    pub agents: Vec<(AgentHome, RunningAgent)>,
    pub agent_plan: AgentPlan,
    pub crowd: Crowd,
    pub tap: Tap,
    pub cluster: DevCluster,
    pub nats: NatsServer,
}

/// The programs that a stage runs as processes.
#[derive(Clone, Debug)]
pub struct Programs {
    pub muster: PathBuf,
    pub agent: PathBuf,
    pub nats_server: PathBuf,
}

impl Programs {
    /// This program, the agent beside it, and a nats-server that is new enough.
    pub fn find() -> Result<Self> {
        let muster = std::env::current_exe().context("finding this program")?;
        Programs::of(muster, nats::find_binary(Path::new(""))?)
    }

    /// `muster`, the agent beside it, and a nats-server.
    pub fn of(muster: PathBuf, nats_server: PathBuf) -> Result<Self> {
        let agent = muster.with_file_name("muster-agent");
        for program in [&muster, &agent] {
            ensure!(
                program.is_file(),
                "there is no {}; `cargo build --workspace --bins` makes it (`./ops/dev` and `./ops/test` do so)",
                program.display()
            );
        }
        Ok(Programs { muster, agent, nats_server })
    }
}

/// Sets everything up in `dir` and starts it; `say` tells people what is going on.
pub async fn set_up(programs: &Programs, plan: &DevPlan, dir: &Path, say: &dyn Fn(&str)) -> Result<Stage> {
    let cast = Cast::draw(plan.seed, usize::try_from(plan.devices).context("too many terminals")?);
    let region: RegionName = "home".parse().context("a fixed name")?;
    let nats_address = *ports::free(1)?.first().context("no free port")?;
    let nats_url = format!("nats://{nats_address}");
    let nodes_user = sources::user(sources::NODES, Permissions::Nodes);

    say(&format!("laying out a cluster of {} nodes in {}", plan.nodes, dir.display()));
    let mut cluster = DevCluster::lay_out(&DevClusterPlan {
        muster: &programs.muster,
        dir: &dir.join("cluster"),
        nodes: plan.nodes,
        region: &region,
        nats_url: nats_url.clone(),
        nats_user: &nodes_user,
        heartbeat_millis: HEARTBEAT_MILLIS,
        otlp: plan.otlp.as_deref(),
    })?;
    let public = load_cluster_public(&cluster.files.public)?;

    say(&format!("burning {} terminals at an offline station", plan.devices));
    let burned = burn(dir, public.clone(), plan.devices).await?;

    say("starting nats-server and the nodes");
    let users = users(nodes_user, &burned, &cast);
    let nats =
        nats::start(&programs.nats_server, &dir.join("nats"), nats_address, region.as_str(), &users).await?;
    let users: BTreeMap<String, User> = users.into_iter().map(|user| (user.name.clone(), user)).collect();
    let tap = Tap::start(attack::connect(&nats_url, &users[sources::TAP]).await?, region.as_str()).await?;
    cluster.launch().await?;

    say("importing the manifest and issuing activation codes");
    import(&cluster.api, &burned).await?;
    let codes = issue_codes(&cluster.api, dir, plan.devices).await?;

    say(&format!("starting {AGENTS} agents and a fleet of {}", burned.terminals.len() - AGENTS));
    let agent_plan = AgentPlan {
        binary: programs.agent.clone(),
        region: region.clone(),
        nats_url: nats_url.clone(),
        cluster_public: cluster.files.public.clone(),
        firmware: burned.firmware.clone(),
        traces: plan.otlp.is_some(),
    };
    let agents = start_agents(&agent_plan, &burned.terminals[..AGENTS], &users, &codes[..AGENTS]).await?;
    let crowd = Crowd::start(CrowdPlan {
        nats_url,
        user: &users[sources::FLEET],
        token: sources::FLEET_TOKEN,
        region: &region,
        cluster: &public,
        firmware: &load_firmware(&burned.firmware)?,
        terminals: &burned.terminals[AGENTS..],
        codes: &codes[AGENTS..],
    })?;
    let context_file = write_context(&cluster.context, &burned, dir, plan.dir.is_none())?;
    let dir = dir.to_owned();
    Ok(Stage {
        dir,
        cast,
        region,
        context_file,
        burned,
        public,
        users,
        agents,
        agent_plan,
        crowd,
        tap,
        cluster,
        nats,
    })
}

impl Stage {
    /// Every device of the lot, in the order of their burning; the first [`AGENTS`] are real agents.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.burned.terminals.iter().map(|terminal| terminal.device)
    }

    /// Waits until every device passes muster.
    pub async fn wait_until_all_legitimate(&mut self, patience: Duration) -> Result<()> {
        use events::vocabulary::shared::Legitimacy;
        let wanted = u32::try_from(self.burned.terminals.len()).context("too many terminals")?;
        let deadline = std::time::Instant::now() + patience;
        loop {
            self.cluster.still_running()?;
            let statuses = self.cluster.statuses().await;
            let legitimate = |counts: &projector::view::Counts| {
                counts.legitimacy.get(&Legitimacy::Legitimate).copied().unwrap_or(0)
            };
            let best = statuses.iter().map(|status| legitimate(&status.counts)).max().unwrap_or(0);
            if best >= wanted {
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                bail!(
                    "only {best} of {wanted} terminals are legitimate after {patience:?}; see {}",
                    self.dir.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Burning waits for the disk all the time, so it has a thread of its own.
async fn burn(dir: &Path, public: ClusterPublic, count: u32) -> Result<Burned> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || burn_lot(&dir, &public, count, |_| {})).await.context("burning")?
}

/// Every user of the stage's nats-server.
fn users(nodes: User, burned: &Burned, cast: &Cast) -> Vec<User> {
    let mut users = vec![
        nodes,
        sources::user(sources::TAP, Permissions::Tap),
        sources::crowd_user(sources::FLEET, sources::FLEET_TOKEN),
        sources::crowd_user(sources::GUESSER, sources::GUESSER_TOKEN),
        sources::keyless_user(sources::BOARD, burned.lot),
        sources::keyless_user(sources::REPLAYER, burned.lot),
        sources::terminal_user(sources::COPIER, burned.terminals[cast.copied].device),
    ];
    for (number, terminal) in (1..).zip(&burned.terminals[..AGENTS]) {
        users.push(sources::terminal_user(&sources::shop(number), terminal.device));
    }
    users
}

/// Imports what the station exported; every unit or an error.
pub async fn import(api: &Api, burned: &Burned) -> Result<()> {
    let mut imported = 0;
    for exported in &burned.manifests {
        let report = manifest::import(api, exported, &burned.factory_key).await?;
        ensure!(report.refused.is_empty(), "units were refused at import: {:?}", report.refused);
        imported += report.imported + report.duplicate;
    }
    ensure!(imported as usize == burned.terminals.len(), "{imported} of {} imported", burned.terminals.len());
    Ok(())
}

/// Issues so many codes of one batch, keeps them in `dir/codes.csv`, and returns them.
pub async fn issue_codes(api: &Api, dir: &Path, count: u32) -> Result<Vec<String>> {
    let count = usize::try_from(count).context("too many codes")?;
    let plan = Plan {
        name: "basic".to_owned(),
        entitlements: vec!["tv".to_owned()],
        term_seconds: 365 * 86_400,
        lease_seconds: 72 * 3_600,
    };
    let sold = Sold { plan, reseller: "corner-shop".to_owned() };
    let codes = IssuedCodes::issue(sold, count, &mut EntropyRng(&OsEntropy))?;
    codes.write_csv(&dir.join("codes.csv"))?;
    code::register(api, &codes).await?;
    Ok(codes.codes.iter().map(ToString::to_string).collect())
}

async fn start_agents(
    plan: &AgentPlan,
    terminals: &[BurnedTerminal],
    users: &BTreeMap<String, User>,
    codes: &[String],
) -> Result<Vec<(AgentHome, RunningAgent)>> {
    let mut agents = Vec::new();
    for (number, (terminal, code)) in (1..).zip(terminals.iter().zip(codes)) {
        let home = AgentHome::set_up(plan, terminal, &users[&sources::shop(number)])?;
        let (passed, said) = home.boot_check().await?;
        ensure!(passed, "a terminal fresh from the factory fails its boot check: {said}");
        let mut running = home.run()?;
        running.wait_until_said("ask for a code", |said| *said == Said::CodeNeeded).await?;
        home.activate(code).await?;
        agents.push((home, running));
    }
    Ok(agents)
}

/// The context for operators' commands; the default one too, if this run lies at the default place.
fn write_context(context: &Context, burned: &Burned, dir: &Path, is_default: bool) -> Result<PathBuf> {
    let absolute = |path: &Path| std::path::absolute(path).context("finding the working directory");
    let context = Context {
        ca: absolute(&context.ca)?,
        token: context.token.as_deref().map(absolute).transpose()?,
        public: absolute(&context.public)?,
        keyring: context.keyring.as_deref().map(absolute).transpose()?,
        factory: Some(absolute(&burned.factory_dir)?),
        ..context.clone()
    };
    let own = dir.join("context.json");
    context.save(&own)?;
    if !is_default {
        return Ok(own);
    }
    let default = PathBuf::from(crate::context::DEFAULT_PATH);
    context.save(&default)?;
    Ok(default)
}
