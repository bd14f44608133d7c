//! Terminals as the agent would be: they hold their seeds, seal real envelopes and open what comes back.

use super::load::Request;
use anyhow::{Context as _, Result, anyhow};
use async_nats::Subject;
use bytes::Bytes;
use events::envelope::heartbeat::{HeartbeatHead, RequestDigest};
use events::envelope::resume::{ResumeBody, ResumeHead};
use events::envelope::session::EpochBinding;
use events::envelope::{
    ActivationBody, Answer, ExporterSecret, GrantBody, HeartbeatStatus, Refusal, ResumptionSecret,
    SessionKeys, SuiteSet, Ticket, after_activation, after_resume, open_activation_answer,
    open_resume_answer, seal_activation, seal_resume,
};
use events::identity::fingerprint::Fingerprint;
use events::identity::key::{DeviceKey, PreSharedKey};
use events::identity::lot::LotFirmware;
use events::identity::otp::OtpRecord;
use events::ids::{BootId, DeviceId, Epoch, LogIndex, RecordDigest, Sequence};
use events::keyring::ClusterPublic;
use events::license::code::ActivationCode;
use events::vocabulary::heartbeat::HeartbeatBody;
use events::vocabulary::provisioning::ComponentDigest;
use getrandom::SysRng;
use getrandom::rand_core::{Rng as _, UnwrapErr};
use ops::fleet::TerminalSpec;

const FIRMWARE: u32 = 1;
/// More of one terminal's heartbeats are never under way; every one before counts as answered.
const UNDER_WAY_MAX: u32 = 64;

pub struct Terminal {
    pub device: DeviceId,
    key: DeviceKey,
    pre_shared: PreSharedKey,
    record: RecordDigest,
    components: Vec<ComponentDigest>,
    code: Option<ActivationCode>,
    subject: String,
    inbox: String,
    live: Option<Live>,
    boots: u32,
}

/// A session as the terminal sees it.
struct Live {
    epoch: Epoch,
    secret: ResumptionSecret,
    keys: SessionKeys,
    sequence: Sequence,
    seen: LogIndex,
}

/// An activation on its way.
pub struct Activating {
    pub request: Request,
    exporter: ExporterSecret,
}

/// A resume on its way.
pub struct Resuming {
    pub request: Request,
    head: ResumeHead,
}

impl Terminal {
    /// The boot check of a burned terminal; `subject` ends before the device, `token` names its connection.
    pub fn boot(
        spec: TerminalSpec,
        record: RecordDigest,
        firmware: &LotFirmware,
        subject: &str,
        token: &str,
    ) -> Result<Self> {
        let burned = OtpRecord::parse(&spec.record).context("the record of a burned terminal")?;
        let fingerprint = Fingerprint::new(spec.components).context("a terminal's hardware")?;
        let seed = firmware.open_record(&burned, None, &fingerprint).context("its boot check")?.seed;
        let key = seed.device_key();
        let device = key.public().device_id();
        Ok(Terminal {
            device,
            key,
            pre_shared: seed.pre_shared_key(),
            record,
            components: fingerprint.digests(&seed),
            code: spec.code,
            subject: format!("{subject}.{device}"),
            inbox: format!("_INBOX_{device}.{token}"),
            live: None,
            boots: 0,
        })
    }

    /// A request of this terminal; `number` is its place on the connection.
    pub fn request(&self, kind: &str, number: usize, payload: Vec<u8>) -> Request {
        Request {
            subject: Subject::from(format!("{}.{kind}", self.subject)),
            reply: Subject::from(format!("{}.{number}", self.inbox)),
            payload: Bytes::from(payload),
        }
    }

    pub fn seal_activation(
        &mut self,
        cluster: &ClusterPublic,
        ticket: &Ticket,
        number: usize,
    ) -> Result<Activating> {
        let rng = &mut UnwrapErr(SysRng);
        self.boots += 1;
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        let body = ActivationBody {
            code: self.code.take(),
            record: self.record,
            random,
            boot: self.boot_id(),
            boot_count: self.boots,
            firmware: FIRMWARE,
            epoch_claimed: 0,
            components: self.components.clone(),
        };
        let prepared =
            seal_activation(rng, &self.key, &self.pre_shared, cluster, SuiteSet::ALL, ticket, &body)?;
        let request = self.request("activation", number, prepared.message);
        Ok(Activating { request, exporter: prepared.exporter })
    }

    /// Opens the answer and begins the session that it grants.
    pub fn activated(&mut self, sent: &Activating, answer: &[u8]) -> Result<(), String> {
        let (index, answer) = open_activation_answer(&sent.exporter, &sent.request.payload, answer)
            .map_err(|e| refusal(answer, &e))?;
        let grant = granted(answer)?;
        let secret = after_activation(&sent.exporter, &grant.server_nonce, &self.binding(&grant));
        self.begin(secret, index, &grant);
        Ok(())
    }

    pub fn seal_resume(&mut self, ticket: &Ticket, number: usize) -> Result<Resuming> {
        self.boots += 1;
        let live = self.live.as_ref().context("a terminal without a session cannot resume")?;
        let mut client_nonce = [0; 16];
        UnwrapErr(SysRng).fill_bytes(&mut client_nonce);
        let head = ResumeHead {
            device: self.device,
            from_epoch: live.epoch,
            client_nonce,
            offered: SuiteSet::ALL,
            ticket: *ticket,
        };
        let body = ResumeBody { boot: self.boot_id(), boot_count: self.boots, firmware: FIRMWARE };
        let message = seal_resume(&live.secret, &head, &body);
        Ok(Resuming { request: self.request("resume", number, message), head })
    }

    pub fn resumed(&mut self, sent: &Resuming, answer: &[u8]) -> Result<(), String> {
        let live = self.live.as_ref().ok_or("no session")?;
        let (index, answer) = open_resume_answer(&live.secret, &sent.head, &sent.request.payload, answer)
            .map_err(|e| refusal(answer, &e))?;
        let grant = granted(answer)?;
        let nonce = &sent.head.client_nonce;
        let secret = after_resume(&live.secret, nonce, &grant.server_nonce, &self.binding(&grant));
        self.begin(secret, index, &grant);
        Ok(())
    }

    /// The heartbeat `ahead` of the last that was sent. None without a session.
    pub fn seal_heartbeat(&self, ahead: u32) -> Option<Vec<u8>> {
        let live = self.live.as_ref()?;
        let sequence = live.sequence + ahead;
        let head = HeartbeatHead {
            device: self.device,
            epoch: live.epoch,
            sequence,
            acked: sequence.saturating_sub(UNDER_WAY_MAX),
            seen: live.seen,
        };
        let body = HeartbeatBody { number: sequence, firmware: FIRMWARE, ..HeartbeatBody::default() };
        Some(live.keys.seal_heartbeat(&head, &body))
    }

    /// So many of the heartbeats that were sealed have been sent.
    pub fn sent(&mut self, heartbeats: u32) {
        if let Some(live) = &mut self.live {
            live.sequence += heartbeats;
        }
    }

    /// Whether `answer` is a sealed verdict that says that `heartbeat` is on the disks of a majority.
    pub fn check_verdict(&self, heartbeat: &[u8], answer: &[u8]) -> Result<(), String> {
        let live = self.live.as_ref().ok_or("no session")?;
        let verdict = live.keys.open_verdict(&RequestDigest::of(heartbeat), answer);
        match verdict.map_err(|e| refusal(answer, &e))?.status {
            HeartbeatStatus::Committed => Ok(()),
            other @ (HeartbeatStatus::Retried | HeartbeatStatus::EpochStale) => Err(other.to_string()),
        }
    }

    pub fn heartbeat_subject(&self) -> Subject {
        Subject::from(format!("{}.heartbeat", self.subject))
    }

    fn boot_id(&self) -> BootId {
        let mut bytes = *self.device.as_bytes();
        bytes[..4].copy_from_slice(&self.boots.to_le_bytes());
        BootId::from_bytes(bytes)
    }

    fn binding(&self, grant: &GrantBody) -> EpochBinding {
        EpochBinding { device: self.device, epoch: grant.epoch, offered: SuiteSet::ALL, suite: grant.suite }
    }

    fn begin(&mut self, secret: ResumptionSecret, index: LogIndex, grant: &GrantBody) {
        let keys = secret.session_keys(self.device, grant.epoch, grant.suite);
        self.live = Some(Live { epoch: grant.epoch, secret, keys, sequence: 0, seen: index });
    }
}

fn granted(answer: Answer) -> Result<GrantBody, String> {
    match answer {
        Answer::Granted(grant) => Ok(grant),
        Answer::Refused(reason) => Err(format!("sealed refusal {reason}")),
    }
}

/// What an answer that does not open is: an unsealed refusal by its reason, or an error.
fn refusal(answer: &[u8], error: &dyn std::fmt::Display) -> String {
    Refusal::parse(answer).map_or_else(|_| error.to_string(), |refusal| refusal.reason.to_string())
}

/// The ticket in the answer to a hello.
pub fn ticket_of(answer: &[u8]) -> Result<Ticket> {
    Ticket::parse_answer(answer)
        .map_err(|_| anyhow!("a hello got no ticket: {}", refusal(answer, &"no ticket")))
}
