//! A terminal and the node that serves it, as far as the fold can tell them from real ones: what the node admits is
//! judged from applied state, what the terminal keeps is what an agent keeps. Cloning a terminal copies it whole.

use crate::world::{World, device_id, source, wrapped};
use events::batch::HeartbeatRow;
use events::ids::{BootId, CodeDigest, DeviceId, Epoch, LogIndex, Sequence, Slot, SourceId};
use events::vocabulary::heartbeat::HeartbeatBody;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Suite;
use events::vocabulary::{DeviceActivated, HeartbeatObserved, SessionResumed};
use projector::{DirectiveView, Grant, Heard, HeartbeatStatus, Judgement, Outcome};

#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    pub id: DeviceId,
    pub slot: Slot,
    pub source: SourceId,
    /// The epoch that it speaks under; 0 before it activated.
    pub epoch: Epoch,
    pub sequence: Sequence,
    pub acked: Sequence,
    pub seen: LogIndex,
    /// Random at each start.
    pub boot: u32,
    pub boot_count: u32,
    pub obeyed: events::vocabulary::shared::DirectiveId,
    pub directive: Option<DirectiveView>,
    pub number: u32,
    /// The version that it runs.
    pub firmware: u32,
    /// Salt of everything that a real terminal takes from its random generator.
    pub entropy: u32,
}

/// What the terminal learns of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heartbeat {
    Judged(HeartbeatStatus),
    Refused(Judgement),
}

pub(crate) const COMMITTED: Heartbeat = Heartbeat::Judged(HeartbeatStatus::Committed);

impl Terminal {
    pub(crate) fn burned(world: &mut World, unit: u32) -> Self {
        Terminal {
            id: device_id(unit),
            slot: world.import(unit),
            source: source("home-1"),
            epoch: 0,
            sequence: 0,
            acked: 0,
            seen: 0,
            boot: unit,
            boot_count: 1,
            obeyed: Default::default(),
            directive: None,
            number: 0,
            firmware: 1,
            entropy: unit * 1000,
        }
    }

    /// Burned, activated with the unit's own code, and heard once.
    pub(crate) fn alive(world: &mut World, unit: u32) -> Self {
        let mut terminal = Terminal::burned(world, unit);
        terminal.activate(world, crate::world::code(unit));
        assert_eq!(terminal.beat(world), COMMITTED);
        terminal
    }

    pub(crate) fn random(&mut self) -> u32 {
        self.entropy += 1;
        self.entropy
    }

    pub(crate) fn activation(&mut self, world: &World, code: Option<CodeDigest>) -> DeviceActivated {
        let random = self.random();
        DeviceActivated {
            device: self.id,
            code,
            transcript: random.to_le_bytes().to_vec(),
            signature: vec![0; 96],
            mismatched: Vec::new(),
            ticket_generation: world.fold.generation(),
            ticket_applied: world.applied(),
            boot: self.boot_id(),
            boot_count: self.boot_count,
            firmware: self.firmware,
            suite: Suite::Aes256Gcm,
            epoch: world.fold.device(self.slot).unwrap().epoch_for_activation(self.epoch),
            epoch_claimed: self.epoch,
            server_nonce: [random as u8; 32],
            resumption: wrapped(random),
            source: self.source.clone(),
        }
    }

    #[track_caller]
    pub(crate) fn activate(&mut self, world: &mut World, code: CodeDigest) {
        let event = self.activation(world, Some(code));
        match world.tell(event) {
            Outcome::Activated(grant) => self.enter(&grant),
            other => panic!("not activated: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn rekey(&mut self, world: &mut World) {
        let event = self.activation(world, None);
        match world.tell(event) {
            Outcome::Activated(grant) => self.enter(&grant),
            other => panic!("not re-keyed: {other:?}"),
        }
    }

    /// A resume with a ticket of now.
    pub(crate) fn resumption(&mut self, world: &World) -> SessionResumed {
        let random = self.random();
        let mut client_nonce = [0; 16];
        client_nonce[..4].copy_from_slice(&random.to_le_bytes());
        SessionResumed {
            device: self.id,
            from_epoch: self.epoch,
            epoch: world.fold.device(self.slot).unwrap().next_epoch(),
            client_nonce,
            server_nonce: [random as u8; 32],
            ticket_generation: world.fold.generation(),
            ticket_applied: world.applied(),
            boot: self.boot_id(),
            boot_count: self.boot_count,
            firmware: self.firmware,
            suite: Suite::Aes256Gcm,
            resumption: wrapped(random),
            source: self.source.clone(),
        }
    }

    /// Starts anew and resumes; false if it was refused.
    pub(crate) fn resume(&mut self, world: &mut World) -> bool {
        (self.boot, self.boot_count, self.number) = (self.random(), self.boot_count + 1, 0);
        let event = self.resumption(world);
        match world.tell(event) {
            Outcome::Resumed(grant) => {
                self.enter(&grant);
                true
            }
            Outcome::Refused(RejectionReason::EpochStale) => false,
            other => panic!("neither resumed nor stale: {other:?}"),
        }
    }

    pub(crate) fn enter(&mut self, grant: &Grant) {
        assert_eq!(grant.device, self.id);
        (self.epoch, self.sequence, self.acked) = (grant.epoch, 0, 0);
        self.seen = self.seen.max(grant.granted);
    }

    /// Seals the next heartbeat, delivers it and takes the verdict in.
    pub(crate) fn beat(&mut self, world: &mut World) -> Heartbeat {
        self.sequence += 1;
        self.number += 1;
        let digest = self.random();
        self.deliver(world, self.sequence, digest)
    }

    /// Delivers a heartbeat as a node would: judge, then row, event or refusal.
    pub(crate) fn deliver(&mut self, world: &mut World, sequence: Sequence, digest: u32) -> Heartbeat {
        let heard = Heard { epoch: self.epoch, sequence, digest, acked: self.acked, seen: self.seen };
        let judgement = world.fold.judge(self.slot, &heard);
        let device = world.fold.device(self.slot).unwrap();
        let says_news = device.source() != Some(&self.source) || self.directive.is_some();
        let outcome = match judgement {
            Judgement::Routine if !says_news => world.row(self.row(&heard)),
            Judgement::Routine | Judgement::Irregular | Judgement::CloneEvidence => {
                match world.tell(self.observed(&heard)) {
                    Outcome::Observed(outcome) => outcome,
                    other => panic!("not observed: {other:?}"),
                }
            }
            Judgement::Retry => {
                self.answered(sequence, world.applied());
                return Heartbeat::Judged(HeartbeatStatus::Retried);
            }
            Judgement::Replay | Judgement::Stale | Judgement::UnknownEpoch | Judgement::BehindSeen => {
                return Heartbeat::Refused(judgement);
            }
        };
        if outcome.status != HeartbeatStatus::EpochStale {
            self.answered(sequence, world.applied());
            self.directive = outcome.directive;
        }
        Heartbeat::Judged(outcome.status)
    }

    pub(crate) fn row(&self, heard: &Heard) -> HeartbeatRow {
        HeartbeatRow {
            slot: self.slot,
            epoch_low: heard.epoch as u16,
            sequence: heard.sequence,
            digest: heard.digest,
            seen_low: heard.seen as u32,
            unacked: u8::try_from(heard.sequence - heard.acked).unwrap(),
            condition: 0,
        }
    }

    pub(crate) fn observed(&self, heard: &Heard) -> HeartbeatObserved {
        HeartbeatObserved {
            device: self.id,
            epoch: heard.epoch,
            sequence: heard.sequence,
            seen: heard.seen,
            acked: heard.acked,
            digest: heard.digest,
            source: self.source.clone(),
            body: HeartbeatBody {
                number: self.number,
                firmware: self.firmware,
                obeyed: self.obeyed,
                ..HeartbeatBody::default()
            },
        }
    }

    /// Obeys what the last verdict named; the next heartbeat says so.
    pub(crate) fn obey(&mut self) {
        if let Some(directive) = self.directive {
            self.obeyed = self.obeyed.max(directive.id);
        }
    }

    fn answered(&mut self, sequence: Sequence, index: LogIndex) {
        self.acked = self.acked.max(sequence);
        self.seen = self.seen.max(index);
    }

    fn boot_id(&self) -> BootId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.boot.to_le_bytes());
        BootId::from_bytes(bytes)
    }
}
