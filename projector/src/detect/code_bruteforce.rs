//! `code_bruteforce`: somebody guesses activation codes. Counted per source, and per device, since a refused code
//! came in an activation that the device signed.

use super::bucket::Size;
use crate::apply::step::Step;
use crate::view::FlagSubject;
use events::vocabulary::rejection::RejectionCount;
use events::vocabulary::shared::FlagKind;

/// A person mistypes a code a few times; eight at once, or one a minute for long, is guessing.
const SIZE: Size = Size { capacity: 8, leak_every_millis: 60_000 };

pub(crate) fn refused(step: &mut Step<'_>, entry: &RejectionCount) {
    let device = entry.device.filter(|device| step.state.index.devices.contains_key(device));
    let subjects = [Some(FlagSubject::Source(entry.source.clone())), device.map(FlagSubject::Device)];
    for subject in subjects.into_iter().flatten() {
        if step.state.buckets.pour(FlagKind::CodeBruteforce, subject.clone(), entry.count, SIZE, step.now) {
            step.raise(FlagKind::CodeBruteforce, subject, &[step.index], u64::from(entry.count));
        }
    }
}
