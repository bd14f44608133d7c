//! Flags: raised by detectors, cleared by people.

use super::step::Step;
use crate::changes::Change;
use crate::effects::Notice;
use crate::outcome::{Decline, Outcome};
use crate::state::story::Happening;
use crate::view::{Cleared, FlagSubject, FlagView};
use events::ids::{FlagId, LogIndex, Slot};
use events::vocabulary::FlagCleared;
use events::vocabulary::shared::{FlagKind, Legitimacy};
use sha2::{Digest, Sha256};

/// Log indices that a flag lists as its evidence.
const EVIDENCE_KEPT: usize = 16;
/// What a person wrote is kept up to this length, in characters.
const TEXT_CHARS_MAX: usize = 200;

impl Step<'_> {
    /// Raises a flag, or adds to the open one of the same kind and subject. True if it was raised.
    pub(crate) fn raise(
        &mut self,
        kind: FlagKind,
        subject: FlagSubject,
        evidence: &[LogIndex],
        count: u64,
    ) -> bool {
        let open = self.state.index.open_flags.get(&(kind, subject.clone())).copied();
        if let Some(flag) = open.and_then(|at| self.state.flags.get_mut(at)) {
            flag.count = flag.count.saturating_add(count);
            add_evidence(flag, evidence);
            return false;
        }
        let number = self.state.flags.len();
        let first = evidence.first().copied().unwrap_or(self.index);
        let mut flag = FlagView {
            id: flag_id(kind, &subject, first, number),
            kind,
            subject,
            raised: self.index,
            raised_at: self.now,
            evidence: Vec::new(),
            count,
            cleared: None,
        };
        add_evidence(&mut flag, evidence);
        if let Some(slot) = self.slot_of_subject(&flag.subject) {
            self.tell(slot, Happening::Flagged { kind, flag: flag.id });
        }
        let at = self.state.flags.push(flag.clone());
        self.state.index.add_flag(at, flag.id, &flag.subject);
        self.state.index.open_flag(kind, &flag.subject, at);
        let (id, subject, evidence) = (flag.id, flag.subject.clone(), flag.evidence.clone());
        self.changed(Change::FlagRaised { flag: id, kind, subject, evidence });
        self.notice(Notice::FlagRaised(flag));
        true
    }

    pub(crate) fn flag_cleared(&mut self, event: &FlagCleared) -> Outcome {
        let Some(at) = self.state.index.flags.get(&event.flag).copied() else {
            return Outcome::Declined(Decline::UnknownFlag);
        };
        if self.state.flags.get(at).is_none_or(|flag| flag.cleared.is_some()) {
            return Outcome::Duplicate;
        }
        self.clear_flag(at, &event.by, &event.reason);
        Outcome::Accepted
    }

    /// The case is closed: what counted up to here does not count again.
    pub(crate) fn clear_flag(&mut self, at: u32, by: &str, reason: &str) {
        let Some(flag) = self.state.flags.get_mut(at) else { return };
        let clip = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect();
        flag.cleared =
            Some(Cleared { index: self.index, stamp: self.now, by: clip(by), reason: clip(reason) });
        let (id, kind, subject) = (flag.id, flag.kind, flag.subject.clone());
        self.state.buckets.empty(kind, &subject);
        if let Some(slot) = self.slot_of_subject(&subject) {
            self.tell(slot, Happening::FlagCleared { kind, flag: id });
            if kind == FlagKind::Clone {
                self.forget_forks(slot);
                self.let_suspicion_end(slot);
            }
        }
        self.state.index.close_flag(kind, &subject);
        self.changed(Change::FlagCleared { flag: id, kind, subject, by: clip(by) });
    }

    /// Nothing is open against the device any more; it stays suspect for a day.
    fn let_suspicion_end(&mut self, slot: Slot) {
        if self.state.rows.get(slot).is_none_or(|row| row.legitimacy != Legitimacy::Suspect) {
            return;
        }
        let until = self.now.plus_millis(self.state.settings.suspicion_ms);
        self.suspect_until(slot, until);
    }

    fn slot_of_subject(&self, subject: &FlagSubject) -> Option<Slot> {
        match subject {
            FlagSubject::Device(device) => self.state.slot_of(device),
            FlagSubject::Source(_) | FlagSubject::Record(_) | FlagSubject::Lot(_) => None,
        }
    }
}

fn add_evidence(flag: &mut FlagView, evidence: &[LogIndex]) {
    for index in evidence {
        if flag.evidence.len() < EVIDENCE_KEPT && !flag.evidence.contains(index) {
            flag.evidence.push(*index);
        }
    }
}

/// The number of flags before it keeps apart two that begin with the same evidence.
fn flag_id(kind: FlagKind, subject: &FlagSubject, first: LogIndex, number: usize) -> FlagId {
    let mut hash = Sha256::new();
    hash.update(b"muster flag v1\0");
    hash.update([kind as u8]);
    hash.update(first.to_le_bytes());
    hash.update((number as u64).to_le_bytes());
    hash.update(subject.to_string());
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; FlagId::BYTES];
    id.copy_from_slice(&digest[..FlagId::BYTES]);
    FlagId::from_bytes(id)
}
