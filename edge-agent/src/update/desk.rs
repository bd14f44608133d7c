//! The agent's end of software update: hands on what the loop hears, and says what is to be asked and told.

use super::config::UpdateConfig;
use super::event::UpdateEvent;
use super::journal::{Journal, JournalError};
use super::offer_time::OfferTime;
use super::worker::{Input, Worker};
use crate::machine::AgentEvent;
use crate::shell::flash::{Flash, FolderFlash};
use bytes::Bytes;
use events::ids::{DeviceId, LotId, RecordDigest};
use events::update::UpdateFailure;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What waits to be handed on; more is dropped, since verdicts name an offer again and again.
const WAITING_MAX: usize = 64;
/// Two clocks that are no further apart say the same.
const TIME_SLACK_MILLIS: u64 = 1_000;
/// Folder of the journal and of the artifact, below the state folder.
const FOLDER: &str = "update";

/// Who this terminal is, as far as offers are concerned.
#[derive(Clone, Debug)]
pub struct UpdateIdentity {
    /// None if its record does not open.
    pub device: Option<DeviceId>,
    pub record: RecordDigest,
    pub lot: LotId,
    pub sku: String,
    /// The version that runs.
    pub firmware: u32,
}

/// What the agent's loop does for an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Publish this as an update request.
    Ask(Vec<u8>),
    Tell(UpdateEvent),
}

/// The work is ended when it is dropped; what is on flash is where it goes on.
pub struct UpdateDesk {
    inputs: mpsc::Sender<Input>,
    wanted: mpsc::Receiver<Wanted>,
    failure: watch::Receiver<Option<UpdateFailure>>,
    worker: JoinHandle<Result<(), JournalError>>,
    /// As it was handed on last, and when.
    time: (OfferTime, Instant),
}

impl UpdateDesk {
    /// Opens the journal and goes on with what it says; `time` is what the agent knows of it.
    pub fn open(
        config: &UpdateConfig,
        identity: UpdateIdentity,
        state_dir: &Path,
        time: OfferTime,
    ) -> Result<Self, JournalError> {
        let flash = FolderFlash::open(&folder(state_dir)).map_err(JournalError::Folder)?;
        UpdateDesk::open_on(config, identity, state_dir, Box::new(flash), time)
    }

    /// [`UpdateDesk::open`] with a journal on any flash.
    pub fn open_on(
        config: &UpdateConfig,
        identity: UpdateIdentity,
        state_dir: &Path,
        flash: Box<dyn Flash + Send>,
        time: OfferTime,
    ) -> Result<Self, JournalError> {
        let folder = folder(state_dir);
        let journal = Journal::open(flash)?;
        let (inputs, heard) = mpsc::channel(WAITING_MAX);
        let (wants, wanted) = mpsc::channel(WAITING_MAX);
        let (worker, failure) = Worker::new(config.clone(), identity, folder, journal, heard, wants);
        let worker = tokio::spawn(worker.work(time));
        Ok(UpdateDesk { inputs, wanted, failure, worker, time: (time, Instant::now()) })
    }

    /// What is known of the time now. Handed on when it is not what was to be expected: a sealed stamp came, or somebody
    /// set the clock of a terminal that hears none.
    pub fn time(&mut self, time: OfferTime) {
        let expected = self.time.0.after(self.time.1.elapsed());
        let apart = time.at.millis_since(expected.at).max(expected.at.millis_since(time.at));
        if (apart > TIME_SLACK_MILLIS || time.is_sealed != expected.is_sealed)
            && self.inputs.try_send(Input::Time(time)).is_ok()
        {
            self.time = (time, Instant::now());
        }
    }

    /// Something happened when the time was `time`.
    pub fn event(&self, event: &AgentEvent, time: OfferTime) {
        let input = match event {
            AgentEvent::UpdateOffered { id } => Input::Named(*id),
            AgentEvent::Acknowledged { .. } => Input::Acknowledged { time },
            _ => return,
        };
        let _full = self.inputs.try_send(input);
    }

    /// An answer to an update request came. It may be anything.
    pub fn answered(&self, bytes: Bytes, time: OfferTime) {
        let _full = self.inputs.try_send(Input::Answer { bytes, time });
    }

    /// What was wanted to be asked last left on a connection that lives: silence after it means something.
    pub fn question_left(&self) {
        let _full = self.inputs.try_send(Input::QuestionLeft);
    }

    /// Somebody beside the terminal hands in a signed offer. Whatever becomes of it is told, also that it was taken before.
    pub fn handed(&self, offer: Vec<u8>) {
        let _full = self.inputs.try_send(Input::Handed(offer));
    }

    /// What heartbeats tell now.
    #[must_use]
    pub fn failure(&self) -> Option<UpdateFailure> {
        *self.failure.borrow()
    }

    /// The next thing to do. Safe to cancel.
    ///
    /// # Errors
    /// The journal could not be written: nothing is known any more of what lies on flash, so the process has to end and
    /// start again from there, as with the agent's own state.
    pub async fn next(&mut self) -> Result<Wanted, JournalError> {
        if let Some(wanted) = self.wanted.recv().await {
            return Ok(wanted);
        }
        match (&mut self.worker).await {
            Ok(ended) => ended?,
            Err(error) => return Err(JournalError::Ended(error.to_string())),
        }
        Err(JournalError::Ended("nobody hands on what is heard".to_owned()))
    }
}

impl Drop for UpdateDesk {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// Where everything about updates lies.
#[must_use]
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER)
}
