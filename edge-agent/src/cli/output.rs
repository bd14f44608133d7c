//! Standard output: sentences for people, JSON lines for programs.

use crate::machine::AgentEvent;
use serde::Serialize;
use std::io::Write;

#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Output { json }
    }

    /// The one answer of a command.
    pub fn answer(self, value: &impl Serialize, human: impl FnOnce() -> String) {
        if self.json { self.json_line(value) } else { write_line(human().trim_end()) }
    }

    /// One event of a running agent; people get the ones that are not routine in the log instead.
    pub fn event(self, event: &AgentEvent) {
        if self.json {
            return self.json_line(event);
        }
        match event {
            AgentEvent::Acknowledged { .. } => tracing::debug!(?event),
            AgentEvent::Hinted { .. } => tracing::info!(?event),
            _ => tracing::info!(?event),
        }
    }

    fn json_line(self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(line) => write_line(&line),
            Err(error) => tracing::error!(%error, "cannot print"),
        }
    }
}

/// A reader that went away is no reason to stop a terminal.
fn write_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
