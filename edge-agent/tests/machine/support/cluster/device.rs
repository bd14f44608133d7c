//! A device's epochs as the model keeps them.

use super::{Life, ModelDevice, ModelSession};
use events::envelope::Header;
use events::ids::Epoch;
use events::limits::PENDING_SUCCESSORS_MAX;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody};

impl ModelSession {
    pub fn server_nonce(&self) -> [u8; 32] {
        self.grant.server_nonce
    }
}

impl ModelDevice {
    pub fn current(&self) -> Option<Epoch> {
        self.sessions.iter().find(|(_, session)| session.life == Life::Current).map(|(epoch, _)| *epoch)
    }

    /// Bodies count once, by boot and number, over all epochs (protocol.md rule 8).
    pub(super) fn count(&mut self, header: &Header, body: HeartbeatBody, spooled: Vec<SpooledBody>) {
        let boot = self.sessions[&header.epoch].boot_count;
        // A copy, or flash that forgot: an honest terminal never does.
        self.numbers_twice += u32::from(!self.counted.insert((boot, body.number)));
        for body in spooled {
            assert!(body.boot_count <= boot, "a body of a boot that did not begin");
            if !self.counted.insert((body.boot_count, body.number)) {
                self.counted_before += 1;
            }
            self.spooled.push(body);
        }
    }

    /// Forgets every session, as a cluster restored from an old backup does.
    pub fn forget_sessions(&mut self) {
        self.sessions.clear();
        self.activations.clear();
        self.resumes.clear();
        self.next_epoch = 1;
    }

    /// Whether `epoch` is `ancestor` or comes from it.
    pub(super) fn descends(&self, epoch: Epoch, ancestor: Epoch) -> bool {
        let mut at = Some(epoch);
        while let Some(epoch) = at {
            if epoch == ancestor {
                return true;
            }
            at = self.sessions.get(&epoch).and_then(|session| session.parent);
        }
        false
    }

    pub(super) fn keep_two_superseded(&mut self) {
        let superseded = |session: &&mut ModelSession| matches!(session.life, Life::Superseded { .. });
        for session in self.sessions.values_mut().rev().filter(superseded).skip(2) {
            session.life = Life::Gone;
        }
    }

    pub(super) fn bound_pending(&mut self) {
        let mut pending: Vec<_> =
            self.sessions.iter_mut().filter(|(_, session)| session.life == Life::Pending).collect();
        pending.sort_by_key(|(_, session)| (session.ticket, session.granted_at));
        let too_many = pending.len().saturating_sub(PENDING_SUCCESSORS_MAX);
        for (_, session) in pending.into_iter().take(too_many) {
            session.life = Life::Dead;
            let evicted = self.evicted.entry(session.parent).or_default();
            *evicted = session.ticket.max(*evicted);
        }
    }
}
