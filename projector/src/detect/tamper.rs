//! `tamper`: a boot check ended `Restricted`. The report is authentic only under a key that every firmware of the
//! lot knows, so it speaks against record, lot and source, never against the device (protocol.md rule 25).

use crate::apply::step::Step;
use crate::view::FlagSubject;
use events::vocabulary::TamperReported;
use events::vocabulary::shared::FlagKind;

pub(crate) fn reported(step: &mut Step<'_>, event: &TamperReported) {
    // A record that nobody imported is anybody's invention: it must not be able to grow the state.
    let known = step.state.slot_of_record(&event.record).is_some();
    let record = known.then_some(FlagSubject::Record(event.record));
    let others = [FlagSubject::Lot(event.lot), FlagSubject::Source(event.source.clone())];
    for subject in record.into_iter().chain(others) {
        step.raise(FlagKind::Tamper, subject, &[step.index], 1);
    }
}
