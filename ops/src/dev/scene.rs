//! The scene: honest terminals beat, a red team does its worst, the leader dies, and then the logs are asked.

use super::cluster::DevCluster;
use super::evidence::{self, Evidence};
use super::red_team::{Attacks, RedTeam};
use super::report::{Check, DeviceCounts, FlagCounts, HeartbeatCounts, LicenseCounts, Report};
use super::stage::{Programs, Stage, set_up};
use super::tap::HeartbeatName;
use super::{DevPlan, sources};
use anyhow::{Context as _, Result, bail};
use events::ids::DeviceId;
use events::vocabulary::shared::{FlagKind, Legitimacy};
use nodes::api::shapes::{Cursor, DevicePage};
use projector::view::{DeviceSummary, FlagSubject, FlagView, LicenseState};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const ALL_LEGITIMATE_WITHIN: Duration = Duration::from_secs(30);
/// The killed leader stays away this long.
const LEADER_AWAY: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
/// Devices asked for at once.
const PAGE: usize = 1_000;

/// The leader's death.
struct Death {
    at: Instant,
    /// The term that ended with it.
    term: u64,
}

/// Plays the scene and reports; an error means that it could not be played at all.
pub async fn play(plan: &DevPlan, say: &dyn Fn(&str)) -> Result<Report> {
    let started = Instant::now();
    let programs = Programs::find()?;
    let dir = plan.prepare_dir()?;
    let mut stage = set_up(&programs, plan, &dir, say).await?;
    stage.wait_until_all_legitimate(ALL_LEGITIMATE_WITHIN).await?;

    say(&format!("all {} terminals are legitimate; the red team begins", plan.devices));
    let beating = Instant::now();
    let (attacks, death) = perform(&mut stage, beating, plan.beat_for, say).await?;
    tokio::time::sleep_until((beating + plan.beat_for).into()).await;

    say("the terminals fall silent; reading the nodes' states and logs");
    let mut report = conclude(&mut stage, attacks, &death, plan).await?;
    report.seconds = started.elapsed().as_secs_f64();
    report.judge(plan.devices, plan.beat_for.as_secs_f64());
    Ok(report)
}

/// The red team and the leader's death, at the same time.
async fn perform(
    stage: &mut Stage,
    beating: Instant,
    beat_for: Duration,
    say: &dyn Fn(&str),
) -> Result<(Attacks, Death)> {
    let dies_at = beating + beat_for.mul_f64(stage.cast.leader_dies_at);
    let red_team = RedTeam {
        cast: &stage.cast,
        dir: &stage.dir,
        region: &stage.region,
        burned: &stage.burned,
        public: &stage.public,
        users: &stage.users,
        agents: &stage.agents,
        agent_plan: &stage.agent_plan,
        tap: &stage.tap,
        api: stage.cluster.api.clone(),
    };
    tokio::try_join!(red_team.attack(beating, beat_for, say), kill_leader(&mut stage.cluster, dies_at, say))
}

/// Kills whoever leads at `dies_at`, and starts it again a while later.
async fn kill_leader(cluster: &mut DevCluster, dies_at: Instant, say: &dyn Fn(&str)) -> Result<Death> {
    tokio::time::sleep_until(dies_at.into()).await;
    let leader = wait_for_leader(cluster).await?;
    // The term that it led in: another node may stand for the next one already.
    let statuses = cluster.statuses().await;
    let own = statuses.iter().find(|status| status.node == leader).or(statuses.first());
    let term = own.context("no node answers")?.term;
    cluster.kill(leader)?;
    let at = Instant::now();
    say(&format!("node {leader}, the leader, was killed"));
    tokio::time::sleep(LEADER_AWAY).await;
    cluster.start(leader)?;
    say(&format!("node {leader} was started again"));
    Ok(Death { at, term })
}

async fn wait_for_leader(cluster: &DevCluster) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(leader) = cluster.leader().await {
            return Ok(leader);
        }
        if Instant::now() > deadline {
            bail!("there is no leader to kill");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Stops everybody, then asks the nodes.
async fn conclude(stage: &mut Stage, mut attacks: Attacks, death: &Death, plan: &DevPlan) -> Result<Report> {
    let mut acknowledged = BTreeSet::new();
    for (home, agent) in &mut stage.agents {
        agent.stop().await?;
        acknowledged.extend(agent.acknowledged(home.device)?);
    }
    attacks.copy.stop().await?;
    attacks.board.stop().await?;
    // What the cluster promised to a copy it must keep as well.
    acknowledged.extend(attacks.copy.acknowledged(attacks.copied)?);
    let crowd = stage.crowd.stop().await?;
    acknowledged.extend(crowd.iter().map(|acknowledgement| acknowledgement.name));

    let evidence = evidence::gather(&stage.cluster).await?;
    let devices = devices(stage).await?;
    let flags = crate::cli::flag::all_flags(&stage.cluster.api, true).await?;

    let takeover = evidence.first_after_term(death.term);
    let next_verdict = crowd
        .iter()
        .filter(|acknowledgement| takeover.is_some_and(|index| acknowledgement.index >= index))
        .map(|acknowledgement| acknowledgement.at)
        .min();
    let failover = next_verdict.map(|at| at.saturating_duration_since(death.at));
    let dishonest = dishonest(stage, &attacks);
    let mut checks = attacks.checks;
    checks.push(Check::new(failover.is_some(), "a verdict of a new leader arrived after the kill"));
    checks.push(flags_of_honest_sources(stage, &flags));
    checks.extend(victims_unharmed(stage, &devices));
    Ok(Report {
        ok: false,
        nodes: plan.nodes,
        leader_kills: 1,
        failover_ms: failover.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        devices: count_devices(&devices),
        licenses: LicenseCounts { active: active_licenses(&evidence) },
        heartbeats: count_heartbeats(stage, &evidence, &acknowledged),
        flags: count_flags(&flags),
        wrongly_flagged: count_wrongly_flagged(&devices, &dishonest),
        state_digests_equal: evidence.digests_equal(),
        seconds: 0.0,
        seed: plan.seed,
        not_held: Vec::new(),
        checks,
    })
}

async fn devices(stage: &Stage) -> Result<Vec<DeviceSummary>> {
    let mut devices = Vec::new();
    let mut query = vec![("limit", PAGE.to_string())];
    loop {
        let page: DevicePage = stage.cluster.api.get_where("/v1/devices", &query).await?;
        devices.extend(page.devices);
        let Some(Cursor(next)) = page.next else { return Ok(devices) };
        query.truncate(1);
        query.push(("after", next));
    }
}

/// Devices that somebody dishonest holds, or holds as well.
fn dishonest(stage: &Stage, attacks: &Attacks) -> BTreeSet<DeviceId> {
    let owned = stage.cast.guessers.iter().filter_map(|&index| stage.burned.terminals.get(index));
    owned.map(|terminal| terminal.device).chain([attacks.copied]).collect()
}

fn count_devices(devices: &[DeviceSummary]) -> DeviceCounts {
    let of =
        |wanted| u32::try_from(devices.iter().filter(|d| d.legitimacy == wanted).count()).unwrap_or(u32::MAX);
    DeviceCounts {
        burned: u32::try_from(devices.len()).unwrap_or(u32::MAX),
        legitimate: of(Legitimacy::Legitimate),
        suspect: of(Legitimacy::Suspect),
        restricted: of(Legitimacy::Restricted),
    }
}

fn active_licenses(evidence: &Evidence) -> u32 {
    let active = evidence.statuses.iter().map(|status| status.counts.licenses.get(&LicenseState::Active));
    active.map(|count| count.copied().unwrap_or(0)).min().unwrap_or(0)
}

fn count_heartbeats(
    stage: &Stage,
    evidence: &Evidence,
    acknowledged: &BTreeSet<HeartbeatName>,
) -> HeartbeatCounts {
    let shops = (1..=stage.agents.len()).map(sources::shop);
    let senders: Vec<String> = shops.chain([sources::FLEET, sources::COPIER].map(str::to_owned)).collect();
    let found = evidence.found_in_every_log(acknowledged);
    HeartbeatCounts {
        sent: stage.tap.sent_by(&senders).len() as u64,
        acknowledged: acknowledged.len() as u64,
        found_in_log: found as u64,
        lost: (acknowledged.len() - found) as u64,
    }
}

fn count_flags(flags: &[FlagView]) -> FlagCounts {
    let of =
        |wanted| u32::try_from(flags.iter().filter(|flag| flag.kind == wanted).count()).unwrap_or(u32::MAX);
    FlagCounts {
        clone: of(FlagKind::Clone),
        replay: of(FlagKind::Replay),
        code_bruteforce: of(FlagKind::CodeBruteforce),
        tamper: of(FlagKind::Tamper),
    }
}

fn count_wrongly_flagged(devices: &[DeviceSummary], dishonest: &BTreeSet<DeviceId>) -> u32 {
    let honest = devices.iter().filter(|device| !dishonest.contains(&device.device));
    let wrong =
        honest.filter(|device| device.legitimacy != Legitimacy::Legitimate || !device.flags.is_empty());
    u32::try_from(wrong.count()).unwrap_or(u32::MAX)
}

/// No source of honest terminals may carry a flag; the one that a copy shares is no longer honest.
fn flags_of_honest_sources(stage: &Stage, flags: &[FlagView]) -> Check {
    let shared = stage.cast.copy_shares_connection.then(|| sources::shop(stage.cast.copied + 1));
    let honest = (1..=stage.agents.len()).map(sources::shop).filter(|shop| Some(shop) != shared.as_ref());
    let in_log = |name: String| format!("{}.{name}", stage.region);
    let honest: BTreeSet<String> = honest.chain([sources::FLEET.to_owned()]).map(in_log).collect();
    let wrong: Vec<String> = flags
        .iter()
        .filter(
            |flag| matches!(&flag.subject, FlagSubject::Source(source) if honest.contains(source.as_str())),
        )
        .map(|flag| format!("{} on {}", flag.kind, flag.subject))
        .collect();
    Check::new(wrong.is_empty(), format!("no honest source is flagged: {}", wrong.join(", ")))
}

/// Those whose record was copied or whose heartbeats were replayed pass muster as before.
fn victims_unharmed(stage: &Stage, devices: &[DeviceSummary]) -> Vec<Check> {
    let cast = &stage.cast;
    let victims = [(cast.replayed, "heartbeats were replayed"), (cast.record_of, "OTP record was copied")];
    let victims =
        victims.into_iter().filter(|(index, _)| *index != cast.copied && !cast.guessers.contains(index));
    victims
        .map(|(index, what)| {
            let device = stage.burned.terminals.get(index).map(|terminal| terminal.device);
            let found = devices.iter().find(|summary| Some(summary.device) == device);
            let unharmed =
                found.is_some_and(|d| d.legitimacy == Legitimacy::Legitimate && d.flags.is_empty());
            Check::new(unharmed, format!("the terminal whose {what} passes muster as before"))
        })
        .collect()
}
