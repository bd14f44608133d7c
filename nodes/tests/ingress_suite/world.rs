//! A cluster of one log, its nodes' ingress on buses in memory, and a factory that burned some terminals.

use crate::terminal::Terminal;
use bytes::Bytes;
use events::batch::{Batch, BatchId, access, split_stamp};
use events::envelope::Refusal;
use events::identity::lot::{LotSecret, TamperKey};
use events::ids::{ClusterId, CodeBatchId, LotId, NodeId, SourceId, StationId};
use events::keyring::rotation::KeyList;
use events::keyring::{ClusterPublic, Keyring, Purpose};
use events::license::code::ActivationCode;
use events::time::Timestamp;
use events::vocabulary::license::Plan;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::ComponentKind;
use events::vocabulary::{
    ClusterCreated, CodesIssued, Event, LotCreated, RejectionSummary, StationCertified,
};
use nodes::bus::subject::UpKind;
use nodes::bus::{Bus, MemBus, Message, QUEUE_GROUP};
use nodes::clock::{Clock, SystemClock};
use nodes::entropy::{EntropyRng, OsEntropy};
use nodes::ingress::buckets::Rate;
use nodes::ingress::testing::LocalLog;
use nodes::ingress::{Ingress, IngressCounters, IngressDeps, IngressHandle, IngressLimits};
use nodes::shared_projector::SharedProjector;
use projector::{Outcome, Projector};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Nothing here takes so long; a test that waits for it fails.
pub(crate) const TOO_LONG: Duration = Duration::from_secs(20);
pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub(crate) const HEARTBEAT_MILLIS: u32 = 1_000;
pub(crate) const LOT: LotId = LotId::from_bytes([1, 2, 3, 4]);
pub(crate) const STATION: StationId = StationId::from_bytes([9, 9, 9, 9]);

/// Where all sources are that no test puts elsewhere.
const REGION: &str = "eu";

pub(crate) fn rng() -> EntropyRng<'static> {
    EntropyRng(&OsEntropy)
}

/// The system's clocks, and a way to let time pass.
pub(crate) struct TestClock {
    system: SystemClock,
    ahead: AtomicU64,
}

impl TestClock {
    pub(crate) fn advance(&self, millis: u64) {
        self.ahead.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        START.plus_millis(self.monotonic_millis())
    }
    fn monotonic_millis(&self) -> u64 {
        self.system.monotonic_millis() + self.ahead.load(Ordering::SeqCst)
    }
}

/// One node's ingress on a bus of its own.
pub(crate) struct Node {
    pub(crate) bus: MemBus,
    pub(crate) fold: SharedProjector,
    pub(crate) ingress: IngressHandle,
    pub(crate) serving: watch::Sender<bool>,
}

pub(crate) struct World {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) public: ClusterPublic,
    pub(crate) tamper_key: TamperKey,
    pub(crate) log: LocalLog,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) nodes: Vec<Node>,
    started: NodeId,
    units: u32,
    batches: u64,
    inboxes: AtomicU64,
}

impl World {
    /// One node that leads.
    pub(crate) async fn new() -> World {
        World::with_limits(limits()).await
    }

    pub(crate) async fn with_limits(limits: IngressLimits) -> World {
        let keyring = Arc::new(Keyring::generate(&mut rng(), ClusterId::from_bytes([5; 16])));
        let leader = SharedProjector::new(Projector::new());
        let tamper_key = LotSecret::generate(&mut rng()).tamper_key(LOT);
        let mut world = World {
            public: keyring.public(),
            keyring,
            tamper_key,
            log: LocalLog::new(leader.clone(), START),
            clock: Arc::new(TestClock { system: SystemClock::new(), ahead: AtomicU64::new(0) }),
            nodes: Vec::new(),
            started: 0,
            units: 0,
            batches: 0,
            inboxes: AtomicU64::new(0),
        };
        world.create_cluster();
        world.add_node(leader, limits).await;
        world
    }

    /// A second node that shares the first one's fold, and so is never behind.
    pub(crate) async fn add_twin(&mut self) {
        let fold = self.nodes[0].fold.clone();
        self.add_node(fold, limits()).await;
    }

    /// As above, under a keyring whose present key of `list` came after all that is wrapped here.
    pub(crate) async fn add_twin_lacking(&mut self, list: KeyList) {
        let mut other = Keyring::from_json(&self.keyring.to_json()).unwrap();
        let (keys, _) = other.key_numbers(list);
        other.stage(list, &mut rng()).unwrap();
        other.promote(list).unwrap();
        keys.into_iter().for_each(|key| other.retire(list, key).unwrap());
        let own = std::mem::replace(&mut self.keyring, Arc::new(other));
        self.add_twin().await;
        self.keyring = own;
    }

    /// A node that applies only when `log.catch_up()` is called.
    pub(crate) async fn add_follower(&mut self) {
        let fold = SharedProjector::new(Projector::new());
        self.log.add_follower(fold.clone());
        self.add_node(fold, limits()).await;
    }

    async fn add_node(&mut self, fold: SharedProjector, limits: IngressLimits) {
        let bus = MemBus::new();
        let (ingress, serving) = self.start_ingress(Arc::new(bus.clone()), fold.clone(), limits);
        let members = bus.until_members(QUEUE_GROUP, UpKind::ALL.len());
        timeout(TOO_LONG, members).await.expect("ingress must join the queue group");
        self.nodes.push(Node { bus, fold, ingress, serving });
    }

    /// One more node's ingress, on any bus.
    pub(crate) fn start_ingress(
        &mut self,
        bus: Arc<dyn Bus>,
        fold: SharedProjector,
        limits: IngressLimits,
    ) -> (IngressHandle, watch::Sender<bool>) {
        let (serving, is_serving) = watch::channel(true);
        self.started += 1;
        let ingress = Ingress::start(IngressDeps {
            bus,
            projector: fold,
            log: Arc::new(self.log.clone()),
            keyring: Arc::clone(&self.keyring),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            entropy: Arc::new(OsEntropy),
            node: self.started,
            limits,
            serving: is_serving,
        });
        (ingress, serving)
    }

    fn create_cluster(&mut self) {
        let wrapped =
            self.keyring.wrap(&mut rng(), Purpose::TamperKey, LOT.as_bytes(), 0, self.tamper_key.as_bytes());
        let cluster = self.keyring.cluster;
        self.commit(&[
            ClusterCreated { cluster, generation: 1, heartbeat_millis: HEARTBEAT_MILLIS }.into(),
            LotCreated {
                lot: LOT,
                sku: "box".into(),
                required: vec![ComponentKind::SocSerial],
                optional: vec![ComponentKind::EmmcCid, ComponentKind::MacAddress],
                threshold: 1,
                tamper_key: wrapped,
            }
            .into(),
            StationCertified {
                station: STATION,
                lot: LOT,
                public_key: vec![4; 97],
                quota: 1_000_000,
                until: START.plus_millis(1_000_000_000),
                certificate: vec![],
            }
            .into(),
        ]);
    }

    /// Commits events beside ingress, as the factory's and the operators' ways do; all of them must be applied.
    pub(crate) fn commit(&mut self, events: &[Event]) -> Vec<Outcome> {
        self.batches += 1;
        let mut batch = Batch::new(BatchId { node: 99, boot: 1, counter: self.batches });
        events.iter().for_each(|event| batch.push(event).unwrap());
        let outcomes = self.log.append(&batch.encode().unwrap()).unwrap();
        let refused =
            |o: &&Outcome| matches!(o, Outcome::Declined(_) | Outcome::Refused(_) | Outcome::Raced { .. });
        assert_eq!(outcomes.events.iter().find(refused), None);
        outcomes.events
    }

    /// A terminal that was burned and imported.
    pub(crate) fn burn(&mut self) -> Terminal {
        self.units += 1;
        let terminal = Terminal::burn(self.units);
        let event = terminal.provisioned(&self.keyring);
        self.commit(&[event]);
        terminal
    }

    /// A terminal that was burned, and whose manifest is not imported.
    pub(crate) fn burn_unknown(&mut self) -> Terminal {
        self.units += 1;
        Terminal::burn(self.units)
    }

    pub(crate) fn sell_code(&mut self) -> ActivationCode {
        let code = ActivationCode::generate(&mut rng());
        let plan = Plan {
            name: "gold".into(),
            entitlements: vec!["tv".into()],
            term_seconds: 0,
            lease_seconds: 3_600,
        };
        let digest = self.keyring.code_digest(&code);
        let batch = CodeBatchId::from_bytes(self.batches.to_le_bytes());
        self.commit(&[CodesIssued { batch, plan, reseller: "shop".into(), codes: vec![digest] }.into()]);
        code
    }

    pub(crate) fn inbox(&self, sender: &str) -> String {
        let number = self.inboxes.fetch_add(1, Ordering::Relaxed);
        format!("_INBOX_{sender}.{number}")
    }

    /// Sends to the first node and waits for the answer.
    pub(crate) async fn ask(&self, kind: UpKind, source: &str, sender: &str, payload: Vec<u8>) -> Bytes {
        self.ask_node(0, kind, source, sender, payload).await
    }

    pub(crate) async fn ask_node(
        &self,
        node: usize,
        kind: UpKind,
        source: &str,
        sender: &str,
        payload: Vec<u8>,
    ) -> Bytes {
        let mut inbox = self.send(node, kind, source, sender, payload);
        answered(&mut inbox).await
    }

    /// Sends and returns where the answer will come.
    pub(crate) fn send(
        &self,
        node: usize,
        kind: UpKind,
        source: &str,
        sender: &str,
        payload: Vec<u8>,
    ) -> mpsc::UnboundedReceiver<Message> {
        self.send_in(REGION, node, kind, source, sender, payload)
    }

    /// As [`World::send`], from a source of another region.
    pub(crate) fn send_in(
        &self,
        region: &str,
        node: usize,
        kind: UpKind,
        source: &str,
        sender: &str,
        payload: Vec<u8>,
    ) -> mpsc::UnboundedReceiver<Message> {
        let inbox = self.inbox(sender);
        let bus = &self.nodes[node].bus;
        let answers = bus.listen(&inbox);
        let subject = format!("muster.v1.{region}.up.{source}.{sender}.{}", kind.as_str());
        bus.send(Message::new(subject, inbox, payload));
        answers
    }

    /// Waits until everything that was sent to a node before is admitted: every burst takes from all kinds.
    pub(crate) async fn admitted(&self, node: usize) {
        let nobody = events::ids::DeviceId::from_bytes([0; 16]);
        let hello = events::envelope::ticket::encode_hello(nobody);
        self.ask_node(node, UpKind::Hello, "barrier", &nobody.to_string(), hello).await;
    }

    /// Waits until the fold of a node says so.
    pub(crate) async fn until(&self, node: usize, says: impl Fn(&Projector) -> bool) {
        let fold = &self.nodes[node].fold;
        let mut applied = fold.applied();
        let wait = async {
            while !fold.read(&says) {
                applied.changed().await.unwrap();
            }
        };
        timeout(TOO_LONG, wait).await.expect("the fold must come to say so");
    }

    /// Waits until a node's counters say so.
    pub(crate) async fn until_counted(&self, node: usize, says: impl Fn(&IngressCounters) -> bool) {
        let wait = async {
            while !says(&self.nodes[node].ingress.counters()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(TOO_LONG, wait).await.expect("the counters must come to say so");
    }

    /// Waits until this many refusals of `source` for `reason` are in the log.
    pub(crate) async fn until_refused(&self, source: &str, reason: RejectionReason, count: u64) {
        let (source, reason) = (source_id(source), reason.to_string());
        let refused = |fold: &Projector| fold.source(&source).and_then(|s| s.refused.get(&reason).copied());
        self.until(0, |fold| refused(fold).unwrap_or(0) >= count).await;
        assert_eq!(self.nodes[0].fold.read(refused), Some(count));
    }

    /// All events of the log in order.
    pub(crate) fn events(&self) -> Vec<Event> {
        let decode = |payload: Bytes| {
            let (_, batch) = split_stamp(&payload).unwrap();
            access(batch).unwrap().decode_events().map(Result::unwrap).collect::<Vec<_>>()
        };
        self.log.entries().into_iter().flat_map(decode).collect()
    }

    /// Heartbeats that the log holds as rows.
    pub(crate) fn rows(&self) -> usize {
        let rows = |payload: Bytes| access(split_stamp(&payload).unwrap().1).unwrap().heartbeats.len();
        self.log.entries().into_iter().map(rows).sum()
    }

    pub(crate) fn summaries(&self) -> Vec<RejectionSummary> {
        let summary = |event| match event {
            Event::RejectionSummary(summary) => Some(summary),
            _ => None,
        };
        self.events().into_iter().filter_map(summary).collect()
    }
}

/// A source as the log calls it.
pub(crate) fn source_id(name: &str) -> SourceId {
    format!("{REGION}.{name}").parse().unwrap()
}

/// The next message of an inbox.
pub(crate) async fn answered(inbox: &mut mpsc::UnboundedReceiver<Message>) -> Bytes {
    timeout(TOO_LONG, inbox.recv()).await.expect("an answer must come").unwrap().payload
}

pub(crate) fn limits() -> IngressLimits {
    IngressLimits {
        queue_messages: 4_096,
        parked_per_source: 16,
        activations_parallel: 1,
        activations_waiting: 16,
        sessions_kept: 1_024,
        failures: Rate { burst: 100, every_millis: 60_000 },
        window: Duration::from_millis(50),
    }
}

pub(crate) fn reason(answer: &[u8]) -> RejectionReason {
    Refusal::parse(answer).expect("an unsealed refusal").reason
}
