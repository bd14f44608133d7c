//! The terminal's clock against what sealed answers said.

use super::finding::FindingCode::{ClockBehind, ClockRight, ClockUnset};
use super::finding::Report;
use crate::machine::{CLOCK_SLACK_MILLIS, StateSummary};
use crate::shell::clock::Clock;
use events::time::Timestamp;

/// 2025-01-01: no terminal with this program existed before.
const EARLIEST: Timestamp = Timestamp::from_millis(1_735_689_600_000);

pub fn examine(state: Option<&StateSummary>, report: &mut Report) {
    let wall = Clock::start().now().wall;
    let floor = state.map_or(Timestamp::ZERO, |state| state.time_floor);
    let about = format!("clock {wall}, floor {floor}");
    if wall.plus_millis(CLOCK_SLACK_MILLIS) < floor {
        report.add(ClockBehind, about);
    } else if wall < EARLIEST {
        report.add(ClockUnset, about);
    } else {
        report.add(ClockRight, about);
    }
}
