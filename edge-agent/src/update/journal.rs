//! What survives a power cut: the floor, the job, and what became of the last rollout that this terminal took.

use super::job::{Job, Step};
use crate::shell::flash::Flash;
use crate::shell::state_file::{StateFile, StateFileError, read_only};
use events::ids::RolloutId;
use events::update::UpdateFailure;
use serde::{Deserialize, Serialize};

/// First byte of the payload; a changed layout gets a new number.
const LAYOUT: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot use the folder of updates: {0}")]
    Folder(std::io::Error),
    #[error("the journal of updates: {0}")]
    File(#[from] StateFileError),
    #[error("the journal of updates cannot be encoded: {0}")]
    Encode(postcard::Error),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// No version below it is taken any more.
    pub floor: u32,
    pub job: Option<Job>,
    /// The rollout that failed last, and the number of its `UpdateFailure`.
    pub failed: Option<(RolloutId, u8)>,
}

/// Two generations on flash, as the agent's own state.
pub struct Journal<F> {
    file: StateFile<F>,
    kept: Kept,
}

impl<F: Flash> Journal<F> {
    /// A journal that cannot be read is empty: the floor is then that of the version that runs, which is the offer's
    /// business to be above.
    pub fn open(flash: F) -> Result<Self, JournalError> {
        let (file, found) = StateFile::open(flash)?;
        for copy in found.damaged {
            tracing::warn!(copy, "a copy of the journal of updates is damaged; the other one is used");
        }
        let kept = found.payload.as_deref().and_then(|payload| decode(payload)).unwrap_or_default();
        Ok(Journal { file, kept })
    }

    #[must_use]
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    #[must_use]
    pub fn failure(&self) -> Option<(RolloutId, UpdateFailure)> {
        let (rollout, number) = self.kept.failed?;
        UpdateFailure::from_number(number).map(|failure| (rollout, failure))
    }

    pub fn take(&mut self, job: Job) -> Result<(), JournalError> {
        self.save(Kept { job: Some(job), ..self.kept.clone() })
    }

    pub fn advance(&mut self, step: Step) -> Result<(), JournalError> {
        let job = self.kept.job.clone().map(|job| Job { step, ..job });
        self.save(Kept { job, ..self.kept.clone() })
    }

    pub fn close_installed(&mut self, floor: u32) -> Result<(), JournalError> {
        self.save(Kept { floor: self.kept.floor.max(floor), job: None, failed: None })
    }

    pub fn close_failed(&mut self, rollout: RolloutId, failure: UpdateFailure) -> Result<(), JournalError> {
        self.save(Kept { job: None, failed: Some((rollout, failure as u8)), ..self.kept.clone() })
    }

    /// Returns once it is durable; what is kept in memory is what is on flash.
    fn save(&mut self, kept: Kept) -> Result<(), JournalError> {
        let mut bytes = vec![LAYOUT];
        bytes.extend(postcard::to_stdvec(&kept).map_err(JournalError::Encode)?);
        self.file.save(&bytes)?;
        self.kept = kept;
        Ok(())
    }
}

/// For `muster-agent update`, beside a running agent.
pub fn read<F: Flash>(flash: &F) -> Result<Kept, JournalError> {
    let found = read_only(flash)?;
    Ok(found.payload.as_deref().and_then(|payload| decode(payload)).unwrap_or_default())
}

fn decode(payload: &[u8]) -> Option<Kept> {
    let (layout, body) = payload.split_first()?;
    let (kept, rest) = postcard::take_from_bytes(body).ok()?;
    (*layout == LAYOUT && rest.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::flash::FolderFlash;

    #[test]
    fn the_floor_never_goes_down_and_survives_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Journal::open(FolderFlash::open(folder.path()).unwrap()).unwrap();
        let mut journal = open();
        journal.close_installed(7).unwrap();
        journal.close_installed(5).unwrap();
        let rollout = RolloutId::from_bytes([3; 16]);
        journal.close_failed(rollout, UpdateFailure::Digest).unwrap();
        drop(journal);
        let journal = open();
        assert_eq!(journal.kept().floor, 7);
        assert_eq!(journal.failure(), Some((rollout, UpdateFailure::Digest)));
    }
}
