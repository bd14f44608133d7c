//! Obeying: only what is sealed, only what is newer than everything obeyed before (protocol.md rule 12).

use super::core::Core;
use super::effects::AgentEvent;
use super::now::Now;
use events::envelope::Directive;
use events::time::Timestamp;
use events::vocabulary::shared::OperationKind;

/// What a directive asks of the phase that received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Consequence {
    None,
    /// Leave the session for a new root.
    Rekey,
}

/// Obeys `directive` if it is newer than the highest obeyed, not expired at the sealed time `stamp`, and of a kind
/// that this version knows how to obey. What was obeyed is on flash before anything else leaves; a re-key counts as
/// obeyed once its sealed answer came.
pub(super) fn obey(directive: &Directive, stamp: Timestamp, core: &mut Core, now: Now) -> Consequence {
    // The offer brings its own order and its own proof: this name is only a hint that it is there, and is exempt from
    // rule 12, or a directive that was obeyed meanwhile would hide it.
    if directive.kind == OperationKind::OfferUpdate {
        if directive.expires == Timestamp::ZERO || directive.expires >= stamp {
            core.events.push_back(AgentEvent::UpdateOffered { id: directive.id });
        }
        return Consequence::None;
    }
    if directive.id <= core.saved.obeyed {
        return Consequence::None;
    }
    if directive.expires != Timestamp::ZERO && directive.expires < stamp {
        return ignore(directive, "expired", core);
    }
    match directive.kind {
        OperationKind::Restrict | OperationKind::Revoke => core.saved.restricted = true,
        OperationKind::Reinstate => core.saved.restricted = false,
        OperationKind::SuspendLicense => {
            core.saved.license_token = None;
            // Once the license is given back, its token is asked for again, whatever lease it belongs to.
            core.saved.lease = 0;
        }
        // The interval of each verdict throttles; updates and notices are the hooks' business.
        OperationKind::Throttle | OperationKind::OfferUpdate | OperationKind::Notify => {}
        OperationKind::Rekey if !core.may_rekey() => {
            return ignore(directive, "the boot check forbids it", core);
        }
        OperationKind::Rekey => return rekey(directive, core, now),
        OperationKind::Challenge => return ignore(directive, "this version answers no challenges", core),
        OperationKind::BanSource => return ignore(directive, "not for terminals", core),
    }
    core.count_obeyed(directive.id, directive.kind);
    Consequence::None
}

/// At once, unless a re-key found no answer a while ago: then its next attempt is due later.
fn rekey(directive: &Directive, core: &mut Core, now: Now) -> Consequence {
    core.rekey_directive = directive.id;
    let waits = core.rekey_owed && core.rekey_due.is_some_and(|due| now.monotonic_millis < due);
    if waits { Consequence::None } else { Consequence::Rekey }
}

fn ignore(directive: &Directive, why: &'static str, core: &mut Core) -> Consequence {
    core.events.push_back(AgentEvent::DirectiveIgnored { id: directive.id, kind: directive.kind, why });
    Consequence::None
}
