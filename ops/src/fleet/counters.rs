//! What a fleet counts.

use edge_agent::machine::{AgentEvent, SessionOrigin, Transmit, TransmitKind};
use events::envelope::HeartbeatStatus;
use std::collections::BTreeMap;

/// Sums over all terminals since the fleet started.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    pub terminals: u64,
    /// Boot checks that passed.
    pub booted: u64,
    pub restricted: u64,
    /// Different heartbeats sealed and sent; a retry is not another heartbeat.
    pub heartbeats_sent: u64,
    /// Verdicts that verified and say that the heartbeat is on the disks of a majority.
    pub heartbeats_acknowledged: u64,
    /// Requests of any kind that were sent again.
    pub retries: u64,
    pub activations: u64,
    pub rekeys: u64,
    pub resumes: u64,
    pub activations_refused: u64,
    pub codes_needed: u64,
    pub tamper_reports: u64,
    pub directives_obeyed: u64,
    /// Unsealed refusals by reason.
    pub refusals: BTreeMap<String, u64>,
}

impl Counters {
    pub(super) fn count_transmit(&mut self, transmit: &Transmit, is_retry: bool) {
        match (is_retry, transmit.kind) {
            (true, _) => self.retries += 1,
            (false, TransmitKind::Heartbeat) => self.heartbeats_sent += 1,
            (
                false,
                TransmitKind::Hello | TransmitKind::Activation | TransmitKind::Resume | TransmitKind::Tamper,
            ) => {}
        }
    }

    pub(super) fn count_event(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::Started { standing, .. } => match standing {
                edge_agent::machine::Standing::Full => self.booted += 1,
                edge_agent::machine::Standing::Restricted => self.restricted += 1,
            },
            AgentEvent::Granted { origin, .. } => match origin {
                SessionOrigin::Activation => self.activations += 1,
                SessionOrigin::Rekey => self.rekeys += 1,
                SessionOrigin::Resume => self.resumes += 1,
            },
            AgentEvent::Acknowledged { status, .. } => match status {
                HeartbeatStatus::Committed | HeartbeatStatus::Retried => self.heartbeats_acknowledged += 1,
                HeartbeatStatus::EpochStale => {}
            },
            AgentEvent::Hinted { reason, .. } => *self.refusals.entry(reason.to_string()).or_default() += 1,
            AgentEvent::ActivationRefused { .. } => self.activations_refused += 1,
            AgentEvent::CodeNeeded => self.codes_needed += 1,
            AgentEvent::TamperReported => self.tamper_reports += 1,
            AgentEvent::DirectiveObeyed { .. } => self.directives_obeyed += 1,
            AgentEvent::RekeyRefused { .. }
            | AgentEvent::CommandRefused { .. }
            | AgentEvent::LegitimacyChanged { .. }
            | AgentEvent::DirectiveIgnored { .. }
            | AgentEvent::LicenseRenewed
            | AgentEvent::LicenseTokenRefused { .. }
            | AgentEvent::ClockBehind { .. }
            | AgentEvent::SpoolFull { .. }
            | AgentEvent::SpoolAcknowledged { .. }
            | AgentEvent::UpdateOffered { .. }
            | AgentEvent::Update(_)
            | AgentEvent::StartedOver { .. } => {}
        }
    }
}
