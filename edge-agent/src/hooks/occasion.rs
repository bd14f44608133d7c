//! What a hook is told: through its environment, in names that never change.

use crate::machine::Standing;
use crate::shell::config::{HookCommand, HooksConfig};
use events::ids::DeviceId;
use events::vocabulary::rejection::TamperReason;
use events::vocabulary::shared::{DirectiveId, Legitimacy};

/// What the terminal may do, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TerminalStanding {
    pub standing: Standing,
    /// None if the OTP record does not open.
    pub device: Option<DeviceId>,
    /// What the cluster thinks of it, as last heard.
    pub legitimacy: Legitimacy,
    /// Why the boot check restricts it; none if it does not.
    pub reason: Option<TamperReason>,
}

/// Why a hook runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// `full` or `restricted`: at each start, and when it changes.
    Standing(TerminalStanding),
    /// The cluster offers an update under this name. What is offered, and how it is fetched and checked, is the
    /// business of whoever handles updates.
    Update(DirectiveId),
    Notify(DirectiveId),
}

impl Occasion {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Occasion::Standing(TerminalStanding { standing: Standing::Full, .. }) => "full",
            Occasion::Standing(TerminalStanding { standing: Standing::Restricted, .. }) => "restricted",
            Occasion::Update(_) => "update",
            Occasion::Notify(_) => "notify",
        }
    }

    /// The vendor's program for it, if there is one.
    #[must_use]
    pub fn command<'a>(&self, hooks: &'a HooksConfig) -> Option<&'a HookCommand> {
        match self {
            Occasion::Standing(TerminalStanding { standing: Standing::Full, .. }) => hooks.full.as_ref(),
            Occasion::Standing(TerminalStanding { standing: Standing::Restricted, .. }) => {
                hooks.restricted.as_ref()
            }
            Occasion::Update(_) => hooks.update.as_ref(),
            Occasion::Notify(_) => hooks.notify.as_ref(),
        }
    }

    /// All of the hook's environment beside `PATH`.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![("MUSTER_HOOK", self.name().to_owned())];
        match self {
            Occasion::Standing(standing) => {
                variables.push(("MUSTER_LEGITIMACY", standing.legitimacy.to_string()));
                variables.extend(standing.device.map(|device| ("MUSTER_DEVICE", device.to_string())));
                variables.extend(standing.reason.map(|reason| ("MUSTER_REASON", reason.to_string())));
            }
            Occasion::Update(id) | Occasion::Notify(id) => {
                let DirectiveId { generation, index, ordinal } = id;
                variables.push(("MUSTER_DIRECTIVE", format!("{generation}.{index}.{ordinal}")));
            }
        }
        variables
    }
}
