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
    let mut lines = Lines::default();
    while let Some(folded) = fold.next_up_to(until)? {
        on_entry(fold);
        let state = fold.state();
        let Some(slot) = state.slot_of(&device) else { continue };
        let is_shown = !since.is_after(folded.index, state.stamp());
        if state.story_told(slot) > lines.told {
            let new = state.story_told(slot) - lines.told;
            lines.told += new;
            lines.add(state.story(&device), new, folded.index, is_shown);
        } else if folded.batch.is_some() {
            lines.retell(state.story_end(slot), is_shown);
        }
    }
    let Lines { mut lines, .. } = lines;
    fold.check_reached(until)?;
    let state = fold.state();
    let view = state.slot_of(&device).and_then(|slot| state.device(slot));
    let summary = view.map(|view| view.summary()).ok_or_else(|| unknown(device, state.applied()))?;
    state.give_reasons(&device, &mut lines);
    Ok(WholeStory { applied: state.applied(), summary, lines })
}

/// The lines so far.
#[derive(Default)]
struct Lines {
    lines: Vec<StoryLine>,
    /// How many lines the state told, also those that are not shown.
    told: u64,
    /// The last line that the state told, shown or not.
    last: Option<StoryLine>,
}

impl Lines {
    /// `story` ends with `new` lines that the entry `index` told.
    fn add(&mut self, mut story: Vec<StoryLine>, new: u64, index: LogIndex, is_shown: bool) {
        let before = usize::try_from(new).ok().and_then(|new| story.len().checked_sub(new)).unwrap_or(0);
        let new = story.split_off(before);
        // The entry may have gone on with the line before, too.
        self.retell(story.pop(), is_shown);
        self.last = new.last().cloned();
        if is_shown {
            self.lines.extend(new.into_iter().filter(|line| is_of(line, index)));
        }
    }

    /// The last line may have other words now: what an outage kept back comes in many heartbeats, and is one line.
    fn retell(&mut self, line: Option<StoryLine>, is_shown: bool) {
        let Some(line) = line else { return };
        let is_other = |last: &StoryLine| last.index == line.index && last.what != line.what;
        if !self.last.as_ref().is_some_and(is_other) {
            return;
        }
        let shown = self.lines.pop_if(|shown| Some(&*shown) == self.last.as_ref());
        if shown.is_some() || is_shown {
            self.lines.push(line.clone());
        }
        self.last = Some(line);
    }
}

/// The device is not in the log.
pub fn unknown(device: DeviceId, applied: LogIndex) -> anyhow::Error {
    coded(REFUSED, format!("{device} is not in the log up to entry {applied}"))
}

/// Told by this entry. A line in brackets only says what the state left out.
fn is_of(line: &StoryLine, index: LogIndex) -> bool {
    line.index == index && !line.what.starts_with('(')
}
