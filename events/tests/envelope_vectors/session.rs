//! Epochs and what is said in them: secrets, resume, heartbeats, verdicts.

use crate::activation::{self, Sealed};
use crate::by_hand::{self, hkdf, sha384};
use crate::world::{self, GENERATION, at};
use crate::{grant, hex};
use events::envelope::heartbeat::HeartbeatHead;
use events::envelope::resume::{ResumeBody, ResumeHead};
use events::envelope::session::EpochBinding;
use events::envelope::{
    Answer, Directive, HeartbeatStatus, RequestDigest, ResumptionSecret, SuiteSet, VerdictBody, after_resume,
    content_digest, seal_resume, seal_resume_answer,
};
use events::ids::LogIndex;
use events::time::Timestamp;
use events::vocabulary::heartbeat::{HeartbeatBody, SpooledBody, condition};
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{DirectiveId, Legitimacy, OperationKind, Suite};
use serde_json::{Value, json};

/// A granted epoch.
pub struct Epoch {
    pub binding: EpochBinding,
    pub server_nonce: [u8; 32],
    pub secret: ResumptionSecret,
}

/// Of the boot that speaks and of an offline one before it, newest first.
fn spooled() -> [SpooledBody; 2] {
    let body = |boot_count, number, made| SpooledBody {
        boot_count,
        number,
        uptime_seconds: number * 60,
        firmware: 10_100,
        made,
        condition: condition::CLOCK_ROLLBACK,
    };
    [body(4, 299, at(30_000)), body(3, 0x0102_0304, at(0))]
}

impl Epoch {
    /// Without its secret and nonce, which depend on how it was granted.
    pub fn new(epoch: u32, offered: SuiteSet, suite: Suite) -> Self {
        let binding = EpochBinding { device: world::device(), epoch, offered, suite };
        Epoch { binding, server_nonce: [0; 32], secret: ResumptionSecret::from_bytes([0; 48]) }
    }

    fn key(&self, label: &[u8]) -> Vec<u8> {
        let EpochBinding { device, epoch, suite, .. } = &self.binding;
        let info = [label, device.as_bytes(), &epoch.to_le_bytes(), &[*suite as u8]];
        hkdf(&[], self.secret.as_bytes(), &info, 32)
    }

    /// Secret, keys, and a heartbeat of it with its verdict.
    pub fn vector(&self, directive: Option<Directive>) -> Value {
        let EpochBinding { epoch, offered, suite, .. } = self.binding;
        let (up, down) = (self.key(b"muster v1 session up"), self.key(b"muster v1 session down"));
        let (heartbeat, message) = self.heartbeat(&up, &[]);
        let (bringing, _) = self.heartbeat(&up, &spooled());
        json!({
            "epoch": epoch,
            "offered": offered,
            "suite": suite,
            "server_nonce": hex(self.server_nonce),
            "resumption_secret": hex(self.secret.as_bytes()),
            "up": hex(&up),
            "down": hex(&down),
            "heartbeat": heartbeat,
            "heartbeat_with_spool": bringing,
            "verdict": self.verdict(&down, &message, directive),
        })
    }

    fn heartbeat(&self, up: &[u8], spooled: &[SpooledBody]) -> (Value, Vec<u8>) {
        let EpochBinding { device, epoch, suite, .. } = self.binding;
        // Other content, another sequence.
        let sequence = if spooled.is_empty() { 258 } else { 259 };
        let head = HeartbeatHead { device, epoch, sequence, acked: 257, seen: 0x0102_0304_0506 };
        let obeyed = DirectiveId { generation: GENERATION, index: 4_000, ordinal: 3 };
        let body = HeartbeatBody {
            number: 300,
            uptime_seconds: 7_201,
            firmware: 10_200,
            condition: condition::CLOCK_ROLLBACK | condition::SPOOL_DROPPED,
            obeyed,
        };
        let message =
            self.secret.session_keys(device, epoch, suite).seal_heartbeat_with_spool(&head, &body, spooled);
        let (header, sealed) = message.split_at(40);
        let nonce = [&[0; 8][..], &head.sequence.to_le_bytes()].concat();
        let vector = json!({
            "sequence": head.sequence,
            "acked": head.acked,
            "seen": head.seen,
            "body_fields": body,
            "spooled": spooled,
            "body": hex(by_hand::open(suite, up, &nonce, header, sealed)),
            "message": hex(&message),
            "content_digest": content_digest(&message),
        });
        (vector, message)
    }

    fn verdict(&self, down: &[u8], request: &[u8], directive: Option<Directive>) -> Value {
        let EpochBinding { device, epoch, suite, .. } = self.binding;
        let restricted = directive.is_some();
        let body = VerdictBody {
            index: 0x0102_0304_0507,
            stamp: at(60_000),
            status: if restricted { HeartbeatStatus::Retried } else { HeartbeatStatus::Committed },
            legitimacy: if restricted { Legitimacy::Restricted } else { Legitimacy::Legitimate },
            interval_millis: 60_000,
            lease: 2,
            directive,
        };
        let keys = self.secret.session_keys(device, epoch, suite);
        let message = keys.seal_verdict(&RequestDigest::of(request), [0x63; 12], &body);
        let (header, sealed) = message.split_at(22);
        let aad = [header, &sha384(request)].concat();
        json!({
            "nonce": hex([0x63; 12]),
            "index": body.index,
            "status": body.status,
            "legitimacy": body.legitimacy,
            "stamp": body.stamp,
            "interval_millis": body.interval_millis,
            "lease": body.lease,
            "directive": body.directive,
            "body": hex(by_hand::open(suite, down, &[0x63; 12], &aad, sealed)),
            "message": hex(message),
        })
    }
}

/// What a verdict may ask for.
pub fn directive() -> Directive {
    let id = DirectiveId { generation: GENERATION, index: 5_000, ordinal: 2 };
    Directive { id, kind: OperationKind::Restrict, expires: Timestamp::from_millis(1_800_000_000_000) }
}

fn resume_head() -> ResumeHead {
    ResumeHead {
        device: world::device(),
        from_epoch: 1,
        client_nonce: [0x64; 16],
        offered: SuiteSet::ALL,
        ticket: world::ticket(0x43, 3000, 3_600_000),
    }
}

/// Epoch 2, resumed from the epoch that `sealed` was granted.
pub fn resumed(sealed: &Sealed) -> Epoch {
    let (head, server_nonce) = (resume_head(), [0x65; 32]);
    let epoch = Epoch::new(2, head.offered, Suite::Aes256Gcm);
    let last = activation::granted(sealed).secret;
    let secret = after_resume(&last, &head.client_nonce, &server_nonce, &epoch.binding);
    Epoch { secret, server_nonce, ..epoch }
}

pub fn resume(sealed: &Sealed) -> Value {
    let (head, secret) = (resume_head(), activation::granted(sealed).secret);
    let body = ResumeBody { boot: world::boot(), boot_count: 4, firmware: 10_201 };
    let message = seal_resume(&secret, &head, &body);
    let info =
        |label: &'static [u8]| [label, head.device.as_bytes(), &head.from_epoch.to_le_bytes()].concat();
    let derive = |label| hkdf(&head.client_nonce, secret.as_bytes(), &[&info(label)], 32);
    let (key, answer_key) = (derive(b"muster v1 resume"), derive(b"muster v1 resume answer"));
    let (aad, ciphertext) = message.split_at(108);
    let granted = Answer::Granted(grant(&resumed(sealed)));
    let refused = Answer::Refused(RejectionReason::EpochStale);
    let seal =
        |index, nonce, answer: &Answer| seal_resume_answer(&secret, &head, &message, index, nonce, answer);
    json!({
        "from_epoch": head.from_epoch,
        "client_nonce": hex(head.client_nonce),
        "offered": head.offered,
        "ticket": hex(head.ticket.encode()),
        "boot": body.boot,
        "boot_count": body.boot_count,
        "firmware": body.firmware,
        "key": hex(&key),
        "body": hex(by_hand::open(Suite::Aes256Gcm, &key, &[0; 12], aad, ciphertext)),
        "message": hex(&message),
        "answer_key": hex(&answer_key),
        "granted": answer_vector(&answer_key, &message, 3001, [0x66; 12], &granted, seal),
        "refused": answer_vector(&answer_key, &message, 3002, [0x67; 12], &refused, seal),
    })
}

/// A sealed answer to `request`, opened by hand.
pub fn answer_vector(
    key: &[u8],
    request: &[u8],
    index: LogIndex,
    nonce: [u8; 12],
    answer: &Answer,
    seal: impl Fn(LogIndex, [u8; 12], &Answer) -> Vec<u8>,
) -> Value {
    let message = seal(index, nonce, answer);
    let (header, sealed) = message.split_at(22);
    let aad = [header, &sha384(request)].concat();
    json!({
        "index": index,
        "nonce": hex(nonce),
        "body_fields": match answer {
            Answer::Granted(grant) => json!({
                "epoch": grant.epoch,
                "server_nonce": hex(grant.server_nonce),
                "suite": grant.suite,
                "generation": grant.generation,
                "stamp": grant.stamp,
                "interval_millis": grant.interval_millis,
                "legitimacy": grant.legitimacy,
                "lease": grant.lease,
                "license_token": grant.license_token,
            }),
            Answer::Refused(reason) => json!({ "reason": reason }),
        },
        "body": hex(by_hand::open(Suite::Aes256Gcm, key, &nonce, &aad, sealed)),
        "message": hex(&message),
    })
}
