//! A boot check that left no key, or no session: the terminal serves nothing and says so, under a key of its lot
//! (protocol.md rule 25). No answer is believed, so the reports follow a schedule of their own: a few attempts with
//! the same bytes, then, rarely, a fresh report.

use super::backoff::below;
use super::core::{Core, World};
use super::effects::{AgentEvent, TransmitKind};
use super::exchange::Exchange;
use super::phase::Phase;

#[derive(Debug)]
pub(super) struct Reporting {
    report: Exchange,
}

impl Reporting {
    /// The first attempt leaves within the first back-off: a whole lot may boot at one instant.
    pub fn start(core: &mut Core, world: &mut World<'_>) -> Self {
        let delay = below(core.settings.backoff_first, world.rng);
        Reporting::after(delay, core, world)
    }

    fn after(delay: u64, core: &mut Core, world: &mut World<'_>) -> Self {
        let mut random = [0; 16];
        world.rng.fill_bytes(&mut random);
        let bytes = core.check.tamper_report(random);
        Reporting { report: core.exchange(TransmitKind::Tamper, bytes, delay, world.now) }
    }

    pub fn due(&self) -> u64 {
        self.report.due()
    }

    pub fn handle_timeout(mut self, core: &mut Core, world: &mut World<'_>) -> Phase {
        if !core.transmit(&mut self.report, world) {
            return Phase::Reporting(self);
        }
        core.events.push_back(AgentEvent::TamperReported);
        if self.report.attempts < core.settings.tamper_attempts {
            return Phase::Reporting(self);
        }
        Phase::Reporting(Reporting::after(core.settings.tamper_interval, core, world))
    }
}
