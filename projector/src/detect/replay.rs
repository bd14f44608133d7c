//! `replay`: a source sends again what was answered before. Charged to the source, never to the device named
//! (protocol.md rule 3).

use crate::apply::step::Step;
use crate::view::FlagSubject;
use events::vocabulary::rejection::RejectionCount;
use events::vocabulary::shared::FlagKind;

pub(crate) fn refused(step: &mut Step<'_>, entry: &RejectionCount) {
    let subject = FlagSubject::Source(entry.source.clone());
    let size = step.state.settings.replay.into();
    if step.state.buckets.pour(FlagKind::Replay, subject.clone(), entry.count, size, step.now) {
        step.raise(FlagKind::Replay, subject, &[step.index], u64::from(entry.count));
    }
}
