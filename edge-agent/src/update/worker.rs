//! Does the work of an update beside the agent's loop, one step after the other, each on flash before the next.

use super::config::UpdateConfig;
use super::consent::{Consent, PATIENCE};
use super::desk::{UpdateIdentity, Wanted};
use super::download::{Download, Fetched, artifact, discard};
use super::event::UpdateEvent;
use super::http::HttpClient;
use super::job::{Job, Source, Step};
use super::journal::{Journal, JournalError};
use super::offer_time::OfferTime;
use super::result::Shown;
use crate::hooks::{HookEnd, run_hook};
use crate::shell::entropy::Entropy;
use crate::shell::flash::Flash;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use events::ids::RolloutId;
use events::limits::UPDATE_OFFER_BYTES_MAX;
use events::time::Timestamp;
use events::update::{Offer, UpdateAnswer, UpdateFailure, UpdateRequest, offer_in_file};
use events::vocabulary::shared::DirectiveId;
use rand_core::Rng;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

mod considering;
mod starting;

/// A terminal that hears nothing asks first within this after its start, and again while no answer comes.
const UNANSWERED: Duration = Duration::from_secs(300);
/// The same name is asked for again after this.
const NAMED_AGAIN: Duration = Duration::from_secs(60);
/// An offer from a URL comes within this, or not at all.
const OFFER_PATIENCE: Duration = Duration::from_secs(60);
/// An offer as text, with room for what it says to people.
const OFFER_FILE_BYTES_MAX: usize = 4 * UPDATE_OFFER_BYTES_MAX;
/// Timers look no further ahead.
const DAY: Duration = Duration::from_secs(24 * 3600);
const KERNEL_BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What the worker hears.
#[derive(Debug)]
pub(super) enum Input {
    /// A verdict named an offer.
    Named(DirectiveId),
    Answer {
        bytes: Bytes,
        time: OfferTime,
    },
    /// A verdict verified.
    Acknowledged {
        time: OfferTime,
    },
    /// The time is known better, or another one is believed.
    Time(OfferTime),
    /// A signed offer from somebody beside the terminal.
    Handed(Vec<u8>),
    /// The last question left on a connection that lives.
    QuestionLeft,
}

/// What is to be done next.
enum Work {
    /// Something must be heard first.
    Nothing,
    Download(Offer),
    Install(Offer, u8),
    GiveUp(UpdateFailure),
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
    time: (OfferTime, Instant),
    /// To the job that is on flash.
    consent: Consent,
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
        let kept = journal.kept();
        // While another rollout is under way, its failure would be taken for that one's.
        let shown = Shown::told_before(journal.failure().filter(|_| kept.job.is_none()));
        let withheld = kept.job.as_ref().is_some_and(|job| job.withheld);
        let consent = if withheld { Consent::Withheld } else { Consent::default() };
        let (failure, told) = watch::channel(shown.now());
        let (http, now) = (HttpClient::new(config.ca_file.as_deref()), Instant::now());
        let first = jitter(config.ask_interval().min(UNANSWERED));
        let time = (OfferTime { at: Timestamp::ZERO, is_sealed: false }, now);
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
            consent,
        };
        (worker, told)
    }

    /// Works until the desk is gone.
    ///
    /// # Errors
    /// The journal could not be written.
    pub async fn work(mut self, time: OfferTime) -> Result<(), JournalError> {
        self.know(time);
        self.settle_start()?;
        loop {
            let goes_on = match self.next_work() {
                Work::Nothing => self.listen().await?,
                Work::Download(offer) => self.download(&offer).await?,
                Work::Install(offer, tries) => self.install(&offer, tries).await.map(|()| true)?,
                Work::GiveUp(failure) => self.fail(failure).map(|()| true)?,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn next_work(&self) -> Work {
        let Some(job) = &self.journal.kept().job else { return Work::Nothing };
        if matches!(job.step, Step::Installed { .. }) {
            return Work::Nothing;
        }
        let Some(offer) = job.offer() else { return Work::GiveUp(UpdateFailure::Storage) };
        let now = self.now();
        if now.is_past(offer.not_after) {
            // A clock without a battery may stand in another century: what a sealed stamp has not said waits for one.
            let is_certain = now.is_sealed || job.source == Source::Hand;
            return if is_certain { Work::GiveUp(UpdateFailure::Expired) } else { Work::Nothing };
        }
        let may_install = job.source != Source::Cluster || self.consent == Consent::Given;
        match job.step {
            Step::Downloading => Work::Download(offer),
            Step::Verified if may_install => Work::Install(offer, 0),
            Step::Installing { tries } if may_install => Work::Install(offer, tries),
            Step::Verified | Step::Installing { .. } | Step::Installed { .. } => Work::Nothing,
        }
    }

    /// Waits for one thing that is heard or due, and takes it in. False if nobody is left to be heard.
    /// Safe to cancel.
    async fn listen(&mut self) -> Result<bool, JournalError> {
        let may_ask = self.config.is_used();
        let consent_due = if self.awaits_consent() { self.consent.due(Instant::now()) } else { None };
        let ends = self.ends();
        tokio::select! {
            input = self.inputs.recv() => match input {
                Some(input) => self.hear(input)?,
                None => return Ok(false),
            },
            () = sleep_until(self.ask_at), if may_ask => self.ask().await?,
            () = due(consent_due) => self.ask_consent(),
            // What it means for the job, `next_work` finds.
            () = due(ends) => {}
        }
        Ok(true)
    }

    /// Whether the artifact is there and nothing but the cluster's word is missing.
    fn awaits_consent(&self) -> bool {
        let job = self.journal.kept().job.as_ref().filter(|job| job.source == Source::Cluster);
        let is_ready = |job: &Job| matches!(job.step, Step::Verified | Step::Installing { .. });
        job.is_some_and(|job| is_ready(job) && !self.is_over(job)) && self.consent != Consent::Given
    }

    fn is_over(&self, job: &Job) -> bool {
        job.offer().is_none_or(|offer| self.now().is_past(offer.not_after))
    }

    /// When the job's offer ends, if it has not.
    fn ends(&self) -> Option<Instant> {
        let job =
            self.journal.kept().job.as_ref().filter(|job| !matches!(job.step, Step::Installed { .. }))?;
        let (end, now) = (job.offer()?.not_after, self.now());
        let left = Duration::from_millis(end.millis_since(now.at).saturating_add(1));
        (!now.is_past(end)).then(|| Instant::now() + left.min(DAY))
    }

    fn hear(&mut self, input: Input) -> Result<(), JournalError> {
        match input {
            Input::Acknowledged { time } => {
                self.know(time);
                self.shown.acknowledged();
                self.show();
                self.ask_later();
                Ok(())
            }
            Input::Time(time) => {
                self.know(time);
                Ok(())
            }
            Input::Named(id) => {
                // Verdicts name what is under way again and again; the cluster is asked before it is installed.
                let needless = self.journal.kept().job.is_some() && self.consent != Consent::Withheld;
                let again = |(before, at): (DirectiveId, Instant)| {
                    before == id && (needless || at.elapsed() < NAMED_AGAIN)
                };
                if !self.named.is_some_and(again) {
                    self.named = Some((id, Instant::now()));
                    self.ask_at = Instant::now();
                }
                Ok(())
            }
            Input::Answer { bytes, time } => {
                self.know(time);
                let Ok(answer) = UpdateAnswer::parse(&bytes) else { return Ok(()) };
                self.ask_later();
                self.answered(&answer.offer)
            }
            Input::Handed(offer) => self.consider(&offer, Source::Hand),
            Input::QuestionLeft => {
                self.consent = self.consent.question_left();
                Ok(())
            }
        }
    }

    /// What the cluster offers now; empty for nothing.
    fn answered(&mut self, offer: &[u8]) -> Result<(), JournalError> {
        if self.awaits_consent() {
            let same = self.journal.kept().job.as_ref().is_some_and(|job| job.signed == offer);
            let before = self.consent;
            self.consent = before.answered(same);
            self.journal.withhold(self.consent == Consent::Withheld)?;
            if self.consent == Consent::Withheld && before != Consent::Withheld {
                let rollout =
                    self.journal.kept().job.as_ref().and_then(Job::offer).map(|offer| offer.rollout);
                if let Some(rollout) = rollout {
                    self.tell(UpdateEvent::Held { rollout });
                }
            }
        }
        if offer.is_empty() { Ok(()) } else { self.consider(offer, Source::Cluster) }
    }

    fn ask_consent(&mut self) {
        self.consent = self.consent.asked(Instant::now(), PATIENCE.min(self.config.ask_interval()));
        if self.consent != Consent::Given {
            self.ask_cluster();
        }
    }

    fn know(&mut self, time: OfferTime) {
        self.time = (time, Instant::now());
    }

    /// The cluster was heard; verdicts name what there is.
    fn ask_later(&mut self) {
        let interval = self.config.ask_interval();
        self.ask_at = Instant::now() + interval + jitter(interval / 6);
    }

    async fn ask(&mut self) -> Result<(), JournalError> {
        let patience = UNANSWERED.min(self.config.ask_interval());
        self.ask_at = Instant::now() + patience + jitter(patience / 6);
        self.ask_cluster();
        let Some(url) = self.config.offer_url.clone() else { return Ok(()) };
        match timeout(OFFER_PATIENCE, fetch_offer(&mut self.http, url.as_str())).await {
            Ok(Some(offer)) => self.consider(&offer, Source::Url),
            Ok(None) => Ok(()),
            Err(_elapsed) => {
                tracing::info!(url = url.as_str(), "an offer comes too slowly");
                Ok(())
            }
        }
    }

    fn ask_cluster(&self) {
        let UpdateIdentity { device, record, lot, firmware, .. } = self.identity;
        let request = match device {
            Some(device) => UpdateRequest::of_device(device, lot, firmware),
            None => UpdateRequest::of_record(record, lot, firmware),
        };
        let _gone = self.wants.try_send(Wanted::Ask(request.encode()));
    }

    fn now(&self) -> OfferTime {
        self.time.0.after(self.time.1.elapsed())
    }

    /// Fetches, and listens meanwhile: what is heard may end or replace the job. False if nobody is left to be heard.
    async fn download(&mut self, offer: &Offer) -> Result<bool, JournalError> {
        let (folder, mut http) = (self.folder.clone(), self.http.clone());
        let download = Download::new(offer, &folder, self.config.retry_first());
        let fetching = download.fetch(&mut http);
        tokio::pin!(fetching);
        loop {
            tokio::select! {
                fetched = &mut fetching => {
                    match fetched {
                        Fetched::Failed(failure) => self.fail(failure)?,
                        Fetched::Whole => {
                            self.journal.advance(Step::Verified)?;
                            self.tell(UpdateEvent::Verified { rollout: offer.rollout });
                        }
                    }
                    return Ok(true);
                }
                goes_on = self.listen() => {
                    let is_same = matches!(self.next_work(), Work::Download(next) if next == *offer);
                    if !goes_on? {
                        return Ok(false);
                    }
                    if !is_same {
                        return Ok(true);
                    }
                }
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
        let rollout = offer.map_or(RolloutId::from_bytes([0; 16]), |offer| offer.rollout);
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

    fn tell_running(&self) {
        let floor = self.journal.kept().floor;
        self.tell(UpdateEvent::Running { firmware: self.identity.firmware, floor });
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

/// Never, if there is no such moment.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Random at each start of the kernel. Where there is none, every start of the agent looks like the same.
fn kernel_boot() -> String {
    std::fs::read_to_string(KERNEL_BOOT).map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// An offer from a URL, in either form: at most as many bytes as its text has.
async fn fetch_offer(http: &mut HttpClient, url: &str) -> Option<Vec<u8>> {
    let mut offer = Vec::new();
    let mut response =
        http.get(url, 0).await.inspect_err(|error| tracing::info!(url, %error, "no offer")).ok()?;
    while let Some(piece) = response.piece().await.ok()? {
        offer.extend_from_slice(&piece);
        if offer.len() > OFFER_FILE_BYTES_MAX {
            return None;
        }
    }
    offer_in_file(&offer)
}

fn jitter(bound: Duration) -> Duration {
    Duration::from_millis(Entropy.next_u64() % (bound.as_millis() as u64).max(1))
}
