//! How a message is judged from applied state, before anything is proposed. `apply` uses the same judgement again,
//! because state may have moved.

use crate::state::State;
use crate::state::device::Record;
use crate::state::license::Fate;
use crate::state::row::{Heard, Row, marks};
use crate::state::session::{Link, Session, Standing, Superseded};
use crate::state::window::Place;
use crate::view::FlagSubject;
use events::ids::{CodeDigest, Epoch, Generation, Slot};
use events::limits::{EPOCH_CLAIM_JUMP_MAX, REACTIVATIONS_MAX, REKEY_REST_MILLIS};
use events::time::Timestamp;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use std::collections::BTreeSet;

/// Log indices with which the case of a clone is shown: more of the same adds nothing to it, and is not logged.
pub const CLONE_EVIDENCE_ENOUGH: usize = 4;

/// What the header of an authentic heartbeat means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Current epoch, new sequence: a row of the batch, if source and body say nothing new either.
    Routine,
    /// New, but worth an event: the first of its epoch, or a fork is open, or its numbers do not fit a row.
    Irregular,
    /// The same bytes, not known to be answered: answer again, log nothing.
    Retry,
    /// The same bytes after they were answered, or in an older epoch: charge it to the source.
    Replay,
    /// Two hold one secret: propose it as an event.
    CloneEvidence,
    /// A superseded epoch, or too old for the window: the device must resume. Proves nothing.
    Stale,
    /// The sender verified a verdict that this node has not applied yet: wait or forward, count nothing.
    BehindSeen,
    /// No key is kept for this epoch here; a node that lags may not have it yet.
    UnknownEpoch,
}

impl State {
    /// Judges a heartbeat whose tag has verified.
    #[must_use]
    pub(crate) fn judge(&self, slot: Slot, heard: &Heard) -> Judgement {
        if heard.seen > self.applied {
            return Judgement::BehindSeen;
        }
        self.judge_regardless(slot, heard)
    }

    /// As [`State::judge`], without waiting for what the sender has seen.
    #[must_use]
    pub(crate) fn judge_regardless(&self, slot: Slot, heard: &Heard) -> Judgement {
        let (Some(row), Some(record)) = (self.rows.get(slot), self.records.get(slot)) else {
            return Judgement::UnknownEpoch;
        };
        let session = &record.session;
        match session.find(heard.epoch) {
            None => Judgement::UnknownEpoch,
            Some(_) if heard.sequence == 0 => Judgement::Stale,
            Some(Standing::Pending(_)) => Judgement::Irregular,
            Some(Standing::Current(_)) => {
                self.unless_shown(record, judge_current(self.generation, row, session, heard), || {
                    match row.window.place(heard.sequence, heard.digest) {
                        Place::New => Judgement::Irregular,
                        Place::Repeated | Place::Answered | Place::Contradicted | Place::TooOld => {
                            Judgement::Stale
                        }
                    }
                })
            }
            Some(Standing::Superseded(old)) => {
                let judged = judge_superseded(self.generation, old, session, heard);
                self.unless_shown(record, judged, || Judgement::Stale)
            }
        }
    }

    /// Evidence of a clone is evidence as long as the case lacks some; then it is what it is `otherwise`. Who holds a
    /// key may contradict himself without end.
    fn unless_shown(
        &self,
        record: &Record,
        judged: Judgement,
        otherwise: impl FnOnce() -> Judgement,
    ) -> Judgement {
        if judged != Judgement::CloneEvidence {
            return judged;
        }
        let flag = self.open_flag(FlagKind::Clone, &FlagSubject::Device(record.birth.device));
        if flag.is_some_and(|flag| flag.evidence.len() >= CLONE_EVIDENCE_ENOUGH) {
            otherwise()
        } else {
            judged
        }
    }

    /// As [`State::judge_code`]; and a fresh root that nothing demands is granted only a while after the last one. Two
    /// holders of one seed could else take the session from each other by fresh roots alone, and who holds its code
    /// too, like the shop that sold both, would push the honest epoch out of those that are kept.
    pub(crate) fn judge_root(&self, slot: Slot, code: Option<&CodeDigest>) -> Result<(), RejectionReason> {
        self.judge_code(slot, code)?;
        if self.redeems(code) || self.rekey_is_demanded(slot) {
            return Ok(());
        }
        let Some(record) = self.records.get(slot) else { return Ok(()) };
        let is_recent =
            |at: Timestamp| at > Timestamp::ZERO && self.stamp < at.plus_millis(REKEY_REST_MILLIS);
        let rests = match code {
            None => is_recent(record.incidents.rekeyed_at),
            Some(_) => {
                // By branch: whoever resumes under a fresh root has it forgotten, and its branch not.
                let again = |link: &&Link| link.root != 0 && is_recent(link.granted_at);
                let roots = record.session.all().map(Standing::link).filter(again).map(|link| link.root);
                roots.collect::<BTreeSet<_>>().len() >= REACTIVATIONS_MAX
            }
        };
        if rests { Err(RejectionReason::RateExceeded) } else { Ok(()) }
    }

    /// Whether a fresh root has a reason that the device did not make: a code that is redeemed, somebody else who wants
    /// it, or an epoch that a restore may have forgotten.
    pub(crate) fn root_is_demanded(&self, slot: Slot, code: Option<&CodeDigest>) -> bool {
        self.redeems(code) || self.rekey_is_demanded(slot) || self.spoke_before_restore(slot)
    }

    fn redeems(&self, code: Option<&CodeDigest>) -> bool {
        code.is_some_and(|digest| self.code(digest).is_some_and(|code| code.fate == Fate::Unused))
    }

    /// Whether somebody else than the device wants a fresh root: a directive that is not settled or was obeyed just
    /// now, or a restore, which forgot epochs.
    pub(crate) fn rekey_is_demanded(&self, slot: Slot) -> bool {
        let Some(record) = self.records.get(slot) else { return false };
        let restored =
            record.incidents.rekeyed_at > Timestamp::ZERO && record.incidents.rekeyed_in != self.generation;
        let directed = record.directives.iter().any(|directed| directed.view.kind == OperationKind::Rekey);
        restored || directed || self.stamp < record.incidents.rekey_demanded_until
    }

    /// Whether the device spoke under no epoch of this generation yet: a restore may have forgotten what it spoke under.
    pub(crate) fn spoke_before_restore(&self, slot: Slot) -> bool {
        self.rows.get(slot).is_some_and(|row| row.epoch != 0 && row.generation != self.generation)
    }

    /// Whether a device may activate with this code, or re-key without one. Every refused code gets the same answer
    /// (protocol.md rule 16); `NotLicensed` for one that once was its own is told in the same words and not counted
    /// as a guess.
    pub(crate) fn judge_code(&self, slot: Slot, code: Option<&CodeDigest>) -> Result<(), RejectionReason> {
        let (Some(row), Some(record)) = (self.rows.get(slot), self.records.get(slot)) else {
            return Err(RejectionReason::NotAuthentic);
        };
        let license = record.license.and_then(|at| self.licenses.get(at));
        let Some(digest) = code else {
            return license.map(|_| ()).ok_or(RejectionReason::NotLicensed);
        };
        match self.code(digest).map(|code| code.fate) {
            Some(Fate::Used(at)) if Some(at) == record.license => Ok(()),
            Some(Fate::Unused) if may_redeem(row.legitimacy) && license.is_none_or(|l| l.has_ended()) => {
                Ok(())
            }
            // The box before a transfer, and the code before a reissue, are somebody's own: no guess, no reuse.
            Some(Fate::Used(at) | Fate::Replaced(at)) if self.was_its_own(slot, at) => {
                Err(RejectionReason::NotLicensed)
            }
            Some(Fate::Unused | Fate::Used(_) | Fate::Void | Fate::Replaced(_)) | None => {
                Err(RejectionReason::CodeRefused)
            }
        }
    }
}

/// A device that was written off must not consume what somebody paid for.
#[must_use]
pub(crate) fn may_redeem(legitimacy: Legitimacy) -> bool {
    match legitimacy {
        Legitimacy::Provisioned | Legitimacy::Legitimate | Legitimacy::Suspect | Legitimacy::Restricted => {
            true
        }
        Legitimacy::Revoked | Legitimacy::Retired => false,
    }
}

fn judge_current(generation: Generation, row: &Row, session: &Session, heard: &Heard) -> Judgement {
    match row.window.place(heard.sequence, heard.digest) {
        Place::New if convicts(session, heard, generation) => Judgement::CloneEvidence,
        Place::New if row.has(marks::FORKED) || !fits_a_row(heard) => Judgement::Irregular,
        Place::New => Judgement::Routine,
        Place::Repeated => Judgement::Retry,
        Place::Answered => Judgement::Replay,
        Place::Contradicted if row.generation == generation => Judgement::CloneEvidence,
        Place::Contradicted | Place::TooOld => Judgement::Stale,
    }
}

fn judge_superseded(generation: Generation, old: &Superseded, session: &Session, heard: &Heard) -> Judgement {
    if convicts(session, heard, generation) {
        return Judgement::CloneEvidence;
    }
    match old.window.place(heard.sequence, heard.digest) {
        Place::Repeated | Place::Answered => Judgement::Replay,
        Place::Contradicted if old.generation == generation => Judgement::CloneEvidence,
        Place::Contradicted | Place::New | Place::TooOld => Judgement::Stale,
    }
}

fn convicts(session: &Session, heard: &Heard, generation: Generation) -> bool {
    let standing = session.find(heard.epoch);
    standing.is_some_and(|s| session.convicts(s.link(), heard.seen, generation).is_some())
}

/// A row holds `sequence - acked` in one byte.
fn fits_a_row(heard: &Heard) -> bool {
    heard.sequence.checked_sub(heard.acked).is_some_and(|unacked| (1..=255).contains(&unacked))
}

/// The epoch that an activation gets: one above all that the cluster knows or the device claims, whose claim counts
/// within a bounded jump (protocol.md rule 6).
#[must_use]
pub(crate) fn epoch_after(next_epoch: Epoch, claimed: Epoch) -> Epoch {
    let known = next_epoch.saturating_sub(1);
    known.max(claimed.min(known.saturating_add(EPOCH_CLAIM_JUMP_MAX))).saturating_add(1)
}
