//! A terminal as the agent would be: it holds its seed and speaks real envelopes.

use crate::world::{LOT, START, STATION, World, rng};
use events::envelope::heartbeat::{HeartbeatHead, RequestDigest};
use events::envelope::resume::{ResumeBody, ResumeHead};
use events::envelope::session::EpochBinding;
use events::envelope::ticket::encode_hello;
use events::envelope::{
    ActivationBody, Answer, GrantBody, PreparedActivation, ResumptionSecret, SessionKeys, SuiteSet, Ticket,
    VerdictBody, after_activation, after_resume, open_activation_answer, open_resume_answer, seal_activation,
    seal_resume,
};
use events::identity::fingerprint::{Component, Fingerprint};
use events::identity::key::DeviceSeed;
use events::ids::{BootId, DeviceId, Epoch, LogIndex, RecordDigest, Sequence};
use events::keyring::{Keyring, Purpose};
use events::license::code::ActivationCode;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody};
use events::vocabulary::provisioning::ComponentDigest;
use events::vocabulary::shared::ComponentKind;
use events::vocabulary::{DeviceProvisioned, Event};
use nodes::bus::subject::UpKind;

pub(crate) struct Terminal {
    pub(crate) seed: DeviceSeed,
    pub(crate) id: DeviceId,
    pub(crate) unit: u32,
    pub(crate) record: RecordDigest,
    pub(crate) components: Vec<ComponentDigest>,
    pub(crate) source: String,
}

/// A session as the terminal sees it.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) epoch: Epoch,
    pub(crate) secret: ResumptionSecret,
    pub(crate) keys: SessionKeys,
    pub(crate) sequence: Sequence,
    pub(crate) acked: Sequence,
    pub(crate) seen: LogIndex,
}

/// Digests of this hardware under the terminal's seed.
pub(crate) fn digests(seed: &DeviceSeed, unit: u32, emmc: &str) -> Vec<ComponentDigest> {
    let component = |kind, value: String| Component::new(kind, value.as_bytes()).unwrap();
    let fingerprint = Fingerprint::new(vec![
        component(ComponentKind::SocSerial, format!("soc-{unit}")),
        component(ComponentKind::EmmcCid, emmc.to_owned()),
        component(ComponentKind::MacAddress, format!("mac-{unit}")),
    ]);
    fingerprint.unwrap().digests(seed)
}

impl Terminal {
    pub(crate) fn burn(unit: u32) -> Terminal {
        let seed = DeviceSeed::generate(&mut rng());
        let id = seed.device_key().public().device_id();
        let mut record = [0; 16];
        record[..4].copy_from_slice(&unit.to_le_bytes());
        let components = digests(&seed, unit, "emmc");
        let record = RecordDigest::from_bytes(record);
        Terminal { seed, id, unit, record, components, source: format!("home-{unit}") }
    }

    /// As the importing node would propose it.
    pub(crate) fn provisioned(&self, keyring: &Keyring) -> Event {
        let pre_shared = self.seed.pre_shared_key();
        let subject = self.id.as_bytes();
        let wrapped = keyring.wrap(&mut rng(), Purpose::PreSharedKey, subject, 0, pre_shared.as_bytes());
        DeviceProvisioned {
            device: self.id,
            lot: LOT,
            station: STATION,
            unit: self.unit,
            public_key: self.seed.device_key().public().as_bytes().to_vec(),
            pre_shared_key: wrapped,
            nats_key: self.seed.nats_public(),
            components: self.components.clone(),
            record: self.record,
            burned_at: START,
        }
        .into()
    }

    pub(crate) fn name(&self) -> String {
        self.id.to_string()
    }

    pub(crate) async fn hello(&self, world: &World) -> Ticket {
        self.hello_to(world, 0).await
    }

    pub(crate) async fn hello_to(&self, world: &World, node: usize) -> Ticket {
        let hello = encode_hello(self.id);
        let answer = world.ask_node(node, UpKind::Hello, &self.source, &self.name(), hello).await;
        Ticket::parse_answer(&answer).unwrap()
    }

    pub(crate) fn activation_body(&self, code: Option<ActivationCode>) -> ActivationBody {
        ActivationBody {
            code,
            record: self.record,
            random: [3; 32],
            boot: BootId::from_bytes([1; 16]),
            boot_count: 1,
            firmware: 7,
            epoch_claimed: 0,
            components: self.components.clone(),
        }
    }

    pub(crate) fn seal_activation(
        &self,
        world: &World,
        ticket: &Ticket,
        body: &ActivationBody,
    ) -> PreparedActivation {
        let (key, pre_shared) = (self.seed.device_key(), self.seed.pre_shared_key());
        seal_activation(&mut rng(), &key, &pre_shared, &world.public, SuiteSet::ALL, ticket, body).unwrap()
    }

    /// Sends a sealed activation and opens the sealed answer.
    pub(crate) async fn ask_activation(
        &self,
        world: &World,
        prepared: &PreparedActivation,
    ) -> (LogIndex, Answer) {
        let message = prepared.message.clone();
        let answer = world.ask(UpKind::Activation, &self.source, &self.name(), message).await;
        open_activation_answer(&prepared.exporter, &prepared.message, &answer).expect("a sealed answer")
    }

    pub(crate) fn after_activation(
        &self,
        prepared: &PreparedActivation,
        index: LogIndex,
        grant: &GrantBody,
    ) -> Live {
        let secret = after_activation(&prepared.exporter, &grant.server_nonce, &self.binding(grant));
        self.live(secret, index, grant)
    }

    /// Buys a code and activates with it.
    pub(crate) async fn activate(&self, world: &mut World) -> Live {
        let code = world.sell_code();
        let ticket = self.hello(world).await;
        let prepared = self.seal_activation(world, &ticket, &self.activation_body(Some(code)));
        match self.ask_activation(world, &prepared).await {
            (index, Answer::Granted(grant)) => self.after_activation(&prepared, index, &grant),
            (_, Answer::Refused(reason)) => panic!("the activation was refused: {reason}"),
        }
    }

    pub(crate) fn seal_resume(&self, live: &Live, ticket: &Ticket, nonce: u8) -> (ResumeHead, Vec<u8>) {
        let head = ResumeHead {
            device: self.id,
            from_epoch: live.epoch,
            client_nonce: [nonce; 16],
            offered: SuiteSet::ALL,
            ticket: *ticket,
        };
        let body = ResumeBody { boot: BootId::from_bytes([nonce; 16]), boot_count: 2, firmware: 7 };
        let message = seal_resume(&live.secret, &head, &body);
        (head, message)
    }

    /// Sends a sealed resume to a node and opens the sealed answer.
    pub(crate) async fn ask_resume(
        &self,
        world: &World,
        node: usize,
        live: &Live,
        head: &ResumeHead,
        message: &[u8],
    ) -> (LogIndex, Answer) {
        let sealed = world.ask_node(node, UpKind::Resume, &self.source, &self.name(), message.to_vec()).await;
        open_resume_answer(&live.secret, head, message, &sealed).expect("a sealed answer")
    }

    pub(crate) fn after_resume(
        &self,
        from: &Live,
        head: &ResumeHead,
        index: LogIndex,
        grant: &GrantBody,
    ) -> Live {
        let secret =
            after_resume(&from.secret, &head.client_nonce, &grant.server_nonce, &self.binding(grant));
        self.live(secret, index, grant)
    }

    pub(crate) async fn resume(&self, world: &World, live: &Live, nonce: u8) -> Live {
        let ticket = self.hello(world).await;
        let (head, message) = self.seal_resume(live, &ticket, nonce);
        match self.ask_resume(world, 0, live, &head, &message).await {
            (index, Answer::Granted(grant)) => self.after_resume(live, &head, index, &grant),
            (_, Answer::Refused(reason)) => panic!("the resume was refused: {reason}"),
        }
    }

    fn binding(&self, grant: &GrantBody) -> EpochBinding {
        EpochBinding { device: self.id, epoch: grant.epoch, offered: SuiteSet::ALL, suite: grant.suite }
    }

    fn live(&self, secret: ResumptionSecret, index: LogIndex, grant: &GrantBody) -> Live {
        let keys = secret.session_keys(self.id, grant.epoch, grant.suite);
        Live { epoch: grant.epoch, secret, keys, sequence: 0, acked: 0, seen: index }
    }

    /// The next heartbeat of a session, sealed.
    pub(crate) fn seal_heartbeat(&self, live: &mut Live) -> Vec<u8> {
        live.sequence += 1;
        let body = HeartbeatBody { number: live.sequence, firmware: 7, ..HeartbeatBody::default() };
        self.seal_body(live, &body)
    }

    /// The next heartbeat of a session, which brings `spooled` along.
    pub(crate) fn seal_spool(&self, live: &mut Live, spooled: &[SpooledBody]) -> Vec<u8> {
        live.sequence += 1;
        let body = HeartbeatBody { number: live.sequence, firmware: 7, ..HeartbeatBody::default() };
        self.seal(live, &body, spooled)
    }

    pub(crate) fn seal_body(&self, live: &Live, body: &HeartbeatBody) -> Vec<u8> {
        self.seal(live, body, &[])
    }

    fn seal(&self, live: &Live, body: &HeartbeatBody, spooled: &[SpooledBody]) -> Vec<u8> {
        let head = HeartbeatHead {
            device: self.id,
            epoch: live.epoch,
            sequence: live.sequence,
            acked: live.acked,
            seen: live.seen,
        };
        live.keys.seal_heartbeat_with_spool(&head, body, spooled)
    }

    /// Sends a sealed heartbeat to a node; the answer as it came.
    pub(crate) async fn send_heartbeat(&self, world: &World, node: usize, message: &[u8]) -> bytes::Bytes {
        world.ask_node(node, UpKind::Heartbeat, &self.source, &self.name(), message.to_vec()).await
    }

    /// One heartbeat and its verdict, as an honest terminal does it.
    pub(crate) async fn beat(&self, world: &World, live: &mut Live) -> VerdictBody {
        let message = self.seal_heartbeat(live);
        let answer = self.send_heartbeat(world, 0, &message).await;
        self.accept(live, &message, &answer)
    }

    /// Opens the verdict and takes over what it says.
    pub(crate) fn accept(&self, live: &mut Live, message: &[u8], answer: &[u8]) -> VerdictBody {
        let verdict = live.keys.open_verdict(&RequestDigest::of(message), answer).expect("a verdict");
        live.seen = live.seen.max(verdict.index);
        live.acked = live.sequence;
        verdict
    }
}
