//! Policy: which flag leads to which operation, with its guards. The default policy knows one ladder of one step: a
//! proven clone is restricted, without end, until a person reinstates it.
//!
//! The fold only wants; the leader orders; the order comes back through [`admit`], where the same guards stand, since
//! the state may have moved.

pub(crate) mod breaker;
mod update;

use crate::apply::step::Step;
use crate::changes::Change;
use crate::effects::{Notice, WantOperation};
use crate::outcome::Decline;
use crate::state::State;
use crate::view::{FlagSubject, FlagView};
use events::ids::{FlagId, Slot};
use events::time::Timestamp;
use events::vocabulary::operation::Cause;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};

/// In whose name automation acts.
pub(crate) const POLICY: &str = "policy";

/// What policy asks for now and nobody ordered yet, the first convicted first; nothing while the breaker is open.
#[must_use]
pub(crate) fn wanted(state: &State) -> Vec<WantOperation> {
    let open = state.index.open_flags.iter().filter(|((kind, _), _)| *kind == FlagKind::Clone);
    let mut clones: Vec<_> = open.map(|((_, subject), at)| (at, subject)).collect();
    clones.sort();
    clones.into_iter().filter_map(|(_, subject)| wanted_for(state, subject)).collect()
}

/// What policy asks for because of an open `clone` flag on this subject.
pub(crate) fn wanted_for(state: &State, subject: &FlagSubject) -> Option<WantOperation> {
    let flag = state.open_flag(FlagKind::Clone, subject)?;
    let FlagSubject::Device(device) = *subject else { return None };
    let slot = state.slot_of(&device)?;
    let ordered = state.index.ordered_for.contains(&(flag.id, OperationKind::Restrict));
    let wanted = state.settings.restrict_clones
        && !ordered
        && !state.breaker.is_open()
        && may_restrict(state, slot).is_ok();
    wanted.then_some(WantOperation {
        kind: OperationKind::Restrict,
        device,
        cause: Cause::Flag(flag.id),
        expires: Timestamp::ZERO,
    })
}

fn may_restrict(state: &State, slot: Slot) -> Result<(), Decline> {
    let (Some(row), Some(record)) = (state.rows.get(slot), state.records.get(slot)) else {
        return Err(Decline::UnknownDevice);
    };
    match row.legitimacy {
        Legitimacy::Provisioned | Legitimacy::Legitimate | Legitimacy::Suspect => {}
        Legitimacy::Restricted | Legitimacy::Revoked | Legitimacy::Retired => {
            return Err(Decline::NotApplicable);
        }
    }
    if state.stamp < record.incidents.hands_off_until { Err(Decline::CoolingDown) } else { Ok(()) }
}

/// Lets an order of automation pass, or says which guard stopped it.
pub(crate) fn admit(
    step: &mut Step<'_>,
    slot: Slot,
    kind: OperationKind,
    flag: FlagId,
) -> Result<(), Decline> {
    if kind != OperationKind::Restrict || !step.state.settings.restrict_clones {
        return Err(Decline::PersonOnly);
    }
    let flag = step.state.index.flags.get(&flag).and_then(|&at| step.state.flags.get(at));
    let device = step.state.records.get(slot).map(|record| record.birth.device);
    let is_cause = |flag: &FlagView| {
        flag.kind == FlagKind::Clone
            && flag.cleared.is_none()
            && device.is_some_and(|device| flag.subject == FlagSubject::Device(device))
    };
    if !flag.is_some_and(is_cause) {
        return Err(Decline::CauseNotOpen);
    }
    may_restrict(step.state, slot)?;
    pass_breaker(step)
}

/// What automation may restrict within a window.
pub(crate) fn limit(state: &State) -> u32 {
    let fleet = u32::try_from(state.rows.len()).unwrap_or(u32::MAX);
    state.settings.breaker.limit(fleet)
}

/// One order too many opens the breaker: automation stops and people are asked.
fn pass_breaker(step: &mut Step<'_>) -> Result<(), Decline> {
    let limit = limit(step.state);
    let breaker = &mut step.state.breaker;
    if !breaker.is_open() && breaker.count() < limit {
        breaker.restricted(step.now);
        return Ok(());
    }
    let restricted = breaker.count();
    if breaker.open() {
        step.notice(Notice::BreakerOpened { restricted, limit });
        step.changed(Change::AutomationStopped { restricted, limit });
    }
    Err(Decline::BreakerOpen)
}
