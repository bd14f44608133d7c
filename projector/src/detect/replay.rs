//! `replay`: a source sends again what was answered before. Charged to the source, never to the device named
//! (protocol.md rule 3).

use super::bucket::Size;
use crate::apply::step::Step;
use crate::view::FlagSubject;
use events::vocabulary::rejection::RejectionCount;
use events::vocabulary::shared::FlagKind;

/// Networks duplicate a packet now and then; ten at once, or ten a minute for long, are no accident.
const SIZE: Size = Size { capacity: 10, leak_every_millis: 6_000 };

pub(crate) fn refused(step: &mut Step<'_>, entry: &RejectionCount) {
    let subject = FlagSubject::Source(entry.source.clone());
    if step.state.buckets.pour(FlagKind::Replay, subject.clone(), entry.count, SIZE, step.now) {
        step.raise(FlagKind::Replay, subject, &[step.index], u64::from(entry.count));
    }
}
