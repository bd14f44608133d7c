//! `clone`: two terminals hold one secret.
//!
//! Proof is a fork whose other branch also speaks afterwards, or one sequence with two contents. The callers judge
//! (`apply::session`, `judgement`); here stands what follows from the proof.

use crate::apply::step::Step;
use crate::decide;
use crate::effects::Effect;
use crate::view::FlagSubject;
use events::ids::{LogIndex, Slot};
use events::vocabulary::shared::FlagKind;

impl Step<'_> {
    /// The device is cloned, and these entries show it.
    pub(crate) fn convict(&mut self, slot: Slot, evidence: &[LogIndex]) {
        let Some(record) = self.state.records.get(slot) else { return };
        let device = record.birth.device;
        self.suspect(slot);
        if self.raise(FlagKind::Clone, FlagSubject::Device(device), evidence, 1) {
            let wanted = decide::wanted_for(self.state, &FlagSubject::Device(device));
            self.effects.extend(wanted.map(Effect::Want));
        }
    }
}
