//! How a device and the cluster speak. `PROTOCOL.md` specifies the bytes; this is the code of both ends.
//!
//! ```text
//!   hello ──▶ ticket                                    unsealed, stateless
//!   activation ──▶ answer     HPKE (PSK) + ECDSA        Received → Ticketed → Gated → Verified
//!   resume ──▶ answer         symmetric ratchet         Received → Ticketed → Verified
//!   heartbeat ──▶ verdict     a key per device, epoch and direction
//!   tamper report             a key of the lot
//!   anything ──▶ refusal      unsealed: changes nothing but the sender's back-off
//! ```

pub mod activation;
pub mod answer;
mod cipher;
pub mod header;
pub mod heartbeat;
mod reader;
pub mod receive;
pub mod refusal;
pub mod resume;
pub mod session;
pub mod tamper;
pub mod ticket;
pub mod verdict;

pub use activation::{ActivationBody, ExporterSecret, PreparedActivation, seal_activation};
pub use answer::{
    Answer, GrantBody, open_activation_answer, open_resume_answer, seal_activation_answer, seal_resume_answer,
};
pub use header::{Header, MessageKind, PROTOCOL_VERSION, SuiteSet};
pub use heartbeat::{RequestDigest, content_digest};
pub use receive::{GatedActivation, ReceivedActivation, TicketedActivation, VerifiedActivation};
pub use refusal::Refusal;
pub use resume::{ReceivedResume, ResumeBody, TicketedResume, VerifiedResume, seal_resume};
pub use session::{ResumptionSecret, SessionKeys, after_activation, after_resume};
pub use tamper::TamperReport;
pub use ticket::{Ticket, TicketRefused};
pub use verdict::{Directive, HeartbeatStatus, VerdictBody};

/// Why a message is refused before or while it is opened. Coarse on purpose: see [`EnvelopeError::reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the message is malformed")]
    Malformed,
    #[error("the message is not authentic")]
    NotAuthentic,
    #[error("the suites offered hold none that is allowed")]
    Downgrade,
    #[error(transparent)]
    Ticket(#[from] TicketRefused),
}

impl EnvelopeError {
    /// The coded reason that is counted, and sent back.
    #[must_use]
    pub const fn reason(self) -> crate::vocabulary::rejection::RejectionReason {
        use crate::vocabulary::rejection::RejectionReason as Reason;
        match self {
            EnvelopeError::Malformed => Reason::Malformed,
            EnvelopeError::NotAuthentic => Reason::NotAuthentic,
            EnvelopeError::Downgrade => Reason::Downgrade,
            EnvelopeError::Ticket(_) => Reason::TicketRefused,
        }
    }
}
