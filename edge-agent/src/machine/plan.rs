//! What to do next, decided from what is on flash: the one place that chooses between the ways into a session.
//!
//! ```text
//! boot check without key ───────────▶ Reporting; AwaitingHardware if only because something could not be read
//! sealed activation on flash ───────▶ Activating (the same bytes)
//! a session on flash ───────────────▶ Hello → Resuming; refused again and again → Hello → Activating (re-key)
//! neither, first time in this boot ─▶ Hello → Activating (re-key): a lost state heals if the device is licensed
//! neither ──────────────────────────▶ AwaitingCode
//! ```

use super::activating::Activating;
use super::backoff::{below, full_jitter};
use super::core::{Core, World};
use super::effects::{AgentEvent, Standing};
use super::hello::{Hello, Purpose};
use super::phase::Phase;
use super::reporting::Reporting;
use super::saved::Saved;

/// The phase that follows, its first request `delay` milliseconds from now.
pub(super) fn next(core: &mut Core, delay: u64, world: &mut World<'_>) -> Phase {
    let may_redeem = core.standing() == Standing::Full;
    if core.check.identity.is_none() {
        return report(core, world);
    }
    let pending = core.saved.activation.clone().filter(|activation| may_redeem || !activation.has_code);
    if let Some(phase) = pending.and_then(|activation| Activating::again(&activation, delay, core, world)) {
        return phase;
    }
    if core.saved.newest_session().is_some() {
        return Phase::Hello(Hello::start(Purpose::Resume, core, delay, world));
    }
    if !core.check.is_full() {
        return report(core, world);
    }
    if !core.rekey_tried_blank {
        core.rekey_tried_blank = true;
        return Phase::Hello(Hello::start(Purpose::Rekey, core, delay, world));
    }
    core.events.push_back(AgentEvent::CodeNeeded);
    Phase::AwaitingCode
}

/// Only what was read and differs is evidence; the rest the shell reads again.
fn report(core: &mut Core, world: &mut World<'_>) -> Phase {
    if core.check.awaits_hardware() {
        return Phase::AwaitingHardware;
    }
    Phase::Reporting(Reporting::start(core, world))
}

/// A resume was refused although its ticket was fresh. After a few of these the sessions on flash are of no use
/// any more: re-key, with jitter, at most hourly (protocol.md rule 6); until then try on.
pub(super) fn after_refused_resume(
    core: &mut Core,
    sealed: bool,
    retry_after: u64,
    world: &mut World<'_>,
) -> Phase {
    core.refusals.add(sealed, world.now);
    let delay = retry_after + full_jitter(&core.settings, core.refusals.count, world.rng);
    if !core.refusals.are_enough(world.now, &core.settings) || !core.may_rekey() {
        return Phase::Hello(Hello::start(Purpose::Resume, core, delay, world));
    }
    let due = *core.rekey_due.get_or_insert_with(|| {
        let rest = rekey_rest(core.settings.rekey_interval, &core.saved, world);
        world.now.monotonic_millis + rest + below(core.settings.rekey_jitter, world.rng)
    });
    if world.now.monotonic_millis < due {
        return Phase::Hello(Hello::start(Purpose::Resume, core, delay, world));
    }
    core.events.push_back(AgentEvent::StartedOver { why: "resumes keep being refused: re-keying" });
    Phase::Hello(Hello::start(Purpose::Rekey, core, 0, world))
}

/// A re-key found no answer, or came too early: the session on flash goes on, and another re-key follows in about an
/// hour. The cluster may be unable to open it, because its key was retired or its own secrets are damaged.
pub(super) fn rekey_later(core: &mut Core, world: &mut World<'_>) -> Phase {
    core.saved.activation = None;
    core.must_persist();
    core.rekey_owed = true;
    core.rekey_tickets = 0;
    let jitter = below(core.settings.rekey_jitter, world.rng);
    core.rekey_due = Some(world.now.monotonic_millis + core.settings.rekey_interval + jitter);
    core.events
        .push_back(AgentEvent::StartedOver { why: "the re-key waits: going on with the session on flash" });
    next(core, 0, world)
}

/// How much of the pause since the last re-key is left. A wall clock that went back tells nothing: no pause then,
/// the jitter still holds.
fn rekey_rest(interval: u64, saved: &Saved, world: &World<'_>) -> u64 {
    if world.now.wall < saved.rekeyed_at {
        return 0;
    }
    interval.saturating_sub(world.now.wall.millis_since(saved.rekeyed_at))
}
