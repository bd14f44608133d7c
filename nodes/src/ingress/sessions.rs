//! Ready-made session keys, so that a heartbeat costs no key set-up.
//!
//! A device or epoch that does not exist has one as well, which opens nothing: so that whoever asks again pays as little
//! as for one that does (protocol.md rule 16). It may come to exist, so that what nobody spoke under is looked up again.
//!
//! Invariants: memory is bounded; a session enters the kept ones only once a tag verified under it, so that guessing
//! cannot push out those who speak; a slot is a device's for ever and an epoch's secret never changes, so that what
//! is kept never grows stale.

use events::envelope::SessionKeys;
use events::ids::{DeviceId, Epoch, Slot};
use std::collections::HashMap;
use std::sync::Arc;

/// Sessions that nobody spoke under yet; as many again may be half forgotten.
const UNPROVEN_MAX: usize = 2_048;

/// One epoch of one device, ready to open and to seal.
#[derive(Debug)]
pub struct Session {
    pub slot: Slot,
    pub device: DeviceId,
    pub epoch: Epoch,
    pub keys: SessionKeys,
    /// False for a decoy, whose slot says nothing.
    pub exists: bool,
}

/// A session that is kept.
pub enum Found {
    Proven(Arc<Session>),
    Unproven(Arc<Session>),
}

pub struct Sessions {
    proven: TwoAges,
    unproven: TwoAges,
}

impl Sessions {
    #[must_use]
    pub fn new(proven_max: usize) -> Self {
        Sessions { proven: TwoAges::new(proven_max), unproven: TwoAges::new(UNPROVEN_MAX) }
    }

    pub fn find(&mut self, device: DeviceId, epoch: Epoch) -> Option<Found> {
        let key = (device, epoch);
        let proven = self.proven.find(key).map(Found::Proven);
        proven.or_else(|| self.unproven.find(key).map(Found::Unproven))
    }

    /// Keeps a session that nobody spoke under yet.
    pub fn keep_unproven(&mut self, session: Arc<Session>) {
        self.unproven.insert(session);
    }

    /// A tag verified under it.
    pub fn prove(&mut self, session: &Arc<Session>) {
        if !self.proven.is_young((session.device, session.epoch)) {
            self.proven.insert(Arc::clone(session));
        }
    }
}

type Key = (DeviceId, Epoch);

/// Keeps what was used lately: when the young are many, the old are dropped and the young grow old.
struct TwoAges {
    young_max: usize,
    young: HashMap<Key, Arc<Session>>,
    old: HashMap<Key, Arc<Session>>,
}

impl TwoAges {
    fn new(young_max: usize) -> Self {
        TwoAges { young_max: young_max.max(1), young: HashMap::new(), old: HashMap::new() }
    }

    fn is_young(&self, key: Key) -> bool {
        self.young.contains_key(&key)
    }

    fn find(&mut self, key: Key) -> Option<Arc<Session>> {
        if let Some(session) = self.young.get(&key) {
            return Some(Arc::clone(session));
        }
        let session = self.old.remove(&key)?;
        self.insert(Arc::clone(&session));
        Some(session)
    }

    fn insert(&mut self, session: Arc<Session>) {
        if self.young.len() >= self.young_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((session.device, session.epoch), session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::envelope::ResumptionSecret;
    use events::vocabulary::shared::Suite;

    fn a_session(number: u32) -> Arc<Session> {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let device = DeviceId::from_bytes(bytes);
        let keys = ResumptionSecret::from_bytes([1; 48]).session_keys(device, 1, Suite::Aes256Gcm);
        Arc::new(Session { slot: number, device, epoch: 1, keys, exists: true })
    }

    fn kept(sessions: &mut Sessions, number: u32) -> bool {
        sessions.find(a_session(number).device, 1).is_some()
    }

    #[test]
    fn guessing_cannot_push_out_those_who_speak() {
        let mut sessions = Sessions::new(4);
        (0..4).for_each(|number| sessions.prove(&a_session(number)));
        (100..100 + 5 * UNPROVEN_MAX as u32).for_each(|number| sessions.keep_unproven(a_session(number)));
        assert!((0..4).all(|number| kept(&mut sessions, number)));
        assert!(sessions.unproven.young.len() + sessions.unproven.old.len() <= 2 * UNPROVEN_MAX);
    }

    #[test]
    fn who_speaks_stays_and_who_is_silent_goes() {
        let mut sessions = Sessions::new(4);
        for number in 0..100 {
            sessions.prove(&a_session(number));
            assert!(kept(&mut sessions, 0), "device 0 speaks all the time");
        }
        assert!(!kept(&mut sessions, 1));
        assert!(sessions.proven.young.len() + sessions.proven.old.len() <= 8);
    }
}
