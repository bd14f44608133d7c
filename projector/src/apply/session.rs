//! Resume: the ratchet, its forks, and what they prove (protocol.md rules 4 and 5).

use super::step::Step;
use crate::outcome::{Grant, Outcome};
use crate::state::device::Held;
use crate::state::row::marks;
use crate::state::session::{Fork, Link, Origin, Standing};
use crate::state::story::Happening;
use crate::state::window::Window;
use events::ids::{Epoch, LogIndex, Slot};
use events::vocabulary::SessionResumed;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Legitimacy;

/// What the epoch that is resumed means for the grant.
struct Resumption {
    branch: Epoch,
    /// See [`Link::root`].
    root: LogIndex,
    confirms: bool,
    forks: bool,
}

impl Resumption {
    /// The first of a branch of its own.
    fn apart(branch: Epoch, forks: bool) -> Self {
        Resumption { branch, root: 0, confirms: false, forks }
    }
}

impl Step<'_> {
    /// First commit wins per (device, from epoch, client nonce).
    pub(crate) fn session_resumed(&mut self, event: SessionResumed) -> Outcome {
        let Some(slot) = self.state.slot_of(&event.device) else {
            return Outcome::Refused(RejectionReason::NotAuthentic);
        };
        if let Some(kept) = self.resumed_before(slot, &event) {
            return Outcome::Resumed(kept);
        }
        if let Err(reason) = self.check_ticket(event.ticket_generation, event.ticket_applied) {
            return Outcome::Refused(reason);
        }
        let resumption = match self.judge_resume(slot, &event) {
            Ok(resumption) => resumption,
            Err(reason) => return Outcome::Refused(reason),
        };
        let expected = self.state.rows.get(slot).map_or(0, |row| row.next_epoch);
        if expected == Epoch::MAX {
            return Outcome::Refused(RejectionReason::EpochStale);
        }
        if event.epoch != expected {
            return Outcome::Raced { expected };
        }
        self.hear(slot, event.from_epoch, event.ticket_applied);
        if resumption.confirms {
            self.confirm(slot, event.from_epoch);
        }
        if resumption.forks {
            self.fork(slot, event.from_epoch);
        }
        self.resume(slot, event, &resumption)
    }

    /// The answer to a resume that came before; none if it is new.
    pub(crate) fn resumed_before(&self, slot: Slot, event: &SessionResumed) -> Option<Box<Grant>> {
        let record = self.state.records.get(slot)?;
        let link = record.session.resumed_before(event.from_epoch, &event.client_nonce)?;
        self.state.grant(slot, link)
    }

    /// A resume from a superseded epoch is a fork if its ticket was issued once the successor was confirmed; with an
    /// older ticket it is late or replayed. Across generations it is neither: a restore forgot what came between.
    /// A pending epoch has no successors, so that those of one that is confirmed now always find a place.
    fn judge_resume(&self, slot: Slot, event: &SessionResumed) -> Result<Resumption, RejectionReason> {
        let record = self.state.records.get(slot).ok_or(RejectionReason::NotAuthentic)?;
        let standing = record.session.find(event.from_epoch).ok_or(RejectionReason::EpochStale)?;
        let Link { branch, root, .. } = *standing.link();
        match standing {
            Standing::Pending(_) => Ok(Resumption { branch, root, confirms: true, forks: false }),
            _ if !record.session.has_place(event.from_epoch, event.ticket_applied) => {
                Err(RejectionReason::EpochStale)
            }
            Standing::Current(_) => Ok(Resumption { branch, root, confirms: false, forks: false }),
            Standing::Superseded(old) if old.generation != self.state.generation => {
                Ok(Resumption::apart(event.epoch, false))
            }
            Standing::Superseded(old) if event.ticket_applied >= old.at => {
                Ok(Resumption::apart(event.epoch, true))
            }
            Standing::Superseded(_) => Err(RejectionReason::EpochStale),
        }
    }

    fn resume(&mut self, slot: Slot, event: SessionResumed, resumption: &Resumption) -> Outcome {
        // Who goes back to what was superseded may have lost what came with its successors.
        let went_back = resumption.branch == event.epoch;
        let wanted = went_back || self.lease_is_wanted(slot);
        let lease = if wanted { self.lease(slot).map_or(0, |lease| lease.lease) } else { 0 };
        let source = self.source(&event.source);
        let happening = Happening::Resumed { from: event.from_epoch, epoch: event.epoch };
        let link = Link {
            epoch: event.epoch,
            parent: event.from_epoch,
            branch: resumption.branch,
            root: resumption.root,
            ticket: event.ticket_applied,
            origin: Origin::Resume(event.client_nonce),
            server_nonce: event.server_nonce,
            resumption: event.resumption.into(),
            suite: event.suite,
            generation: self.state.generation,
            granted: self.index,
            granted_at: self.now,
            boot: event.boot,
            boot_count: event.boot_count,
            firmware: event.firmware,
            source,
            lease,
        };
        self.keep_grant(slot, link, happening, Outcome::Resumed)
    }

    /// Keeps a granted epoch as pending and answers with it.
    pub(crate) fn keep_grant(
        &mut self,
        slot: Slot,
        link: Link,
        happening: Happening,
        outcome: fn(Box<Grant>) -> Outcome,
    ) -> Outcome {
        let Some(answer) = self.state.grant(slot, &link) else {
            return Outcome::Refused(RejectionReason::NotAuthentic);
        };
        if let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot)) {
            row.next_epoch = link.epoch + 1;
            record.session.grant(link);
        }
        self.tell(slot, happening);
        outcome(answer)
    }

    /// The first word under a pending epoch: it is the current one from here on.
    pub(crate) fn confirm(&mut self, slot: Slot, epoch: Epoch) {
        let generation = self.state.generation;
        let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot))
        else {
            return;
        };
        let before = record.session.current.as_ref().map(|link| (link.boot, link.boot_count));
        if !record.confirm(epoch, row.window, self.index, generation) {
            return;
        }
        let Some(link) = &record.session.current else { return };
        if let Some((_, boot_count)) = before {
            record.numbers.end_epoch(boot_count, row.window.highest());
        }
        if before.map(|(boot, _)| boot) != Some(link.boot) {
            record.numbers.begin_boot(link.boot_count);
        }
        if link.lease > 0 {
            record.held = Held { license: record.license, lease: link.lease, given: link.granted_at };
        }
        row.window = Window::default();
        row.epoch = epoch;
        row.generation = generation;
        row.source = link.source;
        row.boot_count = link.boot_count;
        row.firmware = link.firmware;
        self.tell(slot, Happening::Confirmed { epoch });
    }

    /// Alone this only makes suspect: flash that lies about fsync must heal, not convict. The second time that a
    /// re-key and a resume take the session from each other it is no accident.
    fn fork(&mut self, slot: Slot, from: Epoch) {
        let fork_at = |current: &Link, step: &Self| Fork {
            index: step.index,
            stamp: step.now,
            generation: step.state.generation,
            from,
            other: current.branch,
            root: current.root,
        };
        let Some(record) = self.state.records.get(slot) else { return };
        let Some(current) = &record.session.current else { return };
        let (fork, epoch) = (fork_at(current, self), current.epoch);
        let superseded = record.session.find(from).map(Standing::link);
        let first = superseded.and_then(|link| record.session.alternates(link, fork.root, fork.generation));
        let until = self.now.plus_millis(self.state.settings.suspicion_ms);
        if let (Some(row), Some(record)) = (self.state.rows.get_mut(slot), self.state.records.get_mut(slot)) {
            record.session.remember_fork(fork);
            row.set(marks::FORKED, true);
        }
        self.suspect_until(slot, until);
        self.tell(slot, Happening::Forked { from, current: epoch });
        match first {
            Some(first) => self.convict(slot, &[first.root, first.index, fork.root, fork.index]),
            None => self.suspect(slot),
        }
    }

    /// Suspicion falls on those in good standing; who is restricted or worse stays that.
    pub(crate) fn suspect(&mut self, slot: Slot) {
        match self.state.rows.get(slot).map(|row| row.legitimacy) {
            Some(Legitimacy::Provisioned | Legitimacy::Legitimate) => {
                self.set_legitimacy(slot, Legitimacy::Suspect);
            }
            Some(
                Legitimacy::Suspect | Legitimacy::Restricted | Legitimacy::Revoked | Legitimacy::Retired,
            )
            | None => {}
        }
    }

    /// Somebody speaks under `epoch` and knows the log up to `fresh`: if that is the other branch of a fork, after
    /// the fork, then two hold one secret. True if so.
    pub(crate) fn hear(&mut self, slot: Slot, epoch: Epoch, fresh: LogIndex) -> bool {
        let Some(record) = self.state.records.get(slot) else { return false };
        let Some(standing) = record.session.find(epoch) else { return false };
        let fresh = if fresh < self.index { fresh } else { 0 };
        let Some(fork) = record.session.convicts(standing.link(), fresh, self.state.generation) else {
            return false;
        };
        self.convict(slot, &[fork.index, self.index]);
        true
    }
}
