//! The read side: what ingress asks for each message (cheap, without allocation) and what operators ask.

use crate::device_view::DeviceView;
use crate::judgement::Judgement;
use crate::projector::Projector;
use crate::state::State;
use crate::state::device::Record;
use crate::state::factory::{Lot, Station};
use crate::state::license::CodeBatch;
use crate::state::license::Fate;
use crate::state::row::Heard;
use crate::state::source::Source;
use crate::state::update::Rollout;
use crate::view::{
    BreakerView, CheckpointView, CodeBatchView, CodeState, Counts, FlagSubject, FlagView, LicenseMoveView,
    LicenseView, LotView, OperationView, RolloutView, SourceView, StationView, StoryLine,
};
use events::ids::{
    CodeDigest, DeviceId, FlagId, LicenseId, LogIndex, LotId, RecordDigest, RolloutId, Slot, SourceId,
    StationId,
};
use events::update::cohort;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::FlagKind;
use sha2::{Digest, Sha256};

impl Projector {
    #[must_use]
    pub fn slot_of(&self, device: &DeviceId) -> Option<Slot> {
        self.state.slot_of(device)
    }

    #[must_use]
    pub fn device(&self, slot: Slot) -> Option<DeviceView<'_>> {
        DeviceView::of(&self.state, slot)
    }

    /// All devices in the order of their slots.
    pub fn devices(&self) -> impl DoubleEndedIterator<Item = DeviceView<'_>> + '_ {
        self.state.records.numbered().filter_map(|(slot, _)| self.device(slot))
    }

    /// The device whose OTP record has this digest.
    #[must_use]
    pub fn slot_of_record(&self, record: &RecordDigest) -> Option<Slot> {
        self.state.slot_of_record(record)
    }

    /// Judges a heartbeat whose tag has verified.
    #[must_use]
    pub fn judge(&self, slot: Slot, heard: &Heard) -> Judgement {
        self.state.judge(slot, heard)
    }

    /// As [`Projector::judge`], without waiting for what the sender has seen: for a leader, which nobody is ahead of.
    #[must_use]
    pub fn judge_regardless(&self, slot: Slot, heard: &Heard) -> Judgement {
        self.state.judge_regardless(slot, heard)
    }

    /// Whether the device may activate with this code, or re-key without one.
    pub fn judge_code(&self, slot: Slot, code: Option<&CodeDigest>) -> Result<(), RejectionReason> {
        self.state.judge_code(slot, code)
    }

    /// Whether the device would be granted a root for this activation: its code holds, or its re-key is not one too
    /// many. What was granted before is granted again.
    pub fn judge_activation(
        &self,
        slot: Slot,
        code: Option<&CodeDigest>,
        transcript: &[u8],
    ) -> Result<(), RejectionReason> {
        let known = |record: &Record| record.transcripts().contains(&Sha256::digest(transcript).into());
        match self.state.records.get(slot) {
            Some(record) if known(record) => Ok(()),
            Some(_) | None => self.state.judge_root(slot, code),
        }
    }

    #[must_use]
    pub fn code(&self, digest: &CodeDigest) -> CodeState {
        match self.state.code(digest).map(|code| code.fate) {
            None => CodeState::Unknown,
            Some(Fate::Unused) => CodeState::Unused,
            Some(Fate::Void | Fate::Replaced(_)) => CodeState::Void,
            Some(Fate::Used(at)) => match (self.state.licenses.get(at), self.state.id_of_license(at)) {
                (Some(license), Some(id)) => CodeState::Used { license: id, slot: license.slot },
                _ => CodeState::Unknown,
            },
        }
    }

    /// Rollouts of software update, in the order in which they were created.
    pub fn rollouts(&self) -> impl DoubleEndedIterator<Item = RolloutView> + '_ {
        self.state.rollouts.iter().filter_map(Rollout::view)
    }

    #[must_use]
    pub fn rollout(&self, rollout: &RolloutId) -> Option<RolloutView> {
        let at = self.state.index.rollouts.get(rollout)?;
        self.state.rollouts.get(*at).and_then(Rollout::view)
    }

    /// The signed offer that a terminal of this lot gets now: it runs an older version, and its part is in the phase.
    #[must_use]
    pub fn offer_for(&self, lot: &LotId, subject: &[u8; 16], firmware: u32) -> Option<&[u8]> {
        let at = self.state.active_rollout_of(lot)?;
        let (rollout, active) = (self.state.rollouts.get(at)?, self.state.index.active_rollouts.get(&at)?);
        let due = rollout.is_running()
            && firmware < active.offer.firmware
            && cohort(&active.offer.rollout, subject) < rollout.permille();
        due.then_some(&rollout.signed[..])
    }

    #[must_use]
    pub fn license(&self, license: &LicenseId) -> Option<LicenseView> {
        self.state.license_by_id(license).and_then(|at| self.license_view(at))
    }

    /// All licenses in the order in which they were created.
    pub fn licenses(&self) -> impl Iterator<Item = LicenseView> + '_ {
        self.state.licenses.numbered().filter_map(|(at, _)| self.license_view(at))
    }

    /// The license that was created as number `at`, counted from 0.
    #[must_use]
    pub fn license_numbered(&self, at: u32) -> Option<LicenseView> {
        self.license_view(at)
    }

    pub fn code_batches(&self) -> impl Iterator<Item = CodeBatchView> + '_ {
        self.state.code_batches.iter().map(code_batch_view)
    }

    /// An issue of codes by its place in the order of issues.
    #[must_use]
    pub fn code_batch_numbered(&self, at: u32) -> Option<CodeBatchView> {
        self.state.code_batches.get(at).map(code_batch_view)
    }

    /// A lot as the state keeps it, with the wrapped key for tamper reports.
    #[must_use]
    pub fn lot(&self, lot: &LotId) -> Option<&Lot> {
        self.state.lots.get(lot)
    }

    pub fn lots(&self) -> impl Iterator<Item = LotView> + '_ {
        self.state.lots.iter().map(|(&id, lot)| LotView {
            lot: id,
            sku: lot.sku.clone(),
            required: lot.required.clone(),
            optional: lot.optional.clone(),
            threshold: lot.threshold,
            devices: lot.devices,
        })
    }

    /// A station as the state keeps it, with its certificate.
    #[must_use]
    pub fn station(&self, station: &StationId) -> Option<&Station> {
        self.state.stations.get(station)
    }

    pub fn stations(&self) -> impl Iterator<Item = StationView> + '_ {
        self.state.stations.iter().map(|(&id, station)| StationView {
            station: id,
            lot: station.lot,
            quota: station.quota,
            used: station.used,
            until: station.until,
            revoked: station.revoked,
        })
    }

    pub fn sources(&self) -> impl Iterator<Item = SourceView> + '_ {
        self.state.sources.iter().map(source_view)
    }

    /// A source by its place in the order in which they were first heard.
    #[must_use]
    pub fn source_numbered(&self, at: u32) -> Option<SourceView> {
        self.state.sources.get(at).map(source_view)
    }

    #[must_use]
    pub fn source(&self, source: &SourceId) -> Option<SourceView> {
        let at = *self.state.index.sources.get(source)?;
        self.state.sources.get(at).map(source_view)
    }

    /// All flags, cleared ones included, in the order in which they were raised.
    pub fn flags(&self) -> impl DoubleEndedIterator<Item = &FlagView> + '_ {
        self.state.flags.iter()
    }

    #[must_use]
    pub fn flag(&self, flag: &FlagId) -> Option<&FlagView> {
        self.state.flags.get(*self.state.index.flags.get(flag)?)
    }

    /// Flags of one subject, cleared ones included.
    pub fn flags_of(&self, subject: &FlagSubject) -> impl Iterator<Item = &FlagView> + '_ {
        self.state.flags_of(subject)
    }

    #[must_use]
    pub fn open_flag(&self, kind: FlagKind, subject: &FlagSubject) -> Option<&FlagView> {
        self.state.open_flag(kind, subject)
    }

    /// All orders, settled ones included, in the order in which they were given.
    pub fn operations(&self) -> impl DoubleEndedIterator<Item = &OperationView> + '_ {
        self.state.operations.iter()
    }

    /// What was ordered for a device, settled ones included, in the order in which it was given.
    pub fn operations_of(&self, device: &DeviceId) -> impl DoubleEndedIterator<Item = &OperationView> + '_ {
        let theirs = self.state.index.operations_of.get(device).map(Vec::as_slice).unwrap_or_default();
        theirs.iter().filter_map(|&at| self.state.operations.get(at))
    }

    /// The last signed heads of the log, by size.
    pub fn checkpoints(&self) -> impl DoubleEndedIterator<Item = &CheckpointView> + '_ {
        self.state.checkpoints.iter()
    }

    /// How far automation is from being stopped, or that it is.
    #[must_use]
    pub fn breaker(&self) -> BreakerView {
        let (breaker, limit) = (&self.state.breaker, crate::decide::limit(&self.state));
        let window_millis = self.state.settings.breaker.window_ms;
        BreakerView { open: breaker.is_open(), restricted: breaker.count(), limit, window_millis }
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            burned: u32::try_from(self.state.rows.len()).unwrap_or(u32::MAX),
            legitimacy: self.state.index.legitimacy.clone(),
            licenses: self.state.index.licenses.clone(),
            heartbeats: self.state.heartbeats,
            flags: self.state.index.open_flags_count.clone(),
            unsettled: self.state.index.unsettled_count.clone(),
        }
    }

    /// What happened to a device: the beginning, and what came last. Empty for an unknown device.
    #[must_use]
    pub fn story(&self, device: &DeviceId) -> Vec<StoryLine> {
        let record = self.slot_of(device).and_then(|slot| self.state.records.get(slot));
        let mut lines = record.map(|record| record.story.lines()).unwrap_or_default();
        lines.iter_mut().for_each(|line| self.explain_move(line));
        lines
    }

    /// How many lines a device's story has had so far, those left out included: whoever folds sees by it that there is
    /// something new. Zero for an unknown device.
    #[must_use]
    pub fn story_told(&self, slot: Slot) -> u64 {
        self.state.records.get(slot).map_or(0, |record| record.story.told())
    }

    /// The last line of a device's story. What comes in many messages, as a spool does, is one line whose words change.
    #[must_use]
    pub fn story_end(&self, slot: Slot) -> Option<StoryLine> {
        self.state.records.get(slot)?.story.end_line()
    }

    /// How many flags were raised, cleared ones included.
    #[must_use]
    pub fn flag_count(&self) -> u32 {
        u32::try_from(self.state.flags.len()).unwrap_or(u32::MAX)
    }

    /// The flag that was raised as number `at`, counted from 0.
    #[must_use]
    pub fn flag_numbered(&self, at: u32) -> Option<&FlagView> {
        self.state.flags.get(at)
    }

    /// How many orders were given, settled ones included.
    #[must_use]
    pub fn operation_count(&self) -> u32 {
        u32::try_from(self.state.operations.len()).unwrap_or(u32::MAX)
    }

    /// The order that was given as number `at`, counted from 0.
    #[must_use]
    pub fn operation_numbered(&self, at: u32) -> Option<&OperationView> {
        self.state.operations.get(at)
    }

    /// Says who did it and why, where a line tells of something done to a license.
    fn explain_move(&self, line: &mut StoryLine) {
        let moves = || self.state.moves.numbered().rev().map(|(_, done)| done);
        let same = |done: &&LicenseMoveView| {
            done.index == line.index && line.what.starts_with(&format!("license {} ", done.license))
        };
        if line.what.starts_with("license ")
            && let Some(done) = moves().find(same)
        {
            line.what.push_str(&format!(" by {}: {}", done.by, done.reason));
        }
    }

    /// The entry that did what this key was used for, if it is among the last.
    #[must_use]
    pub fn request(&self, key: &[u8; 16]) -> Option<LogIndex> {
        self.state.requests.find(key).map(|(_, first)| first)
    }

    fn license_view(&self, at: u32) -> Option<LicenseView> {
        let license = self.state.licenses.get(at)?;
        let code = self.state.codes.get(license.code)?;
        let batch = self.state.code_batches.get(code.batch)?;
        let id = self.state.id_of_license(at)?;
        let moves = self.state.index.moves_of.get(&id).into_iter().flatten();
        Some(LicenseView {
            license: id,
            device: self.state.records.get(license.slot)?.birth.device,
            state: license.state,
            plan: batch.plan.clone(),
            reseller: batch.reseller.clone(),
            batch: batch.batch,
            created: license.created,
            created_at: license.created_at,
            expires: license.expires,
            leases: license.leases,
            moves: moves.filter_map(|&at| self.state.moves.get(at)).cloned().collect(),
        })
    }
}

fn source_view(source: &Source) -> SourceView {
    SourceView {
        source: source.name.clone(),
        first_heard: source.first_heard,
        last_heard: source.last_heard,
        heartbeats: source.heartbeats,
        refused: source.refused.iter().map(|(reason, &count)| (reason.to_string(), count)).collect(),
    }
}

impl State {
    pub(crate) fn open_flag(&self, kind: FlagKind, subject: &FlagSubject) -> Option<&FlagView> {
        self.flags.get(*self.index.open_flags.get(&(kind, subject.clone()))?)
    }

    pub(crate) fn flags_of(&self, subject: &FlagSubject) -> impl Iterator<Item = &FlagView> + use<'_> {
        let at = self.index.flags_of.get(subject).map(Vec::as_slice).unwrap_or_default();
        at.iter().filter_map(|&at| self.flags.get(at))
    }
}

fn code_batch_view(batch: &CodeBatch) -> CodeBatchView {
    CodeBatchView {
        batch: batch.batch,
        plan: batch.plan.clone(),
        reseller: batch.reseller.clone(),
        issued: batch.issued,
        used: batch.used,
        void: batch.void,
    }
}
