//! The events of one device's life, as the nodes that admitted them would propose them.

use super::members::lot;
use events::identity::key::{DeviceSeed, PublicKey};
use events::ids::{BootId, CodeBatchId, CodeDigest, DeviceId, RecordDigest, StationId};
use events::time::Timestamp;
use events::vocabulary::heartbeat::HeartbeatBody;
use events::vocabulary::license::Plan;
use events::vocabulary::shared::{Suite, Wrapped};
use events::vocabulary::{
    CodesIssued, DeviceActivated, DeviceProvisioned, Event, HeartbeatObserved, StationCertified,
};
use nodes::entropy::{EntropyRng, OsEntropy};

const STATION: StationId = StationId::from_bytes([2; 4]);
const CODE: CodeDigest = CodeDigest::from_bytes([3; 16]);

pub struct Device {
    public_key: PublicKey,
    /// What its plan grants; 0 is without end.
    term_seconds: u64,
}

fn wrapped() -> Wrapped {
    Wrapped { key: 1, salt: [0; 16], sealed: vec![0; 64] }
}

impl Device {
    pub fn new() -> Self {
        let public_key = DeviceSeed::generate(&mut EntropyRng(&OsEntropy)).device_key().public();
        Device { public_key, term_seconds: 0 }
    }

    pub fn for_a_year() -> Self {
        Device { term_seconds: 365 * 86_400, ..Device::new() }
    }

    pub fn id(&self) -> DeviceId {
        self.public_key.device_id()
    }

    /// Burned, sold, activated.
    pub fn life(&self) -> Vec<Event> {
        vec![super::members::lot_created(1), certified(), self.provisioned(), self.issued(), self.activated()]
    }

    /// The same, heard; and then one sequence comes twice with other content.
    pub fn life_of_a_clone(&self) -> Vec<Event> {
        let mut life = self.life();
        life.extend([self.heartbeat(0xaaaa), self.heartbeat(0xbbbb)]);
        life
    }

    fn provisioned(&self) -> Event {
        DeviceProvisioned {
            device: self.id(),
            lot: lot(1),
            station: STATION,
            unit: 1,
            public_key: self.public_key.as_bytes().to_vec(),
            pre_shared_key: wrapped(),
            nats_key: [0; 32],
            components: vec![],
            record: RecordDigest::from_bytes([4; 16]),
            burned_at: Timestamp::from_millis(1_000),
        }
        .into()
    }

    fn issued(&self) -> Event {
        let term_seconds = self.term_seconds;
        CodesIssued {
            batch: CodeBatchId::from_bytes([1; 8]),
            plan: Plan { name: "basic".into(), entitlements: vec![], term_seconds, lease_seconds: 3600 },
            reseller: "corner shop".into(),
            codes: vec![CODE],
        }
        .into()
    }

    fn activated(&self) -> Event {
        DeviceActivated {
            device: self.id(),
            code: Some(CODE),
            transcript: vec![5; 300],
            signature: vec![6; 96],
            mismatched: vec![],
            ticket_generation: 1,
            ticket_applied: 1,
            boot: BootId::from_bytes([7; 16]),
            boot_count: 1,
            firmware: 1,
            suite: Suite::Aes256Gcm,
            epoch: 1,
            epoch_claimed: 0,
            server_nonce: [8; 32],
            resumption: wrapped(),
            source: "shop-1".parse().unwrap(),
        }
        .into()
    }

    fn heartbeat(&self, digest: u32) -> Event {
        HeartbeatObserved {
            device: self.id(),
            epoch: 1,
            sequence: 1,
            seen: 0,
            acked: 0,
            digest,
            source: "shop-1".parse().unwrap(),
            body: HeartbeatBody { number: 1, firmware: 1, ..HeartbeatBody::default() },
        }
        .into()
    }
}

fn certified() -> Event {
    StationCertified {
        station: STATION,
        lot: lot(1),
        public_key: vec![4; 97],
        quota: 10,
        until: Timestamp::from_millis(4_000_000_000_000),
        certificate: vec![],
    }
    .into()
}
