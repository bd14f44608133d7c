//! What is sold: codes issued and voided.

use super::step::Step;
use crate::outcome::{Decline, Outcome};
use crate::state::license::{Code, CodeBatch, Fate};
use events::limits::CODES_PER_EVENT_MAX;
use events::vocabulary::license::Plan;
use events::vocabulary::{CodeVoided, CodesIssued};

const NAME_BYTES_MAX: usize = 64;
const ENTITLEMENTS_MAX: usize = 32;

impl Step<'_> {
    /// Idempotent code by code; a conflict changes nothing.
    pub(crate) fn codes_issued(&mut self, event: CodesIssued) -> Outcome {
        if !is_well_formed(&event) {
            return Outcome::Declined(Decline::Malformed);
        }
        let known = self.state.index.code_batches.get(&event.batch).copied();
        if let Some(batch) = known.and_then(|at| self.state.code_batches.get(at))
            && (batch.plan != event.plan || batch.reseller != event.reseller)
        {
            return Outcome::Declined(Decline::CodeConflict);
        }
        let issued_in = |digest| self.state.code(digest).map(|code| code.batch);
        if event.codes.iter().filter_map(issued_in).any(|batch| Some(batch) != known) {
            return Outcome::Declined(Decline::CodeConflict);
        }
        let at = known.unwrap_or_else(|| self.open_batch(&event));
        let mut added = 0;
        for digest in event.codes {
            if self.state.code_at(&digest).is_none() {
                let code = self.state.codes.push(Code { digest, batch: at, fate: Fate::Unused });
                self.state.index.add_code(&self.state.codes, code);
                added += 1;
            }
        }
        if added == 0 && known.is_some() {
            return Outcome::Duplicate;
        }
        if let Some(batch) = self.state.code_batches.get_mut(at) {
            batch.issued += added;
        }
        Outcome::Accepted
    }

    fn open_batch(&mut self, event: &CodesIssued) -> u32 {
        let batch = CodeBatch {
            batch: event.batch,
            plan: event.plan.clone(),
            reseller: event.reseller.clone(),
            issued: 0,
            used: 0,
            void: 0,
        };
        let at = self.state.code_batches.push(batch);
        self.state.index.code_batches.insert(event.batch, at);
        at
    }

    pub(crate) fn code_voided(&mut self, event: &CodeVoided) -> Outcome {
        let at = self.state.code_at(&event.code);
        let Some(code) = at.and_then(|at| self.state.codes.get_mut(at)) else {
            return Outcome::Declined(Decline::UnknownCode);
        };
        match code.fate {
            Fate::Void | Fate::Replaced(_) => Outcome::Duplicate,
            Fate::Used(_) => Outcome::Declined(Decline::CodeUsed),
            Fate::Unused => {
                code.fate = Fate::Void;
                let batch = code.batch;
                if let Some(batch) = self.state.code_batches.get_mut(batch) {
                    batch.void += 1;
                }
                Outcome::Accepted
            }
        }
    }
}

fn is_well_formed(event: &CodesIssued) -> bool {
    let Plan { name, entitlements, .. } = &event.plan;
    event.codes.len() <= CODES_PER_EVENT_MAX
        && name.len() <= NAME_BYTES_MAX
        && event.reseller.len() <= NAME_BYTES_MAX
        && entitlements.len() <= ENTITLEMENTS_MAX
        && entitlements.iter().all(|entitlement| entitlement.len() <= NAME_BYTES_MAX)
        && event.plan.lease_seconds > 0
}
