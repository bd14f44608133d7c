//! A device's story in bounded space: how it began, and what happened last.

use super::packed::{Chained, Packed};
use crate::view::StoryLine;
use events::ids::{DeviceId, Epoch, FlagId, LicenseId, LogIndex, StationId};
use events::time::Timestamp;
use events::vocabulary::heartbeat::{SpooledBody, condition};
use events::vocabulary::operation::Settlement;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use serde::{Deserialize, Serialize};

/// Lines kept of the beginning.
pub(crate) const FIRST_KEPT: usize = 16;
/// Lines kept of the end.
pub(crate) const LAST_KEPT: usize = 48;

/// Conditions that a story tells even if they come late.
const EVIDENCE: u8 = condition::RESTRICTED | condition::CLOCK_ROLLBACK;

/// Stored as its three parts: first lines, last lines, and how many were dropped between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    first: Packed<Line>,
    /// Of most devices there is no more than the beginning.
    end: Option<Box<End>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct End {
    last: Packed<Line>,
    /// Lines dropped between the first and the last.
    dropped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    index: LogIndex,
    stamp: Timestamp,
    what: Happening,
}

/// Most of what happens to a device happens soon after something else did: the way from line to line is shorter than where
/// it leads.
impl Chained for Line {
    fn since(self, before: &Line) -> Line {
        let stamp = self.stamp.as_millis().wrapping_sub(before.stamp.as_millis());
        let index = self.index.wrapping_sub(before.index);
        Line { index, stamp: Timestamp::from_millis(stamp), what: self.what }
    }

    fn after(self, before: &Line) -> Line {
        let stamp = self.stamp.as_millis().wrapping_add(before.stamp.as_millis());
        let index = self.index.wrapping_add(before.index);
        Line { index, stamp: Timestamp::from_millis(stamp), what: self.what }
    }
}

/// What can happen to a device, as far as its story tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Happening {
    Burned {
        at: Timestamp,
        station: StationId,
        unit: u32,
    },
    Imported,
    Activated {
        epoch: Epoch,
        license: LicenseId,
    },
    Rekeyed {
        epoch: Epoch,
    },
    Resumed {
        from: Epoch,
        epoch: Epoch,
    },
    Forked {
        from: Epoch,
        current: Epoch,
    },
    Confirmed {
        epoch: Epoch,
    },
    Legitimacy {
        from: Legitimacy,
        to: Legitimacy,
    },
    LicenseSuspended {
        license: LicenseId,
    },
    LicenseResumed {
        license: LicenseId,
    },
    LicenseExpired {
        license: LicenseId,
    },
    BootCheck {
        restricted: bool,
    },
    Flagged {
        kind: FlagKind,
        flag: FlagId,
    },
    FlagCleared {
        kind: FlagKind,
        flag: FlagId,
    },
    Ordered {
        kind: OperationKind,
        by_person: bool,
    },
    Settled {
        kind: OperationKind,
        settlement: Settlement,
    },
    LicenseGone {
        license: LicenseId,
        to: DeviceId,
    },
    LicenseCame {
        license: LicenseId,
        from: DeviceId,
    },
    /// Zero is without end.
    LicenseRenewed {
        license: LicenseId,
        expires: Timestamp,
    },
    LicenseReissued {
        license: LicenseId,
    },
    Brought(Brought),
}

/// Bodies that came from a spool. The times are the terminal's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Brought {
    pub bodies: u32,
    pub from: Timestamp,
    pub until: Timestamp,
    /// All conditions that they tell.
    pub conditions: u8,
}

impl Brought {
    pub(crate) fn one(body: &SpooledBody) -> Self {
        Brought { bodies: 1, from: body.made, until: body.made, conditions: body.condition & EVIDENCE }
    }

    pub(crate) fn and(self, other: Brought) -> Self {
        Brought {
            bodies: self.bodies.saturating_add(other.bodies),
            from: self.from.min(other.from),
            until: self.until.max(other.until),
            conditions: self.conditions | other.conditions,
        }
    }
}

impl std::fmt::Display for Happening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Happening::Burned { at, station, unit } => {
                write!(f, "burned at {at} by {station} as unit {unit}")
            }
            Happening::Imported => write!(f, "imported"),
            Happening::Activated { epoch, license } => {
                write!(f, "activated: epoch {epoch}, license {license}")
            }
            Happening::Rekeyed { epoch } => write!(f, "re-keyed: epoch {epoch}"),
            Happening::Resumed { from, epoch } => write!(f, "resumed from epoch {from}: epoch {epoch}"),
            Happening::Forked { from, current } => {
                write!(f, "fork: epoch {from} was resumed although epoch {current} was confirmed")
            }
            Happening::Confirmed { epoch } => write!(f, "spoke under epoch {epoch}"),
            Happening::Legitimacy { from, to } => write!(f, "{from} → {to}"),
            Happening::LicenseSuspended { license } => write!(f, "license {license} suspended"),
            Happening::LicenseResumed { license } => write!(f, "license {license} resumed"),
            Happening::LicenseExpired { license } => write!(f, "license {license} expired"),
            Happening::BootCheck { restricted: true } => write!(f, "reports a restricted boot check"),
            Happening::BootCheck { restricted: false } => write!(f, "reports a full boot check again"),
            Happening::Flagged { kind, flag } => write!(f, "flag {kind} raised ({flag})"),
            Happening::FlagCleared { kind, flag } => write!(f, "flag {kind} cleared ({flag})"),
            Happening::Ordered { kind, by_person: true } => write!(f, "{kind} ordered by a person"),
            Happening::Ordered { kind, by_person: false } => write!(f, "{kind} ordered by policy"),
            Happening::Settled { kind, settlement } => write!(f, "{kind} {settlement}"),
            Happening::LicenseGone { license, to } => write!(f, "license {license} transferred to {to}"),
            Happening::LicenseCame { license, from } => {
                write!(f, "license {license} transferred from {from}")
            }
            Happening::LicenseRenewed { license, expires: Timestamp::ZERO } => {
                write!(f, "license {license} renewed without end")
            }
            Happening::LicenseRenewed { license, expires } => {
                write!(f, "license {license} renewed until {expires}")
            }
            Happening::LicenseReissued { license } => {
                write!(f, "license {license} reissued: another code opens it")
            }
            Happening::Brought(Brought { bodies, from, until, conditions }) => {
                let noun = if bodies == 1 { "heartbeat" } else { "heartbeats" };
                write!(f, "brought {bodies} {noun} of an outage, by its own clock of {from} to {until}")?;
                if conditions & condition::RESTRICTED != 0 {
                    write!(f, "; then its boot check was restricted")?;
                }
                if conditions & condition::CLOCK_ROLLBACK != 0 {
                    write!(f, "; then its clock stood behind")?;
                }
                Ok(())
            }
        }
    }
}

impl Story {
    pub(crate) fn tell(&mut self, index: LogIndex, stamp: Timestamp, what: Happening) {
        let line = Line { index, stamp, what };
        if self.first.len() < FIRST_KEPT {
            self.first.push(line);
            return;
        }
        let end = self.end.get_or_insert_default();
        if end.last.len() == LAST_KEPT {
            end.last.remove_first();
            end.dropped += 1;
        }
        end.last.push(line);
    }

    /// How many lines were told so far, those left out included.
    #[must_use]
    pub(crate) fn told(&self) -> u64 {
        self.first.len() as u64 + self.dropped() + self.last().map_or(0, Packed::len) as u64
    }

    /// A spool comes in many heartbeats: they are one line as long as nothing else is told.
    pub(crate) fn tell_brought(&mut self, index: LogIndex, stamp: Timestamp, brought: Brought) {
        let lines = self.end.as_mut().map_or(&mut self.first, |end| &mut end.last);
        match lines.last() {
            Some(Line { index, stamp, what: Happening::Brought(before) }) => {
                lines.replace_last(Line { index, stamp, what: Happening::Brought(before.and(brought)) });
            }
            Some(_) | None => self.tell(index, stamp, Happening::Brought(brought)),
        }
    }

    /// The story in order; a line of its own says what was left out.
    #[must_use]
    pub(crate) fn lines(&self) -> Vec<StoryLine> {
        let tell =
            |line: Line| StoryLine { index: line.index, stamp: line.stamp, what: line.what.to_string() };
        let gap = self.first.last().filter(|_| self.dropped() > 0).map(|line| StoryLine {
            index: line.index,
            stamp: line.stamp,
            what: format!("({} lines left out; the log has them)", self.dropped()),
        });
        self.first
            .iter()
            .map(tell)
            .chain(gap)
            .chain(self.last().into_iter().flat_map(Packed::iter).map(tell))
            .collect()
    }

    /// The last line, as it is told now.
    #[must_use]
    pub(crate) fn end_line(&self) -> Option<StoryLine> {
        let line = self.last().filter(|last| !last.is_empty()).unwrap_or(&self.first).last()?;
        Some(StoryLine { index: line.index, stamp: line.stamp, what: line.what.to_string() })
    }

    fn last(&self) -> Option<&Packed<Line>> {
        self.end.as_ref().map(|end| &end.last)
    }

    fn dropped(&self) -> u64 {
        self.end.as_ref().map_or(0, |end| end.dropped)
    }
}

impl Serialize for Story {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let none = Packed::default();
        (&self.first, self.last().unwrap_or(&none), self.dropped()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Story {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (first, last, dropped): (_, Packed<Line>, _) = Deserialize::deserialize(deserializer)?;
        let is_short = last.is_empty() && dropped == 0;
        Ok(Story { first, end: (!is_short).then(|| Box::new(End { last, dropped })) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_stored_as_its_three_parts_and_comes_back() {
        let mut story = Story::default();
        for index in 0..=100 {
            let stored = postcard::to_stdvec(&story).unwrap();
            assert_eq!(postcard::from_bytes::<Story>(&stored).unwrap(), story);
            let parts: (Vec<Line>, Vec<Line>, u64) = postcard::from_bytes(&stored).unwrap();
            let kept = (index as usize).min(FIRST_KEPT + LAST_KEPT);
            assert_eq!((parts.0.len() + parts.1.len(), parts.2), (kept, index - kept as u64));
            story.tell(index, Timestamp::ZERO, Happening::Imported);
        }
    }

    #[test]
    fn a_long_story_keeps_its_beginning_and_its_end() {
        let mut story = Story::default();
        for index in 1..=100 {
            story.tell(index, Timestamp::ZERO, Happening::Imported);
        }
        let lines = story.lines();
        assert_eq!(lines.len(), FIRST_KEPT + 1 + LAST_KEPT);
        assert_eq!((lines[0].index, lines[15].index, lines[17].index), (1, 16, 53));
        assert_eq!(lines[16].what, "(36 lines left out; the log has them)");
        assert_eq!(lines.last().unwrap().index, 100);
    }
}
