//! What happens to a small fleet: burned, activated, heard, cloned, restricted, reinstated.

use crate::author::Author;
use events::batch::HeartbeatRow;
use events::identity::key::SigningKey;
use events::ids::{
    BootId, CodeBatchId, CodeDigest, DeviceId, Epoch, LogIndex, LotId, RecordDigest, StationId,
};
use events::time::Timestamp;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody};
use events::vocabulary::license::Plan;
use events::vocabulary::operation::{Cause, Settlement};
use events::vocabulary::shared::{ComponentKind, DirectiveId, OperationKind, Suite, Wrapped};
use events::vocabulary::{
    ClusterCreated, CodesIssued, DeviceActivated, DeviceProvisioned, Event, HeartbeatObserved, LotCreated,
    OperationOrdered, OperationSettled, SessionResumed, SpoolDrained, StationCertified,
};
use projector::{Outcome, WantOperation};

pub(crate) const LOT: LotId = LotId::from_bytes([1; 4]);
pub(crate) const STATION: StationId = StationId::from_bytes([2; 4]);

/// A terminal as far as the log knows it.
pub(crate) struct Unit {
    pub(crate) device: DeviceId,
    pub(crate) slot: u32,
    pub(crate) epoch: Epoch,
    pub(crate) sequence: u32,
    random: u32,
    number: u32,
}

/// A cluster with a lot, a station and some codes.
pub(crate) fn found(author: &mut Author) {
    let cluster = author.keyring.cluster;
    author.accept(ClusterCreated { cluster, generation: 1, heartbeat_millis: 60_000 });
    author.accept(LotCreated {
        lot: LOT,
        sku: "box-1".into(),
        required: vec![ComponentKind::SocSerial],
        optional: vec![ComponentKind::MacAddress, ComponentKind::EmmcCid],
        threshold: 1,
        tamper_key: wrapped(1),
    });
    author.accept(StationCertified {
        station: STATION,
        lot: LOT,
        public_key: vec![4; 97],
        quota: 100_000,
        until: Timestamp::from_millis(2_000_000_000_000),
        certificate: vec![1, 2, 3],
    });
    author.accept(CodesIssued {
        batch: CodeBatchId::from_bytes([9; 8]),
        plan: Plan {
            name: "basic".into(),
            entitlements: vec!["tv".into()],
            term_seconds: 365 * 86_400,
            lease_seconds: 72 * 3600,
        },
        reseller: "corner-shop".into(),
        codes: (0..16).map(code).collect(),
    });
}

pub(crate) fn wrapped(n: u32) -> Wrapped {
    Wrapped { key: 1, salt: [n as u8; 16], sealed: n.to_le_bytes().to_vec() }
}

pub(crate) fn code(n: u32) -> CodeDigest {
    let mut bytes = [0xcd; 16];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    CodeDigest::from_bytes(bytes)
}

pub(crate) fn record(unit: u32) -> RecordDigest {
    let mut bytes = [0x4e; 16];
    bytes[..4].copy_from_slice(&unit.to_le_bytes());
    RecordDigest::from_bytes(bytes)
}

/// The manifest entry of a unit.
pub(crate) fn provisioned(unit: u32) -> DeviceProvisioned {
    let mut seed = [7; 48];
    seed[..4].copy_from_slice(&unit.to_le_bytes());
    let key = SigningKey::from_bytes(&seed).unwrap().public();
    DeviceProvisioned {
        device: key.device_id(),
        lot: LOT,
        station: STATION,
        unit,
        public_key: key.as_bytes().to_vec(),
        pre_shared_key: wrapped(unit),
        nats_key: [unit as u8; 32],
        components: Vec::new(),
        record: record(unit),
        burned_at: Timestamp::from_millis(1_750_000_000_000),
    }
}

impl Unit {
    pub(crate) fn burned(author: &mut Author, unit: u32) -> Self {
        let event = provisioned(unit);
        let device = event.device;
        let Outcome::Imported { slot } = author.tell(event) else { panic!("unit {unit} was not imported") };
        Unit { device, slot, epoch: 0, sequence: 0, random: unit * 1000, number: 0 }
    }

    /// Burned, activated and heard once.
    pub(crate) fn alive(author: &mut Author, unit: u32) -> Self {
        let mut this = Unit::burned(author, unit);
        this.activate(author, code(unit));
        this.observed(author);
        this
    }

    fn draw(&mut self) -> u32 {
        self.random += 1;
        self.random
    }

    pub(crate) fn activate(&mut self, author: &mut Author, code: CodeDigest) {
        let random = self.draw();
        let event = DeviceActivated {
            device: self.device,
            code: Some(code),
            transcript: random.to_le_bytes().to_vec(),
            signature: vec![0; 96],
            mismatched: Vec::new(),
            ticket_generation: 1,
            ticket_applied: author.index(),
            boot: boot(random),
            boot_count: 1,
            firmware: 1,
            suite: Suite::Aes256Gcm,
            epoch: author.fold.device(self.slot).unwrap().epoch_for_activation(self.epoch),
            epoch_claimed: self.epoch,
            server_nonce: [random as u8; 32],
            resumption: wrapped(random),
            source: "home-1".parse().unwrap(),
        };
        match author.tell(event) {
            Outcome::Activated(grant) => self.enter(grant.epoch),
            other => panic!("not activated: {other:?}"),
        }
    }

    pub(crate) fn resume(&mut self, author: &mut Author) {
        let random = self.draw();
        let event = SessionResumed {
            device: self.device,
            from_epoch: self.epoch,
            epoch: author.fold.device(self.slot).unwrap().next_epoch(),
            client_nonce: [random as u8; 16],
            server_nonce: [random as u8; 32],
            ticket_generation: 1,
            ticket_applied: author.index(),
            boot: boot(random),
            boot_count: random,
            firmware: 1,
            suite: Suite::Aes256Gcm,
            resumption: wrapped(random),
            source: "home-1".parse().unwrap(),
        };
        match author.tell(event) {
            Outcome::Resumed(grant) => self.enter(grant.epoch),
            other => panic!("not resumed: {other:?}"),
        }
    }

    fn enter(&mut self, epoch: Epoch) {
        (self.epoch, self.sequence) = (epoch, 0);
    }

    /// The next heartbeat, told as an event.
    pub(crate) fn observed(&mut self, author: &mut Author) -> LogIndex {
        self.sequence += 1;
        self.number += 1;
        let digest = self.draw();
        self.observed_as(author, self.sequence, digest, DirectiveId::default())
    }

    pub(crate) fn observed_as(
        &mut self,
        author: &mut Author,
        sequence: u32,
        digest: u32,
        obeyed: DirectiveId,
    ) -> LogIndex {
        let event = self.heard(author, sequence, digest, obeyed);
        let Outcome::Observed(_) = author.tell(event) else { panic!("not observed") };
        author.index()
    }

    /// The next heartbeat, which brings what an outage kept the terminal from saying.
    pub(crate) fn drain(&mut self, author: &mut Author, bodies: u32) {
        self.sequence += 1;
        let missed = self.number + 1..=self.number + bodies;
        self.number += bodies + 1;
        let digest = self.draw();
        let heartbeat = self.heard(author, self.sequence, digest, DirectiveId::default());
        let boot_count = author.fold.device(self.slot).unwrap().summary().boot_count;
        let body = |number| SpooledBody {
            boot_count,
            number,
            uptime_seconds: 60 * number,
            firmware: 1,
            made: Timestamp::from_millis(author.now),
            condition: 0,
        };
        let spooled = missed.rev().map(body).collect();
        let outcome = author.tell(SpoolDrained { heartbeat, spooled });
        let Outcome::Observed(_) = outcome else { panic!("not observed: {outcome:?}") };
    }

    fn heard(&self, author: &Author, sequence: u32, digest: u32, obeyed: DirectiveId) -> HeartbeatObserved {
        HeartbeatObserved {
            device: self.device,
            epoch: self.epoch,
            sequence,
            seen: author.index(),
            acked: sequence - 1,
            digest,
            source: "home-1".parse().unwrap(),
            body: HeartbeatBody { number: self.number, firmware: 1, obeyed, ..HeartbeatBody::default() },
        }
    }

    /// The next heartbeat, as a row.
    pub(crate) fn row(&mut self, author: &Author) -> HeartbeatRow {
        self.sequence += 1;
        self.number += 1;
        HeartbeatRow {
            slot: self.slot,
            epoch_low: self.epoch as u16,
            sequence: self.sequence,
            digest: self.draw(),
            seen_low: author.index() as u32,
            unacked: 1,
            condition: 0,
        }
    }

    /// Two hold one secret: heartbeats of one sequence and other content, until policy restricts the device. Returns
    /// the log index of the order.
    pub(crate) fn be_cloned(&mut self, author: &mut Author) -> LogIndex {
        while author.fold.wanted_operations().is_empty() {
            self.observed(author);
            let digest = self.draw();
            self.observed_as(author, self.sequence, digest, DirectiveId::default());
            assert!(self.sequence < 100, "nobody notices the clone");
        }
        let WantOperation { kind, device, cause, expires } = author.fold.wanted_operations().remove(0);
        assert_eq!((kind, device), (OperationKind::Restrict, self.device));
        let Outcome::Ordered { .. } = author.tell(OperationOrdered { kind, device, cause, expires }) else {
            panic!("not ordered")
        };
        author.index()
    }

    pub(crate) fn obey(&mut self, author: &mut Author, ordered: LogIndex) {
        let settled = OperationSettled { device: self.device, ordered, settlement: Settlement::Obeyed };
        author.accept(settled);
    }
}

pub(crate) fn by_hand(kind: OperationKind, device: DeviceId, reason: &str) -> Event {
    let cause = Cause::Operator { name: "ada".into(), reason: reason.into() };
    OperationOrdered { kind, device, cause, expires: Timestamp::ZERO }.into()
}

fn boot(n: u32) -> BootId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    BootId::from_bytes(bytes)
}

/// Everything that a test wants to look back at.
pub(crate) struct Fleet {
    pub(crate) author: Author,
    pub(crate) honest: Unit,
    pub(crate) cloned: Unit,
    /// Before the clone spoke.
    pub(crate) quiet: LogIndex,
    pub(crate) ordered: LogIndex,
}

/// A log of two terminals, one of them cloned and restricted; in three segments, closed.
pub(crate) fn fleet(dir: &std::path::Path) -> Fleet {
    let mut author = Author::begin(dir);
    found(&mut author);
    let mut honest = Unit::alive(&mut author, 1);
    let mut cloned = Unit::alive(&mut author, 2);
    author.restart();
    for _ in 0..5 {
        let rows = [honest.row(&author), cloned.row(&author)];
        let _ = author.commit(&[], &rows);
    }
    author.be_overruled();
    let quiet = author.index();
    author.now += 86_400_000;
    let ordered = cloned.be_cloned(&mut author);
    author.restart();
    cloned.obey(&mut author, ordered);
    honest.resume(&mut author);
    honest.observed(&mut author);
    author.stop();
    Fleet { author, honest, cloned, quiet, ordered }
}
