//! Guessing: a source that owns some terminals signs activations with codes that it made up.
//!
//! The terminals are real and so is the cryptography; only the codes are wrong. Nothing less gets past the gates.

use super::connect;
use crate::dev::factory::BurnedTerminal;
use crate::dev::nats::User;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use events::envelope::answer::{Answer, open_activation_answer};
use events::envelope::ticket::encode_hello;
use events::envelope::{ActivationBody, PreparedActivation, SuiteSet, Ticket, seal_activation};
use events::identity::key::{DeviceKey, PreSharedKey};
use events::identity::lot::LotFirmware;
use events::identity::otp::OtpRecord;
use events::ids::{BootId, DeviceId, RecordDigest, RegionName};
use events::keyring::ClusterPublic;
use events::license::ActivationCode;
use events::vocabulary::provisioning::ComponentDigest;
use events::vocabulary::rejection::RejectionReason;
use futures::StreamExt;
use nodes::entropy::{Entropy, EntropyRng, OsEntropy};
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A source with the credentials of terminals that it owns.
pub struct Guesser {
    nats: async_nats::Client,
    source: String,
    /// The part of the inbox that this source hears: `_INBOX_<any device>.<token>.…`.
    token: String,
    region: RegionName,
    cluster: ClusterPublic,
    owned: Vec<Owned>,
    guesses: u64,
}

/// What somebody gets out of a terminal that is his.
struct Owned {
    device: DeviceId,
    key: DeviceKey,
    pre_shared: PreSharedKey,
    record: RecordDigest,
    components: Vec<ComponentDigest>,
}

/// How a guess ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guessed {
    /// A sealed answer refused it.
    Refused(RejectionReason),
    /// The code was right: it must not be.
    Granted,
    /// No sealed answer.
    Unanswered,
}

impl Guesser {
    pub async fn connect(
        url: &str,
        user: &User,
        token: &str,
        region: &RegionName,
        cluster: &ClusterPublic,
        firmware: &LotFirmware,
        terminals: &[BurnedTerminal],
    ) -> Result<Self> {
        let owned = terminals.iter().map(|terminal| open(firmware, terminal)).collect::<Result<_>>()?;
        Ok(Guesser {
            nats: connect(url, user).await?,
            source: user.name.clone(),
            token: token.to_owned(),
            region: region.clone(),
            cluster: cluster.clone(),
            owned,
            guesses: 0,
        })
    }

    /// One guess, by the next terminal in turn.
    pub async fn guess(&mut self) -> Result<Guessed> {
        let turn = usize::try_from(self.guesses).unwrap_or(0) % self.owned.len().max(1);
        let owned = self.owned.get(turn).context("the guesser owns no terminal")?;
        self.guesses += 1;
        let answer = self.ask(owned.device, "hello", encode_hello(owned.device)).await?;
        let Some(ticket) = answer.and_then(|answer| ticket_in(&answer)) else {
            return Ok(Guessed::Unanswered);
        };
        let sealed = self.seal(owned, &ticket)?;
        let Some(answer) = self.ask(owned.device, "activation", sealed.message.clone()).await? else {
            return Ok(Guessed::Unanswered);
        };
        Ok(match open_activation_answer(&sealed.exporter, &sealed.message, &answer) {
            Ok((_, Answer::Granted(_))) => Guessed::Granted,
            Ok((_, Answer::Refused(reason))) => Guessed::Refused(reason),
            Err(_) => Guessed::Unanswered,
        })
    }

    fn seal(&self, owned: &Owned, ticket: &Ticket) -> Result<PreparedActivation> {
        let rng = &mut EntropyRng(&OsEntropy);
        let (mut random, mut boot) = ([0; 32], [0; 16]);
        OsEntropy.fill(&mut random);
        OsEntropy.fill(&mut boot);
        let body = ActivationBody {
            code: Some(ActivationCode::generate(rng)),
            record: owned.record,
            random,
            boot: BootId::from_bytes(boot),
            boot_count: 1,
            firmware: 1,
            epoch_claimed: 0,
            components: owned.components.clone(),
        };
        let sealed =
            seal_activation(rng, &owned.key, &owned.pre_shared, &self.cluster, SuiteSet::ALL, ticket, &body);
        sealed.map_err(|_| anyhow::anyhow!("sealing an activation"))
    }

    /// Publishes a request and waits for the first answer.
    async fn ask(&self, device: DeviceId, kind: &str, payload: Vec<u8>) -> Result<Option<Bytes>> {
        let inbox = format!("_INBOX_{device}.{}.{}.{kind}", self.token, self.guesses);
        let mut answers = self.nats.subscribe(inbox.clone()).await.context("listening for an answer")?;
        let subject = format!("muster.v1.{}.up.{}.{device}.{kind}", self.region, self.source);
        self.nats.publish_with_reply(subject, inbox, payload.into()).await.context("publishing a guess")?;
        match tokio::time::timeout(ANSWER_WITHIN, answers.next()).await {
            Ok(Some(answer)) => Ok(Some(answer.payload)),
            Ok(None) => bail!("the connection of {} was closed", self.source),
            Err(_) => Ok(None),
        }
    }
}

/// The ticket in an answer to a hello, if it is one. While a region has no node that can commit, the server itself
/// answers that nobody listens, and a node that is busy may say so: both are no failure of the guesser.
fn ticket_in(answer: &[u8]) -> Option<Ticket> {
    Ticket::parse_answer(answer).ok()
}

/// Reads a terminal's memory and hardware, as its owner can.
fn open(firmware: &LotFirmware, terminal: &BurnedTerminal) -> Result<Owned> {
    let slot =
        std::fs::read(terminal.otp()).with_context(|| format!("reading {}", terminal.otp().display()))?;
    let record = OtpRecord::parse(&slot).context("reading an OTP record")?;
    let fingerprint = crate::cli::terminal::read_fingerprint(&terminal.components())?;
    let opened = firmware.open_record(&record, None, &fingerprint).context("opening an OTP record")?;
    Ok(Owned {
        device: terminal.device,
        key: opened.seed.device_key(),
        pre_shared: opened.seed.pre_shared_key(),
        record: record.digest(),
        components: fingerprint.digests(&opened.seed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::envelope::Refusal;

    #[test]
    fn what_is_no_ticket_leaves_a_guess_unanswered() {
        let busy = Refusal { reason: RejectionReason::Unavailable, retry_after_millis: 500 }.encode();
        assert_eq!(ticket_in(b""), None, "the server's word that nobody listens is empty");
        assert_eq!(ticket_in(&busy), None);
    }
}
