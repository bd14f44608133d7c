//! What survives a power cut: the floor, the job, and what became of the last rollout that this terminal took.

use super::job::{Job, Source, Step};
use crate::shell::flash::Flash;
use crate::shell::state_file::{StateFile, StateFileError, read_only};
use events::ids::RolloutId;
use events::update::{Offer, UpdateFailure};
use serde::{Deserialize, Serialize};

/// First byte of the payload; a changed layout gets a new number.
const LAYOUT: u8 = 3;
/// The layout before: the same without `installed`, and jobs without what was withheld.
const LAYOUT_WITHOUT_INSTALLED: u8 = 2;
/// The one before that: also without `unsettled`, and jobs without their source.
const LAYOUT_WITHOUT_SOURCE: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot use the folder of updates: {0}")]
    Folder(std::io::Error),
    #[error("the journal of updates: {0}")]
    File(#[from] StateFileError),
    #[error("the work on updates ended: {0}")]
    Ended(String),
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
    pub unsettled: Option<Unsettled>,
    /// The version that booted last: the boot loader may fall back from it.
    pub installed: Option<Installed>,
}

/// A version that was offered and ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    pub rollout: RolloutId,
    pub firmware: u32,
}

/// A version whose hook began and did not end well. It may boot all the same, because the hook did all but its last
/// line: then the floor rises as if nothing had failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    pub rollout: RolloutId,
    pub firmware: u32,
    pub floor: u32,
}

#[derive(Deserialize)]
struct KeptWithoutInstalled {
    floor: u32,
    job: Option<JobWithoutWithheld>,
    failed: Option<(RolloutId, u8)>,
    unsettled: Option<Unsettled>,
}

#[derive(Deserialize)]
struct JobWithoutWithheld {
    signed: Vec<u8>,
    step: Step,
    source: Source,
}

#[derive(Deserialize)]
struct KeptWithoutSource {
    floor: u32,
    job: Option<JobWithoutSource>,
    failed: Option<(RolloutId, u8)>,
}

#[derive(Deserialize)]
struct JobWithoutSource {
    signed: Vec<u8>,
    step: Step,
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

    /// Somebody beside the terminal wants what is under way.
    pub fn hand_over(&mut self) -> Result<(), JournalError> {
        let job = self.kept.job.clone().map(|job| Job { source: Source::Hand, withheld: false, ..job });
        self.save(Kept { job, ..self.kept.clone() })
    }

    pub fn advance(&mut self, step: Step) -> Result<(), JournalError> {
        let job = self.kept.job.clone().map(|job| Job { step, ..job });
        self.save(Kept { job, ..self.kept.clone() })
    }

    /// Whether the cluster offers what is under way; on flash, so that a power-on does not install what was withdrawn.
    pub fn withhold(&mut self, withheld: bool) -> Result<(), JournalError> {
        match self.kept.job.clone() {
            Some(job) if job.withheld != withheld => {
                self.save(Kept { job: Some(Job { withheld, ..job }), ..self.kept.clone() })
            }
            _ => Ok(()),
        }
    }

    pub fn close_installed(&mut self, floor: u32) -> Result<(), JournalError> {
        let offer = self.kept.job.as_ref().and_then(Job::offer);
        let installed = offer.map(|Offer { rollout, firmware, .. }| Installed { rollout, firmware });
        self.save(Kept { floor: self.kept.floor.max(floor), installed, ..Kept::default() })
    }

    /// What ran does not run any more: its rollout failed here. A job that is under way stays, and if the version comes
    /// back the failure is forgotten.
    pub fn fell_back(&mut self, from: Installed) -> Result<(), JournalError> {
        let Installed { rollout, firmware } = from;
        let failed = Some((rollout, UpdateFailure::NotBooted as u8));
        let unsettled = Some(Unsettled { rollout, firmware, floor: self.kept.floor });
        self.save(Kept { failed, unsettled, installed: None, ..self.kept.clone() })
    }

    /// The version that runs was offered once and called failed: the floor rises, and a job that is under way stays.
    pub fn settle_unsettled(&mut self, unsettled: Unsettled) -> Result<(), JournalError> {
        let floor = self.kept.floor.max(unsettled.floor);
        let failed = self.kept.failed.filter(|(rollout, _)| *rollout != unsettled.rollout);
        let installed = Some(Installed { rollout: unsettled.rollout, firmware: unsettled.firmware });
        self.save(Kept { floor, failed, unsettled: None, installed, ..self.kept.clone() })
    }

    pub fn close_failed(&mut self, rollout: RolloutId, failure: UpdateFailure) -> Result<(), JournalError> {
        let job = self.kept.job.as_ref();
        let began = job.filter(|job| matches!(job.step, Step::Installing { .. } | Step::Installed { .. }));
        let unsettled = began.and_then(Job::offer).map(|offer| {
            let Offer { rollout, firmware, floor, .. } = offer;
            Unsettled { rollout, firmware, floor }
        });
        let unsettled = unsettled.or(self.kept.unsettled);
        self.save(Kept { job: None, failed: Some((rollout, failure as u8)), unsettled, ..self.kept.clone() })
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
    match *layout {
        LAYOUT => whole(body),
        LAYOUT_WITHOUT_INSTALLED => {
            let KeptWithoutInstalled { floor, job, failed, unsettled } = whole(body)?;
            let job = job.map(|JobWithoutWithheld { signed, step, source }| Job {
                signed,
                step,
                source,
                withheld: false,
            });
            Some(Kept { floor, job, failed, unsettled, installed: None })
        }
        LAYOUT_WITHOUT_SOURCE => {
            let KeptWithoutSource { floor, job, failed } = whole(body)?;
            let source = Source::Cluster;
            let job =
                job.map(|JobWithoutSource { signed, step }| Job { signed, step, source, withheld: false });
            Some(Kept { floor, job, failed, ..Kept::default() })
        }
        _ => None,
    }
}

/// All of `body` as one value.
fn whole<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(body).ok()?;
    rest.is_empty().then_some(value)
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

    #[test]
    fn a_journal_of_an_older_layout_keeps_its_floor_and_its_job() {
        let failed = Some((RolloutId::from_bytes([3; 16]), UpdateFailure::Digest as u8));
        let job = |source| Job { signed: vec![1, 2], step: Step::Verified, source, withheld: false };
        let first = (7_u32, Some((vec![1_u8, 2], Step::Verified)), failed);
        let bytes = [vec![LAYOUT_WITHOUT_SOURCE], postcard::to_stdvec(&first).unwrap()].concat();
        let read = Kept { floor: 7, job: Some(job(Source::Cluster)), failed, ..Kept::default() };
        assert_eq!(decode(&bytes), Some(read));
        let unsettled = Some(Unsettled { rollout: RolloutId::from_bytes([4; 16]), firmware: 8, floor: 8 });
        let second = (7_u32, Some((vec![1_u8, 2], Step::Verified, Source::Url)), failed, unsettled);
        let bytes = [vec![LAYOUT_WITHOUT_INSTALLED], postcard::to_stdvec(&second).unwrap()].concat();
        let read = Kept { floor: 7, job: Some(job(Source::Url)), failed, unsettled, installed: None };
        assert_eq!(decode(&bytes), Some(read));
    }
}
