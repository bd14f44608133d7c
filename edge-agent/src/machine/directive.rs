//! Obeying: only what is sealed, only what is newer than everything obeyed before (protocol.md rule 12).

use super::core::Core;
use super::effects::AgentEvent;
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
/// that this version knows how to obey. What was obeyed is on flash before anything else leaves.
pub(super) fn obey(directive: &Directive, stamp: Timestamp, core: &mut Core) -> Consequence {
    if directive.id <= core.saved.obeyed {
        return Consequence::None;
    }
    if directive.expires != Timestamp::ZERO && directive.expires < stamp {
        return ignore(directive, "expired", core);
    }
    match directive.kind {
        OperationKind::Restrict | OperationKind::Revoke => core.saved.restricted = true,
        OperationKind::Reinstate => core.saved.restricted = false,
        OperationKind::SuspendLicense => core.saved.license_token = None,
        // The interval of each verdict throttles; updates and notices are the hooks' business.
        OperationKind::Throttle
        | OperationKind::OfferUpdate
        | OperationKind::Notify
        | OperationKind::Rekey => {}
        OperationKind::Challenge => return ignore(directive, "this version answers no challenges", core),
        OperationKind::BanSource => return ignore(directive, "not for terminals", core),
    }
    core.saved.obeyed = directive.id;
    core.must_persist();
    let standing = core.standing();
    core.events.push_back(AgentEvent::DirectiveObeyed { id: directive.id, kind: directive.kind, standing });
    if directive.kind == OperationKind::Rekey { Consequence::Rekey } else { Consequence::None }
}

fn ignore(directive: &Directive, why: &'static str, core: &mut Core) -> Consequence {
    core.events.push_back(AgentEvent::DirectiveIgnored { id: directive.id, kind: directive.kind, why });
    Consequence::None
}
