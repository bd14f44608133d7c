//! A cluster in memory: one node, no log, but the rules by which sessions live and die. It is a model, written from
//! protocol.md and ARCHITECTURE.md and not from the nodes' code, so that both can be held against it.

mod device;

use edge_agent::machine::TransmitKind;
use events::envelope::answer::GrantBody;
use events::envelope::resume::ResumeHead;
use events::envelope::session::EpochBinding;
use events::envelope::ticket::parse_hello;
use events::envelope::*;
use events::identity::key::{DeviceSeed, PreSharedKey, PublicKey, SigningKey};
use events::ids::{ClusterId, CodeDigest, DeviceId, Epoch, Generation, LicenseId, LogIndex, Sequence};
use events::keyring::Keyring;
use events::license::{ActivationCode, Claims, KeyThumbprint, token};
use events::limits::EPOCH_CLAIM_JUMP_MAX;
use events::time::Timestamp;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody};
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{Legitimacy, OperationKind, Suite};
use std::collections::{BTreeMap, BTreeSet};

use super::rng::SeededRng;

/// What a policy grants by default (protocol.md rule 20).
const LEASE_MILLIS: u64 = 72 * 3_600_000;

pub struct ModelCluster {
    pub keyring: Keyring,
    pub generation: Generation,
    pub index: LogIndex,
    pub stamp: Timestamp,
    pub interval_millis: u32,
    pub allowed: Vec<Suite>,
    /// Signs license tokens in the place of the keyring's key.
    pub license_key: Option<SigningKey>,
    /// Grants come without a license token, as while no lease is due.
    pub withholds_tokens: bool,
    /// Names this suite in every grant, whatever was offered.
    pub imposed: Option<Suite>,
    pub devices: BTreeMap<DeviceId, ModelDevice>,
    pub tamper_reports: Vec<TamperReport>,
    /// False: its activation key was retired, and nothing that is sealed to it opens.
    pub opens_activations: bool,
    /// So long after a re-key no further one is granted unless a directive demands it.
    pub rekey_rest_millis: u64,
    /// False: it takes body 1 only, as nodes did before spools.
    pub knows_spools: bool,
    codes: BTreeMap<CodeDigest, Option<DeviceId>>,
    rng: SeededRng,
}

pub struct ModelDevice {
    public: PublicKey,
    pre_shared: PreSharedKey,
    pub licensed: bool,
    pub legitimacy: Legitimacy,
    pub directive: Option<Directive>,
    pub sessions: BTreeMap<Epoch, ModelSession>,
    next_epoch: Epoch,
    activations: BTreeMap<Vec<u8>, Epoch>,
    resumes: BTreeMap<(Epoch, [u8; 16]), Epoch>,
    /// The highest ticket of those that gave way, by parent.
    evicted: BTreeMap<Option<Epoch>, LogIndex>,
    rekeyed_at: Option<Timestamp>,
    /// A resume from a superseded epoch with a ticket issued after the successor was confirmed.
    pub fork: Option<Fork>,
    /// Proof of two holders.
    pub cloned: bool,
    pub bodies: Vec<HeartbeatBody>,
    /// Bodies that came from its spool, as they came.
    pub spooled: Vec<SpooledBody>,
    /// Every body that is counted, by boot and number: those that came by themselves, and those of its spool.
    pub counted: BTreeSet<(u32, u32)>,
    /// Bodies that came from the spool though they had been counted.
    pub counted_before: u32,
    /// Heartbeats that came by themselves with a number that was counted before.
    pub numbers_twice: u32,
    pub activations_seen: u32,
    pub rekeys_seen: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Fork {
    pub at: LogIndex,
    /// The branch that was current when it happened.
    pub other_branch: Epoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Pending,
    Current,
    Superseded {
        confirmed_at: LogIndex,
    },
    Dead,
    /// Superseded so long ago that it is not kept.
    Gone,
}

pub struct ModelSession {
    pub life: Life,
    /// The start of the agent that asked for it.
    pub boot_count: u32,
    pub parent: Option<Epoch>,
    secret: ResumptionSecret,
    keys: SessionKeys,
    grant: GrantBody,
    granted_at: LogIndex,
    /// Index of the ticket that it was asked for with.
    ticket: LogIndex,
    /// Sequence → digest of the content.
    pub beats: BTreeMap<Sequence, u32>,
}

impl ModelCluster {
    pub fn new(mut rng: SeededRng) -> Self {
        let keyring = Keyring::generate(&mut rng, ClusterId::from_bytes([1; 16]));
        ModelCluster {
            keyring,
            generation: 1,
            index: 10,
            stamp: Timestamp::from_millis(1_800_000_000_000),
            interval_millis: 10_000,
            allowed: vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305],
            license_key: None,
            withholds_tokens: false,
            imposed: None,
            devices: BTreeMap::new(),
            tamper_reports: Vec::new(),
            opens_activations: true,
            rekey_rest_millis: 450_000,
            knows_spools: true,
            codes: BTreeMap::new(),
            rng,
        }
    }

    pub fn import(&mut self, seed: &DeviceSeed) -> DeviceId {
        let public = seed.device_key().public();
        let device = ModelDevice {
            public,
            pre_shared: seed.pre_shared_key(),
            licensed: false,
            legitimacy: Legitimacy::Provisioned,
            directive: None,
            sessions: BTreeMap::new(),
            next_epoch: 1,
            activations: BTreeMap::new(),
            resumes: BTreeMap::new(),
            evicted: BTreeMap::new(),
            rekeyed_at: None,
            fork: None,
            cloned: false,
            bodies: Vec::new(),
            spooled: Vec::new(),
            counted: BTreeSet::new(),
            counted_before: 0,
            numbers_twice: 0,
            activations_seen: 0,
            rekeys_seen: 0,
        };
        self.devices.insert(public.device_id(), device);
        public.device_id()
    }

    pub fn issue_code(&mut self) -> ActivationCode {
        let code = ActivationCode::generate(&mut self.rng);
        self.codes.insert(self.keyring.code_digest(&code), None);
        code
    }

    pub fn device(&self, id: DeviceId) -> &ModelDevice {
        &self.devices[&id]
    }

    pub fn device_mut(&mut self, id: DeviceId) -> &mut ModelDevice {
        self.devices.get_mut(&id).unwrap()
    }

    pub fn owner_of(&self, code: &ActivationCode) -> Option<DeviceId> {
        self.codes[&self.keyring.code_digest(code)]
    }

    /// One message in, at most one answer out.
    pub fn handle(&mut self, kind: TransmitKind, bytes: &[u8]) -> Option<Vec<u8>> {
        let answered = match kind {
            TransmitKind::Hello => self.hello(bytes),
            TransmitKind::Activation => self.activation(bytes),
            TransmitKind::Resume => self.resume(bytes),
            TransmitKind::Heartbeat => self.heartbeat(bytes),
            TransmitKind::Tamper => {
                self.tamper_reports.push(TamperReport::parse(bytes).unwrap());
                return None;
            }
        };
        let refusal = |reason| Refusal { reason, retry_after_millis: 0 }.encode().to_vec();
        Some(answered.unwrap_or_else(refusal))
    }

    fn hello(&mut self, bytes: &[u8]) -> Result<Vec<u8>, RejectionReason> {
        parse_hello(bytes).map_err(EnvelopeError::reason)?;
        let random = self.random();
        let ticket = Ticket::issue(&self.keyring.ticket_key, self.generation, random, self.index, self.stamp);
        Ok(ticket.encode_answer())
    }

    fn activation(&mut self, bytes: &[u8]) -> Result<Vec<u8>, RejectionReason> {
        let received = ReceivedActivation::parse(bytes).map_err(EnvelopeError::reason)?;
        let id = received.header().device;
        let ticketed = received
            .check_ticket(&self.keyring.ticket_key, self.generation, self.stamp)
            .map_err(EnvelopeError::reason)?;
        if !self.opens_activations {
            return Err(RejectionReason::NotAuthentic);
        }
        let device = self.devices.get(&id).ok_or(RejectionReason::NotAuthentic)?;
        let gated = ticketed.check_mac(&device.pre_shared).map_err(EnvelopeError::reason)?;
        let verified = gated.open(&self.keyring, &device.public).map_err(EnvelopeError::reason)?;
        let answer = self.judge_activation(&verified);
        let (nonce, index) = (self.random(), self.index);
        Ok(seal_activation_answer(&verified.exporter, bytes, index, nonce, &answer))
    }

    fn judge_activation(&mut self, verified: &VerifiedActivation) -> Answer {
        let id = verified.device;
        if let Some(epoch) = self.device(id).activations.get(&verified.transcript) {
            let session = &self.device(id).sessions[epoch];
            return match session.life {
                Life::Dead | Life::Gone => Answer::Refused(RejectionReason::EpochStale),
                Life::Pending | Life::Current | Life::Superseded { .. } => {
                    Answer::Granted(session.grant.clone())
                }
            };
        }
        if let Err(reason) = self.redeem(id, verified.body.code.as_ref()) {
            return Answer::Refused(reason);
        }
        let Ok(suite) = self.choose(verified.offered) else {
            return Answer::Refused(RejectionReason::Downgrade);
        };
        if verified.body.code.is_none() && self.rests(id) {
            return Answer::Refused(RejectionReason::RateExceeded);
        }
        let stamp = self.stamp;
        let device = self.device_mut(id);
        match verified.body.code {
            Some(_) => device.activations_seen += 1,
            None => {
                device.rekeys_seen += 1;
                device.rekeyed_at = Some(stamp);
            }
        }
        let jump = device.next_epoch.saturating_add(EPOCH_CLAIM_JUMP_MAX);
        let epoch = device.next_epoch.max(verified.body.epoch_claimed.min(jump) + 1);
        let parent = device.current();
        let grant = self.grant(id, epoch, suite);
        let binding = EpochBinding { device: id, epoch, offered: verified.offered, suite };
        let secret = after_activation(&verified.exporter, &grant.server_nonce, &binding);
        let boot_count = verified.body.boot_count;
        self.admit(id, parent, boot_count, verified.ticket.applied, secret, grant.clone());
        self.device_mut(id).activations.insert(verified.transcript.clone(), epoch);
        Answer::Granted(grant)
    }

    fn redeem(&mut self, id: DeviceId, code: Option<&ActivationCode>) -> Result<(), RejectionReason> {
        let Some(code) = code else {
            return if self.device(id).licensed { Ok(()) } else { Err(RejectionReason::NotLicensed) };
        };
        match self.codes.get_mut(&self.keyring.code_digest(code)) {
            Some(owner) if owner.is_none_or(|owner| owner == id) => *owner = Some(id),
            _ => return Err(RejectionReason::CodeRefused),
        }
        let device = self.device_mut(id);
        device.licensed = true;
        device.legitimacy = Legitimacy::Legitimate;
        Ok(())
    }

    fn resume(&mut self, bytes: &[u8]) -> Result<Vec<u8>, RejectionReason> {
        let received = ReceivedResume::parse(bytes).map_err(EnvelopeError::reason)?;
        let ticketed = received
            .check_ticket(&self.keyring.ticket_key, self.generation, self.stamp)
            .map_err(EnvelopeError::reason)?;
        let head = *ticketed.head();
        let device = self.devices.get(&head.device).ok_or(RejectionReason::NotAuthentic)?;
        let kept = device.sessions.get(&head.from_epoch).filter(|session| session.life != Life::Gone);
        let from = kept.ok_or(RejectionReason::NotAuthentic)?;
        let secret = from.secret.clone();
        let body = ticketed.open(&secret).map_err(EnvelopeError::reason)?.body;
        let answer = self.judge_resume(&head, &secret, body.boot_count);
        let (nonce, index) = (self.random(), self.index);
        Ok(seal_resume_answer(&secret, &head, bytes, index, nonce, &answer))
    }

    fn judge_resume(&mut self, head: &ResumeHead, secret: &ResumptionSecret, boot_count: u32) -> Answer {
        let (id, from) = (head.device, head.from_epoch);
        let device = self.device(id);
        if let Some(epoch) = device.resumes.get(&(from, head.client_nonce)) {
            return Answer::Granted(device.sessions[epoch].grant.clone());
        }
        let forked = match device.sessions[&from].life {
            Life::Pending | Life::Current => false,
            Life::Superseded { confirmed_at } if head.ticket.applied > confirmed_at => true,
            Life::Superseded { .. } | Life::Dead | Life::Gone => {
                return Answer::Refused(RejectionReason::EpochStale);
            }
        };
        if device.evicted.get(&Some(from)).is_some_and(|&ticket| head.ticket.applied <= ticket) {
            return Answer::Refused(RejectionReason::EpochStale);
        }
        let Ok(suite) = self.choose(head.offered) else {
            return Answer::Refused(RejectionReason::Downgrade);
        };
        self.index += 1;
        self.judge_voice(id, from, head.ticket.applied);
        if forked {
            self.remember_fork(id, from);
        } else {
            self.confirm(id, from);
        }
        let epoch = self.device(id).next_epoch;
        let grant = self.grant(id, epoch, suite);
        let binding = EpochBinding { device: id, epoch, offered: head.offered, suite };
        let next = after_resume(secret, &head.client_nonce, &grant.server_nonce, &binding);
        self.admit(id, Some(from), boot_count, head.ticket.applied, next, grant.clone());
        self.device_mut(id).resumes.insert((from, head.client_nonce), epoch);
        Answer::Granted(grant)
    }

    fn remember_fork(&mut self, id: DeviceId, _from: Epoch) {
        let index = self.index;
        let device = self.device_mut(id);
        let other_branch = device.current().unwrap_or(0);
        device.fork = Some(Fork { at: index, other_branch });
        device.legitimacy = Legitimacy::Suspect;
    }

    /// The other branch of a fork speaks, with proof that it is fresh: two holders.
    fn judge_voice(&mut self, id: DeviceId, epoch: Epoch, fresh_as_of: LogIndex) {
        let device = self.device_mut(id);
        let Some(fork) = device.fork else { return };
        if fresh_as_of > fork.at && device.descends(epoch, fork.other_branch) {
            device.cloned = true;
        }
    }

    fn heartbeat(&mut self, bytes: &[u8]) -> Result<Vec<u8>, RejectionReason> {
        let header = Header::parse(bytes, MessageKind::Heartbeat).map_err(EnvelopeError::reason)?;
        let device = self.devices.get(&header.device).ok_or(RejectionReason::NotAuthentic)?;
        let kept = device.sessions.get(&header.epoch).filter(|session| session.life != Life::Gone);
        let session = kept.ok_or(RejectionReason::NotAuthentic)?;
        let keys = session.keys.clone();
        let (_, body, spooled) = keys.open_heartbeat(bytes).map_err(EnvelopeError::reason)?;
        if !spooled.is_empty() && !self.knows_spools {
            return Err(RejectionReason::Malformed);
        }
        if header.seen > self.index {
            return Err(RejectionReason::Unavailable);
        }
        self.index += 1;
        self.judge_voice(header.device, header.epoch, header.seen);
        let status = self.judge_beat(&header, content_digest(bytes), body);
        if status == HeartbeatStatus::Committed {
            self.device_mut(header.device).count(&header, body, spooled);
        }
        let device = self.device(header.device);
        let verdict = VerdictBody {
            index: self.index,
            stamp: self.stamp,
            status,
            legitimacy: device.legitimacy,
            interval_millis: self.interval_millis,
            lease: 1,
            directive: device.directive,
        };
        let nonce = self.random();
        Ok(keys.seal_verdict(&RequestDigest::of(bytes), nonce, &verdict).to_vec())
    }

    fn judge_beat(&mut self, header: &Header, digest: u32, body: HeartbeatBody) -> HeartbeatStatus {
        let life = self.device(header.device).sessions[&header.epoch].life;
        match life {
            Life::Superseded { .. } | Life::Dead | Life::Gone => return HeartbeatStatus::EpochStale,
            Life::Pending => self.confirm(header.device, header.epoch),
            Life::Current => {}
        }
        let device = self.device_mut(header.device);
        let beats = &mut device.sessions.get_mut(&header.epoch).unwrap().beats;
        match beats.insert(header.sequence, digest) {
            None => {
                device.bodies.push(body);
                HeartbeatStatus::Committed
            }
            Some(before) if before == digest => HeartbeatStatus::Retried,
            Some(_) => {
                device.cloned = true;
                HeartbeatStatus::EpochStale
            }
        }
    }

    /// The first valid word under a pending epoch: it is current, its siblings die, its parent is superseded.
    fn confirm(&mut self, id: DeviceId, epoch: Epoch) {
        let index = self.index;
        let device = self.device_mut(id);
        if device.sessions[&epoch].life != Life::Pending {
            return;
        }
        for (other, session) in &mut device.sessions {
            session.life = match session.life {
                _ if *other == epoch => Life::Current,
                Life::Current => Life::Superseded { confirmed_at: index },
                Life::Pending => Life::Dead,
                unchanged => unchanged,
            };
        }
        device.keep_two_superseded();
    }

    fn choose(&self, offered: SuiteSet) -> Result<Suite, EnvelopeError> {
        self.imposed.map_or_else(|| offered.choose(&self.allowed), Ok)
    }

    fn grant(&mut self, id: DeviceId, epoch: Epoch, suite: Suite) -> GrantBody {
        let server_nonce = self.random();
        GrantBody {
            epoch,
            server_nonce,
            suite,
            generation: self.generation,
            stamp: self.stamp,
            interval_millis: self.interval_millis,
            legitimacy: self.device(id).legitimacy,
            lease: u32::from(!self.withholds_tokens),
            license_token: (!self.withholds_tokens).then(|| self.license_token(id)),
        }
    }

    /// A lease of three days from now on.
    fn license_token(&self, id: DeviceId) -> String {
        let claims = Claims {
            cluster: self.keyring.cluster,
            device: id,
            license: LicenseId::from_bytes([9; 16]),
            plan: "gold".to_owned(),
            entitlements: vec!["uhd".to_owned()],
            issued_at: self.stamp,
            expires: self.stamp.plus_millis(LEASE_MILLIS),
            confirmation: KeyThumbprint::of(&self.device(id).public),
            lease_counter: 1,
        };
        token::issue(self.license_key.as_ref().unwrap_or(&self.keyring.license_key), &claims).unwrap()
    }

    fn rests(&self, id: DeviceId) -> bool {
        let device = self.device(id);
        let demanded = device.directive.is_some_and(|directive| directive.kind == OperationKind::Rekey);
        let over = |at: Timestamp| self.stamp.millis_since(at) >= self.rekey_rest_millis;
        !demanded && device.rekeyed_at.is_some_and(|at| !over(at))
    }

    fn admit(
        &mut self,
        id: DeviceId,
        parent: Option<Epoch>,
        boot_count: u32,
        ticket: LogIndex,
        secret: ResumptionSecret,
        grant: GrantBody,
    ) {
        self.index += 1;
        let granted_at = self.index;
        let device = self.device_mut(id);
        device.next_epoch = grant.epoch + 1;
        let keys = secret.session_keys(id, grant.epoch, grant.suite);
        let life = if device.current().is_none() { Life::Current } else { Life::Pending };
        let beats = BTreeMap::new();
        let session =
            ModelSession { life, boot_count, parent, secret, keys, grant, granted_at, ticket, beats };
        device.sessions.insert(session.grant.epoch, session);
        device.bound_pending();
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        use rand_core::Rng;
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}
