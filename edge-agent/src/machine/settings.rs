//! What an operator may tune, with the values that suit a fleet of a million.

use events::envelope::SuiteSet;
use events::identity::key::PublicKey;

/// All durations are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Version of the terminal's firmware, as heartbeats report it.
    pub firmware: u32,
    /// Cipher suites that this terminal offers; the cluster chooses one of them.
    pub offered: SuiteSet,
    /// License keys that count beside the one of the cluster file, while license keys are rotated.
    pub license_keys: Vec<PublicKey>,
    /// A request without an answer is sent again after this long, plus back-off.
    pub reply_timeout: u64,
    /// Upper end of the first back-off; doubles with each attempt.
    pub backoff_first: u64,
    /// The back-off never grows beyond this.
    pub backoff_max: u64,
    /// An agent re-keys on its own accord at most this often (protocol.md rule 6).
    pub rekey_interval: u64,
    /// A re-key on its own accord waits a random part of this, so that a fleet does not re-key at once.
    pub rekey_jitter: u64,
    /// Resumes that must be refused, with fresh tickets, before the agent re-keys.
    pub resume_refusals_before_rekey: u32,
    /// Refusals that nobody sealed must go on for so long before the agent re-keys: they may be lies.
    pub unsealed_refusals_before_rekey: u64,
    /// Tickets that a re-key may use up without a sealed answer, while there is a session to go on with.
    pub tickets_per_rekey: u32,
    /// Unsealed hints that a heartbeat's epoch is stale, before the agent resumes.
    pub stale_hints_before_resume: u32,
    /// Attempts at one request without any verified answer, before the agent starts over from `hello`.
    pub attempts_before_hello: u32,
    /// The time floor is written at least this often; each write wears the flash.
    pub time_floor_interval: u64,
    /// Heartbeats kept through an outage; 0 keeps none, and `limits::SPOOL_BODIES_MAX` is the most.
    pub spool_bodies: usize,
    /// An outage is told at the granted interval, but no closer than this.
    pub spool_interval_min: u64,
    /// The spool alone is written at most this often: flash wears. A power cut loses what was made since.
    pub spool_write_interval: u64,
    /// After a heartbeat that brought some along found no verdict, nothing is brought along for so long.
    pub spool_rest: u64,
    /// A report of a failed boot check is sent this often, since nothing that answers it is believed.
    pub tamper_attempts: u32,
    /// A fresh report follows after this.
    pub tamper_interval: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            firmware: 1,
            offered: SuiteSet::ALL,
            license_keys: Vec::new(),
            reply_timeout: 5_000,
            backoff_first: 1_000,
            backoff_max: 300_000,
            rekey_interval: 3_600_000,
            rekey_jitter: 600_000,
            resume_refusals_before_rekey: 6,
            unsealed_refusals_before_rekey: 900_000,
            tickets_per_rekey: 3,
            stale_hints_before_resume: 3,
            attempts_before_hello: 8,
            time_floor_interval: 3_600_000,
            spool_bodies: 256,
            spool_interval_min: 60_000,
            spool_write_interval: 3_600_000,
            spool_rest: 600_000,
            tamper_attempts: 4,
            tamper_interval: 21_600_000,
        }
    }
}

/// The granted interval is sealed and so authentic; these bounds only keep a mistake from stopping a terminal.
pub const INTERVAL_MILLIS_MIN: u64 = 50;
pub const INTERVAL_MILLIS_MAX: u64 = 7 * 24 * 3_600_000;
/// An unsealed `retry after` may be a lie: it delays at most this long.
pub const RETRY_AFTER_MILLIS_MAX: u64 = 300_000;
/// Wall time may lag the time floor by this much before the agent calls it a rollback.
pub const CLOCK_SLACK_MILLIS: u64 = 300_000;
