//! `code_bruteforce`: somebody guesses activation codes. Counted per source, and per device, since a refused code
//! came in an activation that the device signed.

use crate::apply::step::Step;
use crate::view::FlagSubject;
use events::vocabulary::rejection::RejectionCount;
use events::vocabulary::shared::FlagKind;

pub(crate) fn refused(step: &mut Step<'_>, entry: &RejectionCount) {
    let device = entry.device.filter(|device| step.state.slot_of(device).is_some());
    let subjects = [Some(FlagSubject::Source(entry.source.clone())), device.map(FlagSubject::Device)];
    let size = step.state.settings.code_bruteforce.into();
    for subject in subjects.into_iter().flatten() {
        if step.state.buckets.pour(FlagKind::CodeBruteforce, subject.clone(), entry.count, size, step.now) {
            step.raise(FlagKind::CodeBruteforce, subject, &[step.index], u64::from(entry.count));
        }
    }
}
