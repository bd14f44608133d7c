//! Why a device's story went as it did: flags get their evidence, orders their cause.

use crate::projector::Projector;
use crate::view::{FlagView, OperationView, StoryLine};
use events::ids::DeviceId;

impl Projector {
    /// Adds to the lines of a device's story what this state knows of their reasons. A flag's evidence grows, so that they
    /// are not kept with the line.
    pub fn give_reasons(&self, device: &DeviceId, lines: &mut [StoryLine]) {
        let Some(view) = self.slot_of(device).and_then(|slot| self.device(slot)) else { return };
        for line in lines {
            let reason = if line.what.starts_with("flag ") {
                view.flags().find(|flag| is_raised_by(flag, line)).map(evidence)
            } else {
                self.operations_of(device)
                    .find(|order| is_told_by(order, line))
                    .map(|order| order.cause.to_string())
            };
            if let Some(reason) = reason {
                line.what.push_str(", ");
                line.what.push_str(&reason);
            }
        }
    }
}

fn is_raised_by(flag: &FlagView, line: &StoryLine) -> bool {
    line.what.contains("raised") && line.what.contains(&flag.id.to_string())
}

fn is_told_by(order: &OperationView, line: &StoryLine) -> bool {
    order.directive.id.index == line.index
        && line.what.starts_with(&format!("{} ordered", order.directive.kind))
}

/// `evidence at log index 12, 14`
#[must_use]
pub fn evidence(flag: &FlagView) -> String {
    let shown: Vec<_> = flag.evidence.iter().map(ToString::to_string).collect();
    format!("evidence at log index {}", shown.join(", "))
}
