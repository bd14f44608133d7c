//! The red team at work: all attacks at the same time, each until the cluster has found it.

use super::agents::{AgentHome, AgentPlan, RunningAgent};
use super::attack::{Guessed, Guesser, Replayer, copied_terminal, copy_record};
use super::cast::Cast;
use super::factory::{Burned, BurnedTerminal};
use super::nats::User;
use super::report::Check;
use super::sources;
use super::tap::Tap;
use crate::api::Api;
use anyhow::{Context as _, Result};
use events::ids::{DeviceId, RegionName, SourceId};
use events::keyring::ClusterPublic;
use events::vocabulary::shared::{FlagKind, Legitimacy};
use nodes::api::shapes::DeviceDetail;
use projector::view::{FlagSubject, FlagView};
use provisioning::lot::load_firmware;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a finding may take from the start of its attack, beyond what is left of the beating.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
const REPLAY_EVERY: Duration = Duration::from_millis(400);
const GUESS_EVERY: Duration = Duration::from_millis(150);

/// What the red team has, and what it knows.
pub struct RedTeam<'a> {
    pub cast: &'a Cast,
    pub dir: &'a Path,
    pub region: &'a RegionName,
    pub burned: &'a Burned,
    pub public: &'a ClusterPublic,
    pub users: &'a BTreeMap<String, User>,
    pub agents: &'a [(AgentHome, RunningAgent)],
    pub agent_plan: &'a AgentPlan,
    pub tap: &'a Tap,
    /// To see what the cluster found.
    pub api: Api,
}

/// What the attackers left behind.
pub struct Attacks {
    pub copied: DeviceId,
    pub copy: RunningAgent,
    pub board: RunningAgent,
    pub checks: Vec<Check>,
}

impl RedTeam<'_> {
    /// Attacks from `beating` on; every attack ends when it was found, or late.
    pub async fn attack(&self, beating: Instant, beat_for: Duration, say: &dyn Fn(&str)) -> Result<Attacks> {
        let at = |part: f64| tokio::time::sleep_until((beating + beat_for.mul_f64(part)).into());
        let give_up = beating + beat_for + FOUND_WITHIN;
        let board = async {
            at(0.02).await;
            self.another_board(give_up, say).await
        };
        let copy = async {
            at(0.06).await;
            self.complete_copy(give_up, say).await
        };
        let guess = async {
            at(0.10).await;
            self.guess(give_up, say).await
        };
        let replay = async {
            at(0.20).await;
            self.replay(give_up, say).await
        };
        let ((board, mut checks), (copy, copied_checks), guessed, replayed) =
            tokio::try_join!(board, copy, guess, replay)?;
        checks.extend(copied_checks);
        checks.extend(guessed);
        checks.extend(replayed);
        Ok(Attacks { copied: self.copied()?.0.device, copy, board, checks })
    }

    fn copied(&self) -> Result<&(AgentHome, RunningAgent)> {
        self.agents.get(self.cast.copied).context("the cast names an agent that is not there")
    }

    fn terminal(&self, index: usize) -> Result<&BurnedTerminal> {
        self.burned.terminals.get(index).context("the cast names a terminal that is not there")
    }

    /// What the log calls the source of a user.
    fn source(&self, user: &User) -> Result<SourceId> {
        Ok(SourceId::new(self.region, &user.name.parse()?))
    }

    fn user(&self, name: &str) -> Result<&User> {
        self.users.get(name).with_context(|| format!("there is no NATS user {name}"))
    }

    async fn another_board(
        &self,
        give_up: Instant,
        say: &dyn Fn(&str),
    ) -> Result<(RunningAgent, Vec<Check>)> {
        let victim = self.terminal(self.cast.record_of)?;
        say(&format!("the OTP record of {} is copied onto another board", victim.device));
        let dir = self.dir.join("red-team/board");
        let copied = copy_record(self.agent_plan, victim, &dir, self.user(sources::BOARD)?).await?;
        let subject = FlagSubject::Record(victim.record);
        let found = self.find(FlagKind::Tamper, &subject, give_up).await?;
        let checks = vec![
            Check::new(!copied.passed, "the boot check of a copied record ends restricted"),
            Check::new(found.is_some(), "`tamper` is raised on the copied record"),
        ];
        Ok((copied.agent, checks))
    }

    async fn complete_copy(
        &self,
        give_up: Instant,
        say: &dyn Fn(&str),
    ) -> Result<(RunningAgent, Vec<Check>)> {
        let (victim, _running) = self.copied()?;
        let source = if self.cast.copy_shares_connection { &victim.source } else { sources::COPIER };
        say(&format!("{} is copied completely; the copy speaks as {source}", victim.device));
        let copy = copied_terminal(victim, &self.dir.join("red-team/copy"), self.user(source)?)?;
        let subject = FlagSubject::Device(victim.device);
        let found = self.find(FlagKind::Clone, &subject, give_up).await?;
        let evidence = found.map_or(0, |flag| flag.evidence.len());
        let restricted = self.becomes_restricted(victim.device, give_up).await?;
        let checks = vec![
            Check::new(
                evidence >= 2,
                format!("`clone` is raised on the copied terminal with {evidence} indices"),
            ),
            Check::new(restricted, "the copied terminal is restricted"),
        ];
        Ok((copy, checks))
    }

    async fn guess(&self, give_up: Instant, say: &dyn Fn(&str)) -> Result<Vec<Check>> {
        let owned = self.cast.guessers.iter().map(|&index| self.terminal(index).cloned());
        let owned = owned.collect::<Result<Vec<_>>>()?;
        say(&format!("{} guesses codes with {} terminals of its own", sources::GUESSER, owned.len()));
        let firmware = load_firmware(&self.burned.firmware)?;
        let user = self.user(sources::GUESSER)?;
        let mut guesser = Guesser::connect(
            &self.agent_plan.nats_url,
            user,
            sources::GUESSER_TOKEN,
            self.region,
            self.public,
            &firmware,
            &owned,
        )
        .await?;
        let subject = FlagSubject::Source(self.source(user)?);
        let mut granted = 0;
        let mut found = None;
        while found.is_none() && Instant::now() < give_up {
            if guesser.guess().await? == Guessed::Granted {
                granted += 1;
            }
            found = self.flag(FlagKind::CodeBruteforce, &subject).await?;
            tokio::time::sleep(GUESS_EVERY).await;
        }
        Ok(vec![
            Check::new(granted == 0, format!("{granted} made-up codes were accepted")),
            Check::new(found.is_some(), "`code_bruteforce` is raised on the guessing source"),
        ])
    }

    async fn replay(&self, give_up: Instant, say: &dyn Fn(&str)) -> Result<Vec<Check>> {
        let victim = self.terminal(self.cast.replayed)?.device;
        say(&format!("heartbeats of {victim} are captured, and sent again by {}", sources::REPLAYER));
        let user = self.user(sources::REPLAYER)?;
        let mut replayer = Replayer::connect(&self.agent_plan.nats_url, user, self.region, victim).await?;
        let subject = FlagSubject::Source(self.source(user)?);
        let mut found = None;
        let mut sent = 0;
        while found.is_none() && Instant::now() < give_up {
            sent = replayer.replay(self.tap).await?;
            found = self.flag(FlagKind::Replay, &subject).await?;
            tokio::time::sleep(REPLAY_EVERY).await;
        }
        Ok(vec![Check::new(found.is_some(), format!("`replay` is raised on the source of {sent} replays"))])
    }

    /// Waits for an open flag.
    async fn find(
        &self,
        kind: FlagKind,
        subject: &FlagSubject,
        give_up: Instant,
    ) -> Result<Option<FlagView>> {
        loop {
            let found = self.flag(kind, subject).await?;
            if found.is_some() || Instant::now() > give_up {
                return Ok(found);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn flag(&self, kind: FlagKind, subject: &FlagSubject) -> Result<Option<FlagView>> {
        let flags = crate::cli::flag::all_flags(&self.api, true).await?;
        Ok(flags.into_iter().find(|flag| flag.kind == kind && flag.subject == *subject))
    }

    async fn becomes_restricted(&self, device: DeviceId, give_up: Instant) -> Result<bool> {
        loop {
            let detail: DeviceDetail = self.api.get(&format!("/v1/devices/{device}")).await?;
            let restricted = detail.summary.legitimacy == Legitimacy::Restricted;
            if restricted || Instant::now() > give_up {
                return Ok(restricted);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
