//! Does the work of an update beside the agent's loop, one step after the other, each on flash before the next.

use super::config::UpdateConfig;
use super::desk::{UpdateIdentity, Wanted};
use super::download::{Download, Fetched, artifact, discard};
use super::event::UpdateEvent;
use super::http::HttpClient;
use super::job::{Job, Settled, Step};
use super::journal::{Journal, JournalError};
use super::judge::{Target, judge};
use super::result::Shown;
use crate::hooks::{HookEnd, run_hook};
use crate::shell::entropy::Entropy;
use crate::shell::flash::Flash;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use events::limits::UPDATE_OFFER_BYTES_MAX;
use events::time::Timestamp;
use events::update::{Offer, UpdateAnswer, UpdateFailure, UpdateRequest};
use events::vocabulary::shared::DirectiveId;
use rand_core::Rng;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// A terminal that hears nothing asks first within this after its start, and again while no answer comes.
const UNANSWERED: Duration = Duration::from_secs(300);
/// The same name is asked for again after this.
const NAMED_AGAIN: Duration = Duration::from_secs(60);
const KERNEL_BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What the worker hears.
#[derive(Debug)]
pub(super) enum Input {
    /// A verdict named an offer.
    Named(DirectiveId),
    Answer {
        bytes: Bytes,
        time: Timestamp,
    },
    /// A verdict verified.
    Acknowledged,
}

pub(super) struct Worker {
    config: UpdateConfig,
    identity: UpdateIdentity,
    folder: PathBuf,
    journal: Journal<Box<dyn Flash + Send>>,
    http: HttpClient,
    inputs: mpsc::Receiver<Input>,
    wants: mpsc::Sender<Wanted>,
    shown: Shown,
    failure: watch::Sender<Option<UpdateFailure>>,
    named: Option<(DirectiveId, Instant)>,
    ask_at: Instant,
    /// What the agent knew of the time, and when.
    time: (Timestamp, Instant),
}

impl Worker {
    pub fn new(
        config: UpdateConfig,
        identity: UpdateIdentity,
        folder: PathBuf,
        journal: Journal<Box<dyn Flash + Send>>,
        inputs: mpsc::Receiver<Input>,
        wants: mpsc::Sender<Wanted>,
    ) -> (Self, watch::Receiver<Option<UpdateFailure>>) {
        let shown = Shown::told_before(journal.failure());
        let (failure, told) = watch::channel(shown.now());
        let (http, now) = (HttpClient::new(config.ca_file.as_deref()), Instant::now());
        let first = jitter(config.ask_interval().min(UNANSWERED));
        let time = (Timestamp::ZERO, now);
        let worker = Worker {
            config,
            identity,
            folder,
            journal,
            http,
            inputs,
            wants,
            shown,
            failure,
            named: None,
            ask_at: now + first,
            time,
        };
        (worker, told)
    }

    pub async fn work(mut self, time: Timestamp) -> Result<(), JournalError> {
        self.time = (time, Instant::now());
        self.settle_start()?;
        loop {
            if self.has_work() {
                self.go_on().await?;
                continue;
            }
            let may_ask = self.config.is_used();
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.hear(input)?,
                    None => return Ok(()),
                },
                () = sleep_until(self.ask_at), if may_ask => self.ask().await?,
            }
        }
    }

    /// What the last start left.
    fn settle_start(&mut self) -> Result<(), JournalError> {
        let Some(job) = self.journal.kept().job.clone() else { return Ok(()) };
        match job.settle(self.identity.firmware, &kernel_boot(), self.time.0) {
            Settled::GoesOn => Ok(()),
            Settled::Installed { floor } => {
                self.journal.close_installed(floor)?;
                self.remove_artifact();
                self.shown.clear();
                self.show();
                let floor = self.journal.kept().floor;
                self.tell(UpdateEvent::Running { firmware: self.identity.firmware, floor });
                Ok(())
            }
            Settled::Failed(failure) => self.fail(failure),
        }
    }

    fn has_work(&self) -> bool {
        let job = self.journal.kept().job.as_ref();
        job.is_some_and(|job| !matches!(job.step, Step::Installed { .. }))
    }

    fn hear(&mut self, input: Input) -> Result<(), JournalError> {
        match input {
            Input::Acknowledged => {
                self.shown.acknowledged();
                self.show();
                let interval = self.config.ask_interval();
                self.ask_at = Instant::now() + interval + jitter(interval / 6);
                Ok(())
            }
            Input::Named(id) => {
                let again = |(before, at): (DirectiveId, Instant)| before == id && at.elapsed() < NAMED_AGAIN;
                if !self.named.is_some_and(again) {
                    self.named = Some((id, Instant::now()));
                    self.ask_at = Instant::now();
                }
                Ok(())
            }
            Input::Answer { bytes, time } => {
                self.time = (time, Instant::now());
                let Ok(answer) = UpdateAnswer::parse(&bytes) else { return Ok(()) };
                let interval = self.config.ask_interval();
                self.ask_at = Instant::now() + interval + jitter(interval / 6);
                if answer.offer.is_empty() { Ok(()) } else { self.consider(&answer.offer) }
            }
        }
    }

    async fn ask(&mut self) -> Result<(), JournalError> {
        let patience = UNANSWERED.min(self.config.ask_interval());
        self.ask_at = Instant::now() + patience + jitter(patience / 6);
        let UpdateIdentity { device, record, lot, firmware, .. } = self.identity;
        let request = match device {
            Some(device) => UpdateRequest::of_device(device, lot, firmware),
            None => UpdateRequest::of_record(record, lot, firmware),
        };
        let _gone = self.wants.try_send(Wanted::Ask(request.encode()));
        match self.config.offer_url.clone() {
            None => Ok(()),
            Some(url) => match fetch_offer(&mut self.http, &url).await {
                Some(offer) => self.consider(&offer),
                None => Ok(()),
            },
        }
    }

    /// Takes an offer, or refuses it and stays as it was.
    fn consider(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let offer = match judge(bytes, &self.target()) {
            Ok(offer) => offer,
            Err(reason) => {
                tracing::warn!(%reason, "an update offer is refused");
                self.tell(UpdateEvent::Refused { reason });
                return Ok(());
            }
        };
        let kept = self.journal.kept();
        let failed_before = kept.failed.is_some_and(|(rollout, _)| rollout == offer.rollout);
        let awaited = kept.job.as_ref().and_then(Job::offer);
        if failed_before || awaited.is_some_and(|awaited| awaited.firmware >= offer.firmware) {
            return Ok(());
        }
        self.remove_artifact();
        self.journal.take(Job::new(bytes))?;
        self.shown.clear();
        self.show();
        self.tell(UpdateEvent::Taken { rollout: offer.rollout, firmware: offer.firmware });
        Ok(())
    }

    fn target(&self) -> Target<'_> {
        Target {
            keys: &self.config.keys,
            lot: self.identity.lot,
            sku: &self.identity.sku,
            running: self.identity.firmware,
            floor: self.journal.kept().floor,
            time: self.now(),
            kinds: self.config.install.keys().map(String::as_str).collect(),
        }
    }

    fn now(&self) -> Timestamp {
        self.time.0.plus_millis(self.time.1.elapsed().as_millis() as u64)
    }

    async fn go_on(&mut self) -> Result<(), JournalError> {
        let Some(job) = self.journal.kept().job.clone() else { return Ok(()) };
        let Some(offer) = job.offer() else { return self.fail(UpdateFailure::Storage) };
        if offer.not_after < self.now() {
            return self.fail(UpdateFailure::Expired);
        }
        match job.step {
            Step::Downloading => self.download(&offer).await,
            Step::Verified => self.install(&offer, 0).await,
            Step::Installing { tries } => self.install(&offer, tries).await,
            Step::Installed { .. } => Ok(()),
        }
    }

    async fn download(&mut self, offer: &Offer) -> Result<(), JournalError> {
        let download = Download::new(offer, &self.folder, self.config.retry_first());
        match download.fetch(&mut self.http).await {
            Fetched::Failed(failure) => self.fail(failure),
            Fetched::Whole => {
                self.journal.advance(Step::Verified)?;
                self.tell(UpdateEvent::Verified { rollout: offer.rollout });
                Ok(())
            }
        }
    }

    /// Looks at the file once more: it may lie there since a power cut.
    async fn install(&mut self, offer: &Offer, tries: u8) -> Result<(), JournalError> {
        let download = Download::new(offer, &self.folder, self.config.retry_first());
        match download.verify().await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("the artifact is not what it was: fetched anew");
                self.remove_artifact();
                return self.journal.advance(Step::Downloading);
            }
            Err(error) => {
                tracing::error!(%error, "the artifact cannot be read");
                return self.fail(UpdateFailure::Storage);
            }
        }
        let Some(command) = self.config.install.get(&offer.kind).cloned() else {
            return self.fail(UpdateFailure::HookFailed);
        };
        self.journal.advance(Step::Installing { tries: tries.saturating_add(1) })?;
        let outcome = run_hook(&command, &self.environment(offer), self.config.install_timeout()).await;
        match outcome.end {
            HookEnd::Done => {
                self.journal.advance(Step::Installed { kernel_boot: kernel_boot() })?;
                self.remove_artifact();
                self.tell(UpdateEvent::Installed { rollout: offer.rollout, firmware: offer.firmware });
                Ok(())
            }
            HookEnd::TimedOut => self.fail(UpdateFailure::HookTimeout),
            end @ (HookEnd::Failed(_) | HookEnd::NotStarted(_)) => {
                tracing::error!(?end, output = outcome.output.trim_end(), "the update hook failed");
                self.fail(UpdateFailure::HookFailed)
            }
        }
    }

    fn environment(&self, offer: &Offer) -> Vec<(&'static str, String)> {
        vec![
            ("MUSTER_HOOK", "update".to_owned()),
            ("MUSTER_UPDATE_FILE", artifact(&self.folder).display().to_string()),
            ("MUSTER_UPDATE_KIND", offer.kind.clone()),
            ("MUSTER_UPDATE_FIRMWARE", offer.firmware.to_string()),
            ("MUSTER_UPDATE_RUNNING", self.identity.firmware.to_string()),
            ("MUSTER_UPDATE_ROLLOUT", offer.rollout.to_string()),
            ("MUSTER_UPDATE_SIZE", offer.size.to_string()),
            ("MUSTER_UPDATE_SHA384", HEXLOWER.encode(&offer.digest)),
        ]
    }

    fn fail(&mut self, reason: UpdateFailure) -> Result<(), JournalError> {
        let offer = self.journal.kept().job.as_ref().and_then(Job::offer);
        let rollout = offer.map_or(events::ids::RolloutId::from_bytes([0; 16]), |offer| offer.rollout);
        self.journal.close_failed(rollout, reason)?;
        self.remove_artifact();
        self.shown.fail(rollout, reason);
        self.show();
        self.tell(UpdateEvent::Failed { rollout, reason });
        Ok(())
    }

    fn show(&self) {
        self.failure.send_replace(self.shown.now());
    }

    fn tell(&self, event: UpdateEvent) {
        tracing::info!(?event, "update");
        let _full = self.wants.try_send(Wanted::Tell(event));
    }

    fn remove_artifact(&self) {
        if let Err(error) = discard(&self.folder) {
            tracing::warn!(%error, "the artifact cannot be removed");
        }
    }
}

/// Random at each start of the kernel. Where there is none, every start of the agent looks like the same.
fn kernel_boot() -> String {
    std::fs::read_to_string(KERNEL_BOOT).map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// An offer from a URL: at most as many bytes as an offer has.
async fn fetch_offer(http: &mut HttpClient, url: &str) -> Option<Vec<u8>> {
    let mut offer = Vec::new();
    let mut response =
        http.get(url, 0).await.inspect_err(|error| tracing::info!(url, %error, "no offer")).ok()?;
    while let Some(piece) = response.piece().await.ok()? {
        offer.extend_from_slice(&piece);
        if offer.len() > UPDATE_OFFER_BYTES_MAX {
            return None;
        }
    }
    Some(offer)
}

fn jitter(bound: Duration) -> Duration {
    Duration::from_millis(Entropy.next_u64() % (bound.as_millis() as u64).max(1))
}
