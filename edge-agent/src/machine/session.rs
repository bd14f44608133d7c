//! From a sealed grant to a session on flash, and from flash to the keys of a running one.

use super::core::{Core, Refusals, World};
use super::effects::{AgentEvent, SessionOrigin};
use super::license;
use super::saved::SavedSession;
use events::envelope::answer::GrantBody;
use events::envelope::session::EpochBinding;
use events::envelope::{ResumptionSecret, SessionKeys, SuiteSet};
use events::ids::DeviceId;

/// The grant names a suite that this terminal never offered: not taken, whoever sealed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Downgrade;

/// What both sides bind the new epoch's secret to.
pub(super) fn binding(
    grant: &GrantBody,
    offered: SuiteSet,
    device: DeviceId,
) -> Result<EpochBinding, Downgrade> {
    if !offered.contains(grant.suite) {
        return Err(Downgrade);
    }
    Ok(EpochBinding { device, epoch: grant.epoch, offered, suite: grant.suite })
}

/// Puts the granted epoch on flash as `next`, beside everything else that the grant says. Nothing leaves before it
/// is durable (protocol.md rule 5).
pub(super) fn take_grant(
    grant: &GrantBody,
    secret: &ResumptionSecret,
    origin: SessionOrigin,
    core: &mut Core,
    world: &World<'_>,
) {
    if origin != SessionOrigin::Resume
        && let Some(spoken) = core.saved.next.take_if(|_| core.saved.next_spoken)
    {
        // The new root stands beside the session before it. If the cluster heard of that one, then not of its parent.
        core.saved.keep(spoken);
    }
    core.saved.next_spoken = false;
    core.saved.next = Some(SavedSession {
        epoch: grant.epoch,
        suite: grant.suite,
        generation: grant.generation,
        resumption: secret.as_bytes().to_vec().into(),
    });
    core.saved.epoch_highest = core.saved.epoch_highest.max(grant.epoch);
    match &grant.license_token {
        Some(token) => license::receive(token, grant.lease, grant.stamp, core),
        // 0 says nothing: what is held stays.
        None if grant.lease == 0 => {}
        None => core.saved.lease = grant.lease,
    }
    core.raise_time_floor(grant.stamp, world.now);
    core.learn_legitimacy(grant.legitimacy);
    core.refusals = Refusals::default();
    core.ticket_refusals = 0;
    if origin != SessionOrigin::Resume {
        core.rekey_owed = false;
    }
    core.rekey_due = core.rekey_due.filter(|_| core.rekey_owed);
    core.saved.spool.interval_millis = u64::from(grant.interval_millis);
    core.must_persist();
    core.events.push_back(AgentEvent::Granted {
        epoch: grant.epoch,
        origin,
        suite: grant.suite,
        interval_millis: u64::from(grant.interval_millis),
    });
}

impl SavedSession {
    /// None if flash holds something that is no secret.
    pub fn secret(&self) -> Option<ResumptionSecret> {
        ResumptionSecret::try_from(self.resumption.as_slice()).ok()
    }
}

pub(super) fn keys(secret: &ResumptionSecret, binding: &EpochBinding) -> SessionKeys {
    secret.session_keys(binding.device, binding.epoch, binding.suite)
}
