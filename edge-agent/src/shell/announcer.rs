//! Who hears what the terminal may do: the standing file, and the vendor's hooks. Each is told once per change.

use super::config::Config;
use super::replace::replace;
use crate::hooks::{HookDesk, Occasion, TerminalStanding};
use crate::machine::AgentEvent;
use events::vocabulary::shared::{DirectiveId, OperationKind};
use std::io;
use std::path::{Path, PathBuf};

pub struct Announcer {
    desk: HookDesk,
    /// Readable by all programs of the terminal.
    standing_file: Option<PathBuf>,
    told: Option<TerminalStanding>,
    offered: Option<DirectiveId>,
}

impl Announcer {
    #[must_use]
    pub fn open(config: &Config) -> Self {
        let desk = HookDesk::open(config.hooks.clone());
        Announcer { desk, standing_file: config.standing_file.clone(), told: None, offered: None }
    }

    /// The terminal may do this now. The first call of a start always tells.
    pub fn standing(&mut self, standing: TerminalStanding) {
        if self.told.as_ref() == Some(&standing) {
            return;
        }
        if let Some(file) = &self.standing_file
            && let Err(error) = write(file, &standing)
        {
            tracing::error!(file = %file.display(), %error, "cannot write the standing file");
        }
        self.desk.tell_standing(standing.clone());
        self.told = Some(standing);
    }

    /// Directives that are the vendor's business.
    pub fn event(&mut self, event: &AgentEvent) {
        match event {
            // Every verdict names it until the cluster knows the result; the hook is told once.
            AgentEvent::UpdateOffered { id } if self.offered != Some(*id) => {
                self.offered = Some(*id);
                self.desk.tell(Occasion::Update(*id));
            }
            AgentEvent::DirectiveObeyed { id, kind: OperationKind::Notify, .. } => {
                self.desk.tell(Occasion::Notify(*id));
            }
            _ => {}
        }
    }
}

fn write(file: &Path, standing: &TerminalStanding) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(standing).map_err(io::Error::other)?;
    replace(file, &text, 0o644)
}
