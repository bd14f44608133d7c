//! Activation with a code, and re-key without one (protocol.md rules 6 and 16).

use super::step::Step;
use crate::judgement::epoch_after;
use crate::outcome::Outcome;
use crate::state::index::Index;
use crate::state::license::{Fate, License, license_id};
use crate::state::row::marks;
use crate::state::session::{Link, Origin};
use crate::state::story::Happening;
use crate::state::timers::Timer;
use crate::view::LicenseState;
use events::ids::{CodeDigest, Epoch, Generation, LicenseId, LogIndex, Slot};
use events::time::Timestamp;
use events::vocabulary::DeviceActivated;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Legitimacy;
use sha2::{Digest, Sha256};

impl Step<'_> {
    /// The same transcript again gets what was granted for it; a license is created at most once.
    pub(crate) fn device_activated(&mut self, event: DeviceActivated) -> Outcome {
        let Some(slot) = self.state.slot_of(&event.device) else {
            return Outcome::Refused(RejectionReason::NotAuthentic);
        };
        let transcript = transcript_digest(&event);
        if let Some(answer) = self.activated_before(slot, &transcript) {
            return answer;
        }
        if let Err(reason) = self.check_ticket(event.ticket_generation, event.ticket_applied) {
            return Outcome::Refused(reason);
        }
        if let Err(reason) = self.state.judge_root(slot, event.code.as_ref()) {
            return Outcome::Refused(reason);
        }
        if !self.has_place(slot, event.ticket_applied) {
            // The seal is still good: under a fresh ticket it finds its place.
            return Outcome::Refused(RejectionReason::TicketRefused);
        }
        let next_epoch = self.state.rows.get(slot).map_or(0, |row| row.next_epoch);
        let expected = epoch_after(next_epoch, event.epoch_claimed);
        if expected == Epoch::MAX {
            return Outcome::Refused(RejectionReason::EpochStale);
        }
        if event.epoch != expected {
            return Outcome::Raced { expected };
        }
        self.activate(slot, event, transcript)
    }

    /// The answer to a transcript that came before; none if it is new.
    pub(crate) fn activated_before(&self, slot: Slot, transcript: &[u8; 32]) -> Option<Outcome> {
        let record = self.state.records.get(slot)?;
        if let Some(link) = record.session.activated_before(transcript) {
            return self.state.grant(slot, link).map(Outcome::Activated);
        }
        let died = record.transcripts().contains(transcript);
        died.then_some(Outcome::Refused(RejectionReason::EpochStale))
    }

    /// The node verified the ticket's seal and age; what depends on the log is judged here.
    pub(crate) fn check_ticket(
        &self,
        generation: Generation,
        applied: LogIndex,
    ) -> Result<(), RejectionReason> {
        if generation != self.state.generation || applied >= self.index {
            return Err(RejectionReason::TicketRefused);
        }
        Ok(())
    }

    fn has_place(&self, slot: Slot, ticket: LogIndex) -> bool {
        let session = self.state.records.get(slot).map(|record| &record.session);
        session.is_some_and(|session| session.has_place(session.current_epoch(), ticket))
    }

    fn activate(&mut self, slot: Slot, event: DeviceActivated, transcript: [u8; 32]) -> Outcome {
        let demanded = self.state.root_is_demanded(slot, event.code.as_ref());
        let redeemed = event.code.and_then(|code| self.redeem(slot, &code));
        let happening = match redeemed {
            Some(license) => Happening::Activated { epoch: event.epoch, license },
            None => Happening::Rekeyed { epoch: event.epoch },
        };
        let lease = self.lease(slot).map_or(0, |lease| lease.lease);
        let source = self.source(&event.source);
        let Some(record) = self.state.records.get_mut(slot) else {
            return Outcome::Refused(RejectionReason::NotAuthentic);
        };
        record.remember_transcript(transcript);
        // What a restore demanded is had, with a code or without; only a re-key begins the rest of re-keys.
        record.incidents.rekeyed_in = self.state.generation;
        if event.code.is_none() {
            record.incidents.rekeyed_at = self.now;
        }
        let link = Link {
            epoch: event.epoch,
            parent: record.session.current_epoch(),
            branch: event.epoch,
            root: if demanded { 0 } else { self.index },
            ticket: event.ticket_applied,
            origin: Origin::Activation(transcript),
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
        self.keep_grant(slot, link, happening, Outcome::Activated)
    }

    /// Turns an unused code into the device's license; none if nothing had to be redeemed.
    fn redeem(&mut self, slot: Slot, digest: &CodeDigest) -> Option<LicenseId> {
        let at = self.state.code_at(digest)?;
        let code = self.state.codes.get(at).filter(|code| code.fate == Fate::Unused)?;
        let batch = self.state.code_batches.get_mut(code.batch)?;
        batch.used += 1;
        let expires = match batch.plan.term_seconds {
            0 => Timestamp::ZERO,
            seconds => self.now.plus_millis(seconds.saturating_mul(1000)),
        };
        let license = self.state.licenses.push(License {
            code: at,
            slot,
            state: LicenseState::Active,
            created: self.index,
            created_at: self.now,
            expires,
            leases: 0,
        });
        Index::recount(&mut self.state.index.licenses, None, LicenseState::Active);
        self.state.timers.set(expires, Timer::LicenseExpires, slot);
        self.state.codes.get_mut(at)?.fate = Fate::Used(license);
        self.state.records.get_mut(slot)?.license = Some(license);
        let row = self.state.rows.get_mut(slot)?;
        row.set(marks::LICENSED, true);
        if row.legitimacy == Legitimacy::Provisioned {
            self.set_legitimacy(slot, Legitimacy::Legitimate);
        }
        Some(license_id(digest))
    }
}

/// What an activation is known by: not its signature's bytes, which can be made anew (protocol.md rule 17).
pub(crate) fn transcript_digest(event: &DeviceActivated) -> [u8; 32] {
    Sha256::digest(&event.transcript).into()
}
