//! A device's whole story: the state keeps the beginning and the end, the log has every line.

use super::fold::Fold;
use super::moment::Moment;
use crate::exit::{REFUSED, coded};
use anyhow::Result;
use events::ids::{DeviceId, LogIndex};
use projector::view::{DeviceSummary, StoryLine};
use serde::Serialize;

/// The story of one device up to a moment.
#[derive(Serialize)]
pub struct WholeStory {
    /// Up to here the log was folded.
    pub applied: LogIndex,
    pub summary: DeviceSummary,
    pub lines: Vec<StoryLine>,
}

/// Folds the log up to `until` and tells what happened to `device` from `since` on.
pub fn tell(
    fold: &mut Fold,
    device: DeviceId,
    since: Moment,
    until: Moment,
    mut on_entry: impl FnMut(&Fold),
) -> Result<WholeStory> {
    let (mut lines, mut told) = (Vec::new(), 0);
    while let Some(folded) = fold.next_up_to(until)? {
        on_entry(fold);
        let state = fold.state();
        let Some(slot) = state.slot_of(&device) else { continue };
        if state.story_told(slot) > told {
            told = state.story_told(slot);
            if !since.is_after(folded.index, state.stamp()) {
                lines.extend(state.story(&device).into_iter().filter(|line| is_of(line, folded.index)));
            }
        }
    }
    fold.check_reached(until)?;
    let state = fold.state();
    let view = state.slot_of(&device).and_then(|slot| state.device(slot));
    let summary = view.map(|view| view.summary()).ok_or_else(|| unknown(device, state.applied()))?;
    state.give_reasons(&device, &mut lines);
    Ok(WholeStory { applied: state.applied(), summary, lines })
}

/// The device is not in the log.
pub fn unknown(device: DeviceId, applied: LogIndex) -> anyhow::Error {
    coded(REFUSED, format!("{device} is not in the log up to entry {applied}"))
}

/// Told by this entry. A line in brackets only says what the state left out.
fn is_of(line: &StoryLine, index: LogIndex) -> bool {
    line.index == index && !line.what.starts_with('(')
}
